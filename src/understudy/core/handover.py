"""A hand-over as one node sees it: who offers, who takes, and how long each waits for the other.

    old Active   OFFERING ............................ is quiet, stands down, lingers
    successor              TAKING ... answers, TAKEN ................................... NONE

Every phase but TAKING (a promotion, which has deadlines of its own) ends by itself. An offer is named by a token, so
that the two nodes never speak of different ones; a node that is to serve asks with REQUESTING to be offered the group.

It is a transaction: the successor makes itself ready (the gate, the addresses), and only its word TAKEN commits it. A
successor that gives up says so by leaving TAKING, or falls silent; the old Active, which has never stopped serving,
goes on (`follow`, `fail`).

Guarantees:
 1. Nothing is sent from the virtual MAC by the old Active once the successor has been heard (`yields_port`), or the
    switch's port would turn back to it.
 2. The old Active says that it stopped once its kernel has confirmed that it is quiet, or after `QUIET_MAX`: what the
    successor announces then, no answer of the old kernel undoes.
 3. Nothing is offered before the hands have answered a moment ago (`said`): hands that hang could not stop answering.
"""

from understudy.core.effects import Effect, Quieten, Step
from understudy.core.gate import allowance
from understudy.core.peer import PeerView, Standing
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, SECOND, Duration, Instant
from understudy.wire.heartbeat import GroupState, Phase, Role

OFFER_DEADLINE: Duration = 500 * MILLISECOND
OFFER_BACKOFF: Duration = SECOND
OVERLAP_MAX: Duration = SECOND
PREEMPT_DELAY: Duration = SECOND
QUIET_MAX: Duration = 50 * MILLISECOND
"""A kernel that does not confirm its quiet holds the hand-over up no longer: its lease is about to be revoked."""


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
        self.urgent = False
        """Our offer cannot wait for the state of the flows."""
        self._offered: int | None = None
        """Token of our latest offer since we became Active."""
        self._order = 0
        """Token of our latest order to be quiet, or not to be."""
        self._hands_answer = False
        """Since the offer was thought of."""
        self._quiet = False
        """Confirmed by the kernel."""
        self.committed = False
        """The successor's word came; only our kernel's quiet is waited for."""
        self._taking = False
        """The peer makes itself ready under that token."""
        self._refused: int | None = None
        """Token of the peer's offer that we could not take: it is not tried twice."""
        self._successor_heard = False
        self._settings = settings
        self._node = node
        self._peer = peer
        self._standing = standing

    # --- the old Active

    def offer(self, now: Instant, cause: str, out: list[Effect], *, urgent: bool = False) -> None:
        token = self._offered = (self.token + 1) & 0xFFFF | self._node.number << 16
        self.cause = cause
        self.urgent = urgent
        self._successor_heard = self._taking = self._hands_answer = self._quiet = self.committed = False
        self._enter(Phase.OFFERING, now + OFFER_DEADLINE, target=self._peer.number, token=token)
        self._order_quiet(False, out)  # as it is already: the answer shows that the hands work
        out.append(Step(self._settings.name, "handover", "offered", cause))

    @property
    def said(self) -> Phase:
        """What the peer is told: an offer that our own hands could not end is none yet."""
        return Phase.NONE if self.phase is Phase.OFFERING and not self._hands_answer else self.phase

    def quietened(self, now: Instant, token: int) -> bool:
        """The kernel carried out an order to be quiet, or not to be. True if the hand-over waited for it."""
        if token != self._order or self.phase is not Phase.OFFERING:
            return False
        if not self._hands_answer:
            self._hands_answer = True
            self.until = now + OFFER_DEADLINE
            self._standing.news = True
            return False
        self._quiet = True
        return self.committed

    def commit(self, now: Instant, out: list[Effect]) -> bool:
        """The successor serves by our offer. True if our kernel is quiet, so that we may stand down."""
        if self.phase is not Phase.OFFERING:  # we had given up waiting
            self._successor_heard = self._quiet = self.committed = False
            self._hands_answer = True
            self._enter(Phase.OFFERING, now + QUIET_MAX, target=self._peer.number, token=self._offered)
        if self._quiet:
            return True
        self.hear_successor(out)
        if not self.committed:
            self.committed = True
            self.until = now + QUIET_MAX
        return False

    def may_offer(self, now: Instant) -> bool:
        return not now < self.retry_at < NEVER

    def hear_successor(self, out: list[Effect]) -> None:
        """An advertisement arrived; while we offer it can only be the successor's."""
        if self.said is Phase.OFFERING and not self._successor_heard:
            self._successor_heard = True
            self._order_quiet(True, out)

    @property
    def yields_port(self) -> bool:
        """The successor was heard: a frame of ours from the virtual MAC would turn the switch's port back to us."""
        return self._successor_heard and self.phase is Phase.OFFERING

    def follow(self, now: Instant, theirs: GroupState) -> bool:
        """The peer's word while we offer. It may take as long as its gate; true if it has given up."""
        if self.phase is not Phase.OFFERING or theirs.token != self._offered:
            return False
        if theirs.phase is Phase.TAKING and not self._taking and not self.committed:
            self._taking = True
            self.until = now + OFFER_DEADLINE + allowance(self._settings, self._node)
        declined = theirs.phase not in (Phase.TAKING, Phase.TAKEN) and theirs.role is Role.BACKUP
        return self._taking and declined and not self._successor_heard

    def fail(self, now: Instant, out: list[Effect], why: str = "did not take it in time") -> None:
        """Nobody took what was offered: go on, and offer again later."""
        self.end()
        if self._successor_heard:
            self._successor_heard = False
            self._order_quiet(False, out)
        self.retry_at = now + OFFER_BACKOFF
        out.append(Step(self._settings.name, "handover", "failed", f"{self._peer.name} {why}"))

    def taken_by(self, theirs: GroupState) -> bool:
        """Whether the peer serves by our offer, also if we had given up waiting."""
        return theirs.phase is Phase.TAKEN and theirs.token == self._offered

    # --- the successor

    def offered_by(self, theirs: GroupState) -> bool:
        mine = theirs.phase is Phase.OFFERING and theirs.target == self._node.number
        return mine and theirs.token != self._refused

    def refuse(self) -> None:
        """The offer at hand cannot be taken; another one may be."""
        self._refused = self.token

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

    def _order_quiet(self, on: bool, out: list[Effect]) -> None:
        self._order += 1
        out.append(Quieten(self._settings.name, on, self._order))

    def _enter(self, phase: Phase, until: int, *, target: int = 0, token: int | None = None) -> None:
        if phase is not self.phase or target != self.target:
            self.phase = phase
            self.target = target
            self._standing.news = True
        self.until = until
        if token is not None:
            self.token = token
