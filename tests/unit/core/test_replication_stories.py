"""Stories of replication, one promise each, on the stage of replication_world."""

from dataclasses import replace

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
from understudy.core.replication.agenda import REFUSED_EVERY, ROUND_EVERY
from understudy.core.replication.effects import Compared, Noted, Ready, Renew, Synced, Write
from understudy.core.replication.events import KernelOverrun, Kind, Received, TableFull
from understudy.core.replication.replica import BATCH_MAX, QUEUE_MAX
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import MILLISECOND, SECOND
from understudy.wire.conntrack import half_open, identity
from understudy.wire.flowsync import Data, Message, Scope, Word, decode

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


def test_a_hand_that_acts_behind_the_back_of_a_round_is_found_by_the_next() -> None:
    """What is suspected while a round is under way is not settled by that round: its listing may have passed it."""
    world = World()
    keys = world.populate(world.gw1, 50)
    complete(world.boot())
    agenda = world.gw2.machine.pairs[0].agenda
    world.run(2 * SECOND)
    world.gw2.handle(KernelOverrun())
    world.until(lambda: agenda.round is not None and agenda.round.census.entries == 50, most=3 * SECOND)
    world.gw2.end(keys[0])
    world.run(5 * SECOND)
    assert world.equal()


def test_an_empty_kernel_asks_for_everything_and_compares_nothing() -> None:
    """One listing of the original less; the control: a kernel with a single flow has digests compared."""
    for known in (0, 1):
        world = World()
        keys = world.populate(world.gw1, 300)
        for key in keys[:known]:
            world.gw2.kernel.flows[key] = world.gw1.kernel.flows[key]
        words: list[int] = []

        def note(sender: Node, receiver: Node, network: object, payload: bytes, words: list[int] = words) -> bool:
            message = decode(payload)
            words.extend(kind for kind, _ in message.records if kind >= 16) if isinstance(message, Data) else None
            return True

        world.spy = note
        complete(world.boot())
        assert world.equal()
        assert (Word.DIGESTS in words) == bool(known)
        assert words.count(Word.SNAPSHOT) >= 300 - known
        told = world.gw2.machine.status()["groups"]["edge"]
        assert (told["entries_here"], told["entries_there"]) == (300, 300)


def test_what_the_kernel_refused_is_tried_again_before_long() -> None:
    """A full table has room again: no need to wait for the round that comes in any case."""
    world = complete(World().boot())
    world.gw2.kernel.full = True
    world.populate(world.gw1, 5)
    world.run(SECOND)
    assert not world.equal()
    world.gw2.kernel.full = False
    assert REFUSED_EVERY * 2 < ROUND_EVERY
    world.until(world.equal, most=REFUSED_EVERY + SECOND)


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
    """Refused writes leave differences: known, told with the reason, and mended soon after room was made."""
    world = World()
    world.gw2.kernel.full = True
    world.populate(world.gw1, 20)
    world.boot()
    world.run(3 * SECOND)
    assert world.gw2.complete[EDGE] is False
    assert "is full" in world.gw2.machine.status()["groups"][EDGE]["detail"]
    world.gw2.kernel.full = False
    world.gw2.handle(TableFull(False))
    world.until(lambda: world.gw2.complete[EDGE] is True, most=SECOND)
    assert world.equal()


def test_news_that_a_full_table_refuses_makes_the_replica_incomplete_and_rounds_wait_for_room() -> None:
    """Told at the first refusal, before anybody believes in the write; and no round after the other is in vain."""
    world = complete(World().boot())
    world.gw2.kernel.full = True
    world.populate(world.gw1, 1)
    world.until(lambda: world.gw2.complete[EDGE] is False, most=20 * MILLISECOND)
    began: list[bytes] = []
    world.spy = lambda *seen: seen[3][1] != Message.COMPARE or not began.append(seen[3])  # type: ignore[func-returns-value]
    for _ in range(100):
        world.populate(world.gw1, 1)
        world.run(100 * MILLISECOND)
    assert len(began) <= len(PATHS)
    for _ in range(20):  # room for one at a time, full again at once: rounds have a bounded rate
        world.gw2.handle(TableFull(False))
        world.populate(world.gw1, 1)
        world.run(50 * MILLISECOND)
    assert len(began) <= 8 * len(PATHS)
    world.gw2.kernel.full = False
    world.gw2.handle(TableFull(False))
    world.until(lambda: world.gw2.complete[EDGE] is True, most=5 * SECOND)
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
    rounds = world.gw2.machine.status()["peers"]["gw1"]["rounds"]
    for step in range(800):
        if step == 400:
            world.gw2.handle(KernelOverrun())  # of the replica's kernel: a suspicion, and a round
        world.traffic(world.gw1, 4)
        world.run(25 * MILLISECOND)
    status = world.gw2.machine.status()["peers"]["gw1"]
    assert status["rounds"] > rounds
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


