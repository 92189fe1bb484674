"""First packets of flows that need an address of a pool without overload: how the kernel asks the allocator for one.

A flow for whose host the maps have no address is no reason to wait in the kernel: its first packet is logged whole,
as it came in, and dropped. The allocator reads it, fills the maps and sends the very packet again, with a mark that
says from which side it came. It enters at the output hook, where its destination is translated as it was on the way
in, and its source is translated where it failed before: the flow's entry is the same as if nothing had happened. No
second front end is needed, and no queue of the kernel's.

    ios_entry_out   inside local  -> inside global, simple entries: used before any list is asked, as on IOS
    ios_entry_in    inside global -> inside local: any outside host reaches a host that has an entry
    ios_far_out     outside global -> outside local
    ios_far_in      outside local  -> outside global
    ios_flowX_out   inside local  -> inside global, for a route-map's pool: asked after the route-map
    ios_flowX_in    back; filled only where the rule is reversible
    ios_port_out    a flow -> inside global and port, of `overload` in a profile that counts ports

Only the allocator writes these maps; a text that is loaded again leaves them alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from zlib import crc32

from understudy.core.allocation.events import Configured
from understudy.core.allocation.ports import FlowKey
from understudy.core.allocation.records import Entry, PoolSettings
from understudy.ios.model import NEVER, Side, Timeout
from understudy.render.text import FAMILY_INET, TABLE, Elements
from understudy.units import SECOND

LOG_GROUP = 0x5553
"""Of nfnetlink_log; one in each network namespace."""
LOG_PREFIX = "understudy-pool-"
PORT_PREFIX = "understudy-port-"
ASIDE_PREFIX = "understudy-aside-"
"""The global address follows: all flows are counted, or those alone that use a port of the router's own."""
OWN_PORTS = (500, 4500)
"""UDP ports that `ios-xe-15.5` never uses for others: the router's ISAKMP."""
PORT_MAP = "ios_port_out"
KEPT = re.compile(r"ios_(?:entry|far|flow[0-9a-f]{8})_(?:in|out)|ios_crowded_[0-9a-f]{8}|" + PORT_MAP)
"""Names of the maps that the allocator's process fills."""
AGAIN_MASK = 0x8800_0000
"""Bits of the packet mark; the rest stays what it was."""
AGAIN_INSIDE = 0x8000_0000
AGAIN_OUTSIDE = 0x8800_0000
_ASKING_RATE = "20000/second burst 4000 packets"
"""What the allocator is asked at most: a scan must not take a processor."""
SIMPLE_TIMEOUT_S = 86_400
EXTENDED_TIMEOUT_S = 3_600
"""`timeout` and `routemap-entry-timeout`, where no line says otherwise."""
_MAP = re.compile(r"^\tmap (\S+) \{\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)
_ELEMENT = re.compile(r"(\d+\.\d+\.\d+\.\d+) : (\d+\.\d+\.\d+\.\d+)")
_FLOW = " . ".join(
    ("ct original ip saddr", "meta l4proto", "ct original proto-src", "ct original ip daddr", "ct original proto-dst")
)
_PORTS = (
    "type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service; "
    "flags timeout; timeout 5s; size 65536;"
)
_PAIR = "type ipv4_addr : ipv4_addr; size 262144;"


@dataclass(frozen=True, slots=True)
class Allocated:
    """A pool in one role: addresses that only an allocator can hand out, one a host, in ascending order."""

    pool: str
    spans: tuple[tuple[IPv4Address, IPv4Address], ...]
    side: Side
    extended: bool
    """An entry for each flow (a route-map's rule), not for each host."""
    reversible: bool = False
    match_length: int | None = None
    """Of a match-host pool: this many bits are the pool's, the rest the host's own."""

    @property
    def name(self) -> str:
        """What it is called between nodes: the pool and its role."""
        role = "far" if self.side is Side.OUTSIDE else "near"
        return f"{self.pool}/{role}{'/flows' if self.extended else ''}{'/reversible' if self.reversible else ''}"

    @property
    def number(self) -> int:
        """The same for the same pool and role in every text: entries outlive a change of the rules around them."""
        return crc32(self.name.encode()) & 0x7FFF_FFFF

    @property
    def maps(self) -> tuple[str, str]:
        """Host to given address, and back."""
        if self.side is Side.OUTSIDE:
            return "ios_far_out", "ios_far_in"
        stem = f"ios_flow{self.number:08x}" if self.extended else "ios_entry"
        return f"{stem}_out", f"{stem}_in"


def kept_maps(pools: Sequence[Allocated]) -> tuple[Elements, ...]:
    """Maps that belong to the allocator. The simple ones are always there: entries outlive the rules that made them."""
    names = dict.fromkeys(("ios_entry_out", "ios_entry_in", "ios_far_out", "ios_far_in"))
    names |= dict.fromkeys(name for each in pools for name in each.maps)
    return (*(Elements("map", name, _PAIR, ()) for name in names), Elements("map", PORT_MAP, _PORTS, ()))


def ask(pool: Allocated) -> tuple[str, ...]:
    """Rules at the end of a rule's chain: translate by what is known, or ask and drop."""
    known = (f"snat ip to ip saddr map @{pool.maps[0]}",) if pool.extended else ()
    return (*known, *_log(f"{LOG_PREFIX}{pool.number}"))


def _log(prefix: str) -> tuple[str, ...]:
    return (
        # Sent again, and still nobody knows it: somebody else's hand is in the maps. Never round and round.
        f"meta mark & {AGAIN_MASK:#x} == {{ {AGAIN_INSIDE:#x}, {AGAIN_OUTSIDE:#x} }} counter drop",
        # It is dropped here in any case, so it may be turned back to what it was when it came in.
        "ct status dnat ip daddr set ct original ip daddr",
        "ct status dnat meta l4proto { tcp, udp } th dport set ct original proto-dst",
        f'limit rate {_ASKING_RATE} log prefix "{prefix}" group {LOG_GROUP} snaplen 65535',
        "counter drop",
    )


def count_ports(address: IPv4Address) -> tuple[str, ...]:
    """Rules at the end of a rule's chain of `overload` where ports are counted: each flow asks for its own."""
    return (
        f"meta l4proto {{ tcp, udp, icmp }} snat ip to {_FLOW} map @{PORT_MAP}",
        f"meta l4proto != {{ tcp, udp, icmp }} snat ip to {address}",
        *_log(f"{PORT_PREFIX}{address}"),
    )


def keep_aside(address: IPv4Address, first: Sequence[str] = ()) -> tuple[str, ...]:
    """Chains cannot branch here: rules that count flows from the router's own ports, before others are translated.

    `first` is asked before the allocator is.
    """
    own = f"udp sport {{ {', '.join(map(str, OWN_PORTS))} }}"
    asking = (f"{own} {rule}" for rule in (*first, *_log(f"{ASIDE_PREFIX}{address}")))
    return (f"{own} snat ip to {_FLOW} map @{PORT_MAP}", *asking)


def ports_text(ports: Mapping[tuple[int, FlowKey], int], table: str = f"{FAMILY_INET} {TABLE}") -> str:
    """nft commands for flows' ports: they are needed until the flow has its entry, and go by themselves."""
    elements = (
        f"{IPv4Address(flow.source)} . {flow.protocol} . {flow.source_port} . {IPv4Address(flow.target)} . "
        f"{flow.target_port} : {IPv4Address(address)} . {port}"
        for (address, flow), port in ports.items()
    )
    return f"add element {table} {PORT_MAP} {{ {', '.join(elements)} }}\n"


def entries_text(
    pools: Iterable[Allocated], added: Iterable[Entry], removed: Iterable[Entry], table: str = f"{FAMILY_INET} {TABLE}"
) -> str:
    """nft commands for entries of the maps; those to be removed must be there."""
    by_number = {each.number: each for each in pools}
    lines = []
    for verb, entries in (("delete", removed), ("add", added)):
        contents: dict[str, list[str]] = {}
        for entry in entries:
            pool = by_number[entry.pool]
            out, back = pool.maps
            host, given = IPv4Address(entry.host), IPv4Address(entry.given)
            contents.setdefault(out, []).append(f"{host} : {given}")
            if not pool.extended or pool.reversible:
                contents.setdefault(back, []).append(f"{given} : {host}")
        lines += [f"{verb} element {table} {name} {{ {', '.join(pairs)} }}\n" for name, pairs in contents.items()]
    return "".join(lines)


def allocation(
    pools: Sequence[Allocated], reserved: Iterable[tuple[IPv4Address, IPv4Address]], timeouts: Iterable[Timeout]
) -> Configured:
    """What the allocator is told of a text."""
    said = {each.which: each.seconds for each in timeouts}
    simple = said.get("timeout", SIMPLE_TIMEOUT_S)
    extended = said.get("routemap-entry-timeout", EXTENDED_TIMEOUT_S)

    def settings(each: Allocated) -> PoolSettings:
        seconds = extended if each.extended else simple
        return PoolSettings(
            number=each.number,
            name=each.name,
            spans=tuple((int(first), int(last)) for first, last in each.spans),
            # Zero would take the address away between two packets.
            timeout=None if seconds == NEVER else max(1, seconds) * SECOND,
            outside=each.side is Side.OUTSIDE,
            extended=each.extended,
            match_length=each.match_length,
        )

    made = tuple(settings(each) for each in pools)
    return Configured(made, tuple(sorted((int(first), int(last)) for first, last in reserved)))


def map_listings(pools: Sequence[Allocated]) -> tuple[str, ...]:
    """nft commands that print what the maps of these pools hold."""
    names = dict.fromkeys(each.maps[0] for each in pools)
    return tuple(f"list map {FAMILY_INET} {TABLE} {name}\n" for name in names)


def parse_maps(pools: Sequence[Allocated], listing: str) -> tuple[Entry, ...]:
    """Entries that such listings show: each is that pool's of its map which may hand the address out."""
    found = []
    for name, body in _MAP.findall(listing):
        candidates = [each for each in pools if each.maps[0] == name]
        for host, given in _ELEMENT.findall(body):
            address = IPv4Address(given)
            for pool in candidates:
                if any(first <= address <= last for first, last in pool.spans):
                    found.append(Entry(pool.number, int(IPv4Address(host)), int(address)))
                    break
    return tuple(found)
