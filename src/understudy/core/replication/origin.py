"""What this kernel originated, as a numbered stream to one peer: acknowledged, sent again, bounded.

Records are packed into payloads as they come, and a payload leaves at the end of the batch that filled it: waiting
for a full one would be lag. What is not acknowledged is kept, at most BACKLOG_MAX bytes; beyond that the oldest half is
given up, and the stream's floor, told in every beacon, rises: the replica knows by it that something is missing.

In flight is at most what the replica has credit for, and what a congestion window allows: it grows with every
acknowledgement and shrinks at a loss, because the receiver's socket holds less than a resynchronisation can fill. A
peer that says nothing at all loses nothing by congestion: its kernel may still take what its process does not read, and
we may be about to die. So its silence shrinks no window, and what it has credit for leaves.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from understudy.core.replication.paths import TIMEOUT_MAX, Path, Paths
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NetworkName
from understudy.wire.flowsync import (
    DATA_HEAD,
    PAYLOAD_MAX,
    RECORD_HEAD,
    RECORD_MAX,
    WINDOW,
    Ack,
    beyond_sequences,
    encode_data,
    record_head,
    unpack_records,
)

BACKLOG_MAX = 32 << 20
_OVERHEAD = 150
"""Bytes that a kept payload costs beside its content."""
_WINDOW_FIRST = 64.0
_WINDOW_MIN = 16.0
_AGAIN_MAX = 64
"""Payloads sent again at one time."""
_REORDERED = 3
"""So many later ones must have arrived before a payload counts as lost; paths differ in length."""
_QUIET: Duration = 120 * MILLISECOND
"""Two beacons without any answer."""
_SILENT: Duration = SECOND
_AGES_MAX = 4096

Datagram = tuple[NetworkName, bytes]


_NEVER = Instant(0)


@dataclass(slots=True)
class _Kept:
    payload: bytes
    path: Path | None = None
    """Where it was sent last; None: not yet."""
    at: Instant = _NEVER
    tries: int = 0


class Origin:
    """The stream to one peer."""

    def __init__(self, stream: int, paths: Paths) -> None:
        self.stream = stream
        self.position = 0
        """The last sequence number given."""
        self.received = 0
        """The peer has everything up to here; or it was given up."""
        self.written = 0
        """The peer's kernel has."""
        self.replica = 0
        """The stream number of the peer's start that acknowledges; 0: none yet."""
        self.peer_complete = 0
        self.given_up = 0
        self.oversized = 0
        self.heard: Instant | None = None
        """When the peer last acknowledged anything."""
        self._paths = paths
        self._backlog: dict[int, _Kept] = {}
        self._bytes = 0
        self._next = 1
        self._flying = 0
        self._highest = 0
        self._credit = _WINDOW_FIRST
        self._window = _WINDOW_FIRST
        self._shrunk: Instant = Instant(0)
        self._parts: list[bytes] = []
        self._size = DATA_HEAD
        self._ages: deque[tuple[int, Instant]] = deque()

    @property
    def backlog_bytes(self) -> int:
        return self._bytes

    @property
    def floor(self) -> int:
        """The lowest sequence number that can still be had."""
        return next(iter(self._backlog), self.position + 1)

    def lag(self, now: Instant) -> Duration:
        """Age of the oldest payload that is not in the peer's kernel; 0 when all are."""
        return now - self._ages[0][1] if self._ages else 0

    def append(self, now: Instant, records: Sequence[tuple[int, bytes]]) -> None:
        """News of the kernel and words in their midst, in order. Nothing leaves before `flush`."""
        parts, size = self._parts, self._size
        for kind, raw in records:
            length = len(raw)
            grown = size + RECORD_HEAD + length
            if grown > PAYLOAD_MAX:
                if length > RECORD_MAX:
                    self.oversized += 1
                    continue
                self._close(now, bytes(PAYLOAD_MAX - size))
                parts, grown = self._parts, DATA_HEAD + RECORD_HEAD + length
            parts += record_head(kind, length), raw
            size = grown
        self._size = size

    def flush(self, now: Instant) -> list[Datagram]:
        """Everything appended gets its number; what may leave, leaves."""
        if self._parts:
            self._close(now)
        return self._transmit(now)

    def acknowledged(self, now: Instant, path: Path, ack: Ack) -> list[Datagram]:
        """What to send after it. An acknowledgement of another stream, or of an earlier start of the peer, is void."""
        if ack.of != self.stream or ack.stream < self.replica or ack.received > self.position:
            return []
        if ack.stream > self.replica:
            if self.replica:
                self._forget()  # a new replica starts with an agreement: old news would only delay it
            self.replica = ack.stream
        self.heard = now
        self.peer_complete = ack.complete
        self._paths.echoed(now, path, ack.echo)
        if ack.received < self.received:
            return []
        self._credit = ack.credit
        newly = 0
        for sequence in range(self.received + 1, ack.received + 1):
            newly += self._arrived(now, sequence)
        self.received = ack.received
        self._next = max(self._next, self.received + 1)
        for sequence in beyond_sequences(ack):
            newly += self._arrived(now, sequence)
            self._highest = max(self._highest, sequence) if sequence <= self.position else self._highest
        if newly:
            self._window = min(self._window + newly / max(self._window / 4, 1.0), WINDOW)
        self.written = max(self.written, ack.written)
        while self._ages and self._ages[0][0] <= self.written:
            self._ages.popleft()
        return self.due(now)

    def due(self, now: Instant) -> list[Datagram]:
        """What was not acknowledged in time, again; then what may leave."""
        most = _AGAIN_MAX if self.heard is not None and now - self.heard < _SILENT else 1
        again = []
        for sequence, kept in islice(self._backlog.items(), most):
            if kept.path is None:
                break
            if now >= self._deadline(sequence, kept):
                again.append(kept)
            elif sequence > self._highest - _REORDERED:
                break
        return [self._again(now, kept) for kept in again] + self._transmit(now)

    def next_deadline(self) -> Instant | None:
        for sequence, kept in self._backlog.items():
            return None if kept.path is None else self._deadline(sequence, kept)
        return None

    def unacknowledged(self) -> list[tuple[int, bytes]]:
        """The records in the backlog: what a comparison must not hold against either side."""
        return [record for kept in self._backlog.values() for record in unpack_records(kept.payload, DATA_HEAD)]

    def _close(self, now: Instant, filling: bytes = b"") -> None:
        self.position += 1
        payload = encode_data(self.stream, self.position, b"".join(self._parts) + filling)
        self._parts, self._size = [], DATA_HEAD
        self._backlog[self.position] = _Kept(payload)
        self._bytes += len(payload) + _OVERHEAD
        ages = self._ages
        if not ages or (now - ages[-1][1] >= MILLISECOND and len(ages) < _AGES_MAX):
            ages.append((self.position, now))
        if self._bytes > BACKLOG_MAX:
            self._give_up()

    def _transmit(self, now: Instant) -> list[Datagram]:
        path = self._paths.best
        if path is None or self._next > self.position:
            return []
        until = min(self.position, self.received + int(self._credit))
        quiet = self.heard is not None and now - self.heard > _QUIET
        window = WINDOW if quiet else self._window
        sent = []
        while self._next <= until and self._flying < window:
            kept = self._backlog.get(self._next)
            self._next += 1
            if kept is None or kept.path is not None:
                continue
            kept.path, kept.at, kept.tries = path, now, 1
            self._flying += 1
            sent.append((path.network, kept.payload))
        path.sent += len(sent)
        return sent

    def _arrived(self, now: Instant, sequence: int) -> int:
        kept = self._backlog.pop(sequence, None)
        if kept is None:
            return 0
        self._bytes -= len(kept.payload) + _OVERHEAD
        if kept.path is not None:
            self._flying -= 1
            if kept.tries == 1:  # RFC 6298, section 3: a repeated one tells no time
                kept.path.sample(now - kept.at)
        return 1

    def _again(self, now: Instant, kept: _Kept) -> Datagram:
        assert kept.path is not None
        answers = self.heard is None or self.heard > kept.at
        if answers and now - self._shrunk > kept.path.timeout:
            self._window, self._shrunk = max(self._window * 0.7, _WINDOW_MIN), now
        kept.path = self._paths.lost(now, kept.path)
        kept.at, kept.tries = now, kept.tries + 1
        kept.path.sent += 1
        return kept.path.network, kept.payload

    def _deadline(self, sequence: int, kept: _Kept) -> Instant:
        """When it counts as lost: soon after later ones have overtaken it, otherwise after the path's timeout."""
        path = kept.path
        assert path is not None
        overtaken = sequence <= self._highest - _REORDERED
        patience = max(path.smoothed * 3 // 2, MILLISECOND) if overtaken else path.timeout
        return Instant(kept.at + min(patience << min(kept.tries - 1, 8), TIMEOUT_MAX))

    def _give_up(self) -> None:
        """The oldest half. The floor rises, and the replica learns of it from the next beacon."""
        while self._backlog and self._bytes > BACKLOG_MAX // 2:
            kept = self._backlog.pop(next(iter(self._backlog)))
            self._bytes -= len(kept.payload) + _OVERHEAD
            self._flying -= kept.path is not None
            self.given_up += 1
        self._next = max(self._next, self.floor)

    def _forget(self) -> None:
        self._backlog.clear()
        self._ages.clear()
        self._bytes = self._flying = 0
        self.received = self.position
        self._highest, self._next = 0, self.position + 1
