"""RFC 9568, section 6.4.3: the Active state. Numbers in parentheses are those of the section."""

from ipaddress import IPv4Address

import pytest
from rfc9568_lan import (
    ACTIVE_DOWN,
    HIGHER,
    INTERVAL,
    LOCAL,
    LOWER,
    PRIORITY,
    active,
    at,
    backup,
    heard,
    of_kind,
    router,
)

from understudy.core.vrrp import (
    AnnounceAddresses,
    Discarded,
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
from understudy.units import MILLISECOND, Family, Priority


@pytest.mark.parametrize("family", [4, 6])
def test_an_active_must_respond_for_the_addresses_and_forward_for_the_virtual_mac(family: Family) -> None:
    """(610), (620), (625), (645): becoming Active starts answering, once, in either family."""
    machine = router(family=family)
    machine.handle(at(0), Startup())
    assert len(of_kind(machine.handle(at(ACTIVE_DOWN), Tick()), StartAnswering)) == 1


def test_without_accept_mode_the_addresses_still_answer_neighbor_discovery() -> None:
    """(635): Accept_Mode False takes nothing from ARP and ND; it only marks packets to the addresses as not ours."""
    effects = backup(accept_mode=False).handle(at(ACTIVE_DOWN), Tick())
    assert of_kind(effects, StartAnswering) == [StartAnswering(accept=False)]


def test_packets_to_the_addresses_are_accepted_by_the_owner_and_in_accept_mode_only() -> None:
    """(650)."""
    accepting = backup(accept_mode=True).handle(at(ACTIVE_DOWN), Tick())
    owning = router(255, accept_mode=False).handle(at(0), Startup())
    assert of_kind(accepting, StartAnswering) == of_kind(owning, StartAnswering) == [StartAnswering(accept=True)]


def test_on_shutdown_an_active_cancels_the_adver_timer_sends_priority_0_and_goes_to_initialize() -> None:
    """(655) to (670): it stops answering first, since the farewell wakes the successor within its skew."""
    machine = active()
    *effects, moved = machine.handle(at(1), Shutdown())
    assert effects == [StopAnswering(), SendAdvertisement(Priority(0))]
    assert isinstance(moved, Moved)
    assert (moved.old, moved.new, moved.reason) == (State.ACTIVE, State.INITIALIZE, "shutdown")
    assert machine.next_deadline() is None


def test_when_the_adver_timer_fires_an_active_advertises_and_resets_it() -> None:
    """(680) to (690)."""
    machine = active()
    assert machine.handle(at(INTERVAL - 1), Tick()) == []
    assert machine.handle(at(INTERVAL), Tick()) == [SendAdvertisement(PRIORITY)]
    assert machine.next_deadline() == at(2 * INTERVAL)


def test_a_late_adver_timer_sends_one_advertisement_and_is_armed_from_now() -> None:
    """(690): a paused machine owes no burst."""
    machine = active()
    late = 60 * INTERVAL + 123
    assert machine.handle(at(late), Tick()) == [SendAdvertisement(PRIORITY)]
    assert machine.handle(at(late), Tick()) == []
    assert machine.next_deadline() == at(late + INTERVAL)


def test_an_advertisement_with_priority_0_is_answered_at_once_and_resets_the_adver_timer() -> None:
    """(705) to (715): another Active left; everybody learns who is still there."""
    machine = active()
    assert machine.handle(at(INTERVAL // 2), heard(0)) == [SendAdvertisement(PRIORITY)]
    assert machine.next_deadline() == at(INTERVAL // 2 + INTERVAL)
    assert machine.state is State.ACTIVE


@pytest.mark.parametrize(("priority", "source"), [(101, LOWER), (101, HIGHER), (254, LOWER), (100, HIGHER)])
def test_a_higher_priority_or_on_a_tie_a_higher_address_makes_an_active_a_backup(
    priority: int, source: IPv4Address
) -> None:
    """(725) to (765): without a word on the wire, and the timer runs on the winner's interval."""
    machine = active()
    effects = machine.handle(at(1), heard(priority, source=source, interval_cs=20))
    assert of_kind(effects, SendAdvertisement) == []
    assert effects[-2] == StopAnswering()
    (moved,) = of_kind(effects, Moved)
    assert (moved.old, moved.new, moved.reason) == (State.ACTIVE, State.BACKUP, "outranked")
    assert machine.active_adver_interval == 200 * MILLISECOND
    assert machine.skew_time == 121_875_000
    assert machine.next_deadline() == at(1 + 721_875_000)


@pytest.mark.parametrize(("source", "state"), [("10.9.0.9", State.ACTIVE), ("200.0.0.1", State.BACKUP)])
def test_addresses_are_compared_as_unsigned_integers_in_network_byte_order(source: str, state: State) -> None:
    """(730): to 10.9.0.10, 10.9.0.9 loses (as text it would win), 200.0.0.1 wins (signed it would lose)."""
    machine = active()
    machine.handle(at(1), heard(100, source=IPv4Address(source), local=LOCAL))
    assert machine.state is state


@pytest.mark.parametrize(("priority", "source"), [(99, HIGHER), (1, LOWER), (100, LOWER)])
def test_an_advertisement_that_loses_is_discarded_and_answered_at_once(priority: int, source: IPv4Address) -> None:
    """(770) to (780): new in RFC 9568; it corrects the sender and the bridges that followed it."""
    machine = active()
    effects = machine.handle(at(INTERVAL // 2), heard(priority, source=source))
    assert effects == [Discarded("outranked"), SendAdvertisement(PRIORITY)]
    assert machine.state is State.ACTIVE


def test_answering_an_advertisement_that_loses_leaves_the_adver_timer_alone() -> None:
    """(780): the section resets the timer for priority 0 and for its own firing, not here."""
    machine = active()
    machine.handle(at(INTERVAL // 2), heard(99, interval_cs=4095))
    assert machine.next_deadline() == at(INTERVAL)
    assert machine.active_adver_interval == INTERVAL


def test_preempt_mode_does_not_protect_an_active_from_a_higher_priority() -> None:
    """(725): Preempt_Mode is a matter of the one who would preempt."""
    machine = active(preempt_mode=False)
    machine.handle(at(1), heard(101))
    assert machine.state is State.BACKUP


def test_our_own_advertisement_come_back_is_discarded_without_an_answer() -> None:
    """(770): taken as a loser's it would be answered, come back again, and never end."""
    machine = active()
    assert machine.handle(at(1), heard(100, source=LOCAL, local=LOCAL)) == [Discarded("own")]
    assert machine.last_heard is None


def test_two_owners_resolve_by_address_and_each_is_told() -> None:
    """(730) with erratum 8298: an owner that hears another one reports it and takes part in the election."""
    machine = router(255)
    machine.handle(at(0), Startup())
    assert machine.handle(at(1), heard(255, source=LOWER)) == [
        Mismatched("owner", LOWER),
        Discarded("outranked"),
        SendAdvertisement(Priority(255)),
    ]
    machine.handle(at(2), heard(255, source=HIGHER))
    assert machine.state is State.BACKUP


def test_a_refresh_advertises_and_announces_again() -> None:
    """Section 8.1.2 in spirit: after a port came back, the LAN is told again; only an Active does so."""
    machine = active()
    assert machine.handle(at(1), Refresh()) == [SendAdvertisement(PRIORITY), AnnounceAddresses()]
    assert machine.next_deadline() == at(1 + INTERVAL)
    assert backup().handle(at(1), Refresh()) == []


def test_a_router_that_goes_on_beside_a_higher_one_is_told_of_once() -> None:
    """It does not hear us, or does not believe us; one advertisement that crossed ours is no sign of it."""
    machine = active()
    moments = [place * INTERVAL + 1 for place in range(8)]
    told = [of_kind(machine.handle(at(moment), heard(99)), Mismatched) for moment in moments]
    assert told == [[], [], [], [], [Mismatched("deaf", HIGHER)], [], [], []]


def test_advertisements_that_crossed_ours_long_apart_make_nobody_deaf() -> None:
    """A Backup that comes and goes advertises once each time before it hears us."""
    machine = active()
    for place in range(8):
        assert of_kind(machine.handle(at(place * 3 * INTERVAL), heard(99)), Mismatched) == []
