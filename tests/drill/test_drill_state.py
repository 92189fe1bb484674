"""What became of kept flows, from records made by hand around one fault at 1000 ms."""

from dataclasses import replace
from typing import Any

import pytest
from drill_rows import run_row

from understudy.config import load_plan
from understudy.drill import keeping, statejudge, statewords
from understudy.drill.flowtable import UNSAID, Flow, describe
from understudy.drill.phrases import LANGUAGES, speaker
from understudy.drill.record import Connection, Sighting
from understudy.drill.result import StateJson
from understudy.drill.statejudge import Stateful, judge, kernel_at, survival_findings
from understudy.drill.staterecord import Carried, Change, Listing, StateRecord
from understudy.drill.statewatch import differing
from understudy.units import MILLISECOND, Instant, NodeName
from understudy.wire.marks import flow_mark

MARK, COPIED, FOREIGN = flow_mark(0, 1), flow_mark(1, 1), 0
ESTABLISHED, SYN_RECV, CLOSED = 3, 2, 8


def at(milliseconds: float) -> Instant:
    return Instant(int(milliseconds * MILLISECOND))


def flow(number: int, state: int = ESTABLISHED, mark: int = MARK, started: float = 0, reply: bytes = b"r") -> Flow:
    """tcp 10.9.0.11:PORT -> 203.0.113.9:80, told apart by the port."""
    key = bytes([2, 6, 10, 9, 0, 11, 203, 0, 113, 9]) + number.to_bytes(2) + b"\0\x50" + b"\0\0"
    return Flow(key, reply, mark, state, 6, at(started))


OLD = [flow(number) for number in range(1, 4)]
TOLD = Stateful(
    active="gw1",
    standby="gw2",
    kept=lambda mark: mark in (MARK, COPIED),
    replicated=lambda mark: mark == MARK,
    addresses=frozenset({"203.0.113.10"}),
    dies=True,
    fault=at(1000),
)
ANSWER = Sighting(at(1250), "gw2", "outside", "announcement", "203.0.113.10")


def listing(node: str, began: float, flows: list[Flow]) -> Listing:
    return Listing(node, at(began), at(began + 5), {one.key: one for one in flows})


def record(
    *, changes: list[Change] | None = None, left: list[Carried] | None = None, arrived: list[Carried] | None = None
) -> StateRecord:
    """Both kernels hold OLD from the beginning."""
    return StateRecord(
        (listing("gw1", 0, OLD), listing("gw2", 10, OLD)),
        tuple(changes or ()),
        tuple(left or ()),
        tuple(arrived or ()),
        (),
        at(20),
    )


def changed(ms: float, node: str, one: Flow, *, gone: bool = False, new: bool = False) -> Change:
    return Change(at(ms), node, one, gone, new)


def carried(ms: float, one: Flow, sequence: int = 1, *, gone: bool = False) -> Carried:
    return Carried(at(ms), (7, sequence), one, gone)


def fields(seen: StateRecord, told: Stateful = TOLD, sightings: tuple[Sighting, ...] = (ANSWER,)) -> StateJson:
    return judge(told, seen, sightings)[0]


def test_a_flow_that_arrived_and_was_written_before_the_answer_is_in_order() -> None:
    """Received at 990 ms, in the kernel at 1100, first answer at 1250."""
    new = flow(9)
    seen = record(
        changes=[changed(985, "gw1", new, new=True), changed(1100, "gw2", new)],
        left=[carried(986, new)],
        arrived=[carried(990, new)],
    )
    told, findings = judge(TOLD, seen, [ANSWER])
    assert (told["vip_before_state"], told["flows_unsent"], findings) == (0, 0, [])
    assert told["sync_lag_ms"] == 115


def test_a_flow_that_was_written_after_the_answer_convicts_the_gate() -> None:
    """The same, written 50 ms too late: the finding names node and flow."""
    new = flow(9)
    seen = record(changes=[changed(985, "gw1", new), changed(1300, "gw2", new)], arrived=[carried(990, new)])
    told, findings = judge(TOLD, seen, [ANSWER])
    assert told["vip_before_state"] == 1
    assert "gw2 answered" in findings[0]
    assert "tcp 10.9.0.11:9 -> 203.0.113.9:80" in findings[0]


