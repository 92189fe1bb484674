"""A private world on this machine that leaves nothing behind, with or without root.

Four processes, so that whoever dies takes everything along:

    caller      the command; stays as it was, threads or not
     +- guardian   entered the user namespace; waits for the caller's or the init's end, then ends the rest
         +- init     pid 1 of the sandbox: the kernel ends every process in it when this one dies; reaps orphans
             +- main   runs what the caller gave, in fresh network and mount namespaces

* The caller dies (SIGKILL included): its end of the channel closes, the guardian kills the init and cleans up.
* The guardian dies: the init dies by its parent death signal, and the sandbox with it.
* The init or main dies: the guardian cleans up and ends.

Links, addresses, rule sets and processes exist only inside the namespaces: the kernel removes them with the last
process. Without root the guardian first makes a user namespace in which the caller's own uid is root: all the privilege
there is.
The guardian is a fresh fork and so single-threaded, as the kernel demands for entering a user namespace.
"""

import contextlib
import errno
import os
import pickle
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, TypeVar, cast

from understudy.errors import OperatorError
from understudy.lab import processes, syscalls

T = TypeVar("T")

_SIZE = struct.Struct("!I")
_DETACH: Final = b"d"
_ENDINGS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
_SO_PASSCRED: Final = getattr(socket, "SO_PASSCRED", 16)
_SCM_CREDENTIALS: Final = getattr(socket, "SCM_CREDENTIALS", 2)

ALLOW_USER_NAMESPACES = "E5101"
NO_PRIVATE_MOUNTS = "E5102"
SANDBOX_DIED = "E5103"


class Sandbox(Generic[T]):
    """A sandbox as seen from outside. Leaving the `with` block destroys it, unless it was detached."""

    def __init__(self, guardian: int, channel: socket.socket) -> None:
        self.guardian = guardian
        """Process id of the guardian; SIGTERM to it ends the sandbox in order."""
        self.main = 0
        """Process id of main, as the caller sees it; known once something was received."""
        self._channel = channel
        self._detached = False

    @property
    def holder(self) -> int:
        """Process id of the init, as the caller sees it; known once something was received."""
        return processes.parent_of(self.main)

    def receive(self, timeout_s: float | None = None) -> T:
        """What main reported next. Raises the error that main raised, TimeoutError, or OperatorError if it died."""
        self._channel.settimeout(timeout_s)
        header = self._read(_SIZE.size)
        kind, value = pickle.loads(self._read(_SIZE.unpack(header)[0]))  # noqa: S301 -- from our own child
        if kind == "error":
            raise _rebuild(value)
        return cast(T, value)

    def detach(self) -> None:
        """Let the sandbox outlive the caller: from now on only its own processes hold it."""
        self._channel.sendall(_DETACH)
        self._detached = True

    def destroy(self) -> None:
        """End everything inside and wait until it is gone. Harmless when it is already."""
        self._channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.guardian, 0)

    def __enter__(self) -> "Sandbox[T]":
        return self

    def __exit__(self, *_: object) -> None:
        if self._detached:
            self._channel.close()
        else:
            self.destroy()

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            data, ancillary, _, _ = self._channel.recvmsg(size - len(parts), socket.CMSG_SPACE(12))
            if not data:
                raise OperatorError(SANDBOX_DIED, "the lab's main process ended before it reported", "was it killed?")
            parts += data
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == _SCM_CREDENTIALS:
                    # The kernel translates the sender's pid into our pid namespace.
                    self.main = struct.unpack_from("i", payload)[0] or self.main
        return bytes(parts)


Report = Callable[[T], None]
"""Given to main: sends one value to the caller, who gets it from `receive`."""


def start(
    main: Callable[[Report[T]], None],
    *,
    log: Path | None = None,
    keep: Collection[int] = (),
    cleanup: Callable[[], None] | None = None,
) -> Sandbox[T]:
    """Run `main` in a new sandbox, which ends when `main` returns.

    `log` takes the standard streams of everything inside, and all that the caller has open is let go but for the
    descriptors in `keep`: for a sandbox that is to be detached. `cleanup` runs in the guardian, outside of the sandbox,
    once nothing is left in it. Errors of entering come out of the first
    `receive`: OperatorError E5101 where user namespaces are forbidden, E5102 where private mounts are.
    """
    outer, inner = socket.socketpair()
    # Set before the first byte, so that the very first report tells who main is.
    outer.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
    sys.stdout.flush()
    sys.stderr.flush()
    # A Ctrl-C of this moment must find the guardian deaf, or nobody would clean up.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        pid = os.fork()
        if pid == 0:
            outer.close()
            _guard(inner, main, log, keep, cleanup)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    inner.close()
    return Sandbox(pid, outer)


def run(main: Callable[[], T]) -> T:
    """Run `main` in a new sandbox and return its result (which must pickle) once nothing of the sandbox is left."""

    def report_result(report: Report[T]) -> None:
        report(main())

    with start(report_result) as sandbox:
        return sandbox.receive()


