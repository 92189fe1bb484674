"""RFC 9568, section 6.4.2: the Backup state. Numbers in parentheses are those of the section."""

import pytest
from rfc9568_lan import ACTIVE_DOWN, HIGHER, INTERVAL, LOCAL, PRIORITY, SKEW, active, at, backup, heard, of_kind, router

from understudy.core.vrrp import (
    AnnounceAddresses,
    Discarded,
    Effect,
    Event,
    Mismatched,
    Moved,
    Refresh,
    SendAdvertisement,
    Shutdown,
    StartAnswering,
    Startup,
    State,
    StopAnswering,
    Tick,
)
from understudy.units import MILLISECOND


def _everything_a_backup_may_meet() -> list[Effect]:
    machine = backup()
    effects: list[Effect] = []
    events: list[Event] = [heard(99), heard(100), heard(101), heard(0), heard(255), Refresh(), Startup()]
    for step, event in enumerate(events):
        effects += machine.handle(at(step), event)
    assert machine.state is State.BACKUP
    return effects


def test_a_backup_must_not_respond_to_arp_requests_for_the_addresses() -> None:
    """(310): nothing that it meets makes it answer, and an Active that becomes Backup stops at once."""
    assert of_kind(_everything_a_backup_may_meet(), StartAnswering) == []
    assert active().handle(at(0), heard(200))[0] == StopAnswering()


def test_a_backup_must_not_respond_to_neighbor_solicitations_for_the_addresses() -> None:
    """(320): the one effect governs both families; over IPv6 it comes first as well."""
    machine = router(family=6)
    machine.handle(at(0), Startup())
    machine.handle(at(ACTIVE_DOWN), Tick())
    machine.handle(at(ACTIVE_DOWN), Shutdown())
    assert of_kind(machine.handle(at(ACTIVE_DOWN), Startup()), StartAnswering) == []


def test_a_backup_must_not_send_for_the_virtual_router() -> None:
    """(325): neither router advertisements nor anything else; announcing and advertising are the Active's."""
    effects = _everything_a_backup_may_meet()
    assert of_kind(effects, SendAdvertisement) == []
    assert of_kind(effects, AnnounceAddresses) == []


def test_a_backup_must_discard_what_is_sent_to_the_virtual_mac_and_the_virtual_addresses() -> None:
    """(335), (340): leaving Active, the addresses are given up before the move is told."""
    stop, moved = active().handle(at(0), heard(200))
    assert stop == StopAnswering()
    assert isinstance(moved, Moved)


def test_on_shutdown_a_backup_cancels_the_active_down_timer_and_goes_to_initialize() -> None:
    """(345) to (355): in silence, since it was not responsible for anything."""
    machine = backup()
    (moved,) = machine.handle(at(1), Shutdown())
    assert isinstance(moved, Moved)
    assert (moved.old, moved.new, moved.reason) == (State.BACKUP, State.INITIALIZE, "shutdown")
    assert machine.next_deadline() is None


def test_when_the_active_down_timer_fires_a_backup_advertises_announces_and_becomes_active() -> None:
    """(365) to (410): in this order, and the addresses answer before the LAN is told to use them (section 8.1.2)."""
    machine = backup()
    *effects, moved = machine.handle(at(ACTIVE_DOWN), Tick())
    assert effects == [SendAdvertisement(PRIORITY), StartAnswering(accept=False), AnnounceAddresses()]
    assert isinstance(moved, Moved)
    assert (moved.old, moved.new, moved.reason) == (State.BACKUP, State.ACTIVE, "active-down-timer")


def test_when_the_active_down_timer_fires_the_adver_timer_is_set_to_advertisement_interval() -> None:
    """(405)."""
    machine = backup()
    machine.handle(at(ACTIVE_DOWN), Tick())
    assert machine.next_deadline() == at(ACTIVE_DOWN + INTERVAL)


def test_the_cause_of_the_move_names_the_silent_router_and_the_silence() -> None:
    """(365): what an operator reads later."""
    machine = backup()
    machine.handle(at(0), heard(200))
    *_, moved = machine.handle(at(ACTIVE_DOWN), Tick())
    assert isinstance(moved, Moved)
    assert moved.cause == f"no advertisement from {HIGHER} for 3609.4 ms"