def test_without_an_answer_no_address_was_before_its_state() -> None:
    """Nobody took over; an advertisement, another node and another address answer nothing of this."""
    seen = record(arrived=[carried(990, flow(9))])
    others = (
        replace(ANSWER, kind="advertisement"),
        replace(ANSWER, node="gw1"),
        replace(ANSWER, subject="203.0.113.99"),
        replace(ANSWER, instant=at(900)),
    )
    assert fields(seen, sightings=others)["vip_before_state"] == 0
    assert fields(seen)["vip_before_state"] == 1, "the control"


def test_a_late_reading_of_the_kernels_word_convicts_nobody() -> None:
    """Read at 1260, but the kernel itself notes that it took the flow at 1240."""
    new = flow(9, started=1240)
    seen = record(changes=[changed(1260, "gw2", flow(9))], arrived=[carried(990, new)])
    assert fields(seen)["vip_before_state"] == 1, "by the reading alone"
    noted = replace(seen, listings=(*seen.listings, listing("gw2", 2000, [new])))
    assert fields(noted)["vip_before_state"] == 0


def test_a_copy_that_vanished_before_the_answer_counts_if_its_flow_still_lived() -> None:
    """It was in both kernels; the standby's lost it. If it had ended at its origin, nothing is missing."""
    lost = changed(1100, "gw2", OLD[0], gone=True)
    assert fields(record(changes=[lost]))["vip_before_state"] == 1
    ended = changed(900, "gw1", OLD[0], gone=True)
    assert fields(record(changes=[ended, lost]))["vip_before_state"] == 0


def test_what_the_stream_took_back_is_not_owed() -> None:
    """Its order is the origin's: the path that was slower does not bring a flow back to life."""
    new = flow(9)
    arrived = [carried(991, new, 2, gone=True), carried(995, new, 1)]
    assert fields(record(arrived=arrived))["vip_before_state"] == 0
    arrived = [carried(991, new, 1, gone=True), carried(995, new, 2)]
    assert fields(record(arrived=arrived))["vip_before_state"] == 1


@pytest.mark.parametrize(("state", "mark"), [(SYN_RECV, MARK), (ESTABLISHED, FOREIGN)])
def test_half_open_and_foreign_flows_are_no_state(state: int, mark: int) -> None:
    """Nobody owes them, sent or not."""
    new = flow(9, state, mark)
    told = fields(record(changes=[changed(985, "gw1", new)], arrived=[carried(990, new)]))
    assert (told["vip_before_state"], told["flows_unsent"]) == (0, 0)


def test_unsent_is_what_no_datagram_took_out_before_the_cut() -> None:
    """One left in time, one a moment too late, one never; one was made after the cut by whatever still ran."""
    four = [flow(number, started=started) for number, started in ((10, 980), (11, 990), (12, 995), (13, 1005))]
    seen = record(
        changes=[changed(985 + number, "gw1", one) for number, one in enumerate(four)],
        left=[carried(990, four[0]), carried(1001, four[1])],
    )
    noted = replace(seen, listings=(*seen.listings, listing("gw1", 2000, [*OLD, *four])))
    assert fields(noted)["flows_unsent"] == 2


def test_a_node_that_lives_has_left_nothing_unsent() -> None:
    """A hand-over: nobody was cut."""
    seen = record(changes=[changed(985, "gw1", flow(9))])
    assert fields(seen)["flows_unsent"] == 1
    assert fields(seen, replace(TOLD, dies=False))["flows_unsent"] == 0


def test_from_a_living_peer_the_state_could_still_have_been_had() -> None:
    """100 ms old at the answer and never sent: the gate should have asked. 20 ms old: on its way, no offence."""
    handed_over = replace(TOLD, dies=False)
    assert fields(record(changes=[changed(1150, "gw1", flow(9))]), handed_over)["vip_before_state"] == 1
    assert fields(record(changes=[changed(1230, "gw1", flow(9))]), handed_over)["vip_before_state"] == 0
    copied = flow(9, mark=COPIED)
    assert fields(record(changes=[changed(1150, "gw1", copied)]), handed_over)["vip_before_state"] == 0
    ended = [changed(1150, "gw1", flow(9)), changed(1240, "gw1", flow(9), gone=True)]
    assert fields(record(changes=ended), handed_over)["vip_before_state"] == 0


