"""`understudy apply` on a running pair: standby first, nothing lost, and back again if a step or the command fails."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_commands import HEAD, apply
from agent_commands import command as completed
from agent_worlds import NODES, Story, Test, World, in_lab, other
from typer.testing import CliRunner

from understudy.agent import client
from understudy.cli.app import app
from understudy.cli.lab import _nodes
from understudy.config import load_plan
from understudy.drill.change import kernel_dump

NAT = "nat:\n  - {source: inside, to: outside}\n"
TEXT = (
    HEAD
    + """\
services:
  web:
    listen: 203.0.113.10:80
    servers: [web1:8080, web2:8080]
    check: {http: /healthz, every: 200ms, fall: 2}
"""
    + NAT
)
ADDRESS = "203.0.113.10"
LIVE = TEXT.replace("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.20],")
RESTART = TEXT.replace("vrid: 7", "vrid: 70")
DEAD_CHECK = TEXT.replace("http: /healthz", "tcp: true, port: 9")
SPARE = "  spare: {listen: '203.0.113.10:81', servers: [web2:8080], check: {tcp: true, every: 200ms}}\n"
SWITCHOVER_LOSS_MAX = 20
SIGNALLED = """\
import os, sys
import understudy.cli.apply
module = sys.modules["understudy.cli.apply"]
tell, due = module.tell, [{number}]
def told(text):
    tell(text)
    if due and "reload: ok" in text:
        os.kill(os.getpid(), due.pop())
module.tell = told
"""
"""The command in the very moment when it has said so: read by somebody else, it may have ended before the signal."""


def digests(world: World) -> set[str]:
    return {str(world.status(node)["digest"]) for node in NODES}


def digest_of(text: str) -> str:
    return load_plan(text.encode()).digest.hex()


def epochs(world: World) -> dict[str, int]:
    return {node: int(world.status(node)["epoch"]) for node in NODES}


def actions(document: dict[str, Any]) -> list[str]:
    return [f"{step['action']} {step['node']} {step['result']}" for step in document["steps"]]


def nothing_is_on_trial(world: World) -> bool:
    replies = [client.order(world.lab.run_dir(node), "confirm") for node in NODES]
    return [reply.get("error", {}).get("code") for reply in replies] == ["E5237"] * 2


def settled(world: World, text: str) -> None:
    """Both nodes run `text`, and are a pair."""
    world.until(lambda: digests(world) == {digest_of(text)}, 25)
    world.until(lambda: sorted(world.roles().values()) == ["active", "backup"])
    world.until(lambda: all(world.group(node)["peers"][0]["heard"] for node in NODES))


def restore(world: World) -> None:
    if digests(world) != {digest_of(TEXT)}:
        apply(world, TEXT)
    settled(world, TEXT)


def agreed(world: World) -> None:
    """Nothing is on trial, whatever became of the story before."""
    if digests(world) != {digest_of(TEXT)}:
        for node in NODES:
            client.order(world.lab.run_dir(node), "back")
        world.until(lambda: len(digests(world)) == 1, 25)


def story(of: Story) -> Test:
    """`in_lab`, beginning with the first file."""

    @functools.wraps(of)
    def from_the_first_file(world: World) -> None:
        agreed(world)
        restore(world)
        of(world)

    return in_lab(from_the_first_file)


@contextlib.contextmanager
def measurable(world: World) -> Iterator[None]:
    """As `understudy lab up` leaves a lab, so that the command finds the places of its clients."""
    nodes = _nodes(world.lab)
    for node in nodes:
        node["namespace"] = f"/proc/{os.getpid()}/fd/{node.pop('descriptor')}"
    record = world.lab.state / "lab.json"
    record.write_text(json.dumps({"main": os.getpid(), "nodes": nodes}))
    try:
        yield
    finally:
        record.unlink()


def measured(world: World, text: str) -> dict[str, Any]:
    """The command with this file and its probes; its JSON."""
    file = world.lab.state / "new.yaml"
    file.write_text(text)
    with measurable(world):
        return completed(world, "apply", str(file), "--yes")


def signalled(world: World, text: str, number: int, *options: str) -> tuple[int, str]:
    """The command in a process of its own, sent a signal when one node has the file: its exit code and output."""
    file = world.lab.state / "killed.yaml"
    file.write_text(text)
    words = ["apply", str(file), "--run-dir", str(world.lab.state), "--yes", "--no-probes", *options]
    program = SIGNALLED.format(number=int(number)) + "from understudy.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "reload: ok" in done.stdout, done.stdout
    return done.returncode, done.stdout


@story
def test_a_live_change_reaches_both_nodes_and_loses_nothing(world: World) -> None:
    """The standby first; each step is measured by 1 kHz both ways and a population of connections.

    Where packets were lost because the machine's own queues ran over, it is told once more.
    """
    active, dropped = world.active(), dropped_by_the_machine()
    document = measured(world, LIVE)
    if any(step["packets_lost"] for step in document["steps"]) and dropped_by_the_machine() > dropped:
        restore(world)
        document = measured(world, LIVE)
    standby = other(active)
    assert actions(document) == [
        f"reload {standby} ok", f"reload {active} ok", f"confirm {standby} ok", f"confirm {active} ok",
    ]  # fmt: skip
    assert document["findings"] == []
    assert [(step["packets_lost"], step["connections_lost"]) for step in document["steps"]] == [(0, 0)] * 4
    assert digests(world) == {digest_of(LIVE)}
    assert world.active() == active, [e for n in NODES for e in world.events(n, "moved")]
    assert "203.0.113.20/32" in kernel_dump(world.lab, active)
    assert nothing_is_on_trial(world)  # confirmed: nobody goes back
    restore(world)
    assert "203.0.113.20" not in kernel_dump(world.lab, active)


def dropped_by_the_machine() -> int:
    """Packets for which a CPU's queue was full; the second column counts them."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())


