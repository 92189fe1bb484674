"""RFC 9568, section 6.4.1: the Initialize state. Numbers in parentheses are those of the section."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from rfc9568_lan import ACTIVE_DOWN, INTERVAL, START, VRID, at, heard, router

from understudy.core.vrrp import (
    AnnounceAddresses,
    Discarded,
    Moved,
    SendAdvertisement,
    Shutdown,
    StandDown,
    StartAnswering,
    Startup,
    State,
    TakeOver,
    Tick,
)
from understudy.units import Family, Priority
from understudy.wire import arp, ndp
from understudy.wire.vrrp import virtual_mac

_OWNER = Priority(255)


def test_initialize_waits_for_a_startup_event() -> None:
    """(100): until then nothing is sent, no timer runs, and an advertisement changes nothing."""
    machine = router()
    assert machine.next_deadline() is None
    for event in (Tick(), Shutdown(), TakeOver("test"), StandDown("test")):
        assert machine.handle(START, event) == []
    assert machine.handle(START, heard(0)) == [Discarded("not-started")]
    assert machine.state is State.INITIALIZE


@pytest.mark.parametrize("family", [4, 6])
def test_the_owner_sends_an_advertisement_announces_its_addresses_and_becomes_active(family: Family) -> None:
    """(105) to (145): advertisement, announcement, Adver_Timer, Active, in this order."""
    machine = router(255, family=family)
    *effects, moved = machine.handle(START, Startup())
    assert effects == [SendAdvertisement(_OWNER), StartAnswering(accept=True), AnnounceAddresses()]
    assert isinstance(moved, Moved)
    assert (moved.old, moved.new, moved.reason) == (State.INITIALIZE, State.ACTIVE, "owner")


def test_the_gratuitous_arp_names_the_virtual_address_twice_and_the_virtual_mac_twice() -> None:
    """(120) with erratum 7947: broadcast; the address twice, the virtual MAC as either hardware address."""
    address, mac = IPv4Address("10.9.0.254"), virtual_mac(VRID, 4)
    frame = arp.gratuitous_frame(address, mac)
    assert frame[:6] == b"\xff" * 6
    assert frame[6:12] == mac
    assert arp.decode(frame) == arp.ArpMessage(arp.Operation.REQUEST, mac, address, mac, address)


def test_the_unsolicited_neighbor_advertisement_has_router_and_override_set_and_solicited_clear() -> None:
    """(130): target address and target link-layer address are the virtual router's."""
    address, mac = IPv6Address("2001:db8::254"), virtual_mac(VRID, 6)
    frame = ndp.unsolicited_advertisement_frame(address, mac)
    assert frame[6:12] == mac
    assert ndp.decode(frame) == ndp.NeighborAdvertisement(address, mac, router=True, solicited=False, override=True)


def test_the_owner_sets_the_adver_timer_to_advertisement_interval() -> None:
    """(140)."""
    machine = router(255)
    machine.handle(START, Startup())
    assert machine.next_deadline() == at(INTERVAL)


def test_any_other_router_sets_active_adver_interval_to_advertisement_interval() -> None:
    """(155): also after an earlier life in which another interval was learned."""
    machine = router()
    machine.handle(START, Startup())
    machine.handle(START, heard(200, interval_cs=5))
    machine.handle(START, Shutdown())
    machine.handle(START, Startup())
    assert machine.active_adver_interval == INTERVAL


def test_any_other_router_sets_the_active_down_timer_and_becomes_backup_in_silence() -> None:
    """(160), (165): nothing is sent."""
    machine = router()
    (moved,) = machine.handle(START, Startup())
    assert isinstance(moved, Moved)
    assert (moved.old, moved.new, moved.reason) == (State.INITIALIZE, State.BACKUP, "startup")
    assert machine.next_deadline() == at(ACTIVE_DOWN)


def test_a_second_startup_changes_nothing() -> None:
    """(100): Startup is an event of Initialize alone; repeated later it must not reset the timer."""
    machine = router()
    machine.handle(START, Startup())
    assert machine.handle(at(INTERVAL), Startup()) == []
    assert machine.next_deadline() == at(ACTIVE_DOWN)
