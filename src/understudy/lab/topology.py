"""What the lab builds from the file: the declared nodes and, around them, what they need to be of use (pure).

Defaults, each of which a declared node of the same name or address replaces:

* a switch for every network: a bridge in the namespace `switch`, with one port for each attachment;
* a client `client-NETWORK` on every network on which a group holds addresses, with a free address of each prefix;
* a server `server-ADDRESS` for every server that the file names by an address of its networks which no node holds;
* a router `router-NETWORK` that holds the network's declared `gateway`.

Routes: nodes of groups get one to the declared gateways, and forward. Everyone else reaches the world through the
group's virtual address on its own network: servers by a default route, clients and routers by one to each other network
on which a group holds addresses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from itertools import chain
from typing import Final

from understudy.config.plan import Network, Node, Plan
from understudy.errors import OperatorError
from understudy.ios.model import Configuration
from understudy.units import Address, Family, Interface, NetworkName, NodeName, Prefix

SWITCH: Final = "switch"
PREFIX_FULL = "E5111"
NAME_TAKEN = "E5112"

_FIRST_GUEST = 100
"""Guests are numbered from here where the prefix has room: `.100` is seldom taken and easily known again."""

_ANYWHERE: Mapping[Family, Prefix] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


class Kind(Enum):
    """Why a host is in the lab."""

    GATEWAY = "gateway"
    SERVER = "server"
    CLIENT = "client"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Port:
    """A cable from a host to a network's switch."""

    network: NetworkName
    interface: str
    """The host's end."""
    index: int
    """Its interface index, the same on every build."""
    mac: bytes
    addresses: tuple[Interface, ...]
    switch_port: str
    """The other end, in the switch's namespace."""
    switch_index: int


@dataclass(frozen=True, slots=True)
class Route:
    destination: Prefix
    via: Address


@dataclass(frozen=True, slots=True)
class Host:
    name: NodeName
    kind: Kind
    ports: tuple[Port, ...]
    routes: tuple[Route, ...]
    http: tuple[int, ...]
    """TCP ports on which it serves HTTP; clients and servers serve echo besides."""

    @property
    def forwards(self) -> bool:
        return self.kind in (Kind.GATEWAY, Kind.ROUTER)

    @property
    def addresses(self) -> tuple[Interface, ...]:
        return tuple(address for port in self.ports for address in port.addresses)


@dataclass(frozen=True, slots=True)
class Bridge:
    network: NetworkName
    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Topology:
    bridges: tuple[Bridge, ...]
    hosts: tuple[Host, ...]
    """Declared nodes first, in the order of the file."""

    def host(self, name: str) -> Host:
        """Raises KeyError if there is no such host."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def port(self, node: str, network: str) -> Port:
        """Raises KeyError if the host is not on that network."""
        for port in self.host(node).ports:
            if port.network == network:
                return port
        raise KeyError(f"{node} on {network}")

    def switch_port(self, node: str, network: str) -> str:
        """The interface in namespace `switch` that `node`'s cable to `network` ends on."""
        return self.port(node, network).switch_port

    def bridge(self, network: str) -> Bridge:
        for bridge in self.bridges:
            if bridge.network == network:
                return bridge
        raise KeyError(network)

    def clients(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.kind is Kind.CLIENT)

    def gateways(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.kind is Kind.GATEWAY)


@dataclass(frozen=True, slots=True)
class _Sketch:
    """A host before its cables are numbered."""

    name: NodeName
    kind: Kind
    attachments: tuple[tuple[NetworkName, str | None, tuple[Interface, ...]], ...]


