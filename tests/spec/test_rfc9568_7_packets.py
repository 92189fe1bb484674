"""RFC 9568, sections 7.1 to 7.4: receiving and sending advertisements, the virtual MAC, IPv6 interface identifiers."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from rfc9568_lan import ADDRESSES, HIGHER, LOCAL, PRIORITY, VRID, at, backup, heard

from understudy.core.vrrp import AdvertisementReceived, Discarded, Mismatched
from understudy.errors import DecodeError
from understudy.units import Address, Family, Priority, Vrid
from understudy.wire.checksum import checksum
from understudy.wire.frame import Packet, parse_frame
from understudy.wire.vrrp import (
    GROUPS,
    PROTOCOL,
    Advertisement,
    advertisement_frame,
    decode_packet,
    encode,
    virtual_link_local,
    virtual_mac,
)

_SOURCES: dict[Family, Address] = {4: IPv4Address("10.9.0.1"), 6: IPv6Address("fe80::1")}
_FAMILIES: list[Family] = [4, 6]


def _advertisement(family: Family) -> Advertisement:
    return Advertisement(VRID, PRIORITY, 100, ADDRESSES[family], family)


def _packet(family: Family, *, ttl: int = 255, payload: bytes | None = None) -> Packet:
    source, group = _SOURCES[family], GROUPS[family]
    if payload is None:
        payload = encode(_advertisement(family), source, group)
    return Packet(family, source, group, PROTOCOL, ttl, payload)


def _changed(family: Family, offset: int, value: int) -> Packet:
    """A packet with one byte changed and the checksum right again."""
    message = bytearray(encode(_advertisement(family), _SOURCES[family], GROUPS[family]))
    message[offset] = value
    message[6:8] = bytes(2)
    covered = int(_SOURCES[family]) + int(GROUPS[family]) + PROTOCOL + len(message) if family == 6 else 0
    message[6:8] = checksum(bytes(message), covered).to_bytes(2, "big")
    return _packet(family, payload=bytes(message))


def _refused(packet: Packet) -> str:
    with pytest.raises(DecodeError) as error:
        decode_packet(packet)
    return error.value.reason


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_good_advertisement_passes_every_check(family: Family) -> None:
    """Section 7.1: the control for the tests below, which each break one thing."""
    assert decode_packet(_packet(family)) == _advertisement(family)
    assert decode_packet(_changed(family, 2, 200)).priority == 200


@pytest.mark.parametrize("ttl", [0, 1, 64, 254])
@pytest.mark.parametrize("family", _FAMILIES)
def test_the_receiver_must_verify_that_ttl_or_hop_limit_is_255(family: Family, ttl: int) -> None:
    """Section 7.1 and 5.1.1.3, 5.1.2.3: anything else has passed a router."""
    assert _refused(_packet(family, ttl=ttl)) == "ttl"


@pytest.mark.parametrize("version", [0, 1, 4, 15])
@pytest.mark.parametrize("family", _FAMILIES)
def test_the_receiver_must_verify_that_the_version_is_3(family: Family, version: int) -> None:
    """Section 7.1; version 2 over IPv4 is read, and then refused by a router of version 3 (test_rfc3768)."""
    assert _refused(_changed(family, 0, version << 4 | 1)) == "version"
    assert _refused(_changed(6, 0, 2 << 4 | 1)) == "version"


@pytest.mark.parametrize("kind", [0, 2, 15])
@pytest.mark.parametrize("family", _FAMILIES)
def test_the_receiver_must_verify_that_the_type_is_advertisement(family: Family, kind: int) -> None:
    """Section 7.1 and 5.2.2: only type 1 exists."""
    assert _refused(_changed(family, 0, 3 << 4 | kind)) == "type"


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_receiver_must_verify_that_the_packet_is_complete(family: Family) -> None:
    """Section 7.1: fixed fields and the whole address list, whatever the point of the cut."""
    payload = _packet(family).payload
    for length in range(len(payload)):
        assert _refused(_packet(family, payload=payload[:length])) == ("truncated" if length < 8 else "length")


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_receiver_must_verify_the_checksum(family: Family) -> None:
    """Section 7.1 and 5.2.8: every single flipped bit behind the fields that fail earlier is noticed."""
    payload = _packet(family).payload
    for bit in range(4 * 8, len(payload) * 8):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        assert _refused(_packet(family, payload=bytes(flipped))) == "checksum"


def test_the_ipv6_checksum_must_include_the_pseudo_header() -> None:
    """Section 5.2.8: the sum of the message alone is right for IPv4 only."""
    message = bytearray(_packet(6).payload)
    message[6:8] = bytes(2)
    message[6:8] = checksum(bytes(message)).to_bytes(2, "big")
    assert _refused(_packet(6, payload=bytes(message))) == "checksum"


def test_the_receiver_must_verify_that_the_vrid_is_configured() -> None:
    """Section 7.1: the machine refuses what is not for it, even if it was handed over by mistake."""
    machine = backup()
    deadline = machine.next_deadline()
    stranger = Advertisement(Vrid(8), Priority(200), 100, ADDRESSES[4], 4)
    assert machine.handle(at(1), AdvertisementReceived(HIGHER, stranger, LOCAL)) == [Discarded("foreign")]
    other_family = Advertisement(VRID, Priority(200), 100, ADDRESSES[6], 6)
    assert machine.handle(at(1), AdvertisementReceived(HIGHER, other_family, LOCAL)) == [Discarded("foreign")]
    assert machine.next_deadline() == deadline


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_vrid_of_0_is_never_configured(family: Family) -> None:
    """Section 5.2.3: identifiers run from 1 to 255."""
    assert _refused(_changed(family, 1, 0)) == "vrid"


@pytest.mark.parametrize("family", _FAMILIES)
def test_an_advertisement_with_an_address_count_of_0_must_be_ignored(family: Family) -> None:
    """Section 5.2.5 and erratum 8299."""
    assert _refused(_changed(family, 3, 0)) == "count"


@pytest.mark.parametrize("family", _FAMILIES)
def test_an_advertisement_with_an_interval_of_0_must_be_ignored(family: Family) -> None:
    """Erratum 8301: it would make every Backup time out at once."""
    packet = _changed(family, 5, 0)
    assert packet.payload[4] == 0
    assert _refused(packet) == "interval"


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_reserved_bits_are_ignored_on_reception(family: Family) -> None:
    """Section 5.2.6: they are no part of the interval."""
    assert decode_packet(_changed(family, 4, 0xF0)).interval_cs == 100


def test_the_first_ipv6_address_must_be_link_local_on_reception_too() -> None:
    """Erratum 8300."""
    assert _refused(_changed(6, 8, 0x20)) == "not-link-local"


def test_an_interval_that_differs_from_ours_is_told_and_not_dropped() -> None:
    """Section 7.1: the receiver should log it, for it is a misconfiguration, and go on."""
    machine = backup()
    assert machine.handle(at(1), heard(200, interval_cs=50)) == [Mismatched("interval", HIGHER)]
    assert machine.active_adver_interval == 500_000_000


def test_an_address_list_that_differs_from_ours_is_told_and_not_dropped() -> None:
    """Section 7.1: the receiver may check it; count and order belong to the list."""
    machine = backup()
    assert machine.handle(at(1), heard(200, addresses=ADDRESSES[4][::-1])) == [Mismatched("addresses", HIGHER)]
    assert machine.last_heard == at(1)


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_sender_must_fill_the_fields_from_the_state_of_the_virtual_router(family: Family) -> None:
    """Section 7.2 and 5.2: version 3, type 1, reserved bits zero, addresses in order."""
    payload = _packet(family).payload
    assert struct.unpack_from("!BBBBH", payload) == (0x31, VRID, PRIORITY, 2, 100)
    assert payload[8:] == b"".join(address.packed for address in ADDRESSES[family])


def test_the_sender_must_compute_the_checksum() -> None:
    """Section 7.2: worked out by hand over 3101 6401 0064 c0a8 0101, and with the pseudo-header over IPv4 as well."""
    message = Advertisement(Vrid(1), Priority(100), 100, (IPv4Address("192.168.1.1"),), 4)
    source, group = IPv4Address("192.168.1.2"), IPv4Address("224.0.0.18")
    assert encode(message, source, group) == bytes.fromhex("31016401 0064a8ef c0a80101")
    assert encode(message, source, group, pseudo_header=True) == bytes.fromhex("31016401 006406b6 c0a80101")


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_sender_must_set_the_source_mac_to_the_virtual_mac(family: Family) -> None:
    """Section 7.2: so that learning bridges know the port."""
    frame = advertisement_frame(_advertisement(family), _SOURCES[family], virtual_mac(VRID, family))
    assert frame[6:12] == virtual_mac(VRID, family)


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_sender_must_set_source_protocol_and_group(family: Family) -> None:
    """Section 7.2 and 5.1: primary IPv4 or link-local IPv6 source, protocol 112, TTL 255, the VRRP group on its MAC."""
    frame = advertisement_frame(_advertisement(family), _SOURCES[family], virtual_mac(VRID, family))
    packet = parse_frame(frame)
    group = ip_address("224.0.0.18") if family == 4 else ip_address("ff02::12")
    assert (packet.source, packet.destination) == (_SOURCES[family], group)
    assert (packet.protocol, packet.ttl) == (112, 255)
    assert frame[:6].hex() == ("01005e000012" if family == 4 else "333300000012")


def test_the_virtual_mac_is_the_iana_prefix_the_family_and_the_vrid() -> None:
    """Section 7.3: 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6."""
    assert virtual_mac(Vrid(1), 4).hex("-") == "00-00-5e-00-01-01"
    assert virtual_mac(Vrid(255), 6).hex("-") == "00-00-5e-00-02-ff"


def test_every_vrid_and_family_has_a_virtual_mac_of_its_own() -> None:
    """Section 7.3: 255 virtual routers a family on one LAN."""
    assert len({virtual_mac(Vrid(vrid), family) for vrid in range(1, 256) for family in _FAMILIES}) == 510


def test_the_virtual_link_local_address_is_the_virtual_routers_and_the_same_on_every_node() -> None:
    """Section 7.4 (and 6.1): it follows from the VRID alone; a port's own identifier is never derived from it."""
    assert virtual_link_local(VRID) == IPv6Address("fe80::200:5eff:fe00:207")
    addresses = {virtual_link_local(Vrid(vrid)) for vrid in range(1, 256)}
    assert len(addresses) == 255
    assert all(address.is_link_local for address in addresses)
