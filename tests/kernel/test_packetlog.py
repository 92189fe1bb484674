"""First packets of pools without overload, in this kernel: logged, given an address, sent again, none lost."""

import contextlib
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest
from nft_bed import Machine, in_sandbox

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.flowuse import addresses_in_use
from understudy.adapters.nftables import Nft
from understudy.adapters.packetlog import PacketLog, Resender, completed, fragments, source_of
from understudy.agent.allocator import AllocatorLoop
from understudy.core.allocation.records import Entry
from understudy.errors import EnvironmentFailure
from understudy.ios.reader import read_text
from understudy.lab.natrules import ruleset
from understudy.render.ios_first import AGAIN_INSIDE, LOG_GROUP, allocation, entries_text
from understudy.render.ios_nat import IosNat, render_ios_nat
from understudy.wire.checksum import checksum, is_intact
from understudy.wire.frame import ip_packet

TEXT = """
interface Ethernet0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.254 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat pool P 192.0.2.1 192.0.2.250 prefix-length 24
ip nat inside source list 1 pool P
"""
FIRST_OF_POOL = int(IPv4Address("192.0.2.1"))
HOSTS = 200
SERVER = "203.0.113.9"


class World:
    """An inside machine with many addresses, a router, an outside server."""

    def __init__(self) -> None:
        self.inside, self.router, self.outside = (Machine.new(name) for name in ("inside", "router", "outside"))
        self.router.cable(self.inside, "e0", "i0")
        self.router.cable(self.outside, "e1", "o0")
        self.router.sysctl("net/ipv4/ip_forward", 1)
        self.router.sh("ip addr add 10.9.0.254/24 dev e0\nip addr add 203.0.113.254/24 dev e1")
        self.router.sh("ip link set e0 up\nip link set e1 up")
        addresses = "\n".join(f"addr add 10.9.0.{n}/24 dev i0" for n in range(1, HOSTS + 1))
        self.inside.run(subprocess.run, ["ip", "-batch", "-"], input=addresses, text=True, check=True)
        self.inside.sh("ip link set i0 up\nip route add default via 10.9.0.254")
        self.outside.sh(f"ip addr add {SERVER}/24 dev o0\nip link set o0 up\nip route add default via 203.0.113.254")
        # Neighbours first: what is tried is not ARP.
        self.inside.sh("ping -c1 -W2 10.9.0.254")
        self.outside.sh("ping -c1 -W2 203.0.113.254")
        ports = {"Ethernet0": "e0", "Ethernet1": "e1"}
        configuration = read_text(TEXT).configuration
        self.nat: IosNat = render_ios_nat(configuration, ports, {})
        self.nft: Nft = self.router.run(Nft)
        self.nft.run(ruleset(self.nat))
        self.configured = allocation(self.nat.allocated, self.nat.reserved, configuration.timeouts)

    def allocator(self) -> AllocatorLoop:
        loop: AllocatorLoop = self.router.run(AllocatorLoop)
        loop.configure(self.nat.allocated, self.configured)
        return loop

    @contextlib.contextmanager
    def serving(self) -> Iterator[AllocatorLoop]:
        loop = self.allocator()
        stop = threading.Event()
        thread = threading.Thread(target=loop.run, args=(stop.is_set, 50_000_000))
        thread.start()
        try:
            yield loop
        finally:
            stop.set()
            thread.join(5)
            loop.close()

    def host(self, number: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        made = self.inside.socket(socket.AF_INET, kind)
        made.bind((f"10.9.0.{number}", 0))
        made.settimeout(5)
        return made

    def server(self, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        made = self.outside.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind((SERVER, 7000))
        made.settimeout(5)
        return made


def received(server: socket.socket, count: int) -> list[tuple[bytes, str]]:
    """What comes, until `count` were counted or nothing came for as long as the socket waits."""
    found = []
    with contextlib.suppress(TimeoutError):
        while len(found) < count:
            data, address = server.recvfrom(65535)
            found.append((data, str(address[0])))
    return found


def turn_after_logging(loop: AllocatorLoop) -> None:
    assert select.select(loop.sockets, [], [], 5)[0]
    loop.turn()


def tried(story: Callable[[World], object]) -> None:
    in_sandbox(lambda: story(World()) and None)


def test_no_first_packet_is_lost_and_each_host_has_an_address() -> None:
    """Every host sends one datagram, all at once: all arrive, from as many addresses, in ascending order."""

    def story(world: World) -> None:
        server = world.server()
        with world.serving() as loop:
            hosts = [world.host(number) for number in range(1, HOSTS + 1)]
            for number, each in enumerate(hosts):
                each.sendto(str(number).encode(), (SERVER, 7000))
            found = received(server, HOSTS)
            assert sorted(int(data) for data, _ in found) == list(range(HOSTS))
            assert {int(data): int(IPv4Address(source)) for data, source in found} == {
                number: FIRST_OF_POOL + number for number in range(HOSTS)
            }
            assert loop.machine.counts.sent >= HOSTS

    tried(story)


def test_without_the_allocator_nothing_passes() -> None:
    """Control: it is the allocator that the test above tries."""

    def story(world: World) -> None:
        server = world.server()
        server.settimeout(0.3)
        world.host(1).sendto(b"x", (SERVER, 7000))
        assert received(server, 1) == []

    tried(story)


def test_a_burst_that_waits_goes_out_in_its_order_and_answers_come_back() -> None:
    def story(world: World) -> None:
        server, host, loop = world.server(), world.host(5), world.allocator()
        for number in range(30):
            host.sendto(bytes((number,)), (SERVER, 7000))
        turn_after_logging(loop)
        found = received(server, 30)
        assert [data[0] for data, _ in found] == list(range(30))
        server.sendto(b"answer", (found[0][1], host.getsockname()[1]))
        assert host.recvfrom(64) == (b"answer", (SERVER, 7000))
        loop.close()

    tried(story)


def test_tcp_connects_with_its_first_segment() -> None:
    def story(world: World) -> None:
        server = world.server(socket.SOCK_STREAM)
        server.listen()
        with world.serving():
            host = world.host(6, socket.SOCK_STREAM)
            host.connect((SERVER, 7000))
            accepted, address = server.accept()
            assert address[0] == "192.0.2.1"
            # struct tcp_info: tcpi_total_retrans is the last of the fields that every kernel has.
            (again,) = struct.unpack_from("=I", host.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)
            assert again == 0
            accepted.close()

    tried(story)


def test_a_datagram_in_fragments_arrives_whole() -> None:
    def story(world: World) -> None:
        server, loop = world.server(), world.allocator()
        host, text = world.host(7), bytes(range(256)) * 20
        # Path MTU discovery would forbid to cut it.
        host.setsockopt(socket.IPPROTO_IP, 10, 0)
        host.sendto(text, (SERVER, 7000))
        turn_after_logging(loop)
        assert received(server, 1) == [(text, "192.0.2.1")]
        loop.close()

    tried(story)


def test_an_error_about_a_first_packet_reaches_its_sender() -> None:
    """Nobody listens there: the sender is told, by a message that carries its own addresses."""

    def story(world: World) -> None:
        with world.serving():
            host = world.host(8)
            host.connect((SERVER, 9))
            host.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                host.recv(64)

    tried(story)


def test_a_packet_that_was_sent_again_never_asks_again() -> None:
    def story(world: World) -> None:
        log, resender = world.router.run(PacketLog, LOG_GROUP), world.router.run(Resender)
        packet = ip_packet(IPv4Address("10.9.0.9"), IPv4Address(SERVER), 47, b"\0\0\x08\0")
        leaving = world.router.run(socket.if_nametoindex, "e1")
        assert not resender.send(packet, AGAIN_INSIDE, leaving)  # dropped: the sender is told EPERM
        assert resender.failures == {"EPERM": 1}
        assert not select.select([log.socket], [], [], 0.3)[0]
        # Control: without the mark it is a first packet like others.
        resender.send(packet, 0, leaving)
        assert select.select([log.socket], [], [], 5)[0]
        (logged,) = log.read(10)
        assert source_of(logged.packet) == int(IPv4Address("10.9.0.9"))
        log.close()

    tried(story)


def test_a_successor_takes_over_what_the_kernel_holds() -> None:
    def story(world: World) -> None:
        server, loop = world.server(), world.allocator()
        first = world.host(10)
        first.sendto(b"x", (SERVER, 7000))
        turn_after_logging(loop)
        loop.close()
        again = world.allocator()
        world.host(11).sendto(b"y", (SERVER, 7000))
        turn_after_logging(again)
        assert received(server, 2) == [(b"x", "192.0.2.1"), (b"y", "192.0.2.2")]
        first.sendto(b"z", (SERVER, 7000))
        assert received(server, 1) == [(b"z", "192.0.2.1")]
        again.close()

    tried(story)


def test_a_text_that_is_loaded_again_leaves_the_entries_alone() -> None:
    def story(world: World) -> None:
        (pool,) = world.nat.allocated
        entry = Entry(pool.number, int(IPv4Address("10.9.0.5")), FIRST_OF_POOL + 7)
        world.nft.run(entries_text([pool], [entry], []))
        world.nft.run(ruleset(world.nat))
        loop = world.allocator()
        assert loop.machine.entries() == (entry,)
        loop.close()

    tried(story)


def test_use_is_found_by_the_address_that_others_know() -> None:
    def story(world: World) -> None:
        server, loop = world.server(), world.allocator()
        flows: FlowTable = world.router.run(FlowTable)
        assert FIRST_OF_POOL not in (addresses_in_use(flows) or ())
        world.host(12).sendto(b"x", (SERVER, 7000))
        turn_after_logging(loop)
        assert received(server, 1)
        assert FIRST_OF_POOL in (addresses_in_use(flows) or ())
        loop.close()
        flows.close()

    tried(story)


def test_a_group_that_another_program_reads_is_refused() -> None:
    def story(world: World) -> None:
        first = world.router.run(PacketLog, LOG_GROUP)
        with pytest.raises(EnvironmentFailure, match="another program"):
            world.router.run(PacketLog, LOG_GROUP)
        first.close()

    tried(story)


def datagram(text: bytes, stored: int | None = None) -> bytes:
    body = struct.pack("!HHHH", 5, 6, 8 + len(text), 0) + text
    source, target = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    pseudo = int(source) + int(target) + 17 + len(body)
    summed = checksum(body, pseudo) if stored is None else stored
    return ip_packet(source, target, 17, body[:6] + summed.to_bytes(2, "big") + body[8:])


def test_a_checksum_that_was_left_to_the_card_is_completed_and_a_wrong_one_is_not() -> None:
    whole = datagram(b"text")
    pseudo = int(IPv4Address("10.0.0.1")) + int(IPv4Address("10.0.0.2")) + 17 + 12
    assert completed(whole) == whole
    assert completed(datagram(b"text", pseudo % 0xFFFF)) == whole
    wrong = datagram(b"text", 0x1234)
    assert completed(wrong) == wrong


@pytest.mark.parametrize("size", [1, 551, 552, 553, 5000])
def test_fragments_put_together_are_the_packet(size: int) -> None:
    whole = datagram(bytes(n & 255 for n in range(size)))
    parts = list(fragments(whole, 576))
    assert all(len(part) <= 576 for part in parts)
    assert b"".join(part[20:] for part in parts) == whole[20:]
    offsets = [int.from_bytes(part[6:8], "big") for part in parts]
    assert [offset & 0x1FFF for offset in offsets] == [
        sum(len(p) - 20 for p in parts[:n]) >> 3 for n in range(len(parts))
    ]
    assert [bool(offset & 0x2000) for offset in offsets] == [True] * (len(parts) - 1) + [False]
    assert len({part[4:6] for part in parts}) == 1
    assert is_intact(whole[:20])


@pytest.mark.parametrize(
    "data", [b"", b"E", bytes(20), b"\x4f" + bytes(30), datagram(b"x") + b"\0", b"\x60" + bytes(40)]
)
def test_what_is_no_whole_ipv4_packet_has_no_source(data: bytes) -> None:
    assert source_of(data) is None
