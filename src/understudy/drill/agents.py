"""Faults of agents: killed, stopped, starved, misled by clocks and disks."""

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from understudy.config.drills import Values
from understudy.config.plan import Group, Plan
from understudy.drill import bounds, control
from understudy.drill.fault import Fault, Strike, now
from understudy.errors import EnvironmentFailure
from understudy.lab.build import Lab
from understudy.units import SECOND, Duration, Instant, NodeName

_PR_SET_PDEATHSIG = 1
_ANSWER_TIMEOUT_S = 10.0
_FILL_BYTES = 1 << 16


def agent_pause(values: Values) -> Fault:
    duration = int(values["duration"])
    return Fault(
        "agent-pause",
        "All processes of the active node's agent stop for a while and then go on, as after a machine's long pause.",
        inject=lambda s: s.lab.freeze_agent(s.active),
        heal=lambda s: s.lab.thaw_agent(s.active),
        heal_after=lambda _: duration,
        lasts=lambda _: SECOND,
        downs="frozen",
        bound=bounds.silenced,
        crash=True,
    )


# --- the hands


def slow_kernel(values: Values) -> Fault:
    duration = int(values["duration"])
    return Fault(
        "slow-kernel",
        "The kernel carries out no change for a while: the process of an agent that asks it for them is stopped.",
        inject=lambda s: _signal_hands(s, str(values["node"]), signal.SIGSTOP),
        heal=lambda s: _signal_hands(s, str(values["node"]), signal.SIGCONT),
        heal_after=lambda _: duration,
        bound=bounds.untouched,
    )


def _signal_hands(strike: Strike, who: str, number: int) -> Instant:
    """To the struck node's hands; those that are given up for stuck may be gone by the heal."""
    pids = process_of(strike.lab, strike.node(who), "hands")
    before = now()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    if not pids and number == signal.SIGSTOP:
        raise EnvironmentFailure("stop", f"the hands of {strike.node(who)}", "there is no such process")
    return before


def process_of(lab: Lab, node: NodeName, role: str) -> list[int]:
    """The processes of a node's agent with this role: `core`, `hands` or `checks`."""
    wanted = f"understudy-{role}"[:15]
    found = []
    for pid in lab.agent_pids(node):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == wanted:
                found.append(pid)
    return found


# --- the CPU


def cpu_starve(values: Values) -> Fault:
    loops, duration = int(values["loops"]) * len(os.sched_getaffinity(0)), int(values["duration"])
    return Fault(
        "cpu-starve",
        "Busy loops keep every CPU of the machine occupied, at the priority of ordinary processes.",
        inject=lambda s: _spin(s, loops, duration),
        heal=_end_spinning,
        heal_after=lambda _: duration,
        prepare=lambda _: BusyLoops(),
        bound=bounds.unmoved,
    )


class BusyLoops:
    """Processes that do nothing but run; they end by themselves, and with us."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def start(self, count: int, duration: Duration) -> None:
        until = time.monotonic_ns() + duration
        parent = os.getpid()
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                _run_in_circles(parent, until)
            self._pids.append(pid)

    def close(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._pids.clear()


def _run_in_circles(parent: int, until: int) -> None:
    """The life of a busy loop; never returns."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while os.getppid() == parent and time.monotonic_ns() < until:
            for _ in range(100_000):
                pass
    finally:
        os._exit(0)


def _spin(strike: Strike, loops: int, duration: Duration) -> Instant:
    assert isinstance(strike.tool, BusyLoops)
    before = now()
    strike.tool.start(loops, duration + 5 * SECOND)
    return before


def _end_spinning(strike: Strike) -> None:
    assert isinstance(strike.tool, BusyLoops)
    strike.tool.close()


# --- the clock


def clock_step(values: Values) -> Fault:
    step = int(values["step"])
    return Fault(
        "clock-step",
        "The standby's clocks are days ahead of the active's, and the operator moves the group to it.",
        prepare=lambda s: _SteppedClocks(s, step),
        inject=switch_over,
        bound=bounds.handed_over,
    )


class _SteppedClocks:
    """The standby's agent started anew under other clocks; closing starts it once more under the machine's.

    A running process cannot be moved to another monotonic clock and the realtime clock is the machine's: what can be
    had is a node whose clocks have always been wrong.
    """

    def __init__(self, strike: Strike, step: Duration) -> None:
        self._lab, self._node = strike.lab, strike.standby
        restart(self._lab, self._node, clocks_ahead=step)
        wait_until_standing_by(self._lab, strike.group, self._node)

    def close(self) -> None:
        restart(self._lab, self._node)


