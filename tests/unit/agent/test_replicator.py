"""The loop around the replication: what takes long is done in parts, in order, delayed only where a drill says so."""

import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from understudy.adapters.channel import FLOWS_PORT, Channel
from understudy.agent import messages, replicator
from understudy.agent.flow_work import WRITES_MAX
from understudy.agent.journal import JournalSender
from understudy.agent.lans import Lan
from understudy.agent.replicator import DATAGRAMS_MAX, DRAIN_ROUNDS, GATHER_FROM, Replicator
from understudy.agent.replicator_line import ALIVE_EVERY, CoreLine
from understudy.core.replication.effects import Cancel, Drain, Effect, List, Renew, Write
from understudy.core.replication.events import (
    Asked,
    Delivered,
    Drained,
    Event,
    KernelChanged,
    KernelOverrun,
    Kind,
    Listed,
    Record,
    Started,
    TableFull,
    Written,
)
from understudy.core.replication.machine import Replication
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant, NetworkName, NodeName

EDGE = GroupSettings(GroupName("edge"), 1, 100 * MILLISECOND, True, (), (), {})
SETTINGS = NodeSettings(NodeName("gw1"), 1, bytes(16), (), (), (), (EDGE,), (), {}, 100 * MILLISECOND)
GROUPS = frozenset({1})
SYNC = NetworkName("sync")


def record(number: int) -> Record:
    return Kind.CHANGED, number.to_bytes(4, "big")


class Script(Replication):
    """Says what it was told to say, and keeps what it hears."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.heard: list[Event] = []
        self.answers: dict[type, list[Effect]] = {}
        self.moved: tuple[int, ...] = ()

    @property
    def progress(self) -> tuple[int, ...]:
        return self.moved

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        self.heard.append(event)
        return self.answers.pop(type(event), [])

    def next_deadline(self) -> Instant | None:
        return None

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.heard if isinstance(event, kind)]

    def delivered(self) -> list[bytes]:
        return [payload for event in self.heard if isinstance(event, Delivered) for payload in event.payloads]


@dataclass
class Kernel:
    """A table in memory: what is written, and what a list would bring."""

    chunks: list[list[bytes]] = field(default_factory=list)
    batches: list[list[Record]] = field(default_factory=list)
    fails_after: int | None = None
    renewed: list[frozenset[int]] = field(default_factory=list)

    refusals: dict[str, int] = field(default_factory=dict)
    entries: int = 5

    def count(self) -> int:
        return self.entries

    def limit(self) -> int:
        return 100

    def write(self, records: list[Record]) -> int:
        self.batches.append(list(records))
        if self.entries == self.limit():
            self.refusals["create ENOMEM"] = self.refusals.get("create ENOMEM", 0) + 1
            return 1
        return sum(raw == b"no" for _, raw in records)

    def list(self, groups: frozenset[int]) -> Iterator[list[bytes]]:
        for number, chunk in enumerate(self.chunks):
            if number == self.fails_after:
                raise EnvironmentFailure("list", "flows", "no memory")
            yield chunk

    def renew(self, groups: frozenset[int]) -> Iterator[int]:
        for _ in range(3):
            self.renewed.append(groups)
            yield 1


class News:
    """The kernel's news: a datagram a record, and `!` for an overrun."""

    def __init__(self) -> None:
        self.socket, self.teller = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def read(self, limit: int) -> tuple[Sequence[Record], KernelOverrun | None]:
        found: list[Record] = []
        for _ in range(limit):
            try:
                data = self.socket.recv(100)
            except BlockingIOError:
                break
            if data == b"!":
                return found, KernelOverrun(over=True)
            found.append((Kind.CHANGED, data))
        return found, None


class NothingShed:
    shed: dict[str, int] = {}  # noqa: RUF012 -- stays empty

    def news(self) -> list[tuple[str, bool]]:
        return []


