"""The process that hands out addresses, by its turns: what it cannot do is told once and tried again."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path as File
from typing import Any

from nft_bed import in_sandbox

from understudy.adapters.channel import POOLS_PORT, Channel
from understudy.adapters.conntrack import FlowTable
from understudy.adapters.nftables import Nft
from understudy.adapters.packetlog import PacketLog
from understudy.agent import messages
from understudy.agent.allocator import AllocatorLoop
from understudy.agent.app import drop_privileges
from understudy.agent.children import Children
from understudy.agent.journal import POOLS_ALIVE, JournalSender
from understudy.agent.pool_paths import Path, PoolPaths
from understudy.agent.pools import PoolKeeper
from understudy.agent.turn_checks import TurnChecks
from understudy.config.plan import Check
from understudy.core.allocation.effects import LookForUse
from understudy.core.allocation.events import Configured, Tick
from understudy.core.allocation.records import Record
from understudy.lab.natbed import Bed, batch
from understudy.lab.natcases import Step
from understudy.render.ios_first import LOG_GROUP, allocation
from understudy.render.ios_turns import Rotary, turn_listing
from understudy.render.model import Pools
from understudy.units import MILLISECOND, SECOND, GroupName, Instant, NetworkName, NodeName
from understudy.wire.conntrack.flow import decode

KEY = bytes(range(32))
OWN, PEER = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")
PATH = Path(0, NetworkName("sync"), 2, PEER, OWN, "lo")
CHECK = Check("tcp", "", 9100, 50 * MILLISECOND, 1000 * MILLISECOND, 1, 1)
ROTARY = """
interface Ethernet0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 2 permit 203.0.113.80
ip nat pool FARM 10.9.0.11 10.9.0.13 prefix-length 24 type rotary
ip nat inside destination list 2 pool FARM
"""


class World:
    """A keeper of a node that answers, and its journal."""

    def __init__(self, paths: tuple[Path, ...] = (), rotaries: tuple[Rotary, ...] = ()) -> None:
        self._journal, end = messages.pair()
        journal = JournalSender(end, NodeName("gw1"))
        pools = Pools(GroupName("edge"), (), Configured(()), rotaries=rotaries, check=CHECK if rotaries else None)
        channel = Channel(KEY, 1, 1, frozenset({2}), port=POOLS_PORT)
        self.paths = PoolPaths(paths, (KEY,), channel)
        self.keeper = PoolKeeper(pools, (), 1, self.paths, journal, Children(end, journal), drop_privileges)
        self.lines: list[dict[str, Any]] = []

    def told(self, kind: str) -> list[str]:
        while True:
            try:
                line = self._journal.recv(65536)
            except BlockingIOError:
                break
            if line != POOLS_ALIVE:
                self.lines.append(json.loads(line))
        return [f"{each['subject']} {each['detail']}" for each in self.lines if each["kind"] == kind]

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, self.lines
            self.keeper.turn()


@contextlib.contextmanager
def world(*paths: Path, rotaries: tuple[Rotary, ...] = ()) -> Iterator[World]:
    made = World(paths, rotaries)
    try:
        yield made
    finally:
        made.keeper.close()


def test_a_log_that_another_program_reads_is_told_once_and_tried_again() -> None:
    """What the peer said of turns is not used up by an attempt that fails."""

    def story() -> None:
        log = PacketLog(LOG_GROUP)
        with world() as made:
            made.keeper._heard = {"2/FARM": 7}
            made.until(lambda: made.told("error"))
            for _ in range(10):
                made.keeper._look_at = 0.0
                made.keeper.turn()
            (error,) = made.told("error")
            assert "another program reads it" in error
            assert not made.keeper.leads
            assert made.keeper._heard == {"2/FARM": 7}
            log.close()
            made.until(lambda: made.keeper.leads)
            assert len(made.told("pools-taken")) == 1

    in_sandbox(story)


def test_a_path_whose_address_is_not_there_yet_is_told_once_and_opened_when_it_is() -> None:
    def story() -> None:
        batch(["link set lo up"])
        with world(PATH) as made:
            for _ in range(5):
                made.keeper._housekeeping_at = 0.0
                made.keeper.turn()
            (error,) = made.told("error")
            assert "sync" in error
            assert str(OWN) in error
            assert not made.paths.sockets
            batch([f"address add {OWN}/32 dev lo"])
            made.until(lambda: made.paths.sockets)

    in_sandbox(story)


def test_a_flood_is_told_when_it_begins_and_ends_and_what_was_dropped_is_counted() -> None:
    """The filter opens again: what a peer says afterwards comes in."""

    def story() -> None:
        batch([f"address add {OWN}/32 dev lo", f"address add {PEER}/32 dev lo", "link set lo up"])
        with world(PATH) as made, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((str(PEER), 0))

            def flood() -> bool:
                for _ in range(400):
                    stranger.sendto(b"nonsense", (str(OWN), POOLS_PORT))
                return any("only a share" in each for each in made.told("flood"))

            made.until(lambda: made.paths.sockets)
            made.until(flood)
            made.until(lambda: any("over" in each for each in made.told("flood")))
            assert any("channel-length" in each for each in made.told("dropped"))
            made.until(lambda: all(end.sieve._counts[kind].shift == 0 for end in made.paths._open.values()
                                   for kind in end.sieve._counts))  # fmt: skip

    in_sandbox(story)


def test_who_hands_out_addresses_says_that_it_runs() -> None:
    def story() -> None:
        ours, end = messages.pair()
        with world() as made:
            made.keeper._journal = JournalSender(end, NodeName("gw1"))
            made.keeper._housekeeping_at = 0.0
            made.keeper.turn()
            assert ours.recv(64) == POOLS_ALIVE

    in_sandbox(story)


def test_a_table_larger_than_a_message_goes_into_the_kernel_and_out_of_it() -> None:
    """In parts: without privilege over the machine the kernel takes some 3 000 elements at once."""
    lines = """
