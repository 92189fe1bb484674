"""The node's supervisor: small, quiet, and everything already imported, so that a dead core is forked anew in
milliseconds.

    supervisor      forks and watches the others, writes the journal's file, talks to systemd
     +- hands       changes the kernel (agent.hands)
     +- core        decides and speaks (agent.app); no other process of the node sends an advertisement
     +- checks      asks the servers, without privileges (agent.checks)

The supervisor imports all of it once and then only forks: a fork takes milliseconds and shares its memory. The core
that follows a killed one finds the lease alive and the links up, and goes on as Active (core.group, `adopt`). If the
hands die, the core is ended with them, because neither may believe that the other knows what the kernel holds. The
supervisor's death is the node's: every child dies with it, and the kernel lease makes the node silent.
"""

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

from understudy.adapters.nftables import Nft
from understudy.agent import app, checks, hands, messages
from understudy.agent.driver import HandsStuckError
from understudy.agent.journal import ALIVE, LINE_MAX, JournalFile, JournalSender
from understudy.agent.lans import kernel_jiffy, open_lans
from understudy.agent.notify import ServiceManager
from understudy.agent.options import (
    AgentOptions,
    claim_directories,
    find_interfaces,
    find_node,
    require_capabilities,
)
from understudy.agent.store import Store
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render import render_node
from understudy.units import SECOND, Instant, NetworkName

__all__ = ["AgentOptions", "run"]

RESPAWNS_MAX = 20
"""Within a minute; beyond that something is wrong that a fork does not mend, and the node ends."""
APPLY_TIMEOUT_S = 60
REMOVE_TIMEOUT_S = 2
STOP_TIMEOUT = 3 * SECOND
CHECKS_LATER_S = 0.1
"""After a core began: every millisecond of its start is a millisecond of the lease, and the checks can wait."""
TICK_S = 1.0
CORE_SILENCE_MAX = 5
"""Rounds of our loop without a word of the core, which speaks every second. Rounds: if we were frozen, so was it."""
LINES_AT_ONCE = 256
"""Of the journal, before the children are looked at again."""
STATUS_HANDS_STUCK = 3
"""Exit status of a core whose hands do not answer."""
_LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_TIMERSLACK = 1, 15, 29


def run(options: AgentOptions) -> NoReturn:
    """Be the node's agent until SIGTERM. Raises OperatorError before anything was changed, if the node is not as the
    file says or lacks what an agent needs.
    """
    gc.collect()
    _keep_only(())  # Whatever the caller had open is not ours to keep; also select needs small numbers.
    node = find_node(options.plan, options.node)
    require_capabilities()
    Nft().close()  # Said here if the library is missing. It is loaded once, for all hands that follow.
    interfaces = find_interfaces(node)
    lock = claim_directories(options)
    try:
        Supervisor(options, interfaces).run()
    finally:
        os.close(lock)
    sys.exit(0)


