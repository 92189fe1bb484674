"""Replicated flows on a pair of real agents: what is in the Active's kernel is in the standby's, whoever dies."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from agent_worlds import COMPLETE_S, NODES, ROOT, World, in_lab, other
from hostile_datagrams import flood
from typer.testing import CliRunner

from understudy.adapters.channel import FLOWS_PORT
from understudy.adapters.conntrack import FlowTable
from understudy.agent import client
from understudy.agent.flows_link import SILENT
from understudy.cli.app import app
from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.wire.conntrack import decode, identity, mark_of, tcp_state

TEXT = (ROOT / "examples" / "stateful.yaml").read_text().replace("every: 1s", "every: 200ms")
# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = TEXT.replace("preempt: true", "preempt: false").replace("advertise: 100ms", "advertise: 400ms")
TEXT = TEXT.replace("outage: 500ms", "outage: 3s")
ADDRESS = "203.0.113.10"
CLIENT = "client-outside"
ESTABLISHED = 3
"""TCP_CONNTRACK_ESTABLISHED."""
CONNECTIONS = 50
FEW = 20
"""More entries than the checks' own flows make while nobody else begins any."""
ROUNDS = 6


def flows(world: World, node: str) -> dict[str, Any]:
    """What a node says of its replicated flows; nothing while its core is forked anew."""
    try:
        found = world.group(node)["flows"]
    except OperatorError:
        return {}
    assert found is not None
    return dict(found)


def proven(world: World, node: str) -> int:
    """When both kernels were found equal for the last time, on the machine's clock."""
    return int(flows(world, node).get("proven_at") or 0)


def entries(world: World, node: str, port: int) -> list[bytes]:
    """What the kernel of a node knows of a client's established connection: who it is, and its mark."""
    return world.lab.namespaces[node].run(_established, port)


def _established(port: int) -> list[bytes]:
    return [identity(raw) + mark_of(raw).to_bytes(4, "big") for raw in _of(port) if tcp_state(raw) == ESTABLISHED]


def _of(port: int) -> list[bytes]:
    """This kernel's flows of the group from a client's port."""
    table = FlowTable()
    found = [raw for part in table.list({1}) for raw in part]
    table.close()
    return [raw for raw in found if decode(raw).original.here == port]


@contextmanager
def connection(world: World, path: str = "/") -> Iterator[socket.socket]:
    """One that has carried a request and an answer, and is kept open."""
    with world.lab.namespaces[CLIENT].socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(3)
        end.connect((ADDRESS, 80))
        exchange(end, path)
        yield end


def exchange(end: socket.socket, path: str = "/") -> str:
    end.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    return end.recv(65536).decode()


def port_of(end: socket.socket) -> int:
    return int(end.getsockname()[1])


def details(world: World, node: str, kind: str, since: int) -> list[str]:
    """Of the journal's lines of this kind, once there are any: they are written after what they tell has happened."""
    return [event["detail"] for event in world.until(lambda: world.events(node, kind, since))]


@in_lab
def test_a_connection_is_in_the_other_kernel_while_it_lives(world: World) -> None:
    """Through the balancer: there with its server soon after it began, gone soon after it ended; status says so."""
    active = world.settle()
    with connection(world) as end:
        port = port_of(end)
        (original,) = entries(world, active, port)
        world.until(lambda: entries(world, other(active), port))
        (copy,) = entries(world, other(active), port)
        assert copy == original
        status = world.status(other(active))
        assert status["flows"]["running"]
        assert status["flows"]["peers"][active]["overruns"] == 0
    world.until(lambda: not entries(world, other(active), port))


@in_lab
def test_a_connection_survives_power_loss_and_the_way_back(world: World) -> None:
    """Bytes go on over the same connection after the Active's death, and after a hand-over back."""
    active = world.settle()
    with connection(world) as end:
        world.until(lambda: entries(world, other(active), port_of(end)))
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        assert exchange(end).startswith("HTTP/1.1 200")
        world.lab.start_agent(active)
        world.until(lambda: world.role(active) == "backup" and world.is_complete(active), 2 * COMPLETE_S)
        if world.role(other(active)) == "active":
            world.switch_over()
        assert exchange(end).startswith("HTTP/1.1 200")


