"""What a router holds of NAT after all lines of a text: frozen values, one class a kind of command.

Field names are the grammar's slot names (`ios/commands.py`), so that one table reads and writes them. Addresses are
IPv4: IOS has no NAT66 in these commands. A port is 1-65535, a time is in seconds, NEVER stands for `never`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

_ZERO = IPv4Address(0)
_ONES = IPv4Address(0xFFFFFFFF)
NEVER = -1
"""Seconds of a timeout that is `never`."""


class Side(StrEnum):
    """Which address a rule replaces."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    DESTINATION = "destination"
    NVI = "nvi"


class Role(StrEnum):
    """What an interface is to NAT; the words of the interface's command."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    ENABLE = "enable"
    STICK = "stick"
    ALLOW_STATIC_HOST = "allow-static-host"


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface as far as NAT needs it."""

    name: str
    roles: tuple[Role, ...] = ()
    addresses: tuple[IPv4Interface, ...] = ()
    """The first is the primary one."""
    dynamic: str | None = None
    """`dhcp` or `negotiated`: the address is learnt."""
    unnumbered: str | None = None
    vrf: str | None = None
    shutdown: bool = False
    headless: bool = field(default=False, compare=False)
    """While a text is read: all addresses are secondary so far."""


@dataclass(frozen=True, slots=True)
class Static:
    """`ip nat ... source static`: local and global address (or network, or port) for good."""

    side: Side
    local: IPv4Address
    global_: IPv4Address | None = None
    protocol: str | None = None
    local_port: int | None = None
    global_port: int | None = None
    length: int | None = None
    """Prefix length of `static network`."""
    interface: str | None = None
    """Whose address is the global one."""
    name: str | None = None
    vrf: str | None = None
    match_in_vrf: bool = False
    route_map: str | None = None
    reversible: bool = False
    redundancy: str | None = None
    mapping_id: int | None = None
    extendable: bool = False
    no_alias: bool = False
    no_payload: bool = False
    stateless: bool = False
    egress_interface: str | None = None
    add_route: bool = False


@dataclass(frozen=True, slots=True)
class Dynamic:
    """`ip nat ... list | route-map`: an entry is made when a packet that the list permits comes by."""

    side: Side
    access_list: str | None = None
    route_map: str | None = None
    pool: str | None = None
    interface: str | None = None
    name: str | None = None
    vrf: str | None = None
    match_in_vrf: bool = False
    redundancy: str | None = None
    mapping_id: int | None = None
    oer: bool = False
    overload: bool = False
    extended: bool = False
    egress_interface: str | None = None
    pap: bool = False
    reversible: bool = False
    add_route: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """First and last address of a part of a pool."""

    first: IPv4Address
    last: IPv4Address


@dataclass(frozen=True, slots=True)
class Pool:
    """`ip nat pool`. A pool with one segment is one line, any other a line and a block."""

    name: str
    length: int
    segments: tuple[Segment, ...] = ()
    kind: str = "generic"
    """generic, rotary or match-host."""
    add_route: bool = False
    accounting: str | None = None
    arp_ping: bool = False
    nvi: bool = False

    @property
    def single(self) -> bool:
        """Whether one line says it: a line's ends lie in one network of the mask, a block's need not."""
        if len(self.segments) != 1:
            return False
        network = IPv4Network((self.segments[0].first, self.length), strict=False)
        return self.segments[0].last in network


@dataclass(frozen=True, slots=True)
class Timeout:
    """`ip nat translation ...-timeout`; `which` is the word, such as `tcp-timeout`."""

    which: str
    seconds: int


@dataclass(frozen=True, slots=True)
class PortTimeout:
    protocol: str
    port: int
    seconds: int


@dataclass(frozen=True, slots=True)
class MaxEntries:
    """`ip nat translation max-entries`; `scope` is host, all-host, all-vrf, vrf, list, redundancy or empty."""

    scope: str
    count: int
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Directive:
    """A global command without addresses to translate: service, log, settings, create, stateful, route, switchover.

    `words` are those after `ip nat`, keywords in full. A negated one (`no ip nat service sip ...`) switches off what
    IOS does by itself.
    """

    words: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """Whom an entry of a list matches: `any`, an address with a wildcard, or a group."""

    address: IPv4Address = _ZERO
    wildcard: IPv4Address = _ONES
    group: str | None = None

    @property
    def any(self) -> bool:
        return self.group is None and int(self.wildcard) == 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Ports:
    """`eq 80 443`, `range 20 30`, `gt`, `lt`, `neq`; `group` for an object-group of services."""

    operator: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list. `remarks` stand before it."""

    sequence: int
    permit: bool
    source: Host
    protocol: str | None = None
    """Lower case or a number; None in a standard list, `group NAME` for an object-group."""
    source_ports: Ports | None = None
    destination: Host | None = None
    destination_ports: Ports | None = None
    qualifiers: tuple[str, ...] = ()
    """What stands after it: established, log, an ICMP type ..."""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessList:
    name: str
    extended: bool
    entries: tuple[Entry, ...] = ()
    remarks: tuple[str, ...] = ()
    """After the last entry."""


@dataclass(frozen=True, slots=True)
class ObjectGroup:
    """`object-group network | service`; its lines in canonical words."""

    kind: str
    name: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clause:
    """One sequence of a route-map. `matches` and `sets` are the words after `match` and `set`."""

    sequence: int
    permit: bool = True
    matches: tuple[tuple[str, ...], ...] = ()
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteMap:
    name: str
    clauses: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """`ip route`, for what NAT must reach."""

    prefix: IPv4Network
    next_hop: IPv4Address | None = None
    interface: str | None = None
    vrf: str | None = None
    distance: int = 1
    leaks: bool = False
    """`global`: the next hop is in the default table."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it, in the order of entering. Lists, route-maps and groups are those that a NAT rule reaches."""

    vrfs: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    pools: tuple[Pool, ...] = ()
    statics: tuple[Static, ...] = ()
    dynamics: tuple[Dynamic, ...] = ()
    timeouts: tuple[Timeout, ...] = ()
    port_timeouts: tuple[PortTimeout, ...] = ()
    limits: tuple[MaxEntries, ...] = ()
    directives: tuple[Directive, ...] = ()
    access_lists: tuple[AccessList, ...] = ()
    object_groups: tuple[ObjectGroup, ...] = ()
    route_maps: tuple[RouteMap, ...] = ()
    routes: tuple[Route, ...] = ()
    selectors: tuple[str, ...] = field(default=(), compare=False)
    """Lists that a crypto map matches: what a VPN wants untranslated. A hint for warnings, not printed."""

    @property
    def rules(self) -> tuple["Static | Dynamic", ...]:
        """Dynamic and static rules together."""
        return (*self.dynamics, *self.statics)


Statement = Static | Dynamic | Pool | Timeout | PortTimeout | MaxEntries | Directive
