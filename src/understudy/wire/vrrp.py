"""VRRP version 3 advertisements (RFC 9568, section 5), from and to bytes.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+---------------+---------------+---------------+
    | Ver 3 | Type 1| Virtual Rtr ID|    Priority   | Address count |
    +-------+-------+---------------+---------------+---------------+
    |Reserve| Max Advertise Interval|           Checksum            |
    +-------+-----------------------+-------------------------------+
    |            addresses, 4 or 16 bytes each                      |

Over IPv4 two checksums are in use. RFC 9568 sums the message alone. RFC 5798 was read as including a pseudo-header: so
do keepalived and FRR by default, and keepalived 2.2.7 has no option to change it. Either is accepted, and the one that
was seen is reported. Over IPv6 there is always a pseudo-header.

Bytes behind the addresses are ignored up to a bound: newer peers append an authentication trailer.
"""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from understudy.errors import DecodeError
from understudy.units import Address, Family, Priority, Vrid
from understudy.wire.checksum import checksum, is_intact, pseudo_header_sum
from understudy.wire.frame import TTL, Packet, multicast_frame, unpack_address

PROTOCOL: Final = 112
GROUP_IPV4: Final = IPv4Address("224.0.0.18")
GROUP_IPV6: Final = IPv6Address("ff02::12")
GROUPS: Final[dict[Family, Address]] = {4: GROUP_IPV4, 6: GROUP_IPV6}

PRIORITY_RELEASE: Final = Priority(0)
"""The Active gives up (section 5.2.4)."""
PRIORITY_OWNER: Final = Priority(255)
"""The router holds the addresses as its own (section 5.2.4)."""
INTERVAL_CS_MAX: Final = 4095

TRAILER_LENGTH_MAX: Final = 64
"""Bytes that may follow the addresses: the known authentication trailer takes 28."""

