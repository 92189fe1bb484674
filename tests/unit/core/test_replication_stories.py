"""Stories of replication, one promise each, on the stage of replication_world."""

import pytest
from replication_world import (
    EDGE,
    ESTABLISHED,
    PATHS,
    SYN_RECV,
    Node,
    World,
    ask,
    compare,
    flow,
    with_state,
)

from understudy.core.replication import origin
from understudy.core.replication.effects import Compared, Noted, Ready, Renew, Synced, Write
from understudy.core.replication.events import Kind, Received
from understudy.core.replication.replica import BATCH_MAX, QUEUE_MAX
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import MILLISECOND, SECOND
from understudy.wire.conntrack import half_open, identity
from understudy.wire.flowsync import Data, Message, Scope, decode

COPIED = 7
"""A binding whose flows are copied."""


def complete(world: World) -> World:
    """Both run, and gw2's replica of gw1's flows is complete."""
    world.until(lambda: world.gw2.complete.get(EDGE) is True)
    return world


def news_of(payload: bytes) -> list[tuple[int, bytes]]:
    message = decode(payload)
    return [record for record in message.records if record[0] <= Kind.UNEXPECTED] if isinstance(message, Data) else []


def test_what_was_there_before_is_found_and_then_known_to_be_complete() -> None:
    """Flows older than the replication reach the standby by agreement; before it, nothing is called complete."""
    world = World()
    world.populate(world.gw1, 300)
    world.boot()
    assert world.gw2.effects(Synced)[0].complete is False
    assert not world.equal()
    complete(world)
    assert world.equal()


def test_changes_arrive_at_once_and_in_order() -> None:
    """A new flow, its change and its end are each in the other kernel within some milliseconds."""
    world = complete(World().boot())
    [key] = world.populate(world.gw1, 1)
    assert world.until(lambda: key in world.gw2.kernel.flows) < 10 * MILLISECOND
    world.gw1.change(with_state(world.gw1.kernel.flows[key], 7))
    assert world.until(world.equal) < 10 * MILLISECOND
    world.gw1.end(key)
    assert world.until(lambda: key not in world.gw2.kernel.flows) < 10 * MILLISECOND


def test_half_open_flows_are_nobodys_difference() -> None:
    """A half-open flow that only one kernel has keeps no replica from being complete."""
    world = World()
    world.gw1.kernel.flows[identity(flow(1))] = flow(1, SYN_RECV)
    complete(world.boot())
    assert world.gw2.machine.status()["peers"]["gw1"]["repaired"] == 0


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
    world.run(200 * MILLISECOND)
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
    monkeypatch.setattr(origin, "BACKLOG_MAX", 300_000)
    world = complete(World().boot())
    for path in world.faults.values():
        path.cut = True
    for _ in range(60):
        world.populate(world.gw1, 50)
        world.run(5 * MILLISECOND)
        assert world.gw1.machine.pairs[0].origin.backlog_bytes <= 300_000
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


def test_somebodys_hand_on_the_standby_is_mended_and_never_sent() -> None:
    """A flow deleted and one made on the standby: both undone there, the original untouched."""
    world = World()
    keys = world.populate(world.gw1, 50)
    complete(world.boot())
    world.gw2.end(keys[0])
    made = flow(70_000)
    world.gw2.change(made)
    world.run(3 * SECOND)
    assert world.equal()
    assert identity(made) not in world.gw1.kernel.flows
    assert world.gw2.machine.status()["peers"]["gw1"]["repaired"] >= 2


def test_an_overrun_is_mended_within_moments() -> None:
    """News lost in the original's kernel: told in the stream, incomplete at once, agreed soon."""
    world = complete(World().boot())
    world.gw1.kernel.room = 2
    world.populate(world.gw1, 50)
    world.gw1.kernel.room = 1000
    world.until(lambda: world.gw2.complete[EDGE] is False, most=100 * MILLISECOND)
    world.until(lambda: world.gw2.complete[EDGE] is True, most=SECOND)
    assert world.equal()


