"""The line between the core and the process that replicates flows: either end may be another one than a moment ago."""

import socket
from collections.abc import Iterator

import pytest

from understudy.agent import messages
from understudy.agent.flows_link import SILENCE_MAX, SILENT, UNANSWERED_MAX, FlowsLink
from understudy.agent.replicator_line import WAITING_MAX, CoreLine
from understudy.core.effects import AskFlows, OwnFlows
from understudy.core.events import Event, FlowsReady, SyncChanged
from understudy.core.replication.effects import Compared, Elsewhere, Ready, Synced
from understudy.core.replication.events import Asked, CompareCommanded, Owned
from understudy.core.replication.events import Event as Wanted
from understudy.units import MILLISECOND, GroupName, Instant

EDGE, CORE = GroupName("edge"), GroupName("core")
NOW = Instant(0)


class Pair:
    """Both ends, each of which can be another process."""

    def __init__(self) -> None:
        self.core_end, self.flows_end = messages.pair()
        self.events: list[Event] = []
        self.generation = 0
        self.link = self.another_core()
        self.line = CoreLine(self.flows_end)

    def another_core(self) -> FlowsLink:
        self.generation += 1
        self.events.clear()
        self.link = FlowsLink(self.core_end, self.generation, {EDGE, CORE}, {EDGE, CORE}, self.events.append)
        return self.link

    def another_replicator(self) -> None:
        self.line = CoreLine(self.flows_end)
        self.line.hello(7)

    def told(self) -> list[Event]:
        """What the core learned."""
        self.events.clear()
        self.link.read()
        return list(self.events)

    def wanted(self) -> list[Wanted]:
        return self.line.read()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with made.core_end, made.flows_end:
        yield made


def test_a_core_tells_what_it_owns_once_it_knows(pair: Pair) -> None:
    """Nothing before it began; then everything, and each change; what is told twice is no news."""
    pair.link.own(OwnFlows(EDGE, True))
    assert pair.wanted() == []
    pair.link.begin()
    assert pair.wanted() == [Owned(EDGE, True)]
    pair.link.own(OwnFlows(CORE, True))
    pair.link.own(OwnFlows(EDGE, False))
    pair.link.own(OwnFlows(EDGE, False))
    assert pair.wanted() == [Owned(CORE, True), Owned(EDGE, False)]


def test_a_core_that_is_forked_anew_takes_back_what_the_one_before_owned(pair: Pair) -> None:
    """It begins as Backup: the replicator must not go on as the original."""
    pair.link.begin()
    pair.link.own(OwnFlows(EDGE, True))
    pair.wanted()
    pair.another_core().begin()
    assert pair.wanted() == [Owned(EDGE, False)]


def test_a_core_that_is_forked_anew_learns_what_is_complete(pair: Pair) -> None:
    """It was told to the one before; nothing that the dead one left unread is believed."""
    pair.link.begin()
    pair.line.synced(NOW, Synced(EDGE, True, "proven"))
    pair.another_core()
    assert pair.told() == []
    pair.link.begin()
    pair.wanted()
    assert pair.told() == [SyncChanged(EDGE, True, "proven")]


def test_a_core_that_is_forked_anew_learns_who_else_was_the_original(pair: Pair) -> None:
    """Of a group that has never been complete too; and no more of it once this node was the original."""
    pair.link.begin()
    pair.line.elsewhere(NOW, Elsewhere(EDGE, True))
    pair.another_core().begin()
    pair.wanted()
    (told,) = pair.told()
    assert isinstance(told, SyncChanged)
    assert (told.group, told.complete, told.elsewhere) == (EDGE, False, True)
    pair.line.synced(NOW, Synced(EDGE, True, "proven"))
    assert pair.told() == [SyncChanged(EDGE, True, "proven", elsewhere=True)]
    pair.line.elsewhere(NOW, Elsewhere(EDGE, False))
    pair.another_core().begin()
    pair.wanted()
    assert pair.told() == [SyncChanged(EDGE, True, "proven")]


def test_a_replicator_that_is_forked_anew_is_told_and_asked_again(pair: Pair) -> None:
    """What is owned, and the question that the dead one took with it; what it had proven is proven no more."""
    pair.link.begin()
    pair.link.own(OwnFlows(EDGE, True))
    pair.line.synced(NOW, Synced(CORE, True, "proven"))
    pair.link.ask(AskFlows(CORE, 3, True))
    pair.wanted()
    assert pair.told() == [SyncChanged(CORE, True, "proven")]
    pair.another_replicator()
    (lost,) = pair.told()
    assert isinstance(lost, SyncChanged)
    assert (lost.group, lost.complete) == (CORE, False)
    assert pair.wanted() == [Owned(EDGE, True), Asked(CORE, 3, True)]
    pair.line.ready(NOW, Ready(CORE, 3, True, "all of it"))
    assert pair.told() == [FlowsReady(CORE, 3, True, "all of it")]
    pair.another_replicator()
    pair.told()
    assert pair.wanted() == [Owned(EDGE, True)]