def lay_out(plan: Plan) -> Topology:
    """The whole lab for `plan`, the same for the same plan. Raises OperatorError where no guest's address is free."""
    view = _View(plan)
    sketches = [_declared(plan, node) for node in plan.nodes]
    sketches += view.servers()
    sketches += view.routers()
    sketches += view.clients()
    # Names an `ip` keyword abbreviates to would be misread by iproute2: a number behind a word never is one.
    bridges = tuple(Bridge(network.name, f"net{n}", 500 + n) for n, network in enumerate(plan.networks, 1))
    switch_port = 0
    hosts = []
    for number, sketch in enumerate(sketches, 1):
        ports = []
        taken = {interface for _, interface, _ in sketch.attachments if interface}
        free = (name for name in (f"eth{n}" for n in range(len(sketch.attachments) * 2)) if name not in taken)
        for position, (network, interface, addresses) in enumerate(sketch.attachments):
            switch_port += 1
            # Locally administered, and readable in a capture: host number, then port number.
            mac = bytes([0x02, 0x75, 0x73]) + number.to_bytes(2) + bytes([position])
            name = interface or next(free)
            ports.append(Port(network, name, 10 + position, mac, addresses, f"port{switch_port}", 1000 + switch_port))
        routes = tuple(view.routes(sketch))
        hosts.append(Host(sketch.name, sketch.kind, tuple(ports), routes, view.http_ports(sketch.name)))
    return Topology(bridges, tuple(hosts))


def _declared(plan: Plan, node: Node) -> _Sketch:
    serves = any(server.node == node.name for service in plan.services for server in service.servers)
    if any(node.name in group.nodes for group in plan.groups):
        kind = Kind.GATEWAY
    elif not serves and _is_client(node.name):
        kind = Kind.CLIENT
    elif any(
        address.ip in network.gateway
        for network in plan.networks
        for attachment in node.attachments
        for address in attachment.addresses
    ):
        kind = Kind.ROUTER
    else:
        kind = Kind.SERVER
    return _Sketch(node.name, kind, tuple((a.network, a.interface, a.addresses) for a in node.attachments))


def _server_name(address: Address) -> NodeName:
    return NodeName(f"server-{address}")


def _is_client(name: str) -> bool:
    return name.startswith("client-")


