"""The sockets on the node's LANs, which outlive the core.

The supervisor opens them and keeps them: the last close of a packet socket waits for a grace period of the kernel, and
a dead core that owned them would be gone only tens of milliseconds later. Held here, its successor also finds what
arrived in between.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from understudy.adapters.channel import FLOWS_PORT, PORT, key_id
from understudy.adapters.datagram import ChannelSocket
from understudy.adapters.links import Links
from understudy.adapters.packet import Port
from understudy.adapters.unicast import UnicastPort, swallow
from understudy.agent.options import AgentOptions, find_node
from understudy.core.settings import NodeSettings
from understudy.errors import OperatorError
from understudy.units import SECOND, Address, Duration, Family, NetworkName


@dataclass(slots=True)
class Lan:
    """One network as the agent uses it."""

    network: NetworkName
    number: int
    """Position in the file."""
    port: Port
    own: dict[int, Address]
    """Our address by family: what advertisements and questions are sent from.

    Of IPv6 the link-local one (RFC 9568, section 5.1.2.1), unless advertisements are unicast: the peer knows the other.
    """
    channel: ChannelSocket | None
    """UDP socket of the node-to-node channel."""
    flows: ChannelSocket | None = None
    """The same for replicated flows. There is one also while none are: a file that wants them may come."""
    swallowing: list[socket.socket] = field(default_factory=list)
    """Held open for the kernel's sake, where advertisements are unicast: nobody reads them."""


def kernel_jiffy() -> Duration:
    """The kernel's tick: the resolution of the coarse clock (clock_getres(2))."""
    return round(time.clock_getres(getattr(time, "CLOCK_MONOTONIC_COARSE", 6)) * SECOND)


def open_lans(
    options: AgentOptions, settings: NodeSettings, interfaces: dict[NetworkName, str]
) -> dict[NetworkName, Lan]:
    families: dict[NetworkName, set[Family]] = {}
    unicast: dict[NetworkName, set[Address]] = {}
    for group in settings.groups:
        for router in group.routers:
            families.setdefault(router.network, set()).add(router.family)
            unicast.setdefault(router.network, set()).update(router.unicast)
    names = dict.fromkeys((*families, *settings.paths))
    own: dict[NetworkName, dict[int, Address]] = {}
    for attachment in find_node(options.plan, options.node).attachments:
        own[attachment.network] = {interface.version: interface.ip for interface in attachment.addresses}
    peers = {network: address for peer in settings.peers for network, address in peer.paths.items()}
    lans = {}
    for name in names:
        known = _partners(options, name)
        port = _port(interfaces[name], frozenset(families.get(name, set())), unicast.get(name, set()), known)
        told = {address.version for address in unicast.get(name, set())}
        if 6 in families.get(name, set()) and 6 not in told:
            own[name][6] = _link_local(port)
        channel = flows = None
        if name in peers:
            source = next(
                interface.ip
                for attachment in find_node(options.plan, options.node).attachments
                if attachment.network == name
                for interface in attachment.addresses
                if interface.version == peers[name].version
            )
            channel = _channel_socket(source, interfaces[name], peers[name], options.keys, PORT)
            flows = _channel_socket(source, interfaces[name], peers[name], options.keys, FLOWS_PORT)
        swallowing = [swallow(interfaces[name], 4 if version == 4 else 6) for version in sorted(told)]
        lans[name] = Lan(name, settings.networks.index(name), port, own[name], channel, flows, swallowing)
    return lans


def know_keys(lans: Mapping[NetworkName, Lan], keys: Sequence[bytes]) -> None:
    """From here on the sockets let in what names one of these keys."""
    for lan in lans.values():
        for end in (lan.channel, lan.flows):
            if end is not None:
                end.know([key_id(key) for key in keys])


def _port(interface: str, families: frozenset[Family], unicast: set[Address], known: set[Address]) -> Port:
    return UnicastPort(interface, families, known, unicast) if unicast else Port(interface, families, known)


def _partners(options: AgentOptions, network: NetworkName) -> set[Address]:
    """The other nodes' own addresses on a network where a group of ours may hear them."""
    plan = options.plan
    members = {node for group in plan.groups if options.node in group.nodes for node in group.nodes} - {options.node}
    return {
        interface.ip
        for node in plan.nodes
        if node.name in members
        for attachment in node.attachments
        if attachment.network == network
        for interface in attachment.addresses
    }


def _channel_socket(source: Address, interface: str, peer: Address, keys: Sequence[bytes], port: int) -> ChannelSocket:
    try:
        return ChannelSocket(source, interface, peer, *map(key_id, keys), port=port)
    except OSError as error:
        raise OperatorError(
            "E5207",
            f"cannot use UDP port {port} on {source}: {error.strerror}",
            "another agent may be running on this node: understudy status",
        ) from error


def _link_local(port: Port) -> IPv6Address:
    """The port's own link-local address, or the one its MAC would give it; never a virtual one left there."""
    for held in Links().held():
        address = held.interface.ip
        if held.index == port.index and not held.is_ours and isinstance(address, IPv6Address) and address.is_link_local:
            return address
    mac = port.mac
    identifier = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
