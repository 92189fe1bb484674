"""What a node wants done: commands, as data, in the order to carry them out. Results come back as events."""

from dataclasses import dataclass

from understudy.units import Address, Duration, GroupName, Instant, NetworkName
from understudy.wire.heartbeat import Lease, Role


@dataclass(frozen=True, slots=True)
class SendVrrp:
    """Send an advertisement from the virtual MAC through the parent port.

    `lease` is what its leaving does to the kernel lease; a farewell (priority 0) refreshes nothing.
    """

    group: GroupName
    router: int
    """Index of the router in the group's settings."""
    network: NetworkName
    frame: bytes
    """The whole Ethernet frame."""
    lease: Lease


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Send to every peer on every shared network."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class RevokeLease:
    """End the kernel lease now: from here on this kernel answers for nothing of the group."""

    group: GroupName


@dataclass(frozen=True, slots=True)
class Quieten:
    """In a hand-over, once the successor is heard: let nothing more leave from the virtual MAC, but go on taking
    frames.

    Otherwise our own kernel's next ARP answer would turn the switch's port back to us. Ends when a role is taken.
    """

    group: GroupName
    on: bool
    token: int = 0
    """Of the answer, Quietened; 0 if nobody waits for it."""


@dataclass(frozen=True, slots=True)
class SetRole:
    """Bring the group's virtual links and addresses up or down. Answered by RoleSet with the same token."""

    group: GroupName
    active: bool
    token: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Gratuitous ARP and unsolicited neighbour advertisements for every address of the group (RFC 9568, 6.4.2)."""

    group: GroupName
    round: int


@dataclass(frozen=True, slots=True)
class AskWitnesses:
    """ARP or neighbour solicitation, from our own address, to see whether anybody is reached on the LAN."""

    network: NetworkName
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class AskAddresses:
    """Does anybody still answer for the group's virtual addresses? Answered by AddressAnswered, or by silence."""

    group: GroupName


@dataclass(frozen=True, slots=True)
class AskFlows:
    """The state gate: write what was received of the group's flows, then say so. Answered by FlowsReady.

    `drain`: the peer is alive; what it has not sent yet is asked for as well, up to its present position. Asked again
    under the same token, it stands in for the question before.
    """

    group: GroupName
    token: int
    drain: bool


@dataclass(frozen=True, slots=True)
class OwnFlows:
    """From here on this kernel is the original of the group's flows, or no longer is: the other is the replica."""

    group: GroupName
    own: bool
    strict: bool | None = False
    """Flows are known or do not exist: nothing is picked up in the middle (`nf_conntrack_tcp_loose` 0). None: as this
    kernel has it, by the word of the core before."""


@dataclass(frozen=True, slots=True)
class SetServers:
    """Point the balancer of all services at these servers."""

    up: frozenset[int]


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the node's store and fsync, before anything that follows."""

    maintenance: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything is handed over: the core may end."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A group changed its role, and why. The record behind the log line, the API, the report and the test."""

    at: Instant
    group: GroupName
    old: Role
    new: Role
    reason: str
    cause: str
    row: str = ""
    """Name of the row that decided it: of the decision's table (core.decision), or of the moves without choice
    (core.forced)."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Another row of the decision's table is in force than before."""

    group: GroupName
    row: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a promotion, a demotion or a hand-over: one line of the causal chain."""

    group: GroupName
    step: str
    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeaseChanged:
    group: GroupName
    lease: Lease
    length: Duration
    reason: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Worth a line in the journal. `kind` is stable."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet that was not believed, counted by reason."""

    reason: str


Effect = (
    SendVrrp
    | SendHeartbeat
    | RevokeLease
    | Quieten
    | SetRole
    | Announce
    | AskWitnesses
    | AskAddresses
    | AskFlows
    | OwnFlows
    | SetServers
    | Persist
    | Finish
    | Moved
    | Decided
    | Step
    | LeaseChanged
    | Noted
    | Dropped
)
