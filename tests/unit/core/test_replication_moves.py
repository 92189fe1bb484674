"""Stories of groups that move: who is believed while both, or none, are the original."""

import pytest
from replication_world import (
    EDGE,
    PATHS,
    Node,
    World,
    ask,
    complete,
    with_state,
)

from understudy.core.replication.effects import Ready, Renew, Synced, Write
from understudy.core.replication.events import Kind, Received
from understudy.core.replication.replica import QUEUE_MAX
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import MILLISECOND, SECOND
from understudy.wire.conntrack import identity
from understudy.wire.flowsync import Message


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


def test_what_changed_while_nobody_was_the_original_is_found_when_one_is_once_more() -> None:
    """Its words from before arrive late, and behind them that they may be old: the replica agrees anew, by itself."""
    world = complete(World().boot())
    for path in world.faults.values():
        path.cut = True
    keys = world.populate(world.gw1, 10)
    world.run(20 * MILLISECOND)
    world.gw1.own(False)
    for key in keys[:5]:
        world.gw1.end(key)
    world.run(20 * MILLISECOND)
    world.gw1.own(True)
    for path in world.faults.values():
        path.cut = False
    world.until(lambda: len(world.gw2.kernel.flows) == 10)
    world.until(lambda: world.gw2.complete[EDGE] is False)
    world.until(lambda: world.gw2.complete[EDGE] is True)
    assert world.equal()
    assert len(world.gw2.kernel.flows) == 5


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


def split(world: World, changed: list[bytes]) -> None:
    """Cut off from each other both become originals; gw1 changes flows before, gw2 some of them after; then the paths
    are back, and gw1's old words are sent again.
    """
    for path in world.faults.values():
        path.cut = True
    for key in changed:
        world.gw1.change(with_state(world.gw1.kernel.flows[key], 4))
    world.run(300 * MILLISECOND)
    world.gw2.own(True)
    for key in changed[:3]:
        world.gw2.change(with_state(world.gw2.kernel.flows[key], 7))
    world.run(300 * MILLISECOND)
    world.gw1.own(False)
    for path in world.faults.values():
        path.cut = False


def test_after_a_split_old_words_undo_nothing_and_what_is_written_of_them_is_told() -> None:
    """The new original keeps what its kernel has seen since, and its replica has all of it when it says so."""
    world = complete(World().boot())
    keys = world.populate(world.gw1, 10)
    world.run(100 * MILLISECOND)
    split(world, keys)
    newer = {key: world.gw2.kernel.flows[key] for key in keys[:3]}
    equal_when_told: list[bool] = []
    perform = world.gw1.perform

    def judge(effect: object) -> None:
        perform(effect)  # type: ignore[arg-type]  # an effect
        if isinstance(effect, Synced) and effect.complete:
            equal_when_told.append(world.equal())

    world.gw1.perform = judge  # type: ignore[method-assign]
    world.until(lambda: world.gw1.complete.get(EDGE) is True)
    world.run(2 * SECOND)
    assert {key: world.gw2.kernel.flows[key] for key in newer} == newer
    assert world.equal()
    assert all(equal_when_told)


def test_old_words_that_come_after_the_agreement_are_told_to_the_replica() -> None:
    """The old original's last words overtake nothing: delayed beyond the round, they still leave both kernels alike."""
    world = complete(World().boot())
    keys = world.populate(world.gw1, 10)
    world.run(100 * MILLISECOND)
    late: list[bytes] = []

    def hold(sender: Node, _: Node, __: str, payload: bytes) -> bool:
        held = sender is world.gw1 and payload[1] == Message.DATA
        if held:
            late.append(payload)
        return not held

    world.spy = hold
    for key in keys:
        world.gw1.change(with_state(world.gw1.kernel.flows[key], 4))
    world.run(100 * MILLISECOND)
    world.gw2.own(True)
    world.gw1.own(False)
    world.until(lambda: world.gw1.complete.get(EDGE) is True)
    world.gw1.stop()  # the answers stay to be seen
    world.spy = None
    for payload in late:
        world.gw2.handle(Received(1, PATHS[0], payload))
    told = [record for record in world.gw2.machine.pairs[0].origin.unacknowledged() if record[0] == Kind.CHANGED]
    assert {identity(raw) for _, raw in told} == set(keys)


@pytest.mark.parametrize("credit", [True, False])
def test_news_that_is_read_after_an_older_word_was_written_is_the_last(credit: bool) -> None:
    """This kernel changed a flow, and before that is read the old original's word is written over it. However much
    waits to be written.
    """
    world = complete(World().boot())
    key, other = world.populate(world.gw1, 2)
    world.run(100 * MILLISECOND)
    world.gw2.own(True)
    world.gw2.reading = True  # held back
    newer = with_state(world.gw2.kernel.flows[key], 7)
    world.gw2.change(newer)
    world.gw1.change(with_state(world.gw1.kernel.flows[key], 4))
    world.run(20 * MILLISECOND)
    assert world.gw2.kernel.flows[key] != newer  # the control: the older word was written
    if not credit:
        replica = world.gw2.machine.pairs[0].replica
        replica.queue([(Kind.CHANGED, world.gw2.kernel.flows[other])] * QUEUE_MAX)
        assert not replica.credit
    world.gw2._read()
    world.gw1.own(False)
    world.until(lambda: world.gw1.complete.get(EDGE) is True)
    assert world.gw2.kernel.flows[key] == newer
    assert world.equal()


def test_copies_written_by_an_original_are_renewed_when_the_overlap_is_over() -> None:
    """They hold for twenty days; whatever an original has ends by itself."""
    world = complete(World().boot())
    world.run(100 * MILLISECOND)
    world.gw2.own(True)
    world.populate(world.gw1, 1)
    world.run(20 * MILLISECOND)
    world.gw1.own(False)
    world.run(3 * SECOND)
    assert world.gw2.effects(Renew) == [Renew(frozenset({1}))] * 2
    world.gw1.own(True)
    world.gw2.own(False)
    world.run(3 * SECOND)
    assert world.gw1.effects(Renew) == [Renew(frozenset({1}))] * 2  # the first at its start: nothing was written
