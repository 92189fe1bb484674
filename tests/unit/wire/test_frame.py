"""Ethernet and IP headers, built and taken apart."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DecodeError
from understudy.units import Address
from understudy.wire.checksum import checksum
from understudy.wire.frame import FRAME_LENGTH_MAX, multicast_frame, multicast_mac, parse_frame

_MAC = bytes.fromhex("00005e000107")
_FRAME4 = multicast_frame(IPv4Address("10.9.0.1"), _MAC, IPv4Address("224.0.0.18"), 112, b"payload!")
_FRAME6 = multicast_frame(IPv6Address("fe80::1"), _MAC, IPv6Address("ff02::12"), 112, b"payload!")


def _with_ipv4(offset: int, value: int) -> bytes:
    """The IPv4 frame with one header byte changed and the header checksum right again."""
    header = bytearray(_FRAME4[14:34])
    header[offset] = value
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return _FRAME4[:14] + bytes(header) + _FRAME4[34:]


def _with(frame: bytes, offset: int, value: int) -> bytes:
    return frame[:offset] + bytes((value,)) + frame[offset + 1 :]


def test_an_ipv4_frame_to_the_vrrp_group_byte_by_byte() -> None:
    """Type of service c0, don't fragment, TTL 255, protocol 112; the header checksum worked out by hand."""
    expected = "01005e000012 00005e000107 0800 45c0001c 00004000 ff70 9095 0a090001 e0000012"
    assert bytes.fromhex(expected) + b"payload!" == _FRAME4


def test_an_ipv6_frame_to_the_vrrp_group_byte_by_byte() -> None:
    """Traffic class c0, payload length 8, next header 112, hop limit 255."""
    addresses = "fe800000000000000000000000000001 ff020000000000000000000000000012"
    expected = "333300000012 00005e000107 86dd 6c000000 0008 70 ff" + addresses
    assert bytes.fromhex(expected) + b"payload!" == _FRAME6


def test_a_multicast_mac_takes_23_bits_of_ipv4_and_32_of_ipv6() -> None:
    """RFC 1112 and RFC 2464."""
    assert multicast_mac(IPv4Address("239.129.2.3")).hex() == "01005e010203"
    assert multicast_mac(IPv6Address("ff02::1:ff12:3456")).hex() == "3333ff123456"


@pytest.mark.parametrize("frame", [_FRAME4, _FRAME6])
def test_padding_behind_the_packet_is_dropped(frame: bytes) -> None:
    """Ports pad to 60 bytes, and some leave old memory there."""
    assert parse_frame(frame + b"\xaa" * 20) == parse_frame(frame)
    assert parse_frame(frame).payload == b"payload!"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (_FRAME4[:13], "frame-truncated"),
        (bytes(FRAME_LENGTH_MAX + 1), "frame-too-long"),
        (_with(_FRAME4, 12, 0x81), "ethertype"),
        (_FRAME4[:33], "ip-truncated"),
        (_FRAME6[:53], "ip-truncated"),
        (_with_ipv4(0, 0x65), "ip-version"),
        (_with(_FRAME6, 14, 0x45), "ip-version"),
        (_with_ipv4(0, 0x46), "ip-options"),
        (_with_ipv4(0, 0x44), "ip-options"),
        (_with_ipv4(3, 19), "ip-length"),
        (_with_ipv4(3, 29), "ip-length"),
        (_with_ipv4(2, 0xFF), "ip-length"),
        (_with(_FRAME6, 19, 9), "ip-length"),
        (_with_ipv4(6, 0x20), "ip-fragment"),
        (_with_ipv4(7, 0x01), "ip-fragment"),
        (_with(_FRAME4, 22, 254), "ip-checksum"),
    ],
)
def test_frames_that_are_not_what_they_claim_are_refused(frame: bytes, reason: str) -> None:
    """Each with a word for the counter."""
    with pytest.raises(DecodeError) as error:
        parse_frame(frame)
    assert error.value.reason == reason


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.builds(lambda tail: _FRAME4[:14] + tail, st.binary(max_size=60)),
        st.builds(lambda tail: _FRAME6[:14] + tail, st.binary(max_size=60)),
        st.builds(_with_ipv4, st.integers(0, 19), st.integers(0, 255)),
        st.builds(_with, st.just(_FRAME6), st.integers(0, len(_FRAME6) - 1), st.integers(0, 255)),
    )
)
def test_any_bytes_give_a_packet_or_a_decode_error(frame: bytes) -> None:
    """And never more payload than there were bytes."""
    try:
        packet = parse_frame(frame)
    except DecodeError:
        return
    assert packet.payload in frame


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.just(IPv4Address("224.0.0.18"))),
        st.tuples(st.ip_addresses(v=6), st.just(IPv6Address("ff02::12"))),
    ),
    st.sampled_from([1, 2, 6, 17, 58, 89, 112, 132, 255]),
    st.binary(max_size=1400),
)
def test_what_is_built_is_taken_apart_again(addresses: tuple[Address, Address], protocol: int, payload: bytes) -> None:
    """Both families, any payload, behind no extension header."""
    source, group = addresses
    packet = parse_frame(multicast_frame(source, _MAC, group, protocol, payload))
    assert (packet.source, packet.destination, packet.family) == (source, group, group.version)
    assert (packet.protocol, packet.ttl, packet.payload) == (protocol, 255, payload)


@pytest.mark.parametrize("header", [0, 43, 44, 51, 60])
def test_what_stands_behind_an_extension_header_is_not_looked_for(header: int) -> None:
    """Refused under a name of its own: neighbours have no need of it."""
    frame = multicast_frame(IPv6Address("fe80::1"), _MAC, IPv6Address("ff02::12"), header, bytes([112, 0]) + bytes(22))
    with pytest.raises(DecodeError, match="ip-extension"):
        parse_frame(frame)
