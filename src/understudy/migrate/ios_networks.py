"""Which interfaces of a router become networks of a pair, and with which addresses.

The router's own address becomes the group's: hosts have it as their gateway, and the next router sends to it. Where the
router was one of a pair already, the virtual address is the group's and its own stays the first node's. The other
addresses of nodes are chosen: free in the text, near the group's, within what DHCP leaves out. Nobody but the operator
knows whether they are free on the LAN, so the file says so beside each.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import islice

from understudy.ios.lines import Reading
from understudy.ios.model import Configuration, Interface, Role, Side
from understudy.migrate import ios_words
from understudy.migrate.ios_ports import Port, Ports
from understudy.migrate.translate import free_name, plain_name
from understudy.migrate.words import Verdict

NETWORKS_MAX = 64
TRIED_MAX = 4096
"""Addresses of a prefix that are looked at for a free one."""
_NO_LAN = ("Loopback", "Tunnel", "Null", "NVI", "Virtual-", "vmi", "LISP", "nve", "vasi", "pseudowire")
_SHORT = {"GigabitEthernet": "gi", "FastEthernet": "fa", "TenGigabitEthernet": "te", "Ethernet": "eth",
          "Port-channel": "po", "TwentyFiveGigE": "twe", "HundredGigE": "hu", "FortyGigabitEthernet": "fo",
          "BD-VIF": "bd-vif"}  # fmt: skip
_DOTTED = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_EXCLUDED = re.compile(r"\s*ip dhcp excluded-address (?:vrf \S+ )?(\S+)(?: (\S+))?")


@dataclass(frozen=True, slots=True)
class Given:
    """`--inside [INTERFACE=]ADDRESS/LENGTH`: what the text does not say."""

    role: Role
    interface: str | None
    address: IPv4Interface


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the file. What is None or empty is to be filled in."""

    name: str
    interface: str
    role: Role | None
    prefix: IPv4Network | None = None
    virtual: tuple[IPv4Address, ...] = ()
    nodes: tuple[IPv4Address | None, IPv4Address | None] = (None, None)
    """The first is this router's own, where it has one beside the group's."""
    checked: bool = False
    """The first node's address is the router's own."""
    gateway: IPv4Address | None = None
    vlan: int | None = None


@dataclass(slots=True)
class Networks:
    """All of them, what must be said, and what is missing."""

    all: list[Network] = field(default_factory=list)
    told: dict[int, Verdict] = field(default_factory=dict)
    """Line: its fate."""
    missing: list[tuple[str, str]] = field(default_factory=list)
    """What only the operator can fill in, in English and Korean."""
    lent: dict[str, IPv4Address] = field(default_factory=dict)
    """Addresses of interfaces that are no LAN."""

    def named(self, interface: str) -> Network | None:
        """The network that an interface became."""
        return next((each for each in self.all if each.interface == interface), None)

    @property
    def places(self) -> dict[str, str]:
        """Interface -> network."""
        return {each.interface: each.name for each in self.all if each.interface}


def find_networks(
    reading: Reading, configuration: Configuration, ports: Ports, vrf: str | None, given: Sequence[Given]
) -> Networks:
    """`configuration` has the rules of one table, with roles inside and outside only."""
    found = Networks()
    interfaces = _with_given(configuration, vrf, given)
    rules = {rule.interface for rule in configuration.rules if rule.interface is not None}
    lenders = frozenset(rules)
    rules |= {rule.egress_interface for rule in configuration.rules if rule.egress_interface is not None}
    chosen: list[Interface] = []
    for each in interfaces.values():
        verdict = _unfit(each, vrf, named=each.name in rules)
        if verdict is not None and each.name in lenders and each.addresses and _is_apart(each.name):
            found.lent[each.name] = each.addresses[0].ip
        elif verdict is None:
            chosen.append(each)
        elif verdict is not _SILENT:
            _tell(found, reading, each, verdict)
    wanted = (each for each in chosen if _side(each) is not None or each.name in rules or _wide(each))
    chosen = sorted(wanted, key=_order)[:NETWORKS_MAX]
    taken = _Taken(reading, configuration)
    names: set[str] = set()
    # Where nothing is marked outside, it is the interface that a rule names.
    lending = () if any(_side(each) is Role.OUTSIDE for each in chosen) else tuple(rules)
    roles = {each.name: _side(each) or (Role.OUTSIDE if each.name in lending else None) for each in chosen}
    for each in chosen:
        role = roles[each.name]
        alone = sum(other is role for other in roles.values()) <= 1
        port = ports.known.get(each.name, Port(each.name))
        name = free_name(_network_name(each.name, role, port.vlan, alone=alone), names)
        found.all.append(_network(found, reading, each, name, role, port, taken, ports))
    for role in (Role.OUTSIDE, Role.INSIDE):
        if not any(each.role is role for each in found.all):
            found.all.insert(0, Network(free_name(str(role), names), "", role))
            option = f"--{role} ADDRESS/LENGTH"
            english = f"no interface is marked `ip nat {role}`: say the group's address there with {option}"
            found.missing.append(
                (english, f"`ip nat {role}` 인터페이스가 없습니다: 그쪽 그룹 주소를 {option}(으)로 적으십시오")
            )
    found.all.sort(key=lambda each: (each.role is None, each.role is Role.INSIDE))
    _gateways(found, configuration)
    return found


