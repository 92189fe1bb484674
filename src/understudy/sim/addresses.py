"""Who has which address in the simulated world, as far as the file leaves it open."""

from ipaddress import IPv6Address

from understudy.config.plan import Plan
from understudy.core.settings import NodeSettings
from understudy.units import Address, Family, NetworkName


def local_addresses(plan: Plan, settings: NodeSettings) -> dict[tuple[NetworkName, Family], Address]:
    """Where its advertisements come from: its address on the LAN, for IPv6 its link-local one (RFC 9568, 5.1.2.1)."""
    own = {
        (attachment.network, interface.version): interface.ip
        for node in plan.nodes
        if node.name == settings.name
        for attachment in node.attachments
        for interface in attachment.addresses
    }
    local: dict[tuple[NetworkName, Family], Address] = {}
    for group in settings.groups:
        for router in group.routers:
            key = (router.network, router.family)
            if router.family == 6:
                local[key] = IPv6Address(f"fe80::{settings.number:x}")
            elif key in own:
                local[key] = own[key]
    return local


def hosts_of(plan: Plan) -> dict[NetworkName, Address]:
    """The last free address of each network."""
    used = {i.ip for node in plan.nodes for attachment in node.attachments for i in attachment.addresses}
    used |= {i.ip for group in plan.groups for router in group.routers for i in router.addresses}
    hosts: dict[NetworkName, Address] = {}
    for network in plan.networks:
        prefix = network.prefixes[0]
        number = int(prefix.broadcast_address) - 1
        while (address := type(prefix.network_address)(number)) in used:
            number -= 1
        hosts[network.name] = address
    return hosts
