"""Static entries as tables, and the next address of a pool: what a new flow is translated by, without a kernel.

The tables and their order are those of `render.ios_nat`: ports before protocols before hosts before networks; of two
with one key the first stays, as on IOS. `in`: inside global -> inside local. `out`: back. `local`: outside local ->
outside global. `global`: back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from understudy.ios.matching import protocol_number
from understudy.ios.model import Configuration, Pool, Role, Side, Static
from understudy.ios.pools import Span, spans_of
from understudy.ios.translations import Given, global_of


@dataclass(frozen=True, slots=True)
class Found:
    """What an address and port become, and by which entry."""

    address: IPv4Address
    port: int | None
    """None: it stays."""
    static: Static


@dataclass(slots=True)
class _Table:
    ports: dict[tuple[int, IPv4Address, int], Found] = field(default_factory=dict)
    alone: dict[tuple[int, IPv4Address], Found] = field(default_factory=dict)
    """Hosts for one protocol without ports."""
    hosts: dict[IPv4Address, Found] = field(default_factory=dict)
    networks: dict[IPv4Network, tuple[IPv4Network, Static]] = field(default_factory=dict)

    def find(self, protocol: int, address: IPv4Address, port: int) -> Found | None:
        found = self.ports.get((protocol, address, port)) or self.alone.get((protocol, address))
        found = found or self.hosts.get(address)
        if found is not None:
            return found
        for here, (there, static) in self.networks.items():
            if address in here:
                number = int(address) & int(here.hostmask)
                return Found(IPv4Address(int(there.network_address) | number), None, static)
        return None


@dataclass(frozen=True, slots=True)
class Conditional:
    """A static entry that is asked in its turn and not by its address alone."""

    static: Static
    other: IPv4Address

    def meets(self, protocol: int, address: IPv4Address, port: int, vrf: str | None) -> bool:
        static = self.static
        if address != static.local or (static.vrf is not None and vrf != static.vrf):
            return False
        number = protocol_number(static.protocol)
        return number in (None, protocol) and static.local_port in (None, port)


class Lookups:
    def __init__(self, configuration: Configuration, own: Mapping[str, IPv4Address]) -> None:
        self.tables = {way: _Table() for way in ("in", "out", "local", "global")}
        self.conditional: list[Conditional] = []
        self.vrfs = {
            each.vrf for each in configuration.interfaces if each.vrf is not None and Role.INSIDE in each.roles
        }
        for static in configuration.statics:
            self._enter(static, global_of(static, own))

    def _enter(self, static: Static, other: IPv4Address | None) -> None:
        if other is None or (static.vrf is not None and not self._plain_in_vrf(static)):
            return
        if static.side is Side.OUTSIDE:
            self._put(static, "local", static.local, other, static.local_port, static.global_port)
            self._put(static, "global", other, static.local, static.global_port, static.local_port)
            return
        self._put(static, "in", other, static.local, static.global_port, static.local_port)
        if static.vrf is None and static.route_map is None:
            self._put(static, "out", static.local, other, static.local_port, static.global_port)
        else:
            self.conditional.append(Conditional(static, other))

    def _plain_in_vrf(self, static: Static) -> bool:
        plain = static.side is Side.INSIDE and static.length is None and static.interface is None
        return plain and static.vrf in self.vrfs and static.route_map is None

    def _put(
        self, static: Static, way: str, key: IPv4Address, value: IPv4Address, port: int | None, becomes: int | None
    ) -> None:
        table = self.tables[way]
        number = protocol_number(static.protocol)
        if static.length is not None:
            here, there = (IPv4Network((each, static.length), strict=False) for each in (key, value))
            table.networks.setdefault(here, (there, static))
        elif number is not None and port is not None:
            table.ports.setdefault((number, key, port), Found(value, becomes, static))
        elif number is not None:
            table.alone.setdefault((number, key), Found(value, None, static))
        else:
            table.hosts.setdefault(key, Found(value, None, static))


def reserved(configuration: Configuration, own: Mapping[str, IPv4Address]) -> tuple[Span, ...]:
    """What no pool may hand out: addresses of interfaces and of statics."""
    found = {(i.ip, i.ip) for each in configuration.interfaces for i in each.addresses}
    found |= {(address, address) for address in own.values()}
    for static in configuration.statics:
        address = static.local if static.side is Side.OUTSIDE else static.global_
        if address is not None:
            net = IPv4Network((address, static.length if static.length is not None else 32), strict=False)
            found.add((net.network_address, net.broadcast_address))
    return tuple(sorted(found))


def next_address(
    pool: Pool, host: IPv4Address, given: Sequence[Given], taken: frozenset[IPv4Address], kept: Sequence[Span]
) -> IPv4Address | None:
    """What the allocator would give a host: its own, or the next free address. None: the pool is dry.

    `given` are the entries of this pool in this role, in the order of giving; `taken` those of all pools.
    """
    mine = next((each.given for each in given if each.host == host), None)
    if mine is not None:
        return mine
    spans = spans_of(pool)
    if not spans:
        return None
    if pool.kind == "match-host":
        mask = (1 << 32 - pool.length) - 1
        own = IPv4Address(int(spans[0][0]) & ~mask | int(host) & mask)
        inside = any(first <= own <= last for first, last in spans)
        return own if inside and own not in taken and _free_from(own, kept) == own else None
    return _onwards(spans, given[-1].given if given else None, taken, kept)


def _onwards(
    spans: Sequence[Span], last: IPv4Address | None, taken: frozenset[IPv4Address], kept: Sequence[Span]
) -> IPv4Address | None:
    """The first free address behind the last one that was given, and from the beginning after the end."""
    start = next((n for n, (first, end) in enumerate(spans) if last is not None and first <= last <= end), None)
    ways = list(spans)
    if start is not None and last is not None:
        first, end = spans[start]
        rest = [(last + 1, end)] if last < end else []
        ways = [*rest, *spans[start + 1 :], *spans[:start], (first, last)]
    for first, end in ways:
        address = _free_from(first, kept)
        # As many steps as there are entries at most: each taken address is one of them.
        while address is not None and address <= end and address in taken:
            address = _free_from(address + 1, kept)
        if address is not None and address <= end:
            return address
    return None


def _free_from(address: IPv4Address, kept: Sequence[Span]) -> IPv4Address | None:
    """This address, or the first behind the ranges that it lies in; `kept` are sorted by their beginnings."""
    for first, last in kept:
        if first <= address <= last:
            if int(last) == 0xFFFFFFFF:
                return None
            address = last + 1
    return address
