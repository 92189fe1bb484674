"""The links, addresses, routing rules and neighbours of one node's kernel (rtnetlink(7), netdevice(7)).

Set-up is idempotent: what is there already and right is left alone, so that applying again changes nothing. Taking and
releasing addresses are a few system calls without any dump, because they are on the path of a promotion.

A macvlan is ours by name and MAC, and so is what it carries. A port is the operator's: ours there are the addresses
that carry our protocol number (IFA_PROTO, Linux 5.18), whichever file they were taken from, and no others.
"""

import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address, ip_interface
from pathlib import Path

from understudy.adapters.netlink import (
    IFA_ADDRESS,
    IFA_LOCAL,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_NEWLINK,
    Request,
    RouteSocket,
    add_address,
    attribute,
    attributes,
    messages,
)
from understudy.adapters.routes import Routes
from understudy.adapters.rules import OURS, Rules
from understudy.errors import EnvironmentFailure
from understudy.render.model import Link, RoutingRule, Sysctl
from understudy.units import Address, Interface

RTM_GETLINK, RTM_DELADDR, RTM_GETADDR, RTM_GETNEIGH = 18, 21, 22, 30
IFLA_LINK, IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_MACVLAN_MODE = 5, 1, 2, 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4}
NDA_DST = 1
IFA_CACHEINFO, IFA_PROTO = 6, 11
NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10  # reachable, stale, delay, probe
FRA_DST, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_TABLE, FRA_IP_PROTO, FRA_DPORT_RANGE = 1, 3, 4, 6, 15, 22, 24
RT_TABLE_LOCAL = 255
RTMGRP_LINK = 1
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
_OUR_NAME = re.compile(r"us\d+n\d+v[46]", re.ASCII)

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_DEPRECATED = struct.pack("=IIII", 0, 0xFFFF_FFFF, 0, 0)
"""An `ifa_cacheinfo`: preferred for no time, valid for ever. Such an IPv6 address is nobody's choice of a source."""


@dataclass(frozen=True, slots=True)
class PresentLink:
    index: int
    name: str
    mac: bytes
    parent: int
    """Index of the link below a macvlan, 0 if there is none."""
    up: bool
    carrier: bool

    @property
    def is_ours(self) -> bool:
        """By its name (render.links) and by the MAC address of a virtual router (RFC 9568, section 7.3)."""
        virtual = self.mac[:4] == b"\x00\x00\x5e\x00" and self.mac[4:5] in (b"\x01", b"\x02")
        return virtual and _OUR_NAME.fullmatch(self.name) is not None


@dataclass(frozen=True, slots=True)
class HeldAddress:
    """An address that the kernel holds."""

    index: int
    interface: Interface
    is_ours: bool
    """By the protocol number that we give to addresses on ports."""


