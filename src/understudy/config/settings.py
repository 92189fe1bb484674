"""What one node is told: the plan seen from that node."""

from understudy.config.keeping import flow_settings, is_stateful
from understudy.config.plan import Group, Node, Plan, Router
from understudy.core.settings import GroupSettings, NodeSettings, PeerSettings, RouterSettings, ServerSettings
from understudy.units import CENTISECOND, SECOND, Address, NetworkName, NodeName

WITNESSES_MAX = 4
"""On one network: enough to tell a dead LAN from a dead machine, few enough to ask all of them at once."""


def node_settings(plan: Plan, name: NodeName) -> NodeSettings:
    """The settings of node `name`. Raises KeyError if there is no such node."""
    nodes = {node.name: node for node in plan.nodes}
    node = nodes[name]
    groups = [group for group in plan.groups if name in group.nodes]
    member_names = {member for group in groups if not group.plain for member in group.nodes if member != name}
    peers = [other for other in plan.nodes if other.name in member_names]
    paths = {peer.name: _paths(plan, node, peer) for peer in peers}
    return NodeSettings(
        name=name,
        number=node.number,
        config_digest=plan.digest,
        networks=tuple(network.name for network in plan.networks),
        paths=tuple(n.name for n in plan.networks if any(n.name in known for known in paths.values())),
        peers=tuple(PeerSettings(peer.name, peer.number, paths[peer.name]) for peer in peers),
        groups=tuple(_group(plan, group, name) for group in groups),
        servers=_servers(plan, groups),
        witnesses={
            network.name: seen
            for network in plan.networks
            if (seen := _witnesses(plan, node, network.name, network.gateway, member_names))
        },
        heartbeat=min((group.advertise for group in groups), default=SECOND),
        flows=flow_settings(plan, groups),
    )


def _group(plan: Plan, group: Group, name: NodeName) -> GroupSettings:
    return GroupSettings(
        name=group.name,
        number=group.number,
        advertise=group.advertise,
        preempt=group.preempt,
        routers=tuple(_router(plan, router, group, name) for router in group.routers),
        peers=tuple(node for node in group.nodes if node != name),
        peer_priority={node: group.priorities[node] for node in group.nodes if node != name},
        plain=group.plain,
        stateful=is_stateful(plan, group),
        require_sync=group.require_sync,
        gate_deadline=group.gate_deadline,
    )


def _router(plan: Plan, router: Router, group: Group, name: NodeName) -> RouterSettings:
    addresses: tuple[Address, ...] = tuple(interface.ip for interface in router.addresses)
    if router.link_local is not None:
        addresses = (router.link_local, *addresses)  # RFC 9568, section 5.2.9
    return RouterSettings(
        network=router.network,
        family=router.family,
        vrid=router.vrid,
        priority=group.priorities[name],
        addresses=addresses,
        advertisement_interval_cs=group.advertise // CENTISECOND,
        # One router must not move alone: the group decides, unless there is nobody to decide with.
        preempt_mode=group.plain and group.preempt,
        version=group.version,
        pseudo_header=group.pseudo_header,
        virtual_mac=group.virtual_mac,
        unicast=tuple(
            address
            for other in plan.nodes
            if group.unicast and other.name in group.nodes and other.name != name
            for address in _addresses(other, router.network)
            if address.version == router.family
        ),
    )


def _servers(plan: Plan, groups: list[Group]) -> tuple[ServerSettings, ...]:
    held = {group.name for group in groups}
    return tuple(
        ServerSettings(server.binding, service.name, server.name, service.check.rise, service.check.fall)
        for service in plan.services
        if any(listen.group in held for listen in service.listen)
        for server in service.servers
    )


def _paths(plan: Plan, node: Node, peer: Node) -> dict[NetworkName, Address]:
    """The peer's address on every network where both have one of the same family."""
    paths = {}
    for network in plan.networks:
        families = {address.version for address in _addresses(node, network.name)}
        for address in _addresses(peer, network.name):
            if address.version in families:
                paths[network.name] = address
                break
    return paths


def _witnesses(
    plan: Plan, node: Node, network: NetworkName, gateway: tuple[Address, ...], members: set[NodeName]
) -> tuple[Address, ...]:
    """Who else can be asked on a LAN: its gateway first, then one address of each node that is no peer."""
    families = {address.version for address in _addresses(node, network)}
    candidates = [address for address in gateway if address.version in families]
    for other in plan.nodes:
        if other.name != node.name and other.name not in members:
            candidates += [a for a in _addresses(other, network) if a.version in families][:1]
    return tuple(candidates[:WITNESSES_MAX])


def _addresses(node: Node, network: NetworkName) -> tuple[Address, ...]:
    return tuple(i.ip for attachment in node.attachments if attachment.network == network for i in attachment.addresses)
