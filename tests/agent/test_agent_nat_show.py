"""What a pair of real agents says of its translations: figures, ages, the operator's own lines, a history on both."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from agent_sockets import OUTSIDE, connected, listening, own, talk
from agent_worlds import NODES, PATIENCE_S, ROOT, World, in_lab, other
from hostile_datagrams import flood
from typer.testing import CliRunner

from understudy.adapters.channel import POOLS_PORT
from understudy.agent.nat_history import HistoryFile, follow
from understudy.agent.pools import DROPPED_TOLD_S
from understudy.cli.app import app
from understudy.cli.nat_node import ask_node
from understudy.errors import OperatorError
from understudy.ios.reader import read_text

TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
# web2 is in the pool.
TEXT = TEXT.replace("access-list 1 permit 10.9.0.160 0.0.0.31", "access-list 1 permit host 10.9.0.12")
FORGED = {"channel-forged", "channel-replay"}
STATIC, GIVEN = "203.0.113.21", "203.0.113.193"


@contextlib.contextmanager
def connection(world: World, host: str, port: int) -> Iterator[tuple[socket.socket, socket.socket, str]]:
    """From a host to the client outside: both ends, and the address that the client sees."""
    with listening(world, OUTSIDE, port) as server, connected(world, host, own(world, OUTSIDE), port) as asking:
        asked, (seen, _) = server.accept()
        with asked:
            yield asking, asked, seen


def shown(world: World, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(said(world, *words, "--json"))
    return document


def said(world: World, *words: str) -> str:
    """By `understudy nat`."""
    done = CliRunner().invoke(app, ["nat", *words, "--run-dir", str(world.lab.state)])
    assert done.exit_code in (0, 2), done.output
    return done.stdout


def pool_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in document["pools"] if each["name"] == "STAFF"]


@in_lab
def test_statistics_count_what_comes_by_and_verbose_says_since_when(world: World) -> None:
    """Hits, misses, what has expired, the peak, the allocator's word about the pool; on the standby its own figures."""
    active = world.settle()
    with connection(world, "web2", 8201) as (asking, asked, seen):
        assert seen == GIVEN
        begun = shown(world, "show", "statistics")
        before, (pool_before,) = begun["numbers"], pool_of(begun)
        missed = begun["forecasts"]["STAFF"]["misses"]
        standby = other(active)
        copies_before = shown(world, "show", "statistics", "--node", standby)
        for _ in range(5):
            talk(asking, asked)
        with connection(world, "web1", 8202) as (here, there, address):
            assert address == STATIC
            talk(here, there)
            document = world.until(partial(with_one_given, world))
            after = document["numbers"]
            assert after["hits"] >= before["hits"] + 10
            assert after["misses"] >= before["misses"] + 1
            assert after["peak"] >= after["active"] >= 2
            (pool,) = pool_of(document)
            assert pool["misses"] == pool_before["misses"]
            assert shown(world, "show", "pool", "STAFF")["forecast"]["misses"] == missed
            rows = shown(world, "show", "translations", "verbose")["rows"]
            flows = [row for row in rows if row["kind"] == "flow"]
            assert len(flows) >= 2
            assert all(row["created_s"] is not None and row["created_s"] < 600 for row in flows), flows
            assert all(row["left_s"] is not None for row in flows), flows
            (simple,) = [row for row in rows if row["kind"] == "simple"]
            assert simple["created_s"] is not None
            assert simple["left_s"] is not None
            port = str(here.getsockname()[1])
            words = ("tcp", "inside", STATIC, port, own(world, "web1"), port)
            assert shown(world, "clear", "translations", *words)["flows"] == 1
        gone = shown(world, "show", "statistics")["numbers"]
        assert gone["expired"] > before["expired"]
        assert gone["peak"] >= after["active"]
        world.until(lambda: shown(world, "show", "statistics", "--node", standby)["numbers"]["active"] >= 1)
        copies = shown(world, "show", "statistics", "--node", standby)
        assert copies["node"] == standby
        assert copies["numbers"]["expired"] == copies_before["numbers"]["expired"]


def with_one_given(world: World) -> dict[str, Any]:
    """The statistics once an address of the pool is with somebody, also by the word of the process that gave it, which
    comes a moment later. Until then nothing.
    """
    document = shown(world, "show", "statistics")
    (pool,) = pool_of(document)
    free = document["forecasts"]["STAFF"]["free"]
    return document if (pool["allocated"], free) == (1, pool["total"] - 1) else {}


