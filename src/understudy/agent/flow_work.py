"""What a replicator does to its kernel's flows, in parts: writes, lists and renewals, a bounded piece of each a turn.

Several may be under way: writes go first, joined to batches; lists are read one after the other, each chunk handed over
before the next is read; renewals of timeouts have their own pace beside.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from understudy.core.replication.effects import Cancel, List, Recall, Renew, Write
from understudy.core.replication.events import Event, KernelChanged, Listed, Record, TableFull, Written
from understudy.errors import EnvironmentFailure
from understudy.units import MILLISECOND, SECOND, Duration, Instant

WRITES_MAX = 1000
"""Records that go into the kernel in one turn: some 10 ms."""
RENEW_PACE = 20_000
"""Entries a second."""
CROWDED_PAUSE: Duration = 5 * MILLISECOND
"""Of a listing, while a peer takes less than it is sent."""
LISTS_MAX = 64
"""That wait; the machine has a few at a time."""


class Table(Protocol):
    """This kernel's flows (adapters.conntrack)."""

    @property
    def refusals(self) -> Mapping[str, int]:
        """Records that the kernel would not take, by reason."""

    def write(self, records: list[Record]) -> int:
        """Into the kernel, in order; returns how many it refused."""

    def renew(self, groups: frozenset[int]) -> Iterator[int]:
        """Give copies that no packet has touched the timeout of their protocol: a part a step, and how many it were."""

    def count(self) -> int:
        """Entries in the whole table."""

    def limit(self) -> int:
        """How many it takes."""

    def recall(self, groups: frozenset[int]) -> Sequence[Record]:
        """Standing expectations, each behind its master: at most some hundred. Raises EnvironmentFailure."""

    def list(self, groups: frozenset[int]) -> Iterator[list[bytes]]:
        """In chunks of a few milliseconds; others may write between two of them. Raises EnvironmentFailure."""


@dataclass(slots=True)
class _Delayed:
    due: int
    write: Write


@dataclass(slots=True)
class _Listing:
    number: int
    parts: Iterator[list[bytes]]
    pace: int
    due: int = 0
    begun: bool = False
    wanted: bool = True
    """False: it is read to its end, for the next one's sake, and told to nobody."""


@dataclass(slots=True)
class _Renewal:
    groups: frozenset[int]
    parts: Iterator[int]
    due: int = 0


class FlowWork:
    """`feed` takes what became of it, `complain` what went wrong: operation and reason. `delay` holds writes back, and
    `crowded` lists.
    """

    def __init__(
        self,
        table: Table,
        feed: Callable[[Event], None],
        complain: Callable[[str, str], None],
        delay: Duration = 0,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._table = table
        self._feed = feed
        self._complain = complain
        self._delay = delay
        self._crowded = crowded
        self._counted: dict[str, int] = {}
        self._full = False
        """The table had no room for a record, and none has been seen since."""
        self._writes: deque[_Delayed] = deque()
        """No more than the machine gave its peer credit for."""
        self._lists: deque[_Listing] = deque()
        self._renewals: deque[_Renewal] = deque()

    def write(self, now: Instant, effect: Write) -> None:
        self._writes.append(_Delayed(now + self._delay, effect))

    def list(self, now: Instant, effect: List) -> None:
        if len(self._lists) >= LISTS_MAX:
            self._feed(Listed(effect.number, (), last=True, failed=True))
            return
        self._lists.append(_Listing(effect.number, iter(self._table.list(effect.groups)), effect.pace))

    def recall(self, now: Instant, effect: Recall) -> None:
        """As if the kernel told them now. A failure leaves them to the next round."""
        try:
            records = self._table.recall(effect.groups)
        except (EnvironmentFailure, OSError) as error:
            self._complain("list expectations", str(error))
            return
        if records:
            self._feed(KernelChanged(records))

    def cancel(self, now: Instant, effect: Cancel) -> None:
        self._lists = deque(each for each in self._lists if each.begun or each.number != effect.number)
        for each in self._lists:
            if each.number == effect.number:
                each.wanted, each.pace, each.due = False, 0, now

    def renew(self, now: Instant, effect: Renew) -> None:
        self._renewals.append(_Renewal(effect.groups, self._table.renew(effect.groups)))

    def stop_renewing(self, now: Instant, number: int) -> None:
        """Of a group that another kernel is the original of: its copies here hold the long timeout again."""
        before, self._renewals = self._renewals, deque()
        for renewal in before:
            if number not in renewal.groups:
                self._renewals.append(renewal)
            elif renewal.groups - {number}:
                self.renew(now, Renew(renewal.groups - {number}))

    def due(self) -> tuple[int, ...]:
        """When there is something to do, of each kind."""
        first = (queue[0].due for queue in (self._writes, self._lists, self._renewals) if queue)
        return tuple(first)

    def turn(self, now: int) -> None:
        """A bounded part of what is due."""
        self._write_some(now)
        self._list_some(now)
        self._renew_some(now)

    def look(self) -> None:
        """How full the table is. To be called once a second."""
        with contextlib.suppress(EnvironmentFailure, OSError):
            entries, limit = self._table.count(), self._table.limit()
            self._counted = {"entries": entries, "limit": limit}
            if self._full and (entries < limit or not limit):
                self._full = False
                self._feed(TableFull(False))

    def status(self) -> dict[str, Any]:
        return {"table": self._counted, "full": self._full, "refusals": dict(self._table.refusals)}

    def _write_some(self, now: int) -> None:
        """Joined to a batch; each Write is answered."""
        batch: list[Write] = []
        records: list[Record] = []
        while self._writes and self._writes[0].due <= now and len(records) < WRITES_MAX:
            write = self._writes.popleft().write
            batch.append(write)
            records += write.records
        if not batch:
            return
        had = self._without_room()
        refused = self._table.write(records) if records else 0
        if refused and self._without_room() > had:
            self._full = True
            self._feed(TableFull(True))
        for write in batch[:-1]:
            self._feed(Written(write.number))
        self._feed(Written(batch[-1].number, refused))

    def _without_room(self) -> int:
        """ENOMEM is the kernel's word for a full table (nf_conntrack_alloc)."""
        return sum(count for reason, count in self._table.refusals.items() if reason.endswith("ENOMEM"))

    def _list_some(self, now: int) -> None:
        """One chunk of the list that is under way."""
        if not self._lists or self._lists[0].due > now:
            return
        listing, failed = self._lists[0], False
        if listing.wanted and self._crowded():
            listing.due = now + CROWDED_PAUSE
            return
        listing.begun = True
        try:
            entries = next(listing.parts, None)
        except (EnvironmentFailure, OSError) as error:
            if listing.wanted:
                self._complain("list flows", str(error))
            entries, failed = None, True
        if entries is None:
            self._lists.popleft()
            if listing.wanted:
                self._feed(Listed(listing.number, (), last=True, failed=failed))
            return
        if not listing.wanted:
            return
        if listing.pace:
            listing.due = max(now, listing.due) + len(entries) * SECOND // listing.pace
        self._feed(Listed(listing.number, entries, last=False))

    def _renew_some(self, now: int) -> None:
        """One part; a failure leaves copies with the long timeout, which is no harm."""
        if not self._renewals or self._renewals[0].due > now:
            return
        renewal = self._renewals[0]
        try:
            count = next(renewal.parts, None)
        except (EnvironmentFailure, OSError) as error:
            self._complain("renew flows", str(error))
            count = None
        if count is None:
            self._renewals.popleft()
        else:
            renewal.due = max(now, renewal.due) + max(count, 1) * SECOND // RENEW_PACE
