"""`understudy lab` as a user types it: up, status, exec, down, and nothing left behind whoever is killed when."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lab_worlds import DUAL, PAIR, eventually

COMMAND = [sys.executable, "-c", "from understudy.cli import main; main()"]


class Terminal:
    """Runs commands whose labs are kept in one private directory, by which their processes are known too."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*COMMAND, "lab", *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def json(self, *arguments: object) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr or done.stdout
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def processes(self) -> list[int]:
        """Everyone who was started from here, told by the environment that a fork keeps."""
        mark = str(self.runtime).encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def leftovers(self) -> tuple[list[int], list[str]]:
        files = [
            str(Path(folder, name)) for folder, folders, names in os.walk(self.runtime) for name in folders + names
        ]
        return self.processes(), files


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


NOTHING: tuple[list[int], list[str]] = ([], [])


def test_a_lab_stays_up_until_it_is_taken_down(terminal: Terminal) -> None:
    """`up` returns, the lab answers to `status` and `exec` from other processes, `down` ends it, twice is harmless."""
    record = terminal.json("up", PAIR, "--no-agents")
    assert record["schema"] == "understudy.lab/1"
    assert record["wall_s"] > 0
    assert [node["name"] for node in record["nodes"]][:4] == ["gw1", "gw2", "web1", "web2"]
    labs = terminal.json("status")["labs"]
    assert [lab["cluster"] for lab in labs] == ["shop"]
    assert {node["name"]: node["processes"] for node in labs[0]["nodes"]}["web1"] == 1
    assert os.readlink(f"/proc/{record['holder']}/ns/net") != os.readlink("/proc/self/ns/net")
    assert terminal.json("down")["ended"] is True
    assert eventually(lambda: terminal.leftovers() == NOTHING), terminal.leftovers()
    assert terminal.json("down")["ended"] is False
    assert terminal.json("status")["labs"] == []


def test_exec_runs_on_the_node_and_passes_the_exit_code_on(terminal: Terminal) -> None:
    """The command sees that node's addresses and /sys, keeps the directory, and dies with the lab."""
    terminal.json("up", PAIR, "--no-agents")
    done = terminal.run("exec", "web2", "--", "sh", "-c", "ip -br -4 addr; ls /sys/class/net; pwd; exit 7")
    assert done.returncode == 7, done.stderr
    assert "10.9.0.12/24" in done.stdout
    assert done.stdout.split()[-3:] == ["eth0", "lo", os.getcwd()]
    assert terminal.run("exec", "web2", "nonsense").returncode == 127
    unknown = terminal.run("exec", "web9", "true")
    assert (unknown.returncode, "E5136" in unknown.stderr, "client-inside" in unknown.stderr) == (1, True, True)
    sleeper = terminal.start("exec", "switch", "--", "sleep", "600")
    assert eventually(lambda: len(terminal.processes()) > 8)
    time.sleep(0.5)
    assert sleeper.poll() is None
    terminal.json("down")
    assert sleeper.wait(5) != 0
    sleeper.communicate()


def test_a_second_lab_of_the_same_name_is_refused(terminal: Terminal) -> None:
    """The error names the remedy, and the first lab lives on; another cluster may be up beside it."""
    terminal.json("up", PAIR, "--no-agents")
    refused = terminal.run("up", PAIR, "--no-agents")
    assert (refused.returncode, "E5131" in refused.stderr, "lab down shop" in refused.stderr) == (1, True, True)
    terminal.json("up", DUAL, "--no-agents")
    assert [lab["cluster"] for lab in terminal.json("status")["labs"]] == ["shop", "shop-dual"]
    assert "E5137" in terminal.run("down").stderr
    terminal.json("down", PAIR)
    terminal.json("down", "shop-dual")
    assert eventually(lambda: terminal.leftovers() == NOTHING), terminal.leftovers()


