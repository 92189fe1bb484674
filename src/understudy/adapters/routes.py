"""Routes of ours: what makes a kernel answer for addresses of NAT, and ways around the main table.

Ours carry our protocol number, as routing rules do. The kernel drops those of a macvlan that goes down by itself. Ways
around the main table lie on the port, and stay without the role: only what our rules mark looks there, and several
groups on a port may have the same one.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from understudy.adapters.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Request,
    RouteSocket,
    attribute,
    attributes,
)
from understudy.adapters.rules import OURS, RT_TABLE_LOCAL
from understudy.render.model import Link

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
RTN_UNICAST, RTN_LOCAL = 1, 2
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
_ROUTE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class HeldRoute:
    """A route of ours that the kernel holds."""

    table: int
    prefix: IPv4Network
    index: int
    via: IPv4Address | None = None


class Routes:
    """IPv4 routes of one network namespace."""

    def __init__(self, route: RouteSocket) -> None:
        self._route = route
        self._reader: RouteSocket | None = None

    def add(self, link: Link, index: int, parent: int) -> None:
        """What a link that is up needs; what is there stays. Raises EnvironmentFailure."""
        wanted = list(_wanted(link, index, parent))
        if wanted:
            self._route.commit([_request(RTM_NEWROUTE, each) for each in wanted], tolerate=(errno.EEXIST,))

    def keep_only(self, links: Sequence[tuple[Link, int, int]]) -> None:
        """Drop what none of these links (each with its index and its port's) needs. Raises EnvironmentFailure."""
        wanted = {each for link in links for each in _wanted(*link)}
        gone = [_request(RTM_DELROUTE, each) for each in self.held() if each not in wanted]
        if gone:
            self._route.commit(gone, tolerate=(errno.ESRCH,))

    def missing(self, links: Sequence[tuple[Link, int, int]]) -> list[tuple[Link, IPv4Network]]:
        """Prefixes that these links (likewise) should have."""
        held = set(self.held())
        return [(link[0], each.prefix) for link in links for each in _wanted(*link) if each not in held]

    def held(self) -> Iterator[HeldRoute]:
        """The kernel chooses where it can: the main table may be the whole Internet's."""
        if self._reader is None:
            self._reader = RouteSocket(strict=True)
        for payload in self._reader.dump(RTM_GETROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, OURS, 0, 0, 0)):
            _, length, _, _, small, protocol, _, _, _ = _ROUTE.unpack_from(payload)
            if protocol != OURS:
                continue
            details = attributes(payload, _ROUTE.size)
            table, index = (
                struct.unpack("=I", details[kind])[0] if kind in details else default
                for kind, default in ((RTA_TABLE, small), (RTA_OIF, 0))
            )
            via = IPv4Address(details[RTA_GATEWAY]) if RTA_GATEWAY in details else None
            yield HeldRoute(table, IPv4Network((details.get(RTA_DST, bytes(4)), length)), index, via)


def _wanted(link: Link, index: int, parent: int) -> Iterator[HeldRoute]:
    for prefix in link.held:
        yield HeldRoute(RT_TABLE_LOCAL, prefix, index)
    for table, via in link.detours:
        yield HeldRoute(table, IPv4Network("0.0.0.0/0"), parent, via)


def _request(kind: int, route: HeldRoute) -> Request:
    local = route.table == RT_TABLE_LOCAL
    scope = RT_SCOPE_HOST if local else RT_SCOPE_UNIVERSE if route.via is not None else RT_SCOPE_LINK
    small = route.table if route.table < 256 else 0
    what = RTN_LOCAL if local else RTN_UNICAST
    payload = _ROUTE.pack(socket.AF_INET, route.prefix.prefixlen, 0, 0, small, OURS, scope, what, 0)
    payload += attribute(RTA_DST, route.prefix.network_address.packed) + attribute(
        RTA_OIF, struct.pack("=I", route.index)
    )
    payload += attribute(RTA_TABLE, struct.pack("=I", route.table))
    if route.via is not None:
        payload += attribute(RTA_GATEWAY, route.via.packed)
    flags = NLM_F_CREATE | NLM_F_EXCL if kind == RTM_NEWROUTE else 0
    return Request(kind, flags, payload, "add route" if flags else "delete route", str(route.prefix))
