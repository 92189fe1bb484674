"""Neighbor Discovery for IPv6 over Ethernet (RFC 4861): unsolicited advertisements, and the question who answers.

An unsolicited Neighbor Advertisement tells all nodes that a virtual address is at the virtual MAC: Router flag set,
Solicited flag clear, Override flag set (RFC 9568, section 6.4). What is read has passed the checks of RFC 4861,
section 7.1.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from understudy.errors import DecodeError
from understudy.wire.checksum import checksum, is_intact, pseudo_header_sum
from understudy.wire.frame import TTL, Packet, multicast_frame, parse_frame

ICMPV6: Final = 58
ALL_NODES: Final = IPv6Address("ff02::1")
UNSPECIFIED: Final = IPv6Address("::")

_NEIGHBOR_SOLICITATION: Final = 135
_NEIGHBOR_ADVERTISEMENT: Final = 136
_SOURCE_LINK_LAYER_ADDRESS: Final = 1
_TARGET_LINK_LAYER_ADDRESS: Final = 2
_ROUTER: Final = 1 << 31
_SOLICITED: Final = 1 << 30
_OVERRIDE: Final = 1 << 29
_HEADER: Final = struct.Struct("!BBHI16s")
_CHECKSUM: Final = slice(2, 4)
_SOLICITED_NODE_PREFIX: Final = int(IPv6Address("ff02::1:ff00:0"))


@dataclass(frozen=True, slots=True)
class NeighborAdvertisement:
    target: IPv6Address
    target_mac: bytes | None
    """Where `target` is, if the message says so."""
    router: bool
    solicited: bool
    override: bool
    """Replaces what a neighbour's cache already holds."""


@dataclass(frozen=True, slots=True)
class NeighborSolicitation:
    target: IPv6Address
    source: IPv6Address
    """`::` while the asker only checks that nobody has the address."""
    source_mac: bytes | None


def unsolicited_advertisement_frame(address: IPv6Address, mac: bytes) -> bytes:
    """Tell everybody on the LAN, and its switches, that `address` is at `mac`."""
    advertisement = NeighborAdvertisement(address, mac, router=True, solicited=False, override=True)
    return multicast_frame(address, mac, ALL_NODES, ICMPV6, encode_advertisement(advertisement, address, ALL_NODES))


def solicitation_frame(target: IPv6Address, source: IPv6Address, source_mac: bytes) -> bytes:
    """Ask who has `target`. With `::` as `source` nobody's cache is touched (RFC 4862, section 5.4.2)."""
    group = solicited_node(target)
    option = b"" if source == UNSPECIFIED else _option(_SOURCE_LINK_LAYER_ADDRESS, source_mac)
    message = _HEADER.pack(_NEIGHBOR_SOLICITATION, 0, 0, 0, target.packed) + option
    return multicast_frame(source, source_mac, group, ICMPV6, _with_checksum(message, source, group))


def encode_advertisement(advertisement: NeighborAdvertisement, source: IPv6Address, destination: IPv6Address) -> bytes:
    """The ICMPv6 message, without IP header."""
    flags = _ROUTER * advertisement.router | _SOLICITED * advertisement.solicited | _OVERRIDE * advertisement.override
    message = _HEADER.pack(_NEIGHBOR_ADVERTISEMENT, 0, 0, flags, advertisement.target.packed)
    if advertisement.target_mac is not None:
        message += _option(_TARGET_LINK_LAYER_ADDRESS, advertisement.target_mac)
    return _with_checksum(message, source, destination)


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast group on which a node is asked for `address` (RFC 4291, section 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE_PREFIX | int(address) & 0xFFFFFF)


def decode(frame: bytes) -> NeighborAdvertisement | NeighborSolicitation:
    """Read a Neighbor Advertisement or Solicitation from an Ethernet frame. Raises DecodeError for anything else."""
    packet = parse_frame(frame)
    message = packet.payload
    if packet.family != 6 or packet.protocol != ICMPV6:
        raise DecodeError("nd-protocol")
    if packet.ttl != TTL:
        raise DecodeError("nd-ttl")
    if len(message) < _HEADER.size:
        raise DecodeError("nd-truncated")
    kind, code, _, flags, packed_target = _HEADER.unpack_from(message)
    if kind not in (_NEIGHBOR_SOLICITATION, _NEIGHBOR_ADVERTISEMENT) or code != 0:
        raise DecodeError("nd-type")
    if not is_intact(message, pseudo_header_sum(packet.source, packet.destination, ICMPV6, len(message))):
        raise DecodeError("nd-checksum")
    target = IPv6Address(packed_target)
    if target.is_multicast:
        raise DecodeError("nd-target")
    options = _options(message[_HEADER.size :])
    if kind == _NEIGHBOR_SOLICITATION:
        return _solicitation(packet, target, options)
    solicited = bool(flags & _SOLICITED)
    if solicited and packet.destination.is_multicast:
        raise DecodeError("nd-solicited")
    mac = options.get(_TARGET_LINK_LAYER_ADDRESS)
    return NeighborAdvertisement(target, mac, bool(flags & _ROUTER), solicited, bool(flags & _OVERRIDE))


def _solicitation(packet: Packet, target: IPv6Address, options: dict[int, bytes]) -> NeighborSolicitation:
    source, source_mac = IPv6Address(int(packet.source)), options.get(_SOURCE_LINK_LAYER_ADDRESS)
    if source == UNSPECIFIED and (source_mac is not None or packet.destination != solicited_node(target)):
        raise DecodeError("nd-unspecified")
    return NeighborSolicitation(target, source, source_mac)


def _options(data: bytes) -> dict[int, bytes]:
    """Link-layer addresses by option type: the first of each; options of other types are skipped."""
    found: dict[int, bytes] = {}
    while data:
        length = data[1] * 8 if len(data) >= 2 else 0
        if length == 0 or length > len(data):  # RFC 4861, section 4.6: a length of 0 is never right
            raise DecodeError("nd-option")
        if data[0] in (_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS):
            if length != 8:
                raise DecodeError("nd-option")
            found.setdefault(data[0], data[2:8])
        data = data[length:]
    return found


def _option(kind: int, mac: bytes) -> bytes:
    return bytes((kind, 1)) + mac


def _with_checksum(message: bytes, source: IPv6Address, destination: IPv6Address) -> bytes:
    packed = bytearray(message)
    covered = pseudo_header_sum(source, destination, ICMPV6, len(message))
    packed[_CHECKSUM] = checksum(message, covered).to_bytes(2, "big")
    return bytes(packed)
