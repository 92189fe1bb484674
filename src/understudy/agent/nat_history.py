"""The history of translations as a file, and the loop that feeds it from the kernel's news of flows.

Off unless somebody runs it: `follow` is the whole of a process, in the namespace whose flows it is to keep; it needs
CAP_NET_ADMIN there and the file. News that the socket could not hold are made up for by a list of the table: what began
and ended in between is not known, and counted.
"""

import contextlib
import fcntl
import mmap
import os
import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from understudy.adapters.conntrack import FlowEvents, FlowTable
from understudy.agent.nat_view import flow_of
from understudy.core.replication.events import Kind, Record
from understudy.errors import DecodeError, OperatorError
from understudy.ios.history import HEADER, SIZE_MAX, SIZE_MIN, Past, Ring, past_of
from understudy.ios.model import Configuration
from understudy.ios.translations import Flow, row_of, rules_of
from understudy.units import MILLISECOND
from understudy.wire.conntrack.flow import decode, started_ns
from understudy.wire.marks import GROUP_MAX

DEFAULT_SIZE = 64 << 20
"""Some one and a half million flows."""
READ_MAX = 4096
BUFFER_BYTES = 8 << 20
_GROUPS = frozenset(range(GROUP_MAX + 1))


class HistoryFile:
    """A ring in a file of at most `size` bytes. Raises OperatorError E7130, or E7131 if it is something else."""

    def __init__(self, path: Path, size: int = DEFAULT_SIZE, *, write: bool = True) -> None:
        if not SIZE_MIN <= size <= SIZE_MAX:
            raise OperatorError("E7131", f"a history of {size} bytes", f"{SIZE_MIN} to {SIZE_MAX} bytes")
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW if write else os.O_RDONLY | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise OperatorError("E7130", f"cannot open {path}: {error.strerror}", "see --history") from error
        try:
            self._map = self._mapped(path, size, write)
            self.ring = Ring(self._map)
        except BaseException:
            os.close(self._fd)
            raise

    def _mapped(self, path: Path, size: int, write: bool) -> mmap.mmap:
        try:
            if write:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(self._fd).st_size:
                    # Blocks now: a disk that is full later would end the writer with a signal.
                    os.posix_fallocate(self._fd, 0, size)
            # The size that it was made with stays.
            mapped = mmap.mmap(self._fd, 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
            if not write and not any(mapped[:HEADER]):
                mapped.close()
                raise ValueError  # it is only being made
            return mapped
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is empty"
            raise OperatorError("E7130", f"cannot use {path}: {reason}", "one process writes it at a time") from error

    def close(self) -> None:
        self._map.close()
        os.close(self._fd)


class NatHistory:
    """Flows of the kernel on their way into a ring."""

    def __init__(self, ring: Ring, configuration: Configuration) -> None:
        self._ring = ring
        self._rules = rules_of(configuration)
        self.missed = 0
        """Times that news were lost."""

    def seed(self, raws: Iterable[bytes], now_ms: int) -> None:
        """All flows that there are: what the ring has going on beyond them has ended, unseen."""
        there = {past.key: past for past in self._translated(raws, now_ms)}
        for key in self._ring.going():
            if key not in there:
                self._ring.end(key, now_ms)
        for past in there.values():
            self._ring.begin(past)

    def feed(self, records: Iterable[Record], now_ms: int) -> None:
        """News, in order."""
        for kind, raw in records:
            if kind not in (Kind.CHANGED, Kind.GONE):
                continue
            for past in self._translated((raw,), now_ms):
                if kind is Kind.GONE:
                    self._ring.end(past.key, now_ms)
                else:
                    self._ring.begin(past)

    def _translated(self, raws: Iterable[bytes], now_ms: int) -> Iterable[Past]:
        for raw in raws:
            try:
                flow: Flow | None = flow_of(decode(raw))
                began_ns = started_ns(raw)
            except DecodeError:
                continue
            if flow is not None and flow.changed:
                # A listing says when the kernel made an entry; news come at once.
                begin_ms = now_ms if began_ns is None else min(now_ms, began_ns // MILLISECOND)
                past = past_of(row_of(self._rules, flow), begin_ms)
                if past is not None:
                    yield past


def follow(
    path: Path,
    configuration: Configuration,
    size: int = DEFAULT_SIZE,
    stopped: Callable[[], bool] = lambda: False,
    told: Callable[[int], object] = lambda missed: None,
    buffer_bytes: int = BUFFER_BYTES,
) -> None:
    """Keep the history of this namespace until `stopped`. `told`: how many times news were lost, each time.

    Raises OperatorError if the file cannot be used.
    """
    file = HistoryFile(path, size)
    events = FlowEvents(0, buffer_bytes)
    table = FlowTable()
    history = NatHistory(file.ring, configuration)
    try:
        _seed(history, table)
        while not stopped():
            select.select([events.socket], [], [], 1.0)
            records, overrun = events.read(READ_MAX)
            history.feed(records, _now_ms())
            if overrun is not None and overrun.over:  # a list that is made before would miss some, too
                history.missed += 1
                told(history.missed)
                _seed(history, table)
    finally:
        for each in (table, events, file):
            with contextlib.suppress(OSError):
                each.close()


def _seed(history: NatHistory, table: FlowTable) -> None:
    raws = [raw for part in table.list(_GROUPS) for raw in part]
    history.seed(raws, _now_ms())


def _now_ms() -> int:
    return time.time_ns() // MILLISECOND
