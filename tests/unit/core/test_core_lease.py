"""The lease ends before the standby's patience does."""

from hypothesis import given
from hypothesis import strategies as st

from understudy.core.lease import lease_length, long_after, short_lease
from understudy.units import CENTISECOND, MILLISECOND, SECOND
from understudy.wire.heartbeat import Lease

JIFFIES = st.sampled_from([MILLISECOND, 10 * MILLISECOND // 3, 4 * MILLISECOND])
INTERVALS = st.integers(2, 4095).map(lambda centiseconds: centiseconds * CENTISECOND)


@given(INTERVALS, JIFFIES, st.integers(1, 254))
def test_a_short_lease_ends_before_any_standby_takes_over(advertise: int, jiffy: int, priority: int) -> None:
    """Active_Down_Interval is 3 intervals and the skew; one more jiffy passes until the kernel collects the element."""
    active_down_interval = 3 * advertise + (256 - priority) * advertise // 256
    assert 0 < short_lease(advertise, jiffy) + jiffy < active_down_interval


@given(INTERVALS)
def test_a_standby_that_was_missed_is_missed_for_longer_than_it_needs_to_take_over(advertise: int) -> None:
    """Half the time after which a lease becomes long is more than a failover takes: that needs no question."""
    assert long_after(advertise) // 2 >= 4 * advertise + advertise


def test_no_lease_has_no_length() -> None:
    assert lease_length(Lease.NONE, SECOND, MILLISECOND, 60 * SECOND) == 0
    assert lease_length(Lease.LONG, SECOND, MILLISECOND, 60 * SECOND) == 60 * SECOND
    assert lease_length(Lease.SHORT, SECOND, 4 * MILLISECOND, 60 * SECOND) == 3 * SECOND - 8 * MILLISECOND
