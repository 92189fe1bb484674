"""What lists are made of, as numbers: protocols, types of ICMP, and the addresses of object-groups.

One place for both readers of a list: the one that writes nft (render.ios_match) and the one that answers for a single
packet (ios.selecting).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from understudy.ios.model import ObjectGroup

NUMBERS = {
    "icmp": 1, "igmp": 2, "ipinip": 4, "tcp": 6, "igrp": 9, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "ahp": 51, "eigrp": 88, "ospf": 89, "nos": 94, "pim": 103, "pcp": 108, "vrrp": 112, "sctp": 132,
}  # fmt: skip
EVERY = ("ip", "ipv4", None)
"""Words for any protocol."""
TCP_AND_UDP = "tcp-udp"
ICMP_TYPES = {
    "echo": 8, "echo-reply": 0, "unreachable": 3, "time-exceeded": 11, "redirect": 5, "source-quench": 4,
    "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14,
}  # fmt: skip
GROUP_DEPTH_MAX = 8
"""Of object-groups within object-groups."""
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


def group_addresses(groups: Mapping[str, ObjectGroup], name: str, depth: int = 0) -> Iterator[Addresses]:
    """What a group of networks names, that of groups within it included; nothing if there is no such group."""
    if name not in groups or depth > GROUP_DEPTH_MAX:
        return
    for line in groups[name].lines:
        match line.split():
            case ["group-object", inner]:
                yield from group_addresses(groups, inner, depth + 1)
            case ["any"]:
                yield Masked(0, 0)
            case ["host", host]:
                yield Masked(int(IPv4Address(host)), ALL_BITS)
            case ["range", first, last]:
                yield Range(int(IPv4Address(first)), int(IPv4Address(last)))
            case [network, mask]:
                yield Masked(int(IPv4Address(network)), _mask(mask.removeprefix("/")))


def _mask(said: str) -> int:
    """A mask or a length."""
    return int(IPv4Address(said)) if "." in said else ALL_BITS << (32 - int(said)) & ALL_BITS
