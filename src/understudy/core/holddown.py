"""Flapping: a group that moves too often is left where it is, and a peer that was given up wrongly is asked about.

Two things are held down, each longer the longer it goes on:

1. A change that nobody needs waits. A node of the higher priority asks for the group back (preemption) only after it
   has reached as much as the Active for `PREEMPT_DELAY`, and an Active that has carrier everywhere and has just lost no
   LAN looks for two intervals at a peer that has come to reach more. From the `CHANGES_FREE`-th change of role within
   `WINDOW` both wait for `HOLD_MIN`, and twice as long after each further change, up to `HOLD_MAX`, the Active up to
   `GAIN_HOLD_MAX`: a LAN that both had lost, and the peer has found again, has nobody else. A quiet time of
   `WINDOW`, or of twice the hold, in which neither the role nor what is reached changes for the worse, ends it.
2. A node that has taken over from an Active that lived, `FALSE_ALARMS` times within `WINDOW`, asks the LANs for the
   addresses before it takes over again (the fence of core.promotion), which costs it a fraction of an interval.

Guarantee: nothing here keeps a group unserved. A dead Active, one without carrier and one that has lost a LAN are
replaced as ever. Hence a flapping port moves the group away once and back once, when it has come to rest. A path
between the nodes that is cut and heals again and again still costs a take-over and a stand-down each time: nobody can
tell a cut from a death.
"""

from understudy.core.handover import PREEMPT_DELAY
from understudy.core.situation import Patience
from understudy.core.timers import LONG_AGO, NEVER
from understudy.units import SECOND, Duration, Instant

CHANGES_FREE = 3
WINDOW: Duration = 60 * SECOND
HOLD_MIN: Duration = 2 * SECOND
HOLD_MAX: Duration = 300 * SECOND
GAIN_HOLD_MAX: Duration = 10 * SECOND
FALSE_ALARMS = 2


class HoldDown:
    """Of one group on one node."""

    def __init__(self) -> None:
        self.length: Duration = 0
        """Of the hold in force; 0 while there is none."""
        self.due: int = NEVER
        """When this node will have reached as much as the Active for long enough."""
        self._changes: list[int] = []
        self._false_alarms: list[int] = []
        self._unrest_at: int = LONG_AGO
        """When the role changed, or a Backup ceased to reach as much as the Active."""
        self._level_since: int = NEVER

    def moved(self, now: Instant) -> bool:
        """The role has changed. True if a hold-down begins or grows."""
        self._level_since = self.due = NEVER
        self._relax(now)
        self._unrest_at = now
        self._changes = [at for at in self._changes if now - at < WINDOW] + [now]
        if len(self._changes) < CHANGES_FREE and not self.length:
            return False
        self.length = min(max(2 * self.length, HOLD_MIN), HOLD_MAX)
        return True

    def false_alarm(self, now: Instant) -> bool:
        """An Active that this node had replaced turned out to live. True if that happened too often."""
        self._false_alarms = [at for at in self._false_alarms if now - at < WINDOW] + [now]
        return len(self._false_alarms) == FALSE_ALARMS

    def doubts(self, now: Instant) -> bool:
        """Whether silence has deceived this node too often lately to be believed without a question."""
        return len(self._false_alarms) >= FALSE_ALARMS and now - self._false_alarms[-FALSE_ALARMS] < WINDOW

    def hold(self, now: Instant) -> Duration:
        """How long a change that nobody needs has to wait."""
        self._relax(now)
        return self.length

    def compare(self, now: Instant, level: bool) -> None:
        """`level`: a Backup that reaches as much as the Active."""
        if not level:
            if self._level_since != NEVER:
                self._unrest_at = now
            self._level_since = self.due = NEVER
        elif self._level_since == NEVER:
            self._relax(now)
            self._level_since = now
            self.due = now + max(PREEMPT_DELAY, self.length)

    def tick(self, now: Instant) -> bool:
        """True if the wait is over."""
        if self.due > now:
            return False
        self.due = NEVER
        return True

    @property
    def patience(self) -> Patience:
        if self._level_since != NEVER and self.due == NEVER:
            return Patience.NONE
        return Patience.HOLD_DOWN if self.length else Patience.DELAY

    def _relax(self, now: Instant) -> None:
        if self.length and now - self._unrest_at >= max(WINDOW, 2 * self.length):
            self.length = 0
