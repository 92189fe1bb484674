"""What unicast advertisements need of a port, with a real kernel as the neighbour: a MAC, and silence about protocol
112."""

import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from sandboxed import in_sandbox, shell

from understudy.adapters.packet import Port
from understudy.adapters.unicast import ASK_EVERY, UnicastPort, destination, readdressed, swallow
from understudy.units import Address, Family, Priority, Vrid
from understudy.wire import arp
from understudy.wire.vrrp import PROTOCOL, Advertisement, advertisement_frame, virtual_link_local, virtual_mac

OWN: dict[Family, Address] = {4: IPv4Address("192.0.2.1"), 6: IPv6Address("2001:db8::1")}
PEER: dict[Family, Address] = {4: IPv4Address("192.0.2.2"), 6: IPv6Address("2001:db8::2")}
PEER_MAC = bytes.fromhex("020000000002")
ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE = 3, 2


def cable() -> None:
    """Our port `near` and, in another namespace of the kernel's, the peer's `far`."""
    shell(
        f"""ip link add near address 02:00:00:00:00:01 type veth peer name far address {PEER_MAC.hex(":")}
        ip link set near up
        ip link set far up
        ip address add 192.0.2.1/24 dev near
        ip address add 2001:db8::1/64 dev near nodad
        """
    )


def answer(address: IPv4Address, mac: bytes) -> bytes:
    return arp.encode(arp.ArpMessage(arp.Operation.REPLY, mac, address, bytes(6), IPv4Address("192.0.2.1")), PEER_MAC)


def hear(port: Port) -> None:
    """All that comes within a moment."""
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        if port.receive() is None:
            time.sleep(0.002)


@pytest.mark.parametrize("family", [4, 6])
def test_the_peers_own_kernel_tells_its_mac(family: Family) -> None:
    """By ARP or neighbour discovery, asked from our own address."""

    def story() -> bytes | None:
        shell(
            f"""ip link add near type veth peer name middle
            ip link set near up
            ip link set middle up
            ip link add link middle name far address {PEER_MAC.hex(":")} type macvlan mode bridge
            ip link set far up
            ip address add {PEER[family]}/{24 if family == 4 else 64} dev far {"nodad" if family == 6 else ""}"""
        )
        port = UnicastPort("near", frozenset({family}), [], [PEER[family]])
        question = port.question(time.monotonic_ns(), PEER[family], OWN[family])
        assert question is not None
        assert port.macs == {PEER[family]: None}
        port.send(question)
        hear(port)
        return port.macs[PEER[family]]

    assert in_sandbox(story) == PEER_MAC


def test_only_the_peers_word_is_taken_and_never_a_groups_mac() -> None:
    """An answer about another address, or one that would send our advertisements to everybody, changes nothing."""

    def story() -> list[bytes | None]:
        cable()
        port, far = UnicastPort("near", frozenset({4}), [], [PEER[4]]), Port("far", frozenset())
        seen = []
        for address, mac in (
            (IPv4Address("192.0.2.77"), PEER_MAC),
            (IPv4Address("192.0.2.2"), b"\xff" * 6),
            (IPv4Address("192.0.2.2"), PEER_MAC),
            (IPv4Address("192.0.2.2"), bytes.fromhex("01005e000012")),
        ):
            far.send(answer(address, mac))
            hear(port)
            assert list(port.macs) == [PEER[4]], "a stranger's answer is kept"
            seen.append(port.macs[PEER[4]])
        return seen

    assert in_sandbox(story) == [None, None, PEER_MAC, PEER_MAC]


def test_a_question_is_asked_once_in_a_while() -> None:
    """And not at all before we have an address to ask from."""

    def story() -> list[bool]:
        cable()
        port = UnicastPort("near", frozenset({4}), [], [PEER[4]])
        moments = (0, 1, ASK_EVERY - 1, ASK_EVERY, ASK_EVERY + 1)
        assert port.question(0, PEER[4], None) is None
        return [port.question(now, PEER[4], OWN[4]) is not None for now in moments]

    assert in_sandbox(story) == [True, False, False, True, False]


@pytest.mark.parametrize("swallows", [True, False])
def test_the_kernel_does_not_refuse_what_we_hear_by_another_socket(swallows: bool) -> None:
    """Without the swallowing socket it tells the peer that nobody here knows protocol 112: the control."""

    def story() -> int:
        cable()
        shell("ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev near")
        held = swallow("near", 4) if swallows else None
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        heard.bind(("far", 0x0800))
        heard.settimeout(0.3)
        advertisement = Advertisement(Vrid(1), Priority(100), 100, (IPv4Address("192.0.2.10"),), 4)
        frame = advertisement_frame(advertisement, PEER[4], PEER_MAC, destination=OWN[4])
        Port("far", frozenset()).send(readdressed(frame, bytes.fromhex("020000000001"), None))
        refusals = 0
        try:
            while True:
                packet = heard.recv(2048)
                refusals += packet[34:36] == struct.pack("BB", ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE)
        except TimeoutError:
            pass
        if held is not None:
            held.close()
        return refusals

    assert in_sandbox(story) == (0 if swallows else 1)


@pytest.mark.parametrize("family", [4, 6])
def test_a_frame_is_readdressed_and_nothing_else(family: Family) -> None:
    """The two MACs, each only if given; the packet's own destination is read where it stands."""
    addresses: tuple[Address, ...] = (virtual_link_local(Vrid(1)),) if family == 6 else (IPv4Address("192.0.2.10"),)
    advertisement = Advertisement(Vrid(1), Priority(100), 100, addresses, family)
    frame = advertisement_frame(advertisement, OWN[family], virtual_mac(Vrid(1), family), destination=PEER[family])
    assert destination(frame) == PEER[family]
    assert frame[20 if family == 6 else 23] == PROTOCOL
    assert readdressed(frame, None, None) == frame
    assert readdressed(frame, b"tttttt", None) == b"tttttt" + frame[6:]
    assert readdressed(frame, None, b"ssssss") == frame[:6] + b"ssssss" + frame[12:]
