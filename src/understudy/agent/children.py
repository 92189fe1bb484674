"""The supervisor's children: forked, watched by pidfd, ended with it.

A child holds no descriptor that it was not given, dies with its parent, and says why it ended on the journal.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from understudy.agent.hands_link import HandsStuckError
from understudy.agent.journal import JournalSender
from understudy.errors import OperatorError
from understudy.units import Instant

STATUS_HANDS_STUCK = 3
"""Exit status of a core whose hands do not answer."""
_LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_TIMERSLACK = 1, 15, 29
ENDING = (signal.SIGTERM, signal.SIGINT)
HEARING = ("core", "new-core")
"""Hear a signal to end, once they unblock it: until then it waits. The others hear none."""


class Children:
    """By role: `core`, `hands`, `checks`, `flows`, `pools`; `reload-N`, `new-hands`, `new-core` for a new file; `drain`
    and `sweep` after one.
    """

    def __init__(self, journal_out: socket.socket, lines: JournalSender) -> None:
        self._journal_out = journal_out
        self._lines = lines
        self._alive: dict[str, tuple[int, int]] = {}
        """Role to process id and pidfd."""

    def __contains__(self, role: str) -> bool:
        return role in self._alive

    def descriptors(self) -> list[int]:
        """Readable once a child has ended: see `reap`."""
        return [pidfd for _, pidfd in self._alive.values()]

    def spawn(self, role: str, body: Callable[[], None], *keep: socket.socket) -> int:
        """Fork a child that does `body` and ends; it keeps these sockets and its way to the journal.

        Raises OSError if there is no room for another process or descriptor.
        """
        parent = os.getpid()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # The parent's handlers are not the child's.
        try:
            pid = os.fork()
        finally:
            if os.getpid() == parent:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if pid:
            try:
                self._alive[role] = (pid, os.pidfd_open(pid))
            except OSError:  # no descriptor left: what cannot be watched must not run
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            die_with(parent)
            # Close-on-exec does nothing here: what a child does not need, such as LAN sockets, it must not hold.
            keep_only([end.fileno() for end in (*keep, self._journal_out)])
            prctl(PR_SET_NAME, f"understudy-{role.removeprefix('new-')}".encode()[:15])
            _step_back(role)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL if role in HEARING else signal.SIG_IGN)
            if role not in HEARING:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
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

    def reap(self, pidfd: int) -> tuple[str, int]:
        """Role and wait status of the child that ended; no role if it was ended together with another."""
        for role, (pid, fd) in self._alive.items():
            if fd == pidfd:
                # The number may have become a new child's since it was found readable: that one is alive.
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del self._alive[role]
                    os.close(pidfd)
                    return role, status
                break
        return "", 0

    def signal(self, role: str, number: int) -> None:
        """Harmless if there is no such child."""
        child = self._alive.get(role)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child[0], number)

    def kill(self, role: str) -> None:
        """End a child at once and wait until it is gone. Harmless if there is none."""
        self.signal(role, signal.SIGKILL)
        child = self._alive.pop(role, None)
        if child is not None:
            os.waitpid(child[0], 0)
            os.close(child[1])

    def finish(self, patience_s: float) -> None:
        """Wait until all have ended by themselves; those that have not within the time are ended."""
        deadline = time.monotonic() + patience_s
        while self._alive and (left := deadline - time.monotonic()) > 0:
            for pidfd in select.select(self.descriptors(), [], [], left)[0]:
                self.reap(pidfd)
        for role in list(self._alive):
            self.kill(role)

    def promote(self, role: str, to: str) -> None:
        """A child takes the place of another, which is ended. Harmless if there is none to take it."""
        self.kill(to)
        if role in self._alive:
            self._alive[to] = self._alive.pop(role)


def die_with(parent: int) -> None:
    """The supervisor's death is the node's, also by SIGKILL."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the kernel knew that we care


def keep_only(descriptors: Sequence[int]) -> None:
    """Close everything but the standard streams and these."""
    last = 2
    for descriptor in sorted(descriptors):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def prctl(option: int, value: int | bytes) -> None:
    _LIBC.prctl(option, value, 0, 0, 0)


def _step_back(role: str) -> None:
    """The core comes first: where the unit gave us a real-time class, a big rule set must not take its turn."""
    late = role.startswith(("reload", "drain", "sweep"))
    if late:
        os.nice(10)
    policy = os.sched_getscheduler(0)
    if policy in (os.SCHED_RR, os.SCHED_FIFO):
        priority = os.sched_getparam(0).sched_priority
        if role in ("hands", "new-hands") and priority > 1:
            os.sched_setscheduler(0, policy, os.sched_param(priority - 1))
        elif role == "flows" and priority > 2:  # a busy one must not delay a promotion's links and addresses
            os.sched_setscheduler(0, policy, os.sched_param(priority - 2))
        elif role in ("flows", "checks", "pools") or late:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