@in_lab
def test_an_explanation_names_the_operators_own_line_and_knows_the_nodes_own_voice(world: World) -> None:
    """The line of the file, not of the canonical form; what the node says itself is left alone, as in the kernel."""
    active = world.settle()
    lines = TEXT.splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "static 10.9.0.11 203.0.113.21" in line)
    told = shown(world, "explain", "in", "inside", "tcp", "10.9.0.11:4000", "203.0.113.50:80")
    assert (told["verdict"], told["where"]) == ("translated", f"line {number}")
    text = said(world, "explain", "in", "inside", "tcp", "10.9.0.11:4000", "203.0.113.50:80")
    assert f"line {number}: ip nat inside source static 10.9.0.11 203.0.113.21" in text
    told = shown(world, "explain", "local", "-", "tcp", "203.0.113.10:4000", "203.0.113.50:80")
    assert (told["verdict"], told["reason"]) == ("untranslated", "own-voice")
    with connection(world, active, 8204) as (asking, _, seen):
        assert seen == asking.getsockname()[0]


@in_lab
def test_both_nodes_know_who_had_an_address_across_a_failover(world: World) -> None:
    """Also the one that was Backup when the connection began; what began before the history is known since it began."""
    active = world.settle()
    lines = ask_node({"do": "lines"}, node=None, run_dir=world.lab.state, config=None, here=False)
    configuration = read_text(lines["config"]).configuration
    files = {node: world.lab.state / f"history-{node}" for node in NODES}
    with connection(world, "web2", 8211) as (asking, asked, seen):
        talk(asking, asked)
        world.settle()
        pids = [world.lab.namespaces[node].spawn(follow, file, configuration, 1 << 20) for node, file in files.items()]
        try:
            world.until(lambda: all(_knows(file, seen, asking) for file in files.values()))
            with connection(world, "web1", 8212) as (here, there, address):
                talk(here, there)
                world.until(lambda: all(_knows(file, address, here) for file in files.values()))
                began = time.time_ns() // 1_000_000
                world.settle()
                world.lab.kill_agent(active)
                world.until(lambda: world.role(other(active)) == "active")
                talk(here, there)
                talk(asking, asked)
                port = here.getsockname()[1]
            late = time.time_ns() // 1_000_000
            for file in files.values():
                (past,) = _who(file, address, port, began)
                assert (str(past.inside_local), past.local_port) == (own(world, "web1"), port)
                (old,) = _who(file, seen, asking.getsockname()[1], late)
                assert str(old.inside_local) == own(world, "web2")
                assert not _who(file, address, port + 1, began)
                assert not _who(file, address, port, began - 3_600_000)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _who(file: Path, address: str, port: int, moment: int) -> tuple[Any, ...]:
    held = HistoryFile(file, write=False)
    try:
        return held.ring.who(IPv4Address(address), port, moment)
    finally:
        held.close()


def _knows(file: Path, address: str, end: socket.socket) -> bool:
    with contextlib.suppress(OperatorError):  # it is only being made
        return bool(_who(file, address, end.getsockname()[1], time.time_ns() // 1_000_000))
    return False


@in_lab
def test_hostile_datagrams_on_the_port_of_pools_change_nothing(world: World) -> None:
    """Ten thousand, forged, cut, played back, under other keys: no entry, no role, and it goes on."""
    active = world.settle()
    standby = other(active)
    entry = "10.9.0.12 : 203.0.113.193"
    with connection(world, "web2", 8221) as (asking, asked, seen):
        assert seen == GIVEN
        world.until(lambda: entry in _entries(world, standby))
        before = world.moves(), world.pid(standby, "pools"), _entries(world, standby)
        since = time.monotonic_ns()
        world.lab.namespaces[active].run(flood, world.lab.key, standby, POOLS_PORT)
        talk(asking, asked)
        # They did arrive, and were refused for what they are.
        world.until(lambda: dropped(world, standby, since) >= FORGED, DROPPED_TOLD_S + PATIENCE_S)
        assert (world.moves(), world.pid(standby, "pools"), _entries(world, standby)) == before
        # Control: the genuine table still comes through.
        said(world, "clear", "translations", "*")
        world.until(lambda: entry not in _entries(world, standby))
    with connection(world, "web2", 8222) as (asking, asked, seen):
        talk(asking, asked)
        world.until(lambda: f"10.9.0.12 : {seen}" in _entries(world, standby))


def dropped(world: World, node: str, since: int) -> set[str]:
    """Why, by the journal's word of datagrams to the port of pools."""
    told = [e["detail"] for e in world.events(node, "dropped", since) if e["subject"] == "pools"]
    return {each.split()[0] for detail in told for each in detail.split(", ")}


def _entries(world: World, node: str) -> str:
    return world.run(node, "nft list map inet understudy ios_entry_out")
