"""A group's links and addresses in this node's kernel: what was ordered, what was confirmed, and how they are given up.

Guarantee: the kernel ends answering before it takes the addresses down, and only what it has confirmed counts. The
farewell waits for that confirmation, since the peer answers a skew after it; a kernel that confirms nothing answers
until the lease ends, and the farewell waits no longer than that.
"""

from understudy.core.effects import Effect, Quieten, RevokeLease, SetRole
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant

ROLE_DEADLINE: Duration = SECOND
"""The kernel has so long to take a role's links and addresses."""
STOP_MAX: Duration = 2 * SECOND
"""A kernel that does not confirm that the addresses are down holds up the agent's end no longer: the lease is gone."""
LINGER: Duration = 20 * MILLISECOND
"""After a hand-over the old Active, quiet by then, forwards what switches still bring for so long."""


class Holding:
    def __init__(self, group: GroupName) -> None:
        self._group = group
        self._token = 0
        self.up = False
        """The addresses are up or on their way there; until the kernel has confirmed that they are down."""
        self.release_at: int = NEVER
        """After a hand-over: when the kernel gives the addresses up."""
        self.farewell_due = False
        self.farewell_by: int = NEVER
        self._stop_by: int = NEVER

    @property
    def due(self) -> int:
        return min(self.release_at, self.farewell_by, self._stop_by)

    @property
    def idle(self) -> bool:
        """Nothing is held, and nothing is left to be said about it."""
        return not self.up and not self.farewell_due

    def take(self, out: list[Effect]) -> None:
        self.up = True
        self.release_at = NEVER
        self._order(True, out)

    def release(self, out: list[Effect]) -> None:
        """The kernel ends answering, then gives the addresses up."""
        self.release_at = NEVER
        out.append(RevokeLease(self._group))
        self._order(False, out)

    def linger(self, now: Instant, out: list[Effect]) -> None:
        """Nothing leaves from the virtual MAC, but what still comes for it is forwarded; released a moment later."""
        out.append(Quieten(self._group, True))
        self.release_at = now + LINGER

    def answers_order(self, token: int) -> bool:
        """Whether a confirmation belongs to the latest order, not to one that was overtaken."""
        return token == self._token

    def owe_farewell(self, by: int) -> None:
        self.farewell_due, self.farewell_by = True, min(by, NEVER)

    def drop_farewell(self) -> None:
        self.farewell_due, self.farewell_by = False, NEVER

    def stop(self, now: Instant) -> None:
        """The agent ends; it does not wait for the kernel for ever."""
        self._stop_by = now + STOP_MAX

    def tick_stop(self, now: Instant) -> None:
        if self._stop_by <= now:
            self._stop_by = NEVER
            self.up = False
            self.drop_farewell()

    def _order(self, active: bool, out: list[Effect]) -> None:
        self._token += 1
        out.append(SetRole(self._group, active, self._token))
