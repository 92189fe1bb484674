"""One run's records, journals and instants -> one row of the result. Pure: every figure is tested without a lab."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.drill import measure
from understudy.drill.journal import Event, is_active, role_changes
from understudy.drill.measure import Gap, Spell
from understudy.drill.narrate import narrate
from understudy.drill.record import FlowRecord, Sighting, WireRecord
from understudy.drill.result import BandJson, EventJson, LaneJson, PhasesJson, RunJson, StripJson, TraceJson
from understudy.units import MILLISECOND, Duration, Instant

LEAD: Duration = 100 * MILLISECOND
"""The measured window begins this long before the fault: the stream must have been whole."""
HAND_OVER_MAX: Duration = 20 * MILLISECOND
"""A hand-over whose end nobody wrote down is taken to last this long."""
_KNOWING = frozenset({"expired", "heard_lost", "handover"})
_EVENTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the drill itself knows about a run."""

    number: int
    phase: float
    group: str
    nodes: tuple[str, ...]
    struck: str
    addresses: frozenset[str]
    """The group's: an answer for a node's own address is nobody's business."""
    network: str | None
    """The LAN that was struck."""
    lane_network: str
    """The LAN whose advertisements the timeline shows."""
    sentence: str
    """What the fault is."""
    downed: Mapping[str, str]
    """What the fault made of whom: node -> `off`, `killed` or `frozen`. Such a node cannot write it down itself."""
    interval: Duration
    fault: Instant
    healed: Instant | None
    """If that was within the measurement."""
    mark: Instant
    """When the drill saw that traffic was whole again (or gave up waiting)."""
    stop: Instant
    recovered: bool
    load_average: float
    injected: Duration | None = None

    @property
    def window(self) -> Spell:
        return Instant(self.fault - LEAD), self.stop

    def after(self, instant: int) -> float:
        """Milliseconds after the fault."""
        return _ms(instant - self.fault)


def _ms(duration: int) -> float:
    return round(duration / MILLISECOND, 3)


def void_reason(occasion: Occasion, wire: WireRecord, late_max: Duration | None = None) -> str:
    """Why the run cannot be believed; empty if it can. A sender that was late looks like an outage.

    `late_max` stands in for STALL_LIMIT where no milliseconds are judged.

    Where traffic never came back, no lateness of milliseconds changes what was found.
    """
    if not occasion.recovered:
        return ""
    start, end = occasion.window
    for stream in wire.streams:
        if not stream.sent or stream.sent[-1] < end - measure.STALL_LIMIT - measure.DATAGRAM_PERIOD:
            return f"the sender of {stream.name} ended early"
    late = [
        (after - before, name)
        for name, sent, period in (
            *((f"the sender of {stream.name}", stream.sent, measure.DATAGRAM_PERIOD) for stream in wire.streams),
            ("the asker", wire.asked, measure.ASK_PERIOD),
        )
        for before, after in measure.stalls(sent, period, (start, end), late_max)
    ]
    if late:
        worst, name = max(late)
        return f"{name} stalled for {worst / MILLISECOND:.1f} ms"
    return ""