_SILENT = ios_words.SHUT
"""Of an interface that nobody asks for."""


def _unfit(interface: Interface, vrf: str | None, *, named: bool) -> Verdict | None:
    """Why an interface becomes no network, if it does not."""
    wanted = named or _side(interface) is not None
    if interface.vrf != vrf and not (interface.vrf is None and Role.OUTSIDE in interface.roles):
        if not wanted:
            return _SILENT
        row = ios_words.GLOBAL_TABLE if interface.vrf is None else ios_words.OTHER_VRF
        return ios_words.filled(row, vrf=interface.vrf)
    if _is_apart(interface.name):
        return ios_words.NO_LAN if wanted else _SILENT
    if interface.shutdown:
        return ios_words.filled(ios_words.SHUT) if wanted else _SILENT
    return None if wanted or interface.addresses else _SILENT


def _is_apart(name: str) -> bool:
    return name.startswith(_NO_LAN)


def _side(interface: Interface) -> Role | None:
    return next((role for role in (Role.OUTSIDE, Role.INSIDE) if role in interface.roles), None)


def _wide(interface: Interface) -> bool:
    """Whether hosts live there, that have the router as their gateway: not on a cable between two routers."""
    return bool(interface.addresses) and interface.addresses[0].network.prefixlen < 30


def _order(interface: Interface) -> int:
    return {Role.OUTSIDE: 0, Role.INSIDE: 1, None: 2}[_side(interface)]


def _with_given(configuration: Configuration, vrf: str | None, given: Sequence[Given]) -> dict[str, Interface]:
    """The interfaces, with what the operator adds to this table."""
    interfaces = {each.name: each for each in configuration.interfaces}
    for rule in configuration.rules:
        if rule.interface is not None:
            interfaces.setdefault(rule.interface, Interface(rule.interface))
    for each in given:
        name = each.interface or _meant(interfaces, each.role, {rule.interface for rule in configuration.rules})
        held = interfaces.get(name, Interface(name))
        interfaces[name] = replace(
            held, roles=(each.role,), addresses=(each.address,), vrf=vrf, dynamic=None, unnumbered=None, shutdown=False
        )
    return interfaces


def _meant(interfaces: dict[str, Interface], role: Role, ruled: set[str | None]) -> str:
    """The interface that an address without one is for: the one of that side that has none, else the only one."""
    sided = [each for each in interfaces.values() if role in each.roles]
    if role is Role.OUTSIDE and not sided:
        sided = [each for each in interfaces.values() if each.name in ruled and not each.roles]
    empty = [each for each in sided if not each.addresses]
    fits = empty or sided
    return fits[0].name if len(fits) == 1 else str(role)


def _network(
    found: Networks,
    reading: Reading,
    interface: Interface,
    name: str,
    role: Role | None,
    port: Port,
    taken: "_Taken",
    ports: Ports,
) -> Network:
    network = Network(name, interface.name, role, vlan=port.vlan)
    option = f"--{role or Role.INSIDE} {interface.name}=ADDRESS/LENGTH"
    if not interface.addresses:
        row = ios_words.DYNAMIC if interface.dynamic or interface.unnumbered else ios_words.ADDRESSLESS
        verdict = ios_words.filled(row, option=option)
        _tell(found, reading, interface, verdict)
        found.missing.append((f"{interface.name}: {verdict.reason}", f"{interface.name}: {verdict.korean}"))
        return network
    own, prefix = interface.addresses[0].ip, interface.addresses[0].network
    _told_addresses(found, reading, interface, prefix, redundant=bool(port.virtual))
    if prefix.prefixlen > 30:
        return _narrow(found, network, prefix, (own,), option)
    virtual = tuple(each for each in port.virtual if each in prefix and each != own)
    alone = not virtual
    if alone:
        virtual = tuple(dict.fromkeys(each.ip for each in interface.addresses if each.ip in prefix))
    free = list(islice(taken.free(prefix, virtual[0], {own, *virtual}), 2))
    if len(free) < (2 if alone else 1):
        return _narrow(found, network, prefix, virtual, option)
    nodes = (free[0], free[1]) if alone else (own, free[0])
    taken.more.update(each for each in (*virtual, *nodes))
    return replace(network, prefix=prefix, virtual=virtual, nodes=nodes, checked=not alone)


