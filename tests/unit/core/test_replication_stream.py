"""Stories of the stream: what is told arrives, in order, over any path, once."""

import pytest
from replication_world import (
    EDGE,
    PATHS,
    Node,
    World,
    complete,
    with_state,
)

from understudy.core.replication import origin
from understudy.core.replication.effects import Noted, Synced
from understudy.core.replication.events import Received
from understudy.core.replication.replica import BATCH_MAX, QUEUE_MAX
from understudy.units import MILLISECOND, SECOND
from understudy.wire.flowsync import Data, decode


def test_changes_arrive_at_once_and_in_order() -> None:
    """A new flow, its change and its end are each in the other kernel within some milliseconds."""
    world = complete(World().boot())
    [key] = world.populate(world.gw1, 1)
    assert world.until(lambda: key in world.gw2.kernel.flows) < 10 * MILLISECOND
    world.gw1.change(with_state(world.gw1.kernel.flows[key], 7))
    assert world.until(world.equal) < 10 * MILLISECOND
    world.gw1.end(key)
    assert world.until(lambda: key not in world.gw2.kernel.flows) < 10 * MILLISECOND


@pytest.mark.parametrize("network", PATHS)
def test_the_loss_of_a_path_is_not_a_loss_of_sync(network: str) -> None:
    """One path is cut under traffic: everything goes over the other, and the replica stays complete."""
    world = complete(World().boot())
    told = len(world.gw2.effects(Synced))
    for step in range(100):
        world.faults[network].cut = step > 10  # type: ignore[index]  # a NetworkName
        world.traffic(world.gw1, 10)
        world.run(10 * MILLISECOND)
    world.until(world.equal, most=100 * MILLISECOND)
    assert len(world.gw2.effects(Synced)) == told


def test_loss_copies_and_disorder_on_every_path_change_nothing() -> None:
    """A third of all datagrams lost, a fifth doubled, all out of order: equal kernels, no gap."""
    world = complete(World().boot())
    for path in world.faults.values():
        path.loss, path.copies, path.jitter = 0.33, 0.2, 10 * MILLISECOND
    for _ in range(60):
        world.traffic(world.gw1, 10)
        world.run(10 * MILLISECOND)
    world.until(world.equal, most=5 * SECOND)
    assert world.gw2.machine.status()["peers"]["gw1"]["gaps"] == 0


def test_more_than_the_backlog_holds_is_a_gap_and_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off for long, the original gives up its oldest payloads: the replica knows it, and agrees anew."""
    monkeypatch.setattr(origin, "BACKLOG_MAX", 1_000_000)
    world = complete(World().boot())
    for path in world.faults.values():
        path.cut = True
    for _ in range(60):
        world.populate(world.gw1, 150)
        world.run(5 * MILLISECOND)
        assert world.gw1.machine.pairs[0].origin.backlog_bytes <= 1_000_000
    for path in world.faults.values():
        path.cut = False
    world.until(lambda: world.gw2.complete[EDGE] is False)
    world.until(lambda: world.gw2.complete[EDGE] is True)
    assert world.equal()
    assert world.gw1.effects(Noted)


@pytest.mark.parametrize("restarted", ["gw1", "gw2"])
def test_a_restart_of_either_replicator_is_found_and_mended(restarted: str) -> None:
    """Flows that changed while no replicator ran there reach the standby by agreement: until then it is incomplete."""
    world = complete(World().boot())
    node = world.nodes[restarted]
    node.stop()
    world.populate(world.gw1, 30)
    world.run(100 * MILLISECOND)
    node.kernel.news.clear()
    node.boot()
    world.until(lambda: world.gw2.complete.get(EDGE) is False)
    world.until(lambda: world.gw2.complete[EDGE] is True, most=3 * SECOND)
    assert world.equal()


def test_an_old_streams_datagrams_are_refused() -> None:
    """Recorded before the original's restart and played afterwards, they change nothing."""
    world = complete(World().boot())
    recorded: list[bytes] = []

    def record(sender: Node, *rest: object) -> bool:
        if sender is world.gw1:
            recorded.append(rest[2])  # type: ignore[arg-type]  # the payload
        return True

    world.spy = record
    keys = world.populate(world.gw1, 20)
    world.run(100 * MILLISECOND)
    world.spy = None
    for key in keys:
        world.gw1.end(key)
    world.run(100 * MILLISECOND)
    world.gw1.stop()
    world.gw1.boot()
    world.until(lambda: world.gw2.complete[EDGE] is False)
    world.until(lambda: world.gw2.complete[EDGE] is True)
    for payload in recorded:
        world.gw2.handle(Received(1, PATHS[0], payload))
    world.run(SECOND)
    assert not world.gw2.kernel.flows
    assert world.gw2.complete[EDGE] is True


def test_a_standby_that_cannot_keep_up_slows_the_stream_and_stays_bounded() -> None:
    """Writes of 20 ms each under a burst: what waits is bounded by credit, and in the end all is there."""
    world = complete(World().boot())
    world.gw2.write_delay = 20 * MILLISECOND
    world.populate(world.gw1, 10_000)
    most = 0
    for _ in range(200):
        world.run(10 * MILLISECOND)
        most = max(most, world.gw2.machine.pairs[0].replica.waiting)
    assert most < QUEUE_MAX + 2 * BATCH_MAX
    world.until(world.equal)


def test_what_a_silent_peer_does_not_acknowledge_keeps_no_news_back() -> None:
    """The standby's replicator is stopped: its kernel still takes datagrams, so every flow leaves at once, and once
    more now and then; not for ever more of them.
    """
    world = complete(World().boot())
    left: dict[int, int] = {}

    def count_data(sender: Node, _: Node, __: str, payload: bytes) -> bool:
        message = decode(payload)
        if sender is world.gw1 and isinstance(message, Data):
            left[message.sequence] = left.get(message.sequence, 0) + 1
        return True

    world.gw2.stop()
    world.spy = count_data
    for _ in range(400):
        world.populate(world.gw1, 1)
        world.run(5 * MILLISECOND)
        origin_of = world.gw1.machine.pairs[0].origin
        assert set(range(origin_of.received + 1, origin_of.position + 1)) <= set(left)
    assert len(left) >= 300
    world.run(2 * SECOND)
    again = sum(left.values()) - len(left)
    world.run(10 * SECOND)
    assert sum(left.values()) - len(left) - again < 100


def test_what_a_pair_at_rest_says_is_no_progress_and_an_acknowledgement_is() -> None:
    """So that nobody is told of a rest again and again, and everybody soon that the other kernel has it."""
    world = complete(World().boot())
    world.populate(world.gw1, 5)
    world.run(SECOND)
    nodes = (world.gw1, world.gw2)
    rest = [node.machine.progress for node in nodes]
    world.run(5 * SECOND)
    assert [node.machine.progress for node in nodes] == rest
    world.populate(world.gw1, 1)
    seen = set()
    for _ in range(100):
        world.run(MILLISECOND)
        seen.add(world.gw1.machine.progress)
    assert rest[0] in seen
    assert len(seen) >= 3  # at rest, sent, acknowledged
    assert world.gw2.machine.progress != rest[1]