class Cable:
    """Stands for the socket of flows on one network, with nothing to shed: what is said is there at once."""

    def __init__(self) -> None:
        self.readable = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK)
        self.sieve = NothingShed()
        self.peer = Channel(bytes(32), 2, 1, frozenset({1}), port=FLOWS_PORT)
        self._waiting: deque[bytes] = deque()

    def fileno(self) -> int:
        return self.readable

    def receive(self) -> list[bytes]:
        os.eventfd_read(self.readable)  # BlockingIOError if nothing waits
        return [self._waiting.popleft()]

    def say(self, *payloads: bytes) -> None:
        """The peer does."""
        for payload in payloads:
            self._waiting.append(self.peer.seal(payload, 1, 0))
            os.eventfd_write(self.readable, 1)

    def close(self) -> None:
        os.close(self.readable)

    def greet(self, channel: Channel) -> None:
        """Both ends know each other's nonce."""
        for _ in range(3):
            with contextlib.suppress(DecodeError):
                self.peer.open(channel.seal(b"", 2, 0), 0)
            with contextlib.suppress(DecodeError):
                channel.open(self.peer.seal(b"", 1, 0), 0)


@dataclass
class Stage:
    machine: Script
    kernel: Kernel
    news: News
    replicator: Replicator
    core: socket.socket
    cable: Cable | None = None


Stages = Callable[..., Stage]


@pytest.fixture
def stage() -> Iterator[Stages]:
    """Makes as many as a test wants, and closes their sockets."""
    sockets: list[socket.socket | Cable] = []

    def make(sync_delay: Duration = 0, *, cable: bool = False) -> Stage:
        news, ends, journal = News(), messages.pair(), messages.pair()
        sockets.extend((news.socket, news.teller, *ends, *journal))
        end = Cable() if cable else None
        if end is not None:
            sockets.append(end)
        return _stage(news, ends, journal[0], sync_delay, end)

    yield make
    for each in sockets:
        each.close()


def _stage(
    news: News,
    ends: tuple[socket.socket, socket.socket],
    journal: socket.socket,
    sync_delay: Duration,
    cable: Cable | None,
) -> Stage:
    machine, kernel = Script(), Kernel()
    channel = Channel(bytes(32), 1, 1, frozenset({2}), port=FLOWS_PORT)
    lans = {}
    if cable is not None:
        cable.greet(channel)
        port, own, flows = cast("Any", None), cast("Any", {}), cast("Any", cable)
        lans[SYNC] = Lan(SYNC, 0, port, own, None, flows)
    replicator = Replicator(
        machine,
        SETTINGS,
        lans,
        channel,
        kernel,
        news,
        CoreLine(ends[0]),
        JournalSender(journal, NodeName("gw1")),
        sync_delay=sync_delay,
    )
    return Stage(machine, kernel, news, replicator, ends[1], cable)


def test_a_list_is_read_a_chunk_a_turn_and_news_comes_between(stage: Stages) -> None:
    """News that is there at a chunk is heard before the next chunk; at the end it is said that it is the end."""
    made = stage()
    made.kernel.chunks = [[bytes([number])] for number in range(5)]
    made.machine.answers[Started] = [List(4, GROUPS)]
    made.replicator.feed(Started(1))
    for number in range(6):
        made.news.teller.send(b"news %d" % number)
        made.replicator.turn()
    kinds = [type(event) for event in made.machine.heard if isinstance(event, KernelChanged | Listed)]
    assert kinds == [KernelChanged, Listed] * 6
    parts = [event for event in made.machine.heard if isinstance(event, Listed)]
    assert [(part.number, part.last) for part in parts] == [(4, False)] * 5 + [(4, True)]
    assert [entry for part in parts for entry in part.entries] == [bytes([number]) for number in range(5)]


