"""A flushed rule set under traffic, on the real kernel: nobody answers RST, and the guard is nobody else's to take."""

import select
import socket
import subprocess
import time
from pathlib import Path

import pytest
from nft_bed import OUTSIDE_CLIENT, Bed, Flow, Gateway, bed, connect, exchange, in_sandbox, listen

from understudy.adapters.nftables import Nft
from understudy.errors import EnvironmentFailure
from understudy.render import grant_lease
from understudy.render.guard import GUARD_TABLE
from understudy.units import SECOND

VIP = "203.0.113.10"
COUNT = 10
FLUSHES = 20


class World:
    """gw1 Active, with or without a guard; balanced connections, and some from inside to a client that has a route
    to inside addresses: the worst case for what leaves untranslated.
    """

    def __init__(self, *, guard: bool) -> None:
        self.bed: Bed = bed()
        self.gateway: Gateway = self.bed.gateways["gw1"]
        self.keeper = self.gateway.machine.run(Nft)
        if guard:
            self.keeper.run(self.gateway.config.guard)
        self.servers = [listen(self.bed.machines[name], "0.0.0.0", 8080) for name in ("web1", "web2", "web3")]
        self.outside = listen(self.bed.client, "0.0.0.0", 9000)
        self.gateway.activate()
        time.sleep(0.05)
        self.balanced = connect(self.bed.client, (VIP, 80), self.servers, COUNT)
        self.translated = connect(self.bed.office, (OUTSIDE_CLIENT, 9000), [self.outside], COUNT)

    def flush(self) -> None:
        self.gateway.machine.sh("nft flush ruleset")

    def restore(self) -> None:
        self.gateway.nft.apply(self.gateway.config.ruleset)
        self.gateway.nft.run(grant_lease(1, 60 * SECOND))

    def exchange(self, flows: list[Flow], timeout_s: float = 5) -> tuple[int, int]:
        """Both sides speak first once: how often it was answered, and how many flows were reset."""
        one = exchange(flows, timeout_s=timeout_s)
        other = exchange(flows, server_first=True, timeout_s=timeout_s)
        return one[0] + other[0], max(one[1], other[1])

    def resets(self) -> int:
        """RST segments that any machine has sent."""
        return sum(machine.run(_resets_sent) for machine in self.bed.machines.values())


def _resets_sent() -> int:
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "Tcp:")
    return int(values[names.index("OutRsts")])


def test_twenty_flushes_under_traffic_reset_nothing() -> None:
    """Both kinds of flows go on through every gap, in both directions, and no machine sends a single RST."""

    def story() -> tuple[set[tuple[int, int]], set[tuple[int, int]], int]:
        world = World(guard=True)
        before = world.resets()
        meanwhile, afterwards = set(), set()
        for _ in range(FLUSHES):
            world.flush()
            meanwhile |= {world.exchange(world.balanced), world.exchange(world.translated)}
            world.restore()
            afterwards |= {world.exchange(world.balanced), world.exchange(world.translated)}
        return meanwhile, afterwards, world.resets() - before

    alive = {(2 * COUNT, 0)}
    assert in_sandbox(story) == (alive, alive, 0)


def test_without_the_guard_one_flush_resets_every_translated_flow() -> None:
    """The control: the same traffic, and nothing but the routing rules."""

    def story() -> tuple[int, int]:
        world = World(guard=False)
        before = world.resets()
        world.flush()
        _, reset = world.exchange(world.translated, timeout_s=1)
        return reset, world.resets() - before

    reset, segments = in_sandbox(story)
    assert reset == COUNT
    assert segments >= COUNT


@pytest.mark.parametrize("guard", [True, False])
def test_a_connection_begun_in_the_gap_waits_for_the_rules(guard: bool) -> None:
    """It neither leaves untranslated nor is it refused, and is there once the rules are. Without the guard it leaks."""

    def story() -> list[str]:
        world = World(guard=guard)
        world.flush()
        seen = []
        with (
            world.bed.office.socket(socket.AF_INET, socket.SOCK_STREAM) as inside,
            world.bed.client.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        ):
            for end, target in ((inside, (OUTSIDE_CLIENT, 9000)), (client, (VIP, 80))):
                end.setblocking(False)
                end.connect_ex(target)
            time.sleep(0.2)
            if guard:
                world.restore()
            world.outside.settimeout(5)
            accepted, (source, _) = world.outside.accept()
            accepted.close()
            seen.append(source)
            if guard:
                select.select([], [client], [], 5)
                seen.append(client.getpeername()[0])
        return seen

    assert in_sandbox(story) == ([VIP, VIP] if guard else ["10.9.0.50"])


def test_nobody_else_changes_the_guard_and_it_goes_with_its_keeper() -> None:
    """Neither rules nor the table; repeated by its keeper it stays one; a new keeper makes a new one."""

    def story() -> list[str]:
        world = World(guard=True)
        seen = []
        for command in (f"delete table inet {GUARD_TABLE}", f"flush table inet {GUARD_TABLE}"):
            done = world.gateway.machine.run(subprocess.run, ["nft", command], capture_output=True, text=True)
            seen.append("refused" if "not permitted" in done.stderr else done.stderr or "done")
        listing = f"nft list table inet {GUARD_TABLE}"
        before = world.gateway.machine.output(listing)
        world.keeper.run(world.gateway.config.guard)
        seen.append("as before" if world.gateway.machine.output(listing) == before else "changed")
        successor = world.gateway.machine.run(Nft)
        try:
            successor.run(world.gateway.config.guard)
        except EnvironmentFailure as failure:
            seen.append("refused" if "not permitted" in failure.reason else failure.reason)
        world.keeper.close()
        seen.append("kept" if GUARD_TABLE in world.gateway.machine.output("nft list tables") else "gone")
        successor.run(world.gateway.config.guard)
        seen.append("kept" if GUARD_TABLE in world.gateway.machine.output("nft list tables") else "gone")
        return seen

    assert in_sandbox(story) == ["refused", "refused", "as before", "refused", "gone", "kept"]
