"""`overload`: many hosts behind one address, told apart by port.

The kernel keeps a flow's source port while nobody has it towards the same destination, and else takes one of the same
group of ports; with none left it drops the packet, and does not try another address of a pool. So that the next address
is taken where the first is used up, a map names the destinations towards which it is, each with the address that has
ports left; the allocator's process counts flows and fills it (agent.crowding).

    ios_crowded_X   destination, protocol, port -> the pool's address that serves it from here on

Ports on which something of ours listens on that address are left to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise
from zlib import crc32

from understudy.core.allocation.ports import FIRST, LAST, beyond
from understudy.ios.model import Configuration
from understudy.render.ios_scene import Port
from understudy.render.text import FAMILY_INET, TABLE, Elements

CROWDED = "ios_crowded_"
LADDER_MAX = 256
"""Addresses of a pool that are filled one after the other."""
_CROWDED = "type ipv4_addr . inet_proto . inet_service : ipv4_addr; size 65536;"
_GROUPS = ((1, 511), (512, 1023), (FIRST, LAST))
"""A port that is not free gives way to one of its own group."""

Destination = tuple[int, int, int]
"""Address, protocol and port, as numbers."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """A pool of `overload` with more than one address: the next one where the ports of one are used up."""

    pool: str
    addresses: tuple[int, ...]
    """In the order in which they are filled."""

    @property
    def map(self) -> str:
        return f"{CROWDED}{crc32(self.pool.encode()):08x}"


def ladder_of(pool: str, spans: Sequence[tuple[IPv4Address, IPv4Address]]) -> Ladder | None:
    """None where there is no next address."""
    ranges = (range(int(first), int(last) + 1)[:LADDER_MAX] for first, last in spans)
    addresses = tuple(number for span in ranges for number in span)[:LADDER_MAX]
    return Ladder(pool, addresses) if len(addresses) > 1 else None


def ladder_maps(ladders: Sequence[Ladder]) -> tuple[Elements, ...]:
    return tuple(Elements("map", name, _CROWDED, ()) for name in dict.fromkeys(each.map for each in ladders))


def climb(ladder: Ladder) -> tuple[str, ...]:
    """Rules before those of the first address."""
    return (f"meta l4proto {{ tcp, udp }} snat ip to ip daddr . meta l4proto . th dport map @{ladder.map}",)


def crowded_text(ladder: Ladder, serving: Mapping[Destination, int]) -> str:
    """nft commands: these destinations are served by these addresses, and every other one by the first."""
    elements = ", ".join(
        f"{IPv4Address(address)} . {protocol} . {port} : {IPv4Address(serves)}"
        for (address, protocol, port), serves in serving.items()
    )
    name = f"{FAMILY_INET} {TABLE} {ladder.map}"
    return f"flush map {name}\n" + (f"add element {name} {{ {elements} }}\n" if elements else "")


def overload_rules(
    configuration: Configuration, address: IPv4Address, own_ports: Sequence[Port], *, interface: bool
) -> tuple[str, ...]:
    """Translate to one address, shared by port, without the ports that are set aside."""
    rules: list[str] = []
    for words in (each.words for each in configuration.directives if interface and not each.negated):
        match words:
            case ("settings", "interface-overload", "block", "port", ("tcp" | "udp") as protocol, number):
                rules.append(f"{protocol} sport {number} snat ip to {address}:{beyond(int(number))}-65535")
            case ("settings", "interface-overload", "port", "range", first_port, last_port):
                span = f"{int(first_port)}-{int(last_port)}"
                rules.append(f"meta l4proto {{ tcp, udp }} snat ip to {address}:{span}")
    rules += _kept_free(address, own_ports)
    # What names single ports before what names all.
    return (*sorted(rules, key=lambda rule: rule.startswith("meta")), f"snat ip to {address}")


def _kept_free(address: IPv4Address, own_ports: Sequence[Port]) -> list[str]:
    """Flows from a port that is somebody's own get one of the widest gap between such ports in the same group.

    A range is all that the kernel can be told, and within it a free port is kept.
    """
    rules = []
    for protocol in ("tcp", "udp"):
        taken = sorted({port for of, port in own_ports if of == protocol})
        for first, last in _GROUPS:
            here = [port for port in taken if first <= port <= last]
            edges = [first - 1, *here, last + 1]
            gap, low = max((high - low - 1, low) for low, high in pairwise(edges))
            if here and gap > 0:
                ports = ", ".join(map(str, here))
                rules.append(f"{protocol} sport {{ {ports} }} snat ip to {address}:{low + 1}-{low + gap}")
    return rules
