"""Faults of the kernels' tables of flows: more news at once than anybody holds, and no room for a copy."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from understudy.config.drills import Values
from understudy.drill import bounds, flowtable
from understudy.drill.agreement import AGREED_MAX, LOOK_EVERY_S, agreed, list_injected
from understudy.drill.fault import Fault, NotSettled, Strike, now
from understudy.drill.flowfaults import replicators, thaw
from understudy.drill.flowtable import NETLINK_NETFILTER
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NodeName
from understudy.wire.marks import flow_mark

_BATCH: Final = 256
_LASTS_S: Final = 300
"""Injected flows go by themselves after this, whatever becomes of us."""
_ROOM: Final = 20_000
"""Flows of a table that are filled, or freed, at the strike itself."""
CARRIED_RATE: Final = 60_000
"""News a second that a pair on one machine carries without losing any, at least."""
FETCHED_RATE: Final = 20_000
"""Flows a second that are found missing and fetched, at least: 200 000 in the ten seconds of a copy from scratch."""
_TABLE_MAX: Final = 1 << 20
"""A larger table is not filled: a million flows take a third of a gigabyte of the machine's memory."""


def event_overrun(values: Values) -> Fault:
    entries = int(values["entries"])
    return Fault(
        "event-overrun",
        "More flows begin at once on the active than its replicator's socket holds news of.",
        prepare=lambda s: Injection(s, s.active, flow_mark(0, s.group.number)),
        inject=lambda s: _overrun(s, entries),
        during=_watch_for_copies,
        heal=_take_away,
        check=_overran,
        bound=bounds.untouched,
        keeps_flows=True,
    )


def conntrack_full(values: Values) -> Fault:
    return Fault(
        "conntrack-full",
        "The standby's table of flows is full: its kernel takes no copy any more.",
        prepare=_fillable,
        inject=_fill,
        heal=_make_room,
        heal_after=lambda _: int(values["duration"]),
        lasts=lambda _: SECOND,
        check=_was_full,
        bound=bounds.untouched,
        keeps_flows=True,
    )


class Injection:
    """Flows of nobody in one node's kernel; closing takes them away."""

    def __init__(self, strike: Strike, node: NodeName, mark: int) -> None:
        self._namespace = strike.lab.namespaces[node]
        self._table = self._namespace.run(flowtable.open_table)
        self._mark = mark
        self.made = 0
        self.refused = 0

    def make(self, count: int, *, until_refused: bool = False) -> None:
        """As fast as can be; until the table is full, if so wanted."""
        while self.made < count:
            numbers = range(self.made, min(count, self.made + _BATCH))
            results = flowtable.create(
                self._table, [flowtable.synthetic(number, self._mark, _LASTS_S) for number in numbers]
            )
            self.made += len(numbers)
            refused = sum(times for number, times in results.items() if number not in (0, errno.EEXIST))
            self.refused += refused
            if refused and until_refused:
                return

    def take_away(self, keep: int = 0) -> None:
        """All but the first `keep`."""
        while self.made > keep:
            numbers = range(max(keep, self.made - _BATCH), self.made)
            flowtable.remove(self._table, [flowtable.synthetic(number, self._mark, _LASTS_S) for number in numbers])
            self.made -= len(numbers)

    def close(self) -> None:
        self.take_away()
        self._table.close()


def _overrun(strike: Strike, entries: int) -> Instant:
    """The replicator does not get to run meanwhile, or a fast one would keep up with any burst."""
    assert isinstance(strike.tool, Injection)
    pids = replicators(strike, strike.active)
    before_it = _dropped(pids)
    before = now()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        strike.tool.make(entries)
        strike.measures["news_dropped"] = _dropped(pids) - before_it
    finally:
        thaw(strike, strike.active)
    took = now() - before
    strike.measures["entries_per_s"] = round(entries * SECOND / max(1, took))
    strike.measures["burst_ms"] = round(took / MILLISECOND, 3)
    return before


