"""The timeline of a run: for each node a lane of its role, its lease and what it was seen to send, for each stream a
strip of its silences. Values that hold from one change to the next are bands, in milliseconds after the fault.
"""

from collections.abc import Mapping, Sequence

from understudy.drill import measure
from understudy.drill.journal import Event, is_active
from understudy.drill.measure import Gap, Spell
from understudy.drill.occasion import LEAD, Occasion, milliseconds
from understudy.drill.record import Sighting, WireRecord
from understudy.drill.result import BandJson, LaneJson, StripJson, TraceJson
from understudy.units import Instant


def trace(
    occasion: Occasion,
    wire: WireRecord,
    journal: Sequence[Event],
    found: Mapping[str, Gap],
    counts: Mapping[str, measure.Count],
) -> TraceJson:
    """`found` and `counts` are of each stream: its longest gap, and its datagrams."""
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
            "outage_ms": milliseconds(found[stream.name].outage),
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