@dataclass(frozen=True, slots=True)
class Together:
    """Edits that nodes take at once, the kinds of change that they are, and what both kernels show of it."""

    edits: tuple[tuple[str, str], ...]
    kinds: set[str]
    there: tuple[str, ...]
    gone: tuple[str, ...]


SHORT, LONG = (f"update @lease .* timeout {lease} }}" for lease in ("892ms", "1s192ms"))
SHORTER = ("advertise: 400ms", "advertise: 300ms")
LIVE_CHANGES = (
    Together(
        (("advertise: 300ms", "advertise: 400ms"), ("services:\n", f"services:\n{SPARE}")),
        {"advertise", "service"},
        there=(LONG, "203.0.113.10 . 81"), gone=(SHORT,),
    ),
    Together(
        (SHORTER, ("nodes: [gw1, gw2]", "nodes: [gw2, gw1]"), ("[web1:8080, web2:8080]", "[web2:8080]")),
        {"advertise", "priority", "servers"},
        there=(SHORT,), gone=(LONG, "10.9.0.11 . 8080"),
    ),
    Together(
        ((SPARE, ""), ("[web2:8080]", "[web2:8080, web1:8080]"), (NAT, "")),
        {"service", "servers", "nat"},
        there=("10.9.0.11 . 8080",), gone=("203.0.113.10 . 81", "ip daddr != 10.9.0.0/24"),
    ),
)  # fmt: skip


@story
def test_every_kind_of_live_change_is_led_through(world: World) -> None:
    """Both nodes and both kernels have it afterwards, and the same one serves."""
    active, text = world.active(), TEXT
    for change in LIVE_CHANGES:
        for old, new in change.edits:
            assert old in text, old
            text = text.replace(old, new)
        document = apply(world, text)
        assert {step["action"] for step in document["steps"]} == {"reload", "confirm"}, change
        assert [{each["kind"] for each in node["changed"]} for node in document["nodes"]] == [change.kinds] * 2
        assert digests(world) == {digest_of(text)}, change
        shorter = SHORTER in change.edits
        assert document["steps"][0]["node"] == (active if shorter else other(active)), change
        for node in NODES:
            kernel = kernel_dump(world.lab, node)
            assert [words for words in change.there if not re.search(words, kernel)] == []
            assert [words for words in change.gone if re.search(words, kernel)] == []
    assert world.active() == active
    restore(world)