class _View:
    """Questions to the plan that several hosts ask."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._declared = {node.name for node in plan.nodes}
        self._networks = {network.name: network for network in plan.networks}
        self._virtual: dict[tuple[NetworkName, Family], Address] = {}
        for group in plan.groups:
            for router in group.routers:
                if router.addresses:
                    self._virtual.setdefault((router.network, router.family), router.addresses[0].ip)
        self._taken: set[Address] = {
            address.ip for node in plan.nodes for attachment in node.attachments for address in attachment.addresses
        }
        holders = {a.ip: node.name for node in plan.nodes for port in node.attachments for a in port.addresses}
        self._taken |= {a.ip for group in plan.groups for router in group.routers for a in router.addresses}
        self._held = frozenset(self._taken)
        for network in plan.networks:
            self._taken |= set(network.gateway)
        for service in plan.services:
            self._taken |= {address for server in service.servers for address in server.addresses}
            self._taken |= {listen.address for listen in service.listen}
        self._translated = tuple(_translated(plan))
        self._http: dict[NodeName, list[int]] = {}
        for service in plan.services:
            for server in service.servers:
                named = [server.node] if server.node else [holders.get(a, _server_name(a)) for a in server.addresses]
                for name in named:
                    ports = self._http.setdefault(name, [])
                    ports += [p for p in (server.port, service.check.port) if p is not None and p not in ports]

    def http_ports(self, name: NodeName) -> tuple[int, ...]:
        return tuple(self._http.get(name, ()))

    def clients(self) -> Iterator[_Sketch]:
        for network in self._plan.networks:
            name = NodeName(f"client-{network.name}")
            if name in self._declared or not any((network.name, f) in self._virtual for f in (4, 6)):
                continue
            addresses = tuple(self._guest_address(network, prefix) for prefix in network.prefixes)
            yield _Sketch(name, Kind.CLIENT, ((network.name, None, addresses),))

    def servers(self) -> Iterator[_Sketch]:
        strangers = {
            address: None
            for service in self._plan.services
            for server in service.servers
            for address in server.addresses
            if address not in self._held
        }
        for address in strangers:
            for network in self._plan.networks:
                prefixes = [prefix for prefix in network.prefixes if address in prefix]
                if prefixes:
                    attachment = (network.name, None, (_with_prefix(address, prefixes),))
                    yield _Sketch(_server_name(address), Kind.SERVER, (attachment,))

    def routers(self) -> Iterator[_Sketch]:
        for network in self._plan.networks:
            missing = [address for address in network.gateway if address not in self._held]
            if not missing:
                continue
            name = NodeName(f"router-{network.name}")
            if name in self._declared:
                message = f"node {name} does not hold {missing[0]}, the gateway of network {network.name}"
                raise OperatorError(NAME_TAKEN, message, "give it that address, or the node another name")
            addresses = tuple(_with_prefix(address, network.prefixes) for address in missing)
            yield _Sketch(name, Kind.ROUTER, ((network.name, None, addresses),))

    def routes(self, sketch: _Sketch) -> Iterator[Route]:
        own = [network for network, _, _ in sketch.attachments]
        for family in (4, 6):
            match sketch.kind:
                case Kind.GATEWAY:
                    yield from self._default(self._gateways(own, family), family)
                case Kind.SERVER:
                    virtual = [self._virtual[n, family] for n in own if (n, family) in self._virtual]
                    yield from self._default([*virtual, *self._gateways(own, family)], family)
                case Kind.CLIENT | Kind.ROUTER:
                    yield from self._to_other_networks(own, family)

    def _default(self, candidates: Iterable[Address], family: Family) -> Iterator[Route]:
        for via in candidates:
            yield Route(_ANYWHERE[family], via)
            return

    def _gateways(self, own: Sequence[NetworkName], family: Family) -> list[Address]:
        return [address for name in own for address in self._networks[name].gateway if address.version == family]

    def _to_other_networks(self, own: Sequence[NetworkName], family: Family) -> Iterator[Route]:
        via = next((self._virtual[name, family] for name in own if (name, family) in self._virtual), None)
        if via is None:
            return
        for network in self._plan.networks:
            # Where no group holds an address nobody knows the way back.
            if network.name not in own and (network.name, family) in self._virtual:
                yield from (Route(prefix, via) for prefix in network.prefixes if prefix.version == family)

    def _guest_address(self, network: Network, prefix: Prefix) -> Interface:
        """A free address of `prefix`, remembered as taken."""
        # IPv6 has no broadcast address, but its first one is the routers' anycast address (RFC 4291, section 2.6.1).
        first, last = 1, prefix.num_addresses - (2 if prefix.version == 4 and prefix.prefixlen < 31 else 1)
        start = _FIRST_GUEST if first + _FIRST_GUEST <= last else first
        translated = self._translated if prefix.version == 4 else ()
        for offset in chain(_span(start, last), _span(first, start - 1)):
            address = prefix.network_address + offset
            if address not in self._taken and not any(low <= int(address) <= high for low, high in translated):
                self._taken.add(address)
                return _with_prefix(address, (prefix,))
        message = f"network {network.name} has no free address in {prefix} for the lab's client"
        raise OperatorError(PREFIX_FULL, message, f"declare a node client-{network.name}, or use a shorter prefix")


def _translated(plan: Plan) -> Iterator[tuple[int, int]]:
    """IPv4 addresses, first and last, that lines of IOS put in the place of others: nobody has them on a port."""
    configuration = plan.ios.configuration if plan.ios is not None else Configuration()
    yield from ((int(each.global_), int(each.global_)) for each in configuration.statics if each.global_ is not None)
    yield from ((int(part.first), int(part.last)) for pool in configuration.pools for part in pool.segments)


def _span(first: int, last: int) -> range:
    """At most as many offsets as addresses can be taken: a /64 is not walked to its end."""
    return range(first, min(last, first + 65536) + 1)


def _with_prefix(address: IPv4Address | IPv6Address, prefixes: Iterable[Prefix]) -> Interface:
    for prefix in prefixes:
        if address in prefix:
            return ip_interface(f"{address}/{prefix.prefixlen}")
    return ip_interface(address)
