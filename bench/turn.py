"""One measurement at a time on a machine: who measures, or runs tests beside it, holds this lock meanwhile."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = Path(os.environ.get("UNDERSTUDY_BENCH_LOCK") or Path(tempfile.gettempdir()) / "understudy-bench.lock")


@contextmanager
def turn() -> Iterator[None]:
    """Wait until nobody else on this machine holds the lock (`flock PATH COMMAND`), and hold it."""
    with PATH.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
