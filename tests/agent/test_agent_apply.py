"""`understudy apply` on a running pair: standby first, nothing lost, and back again if a step or the command fails."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_commands import COMMAND, HEAD, apply
from agent_commands import command as completed
from agent_worlds import NODES, Story, Test, World, in_lab, other
from typer.testing import CliRunner

from understudy.agent import client
from understudy.cli.app import app
from understudy.cli.lab import _nodes
from understudy.config import load_plan
from understudy.drill.change import kernel_dump

TEXT = (
    HEAD
    + """\
services:
  web:
    listen: 203.0.113.10:80
    servers: [web1:8080, web2:8080]
    check: {http: /healthz, every: 200ms, fall: 2}
nat:
  - {source: inside, to: outside}
"""
)
ADDRESS = "203.0.113.10"
LIVE = TEXT.replace("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.20],")
RESTART = TEXT.replace("vrid: 7", "vrid: 70")
DEAD_CHECK = TEXT.replace("http: /healthz", "tcp: true, port: 9")
SPARE = "  spare: {listen: '203.0.113.10:81', servers: [web1:8080], check: {tcp: true, every: 200ms}}\n"
SWITCHOVER_LOSS_MAX = 20


def digests(world: World) -> set[str]:
    return {str(world.status(node)["digest"]) for node in NODES}


def digest_of(text: str) -> str:
    return load_plan(text.encode()).digest.hex()


def epochs(world: World) -> dict[str, int]:
    return {node: int(world.status(node)["epoch"]) for node in NODES}


def actions(document: dict[str, Any]) -> list[str]:
    return [f"{step['action']} {step['node']} {step['result']}" for step in document["steps"]]


def settled(world: World, text: str) -> None:
    """Both nodes run `text`, and are a pair."""
    world.until(lambda: digests(world) == {digest_of(text)}, 25)
    world.until(lambda: sorted(world.roles().values()) == ["active", "backup"])
    world.until(lambda: all(world.group(node)["peers"][0]["heard"] for node in NODES))


def restore(world: World) -> None:
    if digests(world) != {digest_of(TEXT)}:
        apply(world, TEXT)
    settled(world, TEXT)


def story(of: Story) -> Test:
    """`in_lab`, beginning with the first file and nothing on trial, whatever became of the story before."""

    @functools.wraps(of)
    def from_the_first_file(world: World) -> None:
        if digests(world) != {digest_of(TEXT)}:  # a story failed
            for node in NODES:
                client.order(world.lab.run_dir(node), "back")
            world.until(lambda: len(digests(world)) == 1, 25)
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


@contextlib.contextmanager
def command(world: World, text: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process of its own, for people: a line for every step."""
    file = world.lab.state / "killed.yaml"
    file.write_text(text)
    words = ["apply", str(file), "--run-dir", str(world.lab.state), "--yes", "--no-probes", *options]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"it ended without {words!r}: {''.join(seen)}")


@story
def test_a_live_change_reaches_both_nodes_and_loses_nothing(world: World) -> None:
    """The standby first; each step is measured by 1 kHz both ways and a population of connections."""
    active = world.active()
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
    world.remains(lambda: digests(world) == {digest_of(LIVE)}, 1.5)  # confirmed: nobody goes back
    restore(world)
    assert "203.0.113.20" not in kernel_dump(world.lab, active)


