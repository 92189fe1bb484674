"""The directory of a lab that stays up, and the lock that tells whether it does.

    $XDG_RUNTIME_DIR/understudy/lab/CLUSTER/     (or /run/user/UID, or /tmp/understudy-UID)
        lock         held (flock) by every process of the lab: free means that nothing lives; names the guardian
        lab.json     what `lab up` printed
        lab.log      standard output and error of the lab's own processes
        NODE/        control.sock, events.jsonl, agent.log, server.log

The kernel lets go of a lock with its last holder: a lab that was killed is told from one that lives without trusting
process ids.
"""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from understudy.errors import OperatorError

ALREADY_UP = "E5131"
NOT_UP = "E5132"
UNSAFE_DIRECTORY = "E5133"
STILL_UP = "E5134"

_PATIENCE_S = 0.2
"""How long another command may hold the lock just to look at it."""


class Claim:
    """The right to be the lab of this name; held by whoever has descriptor `lock` open."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    def name_guardian(self, pid: int) -> None:
        """Tell other commands whom to ask for the end."""
        os.pwrite(self.lock, str(pid).encode(), 0)

    def record(self, record: dict[str, Any]) -> None:
        """Keep what `status` and `exec` need; appears whole or not at all."""
        draft = self.path / "lab.json.new"
        draft.write_text(json.dumps(record))
        draft.rename(self.path / "lab.json")

    def remove(self) -> None:
        """Take the directory away; the lock goes with the descriptor."""
        _remove(self.path)


def base() -> Path:
    """Where labs are kept; may not exist. Raises OperatorError E5133 where others could interfere."""
    uid = os.getuid()
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if candidate and os.access(candidate, os.W_OK | os.X_OK):
            root = Path(candidate, "understudy")
            break
    else:
        root = Path(f"/tmp/understudy-{uid}")  # noqa: S108 -- made 0700 and checked below
    directory = root / "lab"
    for path in (root, directory):
        try:
            found = path.lstat()
        except FileNotFoundError:
            break
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
            message = f"{path} is not a directory that only we can use"
            raise OperatorError(UNSAFE_DIRECTORY, message, f"remove it, or chmod 700 it if it is yours (uid {uid})")
    return directory


def claim(cluster: str) -> Claim:
    """Make the lab's directory and lock it, without what a killed lab left. Raises OperatorError E5131 if it is up."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        path = _make(cluster)
        lock = _lock(path)
        if lock is not None:
            break
        if time.monotonic() > deadline:
            message = f"lab {cluster} is up already"
            raise OperatorError(ALREADY_UP, message, f"understudy lab down {cluster}")
        time.sleep(0.01)
    for entry in path.iterdir():
        if entry.name == "lock":
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return Claim(path, lock)


def labs() -> Iterator[str]:
    """The labs that are up or being built, by name; leftovers of killed ones are removed on the way."""
    directory = base()
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if is_up(path):
            yield path.name


def is_up(path: Path) -> bool:
    """Whether anything of the lab lives; if not, nothing of it is left after this."""
    if not path.is_dir():
        return False
    lock = _lock(path)
    if lock is None:
        return True
    _remove(path)
    os.close(lock)
    return False


def read(cluster: str) -> dict[str, Any]:
    """What `lab up` recorded. Raises OperatorError E5132 if that lab is not up."""
    path = base() / cluster
    if is_up(path):
        with contextlib.suppress(FileNotFoundError):
            return cast(dict[str, Any], json.loads((path / "lab.json").read_text()))
        raise OperatorError(NOT_UP, f"lab {cluster} is still being built", "wait for its `lab up`")
    up = ", ".join(labs())
    raise OperatorError(NOT_UP, f"lab {cluster} is not up", f"up: {up}" if up else "understudy lab up FILE")


def guardian(cluster: str) -> int:
    """Whom to ask for the lab's end; 0 if not known (yet)."""
    try:
        return int((base() / cluster / "lock").read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def _make(cluster: str) -> Path:
    """The lab's directory, with those above it as base() wants them."""
    path = base() / cluster
    for directory in (path.parent.parent, path.parent, path):
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            continue  # another lab's end took the one above: our caller tries again
    base()  # what we made is checked as what we found
    return path


def _remove(path: Path) -> None:
    """Remove a lab's directory, and those above it if no other lab is in them."""
    shutil.rmtree(path, ignore_errors=True)
    for parent in (path.parent, path.parent.parent):
        try:
            parent.rmdir()
        except OSError:
            break


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock of directory `path`, or None if another process does."""
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None  # removed under our eyes: whoever did that held the lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The one we locked may be the one that its former holder has just removed.
        if os.fstat(lock).st_ino == os.stat(path / "lock").st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None
