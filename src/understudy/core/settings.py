"""What the machines of one node are told: resolved values, no defaults left open.

`config.plan` makes these from the file; the agent, the simulator and the tests give them to `core.node.Node`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from understudy.units import (
    SECOND,
    Address,
    Duration,
    Family,
    GroupName,
    Instant,
    NetworkName,
    NodeName,
    Priority,
    ServiceName,
    Vrid,
)
from understudy.wire.marks import BINDING_SHIFT, GROUP_MASK, GROUP_SHIFT


class Keeping(IntEnum):
    """How a flow is kept in the other node's kernel: `state:` in the file. Greater is more."""

    NONE = 0
    """Not at all: it ends with its gateway, or is picked up."""
    COPY = 1
    """Its present state is written there at intervals."""
    REPLICATE = 2
    """Every change is written there as it happens."""


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """Which flows are kept twice, told by their `ct mark` (wire.marks). Equal on all nodes."""

    bindings: Mapping[int, Keeping] = field(default_factory=dict)
    """Of balanced flows, by binding; what is missing is not kept."""
    groups: Mapping[int, Keeping] = field(default_factory=dict)
    """By group number, for its flows without a binding: the gateway's own NAT and what is merely routed."""
    copy_every: Duration = 10 * SECOND
    """Between two copies."""
    before: "FlowSettings | None" = field(default=None, compare=False)
    """Of the file before. What it kept in another way is not ended for want of an original until `before_until`: the
    original's node may have that file still, and keep it that way."""
    before_until: Instant = field(default=Instant(0), compare=False)

    def spares(self, mark: int, now: Instant) -> bool:
        """Whether a copy that the original's node does not tell of is let live for the moment."""
        if self.before is None or now >= self.before_until:
            return False
        return self.before.keeping(mark) not in (Keeping.NONE, self.keeping(mark))

    @property
    def kept(self) -> bool:
        """Whether any flow is."""
        return any(self.bindings.values()) or any(self.groups.values())

    @property
    def copied(self) -> bool:
        """Whether any flow is copied now and then; of which groups is not known here."""
        return any(keeping is Keeping.COPY for keeping in [*self.bindings.values(), *self.groups.values()])

    def keeping(self, mark: int) -> Keeping:
        """Of the flow with this mark. Flows of no group are the node's own, and never kept."""
        group = (mark & GROUP_MASK) >> GROUP_SHIFT
        if not group:
            return Keeping.NONE
        binding = mark >> BINDING_SHIFT
        return self.bindings.get(binding, Keeping.NONE) if binding else self.groups.get(group, Keeping.NONE)


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """One virtual router: one VRID on one LAN for one address family (RFC 9568, section 6.1)."""

    network: NetworkName
    family: Family
    vrid: Vrid
    priority: Priority
    addresses: tuple[Address, ...]
    """In the order in which they are advertised. For IPv6 the first is the virtual link-local address (section 5.2.9).
    """
    advertisement_interval_cs: int
    """Centiseconds, 1-4095."""
    preempt_mode: bool = True
    accept_mode: bool = True
    version: int = 3
    """3, or 2 for migration (RFC 3768)."""
    pseudo_header: bool = False
    """Whether our checksums over IPv4 cover one: RFC 5798 as keepalived 2.2 and FRR 8.4 read it."""
    virtual_mac: bool = True
    """False: addresses sit on the port itself and answer with its MAC."""
    unicast: tuple[Address, ...] = ()
    """The other nodes' own addresses, if advertisements go there; empty: to the VRRP multicast group."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Addresses that move together, on one or more LANs."""

    name: GroupName
    number: int
    """1-15: stands for the group in the kernel (`ct mark`, lease) and on the channel."""
    advertise: Duration
    preempt: bool
    routers: tuple[RouterSettings, ...]
    """This node's view: each router carries this node's priority."""
    peers: tuple[NodeName, ...]
    """The other nodes of the group."""
    peer_priority: Mapping[NodeName, Priority]
    plain: bool = False
    """The other node runs another implementation of VRRP: there is no channel, and each router elects by the RFC."""
    stateful: bool = False
    """Some of its flows are replicated: the gate asks for them before the addresses answer."""
    require_sync: bool = False
    """The gate is never waived: without the state this node does not serve, unless an operator says so."""
    gate_deadline: Duration = 2 * SECOND
    """After which a gate that may be waived is."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Another node of the cluster that we share a group with."""

    name: NodeName
    number: int
    """1-255, the position in the file: stands for the node on the channel."""
    paths: Mapping[NetworkName, Address]
    """Its address on every network that we share with it."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One server of one service, as its checks judge it."""

    binding: int
    """18 bits of `ct mark`: names the pair (service, server)."""
    service: ServiceName
    name: str
    rise: int
    fall: int


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything that decides on one node."""

    name: NodeName
    number: int
    config_digest: bytes
    """16 bytes over what the nodes must agree on; compared in every heartbeat."""
    networks: tuple[NetworkName, ...]
    """Every network of the cluster in the order of the file: a network's position stands for it on the channel."""
    paths: tuple[NetworkName, ...]
    """Networks shared with a peer, in the order of the file: heartbeats leave on all of them."""
    peers: tuple[PeerSettings, ...]
    groups: tuple[GroupSettings, ...]
    servers: tuple[ServerSettings, ...]
    witnesses: Mapping[NetworkName, tuple[Address, ...]]
    """Addresses in the file that can tell whether a LAN is reached when the peer is not heard there."""
    heartbeat: Duration
    """Between two heartbeats: the shortest advertisement interval of the node's groups."""
    jiffy: Duration = 4_000_000
    """The kernel's tick, to which it rounds lease timeouts down."""
    fence: bool = True
    """False in a drill's control without lease: nobody is asked before a take-over."""
    lease_long: Duration = 60 * SECOND
    """Lease of the last node standing (see core.lease)."""
    flows: FlowSettings = FlowSettings()
    gate: bool = True
    """False in a drill's control: addresses do not wait for the state."""