class Links:
    """Acts on the network namespace in which it was made."""

    def __init__(self) -> None:
        self._route = RouteSocket()
        self._rules = Rules(self._route)
        self._routes = Routes(self._route)
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    # --- reading

    def links(self) -> list[PresentLink]:
        found = []
        for payload in self._route.dump(RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, _, index, flags, _ = _LINK.unpack_from(payload)
            details = attributes(payload, _LINK.size)
            name = details.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
            mac = details.get(IFLA_ADDRESS, b"")
            parent = struct.unpack("=I", details.get(IFLA_LINK, bytes(4)))[0]
            found.append(PresentLink(index, name, mac, parent, bool(flags & IFF_UP), bool(flags & IFF_LOWER_UP)))
        return found

    def addresses(self) -> Iterator[tuple[int, Address, int]]:
        """Index of the link, address, prefix length."""
        for held in self.held():
            yield held.index, held.interface.ip, held.interface.network.prefixlen

    def held(self) -> Iterator[HeldAddress]:
        """Every address of this namespace."""
        for payload in self._route.dump(RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, length, _, _, index = _ADDRESS.unpack_from(payload)
            details = attributes(payload, _ADDRESS.size)
            raw = details.get(IFA_LOCAL) or details.get(IFA_ADDRESS)
            if raw:
                yield HeldAddress(index, ip_interface((raw, length)), details.get(IFA_PROTO) == bytes([OURS]))

    def neighbours(self, indexes: Collection[int]) -> dict[int, list[Address]]:
        """Neighbours whose MAC the kernel knows, of each of these links."""
        found: dict[int, list[Address]] = {index: [] for index in indexes}
        for family in (socket.AF_INET, socket.AF_INET6):
            for payload in self._route.dump(RTM_GETNEIGH, _NEIGHBOUR.pack(family, 0, 0, 0, 0)):
                _, at, state, _, _ = _NEIGHBOUR.unpack_from(payload)
                raw = attributes(payload, _NEIGHBOUR.size).get(NDA_DST)
                if at in found and state & NUD_KNOWN and raw and not (address := ip_address(raw)).is_multicast:
                    found[at].append(address)
        return found

    def flags(self, name: str) -> int:
        """Interface flags, or -1 if there is no such link."""
        request = struct.pack("16sh22x", name.encode(), 0)
        try:
            answer = fcntl.ioctl(self._control, SIOCGIFFLAGS, request)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return -1
            raise EnvironmentFailure("read flags of", name, os.strerror(error.errno or 0)) from error
        return int(struct.unpack_from("16sh", answer)[1])

    def are_answering(self, links: Sequence[Link]) -> bool:
        """Whether all that `take` does to them is done: macvlans up, addresses on the ports."""
        if not all(self.flags(link.name) & IFF_UP for link in links):
            return False
        on_ports = {(self._index(link.name), each) for link in links if not link.is_macvlan for each in link.addresses}
        return not on_ports or on_ports <= {(each.index, each.interface) for each in self.held()}

    # --- changing

    def set_up(self, name: str, *, up: bool) -> None:
        """Bring a link up or down. Raises EnvironmentFailure."""
        flags = self.flags(name)
        if flags == -1:
            if up:
                raise EnvironmentFailure("bring up", name, "there is no such link")
            return
        wanted = flags | IFF_UP if up else flags & ~IFF_UP
        try:
            fcntl.ioctl(self._control, SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), wanted))
        except OSError as error:
            raise EnvironmentFailure(f"bring {'up' if up else 'down'}", name, os.strerror(error.errno or 0)) from error

    def apply(self, links: Sequence[Link], sysctls: Sequence[Sysctl], rules: Sequence[RoutingRule]) -> None:
        """Make the kernel hold exactly these virtual links, sysctls and rules of ours. Raises EnvironmentFailure.

        A new link is down and without addresses. One that is up, because an agent before this one served, stays up, and
        the file's addresses stay on their ports. What cannot be, such as a link whose port is gone, is left out and
        raised for at the end.
        """
        failure = _write_sysctls(sysctls)
        self._rules.apply(rules)
        present = {link.name: link for link in self.links()}
        wanted = {link.name for link in links if link.is_macvlan}
        orphan: Link | None = None
        for stale in present.values():
            if stale.is_ours and stale.name not in wanted:
                self._delete_link(stale)
        for link in links:
            there = present.get(link.name)
            parent = present.get(link.parent)
            if parent is None:
                orphan = orphan or link
                continue
            if link.mode is None:
                continue
            if there is not None and (there.mac, there.parent) != (_mac(link), parent.index):
                if not there.is_ours:
                    raise EnvironmentFailure("add macvlan", link.name, "a link of this name is there and is not ours")
                self._delete_link(there)
                there = None
            if there is None:
                self._add_macvlan(link, link.mode, parent.index)
            for path, value in link.sysctls:
                write_sysctl(path, value)
        self._drop_addresses(links)
        self._drop_routes(links)
        if orphan is not None:
            raise EnvironmentFailure("set up", orphan.name, f"its port {orphan.parent} is gone")
        if failure is not None:
            raise failure

    def take(self, links: Sequence[Link]) -> None:
        """Answer: addresses, then up. Raises EnvironmentFailure at the first that fails. A port is left as it is."""
        for link in links:
            index = self._index(link.name)
            if index is None:
                raise EnvironmentFailure("bring up", link.name, "there is no such link")
            # IPv6 forgets the addresses of a link that goes down; what is there already is fine.
            wanted = [_add_address(index, address, link) for address in link.addresses]
            self._route.commit(wanted, tolerate=(errno.EEXIST,))
            if link.is_macvlan:
                self.set_up(link.name, up=True)
            parent = self._index(link.parent) if link.held or link.detours else None
            if parent is not None:
                self._routes.add(link, index, parent)

    def release(self, links: Sequence[Link]) -> None:
        """Be silent: down, then no addresses. Tries all of them, then raises EnvironmentFailure for the first.

        The addresses go as well: on a link that is merely down IPv4 addresses stay local, and this node would talk to
        itself instead of to the Active.
        """
        failure: EnvironmentFailure | None = None
        for link in links:
            try:
                if link.is_macvlan:
                    self.set_up(link.name, up=False)
                index = self._index(link.name)
                if index is not None:
                    gone = [_delete_address(index, address, link.name) for address in link.addresses]
                    self._route.commit(gone, tolerate=(errno.EADDRNOTAVAIL, errno.ENODEV))
            except EnvironmentFailure as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def remove(self) -> None:
        """Take all that is ours away, the rules last, as nothing of ours answers then. What is foreign stays."""
        for link in self.links():
            if link.is_ours:
                self._delete_link(link)
        self._drop_addresses(())
        self._drop_routes(())
        self._rules.remove()

    def _drop_addresses(self, links: Sequence[Link]) -> None:
        """What nothing of ours shall hold: anything on a macvlan that is down, and what the file does not name."""
        present = {link.index: link for link in self.links()}
        macvlans = {link.name for link in links if link.is_macvlan}
        wanted = {(link.name, address) for link in links for address in link.addresses}
        for held in self.held():
            link = present.get(held.index)
            if link is None:
                continue
            named = (link.name, held.interface) in wanted
            stale = not (named and link.up) if link.name in macvlans else held.is_ours and not named
            if stale:
                request = _delete_address(held.index, held.interface, link.name)
                self._route.commit([request], tolerate=(errno.EADDRNOTAVAIL,))

    def missing_routes(self, links: Sequence[Link]) -> list[tuple[Link, IPv4Network]]:
        """Of links that are to answer, in one look."""
        wanting = [link for link in links if link.held or link.detours]
        return self._routes.missing(self._placed(wanting)) if wanting else []

    def _drop_routes(self, links: Sequence[Link]) -> None:
        self._routes.keep_only(self._placed(links))

    def _placed(self, links: Sequence[Link]) -> list[tuple[Link, int, int]]:
        """Those that are there, with their index and their port's."""
        placed = [(link, self._index(link.name), self._index(link.parent)) for link in links]
        return [(link, at, by) for link, at, by in placed if at is not None and by is not None]

    def _index(self, name: str) -> int | None:
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return None

    def _add_macvlan(self, link: Link, mode: str, parent: int) -> None:
        details = attribute(IFLA_MACVLAN_MODE, struct.pack("=I", MACVLAN_MODES[mode]))
        payload = (
            _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            + attribute(IFLA_IFNAME, link.name.encode() + b"\0")
            + attribute(IFLA_LINK, struct.pack("=I", parent))
            + attribute(IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
            + attribute(
                IFLA_LINKINFO | NLA_F_NESTED,
                attribute(IFLA_INFO_KIND, b"macvlan") + attribute(IFLA_INFO_DATA | NLA_F_NESTED, details),
            )
        )
        self._route.commit([Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, "add macvlan", link.name)])

    def _delete_link(self, link: PresentLink) -> None:
        payload = _LINK.pack(socket.AF_UNSPEC, 0, link.index, 0, 0)
        self._route.commit([Request(RTM_DELLINK, 0, payload, "delete link", link.name)], tolerate=(errno.ENODEV,))


