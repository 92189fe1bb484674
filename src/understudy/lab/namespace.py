"""One machine's network stack: a network namespace, held by a file descriptor.

Network namespaces belong to threads. A short-lived thread enters one, makes a socket there and ends; the socket goes on
working from anywhere. So one process drives every node of the lab without a mount and without starting programs.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

from understudy.lab import syscalls

P = ParamSpec("P")
R = TypeVar("R")


class Namespace:
    """A network namespace by name. It lives as long as this object, a socket or a process holds it."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd

    @classmethod
    def create(cls, name: str, prepare: Callable[[], object] = lambda: None) -> "Namespace":
        """A new, empty namespace; `prepare` runs inside before anyone else sees it."""
        return cls(name, _Thread(_unshare, prepare).result())

    def renew(self, prepare: Callable[[], object] = lambda: None) -> None:
        """Replace the stack by a fresh one under the same descriptor, as a power cycle does."""
        fresh = _Thread(_unshare, prepare).result()
        os.dup2(fresh, self.fd, inheritable=False)
        os.close(fresh)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` in a thread inside the namespace and return what it returns or raise what it raises."""

        def inside() -> R:
            syscalls.setns(self.fd, syscalls.CLONE_NEWNET)
            return function(*args, **kwargs)

        return _Thread(inside).result()

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this namespace, for use from any thread or process."""
        return self.run(socket.socket, family, kind, protocol)

    def sysctl(self, path: str, value: int | str) -> None:
        """Set `net.…`, given with dots or slashes."""
        self.run(write_sysctl, path, value)

    def spawn(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> int:
        """Fork a process inside the namespace, with a session of its own; return its process id.

        It ends when `function` returns, with status 1 and a traceback if that raises. Fork from a process whose other
        threads hold no locks. /sys shows the sandbox's namespace still: `syscalls.mount_fresh_sysfs` mends that.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            syscalls.setns(self.fd, syscalls.CLONE_NEWNET)
            function(*args, **kwargs)
            status = 0
        except SystemExit as request:
            status = request.code if isinstance(request.code, int) else int(request.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    @property
    def inode(self) -> int:
        """Identifies the namespace, as `/proc/PID/ns/net` does."""
        return os.fstat(self.fd).st_ino

    def close(self) -> None:
        os.close(self.fd)


def write_sysctl(path: str, value: int | str) -> None:
    """Set a sysctl of the calling thread's network namespace."""
    Path("/proc/sys", path.replace(".", "/")).write_text(str(value))


def _unshare(prepare: Callable[[], object]) -> int:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        prepare()
    except BaseException:
        os.close(fd)
        raise
    return fd


class _Thread(Generic[R]):
    """Runs a function in a thread that ends with it, so that nothing else runs in the namespace it entered."""

    def __init__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> None:
        self._error: BaseException | None = None

        def body() -> None:
            try:
                self._value = function(*args, **kwargs)
            except BaseException as error:
                self._error = error

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()

    def result(self) -> R:
        if self._error is not None:
            raise self._error
        return self._value