def test_cycles_leave_nothing_behind(terminal: Terminal) -> None:
    """Taken down, or its holder killed, or its guardian: no process, link or file stays; the next `up` just works."""
    links = socket.if_nameindex()
    mounts = Path("/proc/self/mounts").read_text()
    for cycle in range(5):  # each way once, and an `up` after each
        record = terminal.json("up", PAIR, "--no-agents")
        match cycle % 4:
            case 0:
                os.kill(record["holder"], signal.SIGKILL)
                assert eventually(lambda: terminal.leftovers() == NOTHING), terminal.leftovers()
            case 1:
                os.kill(record["guardian"], signal.SIGKILL)
                assert eventually(lambda: terminal.processes() == []), terminal.processes()
                assert terminal.json("status")["labs"] == []  # removes the files, which nobody could any more
            case 2:
                os.kill(record["main"], signal.SIGKILL)
            case 3:
                terminal.json("down")
        assert eventually(lambda: terminal.leftovers() == NOTHING), terminal.leftovers()
    assert socket.if_nameindex() == links
    assert Path("/proc/self/mounts").read_text() == mounts


def large_file(directory: Path) -> Path:
    """A lab that takes a while to build, so that a signal finds it half built."""
    names = [f"web{number}" for number in range(60)]
    nodes = "".join(f"  {name}: {{inside: 10.9.1.{number}}}\n" for number, name in enumerate(names, 1))
    text = PAIR.read_text().replace("10.9.0.0/24", "10.9.0.0/16").replace("redundancy:\n", f"{nodes}redundancy:\n")
    text = text.replace("  web1: {inside: 10.9.0.11}\n  web2: {inside: 10.9.0.12}\n", "")
    text = text.replace("[web1:8080, web2:8080]", f"[{', '.join(f'{name}:8080' for name in names)}]")
    path = directory / "large.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.15, 0.3])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_up_that_is_killed_while_building_leaves_nothing(
    terminal: Terminal, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals, delay_s: float
) -> None:
    """At any moment of building, by SIGKILL, Ctrl-C or SIGTERM: half a lab is no lab."""
    file = large_file(tmp_path_factory.mktemp("file"))
    process = terminal.start("up", file, "--no-agents", "--json")
    lock = terminal.runtime / "understudy" / "lab" / "shop" / "lock"
    assert eventually(lambda: lock.exists() and lock.read_text())
    time.sleep(delay_s)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    output, _ = process.communicate(timeout=10)
    if process.returncode == 0:  # it was quicker than we: then it is up as a whole
        assert json.loads(output)["cluster"] == "shop"
        terminal.json("down")
    elif not eventually(lambda: terminal.leftovers() == NOTHING):
        # It had let go of the finished lab and was killed before it could say so: also then it is up as a whole.
        (survivor,) = terminal.json("status")["labs"]
        assert len(survivor["nodes"]) > 60
        terminal.json("down")
    assert eventually(lambda: terminal.leftovers() == NOTHING), terminal.leftovers()


def test_a_lab_that_cannot_be_built_says_why_and_leaves_nothing(terminal: Terminal, tmp_path_factory: Any) -> None:
    """A server's port is taken by the lab's own echo: one error with a code, exit code 1, no half lab."""
    file = tmp_path_factory.mktemp("file") / "taken.yaml"
    file.write_text(PAIR.read_text().replace("web1:8080", "web1:7007"))
    failed = terminal.run("up", file, "--no-agents", "--json")
    assert failed.returncode == 1
    error = json.loads(failed.stdout)["error"]
    assert error["code"] == "E5121"
    assert "Address already in use" in error["hint"]
    assert eventually(lambda: terminal.leftovers() == NOTHING), terminal.leftovers()


def test_a_directory_that_others_can_use_is_refused(terminal: Terminal) -> None:
    """Nobody else may plant a lab's files: the error says which directory and what to do."""
    (terminal.runtime / "understudy").mkdir(mode=0o777)
    (terminal.runtime / "understudy").chmod(0o777)
    refused = terminal.run("up", PAIR, "--no-agents")
    assert (refused.returncode, "E5133" in refused.stderr, "chmod 700" in refused.stderr) == (1, True, True)
