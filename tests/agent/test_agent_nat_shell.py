"""The prompt on a running pair: what is committed is in force on both nodes, and what cannot be changes nothing."""

import subprocess
import sys
from pathlib import Path

from agent_worlds import NODES, ROOT, World, in_lab, other
from test_agent_nat import OUTSIDE, connected, listening, own, settle, talk

from understudy.config import load_plan

TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
NEW = "ip nat inside source static tcp 10.9.0.11 8190 203.0.113.22 8190"


def prompted(world: World, file: Path, *lines: str) -> tuple[int, str]:
    """Exit code and output of a session from a pipe."""
    command = [sys.executable, "-c", "from understudy.cli import main; main()", "nat", "shell", str(file)]
    done = subprocess.run(
        [*command, "--run-dir", str(world.lab.state)],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


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
    settle(world)
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
        world.mend()  # both hear each other again, after the reload
        settle(world)
        world.switch_over()
        reach(world)
        code, told = prompted(world, file, "conf t", f"no {NEW}", "end", "wr", "show run | count 8190")
        assert (code, told.splitlines()[-1]) == (0, "Number of lines which match regexp = 0"), told
        assert not world.answers("203.0.113.22")
        talk(asking, end)


@in_lab
def test_a_change_that_no_node_takes_leaves_the_file_as_it_was(world: World) -> None:
    """The agent of one node is gone: a pair changes as a whole."""
    active = settle(world)
    file = file_of(world)
    before = file.read_text()
    ran = world.status(active)["digest"]
    world.lab.kill_agent(other(active))
    code, told = prompted(world, file, "conf t", NEW, "end", "commit", "show changes")
    assert code == 1, told
    assert file.read_text() == before
    assert f"+{NEW}" in told
    assert world.status(active)["digest"] == ran


def digest(file: Path) -> str:
    return load_plan(file).digest.hex()
