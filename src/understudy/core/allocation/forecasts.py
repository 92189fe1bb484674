"""Which pools will be dry soon, told once a series: before the first host is refused, while there is time to act."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from understudy.core.allocation.pool import Pool
from understudy.units import SECOND, Duration, Instant

AHEAD: Duration = 3600 * SECOND
"""How long before its end a pool is told of."""


@dataclass(frozen=True, slots=True)
class Forecast:
    pool: str
    free: int
    left: Duration
    """Until the last free address is given, at the rate of the last hour."""


@dataclass(slots=True)
class Forecasts:
    _told: set[str] = field(default_factory=set)

    def due(self, now: Instant, pools: Iterable[Pool]) -> list[Forecast]:
        """Pools that are told of now; each again only after its end was out of sight, twice as far."""
        found = []
        for pool in pools:
            name, left = pool.settings.name, pool.forecast(now)
            if left is None or left > 2 * AHEAD:
                self._told.discard(name)
            # A pool that is mostly free is filling for the first time: its rate is that of a start.
            elif left <= AHEAD and name not in self._told and 2 * pool.given >= pool.capacity:
                self._told.add(name)
                found.append(Forecast(name, pool.capacity - pool.given, left))
        return found