def test_an_answer_to_a_core_that_is_gone_is_not_the_next_ones(pair: Pair) -> None:
    """Each counts its questions from one."""
    pair.link.begin()
    pair.link.ask(AskFlows(EDGE, 1, False))
    pair.wanted()
    pair.line.ready(NOW, Ready(EDGE, 1, True, "for the dead"))
    pair.another_core().begin()
    assert pair.told() == []
    pair.link.ask(AskFlows(EDGE, 1, False))
    pair.wanted()
    pair.line.ready(NOW, Ready(EDGE, 1, False, "for the living", waiting=False))
    assert pair.told() == [FlowsReady(EDGE, 1, False, "for the living", final=True)]


def test_a_silent_replicator_counts_as_one_without_the_state(pair: Pair) -> None:
    """Frozen, it says nothing; thawed, it is told and asked everything again, and says what it holds."""
    pair.link.begin()
    pair.line.synced(NOW, Synced(EDGE, True, "proven"))
    pair.wanted()
    pair.told()
    for _ in range(SILENCE_MAX):
        pair.link.housekeep()
        assert pair.told() == []
    pair.link.own(OwnFlows(CORE, True))
    pair.events.clear()
    pair.link.housekeep()
    (lost,) = pair.events
    assert isinstance(lost, SyncChanged)
    assert not lost.complete
    answers: list[dict[str, object]] = []
    pair.link.compare(answers.append)
    assert "error" in answers[0]
    assert pair.wanted() == [Owned(CORE, True)]
    pair.line.tell_status(2_000_000_000, lambda: {"groups": {}})
    pair.told()
    pair.wanted()
    assert SyncChanged(EDGE, True, "proven") in pair.told()


def test_nobody_waits_for_a_replicator_that_answers_no_ping(pair: Pair) -> None:
    """A few beats without a word, and a question has its answer: one that was asked before, and one that is asked then.
    One word, and questions wait for their answers again.
    """
    pair.link.begin()
    pair.link.ask(AskFlows(EDGE, 3, drain=False))
    for _ in range(3 * UNANSWERED_MAX):  # The control: one that answers is waited for, however long it takes.
        pair.link.beat()
        pair.wanted()
        assert pair.told() == []
    for _ in range(UNANSWERED_MAX):
        pair.link.beat()
    assert not pair.events
    assert not pair.link.mute
    pair.link.beat()
    assert pair.events == [FlowsReady(EDGE, 3, False, SILENT, final=True, mute=True)]
    pair.events.clear()
    pair.link.ask(AskFlows(EDGE, 4, drain=False))
    assert pair.link.mute
    pair.link.beat()
    assert pair.events == [FlowsReady(EDGE, 4, False, SILENT, final=True, mute=True)]
    assert pair.wanted() == [Asked(EDGE, 4, drain=False)]
    assert pair.told() == []
    assert not pair.link.mute
    pair.line.ready(NOW, Ready(EDGE, 4, True, "all of it"))
    assert pair.told() == [FlowsReady(EDGE, 4, True, "all of it")]


def test_where_everything_is_ours_nobody_is_pinged(pair: Pair) -> None:
    """Nothing could wait for it; once a group is given up, one that is frozen is found as soon as ever."""
    pair.link.begin()
    pair.link.own(OwnFlows(EDGE, True))
    pair.wanted()
    pair.link.beat()
    assert messages.receive(pair.flows_end) == {"op": "ping"}  # the control: of the other group it may be asked
    pair.link.own(OwnFlows(CORE, True))
    pair.wanted()
    for _ in range(3 * UNANSWERED_MAX):
        pair.link.beat()
        assert not pair.link.mute
    assert messages.receive(pair.flows_end) is None
    pair.link.own(OwnFlows(CORE, False))
    pair.link.ask(AskFlows(CORE, 3, drain=False))
    for _ in range(UNANSWERED_MAX):
        pair.link.beat()
    assert not pair.events
    pair.link.beat()
    assert pair.events == [FlowsReady(CORE, 3, False, SILENT, final=True, mute=True)]


def test_pings_do_not_fill_the_line_of_one_that_is_frozen(pair: Pair) -> None:
    pair.link.begin()
    for _ in range(1000):
        pair.link.beat()
    waiting = 0
    while messages.receive(pair.flows_end) is not None:
        waiting += 1
    assert waiting == 2 + UNANSWERED_MAX + 1  # beside `hello` and `own`


