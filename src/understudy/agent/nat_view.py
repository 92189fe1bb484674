"""NAT as this kernel has it: flows and allocated addresses read, the table made of them, entries cleared.

Belongs to the network namespace of the caller. Reading changes nothing; it lists the whole flow table, so it is for a
process that may take its time.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Final

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.nftables import Nft
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.ios.asking import Clearing
from understudy.ios.model import Configuration, Side
from understudy.ios.translations import ICMP, UDP, Began, Flow, Given, Half, Kind, Translation, table_of
from understudy.render.ios_first import Allocated, map_listings, parse_maps
from understudy.render.ios_limits import TimeoutPolicy, timeouts
from understudy.render.ios_nat import IosNat
from understudy.units import SECOND
from understudy.wire.conntrack import UNTOUCHED_S
from understudy.wire.conntrack.flow import TCP_STATES, decode, started_ns
from understudy.wire.conntrack.flow import Flow as Entry
from understudy.wire.conntrack.flow import Tuple as Direction
from understudy.wire.marks import BINDING_MASK, DIRECTION_INSIDE, DIRECTION_MASK, DIRECTION_OUTSIDE, GROUP_MAX

FLOWS_MAX = 1_000_000
_GROUPS: Final = frozenset(range(GROUP_MAX + 1))
_BEGAN: Final = {DIRECTION_INSIDE: Began.INSIDE, DIRECTION_OUTSIDE: Began.OUTSIDE}
_CLOSING: Final = frozenset(("fin-wait", "close-wait", "last-ack", "time-wait", "close"))
_TCP: Final = 6


@dataclass(frozen=True, slots=True)
class View:
    """What was read, and the table that it makes."""

    configuration: Configuration
    rows: tuple[Translation, ...]
    given: tuple[Given, ...]
    raws: tuple[bytes, ...]
    """The kernel's entries, by the number that a row's `flow` says."""
    flows: tuple[Flow, ...]
    unread: int


def view(
    configuration: Configuration, nat: IosNat, given: Sequence[Given] | None = None, *, ages: bool = False
) -> View:
    """Read this namespace. `given`: the allocator's own word; without it the kernel's maps are asked. `ages`: when each
    flow began, too.

    Raises EnvironmentFailure if the kernel does not list its flows.
    """
    zones = {each.zone: each.name for each in nat.vrfs}
    held = tuple(given) if given is not None else held_in_maps(nat.allocated)
    table = FlowTable()
    try:
        raws, flows, unread = _flows(table, timeouts(configuration), zones)
    finally:
        table.close()
    if ages:
        now = time.time_ns()
        flows = tuple(replace(flow, age_s=_age(raw, now)) for raw, flow in zip(raws, flows, strict=True))
    return View(configuration, table_of(configuration, flows, held), held, raws, flows, unread)


def _flows(
    table: FlowTable, policies: Sequence[TimeoutPolicy], zones: dict[int, str]
) -> tuple[tuple[bytes, ...], tuple[Flow, ...], int]:
    raws: list[bytes] = []
    flows: list[Flow] = []
    unread = 0
    for part in table.list(_GROUPS):
        for raw in part:
            try:
                flow = flow_of(decode(raw), policies, zones)
            except DecodeError:
                unread += 1
                continue
            if flow is not None and flow.changed and len(flows) < FLOWS_MAX:
                raws.append(raw)
                flows.append(flow)
    return tuple(raws), tuple(flows), unread + table.unread


def _age(raw: bytes, now_ns: int) -> int | None:
    """Since this kernel has the flow; a copy has the age of the copy."""
    started = started_ns(raw)
    return max(0, now_ns - started) // SECOND if started is not None else None


def flow_of(entry: Entry, policies: Sequence[TimeoutPolicy] = (), zones: dict[int, str] | None = None) -> Flow | None:
    """A kernel's entry in the table's words; None for IPv6, and for what the balancer translates."""
    mark = entry.mark or 0
    there, back = entry.original, entry.reply
    if there.source.version != 4 or mark & BINDING_MASK:
        return None
    state = TCP_STATES[entry.tcp.state] if entry.tcp is not None and entry.tcp.state < len(TCP_STATES) else ""
    # A copy that no packet touched holds a timeout of its own: it says nothing of the flow.
    left = entry.timeout if entry.timeout is not None and entry.timeout <= UNTOUCHED_S else None
    full = _policy(entry, state, policies)
    return Flow(
        protocol=there.protocol,
        original=half_of(there),
        reply=half_of(back),
        began=_BEGAN.get(mark & DIRECTION_MASK),
        vrf=(zones or {}).get(there.zone or entry.zone),
        left_s=left,
        idle_s=full - left if left is not None and full is not None and full >= left else None,
        closing=state in _CLOSING,
    )


def half_of(direction: Direction) -> Half:
    """One direction of an IPv4 flow in the table's words."""
    source, target = IPv4Address(int(direction.source)), IPv4Address(int(direction.destination))
    if direction.protocol == ICMP:
        return Half(source, target, direction.here, direction.here)
    return Half(source, target, direction.here, direction.there)


