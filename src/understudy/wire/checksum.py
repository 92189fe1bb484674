"""The Internet checksum (RFC 1071), for IPv4 headers, VRRP and ICMPv6.

Adding 16-bit words with an end-around carry is arithmetic modulo 65 535, and 2**16 is 1 modulo 65 535. So the whole
message, read as one big number, has the same remainder as the sum of its words: one conversion and one division, done
in C, replace the loop. It holds for the pseudo-header too: addresses, length and protocol are simply added as numbers.

Zero has two forms in one's complement. A sum is 0 only if every word is 0; otherwise remainder 0 stands for 65 535.
"""

from understudy.units import Address

_MODULUS = 0xFFFF


def checksum(data: bytes, pseudo_header: int = 0) -> int:
    """The checksum of `data`, whose checksum field holds zero; `pseudo_header` is `pseudo_header_sum` or nothing."""
    total = _as_number(data) + pseudo_header
    return -total % _MODULUS if total else _MODULUS


def is_intact(data: bytes, pseudo_header: int = 0) -> bool:
    """Whether `data`, its checksum included, adds up to all ones."""
    total = _as_number(data) + pseudo_header
    return total % _MODULUS == 0 and total != 0


def pseudo_header_sum(source: Address, destination: Address, protocol: int, length: int) -> int:
    """What the pseudo-header adds to the sum: of IPv4 (RFC 793, section 3.1) and of IPv6 (RFC 8200, section 8.1) alike.

    `length` counts the bytes of the upper-layer message. The zeros of either header add nothing; order does not matter.
    """
    return int(source) + int(destination) + protocol + length


def _as_number(data: bytes) -> int:
    number = int.from_bytes(data, "big")
    return number << 8 if len(data) % 2 else number  # RFC 1071: an odd byte is followed by a zero