def test_a_standby_whose_table_is_full_is_not_complete() -> None:
    """Refused writes leave differences: known, told, and mended when there is room again."""
    world = World()
    world.gw2.kernel.full = True
    world.populate(world.gw1, 20)
    world.boot()
    world.run(3 * SECOND)
    assert world.gw2.complete[EDGE] is False
    assert "20 flows are missing" in world.gw2.machine.status()["groups"][EDGE]["detail"]
    world.gw2.kernel.full = False
    world.until(lambda: world.gw2.complete[EDGE] is True)
    assert world.equal()


def test_a_hand_over_with_overlap_loses_nothing_and_turns_the_roles() -> None:
    """Both are the original for a moment: each writes the other's news; then the old one is a complete replica."""
    world = complete(World().boot())
    world.populate(world.gw1, 40)
    world.run(100 * MILLISECOND)
    world.gw2.own(True)
    world.populate(world.gw1, 5)
    world.populate(world.gw2, 5)
    world.run(20 * MILLISECOND)
    world.gw1.own(False)
    assert Renew(frozenset({1})) in world.gw2.effects(Renew)
    world.until(lambda: world.gw1.complete.get(EDGE) is True)
    assert len(world.gw2.kernel.flows) == 50
    assert world.equal()


def test_an_originals_flows_become_copies_that_hold() -> None:
    """After a hand-over the old original writes its own flows again, because their ordinary timeouts would end them."""
    world = complete(World().boot())
    keys = set(world.populate(world.gw1, 40))
    world.run(100 * MILLISECOND)
    written: set[bytes] = set()
    perform = world.gw1.perform

    def watch(effect: object) -> None:
        if isinstance(effect, Write):
            written.update(identity(raw) for kind, raw in effect.records if kind is Kind.CHANGED)
        perform(effect)  # type: ignore[arg-type]  # an effect

    world.gw1.perform = watch  # type: ignore[method-assign]
    world.gw2.own(True)
    world.gw1.own(False)
    world.until(lambda: world.gw1.complete.get(EDGE) is True)
    assert written == keys


def test_an_old_originals_late_words_end_no_flow_of_the_new_one() -> None:
    """Frozen, resumed long after another took over, and still believing to be the original: its news is not taken."""
    world = complete(World().boot())
    keys = world.populate(world.gw1, 10)
    world.run(100 * MILLISECOND)
    world.gw2.own(True)
    world.run(3 * SECOND)
    for key in keys:
        world.gw1.end(key)
    world.run(SECOND)
    assert set(keys) <= set(world.gw2.kernel.flows)
    assert world.gw2.machine.status()["peers"]["gw1"]["taken"]["ignored"] == 10


def test_where_nobody_is_the_original_nothing_moves() -> None:
    """No group is owned: no news is sent, no round begins, and a gate learns that patience changes nothing."""
    world = World()
    for node in world.nodes.values():
        node.boot()
    payloads: list[bytes] = []
    world.spy = lambda *seen: not payloads.append(seen[3])  # type: ignore[func-returns-value]
    world.populate(world.gw1, 10)
    world.run(5 * SECOND)
    assert {payload[1] for payload in payloads} == {Message.BEACON, Message.ACK}
    ask(world.gw2, 12)
    world.run(SECOND)
    [ready] = world.gw2.effects(Ready)
    assert (ready.complete, ready.waiting) == (False, False)


def test_copied_flows_are_written_at_intervals_and_never_streamed() -> None:
    """`state: copy`: present state after an interval, changes after the next, ends after the next; no news of them."""
    flows = FlowSettings({COPIED: Keeping.COPY}, {1: Keeping.REPLICATE}, copy_every=2 * SECOND)
    world = World(flows=flows)
    [key] = world.populate(world.gw1, 1, binding=COPIED)
    world.boot()
    streamed: list[tuple[int, bytes]] = []
    world.spy = lambda *seen: not streamed.extend(news_of(seen[3]))  # type: ignore[func-returns-value]
    world.until(lambda: key in world.gw2.kernel.flows)
    world.gw1.change(with_state(world.gw1.kernel.flows[key], 7))
    world.run(500 * MILLISECOND)
    assert not world.equal()
    world.until(world.equal, most=3 * SECOND)
    world.gw1.end(key)
    world.until(world.equal, most=3 * SECOND)
    assert not world.gw2.kernel.flows
    assert streamed == []