def _policy(entry: Entry, state: str, policies: Iterable[TimeoutPolicy]) -> int | None:
    """Seconds that the flow had after its last packet, by the timeouts of the configuration."""
    there = entry.original
    name = {_TCP: "tcp", UDP: "udp"}.get(there.protocol)
    for each in policies:
        port = each.match.rpartition(" dport ")[2] if " dport " in each.match else None
        if each.protocol == name and port in (None, str(there.there)):
            said = dict(each.policy)
            return said.get(_STATES.get(state, "")) if name == "tcp" else said.get("replied")
    return None


_STATES: Final = {
    "syn-sent": "syn_sent", "syn-received": "syn_recv", "established": "established", "fin-wait": "fin_wait",
    "close-wait": "close_wait", "last-ack": "last_ack", "time-wait": "time_wait", "close": "close",
    "syn-sent2": "syn_sent",
}  # fmt: skip


def held_in_maps(pools: Sequence[Allocated]) -> tuple[Given, ...]:
    """Entries of the allocator, as the kernel's maps hold them; none where there is no such table."""
    if not pools:
        return ()
    with Nft() as nft:
        try:
            listing = "".join(nft.run(text) for text in map_listings(pools))
        except EnvironmentFailure:
            return ()
    by_number = {each.number: each for each in pools}
    return tuple(given_of(by_number[e.pool], e.host, e.given) for e in parse_maps(pools, listing))


def given_of(pool: Allocated, host: int, given: int) -> Given:
    """An entry of the allocator in the table's words."""
    return Given(pool.pool, IPv4Address(host), IPv4Address(given), pool.side is Side.OUTSIDE, pool.extended)


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many went."""

    flows: int
    entries: int


def clear(view: View, which: Clearing, release: Callable[[Sequence[Given], bool], Collection[Given]]) -> Cleared:
    """End the flows and entries that are meant. `release` takes entries, or all that there are, from the allocator, and
    says which of them went.

    Entries go first, and then what uses them is looked for: what began by an old address while it was taken away is
    found as well, and nothing begins by it any more.
    """
    rows = [row for row in view.rows if which.fits(row)]
    hosts = {
        (end.address, host.address)
        for row in rows
        if row.kind is Kind.SIMPLE
        for end, host in ((row.inside_global, row.inside_local), (row.outside_local, row.outside_global))
        if end is not None and host is not None
    }
    everything = which == Clearing()
    meant = [
        each for each in view.given if (str(each.given), str(each.host)) in hosts or (each.extended and everything)
    ]
    gone = release(meant, everything) if meant else ()
    used = {_pair(each) for each in gone}
    if not everything:  # whoever has a static entry keeps it
        used |= hosts - {_pair(each) for each in meant}
    table = FlowTable()
    try:
        numbers = {row.flow for row in rows if row.flow is not None}
        ended = sum(table.delete(view.raws[number]) for number in sorted(numbers))
        if used:
            # Flows of an entry that went could not go on by another's address.
            raws, flows, _ = _flows(table, (), {})
            late = [raw for raw, flow in zip(raws, flows, strict=True) if not used.isdisjoint(_translated(flow))]
            ended += sum(table.delete(raw) for raw in late)
    finally:
        table.close()
    return Cleared(ended, len(gone))


def _pair(entry: Given) -> tuple[str, str]:
    return str(entry.given), str(entry.host)


def _translated(flow: Flow) -> Iterator[tuple[str, str]]:
    """What somebody appears as, and who that is: of the side that began, and of the other."""
    yield str(flow.reply.destination), str(flow.original.source)
    yield str(flow.original.destination), str(flow.reply.source)
