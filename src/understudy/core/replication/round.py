"""The replica's side of a round: what differs from the origin is wished for, written, and verified (see agreement)."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from understudy.core.replication.agreement import FLOWS_MAX, Census, Desk, Selection, flow_id, flow_ids
from understudy.core.replication.events import Kind, Record
from understudy.core.settings import FlowSettings
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Duration, Instant
from understudy.wire.conntrack import (
    BUCKETS,
    UNTOUCHED_S,
    bucket_of,
    describe,
    half_open,
    identity,
    mark_of,
    summary,
    timeout_of,
)
from understudy.wire.flowsync import (
    Compare,
    Scope,
    Word,
    encode_compare,
    encode_wants,
    read_count,
    read_digests,
    read_end,
    read_snapshot,
)

ASK_AGAIN: Duration = 250 * MILLISECOND
STALL: Duration = 10 * SECOND
"""Without any progress a round is given up."""
EXAMPLES_MAX = 10
_TURNS = 8
"""A bucket that differs and is touched is looked into in one of so many rounds: at a high rate all are touched."""
_SEEN = -1
"""In the place of a digest: this kernel has the flow."""
ENDS_AT_ONCE = 512
_RAWS_MAX = 2000
"""Snapshot entries kept for examples of a comparison by command."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a round. `proven`: the kernels agree, but for what was touched."""

    proven: bool
    detail: str = ""
    here: int = 0
    there: int = 0
    differed: int = 0
    """Buckets that differed at first, and were not touched."""
    repaired: int = 0
    mismatched: int = 0
    examples: tuple[str, ...] = ()
    again: bool = False
    """It got further and should be repeated at once."""


@dataclass(slots=True)
class _Verdict:
    differing: int = 0
    surplus: int = 0
    examples: list[str] = field(default_factory=list)

    def example(self, what: str, raw: bytes) -> None:
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{what}: {describe(raw)}")


