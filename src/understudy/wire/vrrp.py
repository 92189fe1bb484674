"""VRRP advertisements of version 3 (RFC 9568, section 5) and 2 (RFC 3768, section 5), from and to bytes.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+---------------+---------------+---------------+
    |Version| Type 1| Virtual Rtr ID|    Priority   | Address count |
    +-------+-------+---------------+---------------+---------------+
    |Reserve| Max Advertise Interval|           Checksum            |   version 3: 12 bits, centiseconds
    +-------+-------+---------------+-------------------------------+
    |   Auth type   | Advertise Int |           Checksum            |   version 2: seconds
    +---------------+---------------+-------------------------------+
    |            addresses, 4 or 16 bytes each                      |
    |            authentication data, 8 bytes (version 2)           |

Version 3 over IPv4 has two checksums in use. RFC 9568 sums the message alone. RFC 5798 was read as including a
pseudo-header: so do keepalived and FRR by default, and keepalived 2.2.7 and FRR 8.4.4 take nothing else. Either is
accepted, and the one that was seen is reported. Over IPv6 there is always a pseudo-header, in version 2 never one.

Version 2 is for migration: IPv4, no authentication (type 0; RFC 3768 took the others back). Bytes behind a message of
version 3 are ignored up to a bound: newer peers append an authentication trailer.

An advertisement goes to the VRRP group of its family or, where the network wants it so, to one router's own address.
Which version and which destination a router takes is not judged here (core.vrrp).
"""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from understudy.errors import DecodeError
from understudy.units import Address, Family, Priority, Vrid
from understudy.wire.checksum import checksum, is_intact, pseudo_header_sum
from understudy.wire.frame import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    TTL,
    Packet,
    ethernet_frame,
    ip_packet,
    multicast_mac,
    unpack_address,
)

PROTOCOL: Final = 112
GROUP_IPV4: Final = IPv4Address("224.0.0.18")
GROUP_IPV6: Final = IPv6Address("ff02::12")
GROUPS: Final[dict[Family, Address]] = {4: GROUP_IPV4, 6: GROUP_IPV6}
_ETHERTYPES: Final[dict[Family, int]] = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}
_BROADCAST: Final = IPv4Address("255.255.255.255")

PRIORITY_RELEASE: Final = Priority(0)
"""The Active gives up (section 5.2.4)."""
PRIORITY_OWNER: Final = Priority(255)
"""The router holds the addresses as its own (section 5.2.4)."""
INTERVAL_CS_MAX: Final = 4095

TRAILER_LENGTH_MAX: Final = 64
"""Bytes that may follow the addresses: the known authentication trailer takes 28."""

VERSIONS: Final = (3, 2)
_HEADER: Final = struct.Struct("!BBBBHH")
_ADVERTISEMENT: Final = 1
"""The only type of message."""
_AUTHENTICATION_LENGTH: Final = 8
_SECOND_CS: Final = 100
_CHECKSUM: Final = slice(6, 8)


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One ADVERTISEMENT, the only message of the protocol."""

    vrid: Vrid
    priority: Priority
    interval_cs: int
    """Max Advertise Interval in centiseconds, 1-4095; in version 2 whole seconds, up to 255 of them."""
    addresses: tuple[Address, ...]
    """In the order of the message; for IPv6 the first is the virtual link-local address."""
    family: Family
    version: int = 3
    pseudo_header: bool | None = field(default=None, compare=False)
    """Of a decoded advertisement: whether its checksum covered a pseudo-header. None before it was sent."""
    unicast: bool = field(default=False, compare=False)
    """Of a decoded advertisement: it was sent to one router's own address, not to the VRRP group."""


def decode(payload: bytes, *, family: Family, source: Address, destination: Address) -> Advertisement:
    """Read the VRRP message of an IP packet from `source` to `destination`. Raises DecodeError.

    The same bytes give the same object again (a bounded memory): a router in a steady state repeats itself.
    """
    pseudo_header = pseudo_header_sum(source, destination, PROTOCOL, 0)
    return _decode(payload, family, pseudo_header, not destination.is_multicast)


