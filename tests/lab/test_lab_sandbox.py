"""The private world of the lab: what is in it, who takes whom along, what the operator reads where it is forbidden."""

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab_worlds import as_ordinary_user

from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace
from understudy.lab.syscalls import CLONE_NEWUSER, unshare

LINGER_S = 20.0


def inside() -> tuple[int, int, list[str], list[str]]:
    links = sorted(os.listdir("/sys/class/net"))
    processes = sorted(name for name in os.listdir("/proc") if name.isdecimal())
    return os.getuid(), os.getpid(), links, processes


def test_the_world_is_empty_and_ours() -> None:
    """Inside there are only the init and main, one loopback, and the rights of root; outside nothing changed."""
    links = socket.if_nameindex()
    assert sandbox.run(inside) == (0, 2, ["lo"], ["1", "2"])
    assert socket.if_nameindex() == links


def test_an_ordinary_user_gets_the_same_world() -> None:
    """Without root a user namespace gives the rights, and main can make further network namespaces and links."""

    def world() -> tuple[tuple[int, int, list[str], list[str]], list[tuple[int, str]]]:
        return sandbox.run(lambda: (inside(), Namespace.create("node").run(socket.if_nameindex)))

    (uid, pid, links, processes), names = as_ordinary_user(world)
    assert (uid, pid, links, processes) == (0, 2, ["lo"], ["1", "2"])
    assert (1, "lo") in names


@pytest.mark.parametrize(
    "error",
    [
        OperatorError("E5199", "no", "do this"),
        EnvironmentFailure("add", "link", "EPERM"),
        OSError(errno.EIO, "broken"),
        AssertionError("3 != 4"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_main_raises_is_raised_outside(error: BaseException) -> None:
    """Errors keep their type, their text and their fields, whatever their constructor looks like."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        sandbox.run(fail)
    assert str(caught.value) == str(error)
    assert caught.value.__dict__.items() >= error.__dict__.items()


def test_a_main_that_is_killed_is_an_error_and_not_a_hang() -> None:
    """The caller learns that nothing will be reported any more."""
    with pytest.raises(OperatorError) as caught:
        sandbox.run(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert caught.value.code == "E5103"


class Canary:
    """Descriptor that is open as long as any process of a sandbox lives, but for the test's own."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def is_dead(self, within_s: float) -> bool:
        os.close(self.write)
        readable = select.select([self.read], [], [], within_s)[0]
        return bool(readable) and os.read(self.read, 1) == b""


def orphan_and_sleep(report: sandbox.Report[str]) -> None:
    """Main with a daemon: forked twice, in a session of its own, deaf to everything but SIGKILL."""
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    time.sleep(0.05)
    report("ready")
    time.sleep(600)


def test_orphans_are_reaped_and_die_with_the_sandbox() -> None:
    """A process whose parent ended becomes the init's, leaves no zombie, and does not outlive main."""

    def orphan() -> list[str]:
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        os.wait()
        if os.fork() == 0:
            os.fork()  # both end at once, the second as an orphan
            os._exit(0)
        os.wait()
        deadline = time.monotonic() + 10
        while len(there := processes_here()) > 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        return there

    def processes_here() -> list[str]:
        return [name for name in os.listdir("/proc") if name.isdecimal()]

    canary = Canary()
    assert len(sandbox.run(orphan)) == 3  # init, main and the sleeper
    assert canary.is_dead(LINGER_S)


@pytest.mark.parametrize("victim", ["caller", "guardian", "holder", "main"])
def test_whoever_is_killed_takes_everything_along(victim: str) -> None:
    """SIGKILL to any of the four processes ends every process of the sandbox."""
    canary = Canary()
    told, tell = os.pipe()
    caller = os.fork()
    if caller == 0:
        running = sandbox.start(orphan_and_sleep)
        running.receive(10)
        pids = {"guardian": running.guardian, "holder": running.holder, "main": running.main, "caller": os.getpid()}
        os.write(tell, str(pids[victim]).encode())
        time.sleep(600)
    os.close(tell)
    os.kill(int(os.read(told, 16)), signal.SIGKILL)
    if victim != "caller":
        # The caller holds the canary itself; the sandbox must be gone before we end it.
        assert wait_for(lambda: not children_of(caller) or all_zombies(children_of(caller)))
        os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    os.close(told)
    assert canary.is_dead(LINGER_S)


def test_a_detached_sandbox_outlives_its_caller_and_cleans_up_after_itself(tmp_path: Path) -> None:
    """The caller may go; when the holder is killed, the guardian runs the cleanup it was given."""
    canary = Canary()
    mark = tmp_path / "mark"
    mark.touch()
    with sandbox.start(orphan_and_sleep, log=tmp_path / "log", keep=(canary.write,), cleanup=mark.unlink) as running:
        running.receive(10)
        running.detach()
    time.sleep(0.1)
    os.kill(running.main, 0)
    assert mark.exists()
    os.kill(running.holder, signal.SIGKILL)
    os.waitpid(running.guardian, 0)
    assert not mark.exists()
    assert canary.is_dead(LINGER_S)


def test_a_forbidden_user_namespace_says_which_switch_and_how() -> None:
    """Under max_user_namespaces=0 the error is E5101, names the sysctl and the command that allows them."""

    def refused() -> tuple[str, str, str]:
        uid = os.geteuid()
        unshare(CLONE_NEWUSER)  # has limits of its own, which we may lower
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        try:
            sandbox.run(inside)
        except OperatorError as error:
            return error.code, error.message, error.hint
        return "", "", ""

    code, message, hint = as_ordinary_user(refused)
    assert code == "E5101"
    assert "user.max_user_namespaces=0" in message
    assert "sysctl -w user.max_user_namespaces=" in hint


@pytest.mark.parametrize(
    ("name", "value"),
    [("apparmor_restrict_unprivileged_userns", "1"), ("unprivileged_userns_clone", "0")],
)
def test_each_known_prohibition_is_named(tmp_path: Path, name: str, value: str) -> None:
    """Ubuntu's and Debian's switches are told apart, each with its remedy; root is not sent to them."""
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / name).write_text(f"{value}\n")
    error = OSError(errno.EPERM, "Operation not permitted", "unshare")
    ours = sandbox.refusal(error, 1000, tmp_path)
    assert (ours.code, name in ours.message, f"kernel.{name}=" in ours.hint) == ("E5101", True, True)
    assert name not in sandbox.refusal(error, 0, tmp_path).message


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LINGER_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and stat_of(entry)[1] == str(parent):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def all_zombies(pids: list[int]) -> bool:
    """And nothing else: who has gone meanwhile is one no more."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if stat_of(Path(f"/proc/{pid}"))[0] != "Z":
                return False
    return True


def stat_of(process: Path) -> list[str]:
    return (process / "stat").read_text().rpartition(")")[2].split()