def test_the_cause_of_a_preemption_names_the_two_priorities() -> None:
    """(365) after (475): the lower Active was heard all the time, so it is not accused of silence."""
    machine = backup()
    machine.handle(at(ACTIVE_DOWN - 1), heard(99))
    *_, moved = machine.handle(at(ACTIVE_DOWN), Tick())
    assert isinstance(moved, Moved)
    assert moved.cause == f"{HIGHER} advertises priority 99 only, ours is 100"


def test_an_advertisement_with_priority_0_sets_the_active_down_timer_to_skew_time() -> None:
    """(425), (430): nothing else changes, so the successor with the shortest skew takes over."""
    machine = backup()
    machine.handle(at(INTERVAL), heard(0, interval_cs=4095))
    assert machine.next_deadline() == at(INTERVAL + SKEW)
    *_, moved = machine.handle(at(INTERVAL + SKEW), Tick())
    assert isinstance(moved, Moved)
    assert moved.cause == f"{HIGHER} gave up 609.4 ms ago"


@pytest.mark.parametrize(
    ("preempt_mode", "priority"), [(True, 100), (True, 101), (True, 255), (False, 1), (False, 200)]
)
def test_an_advertisement_that_counts_sets_the_intervals_and_resets_the_active_down_timer(
    preempt_mode: bool, priority: int
) -> None:
    """(445) to (465): priority at least ours, or Preempt_Mode False; the timer runs on the *learned* interval."""
    machine = backup(preempt_mode=preempt_mode)
    machine.handle(at(INTERVAL), heard(priority, interval_cs=20))
    assert machine.active_adver_interval == 200 * MILLISECOND
    assert machine.skew_time == 121_875_000
    assert machine.active_down_interval == 721_875_000
    assert machine.next_deadline() == at(INTERVAL + 721_875_000)
    assert machine.state is State.BACKUP


def test_a_lower_priority_advertisement_is_discarded_in_preempt_mode() -> None:
    """(470), (475): neither timer nor intervals change."""
    machine = backup(preempt_mode=True)
    effects = machine.handle(at(INTERVAL), heard(99, interval_cs=4095))
    assert Discarded("lower-priority") in effects
    assert machine.next_deadline() == at(ACTIVE_DOWN)
    assert machine.active_adver_interval == INTERVAL


def test_a_tie_leaves_a_backup_in_its_place_whatever_the_addresses() -> None:
    """(445): equal priority counts; addresses decide only between two Actives."""
    machine = backup()
    machine.handle(at(INTERVAL), heard(100, source=HIGHER, local=LOCAL))
    machine.handle(at(2 * INTERVAL), heard(100, source=LOCAL, local=HIGHER))
    assert machine.next_deadline() == at(2 * INTERVAL + ACTIVE_DOWN)


def test_an_advertisement_in_a_steady_state_yields_no_effects() -> None:
    """(420): the hot path of a Backup; only the deadline moves."""
    machine = backup()
    for beat in range(1, 5):
        assert machine.handle(at(beat * INTERVAL), heard(200)) == []
        assert machine.next_deadline() == at(beat * INTERVAL + ACTIVE_DOWN)


def test_a_late_look_at_the_clock_takes_over_once() -> None:
    """(365): a machine paused for a minute becomes Active once and advertises once."""
    machine = backup()
    minute_later = at(60 * INTERVAL)
    effects = machine.handle(minute_later, Tick())
    assert of_kind(effects, SendAdvertisement) == [SendAdvertisement(PRIORITY)]
    assert machine.handle(minute_later, Tick()) == []


def test_an_advertisement_that_waited_in_the_queue_outweighs_an_overdue_timer() -> None:
    """(420) before (365): after a pause, what was received is handed over first and proves that the Active lives."""
    machine = backup()
    late = at(60 * INTERVAL)
    assert machine.handle(late, heard(200)) == []
    assert machine.handle(late, Tick()) == []
    assert machine.state is State.BACKUP


def test_differences_from_our_settings_are_told_once_and_do_not_drop_the_advertisement() -> None:
    """(445) with section 7.1: another interval or address list is worth a line in the log, not a second Active."""
    machine = backup()
    odd = heard(200, interval_cs=20, addresses=(HIGHER,))
    assert machine.handle(at(1), odd) == [Mismatched("interval", HIGHER), Mismatched("addresses", HIGHER)]
    assert machine.handle(at(2), odd) == []
    assert machine.handle(at(3), heard(200)) == []
    assert machine.next_deadline() == at(3 + ACTIVE_DOWN)