def test_a_paced_list_waits_between_chunks_and_holds_up_nothing(stage: Stages) -> None:
    """At ten entries a second the second chunk is not due for long: news and writes go on meanwhile."""
    made = stage()
    made.kernel.chunks = [[bytes(1)] * 10, [bytes(1)] * 10]
    made.machine.answers[Started] = [List(1, GROUPS, pace=10)]
    made.machine.answers[KernelChanged] = [Write(1, [record(1)])]
    made.replicator.feed(Started(1))
    made.replicator.turn()
    for _ in range(10):
        made.news.teller.send(b"news")
        made.replicator.turn()
    assert len(made.machine.of(Listed)) == 1
    assert len(made.machine.of(KernelChanged)) == 10
    assert made.machine.of(Written) == [Written(1)]


def test_two_lists_are_read_one_after_the_other_and_a_failed_one_is_said_so(stage: Stages) -> None:
    """Each has its own end, and the failure of one is not the other's."""
    made = stage()
    made.kernel.chunks, made.kernel.fails_after = [[b"a"], [b"b"]], 1
    made.machine.answers[Started] = [List(1, GROUPS), List(2, GROUPS)]
    made.replicator.feed(Started(1))
    for _ in range(4):
        made.replicator.turn()
    assert made.machine.of(Listed) == [
        Listed(1, [b"a"], last=False),
        Listed(1, (), last=True, failed=True),
        Listed(2, [b"a"], last=False),
        Listed(2, (), last=True, failed=True),
    ]


def test_a_list_that_nobody_wants_is_told_no_further_and_keeps_no_other_waiting(stage: Stages) -> None:
    """One that waits is never begun; one that is under way, however slow, is read to its end at once."""
    made = stage()
    made.kernel.chunks = [[bytes(1)] * 10, [bytes(1)] * 10, [bytes(1)] * 10]
    made.machine.answers[Started] = [List(1, GROUPS, pace=1), List(2, GROUPS), List(3, GROUPS)]
    made.machine.answers[KernelChanged] = [Cancel(1), Cancel(2), Cancel(9)]
    made.replicator.feed(Started(1))
    made.replicator.turn()
    made.news.teller.send(b"news")
    for _ in range(7):
        made.replicator.turn()
    listed = [event for event in made.machine.heard if isinstance(event, Listed)]
    assert [(part.number, part.last) for part in listed] == [(1, False), *[(3, False)] * 3, (3, True)]


def test_a_question_comes_after_everything_that_has_arrived(stage: Stages) -> None:
    """Who was frozen finds the peer's last news and the core's question together, and more of it than one turn takes.
    Without a question a turn takes a share, and the news of the core is not kept waiting.
    """
    payloads = [b"%d" % number for number in range(DATAGRAMS_MAX + 70)]
    made, control = stage(cable=True), stage(cable=True)
    for each in (made, control):
        assert each.cable is not None
        each.cable.say(*payloads)
    messages.send(made.core, {"op": "ask", "group": "edge", "token": 1, "drain": False, "generation": 1})
    made.replicator.turn()
    control.replicator.turn()
    assert made.machine.delivered() == payloads
    assert [type(event) for event in made.machine.heard if isinstance(event, Delivered | Asked)][-1] is Asked
    assert control.machine.delivered() == payloads[:DATAGRAMS_MAX]


