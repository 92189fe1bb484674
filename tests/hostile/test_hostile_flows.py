"""Everything at the wrong moment: two who change one thing at once, ends in the middle, no room for another process."""

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agent_commands import COMMAND, HEAD, apply
from agent_worlds import NODES, World, in_lab, other

from understudy.agent import again as again_module
from understudy.agent import client, revived, supervisor
from understudy.agent.again import Again
from understudy.agent.options import AgentOptions
from understudy.agent.trial import Trial
from understudy.config import load_plan
from understudy.config.key import create_key, load_keys, rotate
from understudy.config.plan import Plan
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab.build import run_agent
from understudy.units import NodeName

TEXT = (
    HEAD
    + """\
services:
  web: {listen: '203.0.113.10:80', servers: [web1:8080], check: {tcp: true}, state: replicate}
"""
)
ONE = TEXT.replace("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.20],")
ANOTHER = TEXT.replace("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.30],")


# --- the key file


def _rotate(path: Path, together: Any, told: Any) -> None:
    together.wait()
    try:
        rotate(path)
        told.put("")
    except OperatorError as error:
        told.put(error.code)


def _read(path: Path, until: Any, told: Any) -> None:
    damaged = []
    while not until.is_set():
        try:
            load_keys(path)
        except OperatorError as error:
            damaged.append(error.message)
    told.put(damaged)


def test_of_many_who_rotate_a_key_at_once_one_does_and_nobody_reads_half_a_file(tmp_path: Path) -> None:
    """The others say that they did nothing, and why."""
    fork = multiprocessing.get_context("fork")
    for turn in range(10):
        path = tmp_path / f"{turn}.key"
        create_key(path)
        [first] = load_keys(path)
        together, until, told, read = fork.Barrier(4), fork.Event(), fork.SimpleQueue(), fork.SimpleQueue()
        reader = fork.Process(target=_read, args=(path, until, read))
        rotating = [fork.Process(target=_rotate, args=(path, together, told)) for _ in range(4)]
        for process in (reader, *rotating):
            process.start()
        answers = sorted(told.get() for _ in rotating)
        until.set()
        assert read.get() == []
        for process in (reader, *rotating):
            process.join()
        assert answers == ["", "E2706", "E2706", "E2706"]
        keys = load_keys(path)
        assert len(keys) == 2
        assert keys[0] == first
        assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


# --- an agent that began anew


