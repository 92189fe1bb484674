"""One pool: which address is next, and when there will be none.

Addresses are handed out in ascending order; after a release the search goes on from the last one handed out and comes
back to the beginning only at the end (docs/reference/nat.md). What is somebody's own is never handed out: an address
of a static entry or of an interface, or one that another pool has given.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Container, Iterator, Sequence

from understudy.core.allocation.records import PoolSettings
from understudy.units import SECOND, Duration, Instant

Range = tuple[int, int]
WINDOW: Duration = 3600 * SECOND
"""The present rate is that of the last hour."""
CHANGES_MAX = 512


class Reserved:
    """Ranges of addresses that no pool may hand out."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        merged: list[Range] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self._ranges = merged
        self._firsts = [first for first, _ in merged]

    def end(self, address: int) -> int | None:
        """The last address of the range that this one is in."""
        at = bisect_right(self._firsts, address) - 1
        return self._ranges[at][1] if at >= 0 and address <= self._ranges[at][1] else None

    def within(self, first: int, last: int) -> int:
        """How many addresses of a span are reserved."""
        at = max(0, bisect_right(self._firsts, first) - 1)
        count = 0
        for low, high in self._ranges[at:]:
            if low > last:
                break
            count += max(0, min(high, last) - max(low, first) + 1)
        return count


class Pool:
    """Free and given addresses; what each was given for is the machine's to know."""

    def __init__(self, settings: PoolSettings, reserved: Reserved) -> None:
        self.settings = settings
        self._reserved = reserved
        self.capacity = sum(last - first + 1 - reserved.within(first, last) for first, last in settings.spans)
        self.given = 0
        self.misses = 0
        self.dry = False
        """A host was refused, and none was served since."""
        self._last: tuple[int, int] | None = None
        """Segment and address that were handed out last."""
        self._changes: deque[tuple[Instant, int]] = deque(maxlen=CHANGES_MAX)

    def holds(self, address: int) -> bool:
        """Whether it may hand out this address."""
        return any(first <= address <= last for first, last in self.settings.spans) and not self._owned(address)

    def take(self, now: Instant, host: int, taken: Container[int]) -> int | None:
        """The next free address, or the one that a match-host pool has for this host; None if there is none."""
        if self.given < self.capacity:
            found = self._onwards(taken) if self.settings.match_length is None else self._own(host, taken)
            for segment, address in found:
                self._last = segment, address
                self._count(now, 1)
                return address
        self.misses += 1
        return None

    def adopt(self, now: Instant, address: int) -> None:
        """An address that is given already, by an allocator before this one or by the peer's, counts as the last."""
        for segment, (first, last) in enumerate(self.settings.spans):
            if first <= address <= last:
                self._last = segment, address
                break
        self._count(now, 1)

    def resume(self, before: "Pool") -> None:
        """Go on where the same pool stood before its settings changed."""
        self.misses, self._changes = before.misses, before._changes
        if before._last is not None and self.holds(before._last[1]):
            address = before._last[1]
            spans = enumerate(self.settings.spans)
            self._last = next((n, address) for n, (first, last) in spans if first <= address <= last)

    def release(self, now: Instant) -> None:
        """One of its addresses is free again."""
        self._count(now, -1)

    def forecast(self, now: Instant) -> Duration | None:
        """How long its free addresses last if it goes on as in the last hour; None if it does not become emptier."""
        recent = [(at, by) for at, by in self._changes if now - at <= WINDOW]
        growth = sum(by for _, by in recent)
        if growth <= 0:
            return None
        return (self.capacity - self.given) * max(now - recent[0][0], SECOND) // growth

    def _count(self, now: Instant, by: int) -> None:
        self.given += by
        self.dry = False
        self._changes.append((now, by))

    def _owned(self, address: int) -> bool:
        return self._reserved.end(address) is not None

    def _own(self, host: int, taken: Container[int]) -> Iterator[tuple[int, int]]:
        """The address with the host's own number. Of two networks' hosts with one number the first has it."""
        mask = (1 << 32 - (self.settings.match_length or 0)) - 1
        address = self.settings.spans[0][0] & ~mask | host & mask
        if self.holds(address) and address not in taken:
            yield 0, address

    def _onwards(self, taken: Container[int]) -> Iterator[tuple[int, int]]:
        """Free addresses from the last one handed out to the end, and then from the beginning."""
        spans = self.settings.spans
        start, after = self._last if self._last is not None else (0, spans[0][0] - 1)
        ways = [(start, after + 1, spans[start][1])]
        ways += [(number, *spans[number]) for number in range(start + 1, len(spans))]
        ways += [(number, *spans[number]) for number in range(start)]
        ways.append((start, spans[start][0], after))
        for segment, first, last in ways:
            address = first
            while address <= last:
                end = self._reserved.end(address)
                if end is None and address not in taken:
                    yield segment, address
                address = (address if end is None else end) + 1