def test_lag_counts_from_the_first_word_that_can_be_sent() -> None:
    """SYN_SENT is never sent; what began before the watch or after the fault is not counted."""
    syn, answered = flow(9, 1), flow(9, SYN_RECV)
    late = flow(10)
    seen = record(
        changes=[
            changed(10, "gw1", flow(11), new=True),
            changed(30, "gw1", flow(11)),
            changed(300, "gw2", flow(11)),
            changed(500, "gw1", syn, new=True),
            changed(520, "gw1", answered),
            changed(523, "gw2", answered),
            changed(524, "gw2", flow(9)),
            changed(600, "gw1", OLD[0]),
            changed(640, "gw2", OLD[0]),
            changed(1010, "gw1", late, new=True),
            changed(1100, "gw2", late),
        ]
    )
    told = fields(seen)
    assert (told["sync_lag_ms"], told["sync_lag_max_ms"], told["sync_lag_flows"]) == (3, 3, 1)


def test_the_kernel_at_an_instant_is_its_listing_and_what_it_said_since() -> None:
    """An update leaves out what did not change; an end removes."""
    update = flow(1, UNSAID)._replace(mark=0, reply=b"")
    seen = record(
        changes=[
            changed(100, "gw1", update),
            changed(200, "gw1", OLD[1], gone=True),
            changed(300, "gw1", flow(1, CLOSED)),
        ]
    )
    assert kernel_at(seen, "gw1", at(150))[OLD[0].key] == OLD[0]
    assert OLD[1].key not in kernel_at(seen, "gw1", at(250))
    assert kernel_at(seen, "gw1", at(350))[OLD[0].key].state == CLOSED
    assert kernel_at(seen, "gw2", at(350)).keys() == {one.key for one in OLD}


def test_a_kernel_that_begins_with_the_strike_is_known_from_its_first_listing() -> None:
    """A node that returns: what stood there before is another life's."""
    fresh = replace(TOLD, dies=False, fresh=True)
    seen = replace(record(), listings=(listing("gw1", 0, OLD), listing("gw2", 1010, [])))
    told = fields(seen, fresh)
    assert (told["flows_active"], told["flows_standby"]) == (3, 0)
    assert told["vip_before_state"] == 3, "it answered with nothing"
    filled = replace(seen, changes=tuple(changed(1100, "gw2", one) for one in OLD))
    assert fields(filled, fresh)["vip_before_state"] == 0


def test_kernels_differ_by_what_people_would_miss() -> None:
    """A missing flow, another translation, another state; not what is half-open, foreign or not replicated."""
    there = [
        flow(2, CLOSED),
        flow(3, reply=b"elsewhere"),
        flow(4),
        flow(5, SYN_RECV),
        flow(6, mark=FOREIGN),
        flow(8),
    ]
    here = [flow(1), flow(2), flow(3), flow(4), flow(5), flow(7, mark=COPIED)]
    found = differing(listing("gw1", 0, here), listing("gw2", 0, there), TOLD.replicated)
    assert {int.from_bytes(key[10:12]) for key in found} == {1, 2, 3, 8}


def test_what_differed_before_the_fault_is_a_finding() -> None:
    """With examples; equal kernels are none."""
    seen = replace(record(), differing=(OLD[0].key, OLD[1].key))
    (finding,) = statejudge.differing_finding(seen)
    assert finding.startswith("2 flows differed between the two kernels before the fault: tcp 10.9.0.11:1 ->")
    assert statejudge.differing_finding(record()) == []
    assert fields(seen)["flows_mismatched"] == 2


def test_a_stream_that_cannot_be_read_is_told() -> None:
    """Silence about it would read as `never sent`."""
    findings = judge(TOLD, replace(record(), unread=3), [ANSWER])[1]
    assert findings == ["3 datagrams of the replication could not be read by the harness"]


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        ({"established": 1000, "survived": 999, "reset": 0, "stalled": 1}, []),
        ({"established": 1000, "survived": 998, "reset": 0, "stalled": 2}, ["99.9% must"]),
        ({"established": 1000, "survived": 999, "reset": 1, "stalled": 0}, ["were reset"]),
        ({"established": 0, "survived": 0, "reset": 0, "stalled": 0}, []),
    ],
)
def test_replicated_connections_survive(counted: dict[str, int], words: list[str]) -> None:
    """999 in 1000, and no reset; other paths owe nothing."""
    run = run_row(tcp_by_path={"service": counted, "source-nat": {"established": 5, "survived": 0, "reset": 5}})
    findings = survival_findings(run, ["service"])
    assert len(findings) == len(words)
    assert all(word in finding for word, finding in zip(words, findings, strict=True))


