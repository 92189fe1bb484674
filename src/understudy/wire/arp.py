"""ARP for IPv4 over Ethernet (RFC 826): gratuitous announcements, and the question who answers for an address.

An announcement has the virtual address as sender and as target, and the virtual MAC as either hardware address
(RFC 9568, section 6.4, with errata 7947 and 7949). It leaves from the virtual MAC, for switches to learn the port.
The request form is what RFC 9568 and RFC 5227 ask for; some hosts update their cache only on the reply form.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

from understudy.errors import DecodeError
from understudy.wire.frame import BROADCAST_MAC, ETHERTYPE_ARP, ethernet_frame

_ARP: Final = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_HARDWARE_ETHERNET: Final = 1
_PROTOCOL_IPV4: Final = 0x0800
_FIXED_FIELDS: Final = (_HARDWARE_ETHERNET, _PROTOCOL_IPV4, 6, 4)
_UNKNOWN_MAC: Final = bytes(6)


class Operation(IntEnum):
    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True, slots=True)
class ArpMessage:
    operation: Operation
    sender_mac: bytes
    sender: IPv4Address
    target_mac: bytes
    """All zeros in a question."""
    target: IPv4Address

    @property
    def is_gratuitous(self) -> bool:
        """Whether it speaks of its sender only, and asks nobody."""
        return self.sender == self.target


def gratuitous_frame(address: IPv4Address, mac: bytes, *, reply: bool = False) -> bytes:
    """Tell everybody on the LAN, and its switches, that `address` is at `mac`."""
    operation = Operation.REPLY if reply else Operation.REQUEST
    return encode(ArpMessage(operation, mac, address, mac, address), BROADCAST_MAC)


def request_frame(target: IPv4Address, source: IPv4Address, source_mac: bytes) -> bytes:
    """Ask everybody who has `target`. With 0.0.0.0 as `source` nobody's cache is touched (RFC 5227, section 2.1.1)."""
    return encode(ArpMessage(Operation.REQUEST, source_mac, source, _UNKNOWN_MAC, target), BROADCAST_MAC)


def encode(message: ArpMessage, destination_mac: bytes) -> bytes:
    """The whole Ethernet frame, sent from the message's own sender."""
    body = struct.pack(
        "!HHBBH6s4s6s4s",
        *_FIXED_FIELDS,
        message.operation,
        message.sender_mac,
        message.sender.packed,
        message.target_mac,
        message.target.packed,
    )
    return ethernet_frame(destination_mac, message.sender_mac, ETHERTYPE_ARP, body)


def decode(frame: bytes) -> ArpMessage:
    """Read an ARP frame. Raises DecodeError; padding is ignored, other protocols over ARP are refused."""
    if len(frame) < _ARP.size:
        raise DecodeError("arp-truncated")
    _, _, ethertype, *fixed_fields, operation, sender_mac, sender, target_mac, target = _ARP.unpack_from(frame)
    if ethertype != ETHERTYPE_ARP:
        raise DecodeError("ethertype")
    if tuple(fixed_fields) != _FIXED_FIELDS:
        raise DecodeError("arp-type")
    if operation not in (Operation.REQUEST, Operation.REPLY):
        raise DecodeError("arp-operation")
    return ArpMessage(Operation(operation), sender_mac, IPv4Address(sender), target_mac, IPv4Address(target))
