"""Neighbor Discovery frames, built and read."""

from contextlib import suppress
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DecodeError
from understudy.wire.checksum import checksum, pseudo_header_sum
from understudy.wire.frame import ip_packet, multicast_frame
from understudy.wire.ndp import (
    ALL_NODES,
    ICMPV6,
    UNSPECIFIED,
    NeighborAdvertisement,
    NeighborSolicitation,
    decode,
    encode_advertisement,
    solicitation_frame,
    solicited_node,
    unsolicited_advertisement_frame,
)

_MAC = bytes.fromhex("00005e000207")
_ADDRESS = IPv6Address("2001:db8::12:3456")
_SOURCE = IPv6Address("fe80::1")


def _frame(
    message: bytes, *, source: IPv6Address = _SOURCE, destination: IPv6Address = ALL_NODES, hop_limit: int = 255
) -> bytes:
    """A frame with this ICMPv6 message, its checksum put right."""
    covered = pseudo_header_sum(source, destination, ICMPV6, len(message))
    value = checksum(message[:2] + bytes(2) + message[4:], covered)
    packet = bytearray(ip_packet(source, destination, ICMPV6, message[:2] + value.to_bytes(2, "big") + message[4:]))
    packet[7] = hop_limit
    return bytes(6) + _MAC + b"\x86\xdd" + bytes(packet)


def _advertisement(flags: int = 0xA0, options: bytes = b"\x02\x01" + _MAC) -> bytes:
    return bytes((136, 0, 0, 0, flags, 0, 0, 0)) + _ADDRESS.packed + options


def _solicitation(options: bytes = b"") -> bytes:
    return bytes((135, 0, 0, 0, 0, 0, 0, 0)) + _ADDRESS.packed + options


def test_an_unsolicited_advertisement_byte_by_byte() -> None:
    """To all nodes with hop limit 255; router and override set, solicited clear; target link-layer option."""
    frame = unsolicited_advertisement_frame(_ADDRESS, _MAC)
    headers = "333300000001 00005e000207 86dd 6c000000 0020 3a ff" + _ADDRESS.packed.hex() + ALL_NODES.packed.hex()
    assert frame[:54] == bytes.fromhex(headers)
    words = (
        0x2001,
        0xDB8,
        0x12,
        0x3456,
        0xFF02,
        1,
        32,
        58,
        0x8800,
        0xA000,
        0x2001,
        0xDB8,
        0x12,
        0x3456,
        0x201,
        0,
        0x5E00,
        0x207,
    )
    total = sum(words) % 0xFFFF
    body = "8800" + f"{0xFFFF - total:04x}" + "a0000000" + _ADDRESS.packed.hex() + "0201 00005e000207"
    assert frame[54:] == bytes.fromhex(body)


def test_a_solicitation_asks_the_solicited_node_group_and_says_who_asks() -> None:
    """The group of RFC 4291 keeps 24 bits of the address."""
    frame = solicitation_frame(_ADDRESS, _SOURCE, _MAC)
    assert solicited_node(_ADDRESS) == IPv6Address("ff02::1:ff12:3456")
    assert frame[:6].hex() == "3333ff123456"
    assert decode(frame) == NeighborSolicitation(_ADDRESS, _SOURCE, _MAC)


def test_a_solicitation_from_nowhere_has_no_link_layer_option() -> None:
    """It only asks whether anybody has the address (RFC 4862)."""
    assert decode(solicitation_frame(_ADDRESS, UNSPECIFIED, _MAC)) == NeighborSolicitation(_ADDRESS, UNSPECIFIED, None)


@settings(deadline=None)
@given(
    st.integers(0, 2**127 - 1).map(IPv6Address),
    st.none() | st.binary(min_size=6, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_an_advertisement_is_read_as_sent(target: IPv6Address, mac: bytes | None, router: bool, override: bool) -> None:
    """All flags that a multicast advertisement may carry."""
    advertisement = NeighborAdvertisement(target, mac, router, False, override)
    message = encode_advertisement(advertisement, _SOURCE, ALL_NODES)
    assert decode(multicast_frame(_SOURCE, _MAC, ALL_NODES, ICMPV6, message)) == advertisement


def test_an_answer_to_us_is_read_with_its_solicited_flag() -> None:
    """Other options before the link-layer address are skipped."""
    frame = _frame(_advertisement(0x60, b"\x0e\x01nonce!" + b"\x02\x01" + _MAC), destination=IPv6Address("fe80::2"))
    assert decode(frame) == NeighborAdvertisement(_ADDRESS, _MAC, router=False, solicited=True, override=True)


def test_the_control_for_the_refusals_is_read() -> None:
    """The messages below differ from these two in one thing each."""
    assert decode(_frame(_advertisement())) == NeighborAdvertisement(_ADDRESS, _MAC, True, False, True)
    assert decode(_frame(_solicitation())) == NeighborSolicitation(_ADDRESS, _SOURCE, None)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (_frame(_advertisement(), hop_limit=254), "nd-ttl"),
        (multicast_frame(_SOURCE, _MAC, ALL_NODES, 112, _advertisement()), "nd-protocol"),
        (_frame(_advertisement()[:23]), "nd-truncated"),
        (_frame(b"\x86" + _advertisement()[1:]), "nd-type"),
        (_frame(b"\x88\x01" + _advertisement()[2:]), "nd-type"),
        (_frame(_advertisement())[:-1] + b"\xff", "nd-checksum"),
        (_frame(_advertisement(options=b"\x02\x00" + _MAC)), "nd-option"),
        (_frame(_advertisement(options=b"\x02\x02" + _MAC)), "nd-option"),
        (_frame(_advertisement(options=b"\x02\x02" + _MAC + bytes(8))), "nd-option"),
        (_frame(_advertisement(options=b"\x02")), "nd-option"),
        (_frame(_advertisement(options=b"\x0e\x02" + _MAC)), "nd-option"),
        (_frame(_advertisement(flags=0x40)), "nd-solicited"),
        (_frame(_advertisement()[:8] + ALL_NODES.packed), "nd-target"),
        (_frame(_solicitation(), source=UNSPECIFIED), "nd-unspecified"),
        (
            _frame(_solicitation(b"\x01\x01" + _MAC), source=UNSPECIFIED, destination=solicited_node(_ADDRESS)),
            "nd-unspecified",
        ),
    ],
)
def test_messages_that_rfc_4861_calls_invalid_are_refused(frame: bytes, reason: str) -> None:
    """Sections 7.1.1 and 7.1.2, each with a word for the counter."""
    with pytest.raises(DecodeError) as error:
        decode(frame)
    assert error.value.reason == reason


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=100),
        st.builds(lambda options: _frame(_advertisement(options=options)), st.binary(max_size=40)),
        st.builds(lambda options: _frame(_solicitation(options)), st.binary(max_size=40)),
        st.builds(_frame, st.binary(min_size=4, max_size=60)),
    )
)
def test_any_bytes_give_a_message_or_a_decode_error(frame: bytes) -> None:
    """Behind a right checksum the options are as hostile as before it."""
    with suppress(DecodeError):
        decode(frame)