@in_lab
def test_a_killed_replicator_is_followed_by_one_that_finds_everything(world: World) -> None:
    """On either node: another process, the core is the same, and the copy is proven complete again."""
    active = world.settle()
    with connection(world) as end:
        for node in NODES:
            core, since = world.until(partial(world.pid, node, "core")), time.monotonic_ns()
            pid = world.signal(node, "flows", signal.SIGKILL)
            world.until(lambda node=node, pid=pid: world.pid(node, "flows") not in (0, pid))  # type: ignore[misc]
            world.until(lambda node=node, since=since: world.events(node, "process-ended", since))  # type: ignore[misc]
            assert [event["subject"] for event in world.events(node, "process-ended", since)] == ["flows"]
            world.until(lambda since=since: proven(world, other(active)) > since, COMPLETE_S)  # type: ignore[misc]
            world.settle()
            assert world.pid(node, "core") == core
        assert entries(world, other(active), port_of(end))
        assert world.active() == active


@in_lab
def test_a_killed_core_leaves_the_replicator_and_its_state(world: World) -> None:
    """Of either node: the same replicator goes on, told by the new core what it owns, and the copy stays complete."""
    active = world.settle()
    for node in NODES:
        pid = world.until(partial(world.pid, node, "flows"))
        core = world.signal(node, "core", signal.SIGKILL)
        world.until(lambda node=node, core=core: world.pid(node, "core") not in (0, core))  # type: ignore[misc]
        world.until(lambda: world.is_complete(other(active)))
        world.until(lambda: flows(world, active).get("original") == "here")
        assert world.pid(node, "flows") == pid
    with connection(world) as end:
        world.until(lambda: entries(world, other(active), port_of(end)))


@in_lab
def test_a_frozen_replicator_holds_nobody_up(world: World) -> None:
    """The standby's core lives, says that the state is not known, and takes over without waiting for an answer.

    And who hangs for long is replaced.
    """
    active = world.settle()
    standby = other(active)
    since = time.monotonic_ns()
    frozen = world.signal(standby, "flows", signal.SIGSTOP)
    try:
        world.until(lambda: flows(world, standby).get("running") is False, COMPLETE_S)
        assert world.role(standby) == "backup"
        world.lab.kill_agent(active)
        world.until(lambda: world.role(standby) == "active")
        assert details(world, standby, "gate-waived", since) == [SILENT]
        world.until(lambda: world.get(ADDRESS))  # the addresses follow the role
        world.until(lambda: world.pid(standby, "flows") not in (0, frozen), 2 * COMPLETE_S)
        assert [event["subject"] for event in world.events(standby, "stuck", since)] == ["flows"]
        world.until(lambda: flows(world, standby).get("running"))
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    world.lab.start_agent(active)


@in_lab
def test_an_operators_waiver_is_the_reason_of_the_next_promotion_of_a_standby_only(world: World) -> None:
    """The command finds the standby by itself; the Active refuses it. Without a waiver the reason would be another."""
    active = world.settle()
    standby = other(active)
    words = ["waive", "--run-dir", str(world.lab.state), "--json"]
    refused = CliRunner().invoke(app, [*words, "--node", active])
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["code"] == "E5313"
    frozen = world.signal(standby, "flows", signal.SIGSTOP)
    try:
        world.until(lambda: flows(world, standby).get("running") is False, COMPLETE_S)
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"schema": "understudy.waive/1", "node": standby, "group": "edge"}
        since = time.monotonic_ns()
        world.lab.kill_agent(active)
        world.until(lambda: world.role(standby) == "active")
        assert details(world, standby, "gate-waived", since) == ["an operator waived it"]
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    world.lab.start_agent(active)


@in_lab
def test_the_gate_opens_after_what_the_dead_peer_had_said_is_in_the_kernel(world: World) -> None:
    """A standby's replicator that could not run for a moment finds the last news and the core's question together.

    Where it could not for too long, or the Active died before all that it had announced left it, the gate is waived
    with that reason, and the story told again.
    """
    with _quick(world):
        for _ in range(ROUNDS):
            world.mend()
            if _something_was_written_at_the_gate(world):
                return
    raise AssertionError(f"in none of {ROUNDS} rounds was there something to write at a gate that was not waived")