def _guard(
    channel: socket.socket,
    main: Callable[[Report[T]], None],
    log: Path | None,
    keep: Collection[int],
    cleanup: Callable[[], None] | None,
) -> NoReturn:
    status = 1
    uid = os.geteuid()  # inside a user namespace it will be another one
    try:
        os.setsid()  # the terminal's Ctrl-C is the caller's to handle
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
        wakeup, alarm = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if log is not None:
            _let_go(log, keep={channel.fileno(), wakeup, alarm, *keep})
        try:
            with explained(uid):
                enter_user_namespace()
                syscalls.unshare(syscalls.CLONE_NEWPID)
        except BaseException as error:
            _send(channel, "error", _take_apart(error))
            raise
        alive_read, alive_write = os.pipe2(os.O_CLOEXEC)
        init = os.fork()
        if init == 0:
            os.close(alive_write)
            _init(alive_read, channel, main, uid)
        os.close(alive_read)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(alarm)
        status = _wait(init, channel, wakeup)
    except OperatorError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        if cleanup is not None:
            cleanup()
        os._exit(status)


def _wait(init: int, channel: socket.socket, wakeup: int) -> int:
    """Wait for the init's end, or for a reason to bring it about; return its exit status."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    while True:
        pid, status = os.waitpid(init, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        for fd, _ in poll.poll():
            if fd == wakeup:
                if signal.SIGTERM in os.read(wakeup, 64):
                    os.kill(init, signal.SIGKILL)
            else:
                word = channel.recv(1)
                poll.unregister(channel)
                if word != _DETACH:
                    os.kill(init, signal.SIGKILL)  # the caller is gone


def _init(alive: int, channel: socket.socket, main: Callable[[Report[T]], None], uid: int) -> NoReturn:
    """Pid 1: start main, reap whoever is orphaned, end with main."""
    status = 1
    try:
        syscalls.set_parent_death_signal(signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)  # the guardian died before the kernel knew that we care
        try:
            with explained(uid):
                private_world()
        except BaseException as error:
            _send(channel, "error", _take_apart(error))
            raise
        worker = os.fork()
        if worker == 0:
            os.close(alive)
            _main(channel, main)
        channel.close()
        while True:
            try:
                pid, wait_status = os.wait()
            except InterruptedError:
                continue
            if pid == worker:
                code = os.waitstatus_to_exitcode(wait_status)
                status = code if code >= 0 else 128 - code
                break
    except OperatorError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _main(channel: socket.socket, main: Callable[[Report[T]], None]) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main(lambda value: _send(channel, "value", value))
        status = 0
    except BaseException as error:
        with contextlib.suppress(OSError):
            _send(channel, "error", _take_apart(error))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def enter_user_namespace() -> None:
    """Become root of a new user namespace, unless we are root already. Single-threaded callers only."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")  # the kernel's condition for a gid map without privilege
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def private_world() -> None:
    """Fresh network and mounts for the calling process, with a /proc and a /sys that show them."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    quiet = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", quiet)
    syscalls.mount("sysfs", "/sys", "sysfs", quiet)


@contextlib.contextmanager
def explained(uid: int) -> Iterator[None]:
    """Turn the kernel's refusal of namespaces to user `uid` into what the operator can do about it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS, errno.EINVAL):
            raise
        raise refusal(error, uid) from error


def refusal(error: OSError, uid: int, sysctls: Path = Path("/proc/sys")) -> OperatorError:
    """Which switch of this machine forbids `uid` namespaces, and the command that allows them."""
    what = f"{error.filename or 'namespace'}: {error.strerror}"
    for name, forbids, allow in (
        ("user.max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=16384"),
        ("kernel.unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with 'userns,'",
        ),
    ):
        try:
            value = (sysctls / name.replace(".", "/")).read_text().strip()
        except OSError:
            continue
        if value == forbids and uid != 0:
            message = f"user namespaces are forbidden here: {name}={value} ({what})"
            return OperatorError(ALLOW_USER_NAMESPACES, message, f"{allow}; or run the command as root")
    if error.filename in ("mount /proc", "mount /sys"):
        message = f"a private world cannot be made ({what}): a container hides parts of /proc or /sys"
        return OperatorError(NO_PRIVATE_MOUNTS, message, "run outside of the container, or unmask them (--privileged)")
    if uid == 0:
        message = f"root lacks the right to make namespaces ({what})"
        return OperatorError(ALLOW_USER_NAMESPACES, message, "give CAP_SYS_ADMIN and CAP_NET_ADMIN, or run as a user")
    message = f"user namespaces are forbidden here ({what})"
    return OperatorError(ALLOW_USER_NAMESPACES, message, "allow them (seccomp or a security module), or run as root")


def _let_go(log: Path, keep: set[int]) -> None:
    """Hold nothing of the caller: not its terminal, not its directory, not its files."""
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir("/")
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) > 2 and int(entry) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(entry))


def _send(channel: socket.socket, kind: str, value: object) -> None:
    body = pickle.dumps((kind, value))
    channel.sendall(_SIZE.pack(len(body)) + body)


def _take_apart(error: BaseException) -> tuple[Any, ...]:
    """An exception as plain data: pickle rebuilds only those whose arguments equal their constructor's."""
    text = "".join(traceback.format_exception(error))
    parts = (type(error), error.args, {**error.__dict__, "sandbox_traceback": text})
    try:
        pickle.dumps(parts)
    except Exception:
        return (RuntimeError, (f"{type(error).__name__}: {error}",), {"sandbox_traceback": text})
    return parts


def _rebuild(parts: tuple[Any, ...]) -> BaseException:
    kind, arguments, attributes = parts
    error = cast(BaseException, kind.__new__(kind, *arguments))
    error.__dict__.update(attributes)
    error.add_note("inside the sandbox:\n" + attributes["sandbox_traceback"])
    return error
