"""The prompt on a running pair: what is committed is in force on both nodes, and what cannot be changes nothing."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

from agent_commands import COMMAND
from agent_sockets import OUTSIDE, connected, listening, own, talk
from agent_worlds import NODES, ROOT, World, in_lab, other
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.config import load_plan

TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
NEW = "ip nat inside source static tcp 10.9.0.11 8190 203.0.113.22 8190"


def words_of(world: World, file: Path) -> list[str]:
    return ["nat", "shell", str(file), "--run-dir", str(world.lab.state)]


def prompted(world: World, file: Path, *lines: str) -> tuple[int, str]:
    """Exit code and output of a session that is not at a terminal."""
    typed = "".join(f"{line}\n" for line in lines)
    done = CliRunner().invoke(app, words_of(world, file), input=typed)
    return done.exit_code, done.output


def reach(world: World) -> None:
    """The host of the new entry, by its global address."""
    with (
        listening(world, "web1", 8190) as inner,
        connected(world, OUTSIDE, "203.0.113.22", 8190) as outer,
        inner.accept()[0] as inside,
    ):
        talk(outer, inside)


def file_of(world: World) -> Path:
    file = world.lab.state / "shell.yaml"
    file.write_text(TEXT)
    return file


@in_lab
def test_what_is_committed_is_in_force_on_both_nodes(world: World) -> None:
    """A static entry more and, with the same commands, less; a connection through another entry goes on."""
    world.settle()
    file = file_of(world)
    with (
        listening(world, "web1", 8181) as server,
        connected(world, OUTSIDE, "203.0.113.21", 8181) as asking,
        server.accept()[0] as end,
    ):
        talk(asking, end)
        code, told = prompted(
            world, file, "conf t", NEW, "end", "commit", "show ip nat translations tcp | include 8181"
        )
        assert code == 0, told
        assert f"{own(world, OUTSIDE)}:" in told.splitlines()[-1], told
        assert NEW in file.read_text()
        assert {world.status(node)["digest"] for node in NODES} == {digest(file)}
        reach(world)
        world.switch_over()
        reach(world)
        code, told = prompted(world, file, "conf t", f"no {NEW}", "end", "wr", "show run | count 8190")
        assert (code, told.splitlines()[-1]) == (0, "Number of lines which match regexp = 0"), told
        world.until(lambda: not world.answers("203.0.113.22"))  # once its last flow has ended
        talk(asking, end)


@in_lab
def test_a_change_that_no_node_takes_leaves_the_file_as_it_was(world: World) -> None:
    """The agent of one node is gone: a pair changes as a whole."""
    active = world.settle()
    file = file_of(world)
    before = file.read_text()
    ran = world.status(active)["digest"]
    world.lab.kill_agent(other(active))
    code, told = prompted(world, file, "conf t", NEW, "end", "commit", "show changes")
    assert code == 1, told
    assert file.read_text() == before
    assert f"+{NEW}" in told
    assert world.status(active)["digest"] == ran


@in_lab
def test_a_terminal_that_is_closed_before_the_answer_changes_nothing(world: World) -> None:
    """The new lines are in the file while the question stands; whoever hangs up gave no answer."""
    world.settle()
    file = file_of(world)
    before, ran = file.read_text(), {world.status(node)["digest"] for node in NODES}
    pid, end = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execv(sys.executable, [*COMMAND, *words_of(world, file)])
    os.write(end, f"conf t\r{NEW}\rend\rcommit\r".encode())
    seen = b""
    while b"Go on?" not in seen:
        assert select.select([end], [], [], 30)[0], seen
        seen += os.read(end, 65_536)
    assert NEW in file.read_text()
    os.close(end)
    _, status = world.until(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, 15)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert file.read_text() == before
    assert {world.status(node)["digest"] for node in NODES} == ran


@in_lab
def test_a_listener_that_leaves_after_the_answer_stops_nothing(world: World) -> None:
    """What the nodes run is what the file says, whoever reads what is told."""
    world.settle()
    file = file_of(world)
    with subprocess.Popen(
        [*COMMAND, *words_of(world, file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.stderr is not None
        shell.stdin.write("".join(f"{line}\n" for line in ("conf t", NEW, "end", "commit")))
        shell.stdin.close()
        assert any("In this order:" in line for line in shell.stdout)
        shell.stdout.close()
        assert shell.wait(60) == 0, shell.stderr.read()
    assert NEW in file.read_text()
    assert {world.status(node)["digest"] for node in NODES} == {digest(file)}
    code, told = prompted(world, file, "conf t", f"no {NEW}", "end", "commit now")
    assert code == 0, told


def digest(file: Path) -> str:
    return load_plan(file).digest.hex()
