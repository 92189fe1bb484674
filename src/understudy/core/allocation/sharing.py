"""How the standby comes to hold the allocator's table: changes in sequence, and all of it wherever one was missed.

The Active leads: each change has a number in its stream, a beacon names the last one, so that the loss of the last is
found as well. Who follows applies what is next, and asks for the whole table after a gap, a new stream or a start. It
is sent in parts, at a pace that a socket and its filter take; what changed meanwhile is kept and applied on top. Parts
that were lost are asked for by number: a table of thousands of parts would never come through whole otherwise. Payloads
go in sealed datagrams (adapters.channel).

    kind 1 | part 2 | parts 2 | stream 8 | number 8 | records (codec)

A question has nothing behind the number, or the parts that are missing of the table that `stream` and `number` name.

Whose turn it is in the rotaries is no part of the table: the last word counts, and each says all of them. A record's
pool is the rotary then, and its host the server that is next. Part 1 of 2 is the last word of who leads no more.
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from understudy.core.allocation.codec import decode, encode, size_max
from understudy.core.allocation.events import Replicated
from understudy.core.allocation.records import Record
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Duration, Instant

CHANGED, BEACON, ASK, WHOLE, TURNS = 1, 2, 3, 4, 5
BEACON_EVERY: Duration = SECOND
ASK_EVERY: Duration = SECOND
"""At most so often, and a whole is begun at most so often."""
BODY_MAX = 1200
"""Bytes of records in a payload."""
PARTS_AT_ONCE, PARTS_EVERY = 50, 100 * MILLISECOND
"""Of a whole: 500 a second, a tenth of what the sockets' filters let in (adapters.sieve)."""
PARTS_MAX = 16_384
MISSING_MAX = 500
"""Parts that one question names: as many as are sent until the next."""
WHOLE_KEPT: Duration = 30 * SECOND
"""A table that was sent is kept for so long after the last question, for those of its parts that were lost."""
LATE_MAX = 16_384
"""Changes that wait for a whole table."""
_AT_ONCE = Instant(0)
_HEAD = struct.Struct("!BHH8sQ")


def split(records: Sequence[Record]) -> list[bytes]:
    """Encoded records, in pieces that fit; one empty piece where there are none."""
    pieces, here = [], b""
    for record in records:
        data = encode((record,))
        if here and len(here) + len(data) > BODY_MAX:
            pieces.append(here)
            here = b""
        here += data
    return [*pieces, here]


