"""What the tests of the lab share: files, a lab in a sandbox, questions asked from one host to another."""

import ctypes
import os
import pickle
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.lab.build import Lab
from understudy.units import NodeName

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "examples" / "pair.yaml"
DUAL = ROOT / "examples" / "dual-stack.yaml"

NOBODY = 65534
PR_SET_DUMPABLE = 4


def pair() -> Plan:
    return load_plan(PAIR)


def idle_agent(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """Stands for an agent of four processes: a supervisor, its child, a grandchild that left for a session of its own,
    and an orphan that stayed in the session but left the process group."""
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
    elif (parent := os.fork()) == 0:
        if os.fork():
            os._exit(0)
        os.setpgid(0, 0)
    else:
        os.waitpid(parent, 0)
    (run_dir / f"process-{os.getpid()}").touch()
    while True:
        time.sleep(3600)


def new_lab(plan: Plan, state: Path) -> Lab:
    return Lab(plan, state, agent_main=idle_agent)


def ask(lab: Lab, host: str, address: str, port: int, request: bytes = b"", timeout_s: float = 5) -> bytes:
    """What the first segment of the answer holds; empty if none came in time. Who wants none says how long to wait."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab.namespaces[host].socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect((address, port))
            connection.sendall(request or b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
            return connection.recv(65536)
        except OSError:
            return b""


def eventually(condition: Callable[[], T], timeout_s: float = 5.0) -> T:
    """The first true value of `condition`, or its last one."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.01)


def carrier(lab: Lab, node: str, interface: str) -> str:
    """The node's own view: `1` with carrier, `0` without."""
    read, write = os.pipe()
    pid = lab.namespaces[node].spawn(_read_carrier, interface, write)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read) as pipe:
        return pipe.read().strip()


def _read_carrier(interface: str, write: int) -> None:
    from understudy.lab.syscalls import mount_fresh_sysfs

    mount_fresh_sysfs()
    os.write(write, Path(f"/sys/class/net/{interface}/carrier").read_bytes())


def as_ordinary_user(function: Callable[[], T]) -> T:
    """Call `function` in a process without root's privileges (as it is, when we have none)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        outcome: tuple[bool, Any]
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                # A program started by that user would be; without it /proc/self stays root's.
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            outcome = (True, function())
        except BaseException as error:
            outcome = (False, f"{type(error).__name__}: {error}")
        os.write(write, pickle.dumps(outcome))
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        fine, value = pickle.load(pipe)
    os.waitpid(pid, 0)
    assert fine, value
    return value