@pytest.mark.parametrize("asker", ["gw1", "gw2"])
def test_a_comparison_by_command_counts_and_repairs_nothing(asker: str) -> None:
    """From either side: flows here and there, what differs with examples; both kernels are as they were."""
    world = World()
    keys = world.populate(world.gw1, 30)
    complete(world.boot())
    compare(world.nodes[asker], 1)
    world.until(lambda: bool(world.nodes[asker].effects(Compared)))
    [same] = world.nodes[asker].effects(Compared)
    assert (same.here, same.there, same.mismatched, same.error) == (30, 30, 0, "")
    world.gw1.kernel.flows.pop(keys[0])  # without news: nobody knows
    world.gw2.kernel.flows.pop(keys[1])
    world.gw2.kernel.flows[keys[2]] = with_state(world.gw2.kernel.flows[keys[2]], 7)
    before = dict(world.gw1.kernel.flows), dict(world.gw2.kernel.flows)
    compare(world.nodes[asker], 2)
    world.until(lambda: len(world.nodes[asker].effects(Compared)) == 2)
    compared = world.nodes[asker].effects(Compared)[1]
    assert (compared.here, compared.there, compared.mismatched) == (29, 29, 3)
    assert sorted(example.split(":")[0] for example in compared.examples) == ["differs", "only here", "only there"]
    assert (world.gw1.kernel.flows, world.gw2.kernel.flows) == before


def test_a_comparison_under_traffic_counts_no_flow_on_its_way() -> None:
    """While flows come, change and go, what is merely on its way is not a mismatch."""
    world = complete(World().boot())
    for token in range(8):
        compare(world.nodes[("gw1", "gw2")[token % 2]], token)
        for _ in range(40):
            world.traffic(world.gw1, 5)
            world.run(5 * MILLISECOND)
    world.run(SECOND)
    compared = world.gw1.effects(Compared) + world.gw2.effects(Compared)
    assert [each.mismatched for each in compared] == [0] * 8


def test_a_comparison_without_a_peer_ends_with_an_error() -> None:
    world = World()
    world.gw1.boot()
    compare(world.gw1, 3)
    world.run(30 * SECOND)
    assert world.gw1.effects(Compared)[0].error


def test_rounds_under_traffic_find_nothing_to_repair() -> None:
    """An agreement while flows change does not take a flow on its way for a difference."""
    world = complete(World().boot())
    repaired = world.gw2.machine.status()["peers"]["gw1"]["repaired"]
    told = len(world.gw2.effects(Synced))
    for _ in range(1600):
        world.traffic(world.gw1, 4)
        world.run(25 * MILLISECOND)
    status = world.gw2.machine.status()["peers"]["gw1"]
    assert status["rounds"] >= 2
    assert status["repaired"] == repaired
    assert len(world.gw2.effects(Synced)) == told


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


def test_nothing_of_a_round_is_kept_after_it() -> None:
    """Ids are held only while a round is under way."""
    world = World()
    world.populate(world.gw1, 100)
    complete(world.boot())
    world.run(SECOND)
    assert world.gw2.machine.pairs[0].agenda.round is None
    answer = world.gw1.machine.pairs[0].answer
    assert answer is not None
    assert not answer._touched


def test_two_groups_owned_by_one_node_each_are_replicated_both_ways() -> None:
    """Per origin, not per role: each node sends what is its own and holds what is the other's."""
    flows = FlowSettings({}, {1: Keeping.REPLICATE, 2: Keeping.REPLICATE})
    world = World(flows=flows, groups=2)
    other = world.gw1.settings.groups[1].name
    world.gw2.owned.add(other)
    world.boot()
    world.until(lambda: world.gw2.complete.get(EDGE) is True and world.gw1.complete.get(other) is True)
    world.populate(world.gw1, 20, group=1)
    world.populate(world.gw2, 20, group=2)
    world.run(200 * MILLISECOND)
    assert len(world.gw1.kernel.flows) == 40
    assert world.equal()


def test_half_open_is_what_the_tests_take_for_it() -> None:
    """Control of the stage: its kernels are judged by flows that are not half-open."""
    assert half_open(flow(1, SYN_RECV))
    assert not half_open(flow(1, ESTABLISHED))
    assert Scope.COMMAND != Scope.REPLICATE
