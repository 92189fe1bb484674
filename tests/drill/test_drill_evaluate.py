"""One run's row, from records and journals made by hand around one fault at 1000 ms."""

from dataclasses import replace

from understudy.drill.evaluate import evaluate, void_reason
from understudy.drill.journal import Event
from understudy.drill.occasion import Occasion
from understudy.drill.record import Connect, Connection, FlowRecord, Sighting, Stream, WireRecord
from understudy.drill.result import RunJson
from understudy.units import MILLISECOND, Instant

MS = MILLISECOND


def at(milliseconds: float) -> Instant:
    return Instant(int(milliseconds * MS))


OCCASION = Occasion(
    number=1,
    phase=0.5,
    group="edge",
    nodes=("gw1", "gw2"),
    struck="gw1",
    addresses=frozenset({"203.0.113.10"}),
    network=None,
    lane_network="outside",
    sentence="The active node loses its power.",
    downed={"gw1": "off"},
    interval=100 * MS,
    fault=at(1000),
    healed=None,
    mark=at(1700),
    stop=at(2000),
    recovered=True,
    load_average=0.1,
)
SENT = tuple(at(ms) for ms in range(2001))
MOVED = {"group": "edge", "old": "backup", "new": "active", "reason": "no Active is heard", "cause": ""}
JOURNAL = [
    Event(at(1300), "gw2", "expired", {"group": "edge", "network": "outside"}),
    Event(at(1301), "gw2", "moved", MOVED),
]


def stream(name: str, gap: tuple[float, float] | None) -> Stream:
    """All that was sent arrives 0.1 ms later, but for what was sent in the gap."""
    arrivals = tuple((at(ms + 0.1), ms) for ms in range(2001) if gap is None or not gap[0] <= ms < gap[1])
    return Stream(name, SENT, arrivals)


def answers(node: str, start: float, end: float, kind: str = "answer") -> list[Sighting]:
    return [
        Sighting(at(start + 2 * n), node, "outside", kind, "203.0.113.10") for n in range(int((end - start) / 2) + 1)
    ]


def wire(*sightings: Sighting, gap: tuple[float, float] | None = (1000, 1310)) -> WireRecord:
    streams = (stream("inward", gap), stream("outward", gap and (gap[0], gap[1] - 10)))
    return WireRecord(streams, sightings, SENT[::2], cpu_share=0.1, realtime=True)


FLOWS = FlowRecord(
    connections=(
        Connection("service", established=True, answered=at(1900), ended=Instant(0)),
        Connection("service", established=True, answered=at(1310), ended=at(1320)),
        Connection("source-nat", established=True, answered=at(900), ended=Instant(0)),
        Connection("source-nat", established=False, answered=Instant(0), ended=Instant(0)),
    ),
    connects=(
        Connect(at(100), Instant(0), "refused"),
        Connect(at(1100), at(2100), "answered"),
        Connect(at(1120), Instant(0), "refused"),
        Connect(at(1140), Instant(0), "timeout"),
    ),
    stall_max=0,
    cpu_share=0.05,
)


def row(record: WireRecord, journal: list[Event] | None = None, occasion: Occasion = OCCASION) -> RunJson:
    return evaluate(occasion, record, FLOWS, JOURNAL if journal is None else journal, [])


def test_the_worse_direction_is_the_runs_outage() -> None:
    """310 ms inward and 300 ms outward: users felt 310."""
    run = row(wire())
    assert run["outage_ms"] == 310
    assert run["packets_lost"] == 610
    assert [strip["outage_ms"] for strip in run["trace"]["strips"]] == [310, 300]


def test_phases_follow_the_journal_and_the_wire() -> None:
    """Timer at 300, promotion at 301, announced at 306, first datagram at 310.1."""
    run = row(wire(Sighting(at(1306), "gw2", "outside", "announcement", "203.0.113.10")))
    assert run["phases_ms"] == {"detect": 300, "decide": 1, "move": 5, "resume": 4.1}


def test_connections_are_alive_reset_or_stalled() -> None:
    """Judged by whether an answer came after traffic was whole again; one that never was established is none."""
    run = row(wire())
    assert (run["tcp_established"], run["tcp_survived"], run["tcp_reset"], run["tcp_stalled"]) == (3, 1, 1, 1)
    assert run["tcp_by_path"]["service"]["reset"] == 1


def test_new_connections_count_from_their_schedule() -> None:
    """What was refused before the measured window does not count."""
    run = row(wire())
    assert (run["connects"], run["refused_connects"], run["timed_out_connects"]) == (3, 1, 1)
    assert run["connect_ms_max"] == 1000


