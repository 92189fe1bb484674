"""Becoming Active: the steps of a promotion (core.promotion), done one after another over the parts of the group.

A step is done at once, or waits: for an answer on the LANs (the fence), for the replicator (the gate), or for the
kernel (the addresses). What is waited for arrives here and carries the promotion on. Methods that may carry it to its
end return whether they did: the group then looks at the situation anew, since what changed meanwhile had to wait.

Whoever waited looks whether it is still wanted: `row` is what the decision's table says by then, and a failover that
the table no longer asks for is cancelled.

Guarantee: a kernel call that fails, or an answer that does not come, gives up the role rather than pretending.
"""

from typing import assert_never

from understudy.core.effects import Effect, Noted, Step
from understudy.core.gate import Passage
from understudy.core.holding import ROLE_DEADLINE
from understudy.core.parts import Parts
from understudy.core.rows import Action, Row
from understudy.core.tenure import Leaving, Tenure
from understudy.core.timers import NEVER
from understudy.units import Instant
from understudy.wire.heartbeat import Role


class Takeover:
    """Of one group."""

    def __init__(self, parts: Parts, tenure: Tenure) -> None:
        self._name = parts.settings.name
        self._parts = parts
        self._tenure = tenure
        self._promotion = parts.promotion

    def begin(self, now: Instant, row: str, reason: str, cause: str, token: int, out: list[Effect]) -> None:
        """`token` is the offer's in a hand-over, 0 in a failover; `row` names the decision."""
        holding = self._parts.holding
        if holding.release_at != NEVER:
            holding.release(out)  # what lingers of the last time must not answer before we advertise again
        self._promotion.begin(row, reason, cause, token)
        out.append(Step(self._name, "promotion", "started", cause))
        self._advance(now, out)

    def cancel(self, out: list[Effect], why: str) -> None:
        """Before this node was Active."""
        holding = self._parts.holding
        self._promotion.end()
        self._parts.gate.leave()
        self._parts.handover.end()
        out.append(Step(self._name, "promotion", "cancelled", why))
        if holding.up:
            holding.release(out)

    def fail(self, now: Instant, error: str, out: list[Effect]) -> None:
        """Give the role up rather than pretend."""
        self._parts.rest.begin(now)
        out.append(Step(self._name, "promotion", "failed", error))
        if self._tenure.role is Role.ACTIVE:
            self._tenure.give_up(now, "promotion-failed", "promotion failed", error, out, Leaving.FAREWELL)
        else:
            self.cancel(out, error)

    # --- what a step waited for

    def overdue(self, now: Instant, row: Row, out: list[Effect]) -> bool:
        """The step at hand is due."""
        promotion = self._promotion
        if promotion.at_gate:
            return self.gate_said(now, self._parts.gate.tick(now, out), row, out)
        if promotion.step != "fence":
            self.fail(now, "the kernel did not answer in time", out)
        elif row.action is not Action.TAKE_OVER:
            self.cancel(out, row.sentence)
        elif not promotion.fence_holds(now, out):
            out.append(Step(self._name, "fence", "done", "nobody answers for the addresses"))
            promotion.step_done()
            return self._advance(now, out)
        return False

    def gate_said(self, now: Instant, passage: Passage, row: Row, out: list[Effect]) -> bool:
        """Some time after the promotion came to the gate: somebody else may serve by now."""
        passes = passage in (Passage.OPEN, Passage.WAIVED)
        if passes and not self._promotion.token and row.action is not Action.TAKE_OVER:
            self.cancel(out, row.sentence)
            return False
        if self._pass_gate(now, passage, out):
            self._promotion.step_done()
            return self._advance(now, out)
        return False

    def peer_lost(self, now: Instant, out: list[Effect]) -> None:
        """At the gate: nobody serves any more. A hand-over gives way to a take-over, which waits for less."""
        if self._promotion.token:
            self.cancel(out, f"{self._parts.peer.name} fell silent while it handed over")
        else:
            self._parts.gate.peer_lost(now, out)
            self._promotion.due = self._parts.gate.due

    def addresses_up(self, now: Instant, out: list[Effect]) -> bool:
        """The kernel has taken the addresses."""
        if self._promotion.step != "addresses":
            return False
        out.append(Step(self._name, "addresses", "done"))
        self._promotion.step_done()
        return self._advance(now, out)

    # --- the steps

    def _advance(self, now: Instant, out: list[Effect]) -> bool:
        """Carry on with the promotion until a step has to wait. True if it has come to its end."""
        promotion = self._promotion
        while promotion.under_way:
            if not self._begin_step(now, out):
                return False
            promotion.step_done()
        if promotion.token:
            self._parts.handover.taken(now, promotion.token)
        return True

    def _begin_step(self, now: Instant, out: list[Effect]) -> bool:
        """True if the step is done at once."""
        name, parts, promotion = self._name, self._parts, self._promotion
        match promotion.step:
            case "fence":
                if promotion.row == "takes-over-asking":
                    out.append(Step(name, "fence", "started", "another kernel may still answer: ask"))
                    promotion.ask(now, out)
                    return False
                out.append(Step(name, "fence", "done", "nobody else's kernel can still answer"))
            case "gate":
                passage = parts.gate.begin(now, handover=bool(promotion.token), urgent=self._offer_is_urgent(), out=out)
                return self._pass_gate(now, passage, out)
            case "advertise":
                token = promotion.token
                if token and not parts.handover.offer_stands(now, parts.evidence.theirs, token):
                    self.cancel(out, "the offer was withdrawn")
                    return False
                self._tenure.take_up(now, promotion.row, promotion.reason, promotion.cause, out)
                out.append(Step(name, "advertise", "done"))
            case "drain":
                passage = parts.gate.begin_again(now, urgent=self._offer_is_urgent(), out=out)
                return self._pass_gate(now, passage, out)
            case "addresses":
                out.append(Step(name, "addresses", "started"))
                parts.holding.take(out)
                promotion.due = now + ROLE_DEADLINE
                return False
            case "announce":
                parts.announcements.begin(now, out)
                out.append(Step(name, "announce", "done"))
        return True

    def _pass_gate(self, now: Instant, passage: Passage, out: list[Effect]) -> bool:
        """Record what the gate says. True if the promotion goes on."""
        name, promotion, gate = self._name, self._promotion, self._parts.gate
        step, why = promotion.step, gate.why
        match passage:
            case Passage.OPEN:
                out.append(Step(name, step, "done", why))
                return True
            case Passage.WAIVED:
                out.append(Step(name, step, "waived", why))
                out.append(Noted("gate-waived", name, why))
                return True
            case Passage.WAITS:
                if promotion.due == NEVER:
                    out.append(Step(name, step, "started", "what was received is written"))
                promotion.due = gate.due
            case Passage.REFUSED:
                out.append(Step(name, step, "failed", why))
                out.append(Noted("gate-refused", name, why))
                if promotion.token:
                    self._parts.handover.refuse()
                    self.cancel(out, why)
                else:
                    self._parts.rest.lacks_state = True
                    self.fail(now, why, out)
            case _:
                assert_never(passage)
        return False

    def _offer_is_urgent(self) -> bool:
        theirs = self._parts.evidence.theirs
        return theirs is not None and theirs.urgent
