"""Who has an address: the question on the cable, and who answers it."""

from ipaddress import IPv4Address, IPv6Address

from understudy.units import Address
from understudy.wire import arp, ndp


def question_frame(address: str, mac: bytes, own: Address) -> bytes:
    if isinstance(own, IPv4Address):
        return arp.request_frame(IPv4Address(address), own, mac)
    return ndp.solicitation_frame(IPv6Address(address), own, mac)


def answering_mac(frame: bytes, address: str) -> bytes:
    """The MAC address in an answer about `address`; empty for any other frame."""
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2":
        message = arp.decode(frame)
        return message.sender_mac if str(message.sender) == address else b""
    if frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136:
        advertisement = ndp.decode(frame)
        if isinstance(advertisement, ndp.NeighborAdvertisement) and str(advertisement.target) == address:
            return bytes(frame[6:12])
    return b""
