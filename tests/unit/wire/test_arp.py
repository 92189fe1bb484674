"""ARP frames, built and read."""

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DecodeError
from understudy.wire.arp import ArpMessage, Operation, decode, encode, gratuitous_frame, request_frame

_MAC = bytes.fromhex("00005e000107")
_ADDRESS = IPv4Address("10.9.0.254")
_SOURCE = IPv4Address("10.9.0.1")


@pytest.mark.parametrize(("reply", "operation"), [(False, "0001"), (True, "0002")])
def test_a_gratuitous_frame_byte_by_byte(reply: bool, operation: str) -> None:
    """Request form by default, reply form on demand; the virtual address and the virtual MAC twice in either."""
    body = "0001 0800 06 04" + operation + "00005e000107 0a0900fe 00005e000107 0a0900fe"
    assert gratuitous_frame(_ADDRESS, _MAC, reply=reply) == bytes.fromhex("ffffffffffff 00005e000107 0806" + body)
    assert decode(gratuitous_frame(_ADDRESS, _MAC, reply=reply)).is_gratuitous


def test_a_request_frame_byte_by_byte() -> None:
    """The target's hardware address is unknown, hence zero."""
    body = "0001 0800 06 04 0001 00005e000107 0a090001 000000000000 0a0900fe"
    frame = request_frame(_ADDRESS, _SOURCE, _MAC)
    assert frame == bytes.fromhex("ffffffffffff 00005e000107 0806" + body)
    assert not decode(frame).is_gratuitous


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (13, 0x00, "ethertype"),
        (15, 6, "arp-type"),
        (16, 0x86, "arp-type"),
        (18, 8, "arp-type"),
        (19, 16, "arp-type"),
        (21, 0, "arp-operation"),
        (21, 3, "arp-operation"),
    ],
)
def test_frames_that_are_not_ipv4_questions_or_answers_are_refused(offset: int, value: int, reason: str) -> None:
    """Each with a word for the counter."""
    frame = bytearray(request_frame(_ADDRESS, _SOURCE, _MAC))
    frame[offset] = value
    with pytest.raises(DecodeError) as error:
        decode(bytes(frame))
    assert error.value.reason == reason


def test_a_cut_frame_is_refused_and_padding_is_ignored() -> None:
    """42 bytes count, whatever the port added."""
    frame = request_frame(_ADDRESS, _SOURCE, _MAC)
    assert decode(frame + b"\xaa" * 18) == decode(frame)
    for length in range(len(frame)):
        with pytest.raises(DecodeError, match="arp-truncated"):
            decode(frame[:length])


_MACS = st.binary(min_size=6, max_size=6)


@settings(deadline=None)
@given(st.sampled_from(Operation), _MACS, st.ip_addresses(v=4), _MACS, st.ip_addresses(v=4))
def test_what_is_built_is_read_again(
    operation: Operation, sender_mac: bytes, sender: IPv4Address, target_mac: bytes, target: IPv4Address
) -> None:
    """Any addresses."""
    message = ArpMessage(operation, sender_mac, sender, target_mac, target)
    assert decode(encode(message, target_mac)) == message


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60), st.binary(max_size=30).map(lambda tail: gratuitous_frame(_ADDRESS, _MAC)[:20] + tail)
    )
)
def test_any_bytes_give_a_message_or_a_decode_error(frame: bytes) -> None:
    """Nothing that a neighbour sends ends the agent."""
    with suppress(DecodeError):
        decode(frame)
