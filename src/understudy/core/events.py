"""What happens to a node: past tense, as data. The edge and the simulator make these; `core.node.Node` handles them."""

from dataclasses import dataclass

from understudy.units import Address, Family, GroupName, NetworkName
from understudy.wire.frame import Packet


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time has passed."""


@dataclass(frozen=True, slots=True)
class Started:
    """The node's core begins.

    `held` are the groups whose lease was found alive and whose addresses were found up in this kernel:
    a core before us served them a moment ago, and we go on where it stopped.
    """

    held: frozenset[GroupName] = frozenset()


@dataclass(frozen=True, slots=True)
class VrrpReceived:
    """A protocol 112 packet on a LAN: taken out of its frame, not yet judged."""

    network: NetworkName
    packet: Packet


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A heartbeat that the channel authenticated as `node`'s, on one of the shared networks."""

    network: NetworkName
    node: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CarrierChanged:
    network: NetworkName
    up: bool


@dataclass(frozen=True, slots=True)
class LocalAddressLearned:
    """Our own source address on a LAN, which ties compare (for IPv6 the link-local one)."""

    network: NetworkName
    family: Family
    address: Address


@dataclass(frozen=True, slots=True)
class WitnessAnswered:
    """Somebody whom we asked on a LAN answered."""

    network: NetworkName
    address: Address


@dataclass(frozen=True, slots=True)
class WitnessesLearned:
    """The kernel's neighbours on a LAN, as candidates to ask when the peer falls silent there."""

    network: NetworkName
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class AddressAnswered:
    """Somebody else answered for a virtual address of a group that we asked about."""

    group: GroupName
    address: Address


@dataclass(frozen=True, slots=True)
class RoleSet:
    """The kernel now has (or has failed to take) the links and addresses of a role."""

    group: GroupName
    active: bool
    token: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Quietened:
    """The kernel keeps a group quiet, or no longer does: Quieten of this token was carried out."""

    group: GroupName
    token: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class FlowsReady:
    """The answer to AskFlows: what this kernel holds of the group's replicated flows."""

    group: GroupName
    token: int
    complete: bool
    """Everything that was received is in this kernel, and nothing is known to be missing."""
    detail: str = ""
    final: bool = False
    """Not complete, and waiting would not help: what is missing is on a node whose replicator is not heard."""
    mute: bool = False
    """Said in the stead of this node's own replicator, which says nothing: no peer can help."""


@dataclass(frozen=True, slots=True)
class SyncChanged:
    """This node's replica of a group's flows became complete, or ceased to be."""

    group: GroupName
    complete: bool
    detail: str = ""
    elsewhere: bool = False
    """Another node was the original since this node last was: the replicator may have heard what this core did not."""


@dataclass(frozen=True, slots=True)
class KernelRepaired:
    """Something of ours in this kernel had been changed by others, and is as it should be again."""


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """One health check of one server ended."""

    binding: int
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SwitchoverCommanded:
    """The operator wants the other node to serve; with `force` also without the state of the flows."""

    group: GroupName
    force: bool = False


@dataclass(frozen=True, slots=True)
class GateWaived:
    """The operator wants this node to serve, whatever is missing of the flows' state: for the next promotion."""

    group: GroupName


@dataclass(frozen=True, slots=True)
class MaintenanceCommanded:
    on: bool
    force: bool = False
    """Hand over also to a node that lacks the state of the flows."""


@dataclass(frozen=True, slots=True)
class StopCommanded:
    """The agent was asked to end: hand over what is held, then say goodbye."""


Event = (
    Tick
    | Started
    | VrrpReceived
    | HeartbeatReceived
    | CarrierChanged
    | LocalAddressLearned
    | WitnessAnswered
    | WitnessesLearned
    | AddressAnswered
    | RoleSet
    | Quietened
    | FlowsReady
    | SyncChanged
    | KernelRepaired
    | CheckFinished
    | SwitchoverCommanded
    | GateWaived
    | MaintenanceCommanded
    | StopCommanded
)
