"""Frames that nobody honest sends, a row each: what is wrong with it, how it is made, and how the agent counts it."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from understudy.adapters.channel import MAGIC, Channel
from understudy.units import Address, Priority, Vrid
from understudy.wire import arp, ndp
from understudy.wire.checksum import checksum, pseudo_header_sum
from understudy.wire.frame import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethernet_frame, ip_packet
from understudy.wire.vrrp import GROUP_IPV4, GROUP_IPV6, PROTOCOL, Advertisement, encode, virtual_link_local

VRID = Vrid(31)
ADDRESS = IPv4Address("203.0.113.10")
INTERVAL_CS = 40
"""Of the pair's file: what an advertisement says of another one is told by itself."""
GROUP_MAC, GROUP_MAC6 = bytes.fromhex("01005e000012"), bytes.fromhex("333300000012")
LINK_LOCAL = IPv6Address("fe80::bad")
OTHER_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who sends, and to which of the two nodes."""

    attacker: IPv4Address
    mac: bytes
    node: IPv4Address
    node_mac: bytes
    number: int
    """Of the node, in the channel."""
    key: bytes

    @property
    def peer_number(self) -> int:
        return 3 - self.number


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    build: Callable[[Scene], bytes]
    reason: str
    """Under which both nodes count it; empty for what the kernel's filter keeps from them."""


# --- pieces


def message(priority: int = 254, vrid: int = VRID, address: Address = ADDRESS, source: Address = ADDRESS) -> bytes:
    """A valid one, but for what a row changes afterwards. `source` counts only over IPv6."""
    advertisement = Advertisement(
        Vrid(vrid), Priority(priority), INTERVAL_CS, (address,), 4 if isinstance(address, IPv4Address) else 6
    )
    return encode(advertisement, source, GROUP_IPV4 if isinstance(address, IPv4Address) else GROUP_IPV6)


def summed(data: bytes) -> bytes:
    """With the checksum of a VRRP message set right."""
    return data[:6] + checksum(data[:6] + b"\0\0" + data[8:]).to_bytes(2, "big") + data[8:]


def multicast(scene: Scene, body: bytes, source: Address | None = None) -> bytes:
    return ethernet(scene, ip_packet(source or scene.attacker, GROUP_IPV4, PROTOCOL, body))


def ethernet(scene: Scene, packet: bytes) -> bytes:
    return ethernet_frame(GROUP_MAC, scene.mac, ETHERTYPE_IPV4, packet)


def header(scene: Scene, changes: dict[int, bytes], body: bytes | None = None) -> bytes:
    """An IPv4 header with bytes replaced at offsets, and its checksum set right again."""
    packet = bytearray(ip_packet(scene.attacker, GROUP_IPV4, PROTOCOL, message() if body is None else body))
    for offset, data in changes.items():
        packet[offset : offset + len(data)] = data
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(bytes(packet[:20])).to_bytes(2, "big")
    return ethernet(scene, bytes(packet))


def over_ipv6(scene: Scene, body: bytes, following: int = PROTOCOL, hops: int = 255) -> bytes:
    packet = bytearray(ip_packet(LINK_LOCAL, GROUP_IPV6, following, body))
    packet[7] = hops
    return ethernet_frame(GROUP_MAC6, scene.mac, ETHERTYPE_IPV6, bytes(packet))


def message6() -> bytes:
    return message(address=virtual_link_local(VRID), source=LINK_LOCAL)


