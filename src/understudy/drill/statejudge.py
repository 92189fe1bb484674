"""What became of kept flows in one run, from what the watcher saw of both kernels and of the wire between them. Pure.

    vip_before_state   what the new Active had received, or could still have had from a living peer, and what was not in
                       its kernel at the instant when it first answered for one of the group's addresses
    flows_unsent       what was in the struck node's kernel at the cut and had never left it
    sync_lag_ms        from a flow's first word in the active's kernel to its first one in the standby's

A kernel at an instant is its last listing before, with all that it said since. Half-open flows are no state: nobody is
connected yet, and neither side keeps them. What a late reading hides is set right by the kernel's own note of when it
took an entry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from understudy.drill import flowtable
from understudy.drill.flowtable import UNSAID, Flow, describe
from understudy.drill.measure import percentile
from understudy.drill.record import Sighting
from understudy.drill.result import RunJson, StateJson
from understudy.drill.staterecord import Change, Listing, StateRecord
from understudy.units import MILLISECOND, Duration, Instant

IN_FLIGHT: Final[Duration] = 50 * MILLISECOND
"""What a living peer got later than this before the answer may still be on its way: a hand-over stops nobody's work."""
SURVIVAL_MIN: Final = 0.999
_READ_LATE: Final[Duration] = 20 * MILLISECOND
"""How late the watcher may read what a kernel said."""
_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Stateful:
    """What the drill knows about the flows that it judges."""

    active: str
    standby: str
    kept: Callable[[int], bool]
    """Whether the flow with this mark is kept at all; what is counted."""
    replicated: Callable[[int], bool]
    addresses: frozenset[str]
    """The group's."""
    dies: bool
    """The fault takes the active's agent: what it has not sent then it never sends."""
    fault: Instant
    fresh: bool = False
    """The standby's kernel begins with the strike."""


def judge(told: Stateful, record: StateRecord, sightings: Sequence[Sighting]) -> tuple[StateJson, list[str]]:
    """The run's fields about state, and what is wrong in sentences."""
    answered = first_answer(sightings, told.standby, told.addresses, told.fault)
    late = missing_at(told, record, answered) if answered is not None else []
    unsent = never_left(told, record, answered) if told.dies else []
    # A kernel that begins anew is filled as a whole first: that is no lag.
    lags = [] if told.fresh else sync_lags(told, record)
    active, standby = (_last_before(record.listings, node, told.fault) for node in (told.active, told.standby))
    fields: StateJson = {
        "vip_before_state": len(late),
        "flows_unsent": len(unsent),
        "sync_lag_ms": percentile(lags, 0.5) if lags else None,
        "sync_lag_p99_ms": percentile(lags, 0.99) if lags else None,
        "sync_lag_max_ms": max(lags) if lags else None,
        "sync_lag_flows": len(lags),
        "flows_active": _count(active, told.kept),
        "flows_standby": 0 if told.fresh else _count(standby, told.kept),
        "flows_mismatched": len(record.differing),
    }
    findings = []
    if late:
        findings.append(
            f"{told.standby} answered for an address while {_flows(len(late))} that it had received were not in its "
            f"kernel: {_examples(late)}"
        )
    if record.unread:
        findings.append(f"{record.unread} datagrams of the replication could not be read by the harness")
    return fields, findings


def differing_finding(record: StateRecord) -> list[str]:
    """Where nothing excuses it, both kernels must agree before anything has struck."""
    if not record.differing:
        return []
    return [
        f"{_flows(len(record.differing))} differed between the two kernels before the fault: "
        f"{_examples(record.differing)}"
    ]


def survival_findings(run: RunJson, paths: Sequence[str]) -> list[str]:
    """Of the connections whose flows are replicated, 999 in 1000 survive and none is reset."""
    findings = []
    for path in paths:
        counted = run["tcp_by_path"].get(path)
        if counted is None or not counted["established"]:
            continue
        if counted["reset"]:
            findings.append(f"{counted['reset']} replicated connections ({path}) were reset, allowed are none")
        if counted["survived"] < SURVIVAL_MIN * counted["established"]:
            findings.append(
                f"{counted['survived']} of {counted['established']} replicated connections ({path}) survived, "
                f"{SURVIVAL_MIN:.1%} must"
            )
    return findings


def first_answer(sightings: Sequence[Sighting], node: str, addresses: frozenset[str], since: Instant) -> Instant | None:
    """When `node` first answered for one of these addresses, or announced one."""
    return min(
        (
            sighting.instant
            for sighting in sightings
            if sighting.node == node
            and sighting.kind != "advertisement"
            and sighting.subject in addresses
            and sighting.instant >= since
        ),
        default=None,
    )


def missing_at(told: Stateful, record: StateRecord, answered: Instant) -> list[bytes]:
    """Keys of flows that the new Active should have had when it answered, and had not."""
    owed = received_by(told, record, answered)
    if not told.dies:
        # The peer lives: what it has had for a while, and still has, could have been asked for.
        before = kernel_at(record, told.active, Instant(answered - IN_FLIGHT))
        now = kernel_at(record, told.active, answered)
        could = {key for key, flow in before.items() if told.replicated(flow.mark) and _owed(now.get(key))}
        owed = {key for key in owed if key in now} | could
    had = kernel_at(record, told.standby, answered)
    taken = {flow.key for flow in _noted(record, told.standby) if flow.started and flow.started <= answered}
    return sorted(key for key in owed if key not in had and key not in taken)


