"""A hand-over as one node sees it: who offers, who takes, and how long each waits for the other.

    old Active   OFFERING ............................ stands down, lingers
    successor              TAKING ... answers, TAKEN ......................... NONE

Every phase but TAKING (a promotion, which has deadlines of its own) ends by itself. An offer is named by a token, so
that the two nodes never speak of different ones; a node that is to serve asks with REQUESTING to be offered the group.

Guarantee: nothing is sent from the virtual MAC by the old Active once the successor has been heard (`yields_port`), or
the switch's port would turn back to it.
"""

from understudy.core.effects import Effect, Quieten, Step
from understudy.core.peer import PeerView, Standing
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, SECOND, Duration, Instant
from understudy.wire.heartbeat import GroupState, Phase

OFFER_DEADLINE: Duration = 500 * MILLISECOND
OFFER_BACKOFF: Duration = SECOND
OVERLAP_MAX: Duration = SECOND
PREEMPT_DELAY: Duration = SECOND


class Handover:
    def __init__(self, settings: GroupSettings, node: NodeSettings, peer: PeerView, standing: Standing) -> None:
        self.phase = Phase.NONE
        self.target = 0
        """Number of the node that we offer to, take from or ask."""
        self.token = 0
        self.cause = ""
        """Why the latest offer was made."""
        self.until: int = NEVER
        """When the present phase has lasted too long."""
        self.retry_at: int = NEVER
        """When to offer again after an offer that was not taken."""
        self.yielded = False
        """The operator moved the group away: it is not asked back."""
        self._offered: int | None = None
        """Token of our latest offer since we became Active."""
        self._successor_heard = False
        self._settings = settings
        self._node = node
        self._peer = peer
        self._standing = standing

    # --- the old Active

    def offer(self, now: Instant, cause: str, out: list[Effect]) -> None:
        token = self._offered = (self.token + 1) & 0xFFFF | self._node.number << 16
        self.cause = cause
        self._successor_heard = False
        self._enter(Phase.OFFERING, now + OFFER_DEADLINE, target=self._peer.number, token=token)
        out.append(Step(self._settings.name, "handover", "offered", cause))

    def may_offer(self, now: Instant) -> bool:
        return not now < self.retry_at < NEVER

    def hear_successor(self, out: list[Effect]) -> None:
        """An advertisement arrived; while we offer it can only be the successor's."""
        if self.phase is Phase.OFFERING and not self._successor_heard:
            self._successor_heard = True
            out.append(Quieten(self._settings.name, True))

    @property
    def yields_port(self) -> bool:
        """The successor was heard: a frame of ours from the virtual MAC would turn the switch's port back to us."""
        return self._successor_heard and self.phase is Phase.OFFERING

    def fail(self, now: Instant, out: list[Effect]) -> None:
        """Nobody took what was offered in time: go on, and offer again later."""
        self.end()
        if self._successor_heard:
            self._successor_heard = False
            out.append(Quieten(self._settings.name, False))
        self.retry_at = now + OFFER_BACKOFF
        out.append(Step(self._settings.name, "handover", "failed", f"{self._peer.name} did not take it in time"))

    def taken_by(self, theirs: GroupState) -> bool:
        """Whether the peer serves by our offer, also if we had given up waiting."""
        return theirs.phase is Phase.TAKEN and theirs.token == self._offered

    # --- the successor

    def offered_by(self, theirs: GroupState) -> bool:
        return theirs.phase is Phase.OFFERING and theirs.target == self._node.number

    def offer_stands(self, now: Instant, theirs: GroupState | None, token: int) -> bool:
        """Whether the Active still waits for us, or died while it did."""
        if theirs is None or now - self._peer.heard_at > OFFER_DEADLINE:
            return False
        return self.offered_by(theirs) and theirs.token == token

    def take(self, token: int) -> None:
        self._enter(Phase.TAKING, NEVER, target=self._peer.number, token=token)

    def taken(self, now: Instant, token: int) -> None:
        """We answer; the old Active is to stop."""
        self._enter(Phase.TAKEN, now + OVERLAP_MAX, token=token)

    def request(self, now: Instant, why: str, out: list[Effect]) -> None:
        """Ask to be offered the group."""
        if self.phase is Phase.NONE:
            self._enter(Phase.REQUESTING, now + OFFER_DEADLINE, target=self._peer.number)
            out.append(Step(self._settings.name, "handover", "requested", why))

    # --- both

    def end(self) -> None:
        """No hand-over is under way any more."""
        self._enter(Phase.NONE, NEVER)

    def became(self) -> None:
        """The role has changed: forget what belonged to the one before."""
        self.retry_at = NEVER
        self._offered = None

    def _enter(self, phase: Phase, until: int, *, target: int = 0, token: int | None = None) -> None:
        if phase is not self.phase or target != self.target:
            self.phase = phase
            self.target = target
            self._standing.news = True
        self.until = until
        if token is not None:
            self.token = token
