"""The role that a group has on this node, since when and why, and everything that goes with a change of it.

There are four changes: a core begins as Backup (`start`), or as Active where one before it stopped (`adopt`); a
promotion takes the role (`take_up`, core.takeover); and it is given up (`give_up`), whatever was on its way to it.

Guarantees:
 1. Whoever gives the role up ends answering before anything else, and tells the peer so no sooner than this kernel has
    confirmed it (`released`): until then the lease counts as alive.
 2. Every change says why, and counts for the hold-down (core.holddown).
"""

from enum import Enum

from understudy.core.effects import Effect, Moved, Noted, OwnFlows, Step
from understudy.core.holddown import FALSE_ALARMS
from understudy.core.parts import Parts
from understudy.units import SECOND, Instant
from understudy.wire.heartbeat import Lease, Phase, Role

_BY_SILENCE = frozenset({"takes-over", "takes-over-asking"})
_BY_YIELDING = frozenset({"rival-outranks", "rival-is-deaf", "outranked-on-a-lan"})


class Leaving(Enum):
    """What is special about the end of a role."""

    AT_ONCE = "at once"
    FAREWELL = "farewell"
    """The LANs are told, once this kernel no longer answers."""
    LAPSED = "lapsed"
    """The lease has ended before."""
    LINGERING = "lingering"
    """A successor serves: what still comes for this node is forwarded for a moment."""


class Tenure:
    """Of one group."""

    def __init__(self, parts: Parts) -> None:
        self.role = Role.INITIALIZE
        self.since: int = 0
        self.reason = ""
        self.cause = ""
        self.transitions = 0
        self._row = ""
        """The one that made the present role."""
        self._parts = parts

    # --- the changes

    def start(self, now: Instant, out: list[Effect]) -> None:
        """Begin as Backup."""
        parts = self._parts
        self._move(now, Role.BACKUP, "started", "started", "the agent began", out)
        parts.holding.release(out)
        self._own(False, False, out)
        parts.routers.start(now, out)

    def adopt(self, now: Instant, out: list[Effect]) -> None:
        """Go on as Active: this kernel still answers by our predecessor's lease."""
        parts = self._parts
        self._own(True, None, out)
        parts.voice.set_lease(Lease.SHORT, "adopted", out)
        self._move(now, Role.ACTIVE, "adopted", "adopted", "the kernel still answers under our lease", out)
        parts.routers.adopt(now, out)
        parts.holding.take(out)

    def take_up(self, now: Instant, row: str, reason: str, cause: str, out: list[Effect]) -> None:
        """Be Active, and advertise it."""
        parts = self._parts
        self._own(True, parts.gate.strict, out)
        parts.voice.set_lease(Lease.SHORT, "Active", out)
        parts.handover.yielded = False
        self._move(now, Role.ACTIVE, row, reason, cause, out)
        parts.routers.take_over(now, reason, out)

    def give_up(
        self, now: Instant, row: str, reason: str, cause: str, out: list[Effect], how: Leaving = Leaving.AT_ONCE
    ) -> None:
        """Be Backup. `row`: of the decision's table or of core.forced."""
        parts = self._parts
        holding, voice = parts.holding, parts.voice
        parts.promotion.end()
        parts.gate.leave()
        parts.announcements.end()
        parts.handover.end()
        if how is Leaving.LINGERING:
            holding.linger(now, out)
        else:
            holding.release(out)
        self._own(False, False, out)
        if how is Leaving.LAPSED:
            voice.set_lease(Lease.NONE, "expired", out)
        # Otherwise the lease counts as alive until the kernel confirms (`released`): the peer must not hear it early.
        if how is Leaving.FAREWELL:
            holding.owe_farewell(voice.lapses_at + 2 * parts.node.jiffy)
        else:
            holding.drop_farewell()
        voice.fall_silent()
        parts.routers.stand_down(now, reason, out)
        self._tell_false_alarm(now, row, out)
        self._move(now, Role.BACKUP, row, reason, cause, out)

    # --- after a change

    def released(self, now: Instant, out: list[Effect]) -> None:
        """The kernel has taken the addresses down."""
        if self.role is not Role.ACTIVE:
            self._parts.voice.set_lease(Lease.NONE, "addresses are down", out)
        if self._parts.holding.farewell_due:
            self.say_farewell(now, out)

    def say_farewell(self, now: Instant, out: list[Effect]) -> None:
        """This kernel no longer answers."""
        self._parts.holding.drop_farewell()
        self._parts.voice.say_farewell(now, out)
        out.append(Step(self._parts.settings.name, "farewell", "sent"))

    def choose_lease(self, now: Instant, out: list[Effect]) -> None:
        """The long one is for the last node standing; an Active that reaches nobody stands nowhere (core.lease)."""
        parts = self._parts
        if self.role is not Role.ACTIVE:
            return
        if not parts.evidence.cut_off:
            at_rest = parts.handover.phase is Phase.NONE and not parts.promotion.under_way
            parts.voice.choose_lease(now, self.since, at_rest, out)
        elif parts.voice.lease is Lease.LONG and not parts.handover.yields_port:
            parts.voice.set_lease(Lease.SHORT, "nobody is reached on any LAN", out)
            parts.routers.refresh(now, out)

    # --- below

    def _move(self, now: Instant, role: Role, row: str, reason: str, cause: str, out: list[Effect]) -> None:
        parts = self._parts
        name = parts.settings.name
        out.append(Moved(now, name, self.role, role, reason, cause, row))
        parts.record.moved(row)
        if self.role is not Role.INITIALIZE:
            self.transitions += 1
            if parts.holddown.moved(now):
                length = parts.holddown.length // SECOND
                detail = f"moved too often: it goes where it is better served only after {length} s of quiet"
                out.append(Noted("hold-down", name, detail))
        self.role, self.since, self.reason, self.cause, self._row = role, now, reason, cause, row
        if role is Role.ACTIVE:
            parts.gate.became_active()
        parts.standing.news = True
        parts.evidence.moved()
        parts.handover.became()

    def _tell_false_alarm(self, now: Instant, row: str, out: list[Effect]) -> None:
        """Whoever yields after a take-over had given up an Active that lived."""
        if self._parts.settings.plain:
            return  # A plain peer takes the group by outranking us, and its kernel answers on when it is killed.
        if self._row in _BY_SILENCE and row in _BY_YIELDING and self._parts.holddown.false_alarm(now):
            detail = f"an Active that lived was replaced {FALSE_ALARMS} times: the LANs are asked before the next time"
            out.append(Noted("hold-down", self._parts.settings.name, detail))

    def _own(self, own: bool, strict: bool | None, out: list[Effect]) -> None:
        """Whose kernel is the original of the flows: told where any of them is replicated."""
        if self._parts.settings.stateful:
            out.append(OwnFlows(self._parts.settings.name, own, strict))
