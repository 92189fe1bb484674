"""What may change while a node runs: a table from the change to `live` or `refused`, each with its reason.

A reload is an agent restart of the core alone, and that is no fail-over: the kernel forwards throughout, and the new
core adopts what it holds. Live is therefore whatever leaves the lease, the links and the channel as they are; refused
is what changes the identity of a node, a group or a LAN, on which the other node and the kernel rely. A refused change
is made node by node: the standby is restarted with the new file, then `understudy switchover`, then the other one.

Established connections outlive every live change: their translation is in conntrack, which nothing here touches. Their
`ct mark` names the same server of the same service before and after, because bindings are made from names
(config.bindings); the rare file whose names would move one is refused. Replicated flows are told by their marks: the
process that replicates begins anew with the new file, and both nodes agree anew. While the two run different files,
flows that only one of them keeps are in no proof of the other, and what they both keep is not touched by that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from understudy.config.bindings import binding_name
from understudy.config.plan import Check, Group, Network, Node, Plan, Service
from understudy.ios.printer import print_configuration
from understudy.units import Family, GroupName, NetworkName, NodeName, format_duration

REFUSED: Final = "E5230"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table."""

    kind: str
    live: bool
    because: str


TABLE: tuple[Verdict, ...] = (
    Verdict("cluster", False, "its name seeds the balancer and the VRIDs: another cluster needs other agents"),
    Verdict("node-gone", False, "this node would serve nothing: stop its agent instead"),
    Verdict("node-number", False, "a node's place in `nodes:` names it on the channel: add nodes at the end"),
    Verdict("node-ports", False, "ports and own addresses are bound when an agent starts"),
    Verdict("network-place", False, "a network's place names it on the channel and in link names: add it at the end"),
    Verdict("network-prefix", False, "addresses on it are bound with their prefix when an agent starts"),
    Verdict("group-gone", False, "nobody would hand its addresses over: they would vanish under their users"),
    Verdict("group-number", False, "a group's place names it in the lease, in marks and in links: add it at the end"),
    Verdict("group-nodes", False, "partners find each other when an agent starts"),
    Verdict("group-networks", False, "links of a group come and go with its role, all of them at once"),
    Verdict("group-vrid", False, "another VRID is another virtual MAC address, and another router to the other node"),
    Verdict("group-vrrp", False, "the other node could not hear this one until it runs the same file"),
    Verdict("group-other", False, "nobody has said yet that a running node can take it"),
    Verdict("group-ports", False, "sockets for a family on a network, multicast or unicast, are opened at the start"),
    Verdict("group", True, "it begins as Backup and is elected"),
    Verdict("group-elsewhere", True, "this node is not in it"),
    Verdict("address", True, "links stay: an Active takes or drops the address and announces it"),
    Verdict("advertise-v2", False, "a version 2 peer drops what names another interval, and both would be Active"),
    Verdict("advertise", True, "the next advertisement carries the interval, and the standby goes by it"),
    Verdict("preempt", True, "decides from the next decision on"),
    Verdict("priority", True, "moves nothing by itself; a group that preempts is then handed over"),
    Verdict("checksum", True, "both forms are understood on receipt"),
    Verdict("network", True, "no group of this node has to do with it"),
    Verdict("gateway", True, "a witness, asked from then on"),
    Verdict("node", True, "it shares no group with this one"),
    Verdict("service", True, "new connections go by it, established ones go on"),
    Verdict("servers", True, "new connections go by it, established ones go on"),
    Verdict("binding", False, "live flows carry this number in their marks: with another name nothing collides"),
    Verdict("check", True, "the checks begin anew, with the verdicts of before"),
    Verdict("nat", True, "new connections go by it, established ones go on"),
    Verdict("objective", True, "the drill judges by it, no node does"),
    Verdict("state", True, "what is kept from now on goes by it; both nodes agree anew"),
    Verdict("gate", True, "the next promotion goes by it"),
    Verdict("key", True, "what any of the keys sealed is opened"),
)
_VERDICTS: Mapping[str, Verdict] = {verdict.kind: verdict for verdict in TABLE}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two files, in words, and whether a running node can take it."""

    kind: str
    words: str

    @property
    def verdict(self) -> Verdict:
        return _VERDICTS[self.kind]

    def __str__(self) -> str:
        return self.words if self.verdict.live else f"{self.words}: {self.verdict.because}"


def compare(old: Plan, new: Plan, node: NodeName) -> tuple[Change, ...]:
    """What differs for `node`, in the order of the file."""
    if old.cluster != new.cluster:
        return (Change("cluster", f"cluster {old.cluster} -> {new.cluster}"),)
    if not any(node in group.nodes for group in new.groups):
        return (Change("node-gone", f"node {node} is in no redundancy group"),)
    members = frozenset(member for group in old.groups if node in group.nodes for member in group.nodes)
    ours = frozenset(port.network for each in old.nodes if each.name in members for port in each.attachments)
    return (
        *_networks(old.networks, new.networks, ours),
        *_nodes(old.nodes, new.nodes, members),
        *_groups(old, new, node),
        *_services(old.services, new.services),
        *_bindings(old, new),
        *_listed("nat", "nat", (_nat(old), _nat(new))),
        *_listed("objective", "objective", (_objectives(old), _objectives(new))),
    )


def compare_keys(old: Sequence[bytes], new: Sequence[bytes]) -> tuple[Change, ...]:
    """What differs between two key files; the first key seals."""
    if tuple(old) == tuple(new):
        return ()
    held = "1 key" if len(new) == 1 else f"{len(new)} keys"
    if old[0] == new[0]:
        return (Change("key", f"cluster key: {held}, sealing with the same"),)
    known = "one" if new[0] in old else "one that this node did not open before: does the peer?"
    return (Change("key", f"cluster key: {held}, sealing with another {known}"),)


def _networks(old: Iterable[Network], new: Iterable[Network], ours: frozenset[NetworkName]) -> Iterator[Change]:
    before, after = tuple(old), tuple(new)
    places = {network.name: place for place, network in enumerate(after)}
    held = {network.name: network for network in after}
    for place, network in enumerate(before):
        name = network.name
        if name not in held:
            yield Change("network-place" if name in ours else "network", f"network {name} removed")
            continue
        if places[name] != place and name in ours:
            yield Change("network-place", f"network {name} moved from place {place + 1} to {places[name] + 1}")
        if held[name].prefixes != network.prefixes:
            words = f"network {name}: {_list(network.prefixes)} -> {_list(held[name].prefixes)}"
            yield Change("network-prefix" if name in ours else "network", words)
        if held[name].gateway != network.gateway:
            yield Change("gateway", f"network {name}: gateway {_list(network.gateway)} -> {_list(held[name].gateway)}")
    known = {network.name for network in before}
    yield from (Change("network", f"network {n.name} added: {_list(n.prefixes)}") for n in after if n.name not in known)


def _nodes(old: Iterable[Node], new: Iterable[Node], members: frozenset[NodeName]) -> Iterator[Change]:
    before, after = {node.name: node for node in old}, {node.name: node for node in new}
    for name, node in before.items():
        now = after.get(name)
        if now is None:
            yield Change("node-ports" if name in members else "node", f"node {name} removed")
            continue
        if now.number != node.number and name in members:
            yield Change("node-number", f"node {name} moved from place {node.number} to {now.number}")
        if now.attachments != node.attachments:
            words = f"node {name}: {_ports(node)} -> {_ports(now)}"
            yield Change("node-ports" if name in members else "node", words)
    yield from (Change("node", f"node {name} added: {_ports(n)}") for name, n in after.items() if name not in before)


def _groups(old: Plan, new: Plan, node: NodeName) -> Iterator[Change]:
    before, after = {group.name: group for group in old.groups}, {group.name: group for group in new.groups}
    for name, group in before.items():
        now = after.get(name)
        if node not in group.nodes and (now is None or node not in now.nodes):
            if now != group:
                yield Change("group-elsewhere", f"group {name} of {_list(group.nodes)} changed")
        elif now is None:
            yield Change("group-gone", f"group {name} removed")
        else:
            yield from _group(group, now)
    ours = [group for group in old.groups if node in group.nodes]
    spoken = {spoken for group in ours for spoken in _spoken(group)}
    heard = {member for group in ours for member in group.nodes}
    partners = {member for group in ours if not group.plain for member in group.nodes}
    """The channel has a socket where one of them is heard; a plain group needs none."""
    for name, group in after.items():
        if name not in before:
            if node not in group.nodes:
                kind = "group-elsewhere"
            elif not _spoken(group) <= spoken:
                kind = "group-ports"
            else:
                kind = "group" if set(group.nodes) <= (heard if group.plain else partners) else "group-nodes"
            yield Change(kind, f"group {name} added: {_list(_addresses(group))}")


def _spoken(group: Group) -> set[tuple[NetworkName, Family, bool]]:
    """What ports must have been opened for: a unicast one is another than a multicast one."""
    return {(router.network, router.family, group.unicast) for router in group.routers}


_GROUP: tuple[tuple[str, str, Callable[[Group], str]], ...] = (
    ("group-number", "place", lambda g: str(g.number)),
    ("group-nodes", "nodes", lambda g: _list(sorted(g.nodes))),
    ("group-networks", "networks", lambda g: _list(f"{r.network}/{r.family}" for r in g.routers)),
    ("group-vrid", "vrid", lambda g: _list(dict.fromkeys(r.vrid for r in g.routers))),
    ("group-vrrp", "version", lambda g: str(g.version)),
    ("group-vrrp", "virtual_mac", lambda g: str(g.virtual_mac).lower()),
    ("group-vrrp", "unicast", lambda g: str(g.unicast).lower()),
    ("group-vrrp", "peer", lambda g: "vrrp" if g.plain else "understudy"),
    ("checksum", "checksum", lambda g: "rfc5798" if g.pseudo_header else "rfc9568"),
    ("advertise", "advertise", lambda g: format_duration(g.advertise)),
    ("preempt", "preempt", lambda g: str(g.preempt).lower()),
    (
        "priority",
        "priorities",
        lambda g: _list(f"{name} {priority}" for name, priority in sorted(g.priorities.items())),
    ),
    ("gate", "require_sync", lambda g: str(g.require_sync).lower()),
    ("gate", "gate_deadline", lambda g: format_duration(g.gate_deadline)),
    ("state", "copy_every", lambda g: format_duration(g.copy_every)),
)
"""What is compared of a group, and how it is said."""

_COMPARED: Final = (
    "number", "nodes", "routers", "version", "virtual_mac", "unicast", "plain", "pseudo_header", "advertise", "preempt",
    "priorities", "require_sync", "gate_deadline", "copy_every",
)  # fmt: skip
"""Fields of a group that the rows above and its addresses cover: another one that differs is refused."""


def _group(old: Group, new: Group) -> Iterator[Change]:
    for kind, key, text in _GROUP:
        before, after = text(old), text(new)
        if before != after:
            # RFC 3768, section 7.1: a receiver discards what names another interval than its own.
            fixed = kind == "advertise" and old.plain and old.version == 2
            yield Change("advertise-v2" if fixed else kind, f"group {old.name}: {key} {before} -> {after}")
    yield from _listed("address", f"group {old.name}: address", (_addresses(old), _addresses(new)))
    if replace(old, **{name: getattr(new, name) for name in _COMPARED}) != new:
        yield Change("group-other", f"group {old.name} changed")


def _services(old: Iterable[Service], new: Iterable[Service]) -> Iterator[Change]:
    before, after = {service.name: service for service in old}, {service.name: service for service in new}
    yield from (Change("service", f"service {name} removed") for name in before if name not in after)
    for name, service in after.items():
        was = before.get(name)
        if was is None:
            yield Change("service", f"service {name} added: {_list(_ends(service))}")
            continue
        yield from _listed("service", f"service {name}: listen", (_ends(was), _ends(service)))
        servers = tuple(_servers(each) for each in (was, service))
        yield from _listed("servers", f"service {name}: server", servers)
        if servers[0] != servers[1] and set(servers[0]) == set(servers[1]):
            yield Change("servers", f"service {name}: servers in another order")
        if was.state != service.state:
            yield Change("state", f"service {name}: state {was.state} -> {service.state}")
        if was.check != service.check:
            yield Change("check", f"service {name}: check {_check(was.check)} -> {_check(service.check)}")


def _bindings(old: Plan, new: Plan) -> Iterator[Change]:
    """Numbers that would mean another server: two names fell on one number, and one of them came or went."""
    before, after = _numbers(old), _numbers(new)
    owners = {number: name for name, number in before.items()}
    for name, number in after.items():
        if before.get(name, number) != number:
            yield Change("binding", f"server {name}: its number in marks {before[name]} -> {number}")
        elif (owner := owners.get(number, name)) != name and owner not in after:
            yield Change("binding", f"server {name}: the number in marks of {owner}, removed")


def _numbers(plan: Plan) -> dict[str, int]:
    return {
        binding_name(service.name, server.name): server.binding
        for service in plan.services
        for server in service.servers
    }


def _listed(kind: str, what: str, both: tuple[tuple[str, ...], ...]) -> Iterator[Change]:
    """What came and went in a list whose order does not matter."""
    before, after = (dict.fromkeys(each) for each in both)
    yield from (Change(kind, f"{what} {each} added") for each in after if each not in before)
    yield from (Change(kind, f"{what} {each} removed") for each in before if each not in after)


def _addresses(group: Group) -> tuple[str, ...]:
    return tuple(f"{address} on {router.network}" for router in group.routers for address in router.addresses)


def _servers(service: Service) -> tuple[str, ...]:
    return tuple(f"{server.name} ({_list(server.addresses)})" for server in service.servers)


def _ends(service: Service) -> tuple[str, ...]:
    return tuple(f"{listen.address} port {listen.port}" for listen in service.listen)


def _nat(plan: Plan) -> tuple[str, ...]:
    return tuple(
        f"{each.source} to {each.to} as {_list(each.addresses)}"
        + (f", state {each.state}" if each.state != "none" else "")
        + (f", helpers {_list(each.helpers)}" if each.helpers else "")
        for each in plan.source_nat
    ) + _ios(plan)


def _ios(plan: Plan) -> tuple[str, ...]:
    if plan.ios is None:
        return ()
    lines = print_configuration(replace(plan.ios.configuration, interfaces=())).splitlines()
    roles = (f"{each.name} is {', '.join(each.roles)}" for each in plan.ios.configuration.interfaces if each.roles)
    kept = f"IOS lines on {plan.ios.group}: profile {plan.ios.profile}, state {plan.ios.state}, "
    helpers = f"helpers {_list(plan.ios.helpers)}"
    return (kept + helpers, *roles, *(line.strip() for line in lines if line.strip(" !")))


def _objectives(plan: Plan) -> tuple[str, ...]:
    return tuple(f"{each.service}: outage {format_duration(each.outage)}" for each in plan.objectives)


def _check(check: Check) -> str:
    if check.kind == "none":
        return "none"
    port = f" port {check.port}" if check.port else ""
    times = f"every {format_duration(check.every)}, timeout {format_duration(check.timeout)}"
    return f"{check.kind} {check.path}".strip() + f"{port} {times}, rise {check.rise}, fall {check.fall}"


def _ports(node: Node) -> str:
    return _list(
        f"{port.network} {_list(port.addresses)}" + (f" on {port.interface}" if port.interface else "")
        for port in node.attachments
    )


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "none"


def surviving(old: Plan, new: Plan, up: frozenset[int]) -> frozenset[int]:
    """The bindings of `new` that are up, when those in `up` are of `old`: a server that is down stays down.

    A server is the same if its service, addresses and port are; one that is new counts as up until it is checked.
    """
    down = {
        (service.name, server.addresses, server.port)
        for service in old.services
        for server in service.servers
        if server.binding not in up
    }
    return frozenset(
        server.binding
        for service in new.services
        for server in service.servers
        if (service.name, server.addresses, server.port) not in down or service.check.kind == "none"
    )


def added_addresses(old: Plan, new: Plan) -> bool:
    """Whether any group has an address that it had not: the LAN must be told of it."""
    before: set[tuple[GroupName, str]] = {(group.name, each) for group in old.groups for each in _addresses(group)}
    return any((group.name, each) not in before for group in new.groups for each in _addresses(group))