def test_state_is_set_for_every_service_and_rule(pair: Any) -> None:
    """Over what the file says; a fault about kept flows takes a file without any to replicate all."""
    for state in keeping.STATES:
        plan = keeping.with_state(pair, state)
        assert {one.state for one in (*plan.services, *plan.source_nat)} == {state}
        assert keeping.keeps_flows(plan) is (state != "none")
    copied = keeping.with_state(pair, "copy")
    assert keeping.stateful(copied) is copied
    replicated = keeping.stateful(keeping.with_state(pair, "none"))
    assert keeping.replicated_paths(replicated, replicated.groups[0]) == ["service", "source-nat"]
    assert keeping.replicated_paths(copied, copied.groups[0]) == []


def test_what_is_judged_follows_the_marks(pair: Any) -> None:
    """Nothing kept, nothing judged, unless asked: then all that the group serves is counted."""

    def told(state: str, always: bool) -> Stateful | None:
        plan = keeping.with_state(pair, state)
        nodes = NodeName("gw1"), NodeName("gw2")
        return keeping.told_of(plan, plan.groups[0], *nodes, dies=True, fresh=False, always=always)

    assert told("none", always=False) is None
    lost = told("none", always=True)
    assert lost is not None
    assert lost.kept(MARK)
    assert not lost.kept(FOREIGN)
    assert not lost.replicated(MARK)
    copied, replicated = told("copy", always=False), told("replicate", always=False)
    assert copied is not None
    assert replicated is not None
    assert (copied.kept(MARK), copied.replicated(MARK), replicated.replicated(MARK)) == (True, False, True)
    assert "203.0.113.10" in replicated.addresses


@pytest.fixture
def pair() -> Any:
    from pathlib import Path

    return load_plan(Path(__file__).parents[2] / "examples" / "pair.yaml")


def test_idle_datagrams_count_only_if_known_again() -> None:
    """Answered after the mark, never under another address."""
    exchanges = [
        Connection("udp", established=True, answered=at(1500), ended=Instant(0)),
        Connection("udp", established=True, answered=at(900), ended=Instant(0)),
        Connection("udp", established=True, answered=at(1500), ended=at(1400), corrupted=True),
        Connection("udp", established=False, answered=Instant(0), ended=Instant(0)),
    ]
    assert keeping.idle_fields(exchanges, at(1200)) == {"udp_established": 3, "udp_survived": 1}


def test_the_report_says_it_in_words_of_both_languages() -> None:
    """A line a figure, translated; a run that looked at no flows has none."""
    told = fields(record(changes=[changed(985, "gw1", flow(9))], arrived=[carried(990, flow(9))]))
    drill: Any = {"runs": [run_row(**told, udp_established=4, udp_survived=3)]}
    english, korean = (statewords.lines(drill, speaker(language)) for language in LANGUAGES)
    assert [line.name for line in english] == [
        "address before state",
        "never sent",
        "flows kept",
        "different",
        "replication lag",
        "idle datagrams",
    ]
    assert [line.good for line in english] == [False, True, True, True, True, False]
    for ours, theirs in zip(english, korean, strict=True):
        assert ours.name != theirs.name
        assert ours.meaning != theirs.meaning
    assert statewords.lines({**drill, "runs": [run_row()]}, speaker("en")) == []


def test_flows_are_named_for_people() -> None:
    """Ports where there are any."""
    assert describe(flow(80).key) == "tcp 10.9.0.11:80 -> 203.0.113.9:80"
    six = bytes([10, 17]) + bytes(15) + b"\1" + bytes(15) + b"\2" + b"\0\5\0\6" + b"\0\0"
    assert describe(six) == "udp [::1]:5 -> [::2]:6"
    assert describe(bytes([2, 47, 10, 0, 0, 1, 10, 0, 0, 2, 0, 0])) == "47 10.0.0.1 -> 10.0.0.2"
