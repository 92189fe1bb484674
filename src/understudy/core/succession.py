"""The group passes from one node to the other: what the peer's word, or its silence, means for a hand-over under way.

core.handover keeps how far a hand-over has come on this node; here is what follows from it for the role. The old
Active stops once the successor's word has come and this kernel is quiet (`quietened`), goes on when nobody takes what
it offered (`overdue`), and stops without a word where it has heard the successor all the same. The successor begins
a promotion by the offer, and steps back if it answers although the offer was withdrawn.
"""

from understudy.core.effects import Effect, Step
from understudy.core.events import Quietened
from understudy.core.parts import Parts
from understudy.core.takeover import Takeover
from understudy.core.tenure import Leaving, Tenure
from understudy.units import Instant
from understudy.wire.heartbeat import GroupState, Phase, Role


class Succession:
    """Of one group."""

    def __init__(self, parts: Parts, tenure: Tenure, takeover: Takeover) -> None:
        self._row = ""
        """The one that made the latest offer; none if an operator did."""
        self._parts = parts
        self._handover = parts.handover
        self._tenure = tenure
        self._takeover = takeover

    # --- the old Active begins it

    def offer(self, now: Instant, row: str, cause: str, out: list[Effect], *, urgent: bool) -> None:
        self._row = row
        self._handover.offer(now, cause, out, urgent=urgent)

    def switchover(self, now: Instant, out: list[Effect], *, force: bool, unsynced: bool) -> str:
        """An operator wants the peer to serve, with `force` although it is `unsynced`. Returns why not, or nothing."""
        refusal = self._refusal()
        if refusal:
            return refusal
        if unsynced and not force:
            return (
                f"{self._parts.peer.name} does not hold the state of the flows yet, connections would be lost: "
                f"wait until its status says that it does, or force it"
            )
        self._handover.yielded = True
        self.offer(now, "", "the operator asked for a switchover", out, urgent=force)
        return ""

    def _refusal(self) -> str:
        parts, peer, theirs = self._parts, self._parts.peer, self._parts.evidence.theirs
        if self._tenure.role is not Role.ACTIVE:
            return f"{parts.node.name} is not Active for {parts.settings.name}: ask the Active node"
        if self._handover.phase is not Phase.NONE or parts.promotion.under_way:
            return "a promotion or hand-over is under way"
        if not peer.fresh or theirs is None:
            return "no standby is heard over the channel"
        if not peer.ready:
            return f"{peer.name} is in maintenance or stopping"
        if theirs.role is not Role.BACKUP:
            return f"{peer.name} is {theirs.role.name.lower()}, not a standby"
        return ""

    # --- what happens to it

    def follow(self, now: Instant, theirs: GroupState, out: list[Effect]) -> None:
        """The peer said where it stands."""
        parts, handover, active = self._parts, self._handover, self._tenure.role is Role.ACTIVE
        name, peer = parts.settings.name, parts.peer.name
        if handover.offered_by(theirs):
            self._consider(now, theirs, out)
        elif active and handover.follow(now, theirs):
            self._fail(now, "gave it back", out)
        elif active and handover.taken_by(theirs):
            # Also when we had given up waiting: the successor answers already, and two must not.
            if handover.commit(now, out):
                self._complete(now, out)
        elif handover.phase is Phase.TAKEN and theirs.role is not Role.ACTIVE:
            handover.end()
            out.append(Step(name, "handover", "done", f"{peer} stopped answering"))
            if active:
                parts.announcements.reclaim(now, out)
        elif handover.phase is Phase.TAKEN and theirs.phase is Phase.NONE:
            # It gave up waiting although we answer: it does not hear us, and only we can step back.
            cause = f"{peer} withdrew its offer and goes on"
            out.append(Step(name, "handover", "failed", cause))
            self._tenure.give_up(now, "offer-withdrawn", "offer withdrawn", cause, out)

    def quietened(self, now: Instant, event: Quietened, out: list[Effect]) -> None:
        """The kernel carried out an order to be quiet."""
        if not event.error and self._handover.quietened(now, event.token):
            self._complete(now, out)

    def overdue(self, now: Instant, out: list[Effect]) -> bool:
        """Its phase has lasted too long. True if it ended without more ado: the situation is another."""
        if self._handover.phase is Phase.OFFERING:
            self._fail(now, "did not take it in time", out)
            return False
        self._handover.end()
        return True

    # --- below

    def _consider(self, now: Instant, theirs: GroupState, out: list[Effect]) -> None:
        """The peer offers the group."""
        parts = self._parts
        busy = parts.promotion.under_way or self._tenure.role is not Role.BACKUP
        if not busy and not parts.rest.holds(now) and parts.evidence.port_up:
            self._handover.take(theirs.token)
            reason, cause = f"handed over by {parts.peer.name}", "the Active offered the group"
            self._takeover.begin(now, "offer-taken", reason, cause, theirs.token, out)

    def _complete(self, now: Instant, out: list[Effect]) -> None:
        """The successor serves by our offer."""
        row, reason = self._row or "handed-over", f"handed over to {self._parts.peer.name}"
        self._tenure.give_up(now, row, reason, self._handover.cause, out, Leaving.LINGERING)

    def _fail(self, now: Instant, why: str, out: list[Effect]) -> None:
        """Nobody said in time that it took what we offered."""
        handover, peer = self._handover, self._parts.peer.name
        if handover.committed:
            self._complete(now, out)
            return
        taken = handover.yields_port
        handover.fail(now, out, why)
        if taken:
            # It advertises although its word never came: it answers, and cannot hear us say that we do too.
            self._tenure.give_up(now, "successor-heard", f"{peer} serves", "it advertises after our offer", out)
        elif self._parts.standing.stopping:
            self._tenure.give_up(now, "stopped", "stopped", "the agent was asked to end", out, Leaving.FAREWELL)
        else:
            self._tenure.choose_lease(now, out)
