"""What the kernel need not carry further of a flood: chains at the ingress of each port, ahead of the lease's gates.

The agent hears VRRP by a packet socket, which sees a frame before any hook, and nothing else on the node wants our
virtual routers' advertisements: here they end, before macvlan copies them and connection tracking looks them up.

Datagrams to the channel's port come from the peer's address and from that same port; all others share one small budget.
Not the peer's: what pretends to be it cannot be told apart here, and the socket's own filter thins it
(adapters.datagram). The budget also bounds what a flood from ever new ports can leave in the table of flows. The stream
of kept flows and the table of NAT's pools have a port each, with a budget of its own.
"""

from collections.abc import Mapping, Sequence

from understudy.config.keeping import flow_settings
from understudy.config.plan import Group, Plan
from understudy.render.text import Chain, chain_name, chain_text
from understudy.units import Address, NetworkName, NodeName

CHANNEL_PORT = 4112
FLOWS_PORT = 4113
"""Of the stream of kept flows, sealed as the channel is."""
POOLS_PORT = 4114
"""Of the table of NAT's pools, likewise."""
STRANGERS_A_SECOND = 500
_PRIORITY = -510
"""Before the lease's gates."""


def with_flood(
    lease: str, plan: Plan, node: NodeName, groups: Sequence[Group], interfaces: Mapping[NetworkName, str]
) -> str:
    """The text of `render_lease` with these chains in its table: two blocks of one table would undo each other."""
    assert lease.endswith("\n}\n")
    rules: dict[str, list[str]] = {}
    # By `ether type`: without it the text means the protocol behind a VLAN tag, and a VLAN of the port that
    # has virtual routers of its own would go deaf.
    for family, expression in ((4, "ether type ip ip protocol 112"), (6, "ether type ip6 ip6 nexthdr 112")):
        vrids: dict[str, list[str]] = {}
        for router in (router for group in groups for router in group.routers if router.family == family):
            vrids.setdefault(interfaces[router.network], []).append(str(router.vrid))
        for device, numbers in vrids.items():
            rules.setdefault(device, []).append(f"{expression} @th,8,8 {{ {', '.join(dict.fromkeys(numbers))} }} drop")
    ports = channel_ports(plan, groups)
    for network, addresses in _members(plan, node).items():
        for ip, version in (("ip", 4), ("ip6", 6)):
            members = ", ".join(str(address) for address in addresses if address.version == version)
            for port in ports if members else ():
                mine = f"ether type {ip} {ip} daddr {{ {members} }} udp dport {port}"
                rate = f"limit rate over {STRANGERS_A_SECOND}/second burst {STRANGERS_A_SECOND} packets drop"
                rules.setdefault(interfaces[network], []).extend(
                    (f"{mine} {ip} saddr {{ {members} }} udp sport {port} accept", f"{mine} {rate}")
                )
    chains = [
        chain_text(
            Chain(
                f"flood_{chain_name(device)}",
                tuple(lines),
                hook=f'type filter hook ingress device "{device}" priority {_PRIORITY}; policy accept;',
            )
        )
        for device, lines in rules.items()
    ]
    return lease.removesuffix("}\n") + "\n" + "\n\n".join(chains) + "\n}\n" if chains else lease


def channel_ports(plan: Plan, groups: Sequence[Group]) -> tuple[int, ...]:
    """On which the nodes of these groups talk to each other."""
    kept = (FLOWS_PORT,) if flow_settings(plan, groups).kept else ()
    lines = plan.ios
    pooled = (POOLS_PORT,) if lines is not None and any(group.name == lines.group for group in groups) else ()
    return (CHANNEL_PORT, *kept, *pooled)


def _members(plan: Plan, node: NodeName) -> dict[NetworkName, list[Address]]:
    """Where the channel runs, with the addresses that speak there: ours among them, so that both nodes' texts agree."""
    peers = plan.settings(node).peers
    speakers = {node, *(peer.name for peer in peers)}
    paths = dict.fromkeys(network for peer in peers for network in peer.paths)
    return {
        network: [
            interface.ip
            for each in plan.nodes
            if each.name in speakers
            for attachment in each.attachments
            if attachment.network == network
            for interface in attachment.addresses
        ]
        for network in paths
    }
