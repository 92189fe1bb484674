"""Gratuitous ARP and unsolicited neighbour advertisements: the first at promotion, then repeats that grow rarer."""

from understudy.core.effects import Announce, Effect
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant

ANNOUNCE_AFTER: tuple[Duration, ...] = (50 * MILLISECOND, 500 * MILLISECOND, 2 * SECOND, 5 * SECOND)
"""Repeats of the announcements after the first, which a busy neighbour or switch may have missed."""
RECLAIM_AFTER: tuple[Duration, ...] = (5 * MILLISECOND, 12 * MILLISECOND)
"""Announcements of the successor within that time, in case a last answer of the old Active moved a switch's port back.
"""


class Announcements:
    def __init__(self, group: GroupName) -> None:
        self._group = group
        self._moments: list[int] = []
        self._round = 0

    @property
    def due(self) -> int:
        return self._moments[0] if self._moments else NEVER

    def begin(self, now: Instant, out: list[Effect]) -> None:
        """This node has just taken the addresses."""
        self._round = 0
        self._moments = [now + after for after in ANNOUNCE_AFTER]
        out.append(Announce(self._group, 0))

    def reclaim(self, now: Instant, out: list[Effect]) -> None:
        """The old Active is quiet for good: what it sent last is put right."""
        out.append(Announce(self._group, 0))
        self._moments = sorted([*self._moments, *(now + after for after in RECLAIM_AFTER)])

    def once_more(self, out: list[Effect]) -> None:
        """A port is back."""
        out.append(Announce(self._group, len(ANNOUNCE_AFTER)))

    def tick(self, now: Instant, out: list[Effect], *, mute: bool) -> None:
        """Every repeat that is due; those that fall into a time to be mute are left out."""
        while self._moments and self._moments[0] <= now:
            self._moments.pop(0)
            self._round += 1
            if not mute:
                out.append(Announce(self._group, self._round))

    def end(self) -> None:
        self._moments = []