def _options(text: str) -> AgentOptions:
    plan = load_plan(text.encode())
    return AgentOptions(plan, NodeName("gw1"), Path("/run/x"), bytes(range(32)), state_dir=Path("/state"))


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_life_that_fails_goes_back_only_while_its_file_is_on_trial(
    confirmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed is not undone by a failure of much later: the two nodes would run different files."""
    lives: list[Again] = []

    def run(options: AgentOptions, trial: Trial) -> None:
        if confirmed:
            trial.end()
        raise EnvironmentFailure("set up", "gw1", "much later")

    def execute(life: Again) -> None:
        lives.append(life)
        raise SystemExit(0)

    monkeypatch.setattr(supervisor, "run", run)
    monkeypatch.setattr(Again, "execute", execute)
    descriptor = os.memfd_create("again")
    os.write(descriptor, Again(_options(ONE), before=_options(TEXT), deadline=1e12).packed())
    os.lseek(descriptor, 0, os.SEEK_SET)
    with pytest.raises(SystemExit) as ended:
        again_module.main(descriptor)
    if confirmed:
        assert (lives, ended.value.code) == ([], 1)
    else:
        assert [life.options for life in lives] == [_options(TEXT)]


@in_lab
def test_an_agent_that_is_told_to_end_while_it_restarts_ends(world: World) -> None:
    """A service manager that stops it is not to wait for one that is back again."""
    _told_to_end(world, at=lambda pid: True)


@in_lab
def test_an_agent_that_is_told_to_end_as_its_next_life_begins_ends(world: World) -> None:
    _told_to_end(world, at=_begins_anew)


def _told_to_end(world: World, at: Callable[[int], bool]) -> None:
    node = world.standby()
    pid = world.pid(node, "supervisor")
    reply = client.order(world.lab.run_dir(node), "restart", "same.yaml", TEXT.encode())
    assert reply["ok"] is True
    world.until(lambda: at(pid))
    os.kill(pid, signal.SIGTERM)
    world.until(lambda: _ended(pid) and not world.lab.agent_pids(node))
    world.lab.start_agent(node)
    world.until(lambda: world.role(node) == "backup")


def _begins_anew(pid: int) -> bool:
    return b"understudy.agent.again" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- no room


def agent_main(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """The agent, which tries again sooner what it had no room for."""
    revived.FLOWS_LATER_MAX_S = 2.0
    run_agent(plan, node, run_dir, key)


@in_lab
def test_a_node_that_has_no_room_for_the_flows_process_goes_on_without(world: World) -> None:
    """Whoever serves goes on serving; the process comes back when there is room."""
    node = world.active()
    main, since = world.pid(node, "supervisor"), time.monotonic_ns()
    world.until(lambda: world.group(node)["flows"]["running"])
    usual = resource.prlimit(main, resource.RLIMIT_NOFILE)
    resource.prlimit(main, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        flows = world.signal(node, "flows", signal.SIGKILL)
        world.until(lambda: [e for e in world.events(node, "error", since) if e["subject"] == "flows"])
        world.remains(lambda: world.role(node) == "active" and not _ended(main), 1.5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(main, resource.RLIMIT_NOFILE, usual)
    world.until(lambda: world.pid(node, "flows") not in (0, flows), 15)
    world.until(lambda: world.group(node)["flows"]["running"])


# --- two changes at once


@in_lab
def test_two_changes_at_once_end_with_one_file_on_both_nodes(world: World) -> None:
    """Whichever wins, and whatever each says: nothing stays on trial, and no node is left with a file of its own.

    Both begin at once, then the second one while the first one's file is on trial.
    """
    files = {}
    for name, text in (("one", ONE), ("another", ANOTHER)):
        files[name] = world.lab.state / f"{name}.yaml"
        files[name].write_text(text)
    for together in (True, False):
        since = time.monotonic_ns()
        with contextlib.ExitStack() as held:
            processes = [held.enter_context(started(world, files["one"]))]
            if not together:
                world.until(partial(_first_step, world, processes[0], since))
            processes.append(held.enter_context(started(world, files["another"])))
            results = [ended(each) for each in processes]
        said = f"together: {together}, {results}"
        assert all(code in (0, 1, 3) for code, _ in results), said
        try:
            world.until(lambda: len(digests(world)) == 1 and not any(on_trial(world, node) for node in NODES), 40)
        except AssertionError:
            found = {node: (world.status(node)["digest"], on_trial(world, node)) for node in NODES}
            raise AssertionError(f"{said}, {found}") from None
        codes = [code for code, _ in results]
        done = {load_plan(file).digest.hex() for file, code in zip(files.values(), codes, strict=True) if code == 0}
        assert digests(world) <= (done or digests(world)), said
        # Both are done only if one of them began to change anything when the other one had confirmed everywhere.
        assert len(done) < 2 or _one_after_the_other(world, since), said
        apply(world, TEXT)
    assert other(world.active()) == world.standby()


def started(world: World, file: Path) -> "subprocess.Popen[str]":
    words = ["apply", str(file), "--run-dir", str(world.lab.state), "--json", "--yes", "--no-probes"]
    command = [*COMMAND, *words, "--step-timeout", "3"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit code and all that it said."""
    try:
        out, error = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out[-1500:] + error[-1500:]


def _first_step(world: World, process: "subprocess.Popen[str]", since: int) -> bool:
    """It has given its file to a node, or ended without."""
    return process.poll() is not None or any(world.events(node, "reloaded", since) for node in NODES)


def _one_after_the_other(world: World, since: int) -> bool:
    taken, confirmed = [], []
    for node in NODES:
        taken += [event["t"] for event in world.events(node, "reloaded", since)]
        confirmed += [event["t"] for event in world.events(node, "trial", since) if event["subject"] == "confirm"]
    # Two files on two nodes, each taken once and confirmed once.
    return sorted(confirmed)[: len(NODES)][-1] < sorted(taken)[len(NODES)] if len(taken) == 2 * len(NODES) else False


def digests(world: World) -> set[str]:
    return {str(world.status(node)["digest"]) for node in NODES}


def on_trial(world: World, node: str) -> bool:
    reply = client.order(world.lab.run_dir(node), "inspect", "x", TEXT.encode())
    return bool(reply.get("trial_s", "busy") is not None)
