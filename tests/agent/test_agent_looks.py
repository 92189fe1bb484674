"""What a pair's nodes look at by themselves after a change: what drains, and copies that nobody keeps any more."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agent_worlds import COMPLETE_S, NODES, ROOT, World, in_lab, other

from understudy.adapters.conntrack import FlowTable
from understudy.agent import client
from understudy.agent.sweeper import ON_THE_WAY_S
from understudy.wire.conntrack import decode

TEXT = (ROOT / "examples" / "stateful.yaml").read_text().replace("every: 1s", "every: 200ms")
# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (
    TEXT.replace("preempt: true", "preempt: false")
    .replace("advertise: 100ms", "advertise: 400ms")
    .replace("outage: 500ms", "outage: 3s")
)
LESS = TEXT.replace("    state: replicate\n", "")
"""The service's flows are kept no more, those of the gateway are."""
ADDRESS, CLIENT = "203.0.113.10", "client-outside"


@contextmanager
def connection(world: World) -> Iterator[socket.socket]:
    """Through the balancer, used once and kept open."""
    with world.lab.namespaces[CLIENT].socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(3)
        end.connect((ADDRESS, 80))
        end.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert end.recv(65536).startswith(b"HTTP/1.1 200")
        yield end


def entries(world: World, node: str, end: socket.socket) -> int:
    """Of the connection, in a kernel."""
    port = end.getsockname()[1]

    def listed() -> int:
        table = FlowTable()
        try:
            return sum(decode(raw).original.here == port for part in table.list({1}) for raw in part)
        finally:
            table.close()

    return world.lab.namespaces[node].run(listed)


def give(world: World, node: str, text: str) -> None:
    reply = client.reload(world.lab.run_dir(node), "new.yaml", text.encode())
    assert reply["ok"], reply
    world.until(lambda: all(world.group(each)["peers"][0]["heard"] for each in NODES))


@in_lab
def test_copies_that_came_after_the_standby_had_the_file_go_once_the_other_node_has_it(world: World) -> None:
    """The gateway's flows are kept on, so that there is somebody to write what the old file sends."""
    assert "state: replicate" in LESS
    active = world.active()
    standby = other(active)
    world.until(lambda: world.is_complete(standby), COMPLETE_S)
    give(world, standby, LESS)
    time.sleep(ON_THE_WAY_S + 0.6)  # Whoever ends copies at once has done so by then.
    with connection(world) as late:
        world.until(lambda: entries(world, standby, late) > 0, COMPLETE_S)
        give(world, active, LESS)
        world.until(lambda: not entries(world, standby, late), 40.0)  # looks at 0, 1, 3, 7, 15 and 31 s
        assert entries(world, active, late)
    for node in (standby, active):
        give(world, node, TEXT)
    world.until(lambda: world.is_complete(standby), COMPLETE_S)


@in_lab
def test_a_node_told_to_end_while_its_processes_begin_anew_hands_over(world: World) -> None:
    """The core that follows hears of it, though it was said to none."""
    active = world.active()
    standby = other(active)
    world.until(lambda: world.group(active)["peers"][0]["eligible"], COMPLETE_S)
    begun = time.monotonic_ns()
    core, supervisor = (world.pid(active, role) for role in ("core", "supervisor"))
    hands = world.signal(active, "hands", signal.SIGKILL)
    # The hands that follow have the kernel to set up before the next core is forked.
    world.until(lambda: gone(core) and world.pid(active, "hands") not in (0, hands))
    os.kill(supervisor, signal.SIGTERM)
    world.until(lambda: world.role(standby) == "active")
    world.until(lambda: gone(supervisor), 10.0)
    moved = [each["new"] for each in world.events(active, "moved", begun)]
    assert moved == ["active", "backup"]  # Adopted, then handed over.
    world.lab.start_agent(active)
    world.until(lambda: world.role(active) == "backup")


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
