"""What a row of the group's decision is: as data, so that it can be printed, enumerated and counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from understudy.core.handover import OFFER_DEADLINE
from understudy.core.promotion import ask_window
from understudy.core.situation import View
from understudy.units import Duration
from understudy.wire.heartbeat import Role


class Action(Enum):
    STAY = "stay"
    TAKE_OVER = "take over"
    OFFER = "offer to the peer"
    STAND_DOWN = "stand down"
    REQUEST = "request from the peer"


class Who(Enum):
    """Of the two nodes, seen from the one that decides."""

    THIS = "this node"
    PEER = "the peer"
    EITHER = "whichever is Active"
    BOTH = "both"
    NOBODY = "nobody"
    LEASE = "the old Active's kernel, until its lease ends"


@dataclass(frozen=True, slots=True)
class Bound:
    """From the cause to the end: so many advertisement intervals and skews of the standby, and a fixed time."""

    intervals: int = 0
    skews: int = 0
    questions: bool = False
    """And the questions of the fence, if nobody answers them."""
    fixed: Duration = 0

    def nanoseconds(self, advertise: Duration, skew: Duration) -> Duration:
        questions = ask_window(advertise) if self.questions else 0
        return self.intervals * advertise + self.skews * skew + questions + self.fixed

    def __str__(self) -> str:
        parts = [f"{self.intervals} intervals"] if self.intervals else []
        parts += ["skew"] if self.skews else []
        parts += ["the questions"] if self.questions else []
        parts += [f"{self.fixed / 1e6:g} ms"] if self.fixed else []
        return " + ".join(parts) or "at once"


AT_ONCE = Bound()
DETECTION = Bound(intervals=3, skews=1)
"""Active_Down_Interval (RFC 9568, section 6.1), which covers whatever of it has passed already."""
HAND_OVER = Bound(fixed=OFFER_DEADLINE)
"""An offer is taken within milliseconds, or withdrawn by then."""

Condition = object
"""A value of a field of the situation."""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    """Stable: journals, drills and tests refer to it."""
    role: Role
    action: Action
    sentence: str
    korean: str
    wants: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)
    """Fields of the situation, each with the values that match; what is not named does not matter."""
    holds: Who = Who.THIS
    """Who holds the group in the end."""
    bound: Bound = AT_ONCE
    answers: Who = Who.THIS
    """Who answers for its addresses until then."""
    reason: str = ""
    """A few words for the record when the action changes the role."""
    lab: tuple[str, ...] = ()
    """Faults of the drill that can make it, some only with another file; none where the simulator or a command must."""

    def matches(self, view: View) -> bool:
        if self.role is not view.role:
            return False
        return all(getattr(view, name) in values for name, values in self.wants.items())
