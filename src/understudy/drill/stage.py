"""Where the probes stand: from a lab to sockets in its namespaces.

Datagrams cross the gateways both ways for each family: from the client outside to a server's own address inside, and
from that server through source NAT to the client. The TCP population is half clients of the services' virtual
addresses, half insiders on the way out. Everyone asks for the virtual addresses of their own LAN; a tap listens on
the switch's side of every gateway's cable.
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from understudy.config.plan import Group
from understudy.drill import flowtable, synctap
from understudy.drill.board import Board, Cell
from understudy.drill.flowprobe import CONNECT_RATE, FlowProbe, Member
from understudy.drill.idleprobe import IdleProbe
from understudy.drill.sockets import open_tap, stamp
from understudy.drill.statewatch import SETTLE_MAX, Ends, Keeps, StateWatch, Taps
from understudy.drill.wireprobe import Asker, DatagramFlow, Tap, WireProbe, asker_for
from understudy.errors import OperatorError
from understudy.lab import syscalls
from understudy.lab.build import Lab
from understudy.lab.namespace import Namespace
from understudy.lab.server import ECHO_PORT
from understudy.lab.topology import Host, Kind
from understudy.units import Address, Duration, Family, NetworkName, NodeName

NOTHING_TO_CROSS = "E6401"
POPULATION_TOO_LARGE = "E6405"
_LOCAL_PORTS = "10240 65535"
_OTHER_DESCRIPTORS = 512


@dataclass(frozen=True, slots=True)
class Route:
    """A way through the gateways for one family: between a host outside and a host inside."""

    family: Family
    outside: Host
    outside_address: Address
    inside: Host
    inside_address: Address
    translated: bool
    """Whether source NAT covers the way out."""


def routes(lab: Lab, group: Group) -> list[Route]:
    """The ways through the group's gateways. Raises OperatorError E6401 if the file has none."""
    plan = lab.plan
    sides = [(nat.to, nat.source, True) for nat in plan.source_nat if nat.group == group.name]
    networks = list(dict.fromkeys(router.network for router in group.routers))
    sides += [(networks[0], network, False) for network in networks[1:]]
    found: dict[Family, Route] = {}
    for outside, inside, translated in sides:
        for family in (4, 6):
            far = _host_on(lab, outside, family, (Kind.CLIENT,))
            near = _host_on(lab, inside, family, (Kind.SERVER, Kind.CLIENT))
            if family not in found and far is not None and near is not None:
                found[family] = Route(family, far[0], far[1], near[0], near[1], translated)
    if not found:
        raise OperatorError(
            NOTHING_TO_CROSS,
            f"group {group.name} does not join two networks with a host on each: there is no traffic to measure",
            "give the group an address on a second network, or add a server there",
        )
    return list(found.values())


def _host_on(lab: Lab, network: NetworkName, family: Family, kinds: Sequence[Kind]) -> tuple[Host, Address] | None:
    for kind in kinds:
        for host in lab.topology.hosts:
            address = address_on(host, network, family)
            if host.kind is kind and address is not None:
                return host, address
    return None


def address_on(host: Host, network: NetworkName, family: Family) -> Address | None:
    """The host's own address of a family on a network, if it has one."""
    for port in host.ports:
        for interface in port.addresses:
            if port.network == network and interface.version == family:
                return interface.ip
    return None


def virtual_addresses(group: Group) -> frozenset[str]:
    """What the group answers for, as sightings name it."""
    routers = group.routers
    addresses = [interface.ip for router in routers for interface in router.addresses]
    return frozenset(map(str, (*addresses, *(router.link_local for router in routers if router.link_local))))


def wire_probe(lab: Lab, group: Group, board: Board) -> WireProbe:
    """Everything that one group's wire probe needs, sockets already in their namespaces.

    Called in the probe's own process: a socket that the drill itself held would be inherited by every agent it starts.
    """
    flows = [flow for route in routes(lab, group) for flow in _datagram_flows(lab, route)]
    return WireProbe(flows, list(_askers(lab, group)), list(_taps(lab, group)), board)


def _datagram_flows(lab: Lab, route: Route) -> Iterator[DatagramFlow]:
    suffix = "" if route.family == 4 else " (IPv6)"
    family = socket.AF_INET if route.family == 4 else socket.AF_INET6
    for name, source, target, address in (
        ("inward", route.outside, route.inside, route.inside_address),
        ("outward", route.inside, route.outside, route.outside_address),
    ):
        receiver = lab.namespaces[target.name].socket(family, socket.SOCK_DGRAM)
        receiver.bind((str(address), 0))
        stamp(receiver)
        sender = lab.namespaces[source.name].socket(family, socket.SOCK_DGRAM)
        sender.setblocking(False)
        port = receiver.getsockname()[1]
        yield DatagramFlow(f"{name}{suffix}", sender, (str(address), port), receiver)


