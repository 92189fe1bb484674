"""Stories of the gate: when it says that everything is in the kernel, and when not."""

import pytest
from replication_world import (
    EDGE,
    Node,
    World,
    ask,
    complete,
)

from understudy.core.replication.effects import Ready
from understudy.units import MILLISECOND
from understudy.wire.flowsync import Data, Message, decode


@pytest.mark.parametrize("drain", [True, False])
def test_the_gate_opens_when_the_last_news_is_in_the_kernel(drain: bool) -> None:
    """News still unread in the original's kernel, and writes that are slow: Ready comes after all of it, for a peer
    that is said to be alive and for one that was just heard.
    """
    world = complete(World().boot())
    world.gw2.write_delay = 100 * MILLISECOND
    world.populate(world.gw1, 200)
    ask(world.gw2, 5, drain)
    world.until(lambda: bool(world.gw2.effects(Ready)))
    [ready] = world.gw2.effects(Ready)
    assert (ready.group, ready.token, ready.complete) == (EDGE, 5, True)
    assert world.equal()


def test_a_gate_that_asks_a_dead_peer_is_answered_at_once_and_completely() -> None:
    """The original has been dead for a while: everything it had sent is here, which is known."""
    world = complete(World().boot())
    world.populate(world.gw1, 100)
    world.run(300 * MILLISECOND)
    world.gw1.stop()
    world.run(300 * MILLISECOND)
    ask(world.gw2, 6)
    [ready] = world.gw2.effects(Ready)
    assert ready.complete
    assert world.equal()


def test_a_node_that_died_in_the_midst_of_its_news_is_not_asked_for_its_last_words() -> None:
    """Two intervals after its last beacon, when a take-over is possible at the earliest: answered at once."""
    world = complete(World().boot())
    [pair] = world.gw2.machine.pairs
    for _ in range(50):
        world.traffic(world.gw1, 5)
        world.run(3 * MILLISECOND)
    world.gw1.stop()
    world.run(5 * MILLISECOND)
    assert pair.heard is not None
    world.run(pair.heard + 2 * world.gw2.settings.groups[0].advertise + MILLISECOND - world.now)
    ask(world.gw2, 6)
    [ready] = world.gw2.effects(Ready)
    assert ready.complete


def test_a_gate_does_not_open_while_received_flows_are_unwritten() -> None:
    """The original is dead, the standby's kernel slow: no Ready before the last Write is answered."""
    world = complete(World().boot())
    world.gw2.write_delay = 500 * MILLISECOND
    world.populate(world.gw1, 100)
    world.run(200 * MILLISECOND)
    world.gw1.stop()
    world.run(200 * MILLISECOND)
    ask(world.gw2, 7)
    assert not world.gw2.effects(Ready)
    world.until(lambda: bool(world.gw2.effects(Ready)))
    assert world.gw2.effects(Ready)[0].complete
    assert world.equal()


def test_what_arrived_beyond_a_lost_payload_is_written_and_the_loss_is_told() -> None:
    """One payload is lost for good, the original dies: the rest is taken, and nobody calls it complete or waits."""
    world = complete(World().boot())
    lost: set[int] = set()

    def lose_one(sender: Node, _: Node, __: str, payload: bytes) -> bool:
        message = decode(payload)
        if sender is world.gw1 and isinstance(message, Data) and message.records:
            lost.add(min(lost, default=message.sequence))
            return message.sequence not in lost
        return True

    world.spy = lose_one
    for _ in range(20):
        world.populate(world.gw1, 3)
        world.run(3 * MILLISECOND)
    world.gw1.stop()
    ask(world.gw2, 8)
    world.until(lambda: bool(world.gw2.effects(Ready)))
    [ready] = world.gw2.effects(Ready)
    assert not ready.complete
    assert not ready.waiting
    missing = set(world.gw1.kernel.flows) - set(world.gw2.kernel.flows)
    assert 0 < len(missing) <= 12
    assert world.gw2.complete[EDGE] is False


def test_a_tail_that_was_announced_and_never_came_is_known_to_be_missing() -> None:
    """All paths lose the data, only a beacon's word gets through: not complete."""
    world = complete(World().boot())
    world.spy = lambda sender, _, __, payload: sender is world.gw2 or payload[1] != Message.DATA
    world.populate(world.gw1, 5)
    world.run(200 * MILLISECOND)
    world.gw1.stop()
    world.run(300 * MILLISECOND)
    ask(world.gw2, 9)
    [ready] = world.gw2.effects(Ready)
    assert not ready.complete
    assert "never arrived" in ready.detail


def test_an_incomplete_replica_answers_again_when_it_is_complete() -> None:
    """Asked too early, with the original alive: no, and later yes, under the same token."""
    world = World()
    world.populate(world.gw1, 500)
    world.boot()
    world.gw2.list_delay = 50 * MILLISECOND
    world.run(100 * MILLISECOND)
    ask(world.gw2, 10, drain=True)
    world.until(lambda: len(world.gw2.effects(Ready)) == 2)
    first, second = world.gw2.effects(Ready)
    assert (first.complete, first.waiting, first.token) == (False, True, 10)
    assert (second.complete, second.token) == (True, 10)


def test_a_hand_over_is_refused_where_the_peers_replicator_is_gone() -> None:
    """Said to be alive, but its replicator does not answer: what it had not sent is missing."""
    world = complete(World().boot())
    world.gw1.stop()
    ask(world.gw2, 11, drain=True)
    world.until(lambda: bool(world.gw2.effects(Ready)))
    assert not world.gw2.effects(Ready)[0].complete


def test_a_gate_between_two_beacons_does_not_open_while_a_hole_is_unfilled() -> None:
    """A peer that was heard a moment ago, but not just now, and one of whose payloads is missing: what came behind it
    is in no kernel yet, so nothing is said before it is.
    """
    world = complete(World().boot())
    lost: list[int] = []

    def lose_first(sender: Node, _: Node, __: str, payload: bytes) -> bool:
        message = decode(payload)
        if sender is world.gw1 and isinstance(message, Data):
            lost.append(message.sequence)
            return message.sequence != lost[0]
        return sender is not world.gw1

    world.run(5 * MILLISECOND)
    world.spy = lose_first
    for _ in range(8):
        world.populate(world.gw1, 4)
        world.run(10 * MILLISECOND)
    [pair] = world.gw2.machine.pairs
    assert pair.heard is not None
    assert 75 * MILLISECOND < world.now - pair.heard < 250 * MILLISECOND
    assert pair.replica.holes
    ask(world.gw2, 13)
    world.until(lambda: bool(world.gw2.effects(Ready)), most=300 * MILLISECOND)
    [ready] = world.gw2.effects(Ready)
    assert not ready.complete
    assert not pair.replica.holes  # what did come is in the kernel
