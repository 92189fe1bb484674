"""Running a command on a node of a lab that is up, as the operator who built it."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from understudy.errors import OperatorError
from understudy.lab import syscalls

CANNOT_ENTER = "E5135"
_COMMAND_NOT_FOUND = 127


def execute(main: int, namespace: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `command` in the namespaces of the lab whose main process is `main`, on the node with network `namespace`.

    Returns its exit status (128 + number for a signal), as a shell would. It ends with the lab. Single-threaded callers
    only; the caller itself is in the lab's user and mount namespaces afterwards.
    """
    directory = Path.cwd()
    try:
        _enter(main, namespace)
    except OSError as error:
        message = f"cannot enter the lab: {error}"
        raise OperatorError(CANNOT_ENTER, message, "only the user who started the lab (or root) can") from error
    child = os.fork()
    if child == 0:
        _become(directory, command, environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the command
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def _enter(main: int, namespace: str) -> None:
    kinds = [
        ("user", syscalls.CLONE_NEWUSER),
        ("mnt", syscalls.CLONE_NEWNS),
        ("pid", syscalls.CLONE_NEWPID),
    ]
    # All opened first: after the first step /proc is another one.
    descriptors = [(os.open(f"/proc/{main}/ns/{name}", os.O_RDONLY), kind) for name, kind in kinds]
    descriptors.append((os.open(namespace, os.O_RDONLY), syscalls.CLONE_NEWNET))
    own_user = os.stat("/proc/self/ns/user").st_ino
    for fd, kind in descriptors:
        # The kernel refuses to enter the user namespace that one is in already.
        if kind != syscalls.CLONE_NEWUSER or os.fstat(fd).st_ino != own_user:
            syscalls.setns(fd, kind)
        os.close(fd)
    syscalls.mount_fresh_sysfs()


def _become(directory: Path, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.chdir(directory)  # entering a mount namespace leads to its root
    except OSError:
        pass
    try:
        os.execvpe(command[0], list(command), {**os.environ, **environment})  # noqa: S606 -- the operator's own command
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(_COMMAND_NOT_FOUND)