def evaluate(
    occasion: Occasion, wire: WireRecord, flows: FlowRecord, journal: Sequence[Event], findings: Sequence[str]
) -> RunJson:
    """The row for one run. `journal` holds all nodes' events in order, from before the fault on."""
    window = occasion.window
    found = {stream.name: measure.longest_gap((at for at, _ in stream.arrivals), window) for stream in wire.streams}
    counts = {stream.name: measure.count(stream, window) for stream in wire.streams}
    worst = max(found.values(), key=lambda gap: gap.outage)
    during = [event for event in journal if occasion.fault <= event.instant <= occasion.stop]
    answered = _answers(wire.sightings, occasion.addresses, (occasion.fault, occasion.stop))
    declared = _hand_overs(during, occasion)
    both = [measure.split(measure.overlaps(by_node), declared) for by_node in answered.values()]
    struck_answers = [
        at
        for by_node in answered.values()
        for at in by_node.get(occasion.struck, ())
        if at <= (occasion.healed or occasion.stop)
    ]
    lost = sum(count.lost for count in counts.values())
    duplicated = sum(count.duplicated for count in counts.values())
    changes = {node: role_changes(during, occasion.group, node, node == occasion.struck) for node in occasion.nodes}
    paths = _by_path(flows, occasion.mark)
    connects = [connect for connect in flows.connects if connect.scheduled >= window[0]]
    return {
        "number": occasion.number,
        "phase": round(_struck_phase(occasion, wire.sightings), 4),
        "phase_wanted": round(occasion.phase, 4),
        "struck": occasion.struck,
        "network": occasion.network,
        "recovered": occasion.recovered and worst.recovered,
        "outage_ms": _ms(worst.outage),
        "outage_bound_ms": [None, None],
        "phases_ms": _phases(occasion, worst if lost else None, during, changes, wire.sightings),
        "packets_sent": sum(count.sent for count in counts.values()),
        "packets_lost": lost,
        "packets_duplicated": duplicated,
        "packets_reordered": sum(count.reordered for count in counts.values()),
        "tcp_established": sum(path["established"] for path in paths.values()),
        "tcp_survived": sum(path["survived"] for path in paths.values()),
        "tcp_reset": sum(path["reset"] for path in paths.values()),
        "tcp_stalled": sum(path["stalled"] for path in paths.values()),
        "tcp_by_path": paths,
        "tcp_corrupted": sum(connection.corrupted for connection in flows.connections),
        "connects": len(connects),
        "refused_connects": sum(connect.outcome == "refused" for connect in connects),
        "timed_out_connects": sum(connect.outcome == "timeout" for connect in connects),
        "connect_ms_max": _ms(max((c.answered - c.scheduled for c in connects if c.answered), default=0)),
        "dual_answer_ms": _ms(max((outside for outside, _ in both), default=0)),
        "overlap_ms": _ms(max((inside for _, inside in both), default=0)),
        "silent_after_ms": occasion.after(max(struck_answers)) if struck_answers else None,
        "role_changes": sum(len(moves) for moves in changes.values()),
        "role_changes_by_node": {node: len(moves) for node, moves in changes.items()},
        "findings": [
            *([f"{duplicated} datagrams were forwarded twice"] if duplicated else []),
            *findings,
        ],
        "load_average": occasion.load_average,
        "prober_cpu": round(wire.cpu_share + flows.cpu_share, 4),
        "prober_realtime": wire.realtime,
        "sender_stall_ms": _ms(_longest_stall(wire, window)),
        "flow_stall_ms": _ms(flows.stall_max),
        "injected_ms": None if occasion.injected is None else _ms(occasion.injected),
        "events": _events(occasion, during, worst if lost else None),
        "trace": _trace(occasion, wire, journal, found, counts),
    }


def _longest_stall(wire: WireRecord, window: Spell) -> Duration:
    start, end = window
    return max(
        (
            after - before - measure.DATAGRAM_PERIOD
            for stream in wire.streams
            for before, after in zip(stream.sent, stream.sent[1:], strict=False)
            if start <= before <= end
        ),
        default=0,
    )


def _answers(
    sightings: Sequence[Sighting], addresses: frozenset[str], window: Spell
) -> dict[str, dict[str, list[Instant]]]:
    """Address -> node -> when it answered for it. Announcements claim an address just as an answer does."""
    answers: dict[str, dict[str, list[Instant]]] = {}
    for sighting in sightings:
        if sighting.subject in addresses and window[0] <= sighting.instant <= window[1]:
            answers.setdefault(sighting.subject, {}).setdefault(sighting.node, []).append(sighting.instant)
    return answers


def _by_path(flows: FlowRecord, mark: Instant) -> dict[str, dict[str, int]]:
    paths: dict[str, dict[str, int]] = {}
    for connection in flows.connections:
        path = paths.setdefault(connection.path, {"established": 0, "survived": 0, "reset": 0, "stalled": 0})
        if not connection.established:
            continue
        path["established"] += 1
        if connection.ended:
            path["reset"] += 1
        elif connection.answered > mark:
            path["survived"] += 1
        else:
            path["stalled"] += 1
    return paths