def restart(
    lab: Lab, node: NodeName, *, plan: Plan | None = None, key: bytes | None = None, clocks_ahead: int = 0
) -> None:
    """Kill a node's agent and start another in its place."""
    lab.kill_agent(node)
    lab.start_agent(node, plan=plan, key=key, clocks_ahead=clocks_ahead)


def wait_until_standing_by(lab: Lab, group: Group, node: NodeName) -> None:
    """Wait until the node's agent says that it is a Backup. Raises EnvironmentFailure if it does not in time."""
    deadline = time.monotonic() + _ANSWER_TIMEOUT_S
    while time.monotonic() < deadline:
        if control.role(lab.run_dir(node), group.name) in ("backup", "standby"):
            return
        time.sleep(0.02)
    raise EnvironmentFailure("wait for", f"the agent of {node}", f"not standing by after {_ANSWER_TIMEOUT_S:g} s")


def switch_over(strike: Strike) -> Instant:
    """Have the active hand the group over, by the operator's command."""
    before = now()
    reply = control.ask(strike.run_dir, {"command": "switchover", "group": strike.group.name})
    if reply.get("error"):
        raise EnvironmentFailure("switch over", strike.group.name, str(reply["error"]))
    return before


def move_back(strike: Strike) -> None:
    """Where the operator moved a group that preempts, it stays until the operator moves it back."""
    if strike.group.preempt:
        with contextlib.suppress(EnvironmentFailure):
            control.ask(strike.lab.run_dir(strike.standby), {"command": "switchover", "group": strike.group.name})


# --- the disk


def disk_full(values: Values) -> Fault:
    duration, who = int(values["duration"]), str(values["node"])
    return Fault(
        "disk-full",
        "The disk of a node's store and journal is full: it goes on, and refuses what it could not remember.",
        prepare=lambda s: _FullDisk(s.lab.run_dir(s.node(who))),
        inject=_fill,
        heal=_empty,
        heal_after=lambda _: duration,
        during=lambda s, _: _ask_to_remember(s, who),
        check=_has_refused,
        bound=bounds.untouched,
    )


class _FullDisk:
    """A file that takes all room that is left on a disk."""

    def __init__(self, directory: Path) -> None:
        if directory.stat().st_dev == directory.parent.stat().st_dev:
            raise EnvironmentFailure("fill", str(directory), "it is no disk of its own")
        self._path = directory / "filler"

    def fill(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = _FILL_BYTES
            while size:
                try:
                    os.write(descriptor, bytes(size))
                except OSError:
                    size //= 2
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


def _fill(strike: Strike) -> Instant:
    assert isinstance(strike.tool, _FullDisk)
    before = now()
    strike.tool.fill()
    return before


def _empty(strike: Strike) -> None:
    assert isinstance(strike.tool, _FullDisk)
    strike.tool.close()


def _ask_to_remember(strike: Strike, who: str) -> None:
    """Maintenance must survive a restart, so a node that cannot store it must not claim it."""
    node = strike.node(who)
    reply = control.ask(strike.lab.run_dir(node), {"command": "maintenance", "on": True, "force": True})
    refused = "no space" in str(reply.get("error", "")).lower()
    strike.measures["refused"] = float(refused)
    if not refused:
        control.ask(strike.lab.run_dir(node), {"command": "maintenance", "on": False})


def _has_refused(strike: Strike) -> list[str]:
    if strike.measures.get("refused"):
        return []
    return ["maintenance was not refused for want of room on the disk"]


# --- the whole node


def node_return(values: Values) -> Fault:
    preempts = values["preempt"] == "on"

    def plan(file: Plan) -> Plan:
        if values["preempt"] == "as-is":
            return file
        return replace(file, groups=tuple(replace(group, preempt=preempts) for group in file.groups))

    return Fault(
        "node-return",
        "A node that had lost its power comes back while the other serves.",
        plan=plan,
        prepare=_PoweredOff,
        alone=True,
        inject=_power_on,
        lasts=lambda timing: (5 if preempts else 2) * SECOND + 10 * timing.interval,
        bound=bounds.taken_back if preempts else bounds.untouched,
    )


class _PoweredOff:
    """The active without power; closing gives it back, if nobody has."""

    def __init__(self, strike: Strike) -> None:
        self._lab, self.node = strike.lab, strike.active
        self._is_off = True
        self._lab.power_off(self.node)

    def power_on(self) -> None:
        if self._is_off:
            self._lab.power_on(self.node)
        self._is_off = False

    close = power_on


def _power_on(strike: Strike) -> Instant:
    assert isinstance(strike.tool, _PoweredOff)
    before = now()
    strike.tool.power_on()
    return before