@story
def test_every_kind_of_live_change_is_led_through(world: World) -> None:
    """Both nodes run it afterwards, and the same one serves."""
    active, text = world.active(), TEXT
    edits = {
        "interval shorter": ("advertise: 300ms", "advertise: 200ms"),
        "interval longer": ("advertise: 200ms", "advertise: 300ms"),
        "node order": ("nodes: [gw1, gw2]", "nodes: [gw2, gw1]"),
        "service added": ("services:\n", f"services:\n{SPARE}"),
        "server removed": ("[web1:8080, web2:8080]", "[web2:8080]"),
        "server added": ("[web2:8080]", "[web2:8080, web1:8080]"),
        "service removed": (SPARE, ""),
        "nat removed": ("nat:\n  - {source: inside, to: outside}\n", ""),
    }  # fmt: skip
    for what, (old, new) in edits.items():
        assert old in text, what
        text = text.replace(old, new)
        document = apply(world, text)
        assert {step["action"] for step in document["steps"]} == {"reload", "confirm"}, what
        assert digests(world) == {digest_of(text)}, what
        first = active if what == "interval shorter" else other(active)
        assert document["steps"][0]["node"] == first, what
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
    restore(world)


RESTARTS = {
    "a network's prefix": ("outside: 203.0.113.0/24", "outside: 203.0.113.0/25"),
    "a node's own address": ("gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}",
                             "gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.5}"),
    "a network more of a group": ("inside: 10.9.0.254}", "inside: 10.9.0.254, sync: 192.168.250.6}"),
    "how a group speaks": ("vrid: 7", "vrid: 7\n    vrrp: {unicast: true}"),
    "without virtual MAC": ("vrid: 7", "vrid: 7\n    vrrp: {virtual_mac: false}"),
}  # fmt: skip
"""Changes for which every agent begins anew."""


def changes_by_restart(world: World, what: str) -> None:
    """There with everything counted, and back: who stood by begins anew first, and no connection is lost."""
    old, new = RESTARTS[what]
    assert old in TEXT
    active = world.active()
    document = measured(world, TEXT.replace(old, new))
    standby = other(active)
    assert actions(document) == [
        f"restart {standby} ok", f"switchover edge {active} ok", f"restart {active} ok",
        f"confirm {standby} ok", f"confirm {active} ok",
    ], what  # fmt: skip
    assert document["findings"] == []
    assert sum(step["connections_lost"] for step in document["steps"]) == 0, document["steps"]
    assert sum(step["packets_lost"] for step in document["steps"]) <= SWITCHOVER_LOSS_MAX, document["steps"]
    world.until(lambda: world.get(ADDRESS) in ("web1", "web2"))
    restore(world)


@story
def test_another_prefix_of_a_network_is_a_hand_over(world: World) -> None:
    changes_by_restart(world, "a network's prefix")


@story
def test_another_own_address_of_a_node_is_a_hand_over(world: World) -> None:
    """Found at its port by both addresses; the way through the changed network is the channel's again."""
    port = next(each for each in world.lab.topology.host("gw2").ports if each.network == "sync")
    world.run("gw2", f"ip address replace 192.168.250.5/29 dev {port.interface}")
    try:
        changes_by_restart(world, "a node's own address")
    finally:
        world.run("gw2", f"ip address delete 192.168.250.5/29 dev {port.interface}")


@story
def test_a_network_more_of_a_group_is_a_hand_over(world: World) -> None:
    changes_by_restart(world, "a network more of a group")


@story
def test_another_way_of_speaking_is_a_hand_over(world: World) -> None:
    """For a while one node sends to all and the other to one, and each hears the other."""
    changes_by_restart(world, "how a group speaks")


@story
def test_without_virtual_mac_is_a_hand_over(world: World) -> None:
    changes_by_restart(world, "without virtual MAC")


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
    active = world.active()
    with command(world, LIVE, "--confirm-within", "4") as process:
        read_until(process, "reload: ok")
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    assert digest_of(LIVE) in digests(world)
    settled(world, TEXT)
    assert world.active() == active
    assert client.order(world.lab.run_dir(active), "confirm")["error"]["code"] == "E5237"


@story
def test_an_interrupted_command_takes_everything_back_itself(world: World) -> None:
    """SIGTERM: it says so, and its exit code does."""
    with command(world, LIVE, "--confirm-within", "60") as process:
        read_until(process, "reload: ok")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, "taken back" in output) == (3, True), output
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
            if not world.get(ADDRESS, patience_s=1.0):
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