@lru_cache(maxsize=256)
def _decode(payload: bytes, family: Family, pseudo_header: int, unicast: bool) -> Advertisement:
    """`pseudo_header` is the sum without the length: all that the addresses of the packet contribute to the outcome."""
    if len(payload) < _HEADER.size:
        raise DecodeError("truncated")
    version_and_type, vrid, priority, count, interval, _ = _HEADER.unpack_from(payload)
    version = version_and_type >> 4
    if version not in VERSIONS or (version == 2 and family == 6):
        raise DecodeError("version")
    if version_and_type & 0xF != _ADVERTISEMENT:
        raise DecodeError("type")
    if count == 0:  # erratum 8299
        raise DecodeError("count")
    address_length = 4 if family == 4 else 16
    end = _HEADER.size + count * address_length
    length = end if version == 3 else end + _AUTHENTICATION_LENGTH
    if len(payload) < length:
        raise DecodeError("length")
    if len(payload) > length + TRAILER_LENGTH_MAX:
        raise DecodeError("too-long")
    if version == 3:
        with_pseudo_header = _checksum_form(payload, length, family, pseudo_header)
        interval_cs = interval & INTERVAL_CS_MAX  # section 5.2.6: the reserved bits are ignored
    else:
        if not is_intact(payload[:length]):  # RFC 3768, section 5.3.8
            raise DecodeError("checksum")
        if interval >> 8:  # RFC 3768, section 7.1: an authentication that is not ours
            raise DecodeError("authentication")
        with_pseudo_header, interval_cs = False, interval * _SECOND_CS
    if vrid == 0:
        raise DecodeError("vrid")
    if interval_cs == 0:  # erratum 8301
        raise DecodeError("interval")
    addresses = tuple(
        [unpack_address(payload[at : at + address_length]) for at in range(_HEADER.size, end, address_length)]
    )
    if family == 6 and not addresses[0].is_link_local:  # erratum 8300
        raise DecodeError("not-link-local")
    return Advertisement(
        Vrid(vrid), Priority(priority), interval_cs, addresses, family, version, with_pseudo_header, unicast
    )


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

    A packet to another multicast group than the one of VRRP is refused as `destination`.
    """
    if packet.protocol != PROTOCOL:
        raise DecodeError("protocol")
    if packet.ttl != TTL:  # RFC 9568, sections 5.1.1.3, 5.1.2.3 and 7.1
        raise DecodeError("ttl")
    if packet.destination != GROUPS[packet.family] and not _is_unicast(packet.destination):
        raise DecodeError("destination")
    return decode(packet.payload, family=packet.family, source=packet.source, destination=packet.destination)


def _is_unicast(address: Address) -> bool:
    return not address.is_multicast and address != _BROADCAST


def encode(
    advertisement: Advertisement, source: Address, destination: Address, *, pseudo_header: bool = False
) -> bytes:
    """The VRRP message. `pseudo_header` chooses the checksum over IPv4: RFC 9568 is without, keepalived 2.2.7 with."""
    family, addresses, version = advertisement.family, advertisement.addresses, advertisement.version
    assert 1 <= advertisement.vrid <= 255
    assert 0 <= advertisement.priority <= 255
    assert 1 <= len(addresses) <= 255
    assert all(address.version == family for address in addresses)  # section 5.2.9
    assert family == 4 or addresses[0].is_link_local  # section 5.2.9
    message = bytearray(
        _HEADER.pack(
            version << 4 | _ADVERTISEMENT,
            advertisement.vrid,
            advertisement.priority,
            len(addresses),
            _interval_field(advertisement),
            0,
        )
    )
    for address in addresses:
        message += address.packed
    if version == 2:
        message += bytes(_AUTHENTICATION_LENGTH)
    covered = 0
    if version == 3 and (family == 6 or pseudo_header):
        covered = pseudo_header_sum(source, destination, PROTOCOL, len(message))
    message[_CHECKSUM] = checksum(bytes(message), covered).to_bytes(2, "big")
    return bytes(message)


def _interval_field(advertisement: Advertisement) -> int:
    """The second 32 bits without the checksum; of version 2 the authentication type, which is 0, and the seconds."""
    if advertisement.version == 3:
        assert 1 <= advertisement.interval_cs <= INTERVAL_CS_MAX
        return advertisement.interval_cs
    seconds, rest = divmod(advertisement.interval_cs, _SECOND_CS)
    assert advertisement.version == 2
    assert advertisement.family == 4
    assert not rest
    assert 1 <= seconds <= 255  # RFC 3768, section 5.3.7
    return seconds


def advertisement_frame(
    advertisement: Advertisement,
    source: Address,
    source_mac: bytes,
    *,
    destination: Address | None = None,
    pseudo_header: bool = False,
) -> bytes:
    """The whole Ethernet frame, as section 7.2 wants it: to the VRRP group, unless `destination` names one router.

    `source` is the port's primary IPv4 address or its IPv6 link-local address, `source_mac` the virtual MAC if in use.
    The frame itself is addressed to the group's MAC in any case: who knows the one router's puts it in.
    """
    group = GROUPS[advertisement.family]
    target = destination or group
    packet = ip_packet(source, target, PROTOCOL, encode(advertisement, source, target, pseudo_header=pseudo_header))
    return ethernet_frame(multicast_mac(group), source_mac, _ETHERTYPES[advertisement.family], packet)


def virtual_mac(vrid: Vrid, family: Family) -> bytes:
    """The virtual router MAC address (RFC 9568, section 7.3)."""
    assert 1 <= vrid <= 255
    return bytes((0x00, 0x00, 0x5E, 0x00, 0x01 if family == 4 else 0x02, vrid))


def is_virtual_mac(mac: bytes | None) -> bool:
    """Whether it is any virtual router's (RFC 9568, section 7.3)."""
    return mac is not None and len(mac) == 6 and mac[:4] == b"\x00\x00\x5e\x00" and mac[4] in (1, 2)


def virtual_link_local(vrid: Vrid) -> IPv6Address:
    """The virtual link-local address, alike on every node: modified EUI-64 of the virtual MAC (RFC 4291, appendix A).

    It names the virtual router. Ports keep identifiers of their own, never made from this MAC (RFC 9568, section 7.4).
    """
    mac = virtual_mac(vrid, 6)
    identifier = bytes((mac[0] ^ 0x02,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
