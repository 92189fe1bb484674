"""The socket that takes another file: its owner's only, in the node's run directory."""

import contextlib
import os
import socket
from pathlib import Path

from understudy.errors import OperatorError

WAITING_MAX = 4


def listen(path: Path) -> socket.socket:
    """Raises OperatorError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OperatorError(
            "E5206", f"cannot listen at {path}: {error.strerror or error}", "choose a directory with --run-dir"
        ) from error
    finally:
        os.umask(mask)
    listener.listen(WAITING_MAX)
    listener.setblocking(False)
    return listener
