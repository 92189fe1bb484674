"""The role of a group, and what goes with every change of it."""

import pytest
from core_parts import Machines, machines

from understudy.core.decision import TABLE
from understudy.core.effects import Effect, LeaseChanged, Moved, Noted, OwnFlows, Quieten, RevokeLease, SetRole, Step
from understudy.core.holddown import CHANGES_FREE
from understudy.core.peer import Standing
from understudy.core.record import Record
from understudy.core.rest import REST, Rest
from understudy.core.tenure import Leaving
from understudy.units import SECOND, GroupName, Instant
from understudy.wire.heartbeat import Lease, Role


def leave(group: Machines, now: int, how: Leaving, row: str = "stopped") -> list[Effect]:
    out: list[Effect] = []
    group.tenure.give_up(Instant(now), row, "a reason", "a cause", out, how)
    return out


@pytest.mark.parametrize("how", [how for how in Leaving if how is not Leaving.LINGERING])
def test_whoever_gives_the_role_up_ends_answering_before_anything_else(how: Leaving) -> None:
    """The lease first, then the addresses, and only then the record says that this node is Backup."""
    group = machines()
    group.become_active()
    out = leave(group, SECOND, how)
    assert isinstance(out[0], RevokeLease)
    assert out[1] == SetRole(group.parts.settings.name, False, 3)
    assert isinstance(out[-1], Moved)
    assert (group.tenure.role, group.tenure.since) == (Role.BACKUP, SECOND)


def test_a_lingering_node_is_quiet_and_keeps_its_addresses_for_a_moment() -> None:
    """The switches still bring frames; the addresses are given up later."""
    group = machines()
    group.become_active()
    out = leave(group, SECOND, Leaving.LINGERING)
    assert [type(effect) for effect in out] == [Quieten, Moved]
    assert group.parts.holding.up
    assert SECOND < group.parts.holding.release_at < 2 * SECOND


@pytest.mark.parametrize("how", Leaving)
def test_the_peer_is_told_that_the_lease_ended_only_when_it_has(how: Leaving) -> None:
    """It counts as alive until the kernel says that the addresses are down, unless it had lapsed before."""
    group = machines()
    group.become_active()
    out = leave(group, SECOND, how)
    told = any(isinstance(effect, LeaseChanged) for effect in out)
    assert told is (how is Leaving.LAPSED)
    assert group.parts.voice.lease is (Lease.NONE if told else Lease.SHORT)
    group.tenure.released(Instant(SECOND + 1), out)
    assert group.parts.voice.lease is Lease.NONE


@pytest.mark.parametrize("how", Leaving)
def test_only_who_owes_a_farewell_says_it(how: Leaving) -> None:
    """And only once the kernel has confirmed."""
    group = machines()
    group.become_active()
    out = leave(group, SECOND, how)
    assert not any(isinstance(effect, Step) for effect in out)
    group.tenure.released(Instant(SECOND + 1), out)
    assert any(isinstance(effect, Step) and effect.step == "farewell" for effect in out) is (how is Leaving.FAREWELL)


@pytest.mark.parametrize(("example", "owns"), [("pair.yaml", []), ("stateful.yaml", [True, False])])
def test_whose_kernel_has_the_original_of_the_flows_is_told_where_they_are_kept(example: str, owns: list[bool]) -> None:
    """With each change of the role."""
    group = machines(example=example)
    out: list[Effect] = []
    group.tenure.take_up(Instant(0), "takes-over", "silence", "nobody is heard", out)
    out += leave(group, SECOND, Leaving.AT_ONCE)
    assert [effect.own for effect in out if isinstance(effect, OwnFlows)] == owns


def test_a_core_that_adopts_announces_no_failover() -> None:
    """The first role is no change of role; the kernel is told to take what it has."""
    fresh, out = machines(started=False).tenure, list[Effect]()
    fresh.adopt(Instant(7), out)
    moved = next(effect for effect in out if isinstance(effect, Moved))
    assert (moved.old, moved.new, moved.row) == (Role.INITIALIZE, Role.ACTIVE, "adopted")
    assert fresh.transitions == 0
    assert isinstance(out[-1], SetRole)
    assert out[-1].active