def test_two_nodes_that_answer_together_are_a_dual_answer() -> None:
    """The old Active's kernel goes on answering for 50 ms: the lease failed."""
    run = row(wire(*answers("gw1", 900, 1360), *answers("gw2", 1310, 1900)))
    assert run["dual_answer_ms"] == 50
    assert run["overlap_ms"] == 0
    assert run["silent_after_ms"] == 360


def test_a_declared_hand_over_is_reported_apart() -> None:
    """The same overlap between the offer and the successor's `done` is the plan."""
    journal = [
        Event(at(1300), "gw1", "handover", {"group": "edge", "phase": "offered"}),
        Event(at(1361), "gw2", "handover", {"group": "edge", "phase": "done"}),
    ]
    run = row(wire(*answers("gw1", 900, 1360), *answers("gw2", 1310, 1900)), journal)
    assert (run["dual_answer_ms"], run["overlap_ms"]) == (0, 50)


def test_answers_before_the_fault_convict_nobody() -> None:
    """The window of dual answers begins with the fault."""
    assert row(wire(*answers("gw1", 0, 990), *answers("gw2", 900, 990)))["dual_answer_ms"] == 0


def test_a_core_that_adopts_its_role_changes_no_role() -> None:
    """Initialize -> Active on the node that was Active all along."""
    adopted = Event(at(1035), "gw1", "moved", {**MOVED, "old": "initialize", "reason": "adopted"})
    run = row(wire(gap=None), [adopted])
    assert run["role_changes"] == 0
    assert run["phases_ms"] == {"detect": 0, "decide": 0, "move": 0, "resume": 0}


def test_a_take_over_is_one_change_on_each_node_that_lives() -> None:
    """gw2 becomes Active, gw1 notices and becomes Backup."""
    retired = Event(at(1400), "gw1", "moved", {**MOVED, "old": "active", "new": "backup"})
    assert row(wire(), [*JOURNAL, retired])["role_changes_by_node"] == {"gw1": 1, "gw2": 1}


def test_a_datagram_that_arrives_twice_is_a_finding() -> None:
    """Two gateways forwarded it."""
    whole = wire(gap=None)
    doubled = replace(whole.streams[0], arrivals=(*whole.streams[0].arrivals, (at(1500.2), 1500)))
    run = row(replace(whole, streams=(doubled, whole.streams[1])))
    assert run["packets_duplicated"] == 1
    assert run["findings"] == ["1 datagrams were forwarded twice"]


def test_a_late_sender_voids_the_run() -> None:
    """9 ms without sending look just like 8 ms of outage."""
    late = tuple(instant for instant in SENT if not at(1200) < instant < at(1209))
    record = wire()
    record = replace(record, streams=(replace(record.streams[0], sent=late), record.streams[1]))
    assert void_reason(OCCASION, record) == "the sender of inward stalled for 9.0 ms"
    assert void_reason(OCCASION, wire()) == ""
    assert void_reason(OCCASION, record, 50 * MS) == "", "where no milliseconds are judged"


def test_a_sender_that_ended_early_voids_the_run() -> None:
    """Its silence at the end would not be anybody's outage."""
    record = wire()
    record = replace(record, streams=(replace(record.streams[0], sent=SENT[:1500]), record.streams[1]))
    assert "ended early" in void_reason(OCCASION, record)


def test_the_phase_is_where_the_fault_really_fell() -> None:
    """30 ms after the last advertisement that was seen at the struck node's port."""
    seen = [Sighting(at(ms), "gw1", "outside", "advertisement", "200") for ms in (770, 870, 970)]
    assert row(wire(*seen))["phase"] == 0.3


def test_the_timeline_shows_a_node_that_could_not_write_its_own_end() -> None:
    """gw1 is active up to the fault and off from then on."""
    lane = row(wire())["trace"]["lanes"]["gw1"]
    assert [(band["value"], band["start_ms"], band["end_ms"]) for band in lane["roles"]][-1][:2] == ("off", 0)
    assert lane["roles"][0]["value"] == "active"


def test_events_tell_the_story_in_order() -> None:
    """The fault, the silence, the causes, the return."""
    kinds = [event["kind"] for event in row(wire())["events"]]
    assert kinds == ["silence", "fault", "expired", "moved", "resumed"]


def test_an_answer_for_a_nodes_own_address_is_not_the_groups() -> None:
    """A neighbour asks the struck node for its own address long after its lease has ended; and a control."""
    own = row(wire(Sighting(at(1900), "gw1", "outside", "answer", "203.0.113.1")))
    groups = row(wire(Sighting(at(1900), "gw1", "outside", "answer", "203.0.113.10")))
    assert groups["silent_after_ms"] == 900
    assert own["silent_after_ms"] != 900
