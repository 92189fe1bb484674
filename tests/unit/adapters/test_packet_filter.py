"""The packet filter of a port, in a real kernel: it lets through what the agent must hear, and nothing else."""

import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from sandboxed import in_sandbox, shell

from understudy.adapters.packet import VRRP_MULTICAST_MAC, Port
from understudy.units import Priority, Vrid
from understudy.wire import arp, ndp
from understudy.wire.vrrp import Advertisement, advertisement_frame, virtual_mac

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")
V4, V6 = IPv4Address("192.0.2.1"), IPv6Address("fe80::1")
ETHERNET4 = MAC + OTHER + b"\x08\x00"
ETHERNET6 = MAC + OTHER + b"\x86\xdd"


def vrrp(family: int) -> bytes:
    address = V4 if family == 4 else V6
    router = virtual_mac(Vrid(1), 4 if family == 4 else 6)
    advertisement = Advertisement(Vrid(1), Priority(100), 100, (address,), 4 if family == 4 else 6)
    return advertisement_frame(advertisement, address, router)


def ipv4(protocol: int) -> bytes:
    return ETHERNET4 + bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 255, protocol, 0, 0]) + V4.packed * 2 + bytes(20)


def ipv6(following: int, kind: int = 0) -> bytes:
    return ETHERNET6 + bytes([0x60, 0, 0, 0, 0, 24, following, 255]) + V6.packed * 2 + bytes([kind]) + bytes(23)


def arp_frame(operation: int) -> bytes:
    head = MAC + OTHER + bytes.fromhex("0806000108000604") + operation.to_bytes(2, "big")
    return head + OTHER + V4.packed + MAC + V4.packed


WANTED = {
    "a VRRP advertisement over IPv4": vrrp(4),
    "a VRRP advertisement over IPv6": vrrp(6),
    "protocol 112 to a single host": ipv4(112),
    "an ARP reply": arp_frame(2),
    "a neighbour advertisement": ipv6(58, 136),
    "VRRP with a priority and no VLAN": vrrp(4)[:12] + bytes.fromhex("8100e000") + vrrp(4)[12:],
    "an unsolicited neighbour advertisement": ndp.unsolicited_advertisement_frame(V6, OTHER),
}
UNWANTED = {
    "an ARP request": arp.request_frame(V4, IPv4Address("192.0.2.2"), OTHER),
    "a gratuitous ARP request": arp.gratuitous_frame(V4, OTHER),
    "an ARP operation beyond those": arp_frame(3),
    "a neighbour solicitation": ndp.solicitation_frame(V6, IPv6Address("fe80::2"), OTHER),
    "a router advertisement": ipv6(58, 134),
    "an echo request over IPv6": ipv6(58, 128),
    "TCP": ipv4(6),
    "UDP": ipv4(17),
    "ICMP": ipv4(1),
    "TCP over IPv6": ipv6(6),
    "112 as an IPv6 header's type of message": ipv6(6, 112),
    "a bridge's own frame": bytes.fromhex("0180c2000000") + OTHER + bytes([0, 38]) + bytes(46),
    "VRRP in VLAN 5": vrrp(4)[:12] + bytes.fromhex("81000005") + vrrp(4)[12:],
    "an ethertype alone": ETHERNET4,
}


def passed(frames: dict[str, bytes]) -> dict[str, bytes]:
    """What the port hears of frames that arrive at it."""
    shell("ip link add near type veth peer name far\nip link set near up\nip link set far up")
    port, sender = Port("near", frozenset({4, 6})), Port("far", frozenset())
    time.sleep(0.05)
    while port.receive() is not None:
        pass
    heard: dict[str, bytes] = {}
    for name, frame in frames.items():
        sender.send(frame)
        for _ in range(200):
            found = port.receive()
            if found is not None:
                heard[name] = found
            if port.receive() is None and (found is not None or name in UNWANTED):
                break
            time.sleep(0.001)
    time.sleep(0.02)
    assert port.receive() is None
    return heard


def test_what_the_agent_must_hear_is_let_through_as_it_came() -> None:
    """Byte for byte, from the Ethernet header on."""
    heard = in_sandbox(lambda: passed(WANTED))
    tagged = {name: frame[:12] + frame[16:] if frame[12:14] == b"\x81\0" else frame for name, frame in WANTED.items()}
    assert heard == tagged  # the kernel strips a tag


def test_nothing_else_costs_python_a_moment() -> None:
    """Frames of every other kind, near misses included."""
    heard = in_sandbox(lambda: passed(UNWANTED))
    assert list(heard) == []


def test_our_own_frames_do_not_come_back() -> None:
    """A node must not take its own advertisement for another's."""

    def story() -> bytes | None:
        shell("ip link add near type veth peer name far\nip link set near up\nip link set far up")
        port = Port("near", frozenset({4}))
        port.send(vrrp(4))
        time.sleep(0.05)
        return port.receive()

    assert in_sandbox(story) is None


def test_the_port_listens_to_the_groups_of_its_families() -> None:
    """A network card drops multicast that nobody asked for."""

    def story() -> str:
        shell("ip link add near type veth peer name far\nip link set near up")
        port = Port("near", frozenset({4, 6}))
        memberships = shell("ip maddress show dev near")
        port.close()
        return memberships

    memberships = in_sandbox(story)
    for mac in VRRP_MULTICAST_MAC.values():
        assert mac.hex(":") in memberships


def test_carrier_is_seen_and_a_port_that_goes_is_no_surprise() -> None:
    """With carrier, without, and gone for good; nothing raises but sending."""

    def story() -> list[object]:
        shell("ip link add near type veth peer name far\nip link set near up\nip link set far up")
        time.sleep(0.05)
        port = Port("near", frozenset({4}))
        seen: list[object] = [port.has_carrier()]
        shell("ip link set far down")
        time.sleep(0.05)
        seen.append(port.has_carrier())
        shell("ip link del near")
        seen += [port.has_carrier(), port.receive(), port.receive()]
        with pytest.raises(OSError, match="No such device"):
            port.send(vrrp(4))
        return seen

    assert in_sandbox(story) == [True, False, False, None, None]
