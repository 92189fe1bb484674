"""What lists and clauses are made of: protocols and types of ICMP as numbers, addresses of object-groups, conditions.

One place for both readers of a list: the one that writes nft (render.ios_match) and the one that answers for a single
packet (ios.selecting).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from understudy.ios.model import Clause, Entry, ObjectGroup
from understudy.ios.names import interface_name

NUMBERS = {
    "icmp": 1, "igmp": 2, "ipinip": 4, "tcp": 6, "igrp": 9, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "ahp": 51, "eigrp": 88, "ospf": 89, "nos": 94, "pim": 103, "pcp": 108, "vrrp": 112, "sctp": 132,
}  # fmt: skip
EVERY = ("ip", "ipv4", None)
"""Words for any protocol."""
TCP_AND_UDP = "tcp-udp"
TCP_OR_UDP = frozenset((6, 17))
PORTED = TCP_OR_UDP | {33, 132, 136}
"""Whose packets have ports."""
IcmpType = tuple[int, int | None]
"""Type and code; None: any code."""
ICMP_TYPES: Mapping[str, IcmpType] = {
    "echo-reply": (0, None), "unreachable": (3, None), "source-quench": (4, None), "redirect": (5, None),
    "alternate-address": (6, None), "echo": (8, None), "router-advertisement": (9, None),
    "router-solicitation": (10, None), "time-exceeded": (11, None), "parameter-problem": (12, None),
    "timestamp-request": (13, None), "timestamp-reply": (14, None), "information-request": (15, None),
    "information-reply": (16, None), "mask-request": (17, None), "mask-reply": (18, None), "traceroute": (30, None),
    "conversion-error": (31, None), "mobile-redirect": (32, None),
    "net-unreachable": (3, 0), "host-unreachable": (3, 1), "protocol-unreachable": (3, 2), "port-unreachable": (3, 3),
    "packet-too-big": (3, 4), "source-route-failed": (3, 5), "net-unknown": (3, 6), "host-unknown": (3, 7),
    "host-isolated": (3, 8), "dod-net-prohibited": (3, 9), "dod-host-prohibited": (3, 10),
    "administratively-prohibited": (3, 13), "host-precedence-unreachable": (3, 14),
    "net-redirect": (5, 0), "host-redirect": (5, 1), "ttl-exceeded": (11, 0), "reassembly-timeout": (11, 1),
    "general-parameter-problem": (12, 0),
}  # fmt: skip
"""IOS's words for what IANA's registry of ICMP numbers."""
ALL_BITS = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Masked:
    """Addresses that agree with `address` in the bits of `mask`."""

    address: int
    mask: int


@dataclass(frozen=True, slots=True)
class Range:
    first: int
    last: int


Addresses = Masked | Range


def protocol_number(protocol: str | None) -> int | None:
    """None if the word is of no protocol that has a number here."""
    return NUMBERS.get(str(protocol), int(str(protocol)) if str(protocol).isdecimal() else None)


def icmp_type(entry: Entry) -> IcmpType | None:
    """Which messages an entry means, by the word or the numbers right behind its addresses; None: it says none."""
    if protocol_number(entry.protocol) != NUMBERS["icmp"] or not entry.qualifiers:
        return None
    first, second = (*entry.qualifiers, "")[:2]
    if first.isdecimal():
        return int(first), int(second) if second.isdecimal() else None
    return ICMP_TYPES.get(first)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a clause of a route-map asks for: each kind of it must hold, and of one kind any."""

    lists: tuple[str, ...] = ()
    exits: tuple[tuple[str, ...], ...] = ()
    """Names of interfaces."""
    unknown: str = ""
    """What cannot be asked; empty if all can."""


def conditions_of(clause: Clause) -> Conditions:
    lists: list[str] = []
    exits: list[tuple[str, ...]] = []
    for words in clause.matches:
        match words:
            case ("ip", "address", *rest):
                lists += [word for word in rest if word != "prefix-list"]
            case ("interface", *rest):
                exits.append(tuple(interface_name(word) or word for word in rest))
            case _:
                return Conditions(unknown=f"match {' '.join(words)}")
    return Conditions(tuple(lists), tuple(exits))


def group_addresses(groups: Mapping[str, ObjectGroup], name: str) -> Iterator[Addresses]:
    """What a group of networks names, that of groups within it included, each group once; nothing if there is none."""
    seen = {name}
    waiting = [name] if name in groups else []
    while waiting:
        for line in groups[waiting.pop()].lines:
            match line.split():
                case ["group-object", inner]:
                    if inner in groups and inner not in seen:
                        seen.add(inner)
                        waiting.append(inner)
                case ["any"]:
                    yield Masked(0, 0)
                case ["host", host]:
                    yield Masked(int(IPv4Address(host)), ALL_BITS)
                case ["range", first, last]:
                    yield Range(int(IPv4Address(first)), int(IPv4Address(last)))
                case [network, mask]:
                    yield Masked(int(IPv4Address(network)), int(IPv4Address(mask)))
