"""What the kernel tells of its network while something is done: `ip monitor`, from the first word to the last."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 10.0
LATE_S = 0.1
"""Some news come a moment after their cause."""


def news_while(act: Callable[[], object], *kinds: str) -> str:
    """Of these kinds, in this thread's network namespace."""
    with subprocess.Popen(["ip", "monitor", *kinds], stdout=subprocess.PIPE, text=True) as monitor:
        try:
            _until(lambda: _listens(monitor.pid))
            act()
            time.sleep(LATE_S)
            _until(lambda: _listens(monitor.pid) and _sleeps(monitor.pid))
        finally:
            monitor.terminate()
        return monitor.communicate()[0]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "ip monitor neither listens nor comes to its end"
        time.sleep(0.005)


def _listens(pid: int) -> bool:
    """Whether a socket of the process is in groups of rtnetlink (protocol 0), and nothing waits in it."""
    for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
        _, protocol, owner, groups, waiting, *_ = line.split()
        if (protocol, owner) == ("0", str(pid)) and int(groups, 16):
            return waiting == "0"
    return False


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