def test_a_full_line_keeps_nobody_waiting_and_everything_is_told_later(pair: Pair) -> None:
    """A frozen replicator does not read: the core goes on, and says the present state once there is room."""
    pair.link.begin()
    for number in range(50_000):
        pair.link.own(OwnFlows(EDGE, number % 2 == 1))
    pair.link.own(OwnFlows(CORE, True))
    while pair.wanted():
        pass
    pair.link.housekeep()
    pair.wanted()
    assert pair.line._owned == {EDGE, CORE}


def test_a_core_that_does_not_read_is_told_the_last_word_later(pair: Pair) -> None:
    """The other way round: the line is full, and no message of a core's is owed for ever."""
    pair.link.begin()
    for _ in range(50_000):
        pair.line.synced(NOW, Synced(EDGE, False, "x" * 200))
    pair.line.synced(NOW, Synced(EDGE, True, "proven"))
    for _ in range(1000):
        pair.link.read()
    pair.line.tell_status(2_000_000_000, dict)
    assert pair.told() == [SyncChanged(EDGE, True, "proven")]


def test_a_comparison_is_answered_once_whoever_dies(pair: Pair) -> None:
    """The operator gets the result, or why there is none; a group of another file is nobody's news."""
    pair.link.begin()
    answers: list[dict[str, object]] = []
    pair.link.compare(answers.append)
    pair.link.compare(answers.append)
    assert [event for event in pair.wanted() if isinstance(event, CompareCommanded)] == [
        CompareCommanded(1),
        CompareCommanded(2),
    ]
    pair.line.compared(NOW, Compared(1, 10, 11, 1, ("tcp",)))
    pair.line.compared(NOW, Compared(1, 10, 11, 1, ("tcp",)))
    pair.line.synced(NOW, Synced(GroupName("gone"), True, "proven"))
    assert pair.told() == []
    pair.another_replicator()
    pair.told()
    assert [("error" in answer, answer.get("mismatched")) for answer in answers] == [(False, 1), (True, None)]


def test_questions_that_nobody_answers_take_no_memory(pair: Pair) -> None:
    """A bounded number is remembered, the latest of them."""
    pair.link.begin()
    for token in range(3 * WAITING_MAX):
        pair.link.ask(AskFlows(EDGE, token, False))
        pair.wanted()
    pair.line.ready(NOW, Ready(EDGE, 0, True, "forgotten"))
    pair.line.ready(NOW, Ready(EDGE, 3 * WAITING_MAX - 1, True, "the last"))
    assert pair.told() == [FlowsReady(EDGE, 3 * WAITING_MAX - 1, True, "the last")]


def test_a_line_that_was_closed_is_nobodys_error() -> None:
    """Reading from a dead end finds nothing."""
    ours, theirs = messages.pair()
    theirs.close()
    link = FlowsLink(ours, 1, {EDGE}, {EDGE}, lambda event: None)
    link.begin()
    link.read()
    ours.close()
    assert isinstance(ours, socket.socket)


def test_the_status_is_told_when_it_changed_at_most_ten_times_a_second(pair: Pair) -> None:
    """Whatever happens; without a change once a second, so that the core knows that somebody lives."""
    asked: list[int] = []

    def status() -> dict[str, object]:
        asked.append(1)
        return {"changes": len(asked)}

    for millisecond in range(1000, 2000):
        pair.line.stir()
        pair.line.tell_status(millisecond * MILLISECOND, status)
    assert len(asked) == 10
    assert pair.line.due() == 2000 * MILLISECOND
    for millisecond in range(2000, 6000):
        pair.line.tell_status(millisecond * MILLISECOND, lambda: {"changes": 10})
    told = []
    while (message := messages.receive(pair.core_end)) is not None:
        told.append(message["flows"]["changes"])
    assert told == [*range(1, 11), 10, 10, 10, 10]


def test_what_only_time_has_changed_is_told_once_a_second(pair: Pair) -> None:
    """Ages are others at every look: at rest they wake nobody. A core that begins anew is told soon."""
    ages = iter(range(10_000))
    for millisecond in range(1000, 3700):
        pair.line.tell_status(millisecond * MILLISECOND, lambda: {"heard_ms": next(ages)})
    told = []
    while (message := messages.receive(pair.core_end)) is not None:
        told.append(message["flows"]["heard_ms"])
    assert told == [0, 1, 2]
    pair.link.begin()
    assert pair.wanted() == []
    pair.line.tell_status(3200 * MILLISECOND, lambda: {"heard_ms": next(ages)})
    pair.told()
    assert pair.link.describe() == {"running": True, "heard_ms": 3}
