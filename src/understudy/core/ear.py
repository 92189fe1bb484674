"""What a group hears on its LANs: whose advertisement it is, whether it is believed, and what follows.

Our own come back through loops. Of the others some are none for us (another version, a stranger), some contradict what
the channel says (core.disbelief). What is left is believed: somebody holds the group, and an Active that is outranked
stands down, unless a hand-over explains it.
"""

from understudy.core.disbelief import Verdict
from understudy.core.effects import Dropped, Effect, Noted
from understudy.core.parts import Parts
from understudy.core.tenure import Tenure
from understudy.core.vrrp import Outranked
from understudy.units import Address, Instant
from understudy.wire.heartbeat import Phase, Role
from understudy.wire.vrrp import Advertisement


class Ear:
    """Of one group; the counterpart of its voice. `index` is the position of a router in the group."""

    def __init__(self, parts: Parts, tenure: Tenure) -> None:
        self._settings = parts.settings
        self._parts = parts
        self._tenure = tenure
        self._voice = parts.voice
        self._routers = parts.routers
        self._handover = parts.handover

    def hear(self, now: Instant, index: int, source: Address, advertisement: Advertisement, out: list[Effect]) -> bool:
        """An advertisement for one of the group's routers arrived. True if it is another node's, and believed."""
        parts, handover, tenure = self._parts, self._handover, self._tenure
        local = self._voice.local[index] or self._settings.routers[index].addresses[0]
        if source == local:
            self._routers.hear(now, index, source, advertisement, out, local=local, mute=True)
            return False
        if self._routers.refuses(now, index, source, advertisement, out):
            return False
        theirs = parts.evidence.theirs
        verdict = parts.disbelief.judge(now, index, advertisement, tenure.role, handover.said, theirs)
        if verdict is not Verdict.BELIEVE:
            self._disbelieve(now, index, source, advertisement, verdict, out)
            return verdict is Verdict.UNANSWERED
        if advertisement.priority:
            if not parts.gate.elsewhere:
                parts.gate.served_elsewhere(handover.phase)
            parts.evidence.somebody_holds()
            handover.hear_successor(out)
        mute = handover.yields_port
        finding = self._routers.hear(now, index, source, advertisement, out, local=local, mute=mute)
        if not isinstance(finding, Outranked) or tenure.role is not Role.ACTIVE:
            return True
        if handover.said in (Phase.NONE, Phase.REQUESTING):
            cause = f"{finding.source} advertises priority {finding.priority}"
            tenure.give_up(now, "outranked-on-a-lan", "outranked", cause, out)
        return True

    def _disbelieve(
        self,
        now: Instant,
        index: int,
        source: Address,
        advertisement: Advertisement,
        verdict: Verdict,
        out: list[Effect],
    ) -> None:
        """Count it and go on. An Active corrects the switch that learned the virtual MAC's port from it."""
        parts = self._parts
        if verdict is Verdict.UNANSWERED:
            out.append(Dropped("vrrp-unanswered"))
            return
        if verdict is Verdict.FORGED:
            out.append(Dropped("vrrp-contradicts-channel"))
            if parts.disbelief.to_be_told(now):
                parts.record.count("contradicts-channel")
                detail = f"{source} advertises priority {advertisement.priority}; {parts.peer.name} does not"
                out.append(Noted("vrrp-contradicts-channel", self._settings.name, detail))
        else:
            out.append(Dropped("vrrp-awaits-channel"))
        # Not in a hand-over: it may be the successor's, ahead of its word, and an answer would turn the port back.
        offering = self._handover.said is Phase.OFFERING
        if self._tenure.role is Role.ACTIVE and not offering and parts.disbelief.may_answer(now, index):
            self._voice.advertise(now, index, self._settings.routers[index].priority, out)
