"""Silent cables: the switch drops every frame from and to chosen ports, at one instant, with their carrier up.

A table of the switch's namespace checks each port's frames on entry (before the bridge could learn from them) and on
leaving against a set of interface indices; a cut adds elements to it, in one transaction of one system call (0.1 ms).

Tried and rejected: bridge port state `disabled`. It is a change of a link and so waits for the machine-wide lock of
links: beside another lab that came and went, one cut in ten took 50 to 125 ms (this one: 0.4 at most), and the ports of
one node fell silent one by one. It is also undone by the kernel whenever the port's carrier returns.
"""

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from typing import Final

from understudy.adapters.netlink import NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR, attribute
from understudy.errors import EnvironmentFailure, OperatorError

NFT_MISSING = "E5104"

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM = 12, 14
NFPROTO_NETDEV = 5
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY = 1
NFTA_DATA_VALUE = 1

_TABLE: Final = "lab"
_SET: Final = "silent"
_DEVICES_MAX: Final = 200
"""Ports of one chain; the kernel takes 256 (NFT_NETDEVICE_MAX)."""
_HEADER: Final = struct.Struct("=IHHII")


class SilentPorts:
    """Made inside the switch's namespace, with its ports there already; usable from any thread then."""

    def __init__(self, ports: Sequence[str]) -> None:
        chunks = [ports[start : start + _DEVICES_MAX] for start in range(0, len(ports), _DEVICES_MAX)]
        chains = "".join(_chains(number, ", ".join(chunk)) for number, chunk in enumerate(chunks))
        _load(f"table netdev {_TABLE} {{\n set {_SET} {{ type iface_index; }}\n{chains}}}\n")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._silent: set[int] = set()

    def silence(self, indices: Iterable[int]) -> None:
        """Drop every frame from and to these ports; raises EnvironmentFailure, having changed nothing."""
        new = set(indices) - self._silent
        self._transact(NFT_MSG_NEWSETELEM, NLM_F_CREATE, new)
        self._silent |= new

    def restore(self, indices: Iterable[int]) -> None:
        """Undo `silence`."""
        old = set(indices) & self._silent
        self._transact(NFT_MSG_DELSETELEM, 0, old)
        self._silent -= old

    def close(self) -> None:
        self._socket.close()

    def _transact(self, kind: int, flags: int, indices: set[int]) -> None:
        if not indices:
            return
        elements = b"".join(
            attribute(
                NFTA_LIST_ELEM | NLA_F_NESTED,
                attribute(
                    NFTA_SET_ELEM_KEY | NLA_F_NESTED,
                    attribute(NFTA_DATA_VALUE, struct.pack("=I", index)),
                ),
            )
            for index in sorted(indices)
        )
        body = (
            attribute(NFTA_SET_ELEM_LIST_TABLE, _TABLE.encode() + b"\0")
            + attribute(NFTA_SET_ELEM_LIST_SET, _SET.encode() + b"\0")
            + attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, elements)
        )
        self._socket.send(
            _message(NFNL_MSG_BATCH_BEGIN, 0, socket.AF_UNSPEC, NFNL_SUBSYS_NFTABLES, b"")
            + _message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags | NLM_F_ACK, NFPROTO_NETDEV, 0, body)
            + _message(NFNL_MSG_BATCH_END, 0, socket.AF_UNSPEC, NFNL_SUBSYS_NFTABLES, b"")
        )
        number = self._result()
        if number:
            reason = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
            raise EnvironmentFailure("change silent ports", str(sorted(indices)), reason)

    def _result(self) -> int:
        while True:
            data = self._socket.recv(65536)
            _, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == NLMSG_ERROR:
                return -int(struct.unpack_from("=i", data, _HEADER.size)[0])


def _message(kind: int, flags: int, family: int, resource: int, body: bytes) -> bytes:
    payload = struct.pack("!BBH", family, 0, resource) + body
    return _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, 0, 0) + payload


def _chains(number: int, devices: str) -> str:
    return f"""
        chain from_node_{number} {{
            type filter hook ingress devices = {{ {devices} }} priority -500; policy accept;
            iif @{_SET} drop
        }}
        chain to_node_{number} {{
            type filter hook egress devices = {{ {devices} }} priority -500; policy accept;
            oif @{_SET} drop
        }}
    """


def _load(ruleset: str) -> None:
    """Through `nft`, once for each lab: the text says what the bytes would hide."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=ruleset,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PATH": path},
        )
    except FileNotFoundError:
        raise OperatorError(NFT_MISSING, "the program nft is not installed", "apt install nftables") from None
    if done.returncode != 0:
        raise EnvironmentFailure("load", f"table netdev {_TABLE} of the lab's switch", done.stderr.strip())