def _askers(lab: Lab, group: Group) -> Iterator[Asker]:
    for client in lab.topology.clients():
        for port in client.ports:
            for router in group.routers:
                if router.network == port.network:
                    for address in router.addresses:
                        sock = lab.namespaces[client.name].socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                        sock.bind((port.interface, 0))
                        sock.setblocking(False)
                        yield asker_for(sock, str(address.ip))


def _taps(lab: Lab, group: Group) -> Iterator[Tap]:
    for node in group.nodes:
        for network in dict.fromkeys(router.network for router in group.routers):
            yield Tap(node, network, tap(lab, node, network))


def tap(lab: Lab, node: str, network: str) -> socket.socket:
    """A tap on the switch's side of `node`'s cable to `network`."""
    sock = lab.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    open_tap(sock, lab.topology.switch_port(node, network))
    return sock


@dataclass(frozen=True, slots=True)
class Population:
    """Who is connected while the pair is struck."""

    tcp: int
    idle_share: float = 0.0
    """Of the connections, these ask nothing between their beginning and the end of the run."""
    udp: int = 0
    """Idle exchanges of datagrams through source NAT."""
    connect_rate: int = CONNECT_RATE
    """New connections a second."""


def flow_probe(lab: Lab, group: Group, population: int | Population, board: Board) -> FlowProbe:
    """The TCP probe; the calling process enters the namespace of the client of the new connections for good."""
    if isinstance(population, int):
        population = Population(population)
    size = population.tcp
    services = [
        (listen.address, listen.port)
        for service in lab.plan.services
        for listen in service.listen
        if listen.group == group.name
    ]
    client = _client_of(lab, group, services)
    members = [*_service_members(lab, client, services, size), *_nat_members(lab, group, services, size)]
    members = _some_idle(members, population.idle_share)
    syscalls.setns(lab.namespaces[client.name].fd, syscalls.CLONE_NEWNET)
    return FlowProbe(members, services, board, population.connect_rate)


def _some_idle(members: Sequence[Member], share: float) -> list[Member]:
    """The share is the same on every path, whatever their order."""
    return [
        replace(member, idle=int((position + 1) * share) > int(position * share))
        for position, member in enumerate(members)
    ]


def idle_probe(lab: Lab, group: Group, size: int, board: Board) -> IdleProbe:
    """The probe of idle datagrams, through the first translated way out. Raises OperatorError E6401 without one."""
    way = next((route for route in routes(lab, group) if route.translated), None)
    if way is None:
        raise OperatorError(
            NOTHING_TO_CROSS,
            f"group {group.name} translates nothing: idle datagrams have no way out",
            "leave --udp out, or add source NAT to the file",
        )
    family = _family(way.outside_address)
    far = lab.namespaces[way.outside.name].socket(family, socket.SOCK_DGRAM)
    far.bind((str(way.outside_address), 0))
    socks = _sockets(lab, way.inside, [family] * size, socket.SOCK_DGRAM)
    return IdleProbe(socks, far, (str(way.outside_address), far.getsockname()[1]), board)


def _client_of(lab: Lab, group: Group, services: Sequence[tuple[Address, int]]) -> Host:
    """The client on the LAN of the first service's address; without services any."""
    clients = lab.topology.clients()
    wanted = {
        router.network
        for router in group.routers
        if services and any(address.ip == services[0][0] for address in router.addresses)
    }
    for client in clients:
        if any(port.network in wanted for port in client.ports):
            return client
    return clients[0]