@story
def test_a_change_that_needs_a_restart_hands_over_in_between(world: World) -> None:
    """No connection is lost, and no packet beyond a switchover; the processes stay, with another life in them."""
    active, pids = world.active(), {node: world.pid(node, "supervisor") for node in NODES}
    before = epochs(world)
    document = measured(world, RESTART)
    standby = other(active)
    assert actions(document) == [
        f"restart {standby} ok", f"switchover edge {active} ok", f"restart {active} ok",
        f"confirm {standby} ok", f"confirm {active} ok",
    ]  # fmt: skip
    assert sum(step["connections_lost"] for step in document["steps"]) == 0
    assert sum(step["packets_lost"] for step in document["steps"]) <= SWITCHOVER_LOSS_MAX
    assert digests(world) == {digest_of(RESTART)}
    assert world.active() == standby
    assert {node: world.pid(node, "supervisor") for node in NODES} == pids
    assert all(epochs(world)[node] > before[node] for node in NODES)
    assert "00:00:5e:00:01:46" in kernel_dump(world.lab, standby)


RESTARTS = {
    "a network's prefix": ("outside: 203.0.113.0/24", "outside: 203.0.113.0/25"),
    "a node's own address": ("gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}",
                             "gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.5}"),
    "a network more of a group": ("inside: 10.9.0.254}", "inside: 10.9.0.254, sync: 192.168.250.6}"),
    "how a group speaks": ("vrid: 7", "vrid: 7\n    vrrp: {unicast: true}"),
    "without virtual MAC": ("vrid: 7", "vrid: 7\n    vrrp: {virtual_mac: false}"),
}  # fmt: skip
"""Changes for which every agent begins anew. Each story takes the change of the one before back at the same time.

The two on network `sync` do not follow each other: while the nodes' files differ it is silent by the one, so that by
the other who serves would reach less.
"""


def changes_by_restart(world: World, what: str) -> None:
    """With everything counted: who stood by begins anew first, and no connection is lost."""
    old, new = RESTARTS[what]
    assert old in TEXT
    agreed(world)
    text = TEXT.replace(old, new)
    if digests(world) == {digest_of(text)}:
        restore(world)
    active = world.active()
    document = measured(world, text)
    standby = other(active)
    assert actions(document) == [
        f"restart {standby} ok", f"switchover edge {active} ok", f"restart {active} ok",
        f"confirm {standby} ok", f"confirm {active} ok",
    ], what  # fmt: skip
    assert document["findings"] == []
    assert sum(step["connections_lost"] for step in document["steps"]) == 0, document["steps"]
    assert sum(step["packets_lost"] for step in document["steps"]) <= SWITCHOVER_LOSS_MAX, document["steps"]
    world.until(lambda: world.get(ADDRESS) in ("web1", "web2"))


@in_lab
def test_another_prefix_of_a_network_is_a_hand_over(world: World) -> None:
    changes_by_restart(world, "a network's prefix")


@in_lab
def test_another_own_address_of_a_node_is_a_hand_over(world: World) -> None:
    """Found at its port by both addresses, which stay; the way through the changed network is the channel's again."""
    port = next(each for each in world.lab.topology.host("gw2").ports if each.network == "sync")
    world.run("gw2", f"ip address replace 192.168.250.5/29 dev {port.interface}")
    changes_by_restart(world, "a node's own address")


@in_lab
def test_another_way_of_speaking_is_a_hand_over(world: World) -> None:
    """For a while one node sends to all and the other to one, and each hears the other."""
    changes_by_restart(world, "how a group speaks")


@in_lab
def test_a_network_more_of_a_group_is_a_hand_over(world: World) -> None:
    changes_by_restart(world, "a network more of a group")


@in_lab
def test_without_virtual_mac_is_a_hand_over(world: World) -> None:
    """And with it again."""
    changes_by_restart(world, "without virtual MAC")
    restore(world)


