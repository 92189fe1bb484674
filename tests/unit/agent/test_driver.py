"""The loop around the core: what wakes it, in which order it reads, and what it asks of others and how often."""

import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import cast

import pytest

from understudy.adapters.channel import Channel
from understudy.adapters.links import LinkWatch
from understudy.agent import messages
from understudy.agent.driver import NEIGHBOURS_EVERY, Driver
from understudy.agent.flows_link import SILENT, UNANSWERED_MAX
from understudy.agent.journal import JournalSender
from understudy.agent.lans import Lan
from understudy.core.effects import AskFlows, Effect, OwnFlows
from understudy.core.events import Event, FlowsReady, Started, StopCommanded, Tick, VrrpReceived, WitnessesLearned
from understudy.core.node import Node
from understudy.core.settings import GroupSettings, NodeSettings, RouterSettings
from understudy.units import MILLISECOND, SECOND, GroupName, Instant, NetworkName, NodeName, Priority, Vrid

EDGE, PLAIN = GroupName("edge"), GroupName("plain")
INSIDE, SYNC = NetworkName("inside"), NetworkName("sync")
VIRTUAL, NEIGHBOUR = ip_address("10.9.0.254"), ip_address("10.9.0.7")


def group(name: GroupName, number: int, *, stateful: bool) -> GroupSettings:
    router = RouterSettings(INSIDE, 4, Vrid(number), Priority(100), (VIRTUAL,), 10)
    return GroupSettings(name, number, 100 * MILLISECOND, True, (router,), (), {}, stateful=stateful)


SETTINGS = NodeSettings(
    NodeName("gw1"), 1, bytes(16), (INSIDE, SYNC), (INSIDE, SYNC), (),
    (group(EDGE, 1, stateful=True), group(PLAIN, 2, stateful=False)), (), {}, 100 * MILLISECOND,
)  # fmt: skip


class NothingShed:
    shed: dict[str, int] = {}  # noqa: RUF012 -- stays empty

    def news(self) -> list[tuple[str, bool]]:
        return []


class Cable:
    """Stands for a port: what is put in at the far end is a frame."""

    def __init__(self) -> None:
        self.socket, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.sieve, self.index, self.mac = NothingShed(), 1, bytes(6)

    def receive(self) -> bytes | None:
        try:
            return self.socket.recv(2000)
        except BlockingIOError:
            return None

    def has_carrier(self) -> bool:
        return True

    def send(self, frame: bytes, mark: int = 0) -> None: ...


class Stage:
    """A driver, and the far ends of its lines."""

    def __init__(self) -> None:
        self.cable = Cable()
        self.core_hands, self.hands = messages.pair()
        self.core_checks, self.checks = messages.pair()
        self.core_flows, self.flows = messages.pair()
        self.core_journal, self.journal = messages.pair()
        lan = Lan(INSIDE, 0, cast("object", self.cable), {}, None)  # type: ignore[arg-type]  # a stand-in
        self.links = LinkWatch()
        self.driver = Driver(
            Node(SETTINGS, epoch=1), {INSIDE: lan}, Channel(bytes(32), 1, 1, frozenset()), self.core_hands,
            self.core_checks, self.links, JournalSender(self.core_journal, SETTINGS.name), 1, self.core_flows,
        )  # fmt: skip
        self.fed: list[Event] = []
        handle = self.driver.node.handle

        def watched(now: Instant, event: Event) -> list[Effect]:
            self.fed.append(event)
            return handle(now, event)

        self.driver.node.handle = watched  # type: ignore[method-assign]  # it listens, and passes on

    def said(self, end: socket.socket) -> list[str]:
        """What a far end got to read, by kind."""
        found = []
        while (message := messages.receive(end)) is not None:
            found.append(str(message["op"]))
        return found

    def close(self) -> None:
        ends = (self.core_hands, self.hands, self.core_checks, self.checks, self.core_flows, self.flows)
        cable = (self.cable.socket, self.cable.far, self.core_journal, self.journal, self.links.socket)
        for end in (*ends, *cable, self.driver._wake, self.driver._asked_to_stop):
            end.close()
        self.driver._poll.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def test_every_line_is_read_whichever_speaks(stage: Stage) -> None:
    """Behind the one thing that it waits for are all of them, and what arrived together is read in one turn."""
    stage.driver.turn()
    stage.said(stage.hands)
    got: list[str] = []
    stage.driver.hands.ask({"op": "revoke"}, lambda answer: got.append("hands"))
    messages.send(stage.hands, {"op": "revoke", "generation": 1})
    messages.send(stage.checks, {"binding": 5, "ok": True, "reason": "hears"})
    stage.cable.far.send(b"no frame of anybody's")
    stage.driver.request_stop()
    stage.fed.clear()
    stage.driver.turn()
    assert got == ["hands"]
    assert StopCommanded() in stage.fed
    assert [type(event).__name__ for event in stage.fed].index("CheckFinished") >= 0
    assert sum(stage.driver.dropped.values()) == 1


