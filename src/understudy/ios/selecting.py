"""Lists and route-maps asked about one flow, in Python: what `render.ios_match` says in nft, and in the same words.

A list is asked once, with the addresses that the flow's first packet had when it came in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from understudy.ios.matching import (
    ALL_BITS,
    EVERY,
    ICMP_TYPES,
    TCP_AND_UDP,
    Addresses,
    Masked,
    Range,
    group_addresses,
    protocol_number,
)
from understudy.ios.model import (
    AccessList,
    Clause,
    Configuration,
    Dynamic,
    Entry,
    Host,
    ObjectGroup,
    Ports,
    Side,
    Static,
)
from understudy.ios.names import interface_name

_PORTED = frozenset((6, 17, 33, 132, 136))


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow. An ICMP identifier is the source port."""

    protocol: int
    source: IPv4Address
    destination: IPv4Address
    source_port: int = 0
    destination_port: int = 0
    icmp: int = 8
    """Its type, where it is ICMP."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule says of a flow, and which entry or clause said it."""

    permitted: bool
    access_list: str | None = None
    entry: Entry | None = None
    route_map: str | None = None
    clause: Clause | None = None
    unknown: str = ""
    """A list or route-map that is not defined, or a match that nothing here can answer."""


@dataclass(frozen=True, slots=True)
class _Question:
    access_list: AccessList | None
    clause: Clause | None


def decide(configuration: Configuration, rule: Dynamic | Static, packet: Packet, leaving: str) -> Decision:
    """Whether the rule selects the flow that would leave by interface `leaving`; first match decides."""
    lists = {each.name: each for each in configuration.access_lists}
    groups = {each.name: each for each in configuration.object_groups}
    destination = rule.side is Side.DESTINATION
    if rule.route_map is not None:
        return _by_map(configuration, rule.route_map, packet, leaving, lists, groups, destination)
    name = rule.access_list if isinstance(rule, Dynamic) else None
    if name is None or name not in lists:
        return Decision(False, name, unknown=f"list {name}" if name is not None else "")
    if strange := _strange(lists[name]):
        return Decision(False, name, unknown=strange)
    entry = first_match(lists[name], packet, groups, destination)
    return Decision(entry is not None and entry.permit, name, entry)


def first_match(
    access_list: AccessList, packet: Packet, groups: Mapping[str, ObjectGroup], destination: bool = False
) -> Entry | None:
    """`destination`: the one address of a standard entry is the destination's."""
    return next((each for each in access_list.entries if fits(each, packet, groups, destination)), None)


def fits(entry: Entry, packet: Packet, groups: Mapping[str, ObjectGroup], destination: bool = False) -> bool:
    if destination and entry.protocol is None:
        return _host(entry.source, packet.destination, groups)
    return (
        _protocol(entry, packet)
        and _host(entry.source, packet.source, groups)
        and (entry.destination is None or _host(entry.destination, packet.destination, groups))
        and _ports(entry.source_ports, packet, packet.source_port)
        and _ports(entry.destination_ports, packet, packet.destination_port)
    )


def _by_map(
    configuration: Configuration,
    name: str,
    packet: Packet,
    leaving: str,
    lists: Mapping[str, AccessList],
    groups: Mapping[str, ObjectGroup],
    destination: bool,
) -> Decision:
    found = next((each for each in configuration.route_maps if each.name == name), None)
    if found is None:
        return Decision(False, route_map=name, unknown=f"route-map {name}")
    asked = [(clause, *_conditions(clause, leaving)) for clause in found.clauses]
    for clause, named, _, unknown in asked:
        # One part that cannot be asked, and the whole rule is left out: half of it would mean something else.
        for strange in (unknown, *(_strange(lists[each]) for each in named if each in lists)):
            if strange:
                return Decision(False, route_map=name, clause=clause, unknown=strange)
    for clause, named, by_interface, _ in asked:
        if not named:
            if by_interface:
                return Decision(clause.permit, route_map=name, clause=clause)
            continue
        for each in named:
            entry = first_match(lists[each], packet, groups, destination) if each in lists else None
            if entry is not None and entry.permit and by_interface:
                return Decision(clause.permit, each, entry, name, clause)
    return Decision(False, route_map=name)


def _conditions(clause: Clause, leaving: str) -> tuple[list[str], bool, str]:
    """Lists that a clause names, whether its interfaces fit, and what of it cannot be asked."""
    named: list[str] = []
    by_interface = True
    for words in clause.matches:
        match words:
            case ("ip", "address", *rest):
                named += [word for word in rest if word != "prefix-list"]
            case ("interface", *rest):
                by_interface &= leaving in [interface_name(word) or word for word in rest]
            case _:
                return [], False, f"match {' '.join(words)}"
    return named, by_interface, ""


def _strange(access_list: AccessList) -> str:
    """A protocol of a list that has no number."""
    for each in access_list.entries:
        if each.protocol not in (*EVERY, TCP_AND_UDP) and protocol_number(each.protocol) is None:
            return f"protocol {each.protocol}"
    return ""


def _protocol(entry: Entry, packet: Packet) -> bool:
    protocol = entry.protocol
    if protocol in EVERY:
        return True
    if protocol == TCP_AND_UDP:
        return packet.protocol in (6, 17)
    number = protocol_number(protocol)
    if number != packet.protocol:
        return False
    if number == 1 and entry.qualifiers and entry.qualifiers[0] in ICMP_TYPES:
        return packet.icmp == ICMP_TYPES[entry.qualifiers[0]]
    return True


def _ports(ports: Ports | None, packet: Packet, port: int) -> bool:
    if ports is None:
        return True
    if packet.protocol not in _PORTED:
        return False
    numbers = ports.numbers
    match ports.operator:
        case "eq":
            return port in numbers
        case "neq":
            return port not in numbers
        case "range":
            return numbers[0] <= port <= numbers[1]
        case "gt":
            return port > numbers[0]
        case "lt":
            return port < numbers[0]
    return False


def _host(host: Host, address: IPv4Address, groups: Mapping[str, ObjectGroup]) -> bool:
    if host.group is not None:
        return any(_among(int(address), each) for each in group_addresses(groups, host.group))
    return _among(int(address), Masked(int(host.address), ~int(host.wildcard) & ALL_BITS))


def _among(address: int, these: Addresses) -> bool:
    match these:
        case Range(first, last):
            return first <= address <= last
        case Masked(other, mask):
            return address & mask == other & mask
