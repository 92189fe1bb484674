"""The cluster's key is replaced while two nodes run: each step on one node at a time, by file and SIGHUP."""

import base64
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_worlds import NODES, ROOT, World, in_lab, other

from understudy.agent import client
from understudy.cli.agent import agent
from understudy.config.key import FORMAT, create_key, promote, retire, rotate
from understudy.config.plan import Plan
from understudy.units import NodeName

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (ROOT / "examples" / "pair.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
TEXT = TEXT.replace("outage: 500ms", "outage: 3s")


def agent_main(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """The command itself: each node with a key file of its own, which it reads again. They begin with the same key."""
    path = run_dir.with_suffix(".key")
    if not path.exists():
        path.touch(0o600)
        path.write_bytes(key_text(key))
    agent(run_dir.parent / "cluster.yaml", node=node, key=path, run_dir=run_dir)


def key_text(key: bytes) -> bytes:
    return f"{FORMAT} {base64.b64encode(key).decode()}\n".encode()


class Keyed:
    """The pair, and the files of its keys."""

    def __init__(self, world: World) -> None:
        self.world = world

    def key(self, node: str) -> Path:
        return self.world.lab.run_dir(node).with_suffix(".key")

    def hear_each_other(self) -> bool:
        return all(self.world.group(node)["peers"][0]["heard"] for node in NODES)

    def reload(self, node: str, kind: str = "reloaded") -> dict[str, Any]:
        before = len(self.world.events(node, kind))
        os.kill(self.world.pid(node, "supervisor"), signal.SIGHUP)
        self.world.until(lambda: len(self.world.events(node, kind)) > before)
        return self.world.events(node, kind)[-1]


@contextmanager
def keyed(world: World) -> Iterator[Keyed]:
    """Afterwards both have the first key again."""
    pair = Keyed(world)
    assert {world.status(node)["keys"] for node in NODES} == {1}
    try:
        yield pair
    finally:
        first = key_text(world.lab.key)
        for node in NODES:
            if pair.key(node).read_bytes() != first:
                pair.key(node).write_bytes(first)
                pair.reload(node)
        world.until(pair.hear_each_other)


@in_lab
def test_a_key_is_replaced_step_by_step_and_nobody_falls_silent(world: World) -> None:
    """Added, promoted, retired on both, the standby first: no role moves, and not one datagram names a wrong key."""
    with keyed(world) as pair:
        roles, active, moves = world.roles(), world.active(), unasked(world)
        before = {node: wrong(world, node) for node in NODES}
        for step, held in ((rotate, 2), (promote, 2), (retire, 1)):
            step(pair.key(other(active)))
            for node in (other(active), active):
                if node == active:
                    pair.key(node).write_bytes(pair.key(other(active)).read_bytes())
                changed = pair.reload(node)["changed"]
                assert [words for words in changed if words.startswith("cluster key: ")] == changed != []
                world.until(lambda node=node, held=held: world.status(node)["keys"] == held)  # type: ignore[misc]
                world.until(pair.hear_each_other)
                assert world.roles() == roles
                assert all(wrong(world, each) <= before[each] for each in NODES)  # of a new core: none
        assert unasked(world) == moves


def wrong(world: World, node: str) -> int:
    """Datagrams under a key that the core does not have, or under none."""
    return world.dropped(node, "channel-key") + world.dropped(node, "channel-forged")


def unasked(world: World) -> list[str]:
    """Why the group has moved on either node; a core that follows another adopts."""
    reasons = [str(event["reason"]) for node in NODES for event in world.events(node, "moved")]
    return [reason for reason in reasons if reason not in ("started", "adopted")]


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
        standby = world.standby()
        rotate(pair.key(standby))
        in_the_way, epoch = world.lab.run_dir(standby) / ".store.json.rehearsal", world.status(standby)["epoch"]
        in_the_way.mkdir()
        reply = client.order(world.lab.run_dir(standby), "restart", "same.yaml", world.file.read_bytes(), trial_s=0)
        assert "Is a directory" in reply["error"]["message"]
        assert (world.status(standby)["epoch"], world.status(standby)["keys"]) == (epoch, 1)
        in_the_way.rmdir()
        reply = client.order(world.lab.run_dir(standby), "restart", "same.yaml", world.file.read_bytes(), trial_s=0)
        assert [words for words in reply["changed"] if words.startswith("cluster key: ")] == reply["changed"] != []
        world.until(lambda: world.status(standby)["epoch"] > epoch, 20)
        assert world.status(standby)["keys"] == 2
        world.until(pair.hear_each_other, 20)


@in_lab
def test_another_key_on_one_node_alone_is_counted_by_name(world: World) -> None:
    """The control: a step that skips the peer silences the channel, and both nodes say why."""
    with keyed(world) as pair:
        standby = world.standby()
        pair.key(standby).unlink()
        create_key(pair.key(standby))
        before = {node: world.dropped(node, "channel-key") for node in NODES}
        assert "does the peer" in pair.reload(standby)["changed"][0]
        before[standby] = 0  # another core counts there
        world.until(lambda: all(world.dropped(node, "channel-key") > before[node] for node in NODES))
        world.until(lambda: not any(world.group(node)["peers"][0]["heard"] for node in NODES))