def test_all_that_arrived_is_read_in_one_turn_and_nothing_in_vain(stage: Stage) -> None:
    """At rest there is one frame, and no second look into that port; a queue is emptied before time passes."""
    stage.driver.turn()
    reads: list[bytes | None] = []
    receive = stage.cable.receive

    def watched() -> bytes | None:
        reads.append(receive())
        return reads[-1]

    stage.cable.receive = watched  # type: ignore[method-assign]  # likewise
    stage.cable.far.send(b"no frame of anybody's")
    stage.driver.turn()
    assert reads == [b"no frame of anybody's"]
    for _ in range(10):
        stage.cable.far.send(b"nor this")
    stage.driver.turn()
    assert reads.count(b"nor this") == 10


def test_a_late_process_believes_its_queue_before_its_clock(stage: Stage) -> None:
    """What arrived while it slept is read before a deadline that passed meanwhile; and nothing is read too late."""
    stage.driver.feed(Started(frozenset()))
    stage.driver.turn()
    looks: list[str] = []
    take_in = stage.driver._take_in

    def watched(wait_s: float) -> bool:
        looks.append("look")
        return take_in(wait_s)

    stage.driver._take_in = watched  # type: ignore[method-assign]  # likewise
    handle = stage.driver.node.handle

    def handled(now: Instant, event: Event) -> list[Effect]:
        looks.append(type(event).__name__)
        return handle(now, event)

    stage.driver.node.handle = handled  # type: ignore[method-assign]  # likewise
    deadline = stage.driver.node.next_deadline()
    assert deadline is not None
    while time.monotonic_ns() < deadline + MILLISECOND:
        time.sleep(MILLISECOND / SECOND)
    stage.driver.turn()
    assert looks[:3] == ["look", "look", Tick.__name__]


def test_a_step_down_asks_at_once_whether_the_replicator_lives(stage: Stage) -> None:
    """While everything is ours nobody could wait for it. A frozen one is found in as many beats as ever."""
    driver = stage.driver
    assert driver.flows is not None
    driver.flows.begin()
    now = Instant(time.monotonic_ns())
    driver.carry_out(now, OwnFlows(EDGE, True))
    driver._housekeep(now)
    stage.said(stage.flows)
    driver._beat_at = 0
    driver.turn()
    assert stage.said(stage.flows) == []
    driver.carry_out(now, OwnFlows(EDGE, False))
    driver.turn()
    assert stage.said(stage.flows) == ["own", "ping"]
    driver.carry_out(now, AskFlows(EDGE, 3, drain=False))
    for _ in range(2 * UNANSWERED_MAX):
        driver._beat_at = 0
        driver.turn()
    mute = FlowsReady(EDGE, 3, False, SILENT, final=True, mute=True)
    assert mute in stage.fed
    stage.said(stage.flows)
    stage.fed.clear()
    driver.carry_out(now, AskFlows(EDGE, 4, drain=False))  # The control: one that has thawed is waited for.
    driver.turn()
    assert mute not in stage.fed
    assert not driver.flows.mute


def test_neighbours_are_asked_for_every_second_only_where_somebody_is_wanted(stage: Stage) -> None:
    """Of a cable for replication alone nobody is ever a witness. Those that are known already are no news."""
    driver = stage.driver
    asked = 0

    def housekeep(second: int) -> None:
        nonlocal asked
        driver._housekeep(second * SECOND)
        for op in stage.said(stage.hands):
            asked += op == "neighbours"
            answer = {
                "op": op,
                "generation": 1,
                "neighbours": {INSIDE: [str(NEIGHBOUR)] if second > 3 else [], SYNC: []},
            }
            messages.send(stage.hands, answer)
        driver.hands.read()

    for second in range(1, 5):
        housekeep(second)
    assert asked == 4  # the control: nobody is known inside, so every second
    for second in range(5, 5 + 2 * NEIGHBOURS_EVERY // SECOND):
        housekeep(second)
    assert asked == 4 + 2
    learned = [event for event in stage.fed if isinstance(event, WitnessesLearned)]
    assert learned == [WitnessesLearned(INSIDE, (NEIGHBOUR,))]
    assert not any(isinstance(event, VrrpReceived) for event in stage.fed)