@story
def test_a_group_comes_and_goes_by_restarts(world: World) -> None:
    """Its way back would need one; the address of the other one answers all the while."""
    text = TEXT.replace("services:", "  more: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.30}}\nservices:", 1)
    document = apply(world, text)
    assert {step["action"] for step in document["steps"]} >= {"restart", "confirm"}
    world.until(lambda: len(world.answers("203.0.113.30")) == 1)
    document = apply(world, TEXT)
    assert {step["action"] for step in document["steps"]} >= {"restart", "confirm"}
    world.until(lambda: not world.answers("203.0.113.30"))
    settled(world, TEXT)


@story
def test_an_upgrade_restarts_both_agents_from_the_installed_code(world: World) -> None:
    """One after the other with the same file; nothing is on trial afterwards."""
    active, before = world.active(), epochs(world)
    document = apply(world, TEXT, "--restart")
    assert actions(document) == [
        f"restart {other(active)} ok", f"switchover edge {active} ok", f"restart {active} ok",
    ]  # fmt: skip
    assert all(epochs(world)[node] > before[node] for node in NODES)
    for node in NODES:
        argv = Path(f"/proc/{world.pid(node, 'supervisor')}/cmdline").read_bytes().split(b"\0")
        assert b"understudy.agent.again" in argv
        assert client.order(world.lab.run_dir(node), "confirm")["error"]["code"] == "E5237"
    world.until(lambda: world.get(ADDRESS) in ("web1", "web2"))
    settled(world, TEXT)


@story
def test_a_dry_run_and_a_second_run_change_nothing(world: World) -> None:
    """Exit code 2 with what would be done, 0 where nothing is to do."""
    before = epochs(world)
    document = apply(world, LIVE, "--dry-run", code=2)
    assert document["steps"] == []
    assert [each["kind"] for each in document["nodes"][0]["changed"]] == ["address"]
    assert len(document["plan"]) == 4
    assert apply(world, TEXT)["result"] == "nothing"
    assert (epochs(world), digests(world)) == (before, {digest_of(TEXT)})


@story
def test_a_wrong_file_changes_nothing_on_any_node(world: World) -> None:
    """Nor does one that no pair can be led to node by node; nor is anything done without a word of consent."""
    before = epochs(world)
    wrong = {
        TEXT.replace("advertise: 300ms", "advertise: soon"): "E2112",
        TEXT.replace("web1:8080,", "web9:8080,"): "E2403",
        TEXT.replace("nodes:\n  gw1", "nodes:\n  gw0: {inside: 10.9.0.7}\n  gw1", 1): "E5240",
        TEXT.replace("inside: 10.9.0.2,", "inside: 10.9.0.3,"): "E5204",
    }
    for text, code in wrong.items():
        document = apply(world, text, code=1)
        codes = [document["error"]["code"], *(each["code"] for each in document.get("problems", ()))]
        assert code in codes, document
    file = world.lab.state / "new.yaml"
    file.write_text(LIVE)
    done = CliRunner().invoke(app, ["apply", str(file), "--run-dir", str(world.lab.state)])
    assert (done.exit_code, "E5241" in done.stderr) == (1, True), done.output
    assert (epochs(world), digests(world)) == (before, {digest_of(TEXT)})


@story
def test_a_file_whose_servers_turn_out_dead_is_taken_back_before_anybody_is_hurt(world: World) -> None:
    """The standby finds them down and goes back; the Active never had the file."""
    active, before = world.active(), epochs(world)
    document = apply(world, DEAD_CHECK, "--step-timeout", "4", code=3)
    standby = other(active)
    assert actions(document) == [f"reload {standby} failed", f"back {standby} ok"]
    assert "is down" in document["error"]
    assert document["result"] == "rolled back"
    assert epochs(world)[active] == before[active]
    settled(world, TEXT)