def test_role_changes_in_a_row_begin_a_hold_down() -> None:
    """Each change counts, whichever way, and it is noted what that means."""
    group, noted = machines(), 0
    for number in range(CHANGES_FREE):
        assert not noted
        out: list[Effect] = []
        if number % 2:
            out += leave(group, number * SECOND, Leaving.AT_ONCE)
        else:
            group.tenure.take_up(Instant(number * SECOND), "takes-over", "silence", "nobody is heard", out)
        noted += sum(isinstance(effect, Noted) and effect.kind == "hold-down" for effect in out)
    assert noted == 1
    assert group.tenure.transitions == CHANGES_FREE


def false_alarms(*, taken_by: str, yielded_by: str, plain: bool = False) -> bool:
    """Whether two such take-overs and retreats make the node doubt silence."""
    group = machines(plain=plain)
    for number in range(2):
        group.tenure.take_up(Instant(number * 20 * SECOND), taken_by, "a reason", "a cause", [])
        leave(group, (number * 20 + 1) * SECOND, Leaving.AT_ONCE, yielded_by)
    return group.parts.holddown.doubts(Instant(22 * SECOND))


@pytest.mark.parametrize(
    ("taken_by", "yielded_by", "plain", "doubts"),
    [
        ("takes-over", "rival-outranks", False, True),
        ("takes-over-asking", "outranked-on-a-lan", False, True),
        ("takes-over", "rival-outranks", True, False),
        ("takes-over", "stopped", False, False),
        ("offer-taken", "rival-outranks", False, False),
    ],
)
def test_yielding_after_a_take_over_by_silence_is_a_false_alarm(
    taken_by: str, yielded_by: str, plain: bool, doubts: bool
) -> None:
    """Not after a hand-over, not for another reason, and not beside a plain peer, whose kernel answers on."""
    assert false_alarms(taken_by=taken_by, yielded_by=yielded_by, plain=plain) is doubts


# --- the rest after a failure


def test_a_failure_is_rested_from_for_a_while() -> None:
    """And then no more; maintenance and the agent's end last as long as they last."""
    standing = Standing()
    rest = Rest(standing)
    assert not rest.holds(Instant(0))
    rest.begin(Instant(0))
    assert rest.after_failure
    assert [rest.holds(Instant(at)) for at in (0, REST - 1, REST)] == [True, True, False]
    rest.end()
    assert not rest.after_failure
    for field in ("maintenance", "stopping"):
        setattr(standing, field, True)
        assert rest.holds(Instant(9 * REST))
        setattr(standing, field, False)
    assert not rest.holds(Instant(9 * REST))


def test_the_end_of_a_rest_ends_the_want_of_state() -> None:
    """What the gate lacked says nothing of the next failure."""
    rest = Rest(Standing())
    rest.begin(Instant(0))
    rest.lacks_state = True
    rest.end()
    assert not rest.lacks_state


# --- the record of the decisions


def test_a_row_is_told_and_counted_when_it_comes_into_force() -> None:
    """Not each time that it is found still in force."""
    record, out = Record(GroupName("edge")), list[Effect]()
    first, second = TABLE[:2]
    for row in (first, first, second, first):
        record.in_force(row, out)
    assert [effect.row for effect in out] == [first.name, second.name, first.name]  # type: ignore[attr-defined]
    assert record.times == {first.name: 2, second.name: 1}
    assert (record.row, record.sentence) == (first.name, first.sentence)


def test_a_move_is_counted_once_whether_it_was_looked_up_or_left_no_choice() -> None:
    """A row of the table was counted when it came into force. After a move the next row is news, whichever it is."""
    record, out = Record(GroupName("edge")), list[Effect]()
    record.in_force(TABLE[0], out)
    record.moved(TABLE[0].name)
    record.moved("resume-guard")
    assert record.times == {TABLE[0].name: 1, "resume-guard": 1}
    record.in_force(TABLE[0], out)
    assert len(out) == 2
