"""One who measures at a time on a machine: who measures, or runs tests beside it, holds this lock meanwhile."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = Path(os.environ.get("UNDERSTUDY_BENCH_LOCK") or Path(tempfile.gettempdir()) / "understudy-bench.lock")
LONGEST_S = 90
"""Runs that follow each other share a turn of about this length."""
YIELD_S = 0.2


class Turn:
    """Waits until nobody else on this machine holds the lock (`flock PATH COMMAND`), and holds it for some runs."""

    def __init__(self) -> None:
        self._lock = PATH.open("a")
        self._since: float | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        if self._since is None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._since = time.monotonic()
        try:
            yield
        finally:
            if time.monotonic() - self._since > LONGEST_S:
                self.end()

    def end(self) -> None:
        # Processes forked meanwhile still have the file open: to close it would not do.
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._since = None
        # The kernel only wakes those who wait; who goes on at once would take the lock before them.
        time.sleep(YIELD_S)


@contextmanager
def turn() -> Iterator[None]:
    """A turn of one run."""
    one = Turn()
    try:
        with one.run():
            yield
    finally:
        one.end()