class Supervisor:
    def __init__(self, options: AgentOptions, interfaces: dict[NetworkName, str]) -> None:
        self._options = options
        self._interfaces = interfaces
        self._settings = replace(options.plan.settings(options.node), jiffy=kernel_jiffy(), fence=options.lease_enabled)
        self._lans = open_lans(options, self._settings, interfaces)
        self._epoch = Store(options.store_path).next_epoch().epoch
        self._config = render_node(
            options.plan,
            options.node,
            interfaces,
            jiffy=self._settings.jiffy,
            lease_enabled=options.lease_enabled,
        )
        self._journal_in, self._journal_out = messages.pair()
        self._journal = JournalFile(options.journal_path)
        self._lines = JournalSender(self._journal_out, options.node)
        self._children: dict[str, tuple[int, int]] = {}
        """Role to process id and pidfd."""
        self._generation = 0
        self._respawned: list[int] = []
        self._stopping_since = 0
        self._silent_rounds = 0
        self._checks_due = 0.0
        self._manager = ServiceManager()

    def run(self) -> None:
        """Start everything, keep it running, and end it in order."""
        _prctl(PR_SET_TIMERSLACK, 1)
        app.warm_up(self._options, self._settings)
        gc.collect()
        gc.freeze()  # What is imported now stays: collecting it would copy shared pages.
        wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._start_hands(first=True)
        self._start_core()
        self._start_checks()
        self._manager.ready()
        ticked = time.monotonic()
        while True:
            watched = [self._journal_in.fileno(), wake_in, *(pidfd for _, pidfd in self._children.values())]
            wait_s = 0.1 if self._stopping_since or self._checks_due else TICK_S
            ready, _, _ = select.select(watched, [], [], wait_s)
            for descriptor in ready:
                if descriptor == self._journal_in.fileno():
                    self._write_journal()
                elif descriptor == wake_in:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_in, 512)
                else:
                    self._ended(descriptor)
            if 0 < self._checks_due <= time.monotonic() and not self._stopping_since:
                self._start_checks()
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                self._watch_core()
            if self._stopping_since and self._may_end():
                self._end()
                return

    # --- the children

    def _start_hands(self, *, first: bool = False) -> None:
        """Fork the hands and have them set the kernel up. Raises EnvironmentFailure; a first attempt leaves nothing."""
        self._fork_hands()
        error = self._ask_hands({"op": "apply", "first": first}, APPLY_TIMEOUT_S)
        if error:
            raise EnvironmentFailure("set up", str(self._options.node), error)

    def _fork_hands(self) -> None:
        self._hands_end, theirs = messages.pair()
        self._spawn("hands", lambda: hands.Hands(self._options, self._config, self._interfaces).run(theirs), theirs)

    def _ask_hands(self, message: messages.Message, timeout_s: float) -> str:
        """One command, while no core gives any; returns the error, empty if it was done."""
        if not messages.send(self._hands_end, message):
            return "the process for it takes no commands"
        deadline = time.monotonic() + timeout_s
        while True:
            ready, _, _ = select.select([self._hands_end], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return "the kernel did not answer in time"
            try:
                answer = messages.receive(self._hands_end)
            except EOFError:
                return "the process for it ended"
            if answer is not None and answer["op"] == message["op"]:  # others were for a core that is gone
                return str(answer.get("error", ""))

    def _start_core(self) -> None:
        self._generation += 1
        self._checks_in, self._checks_out = messages.pair()
        generation = self._generation

        def body() -> None:
            app.run_core(
                self._options,
                self._settings,
                self._lans,
                self._epoch + generation,
                self._hands_end,
                self._checks_in,
                self._journal_out,
                generation,
            )

        sockets = [lan.port.socket for lan in self._lans.values()]
        sockets += [lan.channel for lan in self._lans.values() if lan.channel is not None]
        pid = self._spawn("core", body, self._hands_end, self._checks_in, *sockets)
        self._silent_rounds = 0
        with contextlib.suppress(OSError):  # A full disk must not end the node.
            self._options.core_pid_path.write_text(f"{pid}\n")

    def _start_checks(self) -> None:
        self._checks_due = 0.0
        if not checks.targets(self._options.plan):
            return

        parent = os.getpid()

        def body() -> None:
            app.drop_privileges()
            _die_with(parent)  # The kernel forgets it with every change of credentials.
            checks.run(self._options.plan, self._checks_out)

        self._spawn("checks", body, self._checks_out)

    def _spawn(self, role: str, body: Callable[[], None], *keep: socket.socket) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children[role] = (pid, os.pidfd_open(pid))
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            _die_with(parent)
            # Close-on-exec does nothing here: what a child does not need, such as LAN sockets, it must not hold.
            _keep_only([end.fileno() for end in (*keep, self._journal_out)])
            _prctl(PR_SET_NAME, f"understudy-{role}".encode()[:15])
            _step_back(role)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL if role == "core" else signal.SIG_IGN)
            body()
            status = 0
        except (OperatorError, HandsStuckError) as error:
            status = STATUS_HANDS_STUCK if isinstance(error, HandsStuckError) else 1
            sys.stderr.write(f"{error}\n")
            self._lines.write(Instant(time.monotonic_ns()), {"kind": "error", "subject": role, "detail": str(error)})
        except BaseException:
            text = traceback.format_exc()
            sys.stderr.write(text)
            self._lines.write(Instant(time.monotonic_ns()), {"kind": "error", "subject": role, "detail": text[-2000:]})
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(status)

    def _ended(self, pidfd: int) -> None:
        """A child has ended: put another in its place."""
        noticed = Instant(time.monotonic_ns())
        role = next((name for name, (_, fd) in self._children.items() if fd == pidfd), "")
        if not role:
            return  # ended together with another, a moment ago
        pid, _ = self._children.pop(role)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        if self._stopping_since:
            return
        if role == "core" and status == 0:
            self._stop(0, None)
            return
        self._limit()
        if role == "core" and os.waitstatus_to_exitcode(status) == STATUS_HANDS_STUCK:
            self._kill("hands")
            role = "hands"
        if role == "hands":
            for other in ("core", "checks"):
                self._kill(other)
            self._start_hands()
        if role != "checks":
            self._start_core()
            self._kill("checks")
        self._checks_due = time.monotonic() + CHECKS_LATER_S
        self._lines.write(noticed, {"kind": "process-ended", "subject": role, "detail": f"status {status:#x}"})

    def _kill(self, role: str) -> None:
        child = self._children.pop(role, None)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child[0], signal.SIGKILL)
            os.waitpid(child[0], 0)
            os.close(child[1])

    def _watch_core(self) -> None:
        """A core that runs in circles keeps nobody waiting: its lease has lapsed, and another starts as Backup."""
        self._silent_rounds += 1
        if self._silent_rounds > CORE_SILENCE_MAX and "core" in self._children:
            self._silent_rounds = 0
            detail = f"silent for {CORE_SILENCE_MAX} s: ended"
            self._lines.write(Instant(time.monotonic_ns()), {"kind": "stuck", "subject": "core", "detail": detail})
            os.kill(self._children["core"][0], signal.SIGKILL)

    def _limit(self) -> None:
        now = time.monotonic_ns()
        self._respawned = [at for at in self._respawned if now - at < 60 * SECOND] + [now]
        if len(self._respawned) > RESPAWNS_MAX:
            sys.stderr.write("E5210 the node's processes keep ending: see the journal. The supervisor gives up.\n")
            os._exit(1)

    # --- the end

    def _stop(self, number: int, frame: object) -> None:
        if not self._stopping_since:
            self._stopping_since = time.monotonic_ns()
            self._manager.stopping()
            child = self._children.get("core")
            if child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child[0], signal.SIGTERM)

    def _may_end(self) -> bool:
        return "core" not in self._children or time.monotonic_ns() - self._stopping_since > STOP_TIMEOUT

    def _end(self) -> None:
        self._kill("core")
        self._kill("checks")
        error = "no process for it"
        if "hands" in self._children:
            error = self._ask_hands({"op": "remove"}, REMOVE_TIMEOUT_S)
        if error:  # once more, by fresh hands
            self._kill("hands")
            self._fork_hands()
            error = self._ask_hands({"op": "remove"}, REMOVE_TIMEOUT_S)
        self._kill("hands")
        if error:
            self._lines.write(Instant(time.monotonic_ns()), {"kind": "error", "subject": "remove", "detail": error})
        self._write_journal()
        with contextlib.suppress(OSError):
            self._options.core_pid_path.unlink()

    def _write_journal(self) -> None:
        for _ in range(LINES_AT_ONCE):
            try:
                line = self._journal_in.recv(LINE_MAX)
            except OSError:
                return
            if line == ALIVE:
                self._silent_rounds = 0
                self._manager.alive()
            elif line:
                self._journal.append(line)
                self._manager.take(line)


def _die_with(parent: int) -> None:
    """The supervisor's death is the node's, also by SIGKILL."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the kernel knew that we care


def _step_back(role: str) -> None:
    """Where the unit gave us a real-time class, the core comes first: a big rule set must not take its turn."""
    policy = os.sched_getscheduler(0)
    if policy in (os.SCHED_RR, os.SCHED_FIFO):
        priority = os.sched_getparam(0).sched_priority
        if role == "hands" and priority > 1:
            os.sched_setscheduler(0, policy, os.sched_param(priority - 1))
        elif role == "checks":
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _keep_only(descriptors: Sequence[int]) -> None:
    """Close everything but the standard streams and these."""
    last = 2
    for descriptor in sorted(descriptors):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _prctl(option: int, value: int | bytes) -> None:
    _LIBC.prctl(option, value, 0, 0, 0)
