"""Probes run in processes of their own: what injects a fault must not be what measures it."""

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, Self, TypeVar

from understudy.errors import EnvironmentFailure

_PR_SET_PDEATHSIG = 1
R = TypeVar("R")


class ProbeProcess(Generic[R]):
    """A forked process that does `work` and hands its result back through a pipe; it dies with its parent."""

    def __init__(self, name: str, work: Callable[[], R]) -> None:
        self._name = name
        self._pipe: Connection
        self._pipe, theirs = multiprocessing.Pipe(duplex=False)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become_probe(parent, theirs, work)
        theirs.close()

    def result(self, timeout_s: float) -> R:
        """What `work` returned. Raises EnvironmentFailure if it failed or did not finish in time."""
        if not self._pipe.poll(timeout_s):
            raise EnvironmentFailure("wait for", f"the {self._name} probe", f"no result after {timeout_s:g} s")
        try:
            outcome, value = self._pipe.recv()
        except EOFError:
            raise EnvironmentFailure("run", f"the {self._name} probe", "it ended without a result") from None
        if outcome == "failed":
            raise EnvironmentFailure("run", f"the {self._name} probe", value)
        result: R = value
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _become_probe(parent: int, pipe: Connection, work: Callable[[], R]) -> None:
    """The life of the child; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Ctrl-C is the drill's to handle; it ends us in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getppid() != parent:
            os._exit(code)
        try:
            pipe.send(("done", work()))
            code = 0
        except Exception:
            # The one broad handler of this process: whatever went wrong becomes the parent's message.
            pipe.send(("failed", traceback.format_exc(limit=4)))
    finally:
        sys.stderr.flush()
        os._exit(code)
