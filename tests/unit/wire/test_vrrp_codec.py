"""VRRP advertisements from and to bytes; the checks of RFC 9568, section 7.1, are in tests/spec."""

from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DecodeError
from understudy.units import Address, Family, Priority, Vrid
from understudy.wire.checksum import checksum, pseudo_header_sum
from understudy.wire.frame import Packet, parse_frame
from understudy.wire.vrrp import (
    GROUP_IPV4,
    GROUP_IPV6,
    GROUPS,
    PROTOCOL,
    TRAILER_LENGTH_MAX,
    Advertisement,
    advertisement_frame,
    decode,
    decode_packet,
    encode,
    is_virtual_mac,
    virtual_link_local,
    virtual_mac,
)

_SOURCE = IPv4Address("192.168.1.2")
_SOURCE6 = IPv6Address("fe80::2")
_LINK_LOCAL = st.integers(0, 2**64 - 1).map(lambda low: IPv6Address(0xFE80 << 112 | low))


def _advertisements(family: Family) -> st.SearchStrategy[Advertisement]:
    addresses: st.SearchStrategy[tuple[Address, ...]]
    if family == 4:
        addresses = st.lists(st.ip_addresses(v=4), min_size=1, max_size=255).map(tuple)
    else:
        addresses = st.builds(
            lambda first, rest: (first, *rest), _LINK_LOCAL, st.lists(st.ip_addresses(v=6), max_size=254)
        )
    return st.builds(
        Advertisement,
        st.integers(1, 255).map(Vrid),
        st.integers(0, 255).map(Priority),
        st.integers(1, 4095),
        addresses,
        st.just(family),
    )


@settings(max_examples=60, deadline=None)
@given(_advertisements(4), st.ip_addresses(v=4), st.booleans())
def test_ipv4_comes_back_as_sent_in_either_checksum_form(
    advertisement: Advertisement, source: IPv4Address, pseudo_header: bool
) -> None:
    """RFC 9568's form and keepalived's are both read, and told apart unless the pseudo-header sums to nothing."""
    payload = encode(advertisement, source, GROUP_IPV4, pseudo_header=pseudo_header)
    decoded = decode(payload, family=4, source=source, destination=GROUP_IPV4)
    assert decoded == advertisement
    same = payload == encode(advertisement, source, GROUP_IPV4, pseudo_header=not pseudo_header)
    assert same or decoded.pseudo_header == pseudo_header


@settings(max_examples=60, deadline=None)
@given(_advertisements(6), _LINK_LOCAL)
def test_ipv6_comes_back_as_sent_in_a_whole_frame(advertisement: Advertisement, source: IPv6Address) -> None:
    """Through Ethernet, IPv6 and VRRP and back."""
    frame = advertisement_frame(advertisement, source, virtual_mac(advertisement.vrid, 6))
    decoded = decode_packet(parse_frame(frame))
    assert decoded == advertisement
    assert decoded.pseudo_header is True


@settings(max_examples=60, deadline=None)
@given(_advertisements(4), st.ip_addresses(v=4), st.integers(1, 255))
def test_version_2_comes_back_as_sent(advertisement: Advertisement, source: IPv4Address, seconds: int) -> None:
    """In whole seconds, with eight bytes behind the addresses, and whatever checksum was asked for in one form."""
    sent = replace(advertisement, version=2, interval_cs=seconds * 100)
    payload = encode(sent, source, GROUP_IPV4, pseudo_header=True)
    assert len(payload) == 8 + 4 * len(sent.addresses) + 8
    decoded = decode(payload, family=4, source=source, destination=GROUP_IPV4)
    assert decoded == sent
    assert decoded.pseudo_header is False


def test_a_unicast_advertisement_comes_back_as_unicast() -> None:
    """One router in the packet and in its checksum; the frame goes to the group's MAC until a better one is known."""
    advertisement = Advertisement(Vrid(7), Priority(100), 100, (IPv4Address("10.0.0.1"),), 4)
    target = IPv4Address("192.168.1.9")
    frame = advertisement_frame(advertisement, _SOURCE, virtual_mac(Vrid(7), 4), destination=target, pseudo_header=True)
    packet = parse_frame(frame)
    decoded = decode_packet(packet)
    assert (packet.destination, frame[:6]) == (target, bytes.fromhex("01005e000012"))
    assert (decoded.unicast, decoded.pseudo_header) == (True, True)
    assert not decode_packet(parse_frame(advertisement_frame(advertisement, _SOURCE, bytes(6)))).unicast


def test_a_known_ipv6_advertisement() -> None:
    """Bytes worked out by hand: VRID 7, priority 254, 10 cs, fe80::200:5eff:fe00:207 from fe80::2 to ff02::12."""
    advertisement = Advertisement(Vrid(7), Priority(254), 10, (virtual_link_local(Vrid(7)),), 6)
    words = (0x3107, 0xFE01, 0x000A, 0xFE80, 0x0200, 0x5EFF, 0xFE00, 0x0207, 0xFE80, 2, 0xFF02, 0x12, 24, 112)
    total = sum(words) % 0xFFFF
    expected = "3107fe01000a" + f"{0xFFFF - total:04x}" + "fe80000000000000" + "02005efffe000207"
    assert encode(advertisement, _SOURCE6, GROUP_IPV6).hex() == expected


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", [1, 28, TRAILER_LENGTH_MAX])
def test_a_trailer_outside_the_checksum_is_ignored(family: Family, length: int) -> None:
    """An authentication trailer of a newer peer stands behind the addresses."""
    source: Address = _SOURCE if family == 4 else _SOURCE6
    addresses: tuple[Address, ...] = (IPv4Address("10.0.0.1"),) if family == 4 else (virtual_link_local(Vrid(7)),)
    advertisement = Advertisement(Vrid(7), Priority(100), 100, addresses, family)
    payload = encode(advertisement, source, GROUPS[family]) + b"\xa5" * length
    assert decode(payload, family=family, source=source, destination=GROUPS[family]) == advertisement


