"""The cluster's key is replaced while two nodes run: each step on one node at a time, by file and SIGHUP."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_worlds import NODES, ROOT, World, in_lab, other

from understudy.agent import client
from understudy.config.key import create_key, promote, retire, rotate
from understudy.errors import OperatorError

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (ROOT / "examples" / "pair.yaml").read_text().replace("advertise: 100ms", "advertise: 200ms")
TEXT = TEXT.replace("outage: 500ms", "outage: 1s")
PROGRAM = "from understudy.cli import main; main()"


class Keyed:
    """Both nodes' agents, each with a key file of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def key(self, node: str) -> Path:
        return self.world.lab.state / f"{node}.key"

    def run_dir(self, node: str) -> Path:
        return self.world.lab.state / "keyed" / node

    def start(self, node: str) -> None:
        words = ["agent", str(self.world.file), "--node", node, "--key", str(self.key(node))]
        words += ["--run-dir", str(self.run_dir(node))]
        run = self.world.lab.namespaces[node].run
        self.running[node] = run(subprocess.Popen, [sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE)

    def status(self, node: str) -> dict[str, Any]:
        try:
            return client.ask(self.run_dir(node) / client.SOCKET, "status")
        except OperatorError:
            return {"groups": [{"role": "gone", "peers": [{"heard": False}]}], "dropped": {}}

    def roles(self) -> dict[str, str]:
        return {node: self.status(node)["groups"][0]["role"] for node in NODES}

    def hear_each_other(self) -> bool:
        return all(self.status(node)["groups"][0]["peers"][0]["heard"] for node in NODES)

    def lines(self, node: str, kind: str) -> list[dict[str, Any]]:
        text = (self.run_dir(node) / "events.jsonl").read_text()
        return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]

    def moves(self, node: str) -> list[str]:
        moved = [str(line["reason"]) for line in self.lines(node, "moved")]
        return [reason for reason in moved if reason not in ("started", "adopted")]

    def reload(self, node: str, kind: str = "reloaded") -> dict[str, Any]:
        before = len(self.lines(node, kind))
        os.kill(self.running[node].pid, signal.SIGHUP)
        self.world.until(lambda: len(self.lines(node, kind)) > before)
        return self.lines(node, kind)[-1]


@contextmanager
def keyed(world: World) -> Iterator[Keyed]:
    made = Keyed(world)
    create_key(made.key("gw1"))
    made.key("gw2").write_bytes(made.key("gw1").read_bytes())
    made.key("gw2").chmod(0o600)
    for node in NODES:
        world.lab.kill_agent(node)
        made.start(node)
    try:
        served = ["active", "backup"]
        world.until(lambda: sorted(made.roles().values()) == served and made.hear_each_other(), 20)  # two interpreters
        yield made
    finally:
        for agent in made.running.values():
            agent.send_signal(signal.SIGTERM)
        for agent in made.running.values():
            agent.communicate(timeout=30)
        for node in NODES:
            made.key(node).unlink()
            world.lab.start_agent(node)


@in_lab
def test_a_key_is_replaced_step_by_step_and_nobody_falls_silent(world: World) -> None:
    """Added, promoted, retired on both, the standby first: no role moves, and not one datagram names a wrong key."""
    with keyed(world) as pair:
        roles = pair.roles()
        active = next(node for node, role in roles.items() if role == "active")
        moves = {node: pair.moves(node) for node in NODES}
        for step, held in ((rotate, 2), (promote, 2), (retire, 1)):
            step(pair.key(other(active)))
            for node in (other(active), active):
                if node == active:
                    pair.key(node).write_bytes(pair.key(other(active)).read_bytes())
                changed = pair.reload(node)["changed"]
                assert [words for words in changed if words.startswith("cluster key: ")] == changed != []
                world.until(lambda node=node, held=held: pair.status(node).get("keys") == held)  # type: ignore[misc]
                world.until(pair.hear_each_other)
                assert pair.roles() == roles
        for node in NODES:
            assert not {"channel-key", "channel-forged"} & set(pair.status(node)["dropped"])
            assert pair.moves(node) == moves[node]


@in_lab
def test_a_damaged_key_file_changes_nothing(world: World) -> None:
    """Half-written, it is refused with its code, and the node goes on with the key that it has."""
    with keyed(world) as pair:
        node = "gw1"
        whole = pair.key(node).read_bytes()
        pair.key(node).write_bytes(whole + whole[: len(whole) // 2])
        assert pair.reload(node, "reload-refused")["subject"] == "E2703"
        pair.key(node).chmod(0o644)
        pair.key(node).write_bytes(whole)
        assert pair.reload(node, "reload-refused")["subject"] == "E2702"
        pair.key(node).chmod(0o600)
        world.remains(pair.hear_each_other, 0.5)


@in_lab
def test_a_restart_takes_the_key_file_as_it_is_and_nobody_ends_who_could_not_begin(world: World) -> None:
    """Where the store cannot be written the restart is refused, and the node goes on; then it begins with both keys."""
    with keyed(world) as pair:
        standby = next(node for node, role in pair.roles().items() if role == "backup")
        rotate(pair.key(standby))
        in_the_way, epoch = pair.run_dir(standby) / ".store.json.rehearsal", pair.status(standby)["epoch"]
        in_the_way.mkdir()
        reply = client.order(pair.run_dir(standby), "restart", "same.yaml", world.file.read_bytes(), trial_s=0)
        assert "Is a directory" in reply["error"]["message"]
        assert (pair.status(standby)["epoch"], pair.status(standby).get("keys", 1)) == (epoch, 1)
        in_the_way.rmdir()
        reply = client.order(pair.run_dir(standby), "restart", "same.yaml", world.file.read_bytes(), trial_s=0)
        assert [words for words in reply["changed"] if words.startswith("cluster key: ")] == reply["changed"] != []
        world.until(lambda: pair.status(standby).get("epoch", 0) > epoch, 20)
        assert pair.status(standby)["keys"] == 2
        world.until(pair.hear_each_other, 20)


@in_lab
def test_another_key_on_one_node_alone_is_counted_by_name(world: World) -> None:
    """The control: a step that skips the peer silences the channel, and both nodes say why."""
    with keyed(world) as pair:
        standby = next(node for node, role in pair.roles().items() if role == "backup")
        pair.key(standby).unlink()
        create_key(pair.key(standby))
        assert "does the peer" in pair.reload(standby)["changed"][0]
        world.until(lambda: all(pair.status(node)["dropped"].get("channel-key") for node in NODES))
        world.until(lambda: not any(pair.status(node)["groups"][0]["peers"][0]["heard"] for node in NODES))
