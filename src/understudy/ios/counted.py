"""Outputs of `show ip nat statistics` and `show ip nat pool name P`, line by line in the router's order. Pure.

What the kernel does not count by itself is told by the caller (`Counters`); zero stands for what nobody counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from understudy.errors import OperatorError
from understudy.ios.layout import age, check_layout
from understudy.ios.model import Configuration, Dynamic, Pool, Role, Side
from understudy.ios.pools import among, count_of, spans_of
from understudy.ios.translations import Given, Kind, Translation

_SECTIONS = (
    (Side.INSIDE, "Inside Source"),
    (Side.DESTINATION, "Inside Destination"),
    (Side.OUTSIDE, "Outside Source"),
)
_WIDTH = 78
_HALVES = (("Low", 512, 1023), ("High", 1024, 65_535))
"""Ports that an address lends in either half: those below 512 are kept for what asks for them."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the table was made, or the statistics cleared."""

    hits: int = 0
    misses: int = 0
    expired: int = 0
    peak: int | None = None
    """None: the present number is the highest that is known."""
    peak_age_s: int = 0
    fast: int = 0
    """Packets that the kernel translated by an entry."""
    asked: int = 0
    """Packets that were handed to the allocator."""
    pool_misses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How much of a pool is handed out."""

    pool: Pool
    total: int
    allocated: int
    misses: int
    ports: Mapping[str, tuple[int, int]]
    """By `udp` and `tcp`: low and high ports in use."""

    @property
    def percent(self) -> int:
        return 100 * self.allocated // self.total if self.total else 0


def use_of(pool: Pool, rows: Sequence[Translation], given: Sequence[Given], misses: int = 0) -> PoolUse:
    """Addresses of a pool that an entry has; of a rotary the servers that serve."""
    held = {each.given for each in given if each.pool == pool.name}
    spans = spans_of(pool)
    used: dict[str, list[int]] = {"udp": [0, 0], "tcp": [0, 0]}
    for row in rows:
        end = row.inside_local if pool.kind == "rotary" else row.inside_global
        if end is None or row.kind is not Kind.FLOW or not among(spans, IPv4Address(end.address)):
            continue
        held.add(IPv4Address(end.address))
        if row.protocol in used and end.port is not None:
            used[row.protocol][end.port > 1023] += 1
    ports = {name: (low, high) for name, (low, high) in used.items()}
    return PoolUse(pool, count_of(pool), len(held), misses, ports)


def totals(rows: Sequence[Translation]) -> tuple[int, int, int, int]:
    """All, static, dynamic, extended: what flows through a static entry is a dynamic one of its own."""
    static = sum(row.kind is Kind.STATIC for row in rows)
    extended = sum("extended" in row.flags for row in rows)
    return len(rows), static, len(rows) - static, extended


def print_statistics(
    configuration: Configuration,
    rows: Sequence[Translation],
    given: Sequence[Given] = (),
    counters: Counters | None = None,
    layout: str = "A",
) -> str:
    """The whole output."""
    check_layout(layout)
    told = counters if counters is not None else Counters()
    return "\n".join(_statistics(configuration, rows, given, told, layout)) + "\n"


def _statistics(
    configuration: Configuration, rows: Sequence[Translation], given: Sequence[Given], told: Counters, layout: str
) -> Iterator[str]:
    active, static, dynamic, extended = totals(rows)
    yield f"Total active translations: {active} ({static} static, {dynamic} dynamic; {extended} extended)"
    if layout == "A":
        peak = max(active, told.peak or 0)
        yield f"Peak translations: {peak}, occurred {age(told.peak_age_s if told.peak == peak else 0)} ago"
    yield "Outside interfaces:"
    yield from _named(configuration, Role.OUTSIDE)
    yield "Inside interfaces: "
    yield from _named(configuration, Role.INSIDE)
    yield f"Hits: {told.hits}  Misses: {told.misses}"
    yield f"CEF Translated packets: {told.fast}, CEF Punted packets: {told.asked}"
    yield f"Expired translations: {told.expired}"
    yield "Dynamic mappings:"
    pools = {pool.name: pool for pool in configuration.pools}
    told_of: set[str] = set()
    counts = Counter(row.rule for row in rows)
    for side, title in _SECTIONS:
        rules = [(number, rule) for number, rule in _numbered(configuration) if rule.side is side]
        if rules:
            yield f"-- {title}"
        for number, rule in rules:
            yield _mapping(number, rule, counts[number])
            pool = pools.get(rule.pool or "")
            if pool is not None and pool.name not in told_of:
                told_of.add(pool.name)
                yield from _pool(use_of(pool, rows, given, told.pool_misses.get(pool.name, 0)))
    yield from _CLASSIC_TAIL if layout == "A" else _modern_tail(configuration, rows)


_CLASSIC_TAIL = ("", "Total doors: 0", "Appl doors: 0", "Normal doors: 0", "Queued Packets: 0")


def _modern_tail(configuration: Configuration, rows: Sequence[Translation]) -> Iterator[str]:
    allowed = next((each.count for each in configuration.limits if not each.scope), 0)
    yield "nat-limit statistics:"
    yield f" max entry: max allowed {allowed}, used {len(rows) if allowed else 0}, missed 0"
    yield "In-to-out drops: 0  Out-to-in drops: 0"
    yield "Pool stats drop: 0  Mapping stats drop: 0"
    yield "Port block alloc fail: 0"
    yield "IP alias add fail: 0"
    yield "Limit entry add fail: 0"


def _numbered(configuration: Configuration) -> Iterator[tuple[int, Dynamic]]:
    yield from enumerate(configuration.dynamics, start=1)


def _mapping(number: int, rule: Dynamic, count: int) -> str:
    asked = f"access-list {rule.access_list}" if rule.access_list is not None else f"route-map {rule.route_map}"
    target = f"pool {rule.pool}" if rule.pool is not None else f"interface {rule.interface}"
    return f"[Id: {number}] {asked} {target} refcount {count}"


def _pool(use: PoolUse) -> Iterator[str]:
    yield f" pool {use.pool.name}: netmask {IPv4Network((0, use.pool.length)).netmask}"
    for segment in use.pool.segments:
        yield f"    start {segment.first} end {segment.last}"
    yield (
        f"    type {use.pool.kind}, total addresses {use.total}, allocated {use.allocated} ({use.percent}%), "
        f"misses {use.misses}"
    )


def _named(configuration: Configuration, role: Role) -> Iterator[str]:
    """Interfaces, as many in a line as fit."""
    line = ""
    for each in configuration.interfaces:
        if role not in each.roles:
            continue
        if line and len(line) + len(each.name) + 2 > _WIDTH:
            yield f"  {line}"
            line = ""
        line = f"{line}, {each.name}" if line else each.name
    if line:
        yield f"  {line}"


def print_pool(configuration: Configuration, name: str, rows: Sequence[Translation], given: Sequence[Given]) -> str:
    """`show ip nat pool name P`. Raises OperatorError E7122."""
    for number, pool in enumerate(configuration.pools, start=1):
        if pool.name == name:
            return "\n".join(_pool_table(number, use_of(pool, rows, given))) + "\n"
    named = ", ".join(pool.name for pool in configuration.pools) or "none"
    raise OperatorError("E7122", f"there is no pool {name}", f"pools: {named}")


def _pool_table(number: int, use: PoolUse) -> Iterator[str]:
    """Addresses, and the ports that lie in their two halves."""
    yield "NAT Pool Statistics"
    yield f"Pool name {use.pool.name}, id {number}"
    yield f"{'':26}{'Assigned':>10}{'Available':>17}"
    yield f"  {'Addresses':24}{use.allocated:>10}{use.total - use.allocated:>17}"
    for half, (word, first, last) in enumerate(_HALVES):
        for name in ("udp", "tcp"):
            used = use.ports[name][half]
            title = f"{name.upper()} {word} Ports"
            yield f"  {title:24}{used:>10}{max(0, (last - first + 1) * use.total - used):>17}"
    yield "(Low ports are less than 1024. High ports are greater than or equal to 1024.)"


def first_and_last(pool: Pool) -> str:
    """For people: `203.0.113.1-203.0.113.9`, and how many more segments."""
    spans = spans_of(pool)
    if not spans:
        return "-"
    more = f" +{len(spans) - 1}" if len(spans) > 1 else ""
    return f"{spans[0][0]}-{spans[0][1]}{more}"
