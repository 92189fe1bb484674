"""Which processes belong to a node, and signals to all of them back to back.

Found by walking /proc, so that a process counts whatever it did since it was forked. In a sandbox /proc shows only the
lab.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence

from understudy.units import Instant

Finder = Callable[[], Sequence[int]]
_ROUNDS_MAX = 100


def of_session(leader: int) -> tuple[int, ...]:
    """The living processes of the session that `leader` leads, and their descendants; the leader first."""
    parents: dict[int, int] = {}
    members: list[int] = []
    for pid in _all():
        stat = _stat(pid)
        if stat is not None:
            parent, session = stat
            parents[pid] = parent
            if leader in (session, pid):  # it may be about to open its session
                members.append(pid)
    found = dict.fromkeys(sorted(members, key=lambda pid: pid != leader))
    grown = True
    while grown:
        more = [pid for pid, parent in parents.items() if parent in found and pid not in found]
        found.update(dict.fromkeys(more))
        grown = bool(more)
    return tuple(found)


def inside(inode: int) -> tuple[int, ...]:
    """The living processes whose network namespace has this inode."""
    found = []
    for pid in _all():
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == inode and _stat(pid) is not None:
                found.append(pid)
        except OSError:
            continue  # it just ended
    return tuple(found)


def signal_all(find: Finder, number: int, *, group: int = 0, found: Sequence[int] | None = None) -> Instant:
    """Signal process group `group` in one call, then everyone whom `find` finds; return the instant before the first.

    `found` is what `find` gave just before. It is asked again until it finds nobody new: one may fork while we look.
    """
    pids = find() if found is None else found
    instant = Instant(time.monotonic_ns())
    if group:
        _quietly(os.killpg, group, number)  # one system call for all: no member can fork in between
    seen: set[int] = set()
    for _ in range(_ROUNDS_MAX):
        for pid in pids:
            _quietly(os.kill, pid, number)
        seen.update(pids)
        pids = tuple(pid for pid in find() if pid not in seen)
        if not pids:
            break
    return instant


def parent_of(pid: int) -> int:
    """0 if there is no such process, or its parent is outside of our pid namespace."""
    stat = _stat(pid)
    return 0 if stat is None else stat[0]


def wait_until_gone(pids: Iterable[int], timeout_s: float) -> bool:
    """Whether all of `pids` ended (zombies count as ended) within the time."""
    deadline = time.monotonic() + timeout_s
    left = set(pids)
    while True:
        left = {pid for pid in left if _stat(pid) is not None}
        if not left or time.monotonic() > deadline:
            return not left
        time.sleep(0.001)


def _quietly(send: Callable[[int, int], None], target: int, number: int) -> None:
    try:
        send(target, number)
    except ProcessLookupError:
        pass


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and session of a process, None if it is dead or gone (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name is in parentheses and may hold anything, parentheses included.
            state, parent, _, session = file.read().rpartition(b")")[2].split(None, 4)[:4]
    except OSError:
        return None
    return None if state in b"ZX" else (int(parent), int(session))
