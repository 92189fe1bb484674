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
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from understudy.agent import app, checks, hands, messages
from understudy.agent.journal import LINE_MAX, JournalFile, JournalSender
from understudy.agent.lans import kernel_jiffy, open_lans
from understudy.agent.notify import notify
from understudy.agent.options import AgentOptions, find_interfaces, find_node, require_capabilities
from understudy.agent.store import Store
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render import render_node
from understudy.units import SECOND, Instant, NetworkName

__all__ = ["AgentOptions", "run"]

RESPAWNS_MAX = 20
"""Within a minute; beyond that something is wrong that a fork does not mend, and the node ends."""
APPLY_TIMEOUT_S = 60
STOP_TIMEOUT = 3 * SECOND
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29


def run(options: AgentOptions) -> NoReturn:
    """Be the node's agent until SIGTERM. Raises OperatorError before anything was changed, if the node is not as the
    file says.
    """
    node = find_node(options.plan, options.node)
    require_capabilities()
    interfaces = find_interfaces(node)
    options.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    Supervisor(options, interfaces).run()
    sys.exit(0)


class Supervisor:
    def __init__(self, options: AgentOptions, interfaces: dict[NetworkName, str]) -> None:
        self._options = options
        self._interfaces = interfaces
        self._settings = replace(options.plan.settings(options.node), jiffy=kernel_jiffy())
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

    def run(self) -> None:
        """Start everything, keep it running, and end it in order."""
        _prctl(PR_SET_TIMERSLACK, 1)
        gc.collect()
        gc.freeze()  # What is imported now stays: collecting it would copy shared pages.
        wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._start_hands()
        self._start_core()
        self._start_checks()
        notify("READY=1")
        while True:
            watched = [self._journal_in.fileno(), wake_in, *(pidfd for _, pidfd in self._children.values())]
            ready, _, _ = select.select(watched, [], [], 0.2 if self._stopping_since else None)
            for descriptor in ready:
                if descriptor == self._journal_in.fileno():
                    self._write_journal()
                elif descriptor == wake_in:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_in, 512)
                else:
                    self._ended(descriptor)
            if self._stopping_since and self._may_end():
                self._end()
                return

    # --- the children

    def _start_hands(self) -> None:
        self._hands_end, theirs = messages.pair()
        self._spawn("hands", lambda: hands.Hands(self._options, self._config, self._interfaces).run(theirs), theirs)
        messages.send(self._hands_end, {"op": "apply"})
        deadline = time.monotonic() + APPLY_TIMEOUT_S
        while True:
            ready, _, _ = select.select([self._hands_end], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise EnvironmentFailure("set up", str(self._options.node), "the kernel did not answer in time")
            try:
                answer = messages.receive(self._hands_end)
            except EOFError as error:
                raise EnvironmentFailure("set up", str(self._options.node), "the process for it ended") from error
            if answer is not None:
                break
        if "error" in answer:
            raise EnvironmentFailure("set up", str(self._options.node), answer["error"])

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

        pid = self._spawn("core", body, self._hands_end, self._checks_in)
        self._options.core_pid_path.write_text(f"{pid}\n")

    def _start_checks(self) -> None:
        if not checks.targets(self._options.plan):
            return

        def body() -> None:
            app.drop_privileges()
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
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            _name(f"understudy-{role}")
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL if role == "core" else signal.SIG_IGN)
            body()
            status = 0
        except OperatorError as error:
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
        if role == "hands":
            for other in ("core", "checks"):
                self._kill(other)
            self._start_hands()
        if role != "checks":
            self._start_core()  # First: every millisecond of this is a millisecond of the lease.
            self._kill("checks")
        self._start_checks()
        self._lines.write(
            Instant(time.monotonic_ns()), {"kind": "process-ended", "subject": role, "detail": f"status {status:#x}"}
        )

    def _kill(self, role: str) -> None:
        child = self._children.pop(role, None)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child[0], signal.SIGKILL)
            os.waitpid(child[0], 0)
            os.close(child[1])

    def _limit(self) -> None:
        now = time.monotonic_ns()
        self._respawned = [at for at in self._respawned if now - at < 60 * SECOND] + [now]
        if len(self._respawned) > RESPAWNS_MAX:
            sys.stderr.write("E5208 the node's processes keep ending: see the journal. The supervisor gives up.\n")
            os._exit(1)

    # --- the end

    def _stop(self, number: int, frame: object) -> None:
        if not self._stopping_since:
            self._stopping_since = time.monotonic_ns()
            notify("STOPPING=1")
            child = self._children.get("core")
            if child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child[0], signal.SIGTERM)

    def _may_end(self) -> bool:
        return "core" not in self._children or time.monotonic_ns() - self._stopping_since > STOP_TIMEOUT

    def _end(self) -> None:
        self._kill("core")
        self._kill("checks")
        if "hands" in self._children and messages.send(self._hands_end, {"op": "remove"}):
            select.select([self._hands_end], [], [], 2.0)
        self._kill("hands")
        self._write_journal()
        with contextlib.suppress(OSError):
            self._options.core_pid_path.unlink()

    def _write_journal(self) -> None:
        while True:
            try:
                line = self._journal_in.recv(LINE_MAX)
            except OSError:
                return
            if not line:
                return
            self._journal.append(line)


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _name(name: str) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME
