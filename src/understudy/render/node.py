"""Plan and node in, kernel objects out. Nothing here asks the kernel: the same file gives the same text everywhere."""

from collections.abc import Mapping

from understudy.config.keeping import flow_settings
from understudy.config.plan import Plan
from understudy.render.flood import with_flood
from understudy.render.guard import render_guard
from understudy.render.ios_pair import StillHeld, render_pair
from understudy.render.lease import render_lease
from understudy.render.leaseset import JIFFY
from understudy.render.links import render_addresses, render_links
from understudy.render.model import NodeConfig
from understudy.render.nat import render_nat
from understudy.render.rules import render_rules
from understudy.render.sysctls import node_sysctls
from understudy.units import Duration, NetworkName, NodeName


def render_node(
    plan: Plan,
    node: NodeName,
    interfaces: Mapping[NetworkName, str] | None = None,
    *,
    up: frozenset[int] | None = None,
    jiffy: Duration = JIFFY,
    lease_enabled: bool = True,
    still: StillHeld | None = None,
) -> NodeConfig:
    """What the kernel of `node` shall hold. Raises KeyError if there is no such node, or a group's network has no port.

    `interfaces` names the node's port on each network; what it leaves out is called as the file says, or like the
    network. `up` holds the bindings of the servers that are up (None: all). `lease_enabled=False` is a drill's control:
    gates open. `still`: what is answered for besides.
    """
    ports = {**default_interfaces(plan, node), **(interfaces or {})}
    groups = [group for group in plan.groups if node in group.nodes]
    if not groups:
        return NodeConfig(node, "", (), (), (), ())
    routers = [router for group in groups for router in group.routers]
    families = tuple(sorted({router.family for router in routers}))
    parents = tuple(dict.fromkeys(ports[router.network] for router in routers))
    pair = render_pair(plan, groups, ports, still)
    lease = render_lease(groups, ports, jiffy=jiffy, enabled=lease_enabled, pair=pair)
    lease = with_flood(lease, plan, node, groups, ports)
    return NodeConfig(
        node=node,
        ruleset=lease + "\n" + render_nat(plan, groups, ports, up=up, pair=pair),
        links=render_links(plan, groups, ports, pair),
        sysctls=(
            *node_sysctls(families, parents, flows_kept=flow_settings(plan, groups).kept),
            *((path, str(value)) for path, value in (pair.nat.sysctls if pair else ())),
        ),
        rules=render_rules(plan, groups, pair),
        addresses=render_addresses(plan, groups, ports),
        guard=render_guard(plan, groups, ports, pair),
        pools=pair.pools if pair else None,
    )


def default_interfaces(plan: Plan, node: NodeName) -> dict[NetworkName, str]:
    """The node's port on each network, as far as the file alone can tell: `interface:`, or the network's name."""
    for each in plan.nodes:
        if each.name == node:
            return {port.network: port.interface or str(port.network)[:15] for port in each.attachments}
    raise KeyError(node)