def test_a_trailer_inside_the_checksum_is_ignored_too() -> None:
    """Over IPv6 the sender's kernel sums whatever the raw socket was given."""
    advertisement = Advertisement(Vrid(7), Priority(100), 100, (virtual_link_local(Vrid(7)),), 6)
    payload = bytearray(encode(advertisement, _SOURCE6, GROUP_IPV6) + b"\xa5" * 28)
    payload[6:8] = bytes(2)
    covered = pseudo_header_sum(_SOURCE6, GROUP_IPV6, PROTOCOL, len(payload))
    payload[6:8] = checksum(bytes(payload), covered).to_bytes(2, "big")
    assert decode(bytes(payload), family=6, source=_SOURCE6, destination=GROUP_IPV6) == advertisement


def test_more_than_a_trailer_is_refused() -> None:
    """An advertisement does not grow at will."""
    advertisement = Advertisement(Vrid(7), Priority(100), 100, (IPv4Address("10.0.0.1"),), 4)
    payload = encode(advertisement, _SOURCE, GROUP_IPV4) + bytes(TRAILER_LENGTH_MAX + 1)
    with pytest.raises(DecodeError, match="too-long"):
        decode(payload, family=4, source=_SOURCE, destination=GROUP_IPV4)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (Packet(4, _SOURCE, GROUP_IPV4, 51, 255, b""), "protocol"),
        (Packet(4, _SOURCE, IPv4Address("224.0.0.1"), PROTOCOL, 255, b""), "destination"),
        (Packet(4, _SOURCE, IPv4Address("255.255.255.255"), PROTOCOL, 255, b""), "destination"),
        (Packet(6, _SOURCE6, IPv6Address("ff02::1"), PROTOCOL, 255, b""), "destination"),
        (Packet(4, _SOURCE, IPv4Address("192.168.1.9"), PROTOCOL, 254, b""), "ttl"),
        (Packet(4, _SOURCE, IPv4Address("192.168.1.9"), PROTOCOL, 255, b""), "truncated"),
        (Packet(4, _SOURCE, GROUP_IPV4, PROTOCOL, 255, b""), "truncated"),
    ],
)
def test_packets_that_are_neither_for_the_vrrp_group_nor_for_one_router_are_refused(
    packet: Packet, reason: str
) -> None:
    """Each with a word for the counter; one router's own address is no excuse for a packet from afar."""
    with pytest.raises(DecodeError) as error:
        decode_packet(packet)
    assert error.value.reason == reason


def test_the_same_bytes_give_the_same_advertisement_object() -> None:
    """The machine's hot path rests on it; another source with the same bytes is judged anew."""
    advertisement = Advertisement(Vrid(7), Priority(100), 100, (IPv4Address("10.0.0.1"),), 4)
    payload = encode(advertisement, _SOURCE, GROUP_IPV4, pseudo_header=True)
    first = decode(payload, family=4, source=_SOURCE, destination=GROUP_IPV4)
    assert decode(bytes(bytearray(payload)), family=4, source=_SOURCE, destination=GROUP_IPV4) is first
    with pytest.raises(DecodeError, match="checksum"):
        decode(payload, family=4, source=IPv4Address("192.168.1.3"), destination=GROUP_IPV4)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=120),
        st.binary(max_size=80).map(lambda tail: b"\x31\x07\x64\x01" + tail),
        st.binary(max_size=80).map(lambda tail: b"\x21\x07\x64\x01" + tail),
    )
)
def test_any_bytes_give_an_advertisement_or_a_decode_error(payload: bytes) -> None:
    """Nothing that a neighbour sends ends the agent."""
    sources: dict[Family, Address] = {4: _SOURCE, 6: _SOURCE6}
    for family, source in sources.items():
        with suppress(DecodeError):
            decode(payload, family=family, source=source, destination=GROUPS[family])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([4, 6]), st.binary(min_size=4, max_size=90), st.booleans())
def test_any_fields_under_a_right_checksum_are_read_or_refused(
    family: Family, rest: bytes, pseudo_header: bool
) -> None:
    """Behind the checksum the fields are as hostile as before it; what is read can be sent again."""
    source: Address = _SOURCE if family == 4 else _SOURCE6
    message = bytearray(b"\x31" + rest[:3] + rest[3:5].ljust(2, b"\0") + bytes(2) + rest[5:])
    covered = pseudo_header_sum(source, GROUPS[family], PROTOCOL, len(message)) if pseudo_header or family == 6 else 0
    message[6:8] = checksum(bytes(message), covered).to_bytes(2, "big")
    try:
        decoded = decode(bytes(message), family=family, source=source, destination=GROUPS[family])
    except DecodeError:
        return
    encode(decoded, source, GROUPS[family])


def test_a_virtual_mac_is_told_from_any_other() -> None:
    """Those of RFC 9568, section 7.3, for both families; not a port's, not a broken one, not none."""
    assert is_virtual_mac(virtual_mac(Vrid(7), 4))
    assert is_virtual_mac(virtual_mac(Vrid(255), 6))
    for other in (None, b"", bytes(6), bytes.fromhex("00005e000307"), bytes.fromhex("02005e000107")):
        assert not is_virtual_mac(other)
