"""One who measures at a time on a machine: who measures, or runs tests beside it, holds this lock meanwhile.

bench/run.py holds it for each part, but for those of bench/flows.py and bench/nat.py, which take turns by themselves;
bench/compare.py for each interval. Other programs of this folder, started by hand, do not ask: `flock PATH COMMAND`.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = Path(os.environ.get("UNDERSTUDY_BENCH_LOCK") or Path(tempfile.gettempdir()) / "understudy-bench.lock")
LONGEST_S = 90
"""Runs that follow each other share a turn of about this length."""
YIELD_S = 0.2


def say() -> None:
    print(f"waiting: somebody else on this machine measures ({PATH})", file=sys.stderr, flush=True)


class Turn:
    """Waits until nobody else on this machine holds the lock (`flock PATH COMMAND`), and holds it for some runs.

    `waits` is called before a wait, if there is one: it may last as long as others measure.
    """

    def __init__(self, waits: Callable[[], object] = say) -> None:
        self._lock = PATH.open("a")
        self._waits = waits
        self._since: float | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        if self._since is None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._waits()
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

    def close(self) -> None:
        self.end()
        self._lock.close()


@contextmanager
def turn(waits: Callable[[], object] = say) -> Iterator[None]:
    """A turn of one run."""
    one = Turn(waits)
    try:
        with one.run():
            yield
    finally:
        one.close()
