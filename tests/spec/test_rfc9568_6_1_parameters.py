"""RFC 9568, sections 6.1 to 6.3: the parameters of a virtual router, its timers and the moves between its states."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rfc9568_lan import (
    ACTIVE_DOWN,
    ADDRESSES,
    HIGHER,
    INTERVAL,
    LOCAL,
    LOWER,
    PRIORITY,
    SKEW,
    START,
    VRID,
    active,
    at,
    backup,
    heard,
    of_kind,
    router,
)

from understudy.core.vrrp import (
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
from understudy.units import CENTISECOND, MILLISECOND, Instant, Priority
from understudy.wire.vrrp import GROUP_IPV6, Advertisement, encode, virtual_mac


def test_priority_255_is_for_the_router_that_owns_the_addresses() -> None:
    """Section 6.1, Priority: 255 marks the owner, which is Active from the start."""
    machine = router(255)
    machine.handle(START, Startup())
    assert machine.state is State.ACTIVE


@pytest.mark.parametrize("priority", [1, 100, 254])
def test_priorities_1_to_254_are_for_backup_routers(priority: int) -> None:
    """Section 6.1, Priority: everyone else begins by listening."""
    machine = router(priority)
    machine.handle(START, Startup())
    assert machine.state is State.BACKUP


def test_priority_0_is_reserved_for_the_active_that_releases_its_responsibility() -> None:
    """Section 6.1, Priority: 0 is sent by an Active that leaves, and at no other time."""
    machine = active()
    running = machine.handle(at(INTERVAL), Tick())
    leaving = machine.handle(at(INTERVAL), Shutdown())
    assert of_kind(running, SendAdvertisement) == [SendAdvertisement(PRIORITY)]
    assert of_kind(leaving, SendAdvertisement) == [SendAdvertisement(Priority(0))]


def test_the_first_ipv6_address_must_be_the_link_local_address_of_the_virtual_router() -> None:
    """Section 6.1, IPv6_Addresses: a list that begins with another address is never sent."""
    link_local, other = ADDRESSES[6]
    good = Advertisement(VRID, PRIORITY, 100, (link_local, other), 6)
    bad = Advertisement(VRID, PRIORITY, 100, (other, link_local), 6)
    assert encode(good, link_local, GROUP_IPV6)
    with pytest.raises(AssertionError):
        encode(bad, link_local, GROUP_IPV6)


@pytest.mark.parametrize("interval_cs", [1, 10, 100, 4095])
def test_advertisement_interval_is_the_time_between_advertisements_in_centiseconds(interval_cs: int) -> None:
    """Section 6.1, Advertisement_Interval (with erratum 8301): 1 to 4095 centiseconds."""
    machine = router(255, interval_cs=interval_cs)
    machine.handle(START, Startup())
    assert machine.next_deadline() == START + interval_cs * CENTISECOND


def test_active_adver_interval_is_initially_the_same_as_advertisement_interval() -> None:
    """Section 6.1, Active_Adver_Interval: our own until an Active was heard."""
    assert router(interval_cs=37).active_adver_interval == 37 * CENTISECOND


def test_active_adver_interval_is_the_one_in_advertisements_received_from_the_active() -> None:
    """Section 6.1, Active_Adver_Interval: a Backup saves it and computes with it."""
    machine = backup()
    machine.handle(at(0), heard(200, interval_cs=20))
    assert machine.active_adver_interval == 200 * MILLISECOND
    assert machine.skew_time == 156 * 200 * MILLISECOND // 256


@pytest.mark.parametrize(
    ("priority", "interval_cs", "skew_ns"),
    [(100, 100, 609_375_000), (254, 100, 7_812_500), (254, 1, 78_125), (1, 10, 99_609_375), (255, 1, 39_062)],
)
def test_skew_time_is_256_less_priority_times_active_adver_interval_by_256(
    priority: int, interval_cs: int, skew_ns: int
) -> None:
    """Section 6.1, Skew_Time: to the nanosecond, so that it still tells routers apart at 10 ms."""
    assert router(priority, interval_cs=interval_cs).skew_time == skew_ns


@pytest.mark.parametrize(
    ("priority", "interval_cs", "down_ns"),
    [(100, 100, 3_609_375_000), (100, 10, 360_937_500), (254, 100, 3_007_812_500), (254, 1, 30_078_125)],
)
def test_active_down_interval_is_three_active_adver_intervals_and_skew_time(
    priority: int, interval_cs: int, down_ns: int
) -> None:
    """Section 6.1, Active_Down_Interval."""
    assert router(priority, interval_cs=interval_cs).active_down_interval == down_ns


def test_preempt_mode_true_lets_a_higher_priority_backup_preempt_a_lower_priority_active() -> None:
    """Section 6.1, Preempt_Mode: the lower router's advertisements do not hold us back."""
    machine = backup(preempt_mode=True)
    machine.handle(at(3 * INTERVAL), heard(99))
    machine.handle(at(ACTIVE_DOWN), Tick())
    assert machine.state is State.ACTIVE


