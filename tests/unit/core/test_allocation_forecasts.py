"""A pool that will be dry is told of before it is, once."""

from understudy.core.allocation.forecasts import Forecasts
from understudy.core.allocation.pool import Pool, Reserved
from understudy.core.allocation.records import PoolSettings
from understudy.units import SECOND, Instant


def filled(count: int, every_s: int, size: int = 100) -> tuple[Pool, Instant]:
    pool = Pool(PoolSettings(1, "P/near", ((1000, 999 + size),), None), Reserved(()))
    taken: set[int] = set()
    now = 0
    for _ in range(count):
        now += every_s * SECOND
        address = pool.take(Instant(now), 1, taken)
        assert address is not None
        taken.add(address)
    return pool, Instant(now)


def test_it_is_told_once() -> None:
    """Sixty addresses in ten minutes: the other forty last some seven more."""
    pool, now = filled(60, 10)
    forecasts = Forecasts()
    (told,) = forecasts.due(now, [pool])
    assert (told.pool, told.free) == ("P/near", 40)
    assert 350 * SECOND < told.left < 450 * SECOND
    assert forecasts.due(now, [pool]) == []


def test_it_is_told_again_after_the_danger_was_over() -> None:
    pool, now = filled(60, 10)
    forecasts = Forecasts()
    assert forecasts.due(now, [pool])
    later = Instant(now + 7200 * SECOND)
    assert forecasts.due(later, [pool]) == []
    assert pool.take(later, 1, set(range(1000, 1060))) is not None
    for step in range(30):
        pool.take(Instant(later + step * SECOND), 1, set(range(1000, 1061 + step)))
    assert forecasts.due(Instant(later + 30 * SECOND), [pool])


def test_a_slow_or_a_young_pool_is_not_told_of() -> None:
    """Control: three minutes an address leave two hours; and ten of a hundred tell of no end."""
    slow, now = filled(60, 180)
    young, then = filled(10, 1)
    assert Forecasts().due(now, [slow]) == []
    assert Forecasts().due(then, [young]) == []
