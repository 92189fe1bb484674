"""Kernel objects as data: what one node's kernel shall hold, computed from the plan and never from the kernel."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from understudy.config.plan import Check
from understudy.core.allocation.events import Configured
from understudy.render.ios_first import Allocated
from understudy.render.ios_overload import Ladder
from understudy.render.ios_turns import Rotary
from understudy.units import Address, Family, GroupName, Interface, NetworkName, NodeName

Sysctl = tuple[str, str]
"""A path below /proc/sys and its value. Slashes, because interface names may contain dots."""


@dataclass(frozen=True, slots=True)
class Link:
    """What carries a group's addresses on one network in one family: a macvlan, or the port itself.

    A macvlan carries one virtual MAC. It exists always; only while the group is Active here, it is up.

    Becoming Active: add the addresses, then set it up. Leaving: set it down, then delete them. A link that is merely
    down keeps its IPv4 addresses local: a Backup would talk to itself instead of to the Active, and would drop what
    comes from a virtual address as a martian. (An IPv6 link-local address, on the other hand, would not survive.)

    Without virtual MAC there is no macvlan: `name` and `parent` are the port, which is the operator's. Addresses come
    and go with the role, marked as ours, and nothing else of it is touched.
    """

    name: str
    parent: str
    mac: str
    """The virtual MAC; empty without."""
    mode: Literal["private"] | None
    """Of the macvlan; None without."""
    group: GroupName
    network: NetworkName
    family: Family
    addresses: tuple[Interface, ...]
    """Host prefixes (/32, /128): the connected route stays on the parent. IPv6 addresses are added with `nodad`."""
    sysctls: tuple[Sysctl, ...]
    """Written after the link is made and before it is up for the first time."""
    held: tuple[IPv4Network, ...] = ()
    """Prefixes that are local by a route to this macvlan while it is up: addresses of NAT that no link has."""
    detours: tuple[tuple[int, IPv4Address | None], ...] = ()
    """Routing tables that lead out by the parent, each with its next hop."""

    @property
    def is_macvlan(self) -> bool:
        return self.mode is not None


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """An address that moves with its group, and where it lives while the group is Active here."""

    group: GroupName
    network: NetworkName
    address: Interface
    """With the prefix length of the network, as in the file."""
    mac: str
    """The virtual MAC; empty where the port's own stands in for it."""
    link: str
    parent: str


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """One rule of the routing policy database: `ip [-6] rule add PREFERENCE ...`."""

    family: Family
    preference: int
    action: Literal["blackhole", "local", "goto", "lookup"]
    """`local` looks the local table up: the rule that the kernel keeps at preference 0 otherwise."""
    destination: Address | IPv4Network | None = None
    """A network has room for more than one address."""
    protocol: Literal["tcp"] | None = None
    ports: tuple[int, int] | None = None
    """Destination ports, first and last."""
    incoming: str | None = None
    """`lo`: packets that this node itself sends."""
    target: int | None = None
    """Of `goto`: the preference to go on from. Of `lookup`: the routing table."""
    mark: tuple[int, int] | None = None
    """Packet mark and mask."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The rule as arguments of `ip [-6] rule add`, for printing and for the lab."""
        words = ["pref", str(self.preference)]
        if self.incoming is not None:
            words += ["iif", self.incoming]
        if self.destination is not None:
            words += ["to", str(self.destination)]
        if self.protocol is not None:
            words += ["ipproto", self.protocol]
        if self.ports is not None:
            first, last = self.ports
            words += ["dport", str(first) if first == last else f"{first}-{last}"]
        if self.mark is not None:
            words += ["fwmark", f"{self.mark[0]:#x}/{self.mark[1]:#x}"]
        match self.action:
            case "lookup":
                words += ["lookup", str(self.target)]
            case "blackhole":
                words.append("blackhole")
            case "local":
                words += ["lookup", "local"]
            case "goto":
                words += ["goto", str(self.target)]
        return tuple(words)


@dataclass(frozen=True, slots=True)
class Pools:
    """What of NAT a process of its own tends (`agent.pools`): addresses that only an allocator can hand out, pools of
    `overload` whose next address is taken in its turn, and rotaries.
    """

    group: GroupName
    allocated: tuple[Allocated, ...]
    configured: Configured
    ladders: tuple[Ladder, ...] = ()
    rotaries: tuple[Rotary, ...] = ()
    check: Check | None = None
    """Of the rotaries' servers; None: whoever is listed gets its turn."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything that one node's kernel shall hold.

    Apply in this order: `ruleset` (loads conntrack, whose sysctls exist only then), `sysctls`, `rules`, then each of
    `links` with its own sysctls: macvlans left down, none with addresses.
    """

    node: NodeName
    ruleset: str
    """nft text of our tables: one transaction, harmless to repeat, keeps the lease. Empty for a node without groups."""
    links: tuple[Link, ...]
    sysctls: tuple[Sysctl, ...]
    rules: tuple[RoutingRule, ...]
    """In the order in which to add them; then the kernel's own rule at preference 0 goes (see `render.rules`)."""
    addresses: tuple[VirtualAddress, ...]
    guard: str = ""
    """nft text of the table that holds while `ruleset` is missing (`render.guard`); goes with its keeper."""
    pools: Pools | None = None
    """What an allocator is to hand out here; None where nothing asks for one."""