def test_while_news_gathers_the_peer_waits_for_it_and_the_core_does_not(
    stage: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After much news the next is read together with what the peer says; the core's question comes before both, and
    finds what the peer has said.
    """
    made = stage(cable=True)
    assert made.cable is not None
    made.replicator.feed(Started(1))
    made.replicator.turn()

    def gather() -> None:
        """Much news is read, and some waits; neither a status nor anything else is due soon."""
        for _ in range(GATHER_FROM):
            made.news.teller.send(b"news")
        made.replicator.turn()
        made.replicator._core.tell_status(time.monotonic_ns() + ALIVE_EVERY, dict)
        made.machine.heard.clear()
        made.news.teller.send(b"more")

    gather()
    made.cable.say(b"an acknowledgement")
    made.replicator.turn()
    assert [type(event) for event in made.machine.heard] == [KernelChanged, Delivered]
    monkeypatch.setattr(replicator, "GATHER", 60 * SECOND)
    gather()
    made.cable.say(b"another")
    messages.send(made.core, {"op": "ask", "group": "edge", "token": 1, "drain": False, "generation": 1})
    made.replicator.turn()
    assert [type(event) for event in made.machine.heard] == [Delivered, Asked]


def test_writes_are_joined_in_order_and_each_is_answered(stage: Stages) -> None:
    """One batch for the kernel, bounded; answers in order, refusals with the last."""
    made = stage()
    few = [Write(number, [record(number), (Kind.GONE, b"no")]) for number in range(3)]
    made.machine.answers[Started] = [*few]
    made.replicator.feed(Started(1))
    made.replicator.turn()
    assert made.kernel.batches == [[each for write in few for each in write.records]]
    assert made.machine.of(Written) == [Written(0), Written(1), Written(2, 3)]
    made.machine.answers[Written] = [Write(9, [record(9)] * WRITES_MAX), Write(10, [record(10)])]
    made.replicator.feed(Written(0))
    made.replicator.turn()
    assert [len(batch) for batch in made.kernel.batches[1:]] == [WRITES_MAX]
    made.replicator.turn()
    assert [len(batch) for batch in made.kernel.batches[1:]] == [WRITES_MAX, 1]


def test_a_full_table_is_told_before_the_write_and_room_when_it_is_seen(stage: Stages) -> None:
    """Other refusals are none of its business."""
    made = stage()
    made.kernel.entries = made.kernel.limit()
    made.machine.answers[Started] = [Write(1, [record(1)])]
    made.replicator.feed(Started(1))
    made.replicator.turn()
    assert made.machine.heard[1:] == [TableFull(True), Written(1, 1)]
    made.replicator._work.look()
    assert len(made.machine.heard) == 3
    assert made.replicator._work.status()["full"] is True
    made.kernel.entries -= 1
    made.replicator._work.look()
    made.replicator._work.look()
    assert made.machine.heard[3:] == [TableFull(False)]
    made.machine.answers[Written] = [Write(2, [(Kind.GONE, b"no")])]
    made.replicator.feed(Written(0))
    made.replicator.turn()
    assert made.machine.heard[5:] == [Written(2, 1)]


def test_writes_are_held_back_on_purpose(stage: Stages) -> None:
    """A drill's delay: nothing reaches the kernel before its time, then all of it in order. The control has none."""
    made, control = stage(sync_delay=50 * MILLISECOND), stage()
    for each in (made, control):
        each.machine.answers[Started] = [Write(1, [record(1)]), Write(2, [record(2)])]
        each.replicator.feed(Started(1))
        each.news.teller.send(b"news")
        each.replicator.turn()
    assert (made.kernel.batches, control.kernel.batches) == ([], [[record(1), record(2)]])
    made.replicator.turn()  # waits until it is due
    made.replicator.turn()
    assert made.kernel.batches == [[record(1), record(2)]]


def test_a_drain_hands_over_everything_that_the_kernel_has_told(stage: Stages) -> None:
    """In order, an overrun too, and only then says that this was all."""
    made = stage()
    for number in range(3):
        made.news.teller.send(b"%d" % number)
    made.news.teller.send(b"!")
    made.machine.answers[Started] = [Drain(7)]
    made.replicator.feed(Started(1))
    assert [type(event) for event in made.machine.heard] == [Started, KernelChanged, KernelOverrun, Drained]
    assert made.machine.of(KernelChanged) == [KernelChanged([(Kind.CHANGED, b"%d" % number) for number in range(3)])]
    assert made.machine.of(Drained) == [Drained(7)]


def test_a_long_drain_leaves_room_for_everything_else(stage: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice a turn: the core is heard in between, and it is said that this was all when it was. News without end
    ends it too.
    """
    monkeypatch.setattr(replicator, "EVENTS_MAX", 1)
    monkeypatch.setattr(replicator, "DRAIN_SLICE", 0)
    made = stage()
    for number in range(3):
        made.news.teller.send(b"%d" % number)
    made.machine.answers[Started] = [Drain(7)]
    made.replicator.feed(Started(1))
    messages.send(made.core, {"op": "ask", "group": "edge", "token": 1, "drain": False, "generation": 1})
    for _ in range(4):
        made.replicator.turn()
    heard = [type(event) for event in made.machine.heard]
    assert sorted(map(heard.index, (Started, KernelChanged, Asked, Drained))) == [
        heard.index(each) for each in (Started, KernelChanged, Asked, Drained)
    ]
    assert heard.count(KernelChanged) == 3
    assert heard.index(Drained) == len(heard) - 1
    made.machine.answers[Asked] = [Drain(8)]
    messages.send(made.core, {"op": "ask", "group": "edge", "token": 2, "drain": False, "generation": 1})
    for _ in range(DRAIN_ROUNDS + 1):
        for _ in range(4):
            made.news.teller.send(b"more")
        made.replicator.turn()
        while select.select([made.news.socket], [], [], 0)[0]:
            made.news.read(1)
    assert made.machine.of(Drained) == [Drained(7), Drained(8)]


def test_what_effects_bring_about_comes_after_them(stage: Stages) -> None:
    """The machine is never asked within its own answer: a drain between two writes does not overtake the second."""
    made = stage()
    order: list[str] = []
    handle = made.machine.handle

    def noted(now: Instant, event: Event) -> list[Effect]:
        order.append(type(event).__name__)
        effects = handle(now, event)
        order.append("end")
        return effects

    made.machine.handle = noted  # type: ignore[method-assign]  # only to see the order of calls
    made.news.teller.send(b"news")
    made.machine.answers[Started] = [Write(1, [record(1)]), Drain(1), Write(2, [record(2)])]
    made.replicator.feed(Started(1))
    made.replicator.turn()
    assert order == ["Started", "end", "KernelChanged", "end", "Drained", "end", "Written", "end", "Written", "end"]
    assert made.kernel.batches == [[record(1), record(2)]]


def test_timeouts_are_renewed_in_parts_until_the_group_is_given_up(stage: Stages) -> None:
    """A part a turn beside everything else; of a group that another node serves from now on nothing more."""
    made = stage()
    made.machine.answers[Started] = [Renew(frozenset({1, 2}))]
    made.replicator.feed(Started(1))
    made.replicator.turn()
    messages.send(made.core, {"op": "own", "owned": ["edge"]})
    made.replicator.turn()
    before = list(made.kernel.renewed)
    messages.send(made.core, {"op": "own", "owned": []})
    made.replicator.turn()
    for _ in range(1000):
        made.news.teller.send(b"news")
        made.replicator.turn()
    assert set(before) == {frozenset({1, 2})}
    assert made.kernel.renewed[len(before) :] == [frozenset({2})] * 3


def test_what_a_peers_word_alone_has_changed_is_told_soon(stage: Stages) -> None:
    """An acknowledgement moves nothing but figures: the core is told of those as of anything; of a rest it is not."""
    made = stage(cable=True)
    assert made.cable is not None
    made.replicator.feed(Started(1))
    made.replicator.turn()

    def told() -> bool:
        """Whether the status is due before it is time to say that we run."""
        return made.replicator._core.due() < made.replicator._core._said_at + ALIVE_EVERY

    made.replicator._core.tell_status(time.monotonic_ns() + ALIVE_EVERY, dict)
    made.cable.say(b"a beacon")
    made.replicator.turn()
    assert not told()
    made.machine.moved = (1,)
    made.cable.say(b"an acknowledgement")
    made.replicator.turn()
    assert made.machine.delivered() == [b"a beacon", b"an acknowledgement"]
    assert told()
