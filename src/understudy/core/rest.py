"""Why a node leaves a group to its peer although it could serve: maintenance, its own end, or a promotion that failed.

After a failed promotion it rests for `REST`. One that failed at the gate, for want of the flows' state, rests no longer
than until the state is here or an operator does without it (`lacks_state`).
"""

from understudy.core.peer import Standing
from understudy.core.timers import NEVER
from understudy.units import SECOND, Duration, Instant

REST: Duration = 10 * SECOND
"""After a failed promotion this node leaves the group to the peer for so long."""


class Rest:
    """Of one group."""

    def __init__(self, standing: Standing) -> None:
        self.until: int = NEVER
        """The end of the rest after a failed promotion; only while there is one."""
        self.lacks_state = False
        """The gate refused the promotion."""
        self._standing = standing

    def holds(self, now: Instant) -> bool:
        return self._standing.maintenance or self._standing.stopping or now < self.until < NEVER

    @property
    def after_failure(self) -> bool:
        return self.until != NEVER

    def begin(self, now: Instant) -> None:
        """A promotion has failed."""
        self.until = now + REST

    def end(self) -> None:
        self.until, self.lacks_state = NEVER, False