def _something_was_written_at_the_gate(world: World) -> bool:
    """A round. Fails if anything of it came later."""
    active = world.settle()
    standby = other(active)
    table: FlowTable = world.lab.namespaces[standby].run(FlowTable)
    frozen = world.signal(standby, "flows", signal.SIGSTOP)
    try:
        ends = world.lab.namespaces[CLIENT].run(_connect, CONNECTIONS)
        since = time.monotonic_ns()
        world.lab.kill_agent(active)
        world.until(lambda: _gate(world, standby, since))
        before = table.count()
    finally:
        os.kill(frozen, signal.SIGCONT)
    counts = _watch(table, partial(_has_passed, world, standby, since))
    table.close()
    for end in ends:
        end.close()
    world.until(lambda: _has_passed(world, standby, since))
    passed = _gate(world, standby, since)[-1]
    if passed["phase"] != "done":
        assert passed["detail"] == SILENT or "never arrived" in passed["detail"]
        return False
    after = [count for at, count in counts if at > passed["t"] + 5_000_000]  # no address is up so early
    if not after:  # It was not watched any more.
        return False
    assert after[-1] - after[0] < FEW  # afterwards only the checks' own flows
    return before + FEW < after[0]


@contextmanager
def _quick(world: World) -> Iterator[None]:
    """A short interval: the gate is reached before a frozen replicator counts as one that says nothing."""
    plan, text = world.lab.plan, TEXT.replace("advertise: 400ms", "advertise: 150ms")
    active = world.active()
    _give(world, (active, other(active)), text)
    world.lab.plan = load_plan(text.encode())
    try:
        yield
    finally:
        world.lab.plan = plan
        for node in NODES:
            if world.role(node) != "gone":
                _give(world, (node,), TEXT)


@in_lab
def test_flows_are_picked_up_in_the_middle_only_where_the_state_may_be_missing(world: World) -> None:
    """With the whole state the new Active's kernel is strict, which no repair undoes; after a waived gate it is not."""
    active = world.settle()
    world.switch_over()
    active = other(active)
    world.until(lambda: _loose(world, active) == "0")
    world.remains(lambda: _loose(world, active) == "0", 0.3)
    assert world.status(active)["drift"]["count"] == 0
    core = world.pid(active, "core")
    world.signal(active, "hands", signal.SIGKILL)  # and the core with them
    world.until(lambda: world.pid(active, "core") not in (0, core) and world.role(active) == "active")
    assert _loose(world, active) == "0"
    standby = other(active)
    world.settle()
    frozen = world.signal(standby, "flows", signal.SIGSTOP)
    try:
        world.lab.kill_agent(active)
        world.until(lambda: world.role(standby) == "active")
        world.until(lambda: _loose(world, standby) == "1")
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)


@in_lab
def test_an_entry_that_somebody_deleted_from_the_copies_is_mended(world: World) -> None:
    """By hand, on the standby: its kernel tells of it, and what differs is fetched again."""
    active = world.settle()
    standby = other(active)
    with connection(world) as end:
        port = port_of(end)
        world.until(lambda: entries(world, standby, port))
        world.lab.namespaces[standby].run(_delete, port)
        world.until(lambda: entries(world, standby, port), COMPLETE_S)
        world.settle()
        assert world.active() == active
        assert exchange(end).startswith("HTTP/1.1 200")


@in_lab
def test_hostile_datagrams_on_the_port_of_flows_change_nothing(world: World) -> None:
    """Ten thousand, forged, cut, replayed to no purpose and under other keys: no entry, no role, and it goes on."""
    active = world.settle()
    standby = other(active)
    with connection(world) as end:
        world.until(lambda: entries(world, standby, port_of(end)))
        before, pid, since = world.moves(), world.pid(standby, "flows"), time.monotonic_ns()
        world.lab.namespaces[active].run(flood, world.lab.key, standby, FLOWS_PORT)
        reasons = ("channel-replay", "channel-forged", "channel-length")
        world.until(lambda: set(reasons) <= set(world.status(standby)["flows"]["dropped"]))
        assert (world.moves(), world.pid(standby, "flows")) == (before, pid)
        assert not world.events(standby, "flows-repaired", since)
        with connection(world) as later:
            world.until(lambda: entries(world, standby, port_of(later)))
        world.settle()
        assert entries(world, standby, port_of(end))


