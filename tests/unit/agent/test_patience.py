"""Who needs a standby of a core that has just begun waits until that has heard its peer, or could have."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from understudy.adapters.channel import Channel
from understudy.adapters.links import LinkWatch
from understudy.agent import messages
from understudy.agent.driver import Driver
from understudy.agent.journal import JournalSender
from understudy.agent.patience import KEPT_MAX, patient
from understudy.core.effects import SendHeartbeat
from understudy.core.events import HeartbeatReceived, Started
from understudy.core.node import Node
from understudy.core.settings import NodeSettings, PeerSettings
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NetworkName, NodeName

INSIDE = NetworkName("inside")
NAMES = {1: NodeName("gw1"), 2: NodeName("gw2")}


def settings(number: int, heartbeat: Duration) -> NodeSettings:
    """Nothing is served: whom a node hears is all that counts."""
    other = 3 - number
    peer = PeerSettings(NAMES[other], other, {})
    return NodeSettings(NAMES[number], number, bytes(16), (INSIDE,), (), (peer,), (), (), {}, heartbeat)


class Core:
    """A driver without LANs, whose core has just begun. What it carries out is noted, and whether it hears its peer."""

    def __init__(self, heartbeat: Duration, *, alone: bool = False) -> None:
        self.ends = [each for _ in range(3) for each in messages.pair()]
        self.links = LinkWatch()
        mine = settings(1, heartbeat)
        self.driver = Driver(
            Node(replace(mine, peers=() if alone else mine.peers), epoch=1), {}, Channel(bytes(32), 1, 1, frozenset()),
            self.ends[0], self.ends[2], self.links, JournalSender(self.ends[4], NAMES[1]), 1,
        )  # fmt: skip
        self.handled: list[tuple[str, bool]] = []
        self.answers: list[Any] = []
        self.ask = patient(self.driver, self._handle)

    def _handle(self, request: dict[str, Any], answer: Any) -> None:
        self.handled.append((request["command"], self.driver.node.peer.fresh))
        answer({"ok": True})

    def order(self, command: str, **fields: Any) -> None:
        self.ask({"command": command, **fields}, self.answers.append)

    def hears(self, heartbeat: Duration) -> None:
        """The peer's first word since it began."""
        peer = Node(settings(2, heartbeat), epoch=1)
        (said,) = [each for each in peer.handle(Instant(0), Started(frozenset())) if isinstance(each, SendHeartbeat)]
        self.driver.feed(HeartbeatReceived(INSIDE, 2, said.payload))

    def turn(self) -> None:
        """Something of no importance wakes it."""
        messages.send(self.ends[3], {"binding": 5, "ok": True, "reason": "answers"})
        self.driver.turn()

    def close(self) -> None:
        for end in (*self.ends, self.links.socket, self.driver._wake, self.driver._asked_to_stop):
            end.close()
        self.driver._poll.close()


@pytest.fixture
def cores() -> Iterator[Any]:
    made: list[Core] = []

    def make(heartbeat: Duration, **more: Any) -> Core:
        made.append(Core(heartbeat, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


ORDERS: list[dict[str, Any]] = [
    {"command": "switchover", "group": "edge"},
    {"command": "maintenance", "on": True},
    {"command": "status", "heard": True},
]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_to_a_core_that_has_heard_nobody_yet_waits_for_the_peers_word(order: Any, cores: Any) -> None:
    """It is carried out once, with what the core knows by then."""
    core = cores(60 * SECOND)
    core.order(**order)
    core.turn()
    assert (core.handled, core.answers) == ([], [])
    core.hears(60 * SECOND)
    for _ in range(2):
        core.turn()
    assert core.handled == [(order["command"], True)]
    assert core.answers == [{"ok": True}]
    core.order(**order)  # It knows.
    assert len(core.handled) == 2


@pytest.mark.parametrize("order", ORDERS)
def test_a_peer_that_says_nothing_is_not_waited_for_longer_than_it_could_be_silent(order: Any, cores: Any) -> None:
    core = cores(20 * MILLISECOND)
    core.order(**order)
    while not core.handled:
        core.turn()
    assert core.handled == [(order["command"], False)]


@pytest.mark.parametrize("request_", [{"command": "status"}, {"command": "maintenance", "on": False}])
def test_what_needs_no_peer_is_answered_at_once(request_: Any, cores: Any) -> None:
    core = cores(60 * SECOND)
    core.order(**request_)
    assert core.handled == [(request_["command"], False)]


def test_where_there_is_no_peer_nobody_is_waited_for(cores: Any) -> None:
    core = cores(60 * SECOND, alone=True)
    core.order("switchover")
    assert core.handled == [("switchover", False)]


def test_so_many_wait_at_the_same_time_and_no_more(cores: Any) -> None:
    core = cores(60 * SECOND)
    for _ in range(KEPT_MAX + 3):
        core.order("switchover")
    assert (len(core.driver.kept), len(core.handled)) == (KEPT_MAX, 3)
