"""Access lists and route-maps of IOS as nft matches.

A list is asked once for a flow, with the addresses that the flow's first packet had when it came in: the original tuple
of conntrack, on every hook. That is what IOS looks at too: inside local and outside local on the way out, inside global
and outside global on the way in.

Lists are first match, route-maps first clause, and both can say no in the middle; nft can leave a chain but not its
caller. So a rule becomes a graph of chains that only ever `goto`: each list of each clause has one, which knows where a
permit leads, and where to go on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from understudy.ios.matching import (
    ALL_BITS,
    EVERY,
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
    Configuration,
    Dynamic,
    Entry,
    Host,
    ObjectGroup,
    Ports,
    RouteMap,
    Side,
    Static,
)
from understudy.render.text import Chain

ALTERNATIVES_MAX = 4096
"""Matches that one entry of a list may unfold to."""


@dataclass(frozen=True, slots=True)
class Uncompiled(Exception):
    """A line has no counterpart here; `what` says which part of it and why."""

    what: str


def addresses(host: Host, direction: str, groups: Mapping[str, ObjectGroup]) -> Iterator[str]:
    """nft matches, of which one must hold, for `saddr` or `daddr` of the flow's original tuple; one empty for `any`."""
    field = f"ct original ip {direction}"
    if host.group is not None:
        for each in group_addresses(groups, host.group):
            yield _match(field, each)
    elif host.any:
        yield ""
    else:
        yield _match(field, Masked(int(host.address), ~int(host.wildcard) & ALL_BITS))


def _match(field: str, these: Addresses) -> str:
    match these:
        case Range(first, last):
            return f"{field} {IPv4Address(first)}-{IPv4Address(last)}"
        case Masked(_, 0):
            return ""
        case Masked(address, mask):
            kept, inverse = address & mask, ~mask & ALL_BITS
            if inverse & (inverse + 1) == 0:
                return f"{field} {IPv4Network((kept, mask.bit_count()))}"
            return f"{field} & {IPv4Address(mask)} == {IPv4Address(kept)}"


def _ports(ports: Ports | None, direction: str) -> str:
    if ports is None:
        return ""
    field = f"ct original proto-{direction}"
    numbers = ports.numbers
    match ports.operator:
        case "eq":
            return f"{field} {{ {', '.join(map(str, numbers))} }}" if len(numbers) > 1 else f"{field} {numbers[0]}"
        case "neq":
            return f"{field} != {{ {', '.join(map(str, numbers))} }}"
        case "range":
            return f"{field} {numbers[0]}-{numbers[1]}"
        case "gt":
            return f"{field} > {numbers[0]}"
        case "lt":
            return f"{field} < {numbers[0]}"
    raise Uncompiled(f"ports {ports.operator}")


def _protocol(entry: Entry) -> str:
    protocol = entry.protocol
    if protocol in EVERY:
        return ""
    if protocol == TCP_AND_UDP:
        return "meta l4proto { 6, 17 }"
    number = protocol_number(protocol)
    if number is None:
        raise Uncompiled(f"protocol {protocol}")
    return f"meta l4proto {number}"


def _qualifiers(entry: Entry) -> str:
    """Of what stands after the addresses only ICMP's type can be told of a flow."""
    said = icmp_type(entry)
    if said is None:
        return ""
    return f"icmp type {said[0]}" if said[1] is None else f"icmp type {said[0]} icmp code {said[1]}"


def entry_matches(entry: Entry, groups: Mapping[str, ObjectGroup], subject: str = "saddr") -> list[str]:
    """The nft matches that an entry of a list stands for: a flow that one of them fits is permitted, or denied.

    `subject` is the address that an entry with only one speaks of. Raises Uncompiled if it says what nft cannot be
    asked.
    """
    if subject == "daddr" and entry.protocol is None:
        return list(addresses(entry.source, subject, groups))
    common = [_protocol(entry), _ports(entry.source_ports, "src"), _ports(entry.destination_ports, "dst")]
    common.append(_qualifiers(entry))
    found = []
    for source in addresses(entry.source, "saddr", groups):
        for target in addresses(entry.destination or Host(), "daddr", groups):
            found.append(" ".join(filter(None, (source, target, *common))))
            if len(found) > ALTERNATIVES_MAX:
                raise Uncompiled(f"more than {ALTERNATIVES_MAX} combinations of its object-groups")
    return found


@dataclass(frozen=True, slots=True)
class _Question:
    """One list (or any flow at all) under the conditions of a clause: where a permit leads, and where the rest."""

    conditions: tuple[str, ...]
    access_list: AccessList | None
    permit: bool
    subject: str


def selection(
    configuration: Configuration, rule: Dynamic | Static, name: str, then: str, otherwise: str, ports: Mapping[str, str]
) -> tuple[Chain, ...]:
    """Chains that lead a flow which `rule` selects to the chain `then` and every other to `otherwise`.

    The first is called `name`. A list or route-map that is not defined selects nothing, as on IOS.
    """
    lists = {each.name: each for each in configuration.access_lists}
    groups = {each.name: each for each in configuration.object_groups}
    maps = {each.name: each for each in configuration.route_maps}
    questions: list[_Question]
    # A standard list of `inside destination` names the virtual addresses.
    subject = "daddr" if rule.side is Side.DESTINATION else "saddr"
    named = rule.access_list if isinstance(rule, Dynamic) else None
    if rule.route_map is not None:
        questions = list(_clauses(maps.get(rule.route_map), lists, ports, subject))
    else:
        questions = [_Question((), lists[named], True, subject)] if named in lists else []
    chains = []
    for position, question in enumerate(questions):
        following = f"{name}_{position + 1}" if position + 1 < len(questions) else otherwise
        here = name if not position else f"{name}_{position}"
        target = then if question.permit else otherwise
        chains.append(Chain(here, (*_rules(question, groups, target, following), f"goto {following}")))
    return tuple(chains) or (Chain(name, (f"goto {otherwise}",)),)


def _clauses(
    route_map: RouteMap | None, lists: Mapping[str, AccessList], ports: Mapping[str, str], subject: str
) -> Iterator[_Question]:
    for clause in route_map.clauses if route_map is not None else ():
        asked = conditions_of(clause)
        if asked.unknown:
            raise Uncompiled(asked.unknown)
        quoted = (", ".join(f'"{ports.get(name, name)}"' for name in names) for names in asked.exits)
        conditions = tuple(f"oifname {{ {names} }}" for names in quoted)
        if not asked.lists:
            yield _Question(conditions, None, clause.permit, subject)
        for each in asked.lists:
            if each in lists:
                yield _Question(conditions, lists[each], clause.permit, subject)


def _rules(question: _Question, groups: Mapping[str, ObjectGroup], then: str, following: str) -> Sequence[str]:
    conditions = " ".join(question.conditions)
    if question.access_list is None:
        return (f"{conditions} goto {then}".strip(),)
    rules = []
    for entry in question.access_list.entries:
        target = then if entry.permit else following
        # A denied flow goes on with the next list; within this one nothing below counts for it.
        rules += [
            " ".join(filter(None, (conditions if entry.permit else "", text, f"goto {target}")))
            for text in entry_matches(entry, groups, question.subject)
        ]
    return rules
