"""The state gate's question: is everything that this node can have of a group's flows in its kernel?

An Ask first drains the peer, if it may still be there: FLUSH, answered with a position after the peer has read all its
kernel's news. Then what was received is written, to the last record, and Ready says whether anything is known to be
missing. A peer that falls silent is not waited for: what it sent is taken, holes left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

from understudy.core.replication.effects import Ready
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant

FLUSH_AGAIN: Duration = 20 * MILLISECOND
SILENT: Duration = 250 * MILLISECOND
"""Two beacons of an original at rest, and a half: the peer's replicator is gone, or cannot be reached."""
_FORGET: Duration = 60 * SECOND


@dataclass(slots=True)
class _Ask:
    name: GroupName
    token: int
    at: Instant
    required: bool
    """The peer is said to be alive: without its last words the answer is no."""
    flush: int
    """Names the FLUSH; 0: none (any more)."""
    flush_at: Instant
    position: int = 0
    drained: bool = False
    told: bool | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the gate must know of the replica."""

    heard: Instant | None
    written: int
    settled: bool
    """Nothing is queued or outstanding."""
    behind: int
    """Payloads that are known to be on their way: announced by the peer, or followed by others."""
    judge: Callable[[int], tuple[bool, str]]
    """Of a group: complete, and why not."""
    originated: int
    """Groups of which the peer is the original, as a mask."""


class Gate:
    """The open questions, one a group.

    A peer that was heard within `fresh` lives, and is asked for its last words even if nobody said that it would
    answer. To ask one that is dead costs time, so this is less than the time after which a dead one is taken over from.
    """

    def __init__(self, fresh: Duration) -> None:
        self._fresh = fresh
        self._asks: dict[int, _Ask] = {}
        self._flushes = 0

    def ask(self, now: Instant, group: int, name: GroupName, token: int, drain: bool, heard: Instant | None) -> None:
        """A new question takes the place of an older one about the group."""
        fresh = heard is not None and now - heard <= self._fresh
        self._flushes += 1
        flush = self._flushes if drain or fresh else 0
        self._asks[group] = _Ask(name, token, now, drain, flush, now)

    @property
    def asked(self) -> bool:
        """Whether any question is open."""
        return bool(self._asks)

    def drop(self, group: int) -> None:
        self._asks.pop(group, None)

    def flushed(self, token: int, position: int) -> None:
        """The peer's last words stand at this position."""
        for ask in self._asks.values():
            if ask.flush and ask.flush == token:
                ask.flush, ask.position, ask.drained = 0, position, True

    def restarted(self, now: Instant) -> None:
        """The peer's stream is a new one: positions of the old are void."""
        for ask in self._asks.values():
            if ask.drained:
                self._flushes += 1
                ask.flush, ask.flush_at, ask.position, ask.drained = self._flushes, now, 0, False

    def gave_up(self, now: Instant, standing: Standing) -> bool:
        """Give up what a silent peer cannot bring any more. True: holes in what it sent are to be left out."""
        hopeless = False
        for ask in self._asks.values():
            if ask.told is not None or not _silent(now, ask, standing):
                continue
            if ask.flush:
                ask.flush = 0
            if ask.position > standing.written and standing.settled:
                ask.position, ask.drained = 0, False
            hopeless = hopeless or not ask.drained
        return hopeless

    def flushes(self, now: Instant) -> list[int]:
        """Tokens of the FLUSHes to send."""
        due = []
        for ask in self._asks.values():
            if ask.flush and now >= ask.flush_at:
                ask.flush_at = Instant(now + FLUSH_AGAIN)
                due.append(ask.flush)
        return due

    def answers(self, now: Instant, standing: Standing) -> list[Ready]:
        ready = []
        for group, ask in list(self._asks.items()):
            if now - ask.at > _FORGET:
                del self._asks[group]
                continue
            if ask.flush or ask.position > standing.written or not standing.settled:
                continue
            complete, detail = standing.judge(group)
            silent = standing.heard is None or now - standing.heard > SILENT
            behind = 0 if ask.drained else standing.behind
            if behind and not silent and now - ask.at <= SILENT:
                continue  # they come, or it is silent
            if complete and ask.required and not ask.drained:
                complete, detail = False, "the peer's replicator did not answer: what it had not sent is not here"
            elif complete and behind:
                complete, detail = False, f"the last {behind} payloads of the peer never arrived"
            if ask.told is None or (complete and not ask.told):
                waiting = complete or (not silent and bool(standing.originated >> group & 1))
                ask.told = complete
                ready.append(Ready(ask.name, ask.token, complete, detail, waiting))
        return ready

    def next_deadline(self, standing: Standing) -> Instant | None:
        times = []
        for ask in self._asks.values():
            if ask.flush:
                times.append(ask.flush_at)
            if ask.told is None:
                times.append(Instant(max(standing.heard or 0, ask.at if ask.flush else 0) + SILENT + 1))
                if standing.behind:
                    times.append(Instant(ask.at + SILENT + 1))
            times.append(Instant(ask.at + _FORGET + 1))
        return min(times, default=None)


def _silent(now: Instant, ask: _Ask, standing: Standing) -> bool:
    heard = standing.heard
    quiet = heard is None or now - heard > SILENT
    return quiet and (not ask.flush or now - ask.at > SILENT or (heard is None and not ask.required))