_HEADER: Final = struct.Struct("!BBBBHH")
_VERSION_AND_TYPE: Final = 3 << 4 | 1
_CHECKSUM: Final = slice(6, 8)


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One ADVERTISEMENT, the only message of the protocol."""

    vrid: Vrid
    priority: Priority
    interval_cs: int
    """Max Advertise Interval in centiseconds, 1-4095."""
    addresses: tuple[Address, ...]
    """In the order of the message; for IPv6 the first is the virtual link-local address."""
    family: Family
    pseudo_header: bool | None = field(default=None, compare=False)
    """Of a decoded advertisement: whether its checksum covered a pseudo-header. None before it was sent."""


def decode(payload: bytes, *, family: Family, source: Address, destination: Address) -> Advertisement:
    """Read the VRRP message of an IP packet from `source` to `destination`. Raises DecodeError.

    The same bytes give the same object again (a bounded memory): a router in a steady state repeats itself.
    """
    return _decode(payload, family, pseudo_header_sum(source, destination, PROTOCOL, 0))


@lru_cache(maxsize=256)
def _decode(payload: bytes, family: Family, pseudo_header: int) -> Advertisement:
    """`pseudo_header` is the sum without the length: all that the addresses of the packet contribute to the outcome."""
    if len(payload) < _HEADER.size:
        raise DecodeError("truncated")
    version_and_type, vrid, priority, count, interval_cs, _ = _HEADER.unpack_from(payload)
    if version_and_type != _VERSION_AND_TYPE:
        raise DecodeError("version" if version_and_type >> 4 != 3 else "type")
    if count == 0:  # erratum 8299
        raise DecodeError("count")
    address_length = 4 if family == 4 else 16
    length = _HEADER.size + count * address_length
    if len(payload) < length:
        raise DecodeError("length")
    if len(payload) > length + TRAILER_LENGTH_MAX:
        raise DecodeError("too-long")
    with_pseudo_header = _checksum_form(payload, length, family, pseudo_header)
    if vrid == 0:
        raise DecodeError("vrid")
    interval_cs &= INTERVAL_CS_MAX  # section 5.2.6: the reserved bits are ignored
    if interval_cs == 0:  # erratum 8301
        raise DecodeError("interval")
    addresses = tuple(
        [unpack_address(payload[at : at + address_length]) for at in range(_HEADER.size, length, address_length)]
    )
    if family == 6 and not addresses[0].is_link_local:  # erratum 8300
        raise DecodeError("not-link-local")
    return Advertisement(Vrid(vrid), Priority(priority), interval_cs, addresses, family, with_pseudo_header)


def _checksum_form(payload: bytes, length: int, family: Family, pseudo_header: int) -> bool:
    """Whether the checksum covers a pseudo-header. Raises DecodeError if it is right neither way.

    It covers the first `length` bytes, or a trailer too where the sender's kernel put it in (IPv6 raw sockets do).
    """
    covered = payload[:length]
    while True:
        if family == 4 and is_intact(covered):
            return False
        if is_intact(covered, pseudo_header + len(covered)):
            return True
        if len(covered) == len(payload):
            raise DecodeError("checksum")
        covered = payload


def decode_packet(packet: Packet) -> Advertisement:
    """Read an advertisement from a received packet, after the checks on its IP header. Raises DecodeError.

    A packet to another destination than the VRRP group of its family is refused as `destination`.
    """
    if packet.protocol != PROTOCOL:
        raise DecodeError("protocol")
    if packet.ttl != TTL:  # RFC 9568, sections 5.1.1.3, 5.1.2.3 and 7.1
        raise DecodeError("ttl")
    if packet.destination != GROUPS[packet.family]:
        raise DecodeError("destination")
    return decode(packet.payload, family=packet.family, source=packet.source, destination=packet.destination)


def encode(
    advertisement: Advertisement, source: Address, destination: Address, *, pseudo_header: bool = False
) -> bytes:
    """The VRRP message. `pseudo_header` chooses the checksum over IPv4: RFC 9568 is without, keepalived 2.2.7 with."""
    family, addresses = advertisement.family, advertisement.addresses
    assert 1 <= advertisement.vrid <= 255
    assert 0 <= advertisement.priority <= 255
    assert 1 <= advertisement.interval_cs <= INTERVAL_CS_MAX
    assert 1 <= len(addresses) <= 255
    assert all(address.version == family for address in addresses)  # section 5.2.9
    assert family == 4 or addresses[0].is_link_local  # section 5.2.9
    message = bytearray(
        _HEADER.pack(
            _VERSION_AND_TYPE, advertisement.vrid, advertisement.priority, len(addresses), advertisement.interval_cs, 0
        )
    )
    for address in addresses:
        message += address.packed
    covered = 0
    if family == 6 or pseudo_header:
        covered = pseudo_header_sum(source, destination, PROTOCOL, len(message))
    message[_CHECKSUM] = checksum(bytes(message), covered).to_bytes(2, "big")
    return bytes(message)


def advertisement_frame(
    advertisement: Advertisement, source: Address, source_mac: bytes, *, pseudo_header: bool = False
) -> bytes:
    """The whole Ethernet frame to the VRRP group, as section 7.2 wants it.

    `source` is the port's primary IPv4 address or its IPv6 link-local address, `source_mac` the virtual MAC if in use.
    """
    group = GROUPS[advertisement.family]
    message = encode(advertisement, source, group, pseudo_header=pseudo_header)
    return multicast_frame(source, source_mac, group, PROTOCOL, message)


def virtual_mac(vrid: Vrid, family: Family) -> bytes:
    """The virtual router MAC address (RFC 9568, section 7.3)."""
    assert 1 <= vrid <= 255
    return bytes((0x00, 0x00, 0x5E, 0x00, 0x01 if family == 4 else 0x02, vrid))


def virtual_link_local(vrid: Vrid) -> IPv6Address:
    """The virtual link-local address, alike on every node: modified EUI-64 of the virtual MAC (RFC 4291, appendix A).

    It names the virtual router. Ports keep identifiers of their own, never made from this MAC (RFC 9568, section 7.4).
    """
    mac = virtual_mac(vrid, 6)
    identifier = bytes((mac[0] ^ 0x02,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