@dataclass(frozen=True, slots=True)
class _Whole:
    """The table as it was at a number; encoded part by part, when one is sent."""

    number: int
    table: Sequence[Record]
    each: int
    """Records in a part."""

    @property
    def parts(self) -> int:
        return min(PARTS_MAX, max(1, -(-len(self.table) // self.each)))

    def part(self, number: int) -> bytes:
        return encode(self.table[number * self.each : (number + 1) * self.each])


@dataclass(slots=True)
class Leader:
    """Says what changed. `stream` is another one for every leader."""

    stream: bytes
    _number: int = 0
    _beacon_at: Instant = _AT_ONCE
    _turns_number: int = 0
    _whole: _Whole | None = None
    _whole_at: Instant = _AT_ONCE
    _kept_until: Instant = _AT_ONCE
    _waiting: deque[int] = field(default_factory=deque)
    """Parts of it that are to be sent."""
    _parts_at: Instant = _AT_ONCE

    def changed(self, records: Sequence[Record]) -> list[bytes]:
        payloads = []
        for piece in split(records):
            self._number += 1
            payloads.append(_HEAD.pack(CHANGED, 0, 1, self.stream, self._number) + piece)
        return payloads

    def next_deadline(self) -> Instant:
        return min(self._parts_at, self._beacon_at) if self._waiting else self._beacon_at

    def due(self, now: Instant) -> list[bytes]:
        payloads = self._parts(now)
        if not self._waiting and now >= self._kept_until:
            self._whole = None
        if now >= self._beacon_at:
            self._beacon_at = Instant(now + BEACON_EVERY)
            payloads.append(_HEAD.pack(BEACON, 0, 1, self.stream, self._number))
        return payloads

    def turned(self, turns: Mapping[str, int], *, last: bool = False) -> list[bytes]:
        """Whose turn it is now, in as many rotaries as fit a payload."""
        self._turns_number += 1
        body = split([Record(name, server, 0) for name, server in turns.items()])[0]
        return [_HEAD.pack(TURNS, int(last), 2, self.stream, self._turns_number) + body]

    def asked(self, now: Instant, payload: bytes, table: Callable[[], Sequence[Record]]) -> list[bytes]:
        """Begin to answer whoever follows, `due` goes on with it; silent to anything else. `table` is called only where
        the whole is to be sent anew.
        """
        missing = _missing(payload)
        if missing is None or self._waiting or now < self._whole_at:
            return []
        self._whole_at, self._kept_until = Instant(now + ASK_EVERY), Instant(now + WHOLE_KEPT)
        *_, stream, number = _HEAD.unpack_from(payload)
        whole = self._whole
        if not missing or whole is None or (stream, number) != (self.stream, whole.number):
            records = table()
            self._whole = whole = _Whole(self._number, records, max(1, BODY_MAX // size_max(records)))
            missing = tuple(range(whole.parts))
        self._waiting.extend(part for part in missing if part < whole.parts)
        return self._parts(now)

    def _parts(self, now: Instant) -> list[bytes]:
        if not self._waiting or self._whole is None or now < self._parts_at:
            return []
        self._parts_at, self._kept_until = Instant(now + PARTS_EVERY), Instant(now + WHOLE_KEPT)
        whole, numbers = self._whole, [self._waiting.popleft() for _ in range(min(PARTS_AT_ONCE, len(self._waiting)))]
        heads = (_HEAD.pack(WHOLE, number, whole.parts, self.stream, whole.number) for number in numbers)
        return [head + whole.part(number) for head, number in zip(heads, numbers, strict=True)]


def _missing(payload: bytes) -> tuple[int, ...] | None:
    """The parts that a question names; None if it is no question."""
    body = payload[_HEAD.size :]
    if len(payload) < _HEAD.size or payload[0] != ASK or len(body) % 2 or len(body) > 2 * MISSING_MAX:
        return None
    return struct.unpack(f"!{len(body) // 2}H", body)


@dataclass(frozen=True, slots=True)
class Turned:
    """Whose turn it is, by rotary."""

    turns: Mapping[str, int]
    last: bool
    """Said by who leads no more."""


@dataclass(slots=True)
class TurnsHeard:
    """The peer's word about turns; an older one counts for nothing."""

    _stream: bytes = b""
    _number: int = 0

    def heard(self, payload: bytes) -> Turned | None:
        """None for what is older, or says nothing of turns. Raises DecodeError."""
        if len(payload) < _HEAD.size or payload[0] != TURNS:
            return None
        _, last, _, stream, number = _HEAD.unpack_from(payload)
        if stream == self._stream and number <= self._number:
            return None
        records = decode(payload[_HEAD.size :])
        self._stream, self._number = stream, number
        return Turned({each.pool: each.host for each in records}, bool(last))


@dataclass(slots=True)
class Follower:
    """Does as the leader did. Knows nothing at first."""

    stream: bytes = b""
    number: int = -1
    """Of the last change that is applied."""
    _late: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    """Changes that wait for a whole, by stream and number."""
    _whole: tuple[bytes, int, int] | None = None
    """Which one is coming: its stream, its number, and how many parts it has."""
    _parts: dict[int, tuple[Record, ...]] = field(default_factory=dict)
    _coming: bool = False
    """Parts came since it was last time to ask."""
    _missed: bool = True
    _ask_at: Instant = _AT_ONCE

    @property
    def whole(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self._missed

    def due(self, now: Instant) -> list[bytes]:
        """A question, if there is one to ask."""
        if not self._missed or now < self._ask_at:
            return []
        self._ask_at = Instant(now + ASK_EVERY)
        if self._coming:
            self._coming = False
            return []
        stream, number, parts = self._whole or (bytes(8), 0, 0)
        missing = [part for part in range(parts) if part not in self._parts][:MISSING_MAX]
        return [_HEAD.pack(ASK, 0, 0, stream, number) + struct.pack(f"!{len(missing)}H", *missing)]

    def heard(self, payload: bytes) -> list[Replicated]:
        """What to apply. Raises DecodeError."""
        if len(payload) < _HEAD.size:
            raise DecodeError("allocation-truncated")
        kind, part, parts, stream, number = _HEAD.unpack_from(payload)
        body = payload[_HEAD.size :]
        match kind:
            case 1:
                return self._changed(stream, number, body)
            case 2:
                self._missed = self._missed or (stream, number) != (self.stream, self.number)
                return []
            case 4:
                return self._collect(part, parts, stream, number, body)
            case _:
                return []

    def _changed(self, stream: bytes, number: int, body: bytes) -> list[Replicated]:
        if stream == self.stream and number <= self.number:
            return []  # by another path already
        if not self._missed and (stream, number) == (self.stream, self.number + 1):
            records = decode(body)
            self.number = number
            return [Replicated(records)]
        self._missed = True
        self._late[stream, number] = body
        if len(self._late) > LATE_MAX:
            del self._late[next(iter(self._late))]
        return []

    def _collect(self, part: int, parts: int, stream: bytes, number: int, body: bytes) -> list[Replicated]:
        if not part < parts <= PARTS_MAX:
            raise DecodeError("allocation-value")
        if not self._missed:
            return []
        if self._whole != (stream, number, parts):
            if self._whole is not None and self._whole[0] == stream and number < self._whole[1]:
                return []  # of a table before this one
            self._whole, self._parts = (stream, number, parts), {}
        if part not in self._parts:
            self._parts[part] = decode(body)
        self._coming = True
        if len(self._parts) < parts:
            return []
        table = tuple(record for each in range(parts) for record in self._parts[each])
        self._whole, self._parts, self._coming = None, {}, False
        self.stream, self.number, self._missed = stream, number, False
        events = [Replicated(table, whole=True)]
        late, self._late = self._late, {}
        for (changed_stream, changed), data in sorted(late.items(), key=lambda each: each[0][1]):
            if changed_stream == stream:
                events += self._changed(changed_stream, changed, data)
        return events
