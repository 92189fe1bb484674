"""What kernels and processes hold, by the kernel's own account: conntrack tables, lost events, CPU and memory.

The judge is none of the contenders: tables are read and decoded as the drill does it, lost events taken from
/proc/net/netlink. Functions that say "here" ask the calling thread's namespace: `lab.namespaces[node].run(count_here)`.
"""

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from understudy.drill.flowtable import (
    IPCTNL_MSG_CT_GET,
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Flow,
    decode,
    messages,
    open_table,
)
from understudy.wire.marks import GROUP_MASK

_IPS_SEEN_REPLY = 1 << 1
_TCP, _ESTABLISHED = 6, 3
_DUMP_TIMEOUT_S = 30
_NEW_UPDATE_DESTROY = 0b111
"""Groups of the netlink socket (nfnetlink_compat.h); others are for rules and expectations."""

Identity = tuple[bytes, bytes]
"""Both tuples of an entry, and its zone."""


# -- conntrack --


def raw_dump(sock: socket.socket) -> list[bytes]:
    """The whole table as datagrams, not looked into: that can wait. Raises OSError if the kernel refuses."""
    head = struct.pack("=IHHII", 20, IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    sock.settimeout(_DUMP_TIMEOUT_S)
    sock.send(head + struct.pack("=BBH", socket.AF_UNSPEC, 0, 0))
    parts = []
    while True:
        data = sock.recv(1 << 18)
        parts.append(data)
        # What ends it comes first in a datagram of its own, or last in one: its size tells.
        for kind, _, payload in messages(data) if len(data) < 64 else messages(data[-20:]):
            if kind == NLMSG_ERROR:
                raise OSError(-struct.unpack_from("=i", payload)[0], "dump of conntrack")
            if kind == NLMSG_DONE:
                return parts


def flows_in(parts: Iterable[bytes]) -> Iterator[Flow]:
    """What a dump holds."""
    for data in parts:
        for kind, _, payload in messages(data):
            if kind >> 8:
                yield decode(payload)


def identity(flow: Flow) -> Identity:
    return flow.key, flow.reply


def steady(table: Iterable[Flow]) -> set[Identity]:
    """Flows that are worth keeping: forwarded for a group, established (TCP) or answered (the rest)."""
    return {
        identity(flow)
        for flow in table
        if flow.mark & GROUP_MASK
        and (flow.state == _ESTABLISHED if flow.key[1] == _TCP else bool(flow.status & _IPS_SEEN_REPLY))
    }


def dump_here() -> list[bytes]:
    with open_table() as sock:
        return raw_dump(sock)


def count_here() -> int:
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


def drops_here() -> int:
    """Events that sockets of netfilter's could not hold, since they were opened."""
    return drops_in(netlink_here())


def drops_in(table: str) -> int:
    """Out of /proc/net/netlink."""
    return sum(int(row[8]) for row in _listening(table))


def listeners_in(table: str) -> set[str]:
    """Inodes of the sockets that hear conntrack's news, out of /proc/net/netlink."""
    return {row[9] for row in _listening(table)}


def _listening(table: str) -> list[list[str]]:
    """Rows: sk, protocol, port, groups, receive and write queue, dump, locks, drops, inode."""
    rows = [line.split() for line in table.splitlines()[1:]]
    netfilter = (row for row in rows if len(row) >= 10 and row[1] == str(NETLINK_NETFILTER))
    return [row for row in netfilter if int(row[3], 16) & _NEW_UPDATE_DESTROY]


# -- processes --


def listeners(table: str, pids: Iterable[int]) -> list[int]:
    """Which of the processes hear conntrack's news: of a node's daemons, those that replicate."""
    inodes = {f"socket:[{inode}]" for inode in listeners_in(table)}
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            if inodes.intersection(links):
                found.append(pid)
    return found


def netlink_here() -> str:
    return Path("/proc/thread-self/net/netlink").read_text()


def cpu_ns(pids: Iterable[int]) -> dict[int, int]:
    """Time on a CPU of each process since it began, all of its threads, by the scheduler's clock."""
    found = {}
    for pid in pids:
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
            found[pid] = sum(int(Path(f"/proc/{pid}/task/{t}/schedstat").read_text().split()[0]) for t in tasks)
        except OSError:
            continue
    return found


def spent_s(before: dict[int, int], after: dict[int, int]) -> dict[int, float]:
    """Seconds of CPU of each process between two readings; one that was born in between counts whole."""
    return {pid: (total - before.get(pid, 0)) / 1e9 for pid, total in after.items()}


_MEMORY = re.compile(r"^(Pss|Rss|Private_\w+):\s+(\d+) kB", re.MULTILINE)


def memory_kb(pids: Sequence[int]) -> dict[str, int]:
    """Proportional and resident memory of all the processes together."""
    totals = {"pss": 0, "rss": 0}
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for name, size in _MEMORY.findall(text):
            if name.lower() in totals:
                totals[name.lower()] += int(size)
    return totals


def names(pids: Iterable[int]) -> dict[int, str]:
    """What each process calls itself."""
    found = {}
    for pid in pids:
        try:
            found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
    return found
