"""Ethernet frames that carry IPv4 or IPv6, as they cross a packet socket: built for sending, taken apart on receipt.

Only what the protocols of a redundant pair need: no VLAN tags (the kernel strips them before the socket), no IP
options, no fragments, no IPv6 extension headers. Messages between neighbours never need them, and reassembly is where
parsers get hurt.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from understudy.errors import DecodeError
from understudy.units import Address, Family
from understudy.wire.checksum import checksum, is_intact

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD

BROADCAST_MAC: Final = b"\xff" * 6
TTL: Final = 255
"""Of all that we send and accept: a packet that passed a router has less, so 255 is from our own link (RFC 5082)."""

FRAME_LENGTH_MAX: Final = 9216
"""Bytes of the largest jumbo frame."""

_ETHERNET_LENGTH: Final = 14
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS_AND_OFFSET: Final = 0x3FFF
_EXTENSION_HEADERS: Final = frozenset({0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254})
"""IANA's list of IPv6 extension header types: a message behind one is not looked for."""
_INTERNETWORK_CONTROL: Final = 0xC0
"""Type of service / traffic class of routing protocols: precedence 6 (RFC 791, DSCP CS6)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet as received. `ttl` is the hop limit of IPv6, `protocol` its first next header."""

    family: Family
    source: Address
    destination: Address
    protocol: int
    ttl: int
    payload: bytes


def parse_frame(frame: bytes) -> Packet:
    """Take the IP packet out of an Ethernet frame. Raises DecodeError; padding behind the packet is dropped.

    Protocol and TTL are reported, not judged: each protocol's decoder does that.
    """
    if len(frame) > FRAME_LENGTH_MAX:
        raise DecodeError("frame-too-long")
    if len(frame) < _ETHERNET_LENGTH:
        raise DecodeError("frame-truncated")
    ethertype = frame[12] << 8 | frame[13]
    if ethertype == ETHERTYPE_IPV4:
        return _parse_ipv4(frame)
    if ethertype == ETHERTYPE_IPV6:
        return _parse_ipv6(frame)
    raise DecodeError("ethertype")


def _parse_ipv4(frame: bytes) -> Packet:
    if len(frame) < _ETHERNET_LENGTH + 20:
        raise DecodeError("ip-truncated")
    version, _, length, _, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(frame, _ETHERNET_LENGTH)
    if version != 0x45:
        raise DecodeError("ip-version" if version >> 4 != 4 else "ip-options")
    if length < 20 or length > len(frame) - _ETHERNET_LENGTH:
        raise DecodeError("ip-length")
    if fragment & _MORE_FRAGMENTS_AND_OFFSET:
        raise DecodeError("ip-fragment")
    if not is_intact(frame[_ETHERNET_LENGTH : _ETHERNET_LENGTH + 20]):
        raise DecodeError("ip-checksum")
    payload = frame[_ETHERNET_LENGTH + 20 : _ETHERNET_LENGTH + length]
    return Packet(4, unpack_address(source), unpack_address(destination), protocol, ttl, payload)


def _parse_ipv6(frame: bytes) -> Packet:
    if len(frame) < _ETHERNET_LENGTH + 40:
        raise DecodeError("ip-truncated")
    first, length, protocol, ttl, source, destination = _IPV6.unpack_from(frame, _ETHERNET_LENGTH)
    if first >> 28 != 6:
        raise DecodeError("ip-version")
    if length > len(frame) - _ETHERNET_LENGTH - 40:
        raise DecodeError("ip-length")
    if protocol in _EXTENSION_HEADERS:
        raise DecodeError("ip-extension")
    start = _ETHERNET_LENGTH + 40
    return Packet(6, unpack_address(source), unpack_address(destination), protocol, ttl, frame[start : start + length])


def ethernet_frame(destination_mac: bytes, source_mac: bytes, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet frame; the kernel or the port pads it to 60 bytes."""
    assert len(destination_mac) == len(source_mac) == 6
    return destination_mac + source_mac + ethertype.to_bytes(2, "big") + payload


def ip_packet(source: Address, destination: Address, protocol: int, payload: bytes) -> bytes:
    """An IPv4 or IPv6 packet with TTL 255, in the class of routing protocols.

    The IPv4 identification is 0, as RFC 6864 allows where fragments are forbidden: equal messages give equal bytes.
    """
    assert source.version == destination.version
    if source.version == 6:
        first = 6 << 28 | _INTERNETWORK_CONTROL << 20
        return _IPV6.pack(first, len(payload), protocol, TTL, source.packed, destination.packed) + payload
    fields = (0x45, _INTERNETWORK_CONTROL, 20 + len(payload), 0, _DONT_FRAGMENT, TTL, protocol)
    header_checksum = checksum(_IPV4.pack(*fields, 0, source.packed, destination.packed))
    return _IPV4.pack(*fields, header_checksum, source.packed, destination.packed) + payload


def multicast_frame(source: Address, source_mac: bytes, group: Address, protocol: int, payload: bytes) -> bytes:
    """A whole frame to an IP multicast group on this link."""
    ethertype = ETHERTYPE_IPV4 if group.version == 4 else ETHERTYPE_IPV6
    return ethernet_frame(multicast_mac(group), source_mac, ethertype, ip_packet(source, group, protocol, payload))


def multicast_mac(group: Address) -> bytes:
    """The link-layer address of an IP multicast group (RFC 1112, section 6.4; RFC 2464, section 7)."""
    assert group.is_multicast
    if group.version == 4:
        return b"\x01\x00\x5e" + bytes((group.packed[1] & 0x7F,)) + group.packed[2:]
    return b"\x33\x33" + group.packed[12:]


@lru_cache(maxsize=1024)
def unpack_address(packed: bytes) -> Address:
    """The address of 4 or 16 bytes. Remembered, since the same few addresses come in every packet."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