def test_preempt_mode_false_prohibits_preemption() -> None:
    """Section 6.1, Preempt_Mode: as long as a lower router advertises we stay Backup."""
    machine = backup(preempt_mode=False)
    machine.handle(at(3 * INTERVAL), heard(99))
    machine.handle(at(ACTIVE_DOWN), Tick())
    assert machine.state is State.BACKUP
    assert machine.next_deadline() == at(3 * INTERVAL + ACTIVE_DOWN)


def test_the_address_owner_always_preempts_independent_of_preempt_mode() -> None:
    """Section 6.1, Preempt_Mode: the exception for priority 255."""
    machine = router(255, preempt_mode=False)
    machine.handle(START, Startup())
    machine.handle(START, StandDown("for the test"))
    deadline = machine.next_deadline()
    machine.handle(at(INTERVAL), heard(254))
    assert machine.next_deadline() == deadline


@pytest.mark.parametrize(
    ("priority", "accept_mode", "accept"), [(100, True, True), (100, False, False), (255, False, True)]
)
def test_accept_mode_controls_whether_packets_to_the_virtual_addresses_are_accepted(
    priority: int, accept_mode: bool, accept: bool
) -> None:
    """Section 6.1, Accept_Mode: it governs an Active that does not own the addresses; an owner accepts in any case."""
    machine = router(priority, accept_mode=accept_mode)
    effects = machine.handle(START, Startup()) + machine.handle(at(ACTIVE_DOWN), Tick())
    assert of_kind(effects, StartAnswering) == [StartAnswering(accept)]


def test_the_virtual_router_mac_address_follows_from_the_vrid() -> None:
    """Section 6.1, Virtual_Router_MAC_Address: the same on every node, since only VRID and family enter."""
    assert virtual_mac(VRID, 4) == bytes.fromhex("00005e000107")


def test_active_down_timer_fires_when_no_advertisement_was_heard_for_active_down_interval() -> None:
    """Section 6.2: not a nanosecond earlier."""
    machine = backup()
    machine.handle(at(INTERVAL), heard(200))
    assert machine.handle(at(INTERVAL + ACTIVE_DOWN - 1), Tick()) == []
    assert machine.handle(at(INTERVAL + ACTIVE_DOWN), Tick())
    assert machine.state is State.ACTIVE


def test_adver_timer_fires_to_trigger_an_advertisement_every_advertisement_interval() -> None:
    """Section 6.2: by our own interval, whatever was learned as Backup."""
    machine = backup()
    machine.handle(START, heard(200, interval_cs=20))
    now = at(machine.active_down_interval)
    machine.handle(now, Tick())
    for _ in range(5):
        deadline = machine.next_deadline()
        assert deadline == now + INTERVAL
        now = deadline
        assert machine.handle(now, Tick()) == [SendAdvertisement(PRIORITY)]


_MOVES = {
    (State.INITIALIZE, State.BACKUP),
    (State.INITIALIZE, State.ACTIVE),
    (State.BACKUP, State.ACTIVE),
    (State.BACKUP, State.INITIALIZE),
    (State.ACTIVE, State.BACKUP),
    (State.ACTIVE, State.INITIALIZE),
}
_EVENTS = st.one_of(
    st.sampled_from([Startup(), Shutdown(), Tick(), Tick(), TakeOver("test"), StandDown("test")]),
    st.builds(
        heard,
        st.sampled_from([0, 1, 99, 100, 101, 254, 255]),
        source=st.sampled_from([LOWER, LOCAL, HIGHER]),
        interval_cs=st.sampled_from([1, 100, 4095]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    priority=st.sampled_from([1, 100, 254, 255]),
    preempt_mode=st.booleans(),
    autonomous=st.booleans(),
    story=st.lists(st.tuples(st.integers(0, 5_000_000_000), _EVENTS), max_size=40),
)
def test_only_the_moves_of_the_state_diagram_happen_whatever_the_story(
    priority: int, preempt_mode: bool, autonomous: bool, story: list[tuple[int, object]]
) -> None:
    """Section 6.3: every move is an arrow of the diagram, told once; timers and sending belong to their states."""
    machine = router(priority, preempt_mode=preempt_mode, autonomous=autonomous)
    now, path = int(START), [machine.state]
    for wait, event in story:
        now += wait
        before = machine.state
        effects = machine.handle(Instant(now), event)  # type: ignore[arg-type]  # the strategy yields events
        moves = of_kind(effects, Moved)
        assert [(move.old, move.new) for move in moves] == (
            [(before, machine.state)] if machine.state != before else []
        )
        assert all(move.reason and move.cause for move in moves)
        sent = of_kind(effects, SendAdvertisement)
        assert not sent or State.ACTIVE in (before, machine.state)
        assert len(sent) <= 1
        deadline = machine.next_deadline()
        if machine.state is State.ACTIVE:
            assert deadline is not None
            assert deadline <= now + INTERVAL
        assert (deadline is None) == (machine.state is State.INITIALIZE or machine.expired)
        assert not machine.expired or (not autonomous and machine.state is State.BACKUP)
        path.append(machine.state)
    assert {(old, new) for old, new in pairwise(path) if old != new} <= _MOVES


def test_skew_orders_backups_by_priority() -> None:
    """Section 6.1: of two Backups the one with the higher priority takes over first, and the other hears it in time."""
    assert router(101).active_down_interval < router(100).active_down_interval
    assert SKEW < INTERVAL
