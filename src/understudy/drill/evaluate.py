"""One run's records, journals and instants -> one row of the result. Pure: every figure is tested without a lab."""

from collections.abc import Mapping, Sequence

from understudy.drill import measure
from understudy.drill.journal import Event, role_changes
from understudy.drill.lanes import trace
from understudy.drill.measure import Gap, Spell
from understudy.drill.narrate import narrate
from understudy.drill.occasion import Occasion, milliseconds
from understudy.drill.record import FlowRecord, Sighting, WireRecord
from understudy.drill.result import EventJson, PhasesJson, RunJson
from understudy.units import MILLISECOND, Duration, Instant

HAND_OVER_MAX: Duration = 20 * MILLISECOND
"""A hand-over whose end nobody wrote down is taken to last this long."""
_KNOWING = frozenset({"expired", "heard_lost", "handover"})
_EVENTS_MAX = 200


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
        "outage_ms": milliseconds(worst.outage),
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
        "connect_ms_max": milliseconds(max((c.answered - c.scheduled for c in connects if c.answered), default=0)),
        "dual_answer_ms": milliseconds(max((outside for outside, _ in both), default=0)),
        "overlap_ms": milliseconds(max((inside for _, inside in both), default=0)),
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
        "sender_stall_ms": milliseconds(_longest_stall(wire, window)),
        "flow_stall_ms": milliseconds(flows.stall_max),
        "injected_ms": None if occasion.injected is None else milliseconds(occasion.injected),
        "events": _events(occasion, during, worst if lost else None),
        "trace": trace(occasion, wire, journal, found, counts),
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
        "detect": milliseconds(phases.detect),
        "decide": milliseconds(phases.decide),
        "move": milliseconds(phases.move),
        "resume": milliseconds(phases.resume),
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
            text = f"datagrams arrive again: {milliseconds(worst.outage):.1f} ms without"
            told.append(_own(occasion.after(worst.after), "", "resumed", text))
    if occasion.healed is not None:
        told.append(_own(occasion.after(occasion.healed), occasion.struck, "healed", "the drill heals the fault"))
    return sorted(told, key=lambda event: (event["t_ms"], event["kind"] != "fault"))


def _own(t_ms: float, node: str, kind: str, text: str) -> EventJson:
    return {"t_ms": t_ms, "node": node, "kind": kind, "text": text, "details": {}}
