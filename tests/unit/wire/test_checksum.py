"""The Internet checksum against the loop of RFC 1071 and against known headers."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.wire.checksum import checksum, is_intact, pseudo_header_sum


def _by_the_book(data: bytes) -> int:
    """RFC 1071, section 4.1, word by word with the carry folded in."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_it_equals_the_sum_word_by_word(data: bytes) -> None:
    """Any bytes, odd lengths and the two zeros of one's complement included."""
    assert checksum(data) == _by_the_book(data)


@settings(deadline=None)
@given(st.binary(min_size=2, max_size=100).filter(any))
def test_a_message_with_its_checksum_is_intact_and_with_another_it_is_not(data: bytes) -> None:
    """The checksum in an even place completes the sum to all ones."""
    value = checksum(bytes(2) + data)
    assert is_intact(value.to_bytes(2, "big") + data)
    assert not is_intact((value ^ 1).to_bytes(2, "big") + data)


def test_zeros_alone_are_not_intact() -> None:
    """A sum of 0 is not all ones."""
    assert checksum(bytes(8)) == 0xFFFF
    assert not is_intact(bytes(8))
    assert is_intact(b"\xff\xff")


def test_a_known_ipv4_header() -> None:
    """The example that every textbook computes: 45 00 00 73 ... gives b861."""
    header = bytes.fromhex("45000073000040004011 0000 c0a80001c0a800c7")
    assert checksum(header) == 0xB861
    assert is_intact(header[:10] + b"\xb8\x61" + header[12:])


@settings(deadline=None)
@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 255), st.binary(max_size=60))
def test_the_ipv4_pseudo_header_is_added_as_if_it_stood_before_the_message(
    source: IPv4Address, destination: IPv4Address, protocol: int, data: bytes
) -> None:
    """Source, destination, zero, protocol, length."""
    header = source.packed + destination.packed + bytes((0, protocol)) + len(data).to_bytes(2, "big")
    assert checksum(data, pseudo_header_sum(source, destination, protocol, len(data))) == _by_the_book(header + data)


@settings(deadline=None)
@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 255), st.binary(max_size=60))
def test_the_ipv6_pseudo_header_is_added_as_if_it_stood_before_the_message(
    source: IPv6Address, destination: IPv6Address, protocol: int, data: bytes
) -> None:
    """Source, destination, length in 32 bits, three zeros, next header."""
    header = source.packed + destination.packed + len(data).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    assert checksum(data, pseudo_header_sum(source, destination, protocol, len(data))) == _by_the_book(header + data)