class LinkWatch:
    """News of links in the namespace in which it was made: RTM_NEWLINK and RTM_DELLINK."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self.socket.bind((0, RTMGRP_LINK))
        self.socket.setblocking(False)

    def read(self) -> list[tuple[int, bool]] | None:
        """Index of each link with news, and whether it is up with carrier now; None if news was lost: look yourself."""
        try:
            data = self.socket.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None  # ENOBUFS: more came than the socket holds
        both = IFF_UP | IFF_LOWER_UP
        return [
            (index, kind == RTM_NEWLINK and flags & both == both)
            for kind, payload in messages(data)
            if kind in (RTM_NEWLINK, RTM_DELLINK)
            for _, _, index, flags, _ in (_LINK.unpack_from(payload),)
        ]


def write_sysctl(path: str, value: str) -> None:
    """Write below /proc/sys, unless it says so already. Raises EnvironmentFailure."""
    file = Path("/proc/sys") / path
    try:
        if file.read_text().strip() != value:
            file.write_text(value)
    except OSError as error:
        raise EnvironmentFailure("set sysctl", path, os.strerror(error.errno or 0)) from error


def _write_sysctls(sysctls: Sequence[Sysctl]) -> EnvironmentFailure | None:
    """All that can be written; the first failure."""
    failure: EnvironmentFailure | None = None
    for path, value in sysctls:
        try:
            write_sysctl(path, value)
        except EnvironmentFailure as error:
            failure = failure or error
    return failure


def _add_address(index: int, address: Interface, link: Link) -> Request:
    request = add_address(index, address, link.name)
    if link.is_macvlan:
        return request
    ours = attribute(IFA_PROTO, bytes([OURS]))
    lifetime = attribute(IFA_CACHEINFO, _DEPRECATED) if address.version == 6 else b""
    return replace(request, payload=request.payload + lifetime + ours)


def _delete_address(index: int, address: Interface, name: str) -> Request:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    payload = _ADDRESS.pack(family, address.network.prefixlen, 0, 0, index) + attribute(IFA_LOCAL, address.ip.packed)
    return Request(RTM_DELADDR, 0, payload, "delete address", f"{address} from {name}")


def _mac(link: Link) -> bytes:
    return bytes.fromhex(link.mac.replace(":", ""))
