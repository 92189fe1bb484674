"""A pair whose file stops keeping flows: the copies go, and the flows themselves live on."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_worlds import COMPLETE_S, NODES, ROOT, World, in_lab, other

from understudy.adapters.conntrack import FlowTable
from understudy.agent import client, sweeper
from understudy.agent.supervisor import TICK_S
from understudy.agent.sweeper import ON_THE_WAY_S
from understudy.config.plan import Plan
from understudy.lab.build import run_agent
from understudy.units import NodeName
from understudy.wire.conntrack import UNTOUCHED_S, decode, timeout_of

TEXT = (ROOT / "examples" / "stateful.yaml").read_text().replace("every: 1s", "every: 200ms")
# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = TEXT.replace("preempt: true", "preempt: false").replace("advertise: 100ms", "advertise: 300ms")
TEXT = TEXT.replace("outage: 500ms", "outage: 1s")
STATELESS = TEXT.replace("    state: replicate\n", "").replace("state: replicate, ", "")
ADDRESS, CLIENT = "203.0.113.10", "client-outside"
LOOK_EVERY_S = 0.2
SWEPT_S = LOOK_EVERY_S + ON_THE_WAY_S + TICK_S
"""After so long a node has ended the copies that it wants to end."""


def agent_main(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """The agent, which looks whether the other node has the file as often at last as at first."""
    sweeper.AGAIN_MIN_S = sweeper.AGAIN_MAX_S = LOOK_EVERY_S
    run_agent(plan, node, run_dir, key)


@contextmanager
def connection(world: World) -> Iterator[socket.socket]:
    """Through the balancer, used once and kept open."""
    with world.lab.namespaces[CLIENT].socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(5)
        end.connect((ADDRESS, 80))
        assert asks(end)
        yield end


def asks(end: socket.socket) -> bool:
    try:
        end.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        return end.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def entries(world: World, node: str, end: socket.socket) -> list[int]:
    """Timeouts of this kernel's entries of the connection."""
    port = end.getsockname()[1]

    def listed() -> list[int]:
        table = FlowTable()
        try:
            return [timeout_of(raw) for part in table.list({1}) for raw in part if decode(raw).original.here == port]
        finally:
            table.close()

    return world.lab.namespaces[node].run(listed)


def give(world: World, text: str) -> None:
    """The standby first."""
    for node in (world.standby(), world.active()):
        reply = client.reload(world.lab.run_dir(node), "new.yaml", text.encode())
        assert reply["ok"], reply
        world.until(lambda: all(world.group(each)["peers"][0]["heard"] for each in NODES))


@in_lab
def test_a_file_that_keeps_nothing_leaves_no_copies_for_days(world: World) -> None:
    """None on the standby, where nothing would end them; the original and its connection live on. And back again."""
    active = world.settle()
    with connection(world) as end:
        world.until(lambda: entries(world, other(active), end), COMPLETE_S)
        assert min(entries(world, other(active), end)) > UNTOUCHED_S
        give(world, STATELESS)
        world.until(lambda: not entries(world, other(active), end), COMPLETE_S)
        assert all(timeout <= UNTOUCHED_S for timeout in entries(world, active, end))
        assert asks(end)
        give(world, TEXT)
        world.until(lambda: entries(world, other(active), end), COMPLETE_S)
        assert asks(end)


@in_lab
def test_after_a_hand_over_what_is_served_keeps_its_flows(world: World) -> None:
    """Copies that became originals and that no packet has touched: they get an ordinary timeout, and are not ended."""
    world.settle()
    with connection(world) as end:
        world.until(lambda: entries(world, world.standby(), end), COMPLETE_S)
        world.switch_over()
        give(world, STATELESS)
        active = world.active()
        world.until(lambda: all(timeout <= UNTOUCHED_S for timeout in entries(world, active, end)), COMPLETE_S)
        assert entries(world, active, end)
        assert asks(end)
        give(world, TEXT)
        world.until(lambda: world.is_complete(world.standby()), COMPLETE_S)


@in_lab
def test_copies_outlive_a_change_between_copy_and_replicate(world: World) -> None:
    """Also while the standby alone has the file, and its replicator asks for what the other node does not tell."""
    copied = TEXT.replace("    state: replicate\n", "    state: copy\n")
    with connection(world) as end:
        active, standby = world.active(), world.standby()
        world.until(lambda: entries(world, standby, end), COMPLETE_S)
        for text in (copied, TEXT):
            for node in (standby, active):
                reply = client.reload(world.lab.run_dir(node), "new.yaml", text.encode())
                assert reply["ok"], reply
                world.until(lambda: (world.group(standby)["flows"] or {}).get("running"))
                world.remains(lambda: bool(entries(world, standby, end)), SWEPT_S)
        world.until(lambda: world.is_complete(standby), COMPLETE_S)
        assert entries(world, standby, end)
        assert asks(end)
