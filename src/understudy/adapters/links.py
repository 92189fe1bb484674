"""The links, addresses, routing rules and neighbours of one node's kernel (rtnetlink(7), netdevice(7)).

Set-up is idempotent: what is there already and right is left alone, so that applying again changes nothing. Bringing a
link up or down is one ioctl, because it is on the path of a promotion.
"""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
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
)
from understudy.errors import EnvironmentFailure
from understudy.render.model import Link, RoutingRule, Sysctl
from understudy.units import Address, Family, Interface

RTM_GETLINK, RTM_DELADDR, RTM_GETADDR, RTM_GETNEIGH = 18, 21, 22, 30
IFLA_LINK, IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_MACVLAN_MODE = 5, 1, 2, 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4}
NDA_DST = 1
NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10  # reachable, stale, delay, probe
FRA_DST, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_TABLE, FRA_IP_PROTO, FRA_DPORT_RANGE = 1, 3, 4, 6, 15, 22, 24
FR_ACTIONS = {"local": 1, "goto": 2, "blackhole": 6}  # FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_BLACKHOLE
RT_TABLE_LOCAL = 255
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
LINK_PREFIX = "us"
"""Our own virtual links begin so; others are never touched."""

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


@dataclass(frozen=True, slots=True)
class PresentLink:
    index: int
    name: str
    mac: bytes
    up: bool
    carrier: bool


class Links:
    """Acts on the network namespace in which it was made."""

    def __init__(self) -> None:
        self._route = RouteSocket()
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    # --- reading

    def links(self) -> list[PresentLink]:
        found = []
        for payload in self._route.dump(RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, _, index, flags, _ = _LINK.unpack_from(payload)
            details = attributes(payload, _LINK.size)
            name = details.get(IFLA_IFNAME, b"").rstrip(b"\0").decode()
            mac = details.get(IFLA_ADDRESS, b"")
            found.append(PresentLink(index, name, mac, bool(flags & IFF_UP), bool(flags & IFF_LOWER_UP)))
        return found

    def addresses(self) -> Iterator[tuple[int, Address, int]]:
        """Index of the link, address, prefix length."""
        for payload in self._route.dump(RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, length, _, _, index = _ADDRESS.unpack_from(payload)
            details = attributes(payload, _ADDRESS.size)
            raw = details.get(IFA_LOCAL) or details.get(IFA_ADDRESS)
            if raw:
                yield index, ip_address(raw), length

    def neighbours(self, index: int) -> list[Address]:
        """Neighbours of a link whose MAC the kernel knows."""
        found: list[Address] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for payload in self._route.dump(RTM_GETNEIGH, _NEIGHBOUR.pack(family, 0, 0, 0, 0)):
                _, at, state, _, _ = _NEIGHBOUR.unpack_from(payload)
                raw = attributes(payload, _NEIGHBOUR.size).get(NDA_DST)
                if at == index and state & NUD_KNOWN and raw and not ip_address(raw).is_multicast:
                    found.append(ip_address(raw))
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
        """Make the kernel hold exactly these virtual links (down if new), these sysctls and these rules of ours."""
        for path, value in sysctls:
            write_sysctl(path, value)
        self._apply_rules(rules)
        present = {link.name: link for link in self.links()}
        wanted = {link.name: link for link in links}
        for name, stale in present.items():
            if name.startswith(LINK_PREFIX) and is_ours(stale.mac) and name not in wanted:
                self._delete_link(stale.index, name)
        for link in links:
            there = present.get(link.name)
            if there is not None and there.mac != bytes.fromhex(link.mac.replace(":", "")):
                self._delete_link(there.index, link.name)
                there = None
            if there is None:
                self._add_macvlan(link, present[link.parent].index)
            for path, value in link.sysctls:
                write_sysctl(path, value)
        self._apply_addresses(links)

    def remove(self, links: Sequence[Link], rules: Sequence[RoutingRule]) -> None:
        """Take our links and rules away again."""
        present = {link.name: link for link in self.links()}
        for link in links:
            if link.name in present:
                self._delete_link(present[link.name].index, link.name)
        for rule in rules:
            if rule.action == "blackhole":
                self._rule(RTM_DELRULE, rule, missing_is_fine=True)

    def _apply_addresses(self, links: Sequence[Link]) -> None:
        index = {link.name: link.index for link in self.links()}
        held: dict[int, dict[Address, int]] = {}
        for at, address, length in self.addresses():
            held.setdefault(at, {})[address] = length
        for link in links:
            at = index[link.name]
            wanted = {interface.ip: interface for interface in link.addresses}
            for address, length in held.get(at, {}).items():
                if address not in wanted:
                    self._route.commit([_delete_address(at, address, length, link.name)])
            missing = [interface for address, interface in wanted.items() if address not in held.get(at, {})]
            self._route.commit([add_address(at, interface, link.name) for interface in missing])

    def restore_addresses(self, link: Link) -> None:
        """IPv6 addresses go with a link that goes down, unless the kernel was told to keep them: put back what is
        missing.
        """
        index = socket.if_nametoindex(link.name)
        held = {address for at, address, _ in self.addresses() if at == index}
        missing: list[Interface] = [interface for interface in link.addresses if interface.ip not in held]
        if missing:
            self._route.commit([add_address(index, interface, link.name) for interface in missing])

    def _add_macvlan(self, link: Link, parent: int) -> None:
        mode = attribute(IFLA_MACVLAN_MODE, struct.pack("=I", MACVLAN_MODES[link.mode]))
        payload = (
            _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            + attribute(IFLA_IFNAME, link.name.encode() + b"\0")
            + attribute(IFLA_LINK, struct.pack("=I", parent))
            + attribute(IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
            + attribute(
                IFLA_LINKINFO | NLA_F_NESTED,
                attribute(IFLA_INFO_KIND, b"macvlan") + attribute(IFLA_INFO_DATA | NLA_F_NESTED, mode),
            )
        )
        self._route.commit([Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, "add macvlan", link.name)])

    def _delete_link(self, index: int, name: str) -> None:
        payload = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)
        self._route.commit([Request(RTM_DELLINK, 0, payload, "delete link", name)])


def write_sysctl(path: str, value: str) -> None:
    """Write below /proc/sys, unless it says so already. Raises EnvironmentFailure."""
    file = Path("/proc/sys") / path
    try:
        if file.read_text().strip() != value:
            file.write_text(value)
    except OSError as error:
        raise EnvironmentFailure("set sysctl", path, os.strerror(error.errno or 0)) from error


def is_ours(mac: bytes) -> bool:
    """A virtual router's MAC address (RFC 9568, section 7.3)."""
    return mac[:4] == b"\x00\x00\x5e\x00" and mac[4:5] in (b"\x01", b"\x02")


def _delete_address(index: int, address: Address, length: int, name: str) -> Request:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    payload = _ADDRESS.pack(family, length, 0, 0, index) + attribute(IFA_LOCAL, address.packed)
    return Request(RTM_DELADDR, 0, payload, "delete address", f"{address} from {name}")


def _af(family: Family | int) -> int:
    return socket.AF_INET if family == 4 else socket.AF_INET6