@in_lab
def test_another_file_begins_replication_anew_and_loses_nothing(world: World) -> None:
    """Taken live by both: other processes replicate, agree anew, and the connection is in both kernels as before.

    Without `state:` nobody replicates any more; with it again, everything is fetched.
    """
    active = world.settle()
    standby = other(active)
    spare = "  spare: {listen: '203.0.113.10:81', servers: [web2:8080], check: {http: /healthz}%s}\nnat:\n"
    more, unlike = (TEXT.replace("nat:\n", spare % state) for state in ("", ", state: replicate"))
    stateless = TEXT.replace("    state: replicate\n", "").replace("state: replicate, ", "")
    with connection(world) as end:
        port = port_of(end)
        world.until(lambda: entries(world, standby, port))
        before = {node: world.pid(node, "flows") for node in NODES}
        _give(world, (standby, active), more)  # nothing that concerns who replicates
        assert {node: world.pid(node, "flows") for node in NODES} == before
        for text in (unlike, TEXT):
            pids = {node: world.pid(node, "flows") for node in NODES}
            since = time.monotonic_ns()
            _give(world, (standby, active), text)
            world.until(lambda pids=pids: all(world.pid(n, "flows") not in (0, pids[n]) for n in NODES))  # type: ignore[misc]
            world.until(lambda since=since: proven(world, standby) > since, COMPLETE_S)  # type: ignore[misc]
            assert entries(world, standby, port) == entries(world, active, port) != []
        _give(world, (standby, active), stateless)
        world.until(lambda: [world.pid(node, "flows") for node in NODES] == [0, 0])
        world.until(lambda: world.group(standby)["flows"] is None)
        assert "no flows are kept" in world.ask(standby, "flows")["error"]
        _give(world, (standby, active), TEXT)
        world.settle()
        assert entries(world, standby, port) == entries(world, active, port) != []
        assert world.active() == active
        assert exchange(end).startswith("HTTP/1.1 200")


@in_lab
def test_the_command_compares_both_kernels(world: World) -> None:
    """Equal: 0. Where they were made to differ a moment ago it is said, or was mended; an unknown node is an error."""
    active = world.settle()
    standby = other(active)
    with connection(world) as end:
        world.until(lambda: entries(world, standby, port_of(end)))
        code, out, _ = world.understudy(
            standby, "flows", "--node", standby, "--json", "--run-dir", str(world.lab.state)
        )
        assert code == 0, out
        assert '"mismatches": 0' in out
        code, out, err = world.understudy(standby, "flows", "--node", standby, "--run-dir", str(world.lab.state))
        assert (code, "0 differ" in out) == (0, True), (out, err)
        assert world.understudy(standby, "flows", "--node", "gw9", "--run-dir", str(world.lab.state))[0] == 1
        code, out, _ = world.understudy(standby, "status", "--run-dir", str(world.lab.state))
        assert "edge flows, " in out


def _give(world: World, nodes: tuple[str, ...], text: str) -> None:
    for node in nodes:
        reply = client.reload(world.lab.run_dir(node), "new.yaml", text.encode())
        assert reply["ok"], reply


def _connect(count: int) -> list[socket.socket]:
    ends = [socket.socket() for _ in range(count)]
    for end in ends:
        end.settimeout(3)
        end.connect((ADDRESS, 80))
    return ends


def _gate(world: World, node: str, since: int) -> list[dict[str, Any]]:
    """What became of a take-over's gate so far."""
    return [event for event in world.events(node, "took_over_step", since) if event["step"] == "gate"]


def _has_passed(world: World, node: str, since: int) -> bool:
    return _gate(world, node, since)[-1]["phase"] in ("done", "waived")


def _watch(table: FlowTable, ended: Callable[[], bool]) -> list[tuple[int, int]]:
    """How many entries there are, and when, until a moment after it has ended."""
    found, over = [], False
    end = time.monotonic() + 5
    while (now := time.monotonic()) < end:
        count = table.count()
        found.append((time.monotonic_ns(), count))
        if not over and len(found) % 20 == 0 and ended():  # the question takes longer than a count
            over, end = True, now + 0.3
        time.sleep(0.001)
    return found


def _loose(world: World, node: str) -> str:
    return world.run(node, "cat /proc/sys/net/netfilter/nf_conntrack_tcp_loose").strip()


def _delete(port: int) -> None:
    """As an operator's `conntrack -D` would."""
    table = FlowTable()
    found = _of(port)
    assert found
    for raw in found:
        assert table.delete(raw)
    table.close()