def copied_within(entries: int, news_dropped: int, written_rate: float) -> Duration:
    """What may pass from a burst to its last copy: to find out what was lost and agree about it, to fetch that at the
    rate of a copy from scratch, and to carry the news that stayed.

    `written_rate` is at how many flows a second we ourselves wrote the burst: the rates are those of a machine with
    nothing else to do, and on one that was slower then, carrying is slower in proportion.
    """
    lost = min(entries, news_dropped)
    carrying = lost / FETCHED_RATE + (entries - lost) / CARRIED_RATE
    return AGREED_MAX + round(carrying * max(1.0, CARRIED_RATE / written_rate) * SECOND)


def _watch_for_copies(strike: Strike, struck: Instant) -> None:
    """How long after the burst the standby's kernel holds all of it, at most: a listing takes time itself.

    Listing so many flows takes the CPU that carrying them needs: not before there can be as many as there must be.
    """
    active, standby = (strike.lab.namespaces[node] for node in (strike.active, strike.standby))
    assert isinstance(strike.tool, Injection)
    ended = struck + round(strike.measures["burst_ms"] * MILLISECOND)
    dropped, rate = int(strike.measures["news_dropped"]), max(1.0, strike.measures["entries_per_s"])
    within = copied_within(strike.tool.made, dropped, rate)
    strike.measures["copied_max_ms"] = round(within / MILLISECOND, 3)
    end = ended + within
    while standby.run(_count) < strike.tool.made and now() < end:
        time.sleep(LOOK_EVERY_S)
    while True:
        looked = now()
        missing = len(list_injected(active) - list_injected(standby))
        if not missing:
            strike.measures["copied_ms"] = round((now() - ended) / MILLISECOND, 3)
            return
        if looked >= end:
            strike.measures["not_copied"] = missing
            return
        time.sleep(LOOK_EVERY_S)


def _take_away(strike: Strike) -> None:
    assert isinstance(strike.tool, Injection)
    strike.tool.take_away()


def _overran(strike: Strike) -> list[str]:
    findings = []
    if not strike.measures["news_dropped"]:
        findings.append("the socket held all news: the fault did not do what it says (more entries are needed)")
    if "not_copied" in strike.measures:
        late = strike.measures["copied_max_ms"] / 1000
        findings.append(f"{strike.measures['not_copied']} flows not copied {late:.1f} s after the burst")
    return findings + agreed(strike)


def _fillable(strike: Strike) -> Injection:
    """Of this machine, not of the node: `nf_conntrack_max` cannot be set in a namespace, but counts in each."""
    most = _table_max()
    if most > _TABLE_MAX:
        raise NotSettled(f"nf_conntrack_max is {most} on this machine: too many flows to fill a table with")
    injection = Injection(strike, strike.standby, 0)
    injection.make(most - _ROOM)  # the bulk of it while nothing is measured
    return injection


def _count() -> int:
    """Flows of the calling thread's namespace."""
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


def _table_max() -> int:
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())


def _fill(strike: Strike) -> Instant:
    assert isinstance(strike.tool, Injection)
    before = now()
    strike.tool.make(_table_max() + _BATCH, until_refused=True)
    strike.measures["entries"] = strike.tool.made - strike.tool.refused
    strike.measures["refused"] = strike.tool.refused
    return before


def _make_room(strike: Strike) -> None:
    assert isinstance(strike.tool, Injection)
    strike.tool.take_away(keep=_table_max() - 2 * _ROOM)


def _was_full(strike: Strike) -> list[str]:
    findings = [] if strike.measures.get("refused") else ["the table took all: the fault did not do what it says"]
    return findings + agreed(strike)


def _dropped(pids: Sequence[int]) -> int:
    """News that the kernel could not hand to the netfilter sockets of these processes."""
    inodes = {inode for pid in pids for inode in _sockets_of(pid)}
    total = 0
    for line in Path(f"/proc/{pids[0]}/net/netlink").read_text().splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 10 and columns[1] == str(NETLINK_NETFILTER) and columns[9] in inodes:
            total += int(columns[8])
    return total


def _sockets_of(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found
