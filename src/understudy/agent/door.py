"""Where a node can be asked: sockets of its run directory, their owner's only. Who may open one may move addresses.

They are the supervisor's, so that a client that comes while one process follows another waits instead of being refused.
"""

import contextlib
import os
import socket
from pathlib import Path

from understudy.errors import OperatorError


class Door:
    """A socket at `path` that refuses clients until `open`. Raises OperatorError E5206."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        mask = os.umask(0o177)
        try:
            self.listener.bind(str(path))
        except OSError as error:
            self.listener.close()
            raise OperatorError(
                "E5206", f"cannot listen at {path}: {error.strerror or error}", "choose a directory with --run-dir"
            ) from error
        finally:
            os.umask(mask)
        self.listener.setblocking(False)

    def open(self, waiting_max: int) -> None:
        """From here on clients are let in; so many may wait, and a later one is told to come again (EAGAIN)."""
        self.listener.listen(waiting_max)

    def close(self) -> None:
        """For good: whoever waits is sent away."""
        self.listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