def _narrow(
    found: Networks, network: Network, prefix: IPv4Network, virtual: tuple[IPv4Address, ...], option: str
) -> Network:
    """Two nodes, the group and the next router are four addresses."""
    option = option.replace("ADDRESS/LENGTH", f"{virtual[0]}/{min(prefix.prefixlen - 1, 29)}")
    english = (
        f"{network.interface}: {prefix} has no room left for two nodes beside the group, the next router and what NAT "
        f"gives out: ask for a wider prefix, and say it as in {option}"
    )
    korean = (
        f"{network.interface}: {prefix}에는 그룹과 다음 라우터, NAT가 쓰는 주소 말고 두 노드의 자리가 없습니다: "
        f"더 넓은 프리픽스를 받아 {option}처럼 적으십시오"
    )
    found.missing.append((english, korean))
    return replace(network, prefix=prefix, virtual=virtual)


class _Taken:
    """Addresses that somebody has, as far as the text shows it."""

    def __init__(self, reading: Reading, configuration: Configuration) -> None:
        self.more: set[IPv4Address] = set()
        ranges = [(segment.first, segment.last) for pool in reading.configuration.pools for segment in pool.segments]
        for static in configuration.statics:
            if static.length is not None and static.global_ is not None:
                net = IPv4Network((static.global_, static.length), strict=False)
                ranges.append((net[0], net[-1]))
        apart: list[tuple[IPv4Address, IPv4Address]] = []
        for line in reading.lines:
            excluded = _EXCLUDED.match(line.text)
            if excluded is None:
                found = map(_address, _DOTTED.findall(line.text))
                self.more.update(address for address in found if address is not None)
            elif (first := _address(excluded[1])) is not None:
                apart.append((first, _address(excluded[2] or excluded[1]) or first))
        self._ranges, self._apart = _Ranges(ranges), _Ranges(apart)

    def free(self, prefix: IPv4Network, near: IPv4Address, held: set[IPv4Address]) -> Iterator[IPv4Address]:
        """Free ones, those that DHCP never gives first, then by their distance from the group's."""
        begin, end = int(prefix[1]), int(prefix[-2])
        start = int(near)
        around = (
            IPv4Address(value)
            for distance in range(1, TRIED_MAX // 2)
            for value in (start + distance, start - distance)
            if begin <= value <= end
        )
        fits = [each for each in around if each not in self.more and each not in held and each not in self._ranges]
        yield from sorted(fits, key=lambda each: each not in self._apart)


class _Ranges:
    """Addresses from firsts to lasts; those that touch are merged, so that one is looked up among many."""

    def __init__(self, ranges: Iterable[tuple[IPv4Address, IPv4Address]]) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted((int(first), int(last)) for first, last in ranges):
            if self._lasts and first <= self._lasts[-1]:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, address: IPv4Address) -> bool:
        at = bisect_right(self._firsts, int(address)) - 1
        return at >= 0 and int(address) <= self._lasts[at]


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _network_name(interface: str, role: Role | None, vlan: int | None, *, alone: bool) -> str:
    """`inside`, or `inside-gi0-1` where several are; the VLAN's number where there is one."""
    head = str(role) if role is not None else "lan"
    if alone and role is not None:
        return head
    if vlan is not None:
        return f"{head}-vlan{vlan}"
    kind = re.split(r"\d", interface, maxsplit=1)[0].rstrip("/")
    return plain_name(f"{head}-{_SHORT.get(kind, kind)}{interface[len(kind) :].lstrip('/')}")


def _tell(found: Networks, reading: Reading, interface: Interface, verdict: Verdict) -> None:
    """On the line of its role, else on its own."""
    lines = reading.running.lines
    places = [lines.get((Role, interface.name, role)) for role in Role] + [lines.get(("interface", interface.name))]
    number = next((each for each in places if each is not None), None)
    if number is not None:
        found.told[number] = verdict


def _told_addresses(
    found: Networks, reading: Reading, interface: Interface, prefix: IPv4Network, *, redundant: bool
) -> None:
    own = interface.addresses[0].ip
    for key, number in reading.running.lines.items():
        if key[:2] != ("address", interface.name):
            continue
        if key[2].network != prefix and key[2].ip != own:
            found.told[number] = ios_words.filled(ios_words.SECONDARY, prefix=key[2].network)
        else:
            found.told[number] = ios_words.OWN if redundant else ios_words.VIRTUAL


def _gateways(found: Networks, configuration: Configuration) -> None:
    """The nearest default route that leads to a neighbour on a network."""
    ways = sorted(
        (route for route in configuration.routes if route.prefix.prefixlen == 0 and route.next_hop is not None),
        key=lambda route: route.distance,
    )
    for route in ways:
        for place, network in enumerate(found.all):
            hop = route.next_hop
            if hop is not None and network.prefix is not None and hop in network.prefix and hop not in network.virtual:
                found.all[place] = replace(network, gateway=hop)
                return


def chosen_outside(configuration: Configuration) -> set[str]:
    """Interfaces that are outside where the text knows no sides (NVI): those that a rule or the default route names."""
    named = {rule.interface for rule in configuration.rules if rule.side is Side.NVI and rule.interface is not None}
    if not named:
        hops = [route.next_hop for route in configuration.routes if route.prefix.prefixlen == 0 and route.next_hop]
        named = {
            each.name
            for each in configuration.interfaces
            if any(hop in own.network for hop in hops for own in each.addresses)
        }
    return named