def _hand_overs(during: Sequence[Event], occasion: Occasion) -> list[Spell]:
    """The windows in which both nodes may answer: from the Active's offer until the successor knows it has stopped.

    One asking period longer: the last answer may have been on its way.
    """
    windows = []
    for event in during:
        if event.kind == "handover" and event.details.get("phase") == "offered":
            done = (e.instant for e in during if e.instant > event.instant and _ends_hand_over(e))
            until = next(done, Instant(event.instant + HAND_OVER_MAX))
            windows.append((event.instant, Instant(until + measure.ASK_PERIOD)))
    return windows


def _ends_hand_over(event: Event) -> bool:
    return event.kind == "handover" and event.details.get("phase") == "done"


def _phases(
    occasion: Occasion,
    worst: Gap | None,
    during: Sequence[Event],
    changes: Mapping[str, Sequence[tuple[Event, bool]]],
    sightings: Sequence[Sighting],
) -> PhasesJson:
    """Zeros where nothing was lost: a quiet moment is no interruption that could be divided."""
    if worst is None or worst.after <= occasion.fault:
        return {"detect": 0.0, "decide": 0.0, "move": 0.0, "resume": 0.0}
    # The take-over that ended the gap: the last node to become Active before traffic flowed again.
    takeovers = [
        event for moves in changes.values() for event, active in moves if active and event.instant <= worst.after
    ]
    known = begun = moved = None
    if takeovers:
        takeover = max(takeovers, key=lambda event: event.instant)
        own = [e for e in during if e.node == takeover.node and e.instant <= takeover.instant]
        begun = next((e.instant for e in reversed(own) if e.kind == "promotion"), takeover.instant)
        known = next((e.instant for e in own if e.kind in _KNOWING), begun)
        moved = _announced(takeover, sightings)
    phases = measure.divide(occasion.fault, worst.after, known, begun, moved)
    return {
        "detect": _ms(phases.detect),
        "decide": _ms(phases.decide),
        "move": _ms(phases.move),
        "resume": _ms(phases.resume),
    }


def _announced(takeover: Event, sightings: Sequence[Sighting]) -> Instant | None:
    """When the new Active's first announcement had entered the switch on every LAN that it announced itself on."""
    first: dict[str, Instant] = {}
    for sighting in sightings:
        if (
            sighting.node == takeover.node
            and sighting.kind == "announcement"
            and sighting.instant >= takeover.instant - HAND_OVER_MAX
        ):
            first.setdefault(sighting.network, sighting.instant)
    return max(first.values(), default=None)


def _struck_phase(occasion: Occasion, sightings: Sequence[Sighting]) -> float:
    """Where in the advertisement interval the fault really fell, by what was seen at the struck node's port."""
    before = [
        s.instant
        for s in sightings
        if s.kind == "advertisement" and s.node == occasion.struck and s.instant <= occasion.fault
    ]
    return min(1.0, (occasion.fault - before[-1]) / occasion.interval) if before else occasion.phase


def _events(occasion: Occasion, during: Sequence[Event], worst: Gap | None) -> list[EventJson]:
    """The agents' own words, with what the drill did and saw in between."""
    told: list[EventJson] = [
        {
            "t_ms": occasion.after(event.instant),
            "node": event.node,
            "kind": event.kind,
            "text": narrate(event),
            "details": dict(event.details),
        }
        for event in during[:_EVENTS_MAX]
    ]
    where = f" ({occasion.network})" if occasion.network else ""
    told.append(_own(0.0, occasion.struck, "fault", occasion.sentence + where))
    if worst is not None:
        told.append(_own(occasion.after(worst.before), "", "silence", "the last datagram before the gap arrives"))
        if worst.recovered:
            text = f"datagrams arrive again: {_ms(worst.outage):.1f} ms without"
            told.append(_own(occasion.after(worst.after), "", "resumed", text))
    if occasion.healed is not None:
        told.append(_own(occasion.after(occasion.healed), occasion.struck, "healed", "the drill heals the fault"))
    return sorted(told, key=lambda event: (event["t_ms"], event["kind"] != "fault"))


def _own(t_ms: float, node: str, kind: str, text: str) -> EventJson:
    return {"t_ms": t_ms, "node": node, "kind": kind, "text": text, "details": {}}


