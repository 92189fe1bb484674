"""The file with every default filled in: what each part of Understudy is built from.

A `Plan` is one cluster, the same on every node and in the lab. `Plan.settings(node)` is what that node's machines are
told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from understudy.core.settings import NodeSettings
from understudy.ios.model import Configuration
from understudy.units import (
    SECOND,
    Address,
    Duration,
    Family,
    GroupName,
    Interface,
    NetworkName,
    NodeName,
    Prefix,
    Priority,
    ServiceName,
    Vrid,
)


@dataclass(frozen=True, slots=True)
class Network:
    """A LAN: one broadcast domain with at most one prefix a family."""

    name: NetworkName
    prefixes: tuple[Prefix, ...]
    gateway: tuple[Address, ...] = ()
    """The next router on this LAN, if the file names one: a default route for the group's nodes and a witness."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's port on a network."""

    network: NetworkName
    addresses: tuple[Interface, ...]
    """With the prefix length of the network."""
    interface: str | None = None
    """Named in the file; otherwise it is found by its address."""


@dataclass(frozen=True, slots=True)
class Node:
    name: NodeName
    number: int
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Router:
    """A virtual router of a group on one LAN and family, without any node's priority."""

    group: GroupName
    network: NetworkName
    family: Family
    vrid: Vrid
    addresses: tuple[Interface, ...]
    """The addresses of the file, with the network's prefix length."""
    link_local: Address | None
    """IPv6 only: the virtual link-local address, derived from the virtual MAC."""

    @property
    def mac(self) -> str:
        """The virtual router MAC address (RFC 9568, section 7.3)."""
        return f"00:00:5e:00:0{1 if self.family == 4 else 2}:{self.vrid:02x}"


@dataclass(frozen=True, slots=True)
class Group:
    name: GroupName
    number: int
    nodes: tuple[NodeName, ...]
    priorities: Mapping[NodeName, Priority]
    routers: tuple[Router, ...]
    advertise: Duration
    preempt: bool
    version: int = 3
    """Of VRRP: 3, or 2 for migration."""
    pseudo_header: bool = False
    """IPv4 of version 3: whether our checksums cover one (RFC 5798 as keepalived and FRR read it)."""
    virtual_mac: bool = True
    unicast: bool = False
    plain: bool = False
    """The other node runs another implementation: no channel, no hand-over, nothing but VRRP."""
    require_sync: bool = False
    """True: a node without the state of the group's flows does not serve. False: after `gate_deadline` it does."""
    gate_deadline: Duration = 2 * SECOND
    copy_every: Duration = 10 * SECOND
    """Between two copies of the flows whose `state` is `copy`."""


@dataclass(frozen=True, slots=True)
class Listen:
    """A balanced address and port, held by a group (or, with no group, by nobody: refused)."""

    address: Address
    port: int
    group: GroupName


@dataclass(frozen=True, slots=True)
class Server:
    """A server of a service: `web1:8080` in the file."""

    name: str
    binding: int
    """Of this server in this service: 18 bits of `ct mark`, made from their names (config.bindings)."""
    node: NodeName | None
    addresses: tuple[Address, ...]
    """At most one a family."""
    port: int


@dataclass(frozen=True, slots=True)
class Check:
    kind: str
    """`tcp`, `http` or `none`."""
    path: str
    """Of an HTTP check, such as `/healthz`."""
    port: int | None
    """If not the server's own."""
    every: Duration
    timeout: Duration
    rise: int
    fall: int


@dataclass(frozen=True, slots=True)
class Service:
    name: ServiceName
    number: int
    protocol: str
    """`tcp`."""
    listen: tuple[Listen, ...]
    servers: tuple[Server, ...]
    check: Check
    state: str
    """`none`, `copy` or `replicate`: what the other node's kernel holds of its flows."""


@dataclass(frozen=True, slots=True)
class SourceNat:
    """Clients of network `source` leave through network `to` with the group's address there."""

    source: NetworkName
    to: NetworkName
    group: GroupName
    prefixes: tuple[Prefix, ...]
    """Of `source`."""
    addresses: tuple[Address, ...]
    """The group's first address a family on `to`."""
    state: str = "none"
    """Of its flows, as `Service.state`: the greatest that the file says for its group, since marks tell groups."""
    helpers: tuple[str, ...] = ()
    """Protocols whose data connections are expected: `ftp`, `tftp`."""


@dataclass(frozen=True, slots=True)
class IosLine:
    """A line of NAT, and how near the kernel comes to what a router does."""

    where: str
    """`edge.ios:12`, `line 12` where it stands in the file itself, `line 12, item 3` in a list there."""
    text: str
    fidelity: str
    reason: tuple[str, str]
    """In English and Korean."""
    rule: str


@dataclass(frozen=True, slots=True)
class IosNat:
    """Translations that lines of Cisco IOS say, at work on the networks of one group."""

    group: GroupName
    configuration: Configuration
    """Its interfaces are the group's networks, with the group's addresses."""
    networks: tuple[tuple[str, NetworkName], ...]
    """Each interface's network."""
    profile: str = "classic"
    state: str = "none"
    """Of the group's flows, as `SourceNat.state`."""
    helpers: tuple[str, ...] = ()
    reserved: tuple[IPv4Address, ...] = ()
    """Addresses of nodes and groups on those networks: no pool hands them out."""
    strict: bool = False
    """What comes from inside and is not translated does not leave."""
    rotary_udp: bool = False
    """UDP goes round a rotary, too."""
    rotary_check: Check | None = None
    """Of the servers in rotaries; its port is the one to ask."""
    said: tuple[IosLine, ...] = ()
    """What is said of each line; for people, and no difference between nodes."""
    warnings: tuple[tuple[str, str, str], ...] = ()
    """Code, and the words in English and Korean, with the line's place before them."""


@dataclass(frozen=True, slots=True)
class Objective:
    service: ServiceName
    outage: Duration


@dataclass(frozen=True, slots=True)
class Plan:
    cluster: str
    seed: int
    """32 bits derived from the cluster's name: seeds every hash, so that all nodes balance alike."""
    digest: bytes
    """16 bytes over everything that the nodes must agree on."""
    networks: tuple[Network, ...]
    nodes: tuple[Node, ...]
    groups: tuple[Group, ...]
    services: tuple[Service, ...]
    source_nat: tuple[SourceNat, ...]
    objectives: tuple[Objective, ...]
    ios: IosNat | None = None

    def settings(self, name: NodeName) -> NodeSettings:
        """What the machines of node `name` are told. Raises KeyError if there is no such node."""
        from understudy.config.settings import node_settings

        return node_settings(self, name)