def tagged(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + b"\x81\0" + vlan.to_bytes(2, "big") + frame[12:]


def datagram(scene: Scene, payload: bytes) -> bytes:
    """To the channel's port, from a port of the attacker's."""
    length = 8 + len(payload)
    head = (40000).to_bytes(2, "big") + (4112).to_bytes(2, "big") + length.to_bytes(2, "big")
    covered = pseudo_header_sum(scene.attacker, scene.node, 17, length)
    whole = head + checksum(head + b"\0\0" + payload, covered).to_bytes(2, "big") + payload
    return ethernet_frame(scene.node_mac, scene.mac, ETHERTYPE_IPV4, ip_packet(scene.attacker, scene.node, 17, whole))


def sealed(scene: Scene, *, key: bytes | None = None, sender: int = 0, network: int = 0, epoch: int = 1) -> bytes:
    """What an honest sender would seal, as far as the row allows. The outside LAN is network 0."""
    return Channel(key or scene.key, sender or scene.peer_number, epoch, frozenset({scene.number})).seal(
        b"x" * 40, scene.number, network
    )


def with_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return with_byte(data, at, data[at] ^ 1)


def arp_reply(scene: Scene, cut: int = 0, kind: bytes = b"\0\1") -> bytes:
    whole = arp.encode(
        arp.ArpMessage(arp.Operation.REPLY, scene.mac, scene.attacker, scene.node_mac, scene.node), scene.node_mac
    )
    return (whole[:14] + kind + whole[16:])[: cut or None]


def neighbour(
    scene: Scene, *, hops: int = 255, flip: bool = False, extra: bytes = b"", target: str = "fe80::1"
) -> bytes:
    advertisement = ndp.NeighborAdvertisement(IPv6Address(target), None, router=True, solicited=False, override=True)
    body = bytearray(ndp.encode_advertisement(advertisement, LINK_LOCAL, ndp.ALL_NODES) + extra)
    body[2:4] = b"\0\0"
    covered = pseudo_header_sum(LINK_LOCAL, ndp.ALL_NODES, ndp.ICMPV6, len(body))
    body[2:4] = (checksum(bytes(body), covered) ^ flip).to_bytes(2, "big")
    packet = bytearray(ip_packet(LINK_LOCAL, ndp.ALL_NODES, ndp.ICMPV6, bytes(body)))
    packet[7] = hops
    return ethernet_frame(bytes.fromhex("333300000001"), scene.mac, ETHERTYPE_IPV6, bytes(packet))


# --- the table

VRRP = (
    Row("passed a router: TTL 254", lambda s: header(s, {8: b"\xfe"}), "vrrp-ttl"),
    Row("TTL 0", lambda s: header(s, {8: b"\0"}), "vrrp-ttl"),
    Row("a checksum that is right neither way", lambda s: multicast(s, with_byte(message(), 7, 0x5A)), "vrrp-checksum"),
    Row("no checksum", lambda s: multicast(s, message()[:6] + b"\0\0" + message()[8:]), "vrrp-checksum"),
    Row("our own source address", lambda s: multicast(s, message(priority=1), s.node), "own"),
    Row("version 1", lambda s: multicast(s, summed(with_byte(message(), 0, 0x11))), "vrrp-version"),
    Row("version 4", lambda s: multicast(s, summed(with_byte(message(), 0, 0x41))), "vrrp-version"),
    Row("a type that is none", lambda s: multicast(s, summed(with_byte(message(), 0, 0x32))), "vrrp-type"),
    Row("another virtual router", lambda s: multicast(s, message(vrid=99)), "vrrp-foreign-vrid"),
    Row("virtual router 0", lambda s: multicast(s, summed(with_byte(message(), 1, 0))), "vrrp-vrid"),
    Row("no address", lambda s: multicast(s, summed(with_byte(message()[:8], 3, 0))), "vrrp-count"),
    Row("fewer addresses than it says", lambda s: multicast(s, summed(with_byte(message(), 3, 9))), "vrrp-length"),
    Row("interval 0", lambda s: multicast(s, summed(message()[:4] + bytes(4) + message()[8:])), "vrrp-interval"),
    Row("nothing at all", lambda s: multicast(s, b""), "vrrp-truncated"),
    Row("cut within the header", lambda s: multicast(s, message()[:7]), "vrrp-truncated"),
    Row("a long tail", lambda s: multicast(s, message() + bytes(65)), "vrrp-too-long"),
    Row("as long as the LAN takes", lambda s: multicast(s, message() + bytes(1460)), "vrrp-too-long"),
    Row("to another group", lambda s: header(s, {16: bytes([224, 0, 0, 5])}), "vrrp-destination"),
    Row("the first fragment", lambda s: header(s, {6: b"\x20\0"}), "ip-fragment"),
    Row("a later fragment", lambda s: header(s, {6: b"\0\x10"}), "ip-fragment"),
    Row("IP options", lambda s: header(s, {0: b"\x46"}, bytes(4) + message()), "ip-options"),
    Row("an IP length beyond the frame", lambda s: header(s, {2: b"\x05\0"}), "ip-length"),
    Row("an IP length below its header", lambda s: header(s, {2: b"\0\x13"}), "ip-length"),
    Row(
        "a wrong IP checksum",
        lambda s: flipped(multicast(s, message()), 25),
        "ip-checksum",
    ),
    Row("IPv6 in name only", lambda s: header(s, {0: b"\x65"}), "ip-version"),
    Row("IPv6, for a router of IPv4", lambda s: over_ipv6(s, message6()), "vrrp-foreign-vrid"),
    Row("IPv6, hop limit 254", lambda s: over_ipv6(s, message6(), hops=254), "vrrp-ttl"),
    Row("IPv6, a wrong checksum", lambda s: over_ipv6(s, with_byte(message6(), 7, 0)), "vrrp-checksum"),
    Row(
        "IPv6, behind a hop-by-hop header",
        lambda s: over_ipv6(s, bytes([PROTOCOL, 0, 1, 4, 0, 0, 0, 0]) + message6(), following=0),
        "ip-extension",
    ),
    Row(
        "IPv6, in a fragment",
        lambda s: over_ipv6(s, bytes([PROTOCOL, 0, 0, 1, 0, 0, 0, 7]) + message6(), following=44),
        "ip-extension",
    ),
    Row("in VLAN 5", lambda s: tagged(multicast(s, message()), 5), ""),
    Row("in VLAN 5 within VLAN 0", lambda s: tagged(tagged(multicast(s, message()), 5), 0), ""),
)

NEIGHBOURS = (
    Row("an ARP reply cut short", lambda s: arp_reply(s, cut=30), "arp-truncated"),
    Row("an ARP reply of another hardware", lambda s: arp_reply(s, kind=b"\0\6"), "arp-type"),
    Row("an ARP operation beyond those", lambda s: with_byte(arp_reply(s), 21, 9), ""),
    Row("ARP with nothing in it", lambda s: ethernet_frame(s.node_mac, s.mac, ETHERTYPE_ARP, b""), ""),
    Row("a neighbour advertisement from afar", lambda s: neighbour(s, hops=64), "nd-ttl"),
    Row("a neighbour advertisement, wrong checksum", lambda s: neighbour(s, flip=True), "nd-checksum"),
    Row("an option of length 0", lambda s: neighbour(s, extra=bytes([2, 0] + [0] * 6)), "nd-option"),
    Row("an option beyond the end", lambda s: neighbour(s, extra=bytes([2, 9] + [0] * 6)), "nd-option"),
    Row("about a group's address", lambda s: neighbour(s, target="ff02::1"), "nd-target"),
)

CHANNEL = (
    Row("an empty datagram", lambda s: datagram(s, b""), "channel-length"),
    Row("half a header", lambda s: datagram(s, sealed(s)[:30]), "channel-length"),
    Row("a header without its tag", lambda s: datagram(s, sealed(s)[:50]), "channel-length"),
    Row("longer than any", lambda s: datagram(s, MAGIC + bytes(1460)), "channel-length"),
    Row("noise", lambda s: datagram(s, bytes(range(100))), "channel-magic"),
    Row("another version of the layout", lambda s: datagram(s, with_byte(sealed(s), 3, 2)), "channel-magic"),
    Row("another cluster's key", lambda s: datagram(s, sealed(s, key=OTHER_KEY)), "channel-key"),
    Row("another key under our key's number", lambda s: datagram(s, sealed(s)[:40] + bytes(56)), "channel-forged"),
    Row(
        "one bit of the tag",
        lambda s: datagram(s, flipped(sealed(s), -1)),
        "channel-forged",
    ),
    Row("a node that nobody knows", lambda s: datagram(s, sealed(s, sender=9)), "channel-stranger"),
    Row("our own number", lambda s: datagram(s, with_byte(sealed(s), 8, s.number)), "channel-stranger"),
    Row("made for another LAN", lambda s: datagram(s, sealed(s, network=2)), "channel-path"),
    Row("sealed before the peer's last start", lambda s: datagram(s, sealed(s, epoch=1)), "channel-old-epoch"),
)

ROWS = (*VRRP, *NEIGHBOURS, *CHANNEL)
