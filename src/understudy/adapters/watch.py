"""News of what changes in a kernel: rule sets, links, addresses, routing rules, settings.

Of rule sets the kernel tells every object that a transaction touched, and at its end which process it was (`NEWGEN`):
so what is not ours is passed over without a look, and what is ours need not be listed to know that it was changed.
Of the rest it tells that something changed; whoever reads this looks at what it is now. Own changes are told like any
others: of rule sets they are known by their process, elsewhere a look finds nothing.

When more comes than a socket holds, the kernel drops it and says so: then everything is to be looked at.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from understudy.adapters.netlink import (
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    attributes,
    first_of,
    news,
)
from understudy.core.repair import Kind

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
SO_RCVBUFFORCE = 33
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWGEN = 15
NFTA_NAME, NFTA_SECOND_NAME, NFTA_CHAIN_NAME = 1, 2, 3
NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME = 2, 3
RTM_DELADDR, RTM_NEWRULE, RTM_DELRULE, RTM_NEWNETCONF, RTM_DELNETCONF = 21, 32, 33, 80, 81
RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_IFADDR = 1, 5, 8, 9
RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF = 19, 24, 25

_BUFFER: Final = 4 << 20
_FAMILIES: Final = {1: "inet", 5: "netdev"}
_OBJECTS: Final = {
    0: ("table", "added"),
    2: ("table", "deleted"),
    3: ("chain", "added"),
    5: ("chain", "deleted"),
    6: ("rule", "added"),
    8: ("rule", "deleted"),
    9: ("set", "added"),
    11: ("set", "deleted"),
    12: ("element", "added"),
    14: ("element", "deleted"),
}
_ROUTE_GROUPS: Final = (
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_IPV6_RULE,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_NETCONF,
)
_KINDS: Final = {
    RTM_NEWLINK: Kind.LINKS,
    RTM_DELLINK: Kind.LINKS,
    RTM_NEWADDR: Kind.ADDRESSES,
    RTM_DELADDR: Kind.ADDRESSES,
    RTM_NEWRULE: Kind.RULES,
    RTM_DELRULE: Kind.RULES,
    RTM_NEWNETCONF: Kind.SYSCTLS,
    RTM_DELNETCONF: Kind.SYSCTLS,
}
_INDEX = struct.Struct("=4xI")
"""Of `ifinfomsg` and `ifaddrmsg` alike: where the link's index stands."""


class NewsLostError(Exception):
    """More came than the socket holds: look at everything."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One change of the rule sets, as far as it touched tables of ours."""

    pid: int
    """As the machine's first process namespace counts."""
    process: str
    port: int
    """Of the socket by which it came."""
    touched: tuple[str, ...]
    """In words, without repetition; empty if nothing of ours was touched."""

    @property
    def only_rules(self) -> bool:
        """Chains, sets and what they hold are as they were."""
        return all(each.startswith("rule ") for each in self.touched)

    @property
    def who(self) -> str:
        return f"{self.process} (pid {self.pid})"


class RulesetWatch:
    """Transactions of this namespace's rule sets, with what they did to the inet and netdev tables of a name."""

    def __init__(self, table: str) -> None:
        self.socket = _listen(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))
        self._table = table.encode() + b"\0"
        self._touched: dict[int, dict[str, None]] = {}
        """By the sender's port, until its transaction ends."""
        self._passed_over: set[int] = set()

    def pass_over(self, port: int) -> None:
        """Say only that its transactions ended, not what they touched: a big rule set is thousands of messages."""
        self._passed_over.add(port)

    def read(self) -> Iterator[Transaction]:
        """What has come since. Raises NewsLostError."""
        for data in _received(self.socket):
            first, port = first_of(data)
            if port in self._passed_over and first & 0xFF != NFT_MSG_NEWGEN:
                continue  # one datagram is of one transaction, and its end is a datagram of its own
            for kind, sender, payload in news(data):
                if kind >> 8 != NFNL_SUBSYS_NFTABLES:
                    continue
                details = attributes(payload, 4)
                if kind & 0xFF == NFT_MSG_NEWGEN:
                    pid = int.from_bytes(details.get(NFTA_GEN_PROC_PID, b""), "big")
                    touched = tuple(self._touched.pop(sender, ()))
                    yield Transaction(pid, _text(details.get(NFTA_GEN_PROC_NAME, b"")), sender, touched)
                elif payload[0] in _FAMILIES and details.get(NFTA_NAME) == self._table:
                    self._touched.setdefault(sender, {})[_in_words(kind & 0xFF, payload[0], details)] = None

    def close(self) -> None:
        self.socket.close()


@dataclass(frozen=True, slots=True)
class Change:
    """Something of a kind changed. `index` is its link's, 0 if it has none."""

    kind: Kind
    index: int
    who: str
    """A process that lives and whose number the request carried; mostly empty."""


class RouteWatch:
    """Changes of this namespace's links, addresses, routing rules and forwarding."""

    def __init__(self) -> None:
        self.socket = _listen(socket.NETLINK_ROUTE, _ROUTE_GROUPS)

    def read(self) -> Iterator[Change]:
        """What has come since. Raises NewsLostError."""
        for data in _received(self.socket):
            for number, sender, payload in news(data):
                kind = _KINDS.get(number)
                if kind is not None:
                    has_index = kind in (Kind.LINKS, Kind.ADDRESSES)
                    yield Change(kind, _INDEX.unpack_from(payload)[0] if has_index else 0, _process(sender))

    def close(self) -> None:
        self.socket.close()


def _listen(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    listener.bind((0, 0))
    for group in groups:
        listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    with contextlib.suppress(OSError):  # beyond rmem_max only with CAP_NET_ADMIN over the machine
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
    listener.setblocking(False)
    return listener


def _received(listener: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield listener.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:  # ENOBUFS
            raise NewsLostError from error


def _in_words(message: int, family: int, details: dict[int, bytes]) -> str:
    noun, verb = _OBJECTS.get(message, ("object", "changed"))
    table = f"{_FAMILIES[family]} {_text(details[NFTA_NAME])}"
    match noun:
        case "table":
            return f"table {table} {verb}"
        case "chain":
            return f"chain {_text(details.get(NFTA_CHAIN_NAME, b''))} of {table} {verb}"
        case "set":
            return f"set {_text(details.get(NFTA_SECOND_NAME, b''))} of {table} {verb}"
        case _:
            return f"{noun} {verb} in {_text(details.get(NFTA_SECOND_NAME, b''))} of {table}"


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _process(port: int) -> str:
    """A netlink port is named after the process that opened it, if that has only one: iproute2, NetworkManager."""
    if not port:
        return ""
    try:
        return f"{Path(f'/proc/{port}/comm').read_text(errors='replace').strip()} (pid {port})"
    except OSError:
        return ""
