"""Everything at the wrong moment: two who change one thing at once, ends in the middle, no room for another process."""

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_worlds import NODES, World, in_lab, other

from understudy.agent import again as again_module
from understudy.agent import client, supervisor
from understudy.agent.again import Again
from understudy.agent.options import AgentOptions
from understudy.agent.trial import Trial
from understudy.config import load_plan
from understudy.config.key import create_key, load_keys, rotate
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.units import NodeName

TEXT = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24, sync: 192.168.250.0/29}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1, sync: 192.168.250.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}
  web1: {inside: 10.9.0.11}
redundancy:
  edge:
    nodes: [gw1, gw2]
    addresses: {outside: 203.0.113.10, inside: 10.9.0.254}
    advertise: 300ms
    vrid: 7
services:
  web: {listen: '203.0.113.10:80', servers: [web1:8080], check: {tcp: true}, state: replicate}
"""
ONE = TEXT.replace("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.20],")
ANOTHER = TEXT.replace("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.30],")
COMMAND = [sys.executable, "-c", "from understudy.cli import main; main()"]


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
    world.until(lambda: _ended(pid))
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


@in_lab
def test_a_node_that_has_no_room_for_the_flows_process_goes_on_without(world: World) -> None:
    """Whoever serves goes on serving; the process comes back when there is room."""
    node = world.active()
    main, flows = world.pid(node, "supervisor"), world.pid(node, "flows")
    world.until(lambda: world.group(node)["flows"]["running"])
    usual = resource.prlimit(main, resource.RLIMIT_NOFILE)
    resource.prlimit(main, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        os.kill(flows, signal.SIGKILL)
        world.until(lambda: [e for e in world.events(node, "error") if e["subject"] == "flows"])
        world.remains(lambda: world.role(node) == "active" and not _ended(main), 1.5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(main, resource.RLIMIT_NOFILE, usual)
    world.until(lambda: world.pid(node, "flows") not in (0, flows), 15)
    world.until(lambda: world.group(node)["flows"]["running"])


# --- two changes at once


@in_lab
def test_two_changes_at_once_end_with_one_file_on_both_nodes(world: World) -> None:
    """Whichever wins, and whatever each says: nothing stays on trial, and no node is left with a file of its own."""
    files = {}
    for name, text in (("one", ONE), ("another", ANOTHER)):
        files[name] = world.lab.state / f"{name}.yaml"
        files[name].write_text(text)
    for late_s in (0.0, 0.3):
        started = []
        for file in files.values():
            words = [
                "apply",
                str(file),
                "--run-dir",
                str(world.lab.state),
                "--json",
                "--yes",
                "--no-probes",
                "--step-timeout",
                "3",
            ]
            started.append(subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            time.sleep(late_s)
        results = []
        for process in started:
            out, _ = process.communicate(timeout=60)
            results.append((process.returncode, json.loads(out).get("result"), json.loads(out).get("error")))
        said = f"{late_s}: {results}"
        assert sum(code == 0 for code, _, _ in results) <= 1, said
        assert all(code in (0, 1, 3) for code, _, _ in results), said
        world.until(lambda: len({world.status(node)["digest"] for node in NODES}) == 1, 25)
        for node in NODES:
            asked = client.order(world.lab.run_dir(node), "inspect", "x", TEXT.encode())
            assert asked["trial_s"] is None, said
        file = world.lab.state / "back.yaml"
        file.write_text(TEXT)
        words = ["apply", str(file), "--run-dir", str(world.lab.state), "--yes", "--no-probes"]
        assert subprocess.run([*COMMAND, *words], check=False, capture_output=True).returncode == 0, said
    assert other(world.active()) == world.standby()
