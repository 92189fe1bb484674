"""Frames that the prober asks with, and how it tells what a gateway said.

Deliberately apart from `wire`: the observer shares no decoder with the observed, so that one mistake cannot hide
itself.

The asker uses a MAC address of its own. IPv4 is asked with an address probe (sender 0.0.0.0, RFC 5227, section
2.1.1), IPv6 with a solicitation from a link-local address of the asker's. Either way the answer goes to a MAC that
the client's kernel ignores: asking refreshes no client's neighbour cache, which would paper over a gateway that
forgot to announce itself.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

from understudy.units import Address

ASKER_MAC = bytes.fromhex("02005e75640a")
"""Locally administered, unicast."""
_ASKER_LINK_LOCAL = IPv6Address("fe80::5eff:fe75:640a")
_ETHERTYPE_ARP, _ETHERTYPE_IPV4, _ETHERTYPE_IPV6 = 0x0806, 0x0800, 0x86DD
_ARP_REPLY = 2
_ND_SOLICITATION, _ND_ADVERTISEMENT = 135, 136
_ICMPV6, _VRRP = 58, 112
_NA_SOLICITED = 0x40


def ask(address: Address) -> bytes:
    """The frame that asks a LAN who has `address`."""
    if isinstance(address, IPv4Address):
        body = struct.pack("!HHBBH6s4s6s4s", 1, _ETHERTYPE_IPV4, 6, 4, 1, ASKER_MAC, bytes(4), bytes(6), address.packed)
        return b"\xff" * 6 + ASKER_MAC + struct.pack("!H", _ETHERTYPE_ARP) + body
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | (int(address) & 0xFFFFFF))  # RFC 4291, section 2.7.1
    message = struct.pack("!BBHI16sBB6s", _ND_SOLICITATION, 0, 0, 0, address.packed, 1, 1, ASKER_MAC)
    pseudo = _ASKER_LINK_LOCAL.packed + group.packed + struct.pack("!II", len(message), _ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + _ASKER_LINK_LOCAL.packed + group.packed
    return b"\x33\x33" + group.packed[-4:] + ASKER_MAC + struct.pack("!H", _ETHERTYPE_IPV6) + header + message


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def sight(frame: bytes) -> tuple[str, str] | None:
    """What kind of frame this is and whom it is about (see `record.Sighting`), or None if it is none of ours."""
    if len(frame) < 34:
        return None
    ethertype = int.from_bytes(frame[12:14])
    if ethertype == _ETHERTYPE_ARP and len(frame) >= 42:
        sender = frame[28:32]
        if sender == frame[38:42]:
            return "announcement", str(IPv4Address(sender))
        return ("answer", str(IPv4Address(sender))) if int.from_bytes(frame[20:22]) == _ARP_REPLY else None
    if ethertype == _ETHERTYPE_IPV4 and frame[23] == _VRRP:
        offset = 14 + (frame[14] & 0x0F) * 4
        return ("advertisement", str(frame[offset + 2])) if len(frame) > offset + 2 else None
    if ethertype == _ETHERTYPE_IPV6 and len(frame) >= 57:
        if frame[20] == _VRRP:
            return "advertisement", str(frame[56])
        if frame[20] == _ICMPV6 and frame[54] == _ND_ADVERTISEMENT and len(frame) >= 78:
            kind = "answer" if frame[58] & _NA_SOLICITED else "announcement"
            return kind, str(IPv6Address(frame[62:78]))
    return None


def tap_filter() -> list[tuple[int, int, int, int]]:
    """Classic BPF: only ARP replies, gratuitous ARP, neighbour advertisements and protocol 112 reach user space.

    Each instruction is (code, jump if true, jump if false, operand); without it the taps would wake for every datagram.
    """
    load_half, load_byte, load_word, to_index = 0x28, 0x30, 0x20, 0x07
    equal, equal_index, give = 0x15, 0x1D, 0x06
    accept, drop = 0x40000, 0
    return [
        (load_half, 0, 0, 12),
        (equal, 4, 0, _ETHERTYPE_ARP),
        (equal, 9, 0, _ETHERTYPE_IPV6),
        (equal, 0, 14, _ETHERTYPE_IPV4),
        (load_byte, 0, 0, 23),  # IPv4
        (equal, 11, 12, _VRRP),
        (load_half, 0, 0, 20),  # ARP: a reply, or sender = target
        (equal, 9, 0, _ARP_REPLY),
        (load_word, 0, 0, 28),
        (to_index, 0, 0, 0),
        (load_word, 0, 0, 38),
        (equal_index, 5, 6, 0),
        (load_byte, 0, 0, 20),  # IPv6
        (equal, 3, 0, _VRRP),
        (equal, 0, 3, _ICMPV6),
        (load_byte, 0, 0, 54),
        (equal, 0, 1, _ND_ADVERTISEMENT),
        (give, 0, 0, accept),
        (give, 0, 0, drop),
    ]
