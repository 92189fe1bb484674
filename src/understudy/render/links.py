"""One macvlan for each virtual MAC: a group on a network in one family, since IPv4 and IPv6 have different ones.

Mode `private`: a virtual MAC talks to the wire and to nobody on this node. In mode `bridge` broadcasts from one macvlan
would be handed to the others on the port, past the lease's gates. The node itself reaches virtual addresses as local
ones.

Addresses are there only while the group is Active. They are host prefixes: the connected route stays on the parent, so
that forwarded and own traffic leaves with the port's own MAC, and nothing leaves from the virtual one but answers about
virtual addresses.

Addresses of NAT's statics and pools are no addresses of a link: a local route for each prefix makes the kernel answer
for them. Such a route goes by itself when its macvlan goes down.

Without virtual MAC (`virtual_mac: false`: clouds and ports with port security take frames from one MAC only) the
addresses go to the port itself, as host prefixes again: an address with the network's length would be a secondary of
the node's own, go with it, and bring a second connected route. A host prefix is no source for the node's own traffic
either: routes prefer the address whose network they came with, `arp_announce=2` one that includes the target, and IPv6
addresses are deprecated from the start (`adapters.links`). The virtual link-local address is the same as with a virtual
MAC, so that hosts that use it as their next hop keep it whichever way the file says.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_interface

from understudy.config.plan import Group, Plan, Router
from understudy.render.ios_pair import PairNat, detour_routes, held_prefixes
from understudy.render.lease import virtual_addresses
from understudy.render.model import Link, VirtualAddress
from understudy.render.names import link_name
from understudy.render.sysctls import link_sysctls
from understudy.units import NetworkName


def _name(plan: Plan, group: Group, router: Router, interfaces: Mapping[NetworkName, str]) -> str:
    return link_name(plan, group, router) if group.virtual_mac else interfaces[router.network]


def render_links(
    plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str], pair: PairNat | None = None
) -> tuple[Link, ...]:
    return tuple(
        Link(
            name=(name := _name(plan, group, router, interfaces)),
            parent=interfaces[router.network],
            mac=router.mac if group.virtual_mac else "",
            mode="private" if group.virtual_mac else None,
            group=group.name,
            network=router.network,
            family=router.family,
            addresses=tuple(ip_interface(address) for address in virtual_addresses(router)),
            sysctls=link_sysctls(name, router.family, for_others=bool(held)) if group.virtual_mac else (),
            held=held,
            detours=detour_routes(plan, pair, router.network, interfaces[router.network]) if router.family == 4 else (),
        )
        for group in groups
        for router in group.routers
        for held in (held_prefixes(pair, group, router.network) if router.family == 4 and group.virtual_mac else (),)
    )


def render_addresses(
    plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str]
) -> tuple[VirtualAddress, ...]:
    return tuple(
        VirtualAddress(
            group=group.name,
            network=router.network,
            address=address,
            mac=router.mac if group.virtual_mac else "",
            link=_name(plan, group, router, interfaces),
            parent=interfaces[router.network],
        )
        for group in groups
        for router in group.routers
        for address in router.addresses
    )