interface Ethernet0
 ip address 10.9.0.254 255.255.0.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.255.255
ip nat pool P 198.18.0.1 198.18.63.254 netmask 255.255.192.0
ip nat inside source list 1 pool P
"""
    size, first = 8000, int(IPv4Address("198.18.0.1"))

    def story() -> None:
        bed = Bed(lines, ())
        try:
            (pool,) = bed.nat.allocated
            loop = bed._allocator
            name = loop.machine.pools()[0].settings.name
            records = [Record(name, int(IPv4Address("10.9.0.1")) + n, first + n) for n in range(size)]
            bed.run(lambda: loop.follow(records, whole=True))
            assert len(loop._held((pool,))) == size
            assert bed.run(loop.clear) == size
            assert loop._held((pool,)) == ()
        finally:
            bed.close()

    in_sandbox(story)


POOL = """
interface Ethernet0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat translation timeout 20
ip nat pool P 203.0.113.21 203.0.113.23 prefix-length 24
ip nat inside source list 1 pool P
"""


def test_whose_flows_go_on_keeps_its_address_and_packets_do_not_wait_for_the_look() -> None:
    """A child looks; who is in use, and who is not, comes with a later turn."""

    def story() -> None:
        bed = Bed(POOL, ())
        _, end = messages.pair()
        children = Children(end, JournalSender(end, NodeName("gw1")))

        def look() -> tuple[list[int], int]:
            loop = AllocatorLoop(listening=False, children=children)
            loop.configure(bed.nat.allocated, allocation(bed.nat.allocated, (), ()))
            bed._allocator.listen(False)
            loop.listen(True)
            try:
                own = {each.host for each in loop.machine.entries()}
                later = Instant(time.monotonic_ns() + 3600 * SECOND)
                for effect in loop.machine.handle(later, Tick()):
                    assert isinstance(effect, LookForUse)
                    loop._carry_out(effect)
                during = len(loop.sockets)
                deadline = time.monotonic() + 15
                seen = None
                while seen is None:
                    assert time.monotonic() < deadline
                    seen = loop._uses.heard()  # type: ignore[union-attr] # it has children
                assert seen.addresses is not None
                assert len(own) == 2
                return sorted(seen.addresses), during
            finally:
                loop.close()

        try:
            for host, port in (("10.9.0.5", 4000), ("10.9.0.6", 4001)):
                sent = {"src": host, "sport": port, "dst": "203.0.113.9", "dport": 80}
                bed.send(Step(direction="in>out", protocol="tcp", sent=sent, expected={"verdict": "x"}), ())
            first, second = (int(each.given) for each in bed.given())
            (raw,) = bed.run(_flows_of, second)
            bed.run(_end_flow, raw)
            assert bed.run(look) == ([first], 2)
        finally:
            bed.close()

    in_sandbox(story)


def _flows_of(address: int) -> list[bytes]:
    table = FlowTable()
    try:
        wanted = IPv4Address(address)
        return [raw for part in table.list({0}) for raw in part if decode(raw).reply.destination == wanted]
    finally:
        table.close()


def _end_flow(raw: bytes) -> None:
    table = FlowTable()
    try:
        assert table.delete(raw)
    finally:
        table.close()


def _checkers() -> list[int]:
    """Process ids of children that check servers of rotaries."""
    return [
        int(each.parent.name)
        for each in File("/proc").glob("[0-9]*/comm")
        if each.read_text().strip() == "understudy-rotary-checks"[:15]
    ]


def test_servers_are_asked_without_privileges_and_again_after_the_child_died() -> None:
    def story() -> None:
        batch(["link set lo up"])
        _, end = messages.pair()
        journal = JournalSender(end, NodeName("gw1"))
        checks = TurnChecks([int(IPv4Address("127.0.0.1"))], CHECK, Children(end, journal), drop_privileges)

        def until_down() -> None:
            deadline = time.monotonic() + 15
            while True:
                assert time.monotonic() < deadline
                checks.tend()
                ill, reasons = checks.read()
                if ill is not None:
                    assert (len(ill), len(reasons)) == (1, 1)
                    return
                time.sleep(0.01)

        try:
            until_down()
            (pid,) = _checkers()
            status = dict(
                line.split(":", 1) for line in File(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
            )
            assert int(status["CapEff"], 16) == 0
            own = File("/proc/self/status").read_text()
            assert "CapEff:\t0000000000000000" not in own, "control"
            os.kill(pid, signal.SIGKILL)
            with socket.socket() as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("127.0.0.1", 9100))
                server.listen(16)
                deadline = time.monotonic() + 15
                while True:
                    assert time.monotonic() < deadline
                    checks.tend()
                    if checks.read()[0] == frozenset():
                        break
                    time.sleep(0.01)
            assert _checkers() != [pid]
        finally:
            checks.close()
        assert _checkers() == []

    in_sandbox(story)


def test_who_reads_that_a_server_is_down_finds_it_out_of_its_turn() -> None:
    """The kernel's ring is written before it is told."""

    def story() -> None:
        bed = Bed(ROTARY, ())
        listings: list[str] = []

        def run() -> None:
            batch([f"address add 10.9.0.{n}/32 dev lo" for n in (11, 12, 13)])
            with contextlib.ExitStack() as held, Nft() as nft:
                for n in (11, 13):
                    server = held.enter_context(socket.socket())
                    server.bind((f"10.9.0.{n}", 9100))
                    server.listen(16)
                made = held.enter_context(world(rotaries=bed.nat.rotaries))
                tell = made.keeper._tell

                def listening(kind: str, detail: str, subject: str = "pools") -> None:
                    if kind == "rotary-check":
                        listings.append(nft.run(turn_listing(bed.nat.rotaries[0])))
                    tell(kind, detail, subject)

                assert "10.9.0.12" in nft.run(turn_listing(bed.nat.rotaries[0])), "control"
                made.keeper._tell = listening  # type: ignore[method-assign] # only listens
                made.until(lambda: made.told("rotary-skip"))

        try:
            bed.run(run)
        finally:
            bed.close()
        assert listings
        assert all("10.9.0.12" not in each for each in listings), listings

    in_sandbox(story)
