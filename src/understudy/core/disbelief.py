"""Forged advertisements: VRRP authenticates nothing, the channel does, so the channel decides what is believed.

Whoever reaches a LAN can advertise any priority for any VRID (RFC 9568, section 9). Of a peer that is heard over the
channel we know better: whether it is Active, and, while it runs the same configuration, with which priority and
interval it would advertise. An advertisement that contradicts that is somebody else's.

What makes disbelief safe is that a true message is never lost by it, only late:

* A peer that has just become Active advertises a moment before its heartbeat says so, and the heartbeat may be lost for
  an interval. An Active that waits for it goes on for as long; the decision's table then settles who yields. A Backup
  believes the first such advertisement, and the next ones unless a heartbeat that came in between contradicts them.
* A peer that gives up says so over the channel first and then says farewell. A Backup that waits for the channel loses
  an interval, and only if that heartbeat was lost.
* In a hand-over the successor may be heard before its word arrives: an Active that offers believes it, unless somebody
  has been forging lately.
* A peer that is not heard over the channel is judged by RFC 9568 alone, as is every peer of a plain group.

An Active answers advertisements that lose against it, farewells and forgeries at most twice an interval, or a flood of
them would become our own.
"""

from enum import Enum

from understudy.core.peer import PeerView
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.timers import LONG_AGO
from understudy.units import SECOND, Duration, Instant
from understudy.wire.heartbeat import GroupState, Phase, Role
from understudy.wire.vrrp import PRIORITY_RELEASE, Advertisement

SUSPICION: Duration = 10 * SECOND
"""For so long after the last forgery nothing is believed on its word, and the next alarm is not told again."""


class Verdict(Enum):
    BELIEVE = "believe"
    WAIT = "wait"
    """The channel contradicts it, but may only be late."""
    FORGED = "forged"
    """The channel contradicts it, also by what was said since."""
    UNANSWERED = "unanswered"
    """It may be true; an answer was given a moment ago."""


class _Contradiction:
    """One way to contradict the channel, from its first advertisement until none has come for a while."""

    __slots__ = ("_latest", "_since")

    def __init__(self) -> None:
        self._since: int = LONG_AGO
        self._latest: int = LONG_AGO

    def goes_on(self, now: Instant, heard_at: int) -> Verdict:
        if now - self._latest > SUSPICION:
            self._since = now
        self._latest = now
        return Verdict.FORGED if heard_at > self._since else Verdict.WAIT


class Disbelief:
    """Of one group; `judge` is asked before anything else looks at an advertisement."""

    def __init__(self, settings: GroupSettings, node: NodeSettings, peer: PeerView) -> None:
        self._advertise = settings.advertise
        self._digest = node.config_digest
        self._peer = peer
        self._priorities = frozenset((PRIORITY_RELEASE, *settings.peer_priority.values()))
        self._intervals = [router.advertisement_interval_cs for router in settings.routers]
        self._own = [router.priority for router in settings.routers]
        self._applies = bool(settings.peers) and not settings.plain
        self._claim, self._farewell, self._stranger = _Contradiction(), _Contradiction(), _Contradiction()
        self._forged_at: int = LONG_AGO
        self._told_at: int = LONG_AGO
        self._answered_at = [LONG_AGO] * len(settings.routers)

    def judge(
        self,
        now: Instant,
        index: int,
        advertisement: Advertisement,
        role: Role,
        phase: Phase,
        theirs: GroupState | None,
    ) -> Verdict:
        """Of an advertisement that is not our own, for the router `index`."""
        verdict = Verdict.BELIEVE
        if self._applies and theirs is not None and self._peer.fresh:
            verdict = self._compare(now, index, advertisement, role, phase, theirs)
            if verdict is Verdict.FORGED:
                self._forged_at = now
        loses = role is Role.ACTIVE and advertisement.priority < self._own[index]
        if verdict is Verdict.BELIEVE and loses and not self.may_answer(now, index):
            return Verdict.UNANSWERED
        return verdict

    def may_answer(self, now: Instant, index: int) -> bool:
        """Whether an answer beside the regular advertisements is due; counts it as given."""
        if now - self._answered_at[index] < self._advertise // 2:
            return False
        self._answered_at[index] = now
        return True

    def suspects(self, now: Instant) -> bool:
        """Somebody has forged lately."""
        return now - self._forged_at < SUSPICION

    def to_be_told(self, now: Instant) -> bool:
        """Once a while."""
        if now - self._told_at < SUSPICION:
            return False
        self._told_at = now
        return True

    def _compare(
        self,
        now: Instant,
        index: int,
        advertisement: Advertisement,
        role: Role,
        phase: Phase,
        theirs: GroupState,
    ) -> Verdict:
        """With the fresh word of the peer."""
        body, heard_at, priority = self._peer.body, self._peer.heard_at, advertisement.priority
        same_file = body is not None and body.config_digest == self._digest
        if same_file and (advertisement.interval_cs != self._intervals[index] or priority not in self._priorities):
            return self._stranger.goes_on(now, heard_at)
        if priority == PRIORITY_RELEASE:
            if theirs.role is Role.ACTIVE and role is Role.BACKUP:
                # It would make our patience end before the Active's lease.
                return self._farewell.goes_on(now, heard_at)
        elif theirs.role is not Role.ACTIVE:
            if role is Role.ACTIVE and phase is Phase.OFFERING and not self.suspects(now):
                return Verdict.BELIEVE
            verdict = self._claim.goes_on(now, heard_at)
            return verdict if role is Role.ACTIVE or verdict is Verdict.FORGED else Verdict.BELIEVE
        return Verdict.BELIEVE
