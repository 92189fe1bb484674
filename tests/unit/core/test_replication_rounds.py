"""Stories of agreement: what differs is found, mended and proven, and nothing else is touched."""

from dataclasses import replace

import pytest
from replication_world import (
    EDGE,
    ESTABLISHED,
    PATHS,
    SYN_RECV,
    Node,
    World,
    compare,
    complete,
    flow,
    with_state,
)

from understudy.core.replication import agenda
from understudy.core.replication.agenda import REFUSED_EVERY, ROUND_EVERY, ROUND_LATEST, rest_after
from understudy.core.replication.effects import Compared, Synced
from understudy.core.replication.events import KernelOverrun, Kind, TableFull
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import MILLISECOND, SECOND
from understudy.wire.conntrack import half_open, identity
from understudy.wire.flowsync import Data, Message, Scope, Word, decode

COPIED = 7
"""A binding whose flows are copied."""


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


def test_half_open_flows_are_nobodys_difference() -> None:
    """A half-open flow that only one kernel has keeps no replica from being complete."""
    world = World()
    world.gw1.kernel.flows[identity(flow(1))] = flow(1, SYN_RECV)
    complete(world.boot())
    assert world.gw2.machine.status()["peers"]["gw1"]["repaired"] == 0


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


def test_a_round_waits_until_the_original_has_read_what_came_before_its_overrun() -> None:
    """What comes last may be lost as well: a round before that is in vain. The control: it does not wait for ever."""
    for ends in (True, False):
        world = World()
        world.populate(world.gw1, 50)
        complete(world.boot())
        rounds = world.gw2.machine.pairs[0].agenda.rounds
        world.gw1.handle(KernelOverrun(over=False))
        world.run(2 * SECOND)
        assert world.gw2.complete[EDGE] is False
        assert world.gw2.machine.pairs[0].agenda.rounds == rounds
        if ends:
            world.gw1.handle(KernelOverrun(over=True))
            world.run(SECOND // 2)
        else:
            world.run(2 * SECOND)
        assert world.gw2.complete[EDGE] is True


def test_a_hand_that_acts_behind_the_back_of_a_round_is_found_by_the_next() -> None:
    """What is suspected while a round is under way is not settled by that round: its listing may have passed it."""
    world = World()
    keys = world.populate(world.gw1, 50)
    complete(world.boot())
    agenda = world.gw2.machine.pairs[0].agenda
    world.run(2 * SECOND)
    world.gw2.handle(KernelOverrun(over=True))
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
            world.gw2.handle(KernelOverrun(over=True))  # of the replica's kernel: a suspicion, and a round
        world.traffic(world.gw1, 4)
        world.run(25 * MILLISECOND)
    status = world.gw2.machine.status()["peers"]["gw1"]
    assert status["rounds"] > rounds
    assert status["repaired"] == repaired
    assert len(world.gw2.effects(Synced)) == told


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


def test_a_large_table_is_compared_more_rarely_and_never_more_than_so_rarely() -> None:
    """Where nothing is suspected: 200 000 flows are listed in four seconds (LIST_PACE)."""
    assert [rest_after(seconds * SECOND) // SECOND for seconds in (0, 1, 4, 20, 3600)] == [300, 300, 800, 1800, 1800]


def test_however_long_a_listing_takes_what_a_kernel_lost_without_a_word_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the latest time, and not before it; what is suspected does not wait for that."""
    monkeypatch.setattr(agenda, "ROUND_SHARE", 10**9)
    world = World()
    kept = world.populate(world.gw1, 40)
    complete(world.boot())
    world.run(2 * SECOND)
    world.gw2.kernel.flows.pop(kept[0])
    world.run(2 * ROUND_EVERY)
    assert kept[0] not in world.gw2.kernel.flows
    world.until(lambda: kept[0] in world.gw2.kernel.flows, most=ROUND_LATEST)
    world.gw2.end(kept[1])  # The control: with a word.
    world.until(lambda: kept[1] in world.gw2.kernel.flows, most=5 * SECOND)


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
    world.gw1.handle(KernelOverrun(over=True))
    world.until(lambda: world.gw2.complete[EDGE] is False)
    world.until(lambda: world.gw2.complete[EDGE] is True)
    assert world.gw2.kernel.expected == world.gw1.kernel.expected
