"""The virtual router as a member of a group, which decides on roles in its place (core.vrrp, `autonomous=False`)."""

import pytest
from rfc9568_lan import ACTIVE_DOWN, HIGHER, INTERVAL, LOWER, PRIORITY, SKEW, active, at, backup, heard, of_kind, router

from understudy.core.vrrp import (
    ActiveDownExpired,
    AnnounceAddresses,
    Discarded,
    Moved,
    Outranked,
    SendAdvertisement,
    StandDown,
    StartAnswering,
    Startup,
    State,
    StopAnswering,
    TakeOver,
    Tick,
    VirtualRouter,
)
from understudy.units import Priority


def _member_backup() -> VirtualRouter:
    return backup(autonomous=False)


def _member_active() -> VirtualRouter:
    machine = _member_backup()
    machine.handle(at(0), TakeOver("test"))
    return machine


def test_an_expired_member_reports_once_and_stays_backup() -> None:
    """The timer is disarmed until an advertisement counts again."""
    machine = _member_backup()
    assert machine.handle(at(ACTIVE_DOWN), Tick()) == [ActiveDownExpired()]
    assert machine.handle(at(9 * ACTIVE_DOWN), Tick()) == []
    assert machine.expired
    assert machine.state is State.BACKUP
    assert machine.next_deadline() is None


@pytest.mark.parametrize(("priority", "wait"), [(200, ACTIVE_DOWN), (100, ACTIVE_DOWN), (0, SKEW)])
def test_an_advertisement_that_counts_ends_the_expiry(priority: int, wait: int) -> None:
    """It arms the timer again, for the skew alone if it is a farewell; then expiry is reported anew."""
    machine = _member_backup()
    machine.handle(at(ACTIVE_DOWN), Tick())
    machine.handle(at(ACTIVE_DOWN), heard(priority))
    assert not machine.expired
    assert machine.next_deadline() == at(ACTIVE_DOWN + wait)
    assert machine.handle(at(ACTIVE_DOWN + wait), Tick()) == [ActiveDownExpired()]


def test_an_advertisement_of_a_lower_priority_does_not_end_the_expiry() -> None:
    """Alone we would have been Active by then, and would have answered it."""
    machine = _member_backup()
    machine.handle(at(ACTIVE_DOWN), Tick())
    assert machine.handle(at(ACTIVE_DOWN), heard(99)) == [Discarded("lower-priority")]
    assert machine.expired
    assert (machine.last_heard, machine.active_source, machine.active_priority) == (at(ACTIVE_DOWN), HIGHER, 99)


def test_an_outranked_member_reports_and_goes_on_until_told() -> None:
    """It keeps advertising, does not answer the winner, and has learned the winner's interval for later."""
    machine = _member_active()
    assert machine.handle(at(1), heard(200, interval_cs=100)) == [Outranked(HIGHER, Priority(200))]
    assert machine.state is State.ACTIVE
    assert machine.handle(at(INTERVAL), Tick()) == [SendAdvertisement(PRIORITY)]
    assert machine.handle(at(INTERVAL), heard(100, source=HIGHER)) == [Outranked(HIGHER, PRIORITY)]


def test_a_losing_advertisement_is_answered_by_a_member_too() -> None:
    """All but the two decisions is as in the RFC."""
    assert _member_active().handle(at(1), heard(99)) == [Discarded("outranked"), SendAdvertisement(PRIORITY)]


def test_take_over_makes_a_backup_active_at_once() -> None:
    """In the order of the RFC, with the group's reason as cause; expiry is over."""
    machine = _member_backup()
    machine.handle(at(ACTIVE_DOWN), Tick())
    assert machine.handle(at(ACTIVE_DOWN), TakeOver("the peer is gone")) == [
        SendAdvertisement(PRIORITY),
        StartAnswering(accept=False),
        AnnounceAddresses(),
        Moved(State.BACKUP, State.ACTIVE, "take-over", "the peer is gone"),
    ]
    assert not machine.expired
    assert machine.next_deadline() == at(ACTIVE_DOWN + INTERVAL)
    assert machine.handle(at(ACTIVE_DOWN), TakeOver("again")) == []


def test_stand_down_makes_an_active_backup_without_a_farewell() -> None:
    """The timer runs on what was learned last."""
    machine = _member_active()
    machine.handle(at(1), heard(200, interval_cs=20))
    assert machine.handle(at(2), StandDown("the peer reaches more")) == [
        StopAnswering(),
        Moved(State.ACTIVE, State.BACKUP, "stand-down", "the peer reaches more"),
    ]
    assert machine.next_deadline() == at(2 + 721_875_000)
    assert machine.handle(at(3), StandDown("again")) == []


def test_a_router_alone_obeys_take_over_and_stand_down_as_well() -> None:
    """A switchover is asked of it in the same words."""
    machine = backup()
    machine.handle(at(0), TakeOver("switchover"))
    states = [machine.state]
    machine.handle(at(1), StandDown("switchover"))
    assert [*states, machine.state] == [State.ACTIVE, State.BACKUP]


@pytest.mark.parametrize("autonomous", [True, False])
def test_adopting_the_kernels_state_is_to_be_active_at_once_without_an_announcement(autonomous: bool) -> None:
    """After a restart of our process: the addresses answer, the advertisement leaves before the lease ends."""
    machine = router(autonomous=autonomous)
    assert machine.adopt(at(0), "the lease lives") == [
        SendAdvertisement(PRIORITY),
        StartAnswering(accept=False),
        Moved(State.INITIALIZE, State.ACTIVE, "adopted", "the lease lives"),
    ]
    assert machine.next_deadline() == at(INTERVAL)
    assert of_kind(machine.handle(at(1), Startup()), Moved) == []


def test_what_was_heard_last_is_kept_whatever_came_of_it() -> None:
    """The group asks who was heard and when, as Backup and as Active."""
    machine = active()
    machine.handle(at(5), heard(99, source=LOWER))
    assert (machine.last_heard, machine.active_source, machine.active_priority) == (at(5), LOWER, 99)
