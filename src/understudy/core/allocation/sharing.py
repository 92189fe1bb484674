"""How the standby comes to hold the allocator's table: changes in sequence, and all of it wherever one was missed.

The Active leads: each change has a number in its stream, a beacon names the last one, so that the loss of the last is
found as well. Who follows applies what is next, and asks for the whole table after a gap, a new stream or a start. It
is sent in parts; what changed meanwhile is kept and applied on top. Payloads go in sealed datagrams (adapters.channel).

    kind 1 | part 2 | parts 2 | stream 8 | number 8 | records (codec)

Whose turn it is in the rotaries is no part of the table: the last word counts, and each says all of them. A record's
pool is the rotary then, and its host the server that is next. Part 1 of 2 is the last word of who leads no more.
"""

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from understudy.core.allocation.codec import decode, encode
from understudy.core.allocation.events import Replicated
from understudy.core.allocation.records import Record
from understudy.errors import DecodeError
from understudy.units import SECOND, Duration, Instant

CHANGED, BEACON, ASK, WHOLE, TURNS = 1, 2, 3, 4, 5
BEACON_EVERY: Duration = SECOND
ASK_EVERY: Duration = SECOND
"""At most so often, and the whole is sent at most so often."""
BODY_MAX = 1200
"""Bytes of records in a payload."""
LATE_MAX = 4096
"""Changes that wait for a whole table."""
PARTS_MAX = 16_384
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


@dataclass(slots=True)
class Leader:
    """Says what changed. `stream` is another one for every leader."""

    stream: bytes
    _number: int = 0
    _beacon_at: Instant = _AT_ONCE
    _whole_at: Instant = _AT_ONCE
    _turns_number: int = 0

    def changed(self, records: Sequence[Record]) -> list[bytes]:
        payloads = []
        for piece in split(records):
            self._number += 1
            payloads.append(_HEAD.pack(CHANGED, 0, 1, self.stream, self._number) + piece)
        return payloads

    def due(self, now: Instant) -> list[bytes]:
        if now < self._beacon_at:
            return []
        self._beacon_at = Instant(now + BEACON_EVERY)
        return [_HEAD.pack(BEACON, 0, 1, self.stream, self._number)]

    def turned(self, turns: Mapping[str, int], *, last: bool = False) -> list[bytes]:
        """Whose turn it is now, in as many rotaries as fit a payload."""
        self._turns_number += 1
        body = split([Record(name, server, 0) for name, server in turns.items()])[0]
        return [_HEAD.pack(TURNS, int(last), 2, self.stream, self._turns_number) + body]

    def asked(self, now: Instant, payload: bytes, table: Sequence[Record]) -> list[bytes]:
        """Answer whoever follows; silent to anything else."""
        if len(payload) != _HEAD.size or payload[0] != ASK or now < self._whole_at:
            return []
        self._whole_at = Instant(now + ASK_EVERY)
        pieces = split(table)[:PARTS_MAX]
        return [
            _HEAD.pack(WHOLE, part, len(pieces), self.stream, self._number) + piece for part, piece in enumerate(pieces)
        ]


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
    _late: deque[tuple[bytes, int, bytes]] = field(default_factory=lambda: deque(maxlen=LATE_MAX))
    _parts: dict[int, bytes] = field(default_factory=dict)
    _whole: tuple[bytes, int, int] | None = None
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
        return [_HEAD.pack(ASK, 0, 0, bytes(8), 0)]

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
        if (stream, number) not in {(s, n) for s, n, _ in list(self._late)[-4:]}:
            self._late.append((stream, number, body))
        return []

    def _collect(self, part: int, parts: int, stream: bytes, number: int, body: bytes) -> list[Replicated]:
        if not part < parts <= PARTS_MAX:
            raise DecodeError("allocation-value")
        if not self._missed:
            return []
        if self._whole != (stream, number, parts):
            self._whole, self._parts = (stream, number, parts), {}
        self._parts[part] = body
        if len(self._parts) < parts:
            return []
        table = decode(b"".join(self._parts[each] for each in range(parts)))
        self._whole, self._parts = None, {}
        self.stream, self.number, self._missed = stream, number, False
        events = [Replicated(table, whole=True)]
        late, self._late = self._late, deque(maxlen=LATE_MAX)
        for changed_stream, changed, data in sorted(late, key=lambda each: each[1]):
            if changed_stream == stream:
                events += self._changed(changed_stream, changed, data)
        return events