class Round:
    """The replica's side. `outcome` is set when it is over.

    `first`: this kernel may be empty, so ask when it is known. Otherwise both kernels are listed at the same time.
    """

    def __init__(
        self,
        now: Instant,
        desk: Desk,
        flows: FlowSettings,
        request: Compare,
        *,
        known: bool = False,
        hold: bool = False,
        touched: Sequence[tuple[int, bytes]] = (),
        strange: Mapping[int, int] | None = None,
        first: bool = False,
    ) -> None:
        self.scope, self.groups, self.began = request.scope, request.groups, now
        self.number = request.round
        self.selection = Selection(flows, request.groups, request.scope)
        self.outcome: Outcome | None = None
        self.cost: Duration = 0
        """Time that the first listing took."""
        self.suspect = False
        """Untouched buckets differ."""
        self.there: dict[int, int] = {}
        self.progress = 0
        """Snapshot entries written so far, for people."""
        self.strange: dict[int, int] = dict(strange or {})
        """By bucket: what there the origin has and our file does not keep, as an earlier round found. While the nodes
        run different files, a bucket that differs by just that does not differ."""
        self.census = Census(self.selection)
        self.listing = self.drain = 0
        self.held = True
        self._known, self._hold = known, hold
        self._desk = desk
        self._flows = flows
        self._stream = request.stream
        self._request = request
        self._compare = encode_compare(request)
        self._everything = False
        """This kernel has no such flow: nothing is compared, all is wished for at once."""
        self._touched = flow_ids(touched)
        self._touched_buckets = bytearray(BUCKETS)
        self._theirs = array("Q", bytes(8 * BUCKETS))
        self._counted = self._told = False
        self._total = 0
        self._wanted = b""
        self._buckets: list[int] = []
        self._snapshot: dict[int, int] = {}
        self._strangers: set[int] = set()
        """Flows that count in `strange` already: a listing may tell a flow twice."""
        self._raws: dict[int, bytes] = {}
        self._answered = self._snapshotted = False
        self._verifying = self._verified = False
        self._ends: list[Record] = []
        """What the origin does not have, to be written together."""
        self._ended = True
        self._verdict = _Verdict()
        self._ticket = desk.ticket()
        self._opened = False
        self._last: Instant = now
        self._asked: Instant | None = None
        if not first:
            self._ask(now)

    @property
    def repairing(self) -> bool:
        return self.scope is not Scope.COMMAND

    def next_deadline(self) -> Instant:
        if self._answered or self._asked is None:
            return Instant(self._last + STALL)
        return Instant(min(self._asked + ASK_AGAIN, self._last + STALL))

    def advance(self, now: Instant) -> None:
        """Time has passed, or something was written."""
        if self.outcome is not None:
            return
        if self._ticket >= 0 and self._desk.done(self._ticket):
            self._ticket = -1
            self._last = now
            self._written(now)
        if now - self._last >= STALL:
            self.outcome = Outcome(False, "the round made no progress", self.census.entries, self._total)
        elif not self._answered and self._asked is not None and now - self._asked >= ASK_AGAIN:
            self._ask(now)

    def touch(self, records: Sequence[Record]) -> None:
        """The stream carried these."""
        for kind, raw in records:
            if kind <= Kind.GONE:
                try:
                    flow = identity(raw)
                except DecodeError:
                    continue
                self._touched.add(hash(flow))
                if not self._wanted:
                    self._touched_buckets[bucket_of(flow)] = 1
        if len(self._touched) > FLOWS_MAX:
            self._give_up("more flows changed than a round can remember")

    def listed(self, now: Instant, raws: Sequence[bytes], last: bool, failed: bool) -> None:
        self._last = now
        if failed:
            self.outcome = Outcome(False, "this kernel could not be listed")
            return
        if self._verifying:
            self._verify(raws)
        else:
            self.census.add(raws)
            if self._asked is None and self.census.counts:
                self._ask(now)
            if self._hold:
                self._hold_on(raws)
        if last:
            self.listing = 0
            self.drain = self._desk.drain()

    def drained(self, now: Instant) -> None:
        self.drain = 0
        self._last = now
        if self._verifying:
            self._end_surplus()
            self._verified = True
            self._ticket = self._desk.ticket()
        else:
            self._counted = True
            self.cost = now - self.began
            if self._asked is None:
                self._want_everything(now)
            else:
                self._compare_buckets(now)

    def word(self, now: Instant, word: int, content: bytes) -> Record | None:
        """The origin's word, in the order of its stream; what is to be written because of it."""
        match word:
            case Word.COUNT:
                number, group, entries = read_count(content)
                if number == self.number:
                    self.there[group] = entries
            case Word.DIGESTS:
                number, first, digests = read_digests(content)
                if number == self.number and not self._told:
                    self._answered, self._last = True, now
                    self._theirs[first : first + len(digests)] = array("Q", digests)
            case Word.DIGESTS_END:
                number, self._total, whole = read_end(content)
                if number == self.number and not self._told:
                    self._answered, self._last, self._told = True, now, True
                    if not whole:
                        self.outcome = Outcome(False, "the peer could not tell its flows")
                    self._compare_buckets(now)
            case Word.SNAPSHOT:
                number, raw = read_snapshot(content)
                if number == self.number and self._wanted:
                    return self._take(now, raw)
            case Word.SNAPSHOT_END:
                number, told, whole = read_end(content)
                if number == self.number and self._wanted and not self._snapshotted:
                    self._total = told if self._everything else self._total
                    self._answered, self._snapshotted, self._last = True, True, now
                    if not whole:
                        self.outcome = Outcome(
                            False, "the peer could not tell all of its flows", repaired=self.progress, again=True
                        )
                    self._ticket = self._desk.ticket() + 1  # of the payload that this word is in
        return None

    def _written(self, now: Instant) -> None:
        """What the stage waited for is in this kernel: list it, or all is done."""
        if self._verified:
            self._judge()
            return
        if not self._opened:
            self._opened = True
            self.began = now
        else:
            self._verifying = True
        self.listing = self._desk.list_kernel(self.groups, urgent=self._request.urgent)

    def _ask(self, now: Instant) -> None:
        """For the first time, or again."""
        self._asked = now
        wants = self._wanted and not self._everything
        self._desk.tell(encode_wants(self._stream, self.number, self._buckets) if wants else [self._compare])

    def _want_everything(self, now: Instant) -> None:
        self._everything = self._told = True
        self._differed = BUCKETS
        self._wanted = bytes([1]) * BUCKETS
        self.strange.clear()
        self._compare = encode_compare(replace(self._request, empty=True))
        self._ask(now)

    def _compare_buckets(self, now: Instant) -> None:
        if not (self._counted and self._told) or self.outcome is not None:
            return
        differing = [
            bucket
            for bucket, (ours, theirs) in enumerate(zip(self.census.digests, self._theirs, strict=True))
            if ours != theirs and ours ^ theirs != self.strange.get(bucket)
        ]
        touched = self._touched_buckets
        untouched = sum(not touched[bucket] for bucket in differing)
        if self._known and self.repairing:
            differing = [b for b in differing if not touched[b] or b % _TURNS == self.number % _TURNS]
        self.suspect = untouched > 0
        here = self.census.entries
        if not differing:
            self.outcome = Outcome(True, "", here, self._total)
            return
        self._differed = untouched
        self._buckets = differing
        wanted = bytearray(BUCKETS)
        for bucket in differing:
            wanted[bucket] = 1
            self.strange.pop(bucket, None)
        self._wanted = bytes(wanted)
        self._answered = False
        self._ask(now)

    def _take(self, now: Instant, raw: bytes) -> Record | None:
        self._answered, self._last = True, now
        if half_open(raw):
            return None
        mark, bucket, digest = summary(raw)
        if not self._wanted[bucket]:
            return None
        flow = flow_id(raw)
        ours = self.selection.group(mark) > 0
        if ours:
            self._snapshot[flow] = digest
        elif flow not in self._strangers:
            self._strangers.add(flow)
            self.strange[bucket] = self.strange.get(bucket, 0) ^ digest
        if len(self._snapshot) + len(self._strangers) > FLOWS_MAX:
            self._give_up("more flows differ than a round can remember")
        if not ours:
            return None
        if not self.repairing:
            if len(self._raws) < _RAWS_MAX:
                self._raws[flow] = raw
            return None
        self.progress += 1
        return Kind.CHANGED, raw

    def _give_up(self, why: str) -> None:
        self._touched, self._strangers, self._snapshot = set(), set(), {}
        self.outcome = self.outcome or Outcome(False, why, self.census.entries, self._total)

    def _hold_on(self, raws: Sequence[bytes]) -> None:
        """This kernel was the original: what it has becomes copies, which hold until the origin ends them."""
        records = []
        for raw in raws:
            try:
                if timeout_of(raw) > UNTOUCHED_S or not self.selection.group(mark_of(raw)) or half_open(raw):
                    continue
                if flow_id(raw) not in self._touched:
                    records.append((Kind.CHANGED, raw))
            except DecodeError:
                continue
        if records and not self._desk.write(records):
            self.held = False

    def _verify(self, raws: Sequence[bytes]) -> None:
        verdict, snapshot, wanted, group_of = self._verdict, self._snapshot, self._wanted, self.selection.group
        for raw in raws:
            try:
                mark, bucket, digest = summary(raw)
            except DecodeError:
                continue
            if not wanted[bucket] or not group_of(mark):
                continue
            flow = flow_id(raw)
            theirs = snapshot.get(flow)
            if flow in self._touched or theirs == _SEEN:
                continue  # a listing may tell a flow twice
            if theirs is None:
                if self._flows.spares(mark, self.began):
                    continue
                verdict.surplus += 1
                if self.repairing:
                    self._ends.append((Kind.GONE, raw))
                else:
                    verdict.example("only here", raw)
                continue
            snapshot[flow] = _SEEN
            if theirs != digest:
                verdict.differing += 1
                verdict.example("differs", raw)
        if len(self._ends) >= ENDS_AT_ONCE:
            self._end_surplus()

    def _end_surplus(self) -> None:
        if self._ends:
            self.progress += len(self._ends)
            self._ended = self._desk.write(self._ends) and self._ended
            self._ends = []

    def _judge(self) -> None:
        verdict = self._verdict
        missing = [flow for flow, digest in self._snapshot.items() if digest != _SEEN and flow not in self._touched]
        for flow in missing:
            if flow in self._raws:
                verdict.example("only there", self._raws[flow])
        wrong = verdict.differing + len(missing)
        here, there = self.census.entries, self._total
        examples = tuple(verdict.examples)
        if not self.repairing:
            self.outcome = Outcome(True, "", here, there, self._differed, 0, wrong + verdict.surplus, examples)
            return
        detail = f"{len(missing)} flows are missing here, {verdict.differing} differ" if wrong else ""
        if not self._ended:
            detail = "more flows were to be ended than could be written at once"
        proven = self._ended and not wrong
        self.outcome = Outcome(
            proven, detail, here, there, self._differed, self.progress, wrong, examples, again=not self._ended
        )