def test_two_files_are_in_agreement_about_what_both_of_them_keep() -> None:
    """One node has reloaded and the other not yet: services that only one file keeps spoil no round.

    What only the original keeps is in no proof of the replica, and no reason to doubt it again and again; what only the
    replica would keep, the original does not vouch for: its copies end.
    """
    both, ours, theirs = 7, 8, 9
    world = World()
    for node, extra in ((world.gw1, ours), (world.gw2, theirs)):
        bindings = {both: Keeping.REPLICATE, extra: Keeping.REPLICATE}
        node.settings = replace(node.settings, flows=FlowSettings(bindings, {1: Keeping.REPLICATE}))
    kept = world.populate(world.gw1, 40, binding=both) + world.populate(world.gw1, 10)
    alone = world.populate(world.gw1, 30, binding=ours)
    world.populate(world.gw2, 20, binding=theirs)
    complete(world.boot())
    world.run(2 * ROUND_EVERY + 10 * SECOND)
    assert [synced.complete for synced in world.gw2.effects(Synced)] == [
        False,
        True,
    ]  # no doubt later
    assert set(world.gw2.kernel.flows) - set(alone) == set(kept)
    compare(world.gw2, 1)
    world.until(lambda: bool(world.gw2.effects(Compared)))
    [compared] = world.gw2.effects(Compared)
    assert (compared.here, compared.mismatched, compared.error) == (50, 0, "")
    world.gw2.kernel.flows.pop(kept[0])  # The control: a round still finds what is missing.
    world.until(lambda: kept[0] in world.gw2.kernel.flows, most=2 * ROUND_EVERY)


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


def test_news_that_is_read_after_an_older_word_was_written_is_the_last() -> None:
    """This kernel changed a flow, and before that is read the old original's word is written over it."""
    world = complete(World().boot())
    [key] = world.populate(world.gw1, 1)
    world.run(100 * MILLISECOND)
    world.gw2.own(True)
    world.gw2.reading = True  # held back
    newer = with_state(world.gw2.kernel.flows[key], 7)
    world.gw2.change(newer)
    world.gw1.change(with_state(world.gw1.kernel.flows[key], 4))
    world.run(20 * MILLISECOND)
    assert world.gw2.kernel.flows[key] != newer  # the control: the older word was written
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
    assert 75 * MILLISECOND < world.now - pair.heard < 150 * MILLISECOND
    assert pair.replica.holes
    ask(world.gw2, 13)
    world.until(lambda: bool(world.gw2.effects(Ready)), most=200 * MILLISECOND)
    [ready] = world.gw2.effects(Ready)
    assert not ready.complete
    assert not pair.replica.holes  # what did come is in the kernel


def test_expectations_that_stand_reach_a_fresh_standby_before_it_is_complete() -> None:
    """They are in no digest, and no news of them comes again: they go with what a replica without the state is sent."""
    world = World()
    world.populate(world.gw1, 20)
    world.gw1.kernel.expected = [b"a data connection", b"another"]
    complete(world.boot())
    assert world.gw2.kernel.expected == world.gw1.kernel.expected


def test_expectations_come_again_after_a_gap_in_which_no_flow_was_lost() -> None:
    """The news that was lost may have been of an expectation only."""
    world = complete(World().boot())
    world.gw1.kernel.expected = [b"a data connection"]
    world.gw1.handle(KernelOverrun())
    world.until(lambda: world.gw2.complete[EDGE] is False)
    world.until(lambda: world.gw2.complete[EDGE] is True)
    assert world.gw2.kernel.expected == world.gw1.kernel.expected
