"""Redundancy groups: their nodes, their virtual addresses, their VRIDs."""

from collections.abc import Iterator

from understudy.config.load import Steps
from understudy.config.models import GroupModel
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope

PLACE_MAX = 255
"""A node of a group is named on the channel by one byte: its place in `nodes`."""


def check_groups(scope: Scope) -> Iterator[Problem]:
    """Every problem of groups and between groups."""
    places = {name: place for place, name in enumerate(scope.file.nodes, start=1)}
    for name, group in scope.file.redundancy.items():
        yield from _check_members(scope, name, group, places)
        yield from _check_addresses(scope, name, group)
    yield from _check_vrids(scope)
    yield from _check_partners(scope)


def _check_partners(scope: Scope) -> Iterator[Problem]:
    """A node hears one partner over the channel: all its groups must be with the same one."""
    partners: dict[str, tuple[str, str]] = {}
    for name, group in scope.file.redundancy.items():
        if len(group.nodes) != 2 or group.nodes[0] == group.nodes[1]:
            continue
        for place, node in enumerate(group.nodes):
            partner = group.nodes[1 - place]
            other, elsewhere = partners.setdefault(node, (partner, name))
            if other != partner:
                message = f"not yet: {node} stands in for {partner} here and for {other} in {elsewhere}"
                path: Steps = ("redundancy", name, "nodes", place)
                yield scope.source.problem(path, "E2907", message, "give each node one partner for all its groups")


def _check_members(scope: Scope, name: str, group: GroupModel, places: dict[str, int]) -> Iterator[Problem]:
    path: Steps = ("redundancy", name, "nodes")
    if len(group.nodes) < 2:
        message = f"a group needs two nodes, this one has {len(group.nodes)}"
        yield scope.source.problem(path, "E2301", message, "the preferred one first, as in [gw1, gw2]", key=True)
    if len(group.nodes) > 2:
        message = f"not yet: a group of {len(group.nodes)} nodes"
        yield scope.source.problem((*path, 2), "E2902", message, "two nodes, the preferred one first")
    for place, node in enumerate(group.nodes):
        yield from scope.unknown((*path, place), "E2302", "nodes", node)
        if node in group.nodes[:place]:
            yield scope.source.problem((*path, place), "E2120", f"{node} stands twice", "two different nodes")
        if places.get(node, 0) > PLACE_MAX:
            message = f"{node} is entry {places[node]} of `nodes`, a node of a group is one of the first {PLACE_MAX}"
            yield scope.source.problem((*path, place), "E2307", message, f"move {node} towards the top of `nodes`")


def _check_addresses(scope: Scope, name: str, group: GroupModel) -> Iterator[Problem]:
    members = {node: scope.file.nodes[node] for node in group.nodes if node in scope.file.nodes}
    if len(members) > 1 and not set.intersection(*(set(attachments) for attachments in members.values())):
        path: Steps = ("redundancy", name, "nodes")
        message = f"{' and '.join(members)} share no network on which to hear each other"
        yield scope.source.problem(path, "E2306", message, "give both an address on one network", key=True)
        return
    for network, addresses in group.addresses.items():
        path = ("redundancy", name, "addresses", network)
        yield from scope.unknown(path, "E2205", "networks", network, key=True)
        for place, address in enumerate(addresses):
            yield from scope.misplaced(address, network, (*path, place))
        if network not in scope.file.networks:
            continue
        for family in sorted({address.version for address in addresses}):
            for node, attachments in members.items():
                own = attachments[network].addresses if network in attachments else ()
                if not any(address.version == family for address in own):
                    message = f"{node} has no IPv{family} address on {network}"
                    hint = f"advertisements leave from a node's own address: add one to nodes.{node}"
                    yield scope.source.problem(path, "E2305", message, hint, key=True)


def _check_vrids(scope: Scope) -> Iterator[Problem]:
    claimed: dict[tuple[str, int, int], str] = {}
    for name, group in scope.file.redundancy.items():
        if group.vrid is None:
            continue
        for network, addresses in group.addresses.items():
            for family in sorted({address.version for address in addresses}):
                first = claimed.setdefault((network, family, group.vrid), name)
                if first != name:
                    line = scope.line(("redundancy", first, "vrid"))
                    message = f"{group.vrid} is the VRID of {first} on {network}, too (line {line})"
                    hint = "leave `vrid` out and a free one is chosen"
                    yield scope.source.problem(("redundancy", name, "vrid"), "E2304", message, hint)
                    break
