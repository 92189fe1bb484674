"""The peer's stream in order, into this kernel.

Payloads beyond the first missing one wait, at most WINDOW of them. What is in order is written in batches, few of them
outstanding, so that the kernel is busy while the next batch grows; only what `Written` has answered is acknowledged as
being in the kernel. Repairs of an agreement go through the same queue: everything has one order.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from understudy.core.replication.events import Record
from understudy.wire.flowsync import WINDOW, beyond_bitmap

OUTSTANDING_MAX = 2
BATCH_MAX = 512
"""Records of one Write, give or take a payload."""
QUEUE_MAX = 16384
"""Records that wait for the kernel; the credit that the origin gets ends there."""
_PAYLOAD_RECORDS = 8
"""Of a payload, for the credit: an ordinary record has 150 bytes."""

Arrived = tuple[int, list[tuple[int, bytes]]]
"""Sequence number and records of a payload whose turn it is."""


@dataclass(frozen=True, slots=True)
class _Item:
    ticket: int
    through: int
    records: Sequence[Record]


class Replica:
    """The stream of one peer."""

    def __init__(self) -> None:
        self.stream = 0
        """Of the peer's present start; 0: never heard."""
        self.received = 0
        self.written = 0
        self.refused = 0
        """Records that this kernel did not take."""
        self.gaps = 0
        self._beyond: dict[int, list[tuple[int, bytes]]] = {}
        self._queue: deque[_Item] = deque()
        self._queued = 0
        self._outstanding: dict[int, _Item] = {}
        self._given = 0
        self._done = 0
        self._old = 0
        """Tickets up to here belong to an earlier stream."""

    @property
    def waiting(self) -> int:
        """Records that are received and not yet in this kernel, as far as they are in order."""
        return self._queued + sum(len(item.records) for item in self._outstanding.values())

    @property
    def holes(self) -> bool:
        return bool(self._beyond)

    @property
    def ahead(self) -> int:
        """How far the last payload is beyond what is in order."""
        return max(self._beyond) - self.received if self._beyond else 0

    @property
    def credit(self) -> int:
        return max(0, min(WINDOW, (QUEUE_MAX - self._queued) // _PAYLOAD_RECORDS))

    @property
    def ticket(self) -> int:
        """Of what was queued last: `done` tells when it is in the kernel."""
        return self._given

    def done(self, ticket: int) -> bool:
        return self._done >= ticket

    def beyond(self) -> bytes:
        return beyond_bitmap(self.received, list(self._beyond)) if self._beyond else b""

    def adopt(self, stream: int, floor: int) -> None:
        """A new start of the peer: its stream begins at `floor` for us. What the old one brought is still written."""
        self.stream = stream
        self.received = self.written = floor - 1
        self._beyond.clear()
        self._old = self._given

    def arrive(self, sequence: int, records: list[tuple[int, bytes]]) -> Iterator[Arrived]:
        """What is in order because of it, each to be queued before the next is taken."""
        if self.waiting > 2 * QUEUE_MAX or len(self._queue) > 2 * QUEUE_MAX:
            return  # nobody who heeds the credit gets so far; it comes again
        if self.received < sequence <= self.received + WINDOW:
            self._beyond[sequence] = records
            yield from self._in_order()

    def skip(self, floor: int) -> Iterator[Arrived]:
        """What is below `floor` and has not arrived never will: go on without it."""
        if floor <= self.received + 1:
            return
        self.gaps += 1
        for sequence in sorted(self._beyond):
            if sequence < floor:
                self.received = sequence
                yield sequence, self._beyond.pop(sequence)
        self.received = floor - 1
        yield from self._in_order()

    def skip_holes(self) -> Iterator[Arrived]:
        """The peer is gone: take all that arrived."""
        return self.skip(max(self._beyond, default=0) + 1)

    def queue(self, records: Sequence[Record]) -> None:
        """Behind everything that was received so far."""
        self._given += 1
        self._queued += len(records)
        self._queue.append(_Item(self._given, self.received, records))

    @property
    def ready(self) -> bool:
        """Whether to write now: something waits, and the kernel has too little to do for it to grow meanwhile."""
        outstanding = len(self._outstanding)
        return bool(self._queue) and (
            not outstanding or (outstanding < OUTSTANDING_MAX and self._queued >= BATCH_MAX // 4)
        )

    def next_write(self, number: int) -> list[Record] | None:
        """What to write under this number, if `ready`; None if the payloads brought nothing for the kernel."""
        queue = self._queue
        batch: list[Record] = []
        while queue and len(batch) < BATCH_MAX:
            item = queue.popleft()
            batch.extend(item.records)
        self._queued -= len(batch)
        self._outstanding[number] = _Item(item.ticket, item.through, batch)
        if not batch and len(self._outstanding) == 1:
            self.wrote(number, 0)
            return None
        return batch

    def wrote(self, number: int, refused: int) -> bool:
        """False for an answer to nothing."""
        if number not in self._outstanding:
            return False
        self.refused += refused
        # Answers come in order; should one be missing, what is behind it vouches for it.
        for earlier in list(self._outstanding):
            item = self._outstanding.pop(earlier)
            self._done = item.ticket
            if item.ticket > self._old:
                self.written = max(self.written, item.through)
            if earlier == number:
                break
        return True

    def _in_order(self) -> Iterator[Arrived]:
        while (records := self._beyond.pop(self.received + 1, None)) is not None:
            self.received += 1
            yield self.received, records
