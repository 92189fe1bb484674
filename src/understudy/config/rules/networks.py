"""Networks, the nodes' addresses on them, and who owns which address."""

from collections.abc import Iterator
from itertools import combinations

from understudy.config.load import Steps
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope
from understudy.units import Address


def check_networks(scope: Scope) -> Iterator[Problem]:
    """Prefixes of one network and between networks; gateways."""
    placed = []
    for name, network in scope.file.networks.items():
        families: set[int] = set()
        for place, prefix in enumerate(network.prefixes):
            path: Steps = ("networks", name, "prefixes", place)
            if prefix.version in families:
                message = f"a second IPv{prefix.version} prefix"
                yield scope.source.problem(path, "E2120", message, "one a family; a second network may hold the other")
            else:
                placed.append((name, prefix, path))
            families.add(prefix.version)
        for place, address in enumerate(network.gateway):
            yield from scope.misplaced(address, name, ("networks", name, "gateway", place))
        yield from scope.one_a_family(network.gateway, ("networks", name, "gateway"))
    for (name, prefix, _), (_, other_prefix, path) in combinations(placed, 2):
        if prefix.version == other_prefix.version and prefix.overlaps(other_prefix):
            message = f"{other_prefix} overlaps {prefix} of {name}"
            yield scope.source.problem(path, "E2201", message, "one network is one LAN with addresses of its own")


def check_nodes(scope: Scope) -> Iterator[Problem]:
    """A node's attachments: known networks, addresses inside them, one interface each."""
    for name, attachments in scope.file.nodes.items():
        interfaces: dict[str, str] = {}
        for network, attachment in attachments.items():
            path: Steps = ("nodes", name, network)
            yield from scope.unknown(path, "E2205", "networks", network, key=True)
            for place, address in enumerate(attachment.addresses):
                yield from scope.misplaced(address, network, (*path, "addresses", place))
            yield from scope.one_a_family(attachment.addresses, (*path, "addresses"))
            if attachment.interface is not None:
                first = interfaces.setdefault(attachment.interface, network)
                if first != network:
                    message = f"{attachment.interface} is already the interface to {first}"
                    yield scope.source.problem((*path, "interface"), "E2207", message, "one port a network")


def check_owners(scope: Scope) -> Iterator[Problem]:
    """Every address has one owner."""
    owners: dict[Address, tuple[str, Steps]] = {}
    gateways = {address: name for name, network in scope.file.networks.items() for address in network.gateway}
    for name, attachments in scope.file.nodes.items():
        for network, attachment in attachments.items():
            for place, address in enumerate(attachment.addresses):
                path: Steps = ("nodes", name, network, "addresses", place)
                if address in owners:
                    yield _twice(scope, path, address, *owners[address])
                owners.setdefault(address, (f"node {name}", path))
    for name, group in scope.file.redundancy.items():
        for network, addresses in group.addresses.items():
            for place, address in enumerate(addresses):
                path = ("redundancy", name, "addresses", network, place)
                if address in owners:
                    owner, first = owners[address]
                    if owner.startswith("node "):
                        message = f"{address} is the own address of {owner} (line {scope.line(first)})"
                        hint = "a virtual address belongs to no node; choose a free one"
                        yield scope.source.problem(path, "E2303", message, hint)
                    else:
                        yield _twice(scope, path, address, owner, first)
                elif address in gateways:
                    message = f"{address} is the gateway of {gateways[address]}"
                    yield scope.source.problem(path, "E2204", message, "`gateway` names the next router, not the group")
                owners.setdefault(address, (f"group {name}", path))


def _twice(scope: Scope, path: Steps, address: Address, owner: str, first: Steps) -> Problem:
    message = f"{address} belongs to {owner} already (line {scope.line(first)})"
    return scope.source.problem(path, "E2204", message, "every address has one owner")