def _trace(
    occasion: Occasion,
    wire: WireRecord,
    journal: Sequence[Event],
    found: Mapping[str, Gap],
    counts: Mapping[str, measure.Count],
) -> TraceJson:
    margin = max(3 * occasion.interval, LEAD)
    resumed = max((found[name].after for name, count in counts.items() if count.lost), default=occasion.fault)
    window = Instant(occasion.fault - margin), Instant(min(resumed + margin, occasion.stop))
    strips: list[StripJson] = [
        {
            "direction": stream.name,
            "silences": [
                _band(occasion, gap.before, gap.after, "")
                for gap in measure.gaps((at for at, _ in stream.arrivals), window, measure.STALL_LIMIT)
            ],
            "outage_ms": _ms(found[stream.name].outage),
            "packets_sent": counts[stream.name].sent,
            "packets_lost": counts[stream.name].lost,
        }
        for stream in wire.streams
    ]
    return {
        "start_ms": occasion.after(window[0]),
        "end_ms": occasion.after(window[1]),
        "lanes": {node: _lane(occasion, node, wire.sightings, journal, window) for node in occasion.nodes},
        "strips": strips,
    }


def _lane(
    occasion: Occasion, node: str, sightings: Sequence[Sighting], journal: Sequence[Event], window: Spell
) -> LaneJson:
    own = [s for s in sightings if s.node == node and window[0] <= s.instant <= window[1]]
    events = [event for event in journal if event.node == node and event.details.get("group") == occasion.group]
    moves = [(e.instant, _role(e.details.get("new"))) for e in events if e.kind == "moved"]
    if node in occasion.downed:
        moves = sorted([*moves, (occasion.fault, occasion.downed[node])])
    lease = [(e.instant, str(e.details.get("state"))) for e in events if e.kind == "lease"]
    # An agent that starts cold holds no lease; its predecessor may have died without a word about its own.
    cold = [e.instant for e in journal if e.node == node and e.kind == "started" and e.details.get("generation") == 1]
    lease = sorted([*lease, *((instant, "lapsed") for instant in cold)])
    if node in occasion.downed:
        lease = sorted([*lease, (_lease_end(occasion, node, events, sightings), "lapsed")])
    return {
        "roles": _bands(occasion, moves, "active" if node == occasion.struck else "standby", window),
        "lease": _bands(occasion, lease, "", window),
        "advertisements_ms": [
            occasion.after(s.instant) for s in own if s.kind == "advertisement" and s.network == occasion.lane_network
        ],
        "announcements_ms": [occasion.after(s.instant) for s in own if s.kind == "announcement"],
        "answers": [
            _band(occasion, start, end, "")
            for start, end in measure.spells(s.instant for s in own if s.kind == "answer")
        ],
    }


def _lease_end(occasion: Occasion, node: str, events: Sequence[Event], sightings: Sequence[Sighting]) -> Instant:
    """When the kernel let go of a node whose agent could not: a lease's length after its last advertisement."""
    lengths = [e.details.get("length_ns") for e in events if e.kind == "lease" and e.instant <= occasion.fault]
    refreshed = [s.instant for s in sightings if s.node == node and s.kind == "advertisement"]
    length = lengths[-1] if lengths else None
    if occasion.downed[node] == "off" or not refreshed or not isinstance(length, int):
        return occasion.fault
    return Instant(max((at for at in refreshed if at <= occasion.fault), default=occasion.fault) + length)


def _role(role: object) -> str:
    return "active" if is_active(role) else "standby" if str(role).lower() in ("standby", "backup") else str(role)


def _bands(occasion: Occasion, changes: Sequence[tuple[Instant, str]], initial: str, window: Spell) -> list[BandJson]:
    """Values that hold from one change to the next, cut to the window; the last change before tells how it begins."""
    before = [value for at, value in changes if at < window[0]]
    value, since = (before[-1] if before else initial), window[0]
    bands = []
    for at, new in [c for c in changes if window[0] <= c[0] <= window[1]]:
        if new != value:
            bands.append(_band(occasion, since, at, value))
            value, since = new, at
    bands.append(_band(occasion, since, window[1], value))
    return [band for band in bands if band["value"] and band["end_ms"] > band["start_ms"]]


def _band(occasion: Occasion, start: int, end: int, value: str) -> BandJson:
    return {"start_ms": occasion.after(start), "end_ms": occasion.after(end), "value": value}