def _service_members(lab: Lab, client: Host, services: Sequence[tuple[Address, int]], size: int) -> list[Member]:
    if not services:
        return []
    targets = list(islice(cycle(services), size - size // 2))
    families = [_family(address) for address, _ in targets]
    sockets = _sockets(lab, client, families)
    return [
        Member("service", sock, (str(address), port)) for sock, (address, port) in zip(sockets, targets, strict=True)
    ]


def _nat_members(lab: Lab, group: Group, services: Sequence[tuple[Address, int]], size: int) -> list[Member]:
    ways = [route for route in routes(lab, group) if route.translated]
    wanted = size // 2 if services else size
    members = []
    for position, route in enumerate(ways):
        share = wanted // len(ways) + (position < wanted % len(ways))
        target = (str(route.outside_address), ECHO_PORT)
        members += [
            Member("source-nat", sock, target)
            for sock in _sockets(lab, route.inside, [_family(route.inside_address)] * share)
        ]
    return members


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _sockets(lab: Lab, host: Host, families: Sequence[int], kind: int = socket.SOCK_STREAM) -> list[socket.socket]:
    """Many sockets in one visit: entering a namespace costs a thread. Raises OperatorError E6405 for too many."""
    namespace = lab.namespaces[host.name]
    # A population of thousands soon after another one needs more ports than a client has by itself.
    namespace.sysctl("net.ipv4.ip_local_port_range", _LOCAL_PORTS)
    _allow_descriptors(len(families))

    def make() -> list[socket.socket]:
        return [socket.socket(family, kind) for family in families]

    try:
        return namespace.run(make)
    except OSError as error:
        raise OperatorError(
            POPULATION_TOO_LARGE,
            f"{len(families)} more sockets cannot be opened: {error.strerror}",
            "a smaller --tcp or --udp, or raise the limit of open files (ulimit -Hn)",
        ) from error


def _allow_descriptors(more: int) -> None:
    """As many as the kernel allows us; root may ask for more than the limit that it was started with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard == resource.RLIM_INFINITY else max(hard, 2 * more + _OTHER_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- what the kernels hold


def state_watch(
    lab: Lab,
    group: Group,
    active: NodeName,
    standby: NodeName,
    keeps: Keeps,
    board: Board,
    after: Sequence[Cell],
    *,
    fresh: bool = False,
    patience: Duration = SETTLE_MAX,
) -> StateWatch:
    """The watcher of both kernels. `fresh`: the standby's kernel begins with the strike."""

    def open_ends(node: str) -> Ends:
        # The parent's namespace of today: a power cycle has put another one behind the same descriptor.
        descriptor = os.open(f"/proc/{os.getppid()}/fd/{lab.namespaces[node].fd}", os.O_RDONLY | os.O_CLOEXEC)
        namespace = Namespace(node, descriptor)
        # The kernel's own note of when it took a flow; harmless, and undone by the lab's end.
        namespace.sysctl("net.netfilter.nf_conntrack_timestamp", 1)
        ends = Ends(node, namespace.run(flowtable.open_events), namespace.run(flowtable.open_table))
        namespace.close()
        return ends

    def open_taps() -> Taps:
        return Taps(
            [_sync_tap(lab, active, network, leaving=False) for network in _shared_networks(lab, group)],
            [_sync_tap(lab, standby, network, leaving=True) for network in _shared_networks(lab, group)],
        )

    return StateWatch(
        open_ends,
        open_taps,
        active,
        standby,
        [lab.key],
        keeps,
        board,
        after=after,
        fresh=standby if fresh else "",
        patience=patience,
    )


def _sync_tap(lab: Lab, node: str, network: str, *, leaving: bool) -> socket.socket:
    sock = lab.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    synctap.open_tap(sock, lab.topology.switch_port(node, network), leaving=leaving)
    return sock


def _shared_networks(lab: Lab, group: Group) -> list[NetworkName]:
    """All that the group's nodes have in common: flows travel on any of them."""
    first, *others = ({port.network for port in lab.topology.host(node).ports} for node in group.nodes)
    return sorted(first.intersection(*others))


def neighbour_findings(lab: Lab, group: Group) -> list[str]:
    """Clients whose neighbour cache holds something else for a virtual address than the MAC that answers for it.

    Without virtual MAC that is a port's of the group's nodes: which one, the probes tell.
    """
    findings = []
    macs = {(host.name, port.network): port.mac.hex(":") for host in lab.topology.hosts for port in host.ports}
    for client in lab.topology.clients():
        known = lab.namespaces[client.name].run(_neighbours)
        for router in group.routers:
            if any(port.network == router.network for port in client.ports):
                right = [macs[node, router.network] for node in group.nodes] if not group.virtual_mac else [router.mac]
                for address in router.addresses:
                    mac = known.get(str(address.ip))
                    if mac is not None and mac not in right:
                        findings.append(f"{client.name} holds {mac} for {address.ip} instead of {' or '.join(right)}")
    return findings


def _neighbours() -> dict[str, str]:
    listing = subprocess.run(["ip", "-json", "neigh", "show"], capture_output=True, text=True, check=True, timeout=10)
    return {entry["dst"]: entry["lladdr"] for entry in json.loads(listing.stdout or "[]") if "lladdr" in entry}
