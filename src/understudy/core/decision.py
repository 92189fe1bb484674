"""Who holds a group's addresses: one table from what is heard to what is done, a sentence a row, the first match wins.

The group as a whole moves. A single silent LAN never splits it; it goes to the node that reaches more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from understudy.wire.heartbeat import Role


class Action(Enum):
    STAY = "stay"
    TAKE_OVER = "take over"
    OFFER = "offer to the peer"
    STAND_DOWN = "stand down"
    REQUEST = "request from the peer"


class PeerIs(Enum):
    """What the channel says of the other node."""

    GONE = "gone"
    """No heartbeat on any path for almost three intervals, or never one."""
    STANDING_BY = "standing by"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class View:
    """All that the decision looks at."""

    role: Role
    eligible: bool
    """Not in maintenance, not stopping, not held down after a failure."""
    port_up: bool
    """At least one port of the group has carrier."""
    silent: bool
    """The Active_Down_Timer of every router whose port is up has fired."""
    peer: PeerIs
    peer_eligible: bool
    reach: int
    peer_reach: int
    settled: bool
    """That the peer reaches more is our own loss, or has lasted for two intervals: no passing difference after a LAN
    came back, which one node notices before the other."""
    preempts: bool
    """Preemption is configured, this node's priority is higher, and the operator did not move the group away."""
    peer_requests: bool
    rival: bool = False
    """Both nodes are Active, and no hand-over explains it."""
    ranks_first: bool = True
    """This node has the higher priority."""
    rival_is_deaf: bool = False
    """The rival has gone on for four intervals in which it would have stood down had it heard this node."""


@dataclass(frozen=True, slots=True)
class Row:
    role: Role
    when: Callable[[View], bool]
    action: Action
    sentence: str
    reason: str = ""
    """A few words for the record when the action changes the role."""


TABLE: tuple[Row, ...] = (
    Row(
        Role.ACTIVE,
        lambda v: not v.port_up and not (v.peer is PeerIs.STANDING_BY and v.peer_eligible and v.peer_reach > v.reach),
        Action.STAND_DOWN,
        "No port of the group has carrier: there is nobody to serve.",
        "no carrier",
    ),
    Row(
        Role.ACTIVE,
        lambda v: v.rival and not v.ranks_first,
        Action.STAND_DOWN,
        "Both nodes hold the group and the peer has the higher priority: stand down.",
        "outranked",
    ),
    Row(
        Role.ACTIVE,
        lambda v: v.rival and v.rival_is_deaf,
        Action.STAND_DOWN,
        "Both nodes hold the group and the peer does not hear this one, though it is heard: only this node can yield.",
        "peer is deaf",
    ),
    Row(
        Role.ACTIVE,
        lambda v: not v.eligible and v.peer is PeerIs.STANDING_BY and v.peer_eligible,
        Action.OFFER,
        "This node is to rest and the peer is ready: hand over.",
    ),
    Row(
        Role.ACTIVE,
        lambda v: v.peer is PeerIs.STANDING_BY and v.peer_eligible and v.peer_reach > v.reach and v.settled,
        Action.OFFER,
        "The peer reaches more of the group's networks: hand over.",
    ),
    Row(
        Role.ACTIVE,
        lambda v: v.peer is PeerIs.STANDING_BY and v.peer_eligible and v.peer_requests and v.peer_reach >= v.reach,
        Action.OFFER,
        "The peer has the higher priority and asks for the group: hand over.",
    ),
    Row(Role.ACTIVE, lambda _: True, Action.STAY, "This node serves and nobody serves better."),
    Row(Role.BACKUP, lambda v: not v.eligible, Action.STAY, "This node rests: it never becomes Active."),
    Row(Role.BACKUP, lambda v: not v.port_up, Action.STAY, "No port of the group has carrier: nothing to serve."),
    Row(
        Role.BACKUP,
        lambda v: not v.silent and v.preempts and v.peer is PeerIs.ACTIVE and v.reach >= v.peer_reach,
        Action.REQUEST,
        "This node has the higher priority and reaches as much: ask the Active to hand over.",
    ),
    Row(Role.BACKUP, lambda v: not v.silent, Action.STAY, "An Active is heard on at least one LAN."),
    Row(
        Role.BACKUP,
        lambda v: v.peer is PeerIs.ACTIVE,
        Action.STAY,
        "The peer says over the channel that it holds the group: only its advertisements are lost here.",
    ),
    Row(
        Role.BACKUP,
        lambda v: v.peer is PeerIs.STANDING_BY and v.peer_eligible and v.peer_reach > v.reach,
        Action.STAY,
        "Nobody serves, but the peer reaches more: it takes over.",
    ),
    Row(Role.BACKUP, lambda _: True, Action.TAKE_OVER, "No Active is heard anywhere: take over.", "no Active is heard"),
    Row(Role.INITIALIZE, lambda _: True, Action.STAY, "Not started yet."),
)


def decide(view: View) -> Row:
    """The first row that matches."""
    for row in TABLE:
        if row.role is view.role and row.when(view):
            return row
    raise AssertionError(f"no row for {view}")
