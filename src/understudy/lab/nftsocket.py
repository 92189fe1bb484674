"""Changes of a namespace's rule sets in one system call each: elements of sets, and the flush of everything.

Rules are loaded beforehand by `nft`, once, as text that says what the bytes would hide; what takes effect at an instant
is a transaction of a few elements over a netlink socket (0.1 ms, where starting `nft` costs 5 to 20).
"""

import errno
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterable
from typing import Any, Final

from understudy.adapters.netlink import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    attributes,
    messages,
)
from understudy.errors import EnvironmentFailure, OperatorError

NFT_MISSING = "E5104"

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_DELTABLE = 0, 1, 2
NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM = 12, 14
NFTA_TABLE_NAME = 1
NFPROTO_NETDEV, NFPROTO_BRIDGE = 5, 7
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY = 1
NFTA_DATA_VALUE = 1

_HEADER: Final = struct.Struct("=IHHII")
_FAMILY_BYTES: Final = 4
"""struct nfgenmsg."""


class NftSocket:
    """Made inside the namespace that it changes; usable from any thread then."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))

    def add(self, family: int, table: str, name: str, keys: Iterable[bytes]) -> None:
        """Add elements to a set, all or none; raises EnvironmentFailure."""
        self._change(NFT_MSG_NEWSETELEM, NLM_F_CREATE, family, table, name, sorted(keys))

    def remove(self, family: int, table: str, name: str, keys: Iterable[bytes]) -> None:
        """Remove elements from a set, all or none; raises EnvironmentFailure."""
        self._change(NFT_MSG_DELSETELEM, 0, family, table, name, sorted(keys))

    def flush_ruleset(self) -> None:
        """What `nft flush ruleset` does: every table of every family goes, whoever made it."""
        self._transact("flush", "ruleset", _message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, NLM_F_ACK, 0, 0, b""))

    def tables(self) -> frozenset[tuple[int, str]]:
        """Family and name of every table: cheap enough to ask every millisecond."""
        kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE
        self._socket.send(_message(kind, NLM_F_DUMP, socket.AF_UNSPEC, 0, b""))
        found: set[tuple[int, str]] = set()
        while True:
            for answer, payload in messages(self._socket.recv(1 << 16)):
                if answer == NLMSG_DONE:
                    return frozenset(found)
                if answer == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE:
                    name = attributes(payload, _FAMILY_BYTES)[NFTA_TABLE_NAME]
                    found.add((payload[0], name.rstrip(b"\0").decode()))

    def close(self) -> None:
        self._socket.close()

    def _change(self, kind: int, flags: int, family: int, table: str, name: str, keys: list[bytes]) -> None:
        if not keys:
            return
        elements = b"".join(
            attribute(
                NFTA_LIST_ELEM | NLA_F_NESTED,
                attribute(NFTA_SET_ELEM_KEY | NLA_F_NESTED, attribute(NFTA_DATA_VALUE, key)),
            )
            for key in keys
        )
        body = (
            attribute(NFTA_SET_ELEM_LIST_TABLE, table.encode() + b"\0")
            + attribute(NFTA_SET_ELEM_LIST_SET, name.encode() + b"\0")
            + attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, elements)
        )
        message = _message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags | NLM_F_ACK, family, 0, body)
        self._transact("change", f"set {name} of table {table}", message)

    def _transact(self, operation: str, subject: str, message: bytes) -> None:
        self._socket.send(
            _message(NFNL_MSG_BATCH_BEGIN, 0, socket.AF_UNSPEC, NFNL_SUBSYS_NFTABLES, b"")
            + message
            + _message(NFNL_MSG_BATCH_END, 0, socket.AF_UNSPEC, NFNL_SUBSYS_NFTABLES, b"")
        )
        number = self._result()
        if number:
            reason = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
            raise EnvironmentFailure(operation, subject, reason)

    def _result(self) -> int:
        while True:
            data = self._socket.recv(65536)
            _, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == NLMSG_ERROR:
                return -int(struct.unpack_from("=i", data, _HEADER.size)[0])


def _message(kind: int, flags: int, family: int, resource: int, body: bytes) -> bytes:
    payload = struct.pack("!BBH", family, 0, resource) + body
    return _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, 0, 0) + payload


def port_key(index: int) -> bytes:
    """A port as an element of a set of type `iface_index`."""
    return struct.pack("=I", index)


def load(text: str) -> None:
    """Let `nft` carry out a script in the calling thread's namespace."""
    _nft(["-f", "-"], text)


def list_table(family: str, table: str) -> list[dict[str, Any]]:
    """What `nft` lists of a table in the calling thread's namespace (Any: it is JSON)."""
    entries: list[dict[str, Any]] = json.loads(_nft(["-j", "list", "table", family, table], ""))["nftables"]
    return entries


def list_chains() -> frozenset[str]:
    """Every chain of the calling thread's namespace with its rules in order, as comparable text.

    Without what changes all the time (counters, the contents of sets) and without what does not matter: handles, and
    the order of tables and chains.
    """
    entries = json.loads(_nft(["-j", "-s", "-t", "list", "ruleset"], ""))["nftables"]
    chains: dict[tuple[str, str, str], list[Any]] = {}
    for entry in entries:
        if "chain" in entry:
            chain = entry["chain"]
            hook = {key: chain.get(key) for key in ("type", "hook", "prio", "policy", "dev")}
            chains.setdefault((chain["family"], chain["table"], chain["name"]), []).insert(0, hook)
        elif "rule" in entry:
            rule = entry["rule"]
            parts = [part for part in rule["expr"] if "counter" not in part]
            chains.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(parts)
    return frozenset(json.dumps([*name, *rules], sort_keys=True) for name, rules in chains.items())


def _nft(arguments: list[str], text: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    try:
        done = subprocess.run(
            ["nft", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PATH": path},
        )
    except FileNotFoundError:
        raise OperatorError(NFT_MISSING, "the program nft is not installed", "apt install nftables") from None
    if done.returncode != 0:
        raise EnvironmentFailure("run", f"nft {' '.join(arguments)}", done.stderr.strip())
    return done.stdout
