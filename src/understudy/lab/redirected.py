"""A function for a forked child of the lab, with its standard streams on a file."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from understudy.lab import syscalls


class Redirected:
    """A function for a forked child, with the standard streams on a file and, if asked, a /sys of its own."""

    def __init__(
        self, output: Path, function: Callable[..., object], *, fresh_sysfs: bool = False, clocks_ahead_s: int = 0
    ) -> None:
        self._output = output
        self._function = function
        self._fresh_sysfs = fresh_sysfs
        self._clocks_ahead_s = clocks_ahead_s

    def __call__(self, *args: object) -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        log = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(null)
        os.close(log)
        # Not the caller's streams, which may be buffered for a terminal or lead somewhere else.
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if self._fresh_sysfs:
            syscalls.mount_fresh_sysfs()
        if self._clocks_ahead_s:
            syscalls.advance_clocks(self._clocks_ahead_s)
        self._function(*args)
