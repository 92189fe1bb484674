"""The origin's side of a round: its digests, and then the flows of the buckets that differ (see agreement)."""

from collections.abc import Callable, Sequence
from enum import IntEnum

from understudy.core.replication.agreement import FLOWS_MAX, Census, Desk, Selection, flow_ids
from understudy.core.replication.events import Record
from understudy.core.settings import FlowSettings
from understudy.errors import DecodeError
from understudy.wire.conntrack import BUCKETS, bucket_of, half_open, identity, mark_of, portable
from understudy.wire.flowsync import (
    PARTS,
    SNAPSHOT_MAX,
    Compare,
    Scope,
    Want,
    Word,
    count_content,
    digests_contents,
    end_content,
    read_wants,
    snapshot_content,
)


class _Stage(IntEnum):
    WAITING = 1
    """For what was received before to be written."""
    COUNTING = 2
    COUNTED = 3
    WANTED = 4
    """Like WAITING: what is written here later, and no news, must not be told as it was before."""
    READING = 5
    DONE = 6


class Answer:
    """The origin's side of one round."""

    def __init__(self, desk: Desk, flows: FlowSettings, request: Compare, owned: Callable[[], int]) -> None:
        self.stream, self.round, self.scope = request.stream, request.round, request.scope
        self.census = Census(Selection(flows, request.groups, request.scope))
        self.stage = _Stage.WAITING
        self.listing = self.drain = 0
        self._desk = desk
        self._groups = request.groups
        self._empty, self._urgent = request.empty, request.urgent
        self._owned = owned
        self._selection = self.census._selection
        self._ticket = desk.ticket()
        self._parts: list[bytes | None] = [None] * PARTS
        self._wanted = b""
        self._touched: set[int] = set()
        self._told = 0
        self._whole = True
        self.advance()

    def advance(self) -> None:
        if self.stage in (_Stage.WAITING, _Stage.WANTED) and self._desk.done(self._ticket):
            if self._empty:
                self._wanted = bytes([1]) * BUCKETS
            self.stage = _Stage.READING if self._wanted else _Stage.COUNTING
            self.listing = self._desk.list_kernel(self._groups, urgent=self._urgent)

    def touch(self, records: Sequence[Record]) -> None:
        """These left in the stream."""
        if self.stage in (_Stage.WAITING, _Stage.WANTED, _Stage.READING):
            self._touched.update(flow_ids(records))
            if len(self._touched) > FLOWS_MAX:
                self._whole, self._touched = False, set()

    def want(self, want: Want) -> None:
        if self.stage is not _Stage.COUNTED or want.round != self.round or want.stream != self.stream:
            return
        self._parts[want.part] = want.bitmap
        parts = [part for part in self._parts if part is not None]
        if len(parts) == PARTS:
            self._wanted = read_wants(parts)
            self.stage, self._ticket = _Stage.WANTED, self._desk.ticket()
            self.advance()

    def listed(self, raws: Sequence[bytes], last: bool, failed: bool) -> None:
        self._whole = self._whole and not failed
        if self.stage is _Stage.COUNTING:
            self.census.add(raws)
        elif self.stage is _Stage.READING and self._whole:
            self._read(raws)
        if last:
            self.listing = 0
            if self.scope is Scope.REPLICATE and (self.stage is _Stage.READING or self._urgent):
                self._desk.recall(self._groups)  # what a replica that lacks flows lacks as well, perhaps
            self.drain = self._desk.drain()

    def drained(self) -> None:
        """All news up to the listing's end is in the stream."""
        self.drain = 0
        # Only an original's word ends flows in the other kernel.
        whole = self._whole and (self.scope is Scope.COMMAND or not self._groups & ~self._owned())
        if self.stage is _Stage.COUNTING:
            self._say_counts()
            for content in digests_contents(self.round, self.census.digests):
                self._desk.say(Word.DIGESTS, content)
            self._desk.say(Word.DIGESTS_END, end_content(self.round, self.census.entries, whole))
            self.stage = _Stage.COUNTED
        elif self.stage is _Stage.READING:
            if self._empty:
                self._say_counts()
            self._desk.say(Word.SNAPSHOT_END, end_content(self.round, self._told, whole))
            self.stage = _Stage.DONE
            self._touched = set()

    def _say_counts(self) -> None:
        for group, entries in self.census.counts.items():
            self._desk.say(Word.COUNT, count_content(self.round, group, entries))

    def _read(self, raws: Sequence[bytes]) -> None:
        counts = self.census.counts
        for raw in raws:
            try:
                group = self._selection.group(mark_of(raw))
                if not group or half_open(raw):
                    continue
                if self._empty:
                    counts[group] = counts.get(group, 0) + 1
                flow = identity(raw)
                if not self._wanted[bucket_of(flow)] or hash(flow) in self._touched:
                    continue
            except DecodeError:
                continue
            raw = portable(raw)  # noqa: PLW2901
            if len(raw) > SNAPSHOT_MAX or self._desk.crowded():
                # The peer is slower than our reading: what it got is written, and the next round has less to do.
                self._whole = False
                return
            self._desk.say(Word.SNAPSHOT, snapshot_content(self.round, raw))
            self._told += 1
