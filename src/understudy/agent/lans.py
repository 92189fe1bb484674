"""The sockets on the node's LANs, which outlive the core.

The supervisor opens them and keeps them: the last close of a packet socket waits for a grace period of the kernel, and
a dead core that owned them would be gone only tens of milliseconds later. Held here, its successor also finds what
arrived in between.
"""

import socket
import time
from dataclasses import dataclass
from ipaddress import IPv6Address

from understudy.adapters.channel import PORT
from understudy.adapters.links import Links
from understudy.adapters.packet import Port
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
    """Our address by family (of IPv6 the link-local one, for asking)."""
    channel: socket.socket | None
    """UDP socket of the node-to-node channel."""


def kernel_jiffy() -> Duration:
    """The kernel's tick: the resolution of the coarse clock (clock_getres(2))."""
    return round(time.clock_getres(getattr(time, "CLOCK_MONOTONIC_COARSE", 6)) * SECOND)


def open_lans(
    options: AgentOptions, settings: NodeSettings, interfaces: dict[NetworkName, str]
) -> dict[NetworkName, Lan]:
    families: dict[NetworkName, set[Family]] = {}
    for group in settings.groups:
        for router in group.routers:
            families.setdefault(router.network, set()).add(router.family)
    names = dict.fromkeys((*families, *settings.paths))
    own: dict[NetworkName, dict[int, Address]] = {}
    for attachment in find_node(options.plan, options.node).attachments:
        own[attachment.network] = {interface.version: interface.ip for interface in attachment.addresses}
    peers = {network: address for peer in settings.peers for network, address in peer.paths.items()}
    lans = {}
    for name in names:
        port = Port(interfaces[name], frozenset(families.get(name, set())))
        if 6 in families.get(name, set()):
            own[name][6] = _link_local(port)
        channel = None
        if name in peers:
            source = next(
                interface.ip
                for attachment in find_node(options.plan, options.node).attachments
                if attachment.network == name
                for interface in attachment.addresses
                if interface.version == peers[name].version
            )
            channel = _channel_socket(source, interfaces[name])
        lans[name] = Lan(name, settings.networks.index(name), port, own[name], channel)
    return lans


def _channel_socket(source: Address, interface: str) -> socket.socket:
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    end = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    try:
        end.bind((str(source), PORT))
    except OSError as error:
        raise OperatorError(
            "E5207",
            f"cannot use UDP port {PORT} on {source}: {error.strerror}",
            "another agent may be running on this node: understudy status",
        ) from error
    end.setblocking(False)
    return end


def _link_local(port: Port) -> IPv6Address:
    """The port's own link-local address, or the one its MAC would give it."""
    for index, address, _ in Links().addresses():
        if index == port.index and isinstance(address, IPv6Address) and address.is_link_local:
            return address
    mac = port.mac
    identifier = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
