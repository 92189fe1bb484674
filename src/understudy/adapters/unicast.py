"""What advertisements to one router's own address need: its MAC, and a kernel that does not refuse such packets.

Advertisements leave by the packet socket in this case too, and not by an IP socket. The kernel lease is refreshed by
what leaves the port (render.lease), and an IP socket sends nothing while the kernel waits in vain for the neighbour's
answer: the last node standing would fall silent a few seconds after the other died. Only a packet socket can send from
the virtual MAC besides, which the switch is to keep on our port. And a firewall or address translation never sees them.

So we ask for the MAC ourselves, once a second, and believe answers that come by the port's own socket: the kernel's
table would have to be asked under a lock that others may hold for long. While there was no answer, the frame goes to
the MAC of the VRRP group: it reaches the peer wherever the LAN carries multicast, and leaves the port in any case.
"""

import ctypes
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv6Address

from understudy.adapters.packet import Port
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.units import SECOND, Address, Duration, Family
from understudy.wire import arp, ndp
from understudy.wire.frame import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, unpack_address
from understudy.wire.vrrp import PROTOCOL

ASK_EVERY: Duration = SECOND
"""Between two questions for a peer's MAC: a replaced peer is found within an Active_Down_Interval of the default."""

SO_ATTACH_FILTER = 26
_RETURN_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""Classic BPF: no packet passes."""


class UnicastPort(Port):
    """A port on which advertisements go to routers and not to the LAN; it remembers the MACs of those routers."""

    def __init__(
        self, name: str, families: frozenset[Family], known: Collection[Address], peers: Collection[Address]
    ) -> None:
        super().__init__(name, families, known)
        self.macs: dict[Address, bytes | None] = dict.fromkeys(peers)
        """As last answered; kept when the peer falls silent."""
        self.asked_at: dict[Address, int] = {}

    def receive(self) -> bytes | None:
        """As of any port. An answer of a peer is remembered on its way."""
        frame = super().receive()
        if frame is not None and len(frame) > 20:
            ethertype = frame[12] << 8 | frame[13]
            if ethertype == ETHERTYPE_ARP or (ethertype == ETHERTYPE_IPV6 and frame[20] == ndp.ICMPV6):
                with suppress(DecodeError):  # Whoever takes the frame counts it.
                    self._learn(frame, ethertype)
        return frame

    def question(self, now: int, address: Address, source: Address | None) -> bytes | None:
        """The frame that asks for the peer's MAC, from `source` of the same family; None if it was asked just now."""
        if source is None or now - self.asked_at.get(address, -ASK_EVERY) < ASK_EVERY:
            return None
        self.asked_at[address] = now
        if isinstance(address, IPv6Address):
            assert isinstance(source, IPv6Address)
            return ndp.solicitation_frame(address, source, self.mac)
        assert not isinstance(source, IPv6Address)
        return arp.request_frame(address, source, self.mac)

    def _learn(self, frame: bytes, ethertype: int) -> None:
        if ethertype == ETHERTYPE_ARP:
            answer = arp.decode(frame)
            address: Address = answer.sender
            mac: bytes | None = answer.sender_mac
        else:
            message = ndp.decode(frame)
            if not isinstance(message, ndp.NeighborAdvertisement):
                return
            address, mac = message.target, message.target_mac
        if address in self.macs and mac is not None and not mac[0] & 1:  # never a group's
            self.macs[address] = mac


def destination(frame: bytes) -> Address:
    """Of the IP packet in a frame of our own making (no VLAN tag, no IP options)."""
    ipv4 = frame[12] << 8 | frame[13] == ETHERTYPE_IPV4
    return unpack_address(frame[30:34] if ipv4 else frame[38:54])


def readdressed(frame: bytes, target_mac: bytes | None, source_mac: bytes | None) -> bytes:
    """The frame to and from other MACs; None leaves the one that it has."""
    return (target_mac or frame[:6]) + (source_mac or frame[6:12]) + frame[12:]


def swallow(interface: str, family: Family) -> socket.socket:
    """A socket that makes this kernel take packets of VRRP to its own address, and throws them away.

    We hear them by the packet socket; without a raw socket the kernel would tell the peer with each one that it does
    not know the protocol (ICMP protocol unreachable).
    """
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        end = socket.socket(kind, socket.SOCK_RAW | socket.SOCK_CLOEXEC, PROTOCOL)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        program = ctypes.create_string_buffer(_RETURN_NOTHING, len(_RETURN_NOTHING))
        end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, ctypes.addressof(program)))
    except OSError as error:
        raise EnvironmentFailure("open a raw socket on", interface, str(error)) from error
    return end