@story
def test_a_node_that_cannot_begin_with_the_file_has_everything_taken_back(world: World) -> None:
    """Its kernel refuses a link: it begins with the old file by itself, and the other one is led back."""
    active = world.active()
    text = TEXT.replace("services:", "  more: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.30}}\nservices:", 1)
    world.run(active, "ip link add us2n1v4 type bridge")
    try:
        document = apply(world, text, code=3)
        assert document["steps"][0]["action"] == "restart"
        assert f"back {other(active)} ok" in actions(document)
        assert f"restart {active} failed" in actions(document)
        settled(world, TEXT)
        world.until(lambda: world.get(ADDRESS) in ("web1", "web2"))
    finally:
        world.run(active, "ip link delete us2n1v4")


@story
def test_a_killed_command_leaves_no_node_with_the_new_file(world: World) -> None:
    """Live: each goes back when nobody has confirmed in time."""
    active, since = world.active(), time.monotonic_ns()
    standby = other(active)
    assert signalled(world, LIVE, signal.SIGKILL, "--confirm-within", "4")[0] == -signal.SIGKILL

    def taken() -> list[str]:
        return [each["digest_new"] for each in world.events(standby, "reloaded", since)]

    world.until(lambda: len(taken()) > 1, 25)
    assert taken() == [digest_of(LIVE), digest_of(TEXT)]
    assert "went back" in [each["subject"] for each in world.events(standby, "trial", since)]
    assert world.events(active, "reloaded", since) == []
    settled(world, TEXT)
    assert world.active() == active
    assert nothing_is_on_trial(world)


@story
def test_an_interrupted_command_takes_everything_back_itself(world: World) -> None:
    """SIGTERM: it says so, and its exit code does."""
    code, output = signalled(world, LIVE, signal.SIGTERM, "--confirm-within", "60")
    assert (code, "taken back" in output) == (3, True), output
    settled(world, TEXT)


@story
def test_two_nodes_that_were_restarted_go_back_one_after_the_other(world: World) -> None:
    """Nobody confirms: both begin anew with the old file, the standby first, and the service answers all the while."""
    first = world.standby()
    for node in (first, other(first)):
        if world.role(node) == "active":
            world.switch_over()
        epoch = world.status(node)["epoch"]
        reply = client.order(world.lab.run_dir(node), "restart", "new.yaml", RESTART.encode(), trial_s=60.0)
        assert reply["ok"], reply
        world.until(lambda node=node, epoch=epoch: int(world.status(node)["epoch"]) > epoch)  # type: ignore[misc]
        world.until(lambda: sorted(world.roles().values()) == ["active", "backup"])
        world.until(lambda: all(peer["eligible"] for n in NODES for peer in world.group(n)["peers"]))
    assert digests(world) == {digest_of(RESTART)}
    for node in NODES:  # nearly over
        assert client.order(world.lab.run_dir(node), "extend", trial_s=1.0)["ok"]
    missed: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            if not world.get(ADDRESS, patience_s=2.5):  # what is lost at first is sent again after one second
                missed.append(time.monotonic())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        settled(world, TEXT)
    finally:
        ended.set()
        asking.join(5)
    assert missed == []


@story
def test_a_file_on_trial_comes_before_any_other(world: World) -> None:
    """Until it is confirmed another file is refused, unless it is on trial too: then the way back stays the same."""
    node = world.standby()
    run_dir = world.lab.run_dir(node)
    assert client.order(run_dir, "reload", "a", LIVE.encode(), trial_s=60.0)["ok"]
    assert client.reload(run_dir, "b", TEXT.encode())["error"]["code"] == "E5236"
    more = LIVE.replace("[web1:8080, web2:8080]", "[web2:8080]")
    assert client.order(run_dir, "reload", "c", more.encode(), trial_s=60.0)["ok"]
    assert world.status(node)["digest"] == digest_of(more)
    assert client.order(run_dir, "inspect", "c", more.encode())["trial_s"] > 50
    assert client.order(run_dir, "extend", trial_s=30.0)["ok"]
    assert client.order(run_dir, "reload", "d", LIVE.encode(), trial_s=-1.0)["error"]["code"] == "E5233"
    assert client.order(run_dir, "back")["ok"]
    settled(world, TEXT)
