"""Lists and route-maps asked about one flow, in Python: what `render.ios_match` says in nft, and in the same words.

A list is asked once, with the addresses that the flow's first packet had when it came in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from understudy.ios.matching import (
    ALL_BITS,
    EVERY,
    PORTED,
    TCP_AND_UDP,
    Addresses,
    Masked,
    Range,
    conditions_of,
    group_addresses,
    icmp_type,
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


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow. An ICMP identifier is the source port."""

    protocol: int
    source: IPv4Address
    destination: IPv4Address
    source_port: int = 0
    destination_port: int = 0
    icmp: int = 8
    """Its type, where it is ICMP; the code of what begins a flow is 0."""


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
    asked = [(clause, conditions_of(clause)) for clause in found.clauses]
    for clause, conditions in asked:
        # One part that cannot be asked, and the whole rule is left out: half of it would mean something else.
        for strange in (conditions.unknown, *(_strange(lists[each]) for each in conditions.lists if each in lists)):
            if strange:
                return Decision(False, route_map=name, clause=clause, unknown=strange)
    for clause, conditions in asked:
        if not all(leaving in names for names in conditions.exits):
            continue
        if not conditions.lists:
            return Decision(clause.permit, route_map=name, clause=clause)
        for each in conditions.lists:
            entry = first_match(lists[each], packet, groups, destination) if each in lists else None
            if entry is not None and entry.permit:
                return Decision(clause.permit, each, entry, name, clause)
    return Decision(False, route_map=name)


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
    said = icmp_type(entry)
    return said is None or said in ((packet.icmp, None), (packet.icmp, 0))


def _ports(ports: Ports | None, packet: Packet, port: int) -> bool:
    if ports is None:
        return True
    if packet.protocol not in PORTED:
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
