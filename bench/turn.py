"""One measurement at a time on a machine: who measures, or runs tests beside it, holds this lock meanwhile."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = Path(os.environ.get("UNDERSTUDY_BENCH_LOCK") or Path(tempfile.gettempdir()) / "understudy-bench.lock")
YIELD_S = 0.2


@contextmanager
def turn() -> Iterator[None]:
    """Wait until nobody else on this machine holds the lock (`flock PATH COMMAND`), and hold it."""
    with PATH.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Processes forked meanwhile still have the file open: to close it would not do.
            fcntl.flock(lock, fcntl.LOCK_UN)
    # The kernel only wakes those who wait; who goes on at once would take the lock before them.
    time.sleep(YIELD_S)