def received_by(told: Stateful, record: StateRecord, instant: Instant) -> set[bytes]:
    """What the standby had received of kept flows and had not been told to give up."""
    base = _first(record.listings, told.standby)
    truth = kernel_at(record, told.active, told.fault)
    known = {} if base is None or told.fresh else {key: flow for key, flow in base.flows.items() if key in truth}
    heard = sorted((one for one in record.arrived if one.instant <= instant), key=lambda one: one.place)
    for one in heard:
        if one.gone:
            known.pop(one.flow.key, None)
        else:
            known[one.flow.key] = _merged(known.get(one.flow.key), one.flow)
    return {key for key, flow in known.items() if told.kept(flow.mark) and _owed(flow)}


def never_left(told: Stateful, record: StateRecord, answered: Instant | None) -> list[bytes]:
    """Keys of kept flows in the struck kernel at the cut of which no word had left, nor was known on the other side."""
    # What a cut kernel says a moment later, it said of the time before; what it took later, it notes.
    at_cut = kernel_at(record, told.active, Instant(told.fault + _READ_LATE))
    later = {flow.key for flow in _noted(record, told.active) if flow.started > told.fault}
    left = {one.flow.key for one in record.left if one.instant <= told.fault}
    base = _first(record.listings, told.standby)
    until = answered if answered is not None else told.fault
    there = set() if base is None else set(base.flows)
    # Before it answers, nothing but its replicator makes flows of the group there.
    there |= {change.flow.key for change in record.changes if change.node == told.standby and change.instant <= until}
    return sorted(
        key
        for key, flow in at_cut.items()
        if told.kept(flow.mark) and _owed(flow) and key not in left and key not in there and key not in later
    )


def sync_lags(told: Stateful, record: StateRecord) -> list[float]:
    """Milliseconds from origin to copy, of every replicated flow that began under observation, before the fault."""
    born: dict[bytes, Flow] = {}
    sendable: dict[bytes, Instant] = {}
    copied: dict[bytes, Instant] = {}
    for change in record.changes:
        key = change.flow.key
        if change.gone or change.instant < record.since:
            continue
        if change.node == told.standby:
            copied.setdefault(key, change.instant)
        elif change.node == told.active and change.instant <= told.fault and (change.new or key in born):
            flow = born[key] = _merged(born.get(key), change.flow)
            if flow.state != flowtable.SYN_SENT and told.replicated(flow.mark):
                sendable.setdefault(key, change.instant)
    return [round(max(0, copied[key] - instant) / MILLISECOND, 3) for key, instant in sendable.items() if key in copied]


def kernel_at(record: StateRecord, node: str, instant: Instant) -> dict[bytes, Flow]:
    """A node's flows at an instant: its last listing that was over by then, with all that was said since it began."""
    base: Listing | None = None
    for listing in record.listings:
        if listing.node == node and (base is None or listing.ended <= instant):
            base = listing
    if base is None:
        return {}
    flows = dict(base.flows)
    for change in record.changes:
        if change.node == node and base.began <= change.instant <= instant:
            _apply(flows, change)
    return flows


def _apply(flows: dict[bytes, Flow], change: Change) -> None:
    key = change.flow.key
    if change.gone:
        flows.pop(key, None)
    else:
        flows[key] = _merged(flows.get(key), change.flow)


def _merged(known: Flow | None, told: Flow) -> Flow:
    """A message leaves out what did not change."""
    if known is None:
        return told
    return told._replace(
        state=known.state if told.state == UNSAID else told.state,
        mark=told.mark or known.mark,
        reply=told.reply or known.reply,
    )


def _owed(flow: Flow | None) -> bool:
    return flow is not None and not flow.half_open


def _noted(record: StateRecord, node: str) -> list[Flow]:
    """Flows with the kernel's own note of when it took them: of later listings, and of those that ended."""
    listed = [flow for listing in record.listings if listing.node == node for flow in listing.flows.values()]
    return listed + [change.flow for change in record.changes if change.node == node and change.gone]


def _first(listings: Sequence[Listing], node: str) -> Listing | None:
    return next((listing for listing in listings if listing.node == node), None)


def _last_before(listings: Sequence[Listing], node: str, instant: Instant) -> Listing | None:
    return next((one for one in reversed(listings) if one.node == node and one.ended <= instant), None)


def _count(listing: Listing | None, kept: Callable[[int], bool]) -> int:
    flows: Mapping[bytes, Flow] = {} if listing is None else listing.flows
    return sum(kept(flow.mark) and not flow.half_open for flow in flows.values())


def _flows(count: int) -> str:
    return "1 flow" if count == 1 else f"{count} flows"


def _examples(keys: Sequence[bytes]) -> str:
    more = ", …" if len(keys) > _EXAMPLES else ""
    return ", ".join(describe(key) for key in keys[:_EXAMPLES]) + more
