"""Services: somebody holds their address, and their servers can be reached by whoever that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from understudy.config.load import Steps
from understudy.config.models import BINDINGS_MAX, GroupModel, ServiceModel
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope, nearest
from understudy.config.scalars import Endpoint, ServerReference
from understudy.units import Address, Family, format_duration


@dataclass(frozen=True, slots=True)
class _Owners:
    """Who owns which address; made once for all services."""

    groups: dict[Address, str]
    nodes: dict[Address, str]


@dataclass(frozen=True, slots=True)
class _Balancers:
    """Who balances a service, and in which families."""

    groups: dict[str, GroupModel]
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class _Seat:
    """Where a server is, in one family."""

    name: str
    networks: tuple[str, ...]
    family: Family


def check_services(scope: Scope) -> Iterator[Problem]:
    """Every problem of services and between services."""
    file = scope.file
    owners = _Owners(
        {a: name for name, group in file.redundancy.items() for own in group.addresses.values() for a in own},
        {a: name for name, ports in file.nodes.items() for port in ports.values() for a in port.addresses},
    )
    heard: dict[Endpoint, tuple[str, Steps]] = {}
    bindings = 0
    for name, service in file.services.items():
        for place, endpoint in enumerate(service.listen):
            path: Steps = ("services", name, "listen", place)
            if endpoint in heard:
                other, first = heard[endpoint]
                message = f"{other} listens on {endpoint} already (line {scope.line(first)})"
                yield scope.source.problem(path, "E2402", message, "one service an address and port")
            heard.setdefault(endpoint, (name, path))
            if endpoint.address not in owners.groups and scope.whole("redundancy"):
                yield _nobody_holds(scope, path, endpoint, owners)
        yield from _check_servers(scope, name, service, owners)
        yield from _check_check(scope, name, service)
        bindings += len(service.servers)
        if bindings > BINDINGS_MAX >= bindings - len(service.servers):
            message = f"here the services reach {bindings} servers, at most {BINDINGS_MAX} can be told apart"
            yield scope.source.problem(("services", name, "servers"), "E2410", message, key=True)


def _nobody_holds(scope: Scope, path: Steps, endpoint: Endpoint, owners: _Owners) -> Problem:
    if endpoint.address in owners.nodes:
        message = f"{endpoint.address} is the own address of {owners.nodes[endpoint.address]} and would die with it"
    else:
        message = f"nobody holds {endpoint.address}"
    held = ", ".join(str(address) for address in islice(owners.groups, 4))
    hint = f"the groups hold {held}" if held else "a group under `redundancy` holds addresses"
    return scope.source.problem(path, "E2401", message, hint)


def _check_servers(scope: Scope, name: str, service: ServiceModel, owners: _Owners) -> Iterator[Problem]:
    holders = {
        owners.groups[endpoint.address]: scope.file.redundancy[owners.groups[endpoint.address]]
        for endpoint in service.listen
        if endpoint.address in owners.groups
    }
    by = _Balancers(holders, tuple(sorted({endpoint.address.version for endpoint in service.listen})))
    seen: set[ServerReference] = set()
    for place, server in enumerate(service.servers):
        path: Steps = ("services", name, "servers", place)
        if server in seen:
            yield scope.source.problem(path, "E2120", f"{server} stands twice", "name each server once")
        seen.add(server)
        if server.node is not None:
            yield from scope.unknown(path, "E2403", "nodes", server.node)
            if server.node in scope.file.nodes:
                yield from _check_node(scope, path, server.node, by)
        elif server.address is not None:
            yield from _check_address(scope, path, server.address, by, owners)
    yield from _check_families(scope, name, service, by.families)


def _check_families(scope: Scope, name: str, service: ServiceModel, families: tuple[Family, ...]) -> Iterator[Problem]:
    """Servers given by address have one family each: all of them together must cover what the service listens in."""
    for family in families:
        if all(server.address is not None and server.address.version != family for server in service.servers):
            message = f"no server has an IPv{family} address"
            hint = "name servers of both families, or listen on one"
            yield scope.source.problem(("services", name, "servers"), "E2404", message, hint, key=True)


def _check_node(scope: Scope, path: Steps, node: str, by: _Balancers) -> Iterator[Problem]:
    attachments = scope.file.nodes[node]
    if any(node in group.nodes for group in by.groups.values()):
        yield _on_balancer(scope, path, node)
        return
    for family in by.families:
        networks = [n for n, port in attachments.items() if any(a.version == family for a in port.addresses)]
        if networks:
            yield from _check_reach(scope, path, _Seat(node, tuple(networks), family), by.groups)
        else:
            message = f"{node} has no IPv{family} address, in which the service listens"
            yield scope.source.problem(path, "E2404", message, f"add one to nodes.{node}, or listen on one family")


def _check_address(scope: Scope, path: Steps, address: Address, by: _Balancers, owners: _Owners) -> Iterator[Problem]:
    networks = [n for n, net in scope.file.networks.items() if any(address in prefix for prefix in net.prefixes)]
    if address in owners.groups:
        message = f"{address} is a virtual address of {owners.groups[address]}"
        yield scope.source.problem(path, "E2408", message, "a server has an address of its own")
    elif any(owners.nodes.get(address) in group.nodes for group in by.groups.values()):
        yield _on_balancer(scope, path, owners.nodes[address])
    elif address.version not in by.families:
        message = f"{address} is IPv{address.version}, the service listens in IPv{by.families[0]}"
        yield scope.source.problem(path, "E2404", message, "one family on both sides")
    elif networks:
        yield from _check_reach(scope, path, _Seat(str(address), tuple(networks), address.version), by.groups)
    elif scope.whole("networks"):
        yield scope.source.problem(path, "E2406", f"{address} is in no network", nearest("", scope.file.networks))


def _on_balancer(scope: Scope, path: Steps, node: str) -> Problem:
    message = f"not yet: {node} balances the service and cannot be its server"
    return scope.source.problem(path, "E2906", message, "a node outside the group")


def _check_reach(scope: Scope, path: Steps, server: _Seat, groups: dict[str, GroupModel]) -> Iterator[Problem]:
    """Every balancing node reaches the server directly, and answers can follow the group when it moves."""
    known = scope.file.networks.keys()
    if not known >= set(server.networks):
        return  # said elsewhere
    for name, group in groups.items():
        if not all(node in scope.file.nodes for node in group.nodes) or not known >= group.addresses.keys():
            continue  # said elsewhere
        family = server.family
        shared = [n for n in server.networks if all(_attached(scope, node, n, family) for node in group.nodes)]
        if not shared and group.addresses.keys().isdisjoint(server.networks):
            message = f"{server.name} is on no IPv{family} network of {' and '.join(group.nodes)}"
            hint = f"it is on {', '.join(server.networks)}"
            yield scope.source.problem(path, "E2405", message, hint)
        elif shared and not any(a.version == family for n in shared for a in group.addresses.get(n, ())):
            where = ", ".join(shared)
            message = f"{name} holds no IPv{family} address on {where}, so answers of {server.name} could not follow it"
            hint = f"add one to redundancy.{name}.addresses; it is the servers' gateway"
            yield scope.source.problem(path, "E2409", message, hint)


def _attached(scope: Scope, node: str, network: str, family: Family) -> bool:
    attachments = scope.file.nodes[node]
    return network in attachments and any(a.version == family for a in attachments[network].addresses)


def _check_check(scope: Scope, name: str, service: ServiceModel) -> Iterator[Problem]:
    check = service.check
    path: Steps = ("services", name, "check")
    ways = sum((check.tcp is True, check.http is not None, check.none is True))
    if ways != 1:
        message = "says no way to check" if ways == 0 else "says more than one way to check"
        yield scope.source.problem(path, "E2121", message, "one of {tcp: true}, {http: /path}, none", key=True)
    if check.timeout is not None and check.timeout > check.every:
        message = f"{format_duration(check.timeout)} is longer than `every`, {format_duration(check.every)}"
        yield scope.source.problem((*path, "timeout"), "E2407", message, "a check ends before the next begins")
