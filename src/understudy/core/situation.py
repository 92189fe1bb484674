"""What the group's decision looks at: a situation of a few small values, so that all of them can be enumerated.

core.evidence makes one from what is heard; core.decision names, row by row, the values that matter.
"""

from dataclasses import dataclass
from enum import Enum

from understudy.wire.heartbeat import Role


class PeerIs(Enum):
    """What the channel says of the other node."""

    GONE = "gone"
    """No heartbeat on any path for almost three intervals, or never one."""
    RESTING = "resting"
    """Not Active, and not to be offered the group: maintenance, stopping, silent for more than an interval, or deaf to
    an offer."""
    READY = "ready"
    """Standing by: it could take over now."""
    UNSYNCED = "unsynced"
    """Ready but for the flows: of their state, which this node holds, it lacks some."""
    ASKING = "asking"
    """Ready, of the higher priority, and asks for the group."""
    ACTIVE = "active"
    RIVAL = "rival"
    """Active as this node is, and no hand-over explains it."""
    DEAF_RIVAL = "deaf rival"
    """The rival has gone on for four intervals in which it would have stood down had it heard this node."""


class Reaches(Enum):
    """How many of the group's LANs this node reaches, and how well, beside the peer."""

    LESS = "less"
    AS_MUCH = "as much"
    MORE = "more"

    @classmethod
    def compared(cls, mine: int, theirs: int) -> "Reaches":
        if mine == theirs:
            return cls.AS_MUCH
        return cls.MORE if mine > theirs else cls.LESS


class Patience(Enum):
    """What keeps a Backup of the higher priority from asking for the group at once."""

    NONE = "none"
    DELAY = "delay"
    """It has not reached as much as the Active for a second yet."""
    HOLD_DOWN = "hold-down"
    """Its role has changed too often lately (core.holddown)."""
    STATE = "state"
    """It does not hold the state of the group's flows yet (core.gate)."""


@dataclass(frozen=True, slots=True)
class View:
    """All that the decision looks at."""

    role: Role
    eligible: bool
    """Not in maintenance, not stopping, not held down after a failure."""
    port_up: bool
    """At least one port of the group has carrier."""
    silent: bool
    """The Active_Down_Timer of every router whose port is up has fired, or the Active said that it stood down."""
    peer: PeerIs
    reaches: Reaches = Reaches.AS_MUCH
    settled: bool = True
    """That the peer reaches more is our own loss and not the peer's too, or has lasted for two intervals: no passing
    difference after a LAN came back, which one node notices before the other."""
    ranks_first: bool = True
    """This node has the higher priority."""
    preempts: bool = False
    """Preemption is configured, this node's priority is higher, and the operator did not move the group away."""
    patience: Patience = Patience.NONE
    doubt: bool = False
    """Another kernel may still answer: by a lease that may be alive, because lately an Active was given up that lived,
    or because somebody forges advertisements."""
    urgent: bool = False
    """This node is about to end, or an operator insists: its rest does not wait for the state of the flows."""
