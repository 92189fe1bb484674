"""What two replicators say to each other, inside the sealed channel (adapters.channel). Integers are big endian.

    0   1   version (2)
    1   1   kind of message
    2   8   the sender's stream number: unique to its start, and greater than that of any start before
    10  ..  the message

DATA is the stream itself: a sequence number and records, each of kind (1), length (2) and content; then zeros, if any:
full payloads are made equally long, so that many can be sent at once. Records 1-4 are the
kernel's own messages (core.replication.events.Kind); the others are the origin's words in their midst, whose place in
the order matters: what is lost, digests, snapshots. All other messages stand alone, may be lost, and are repeated.

Sequence numbers start with 1. No message is longer than PAYLOAD_MAX; each count is checked against what is there.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from understudy.errors import DecodeError
from understudy.wire.conntrack import BUCKETS

VERSION = 2
"""Of a peer that speaks another nothing is taken: its digests may be of something else."""
OTHER_VERSION = "flowsync-version"
"""The reason by which it is refused."""
PAYLOAD_MAX = 1300
PARTS = 8
"""A wish for buckets is a bitmap in so many messages."""
WINDOW = 1024
"""Payloads beyond the first missing one that a replica keeps, and says that it has."""

_HEAD = struct.Struct("!BBQ")
_DATA = struct.Struct("!BBQQ")
_RECORD = struct.Struct("!BH")
_BEACON = struct.Struct("!QQHII")
_ACK = struct.Struct("!QQQHHIB")
_COMPARE = struct.Struct("!IHBB")
_WANT = struct.Struct("!IB")
_FLUSH = struct.Struct("!I")
_FLUSHED = struct.Struct("!IQ")
_ROUND = struct.Struct("!I")
_DIGESTS = struct.Struct("!IH")
_END = struct.Struct("!II?")
_COUNT = struct.Struct("!IBI")
_ANEW = struct.Struct("!H")

DATA_HEAD = _DATA.size
RECORD_HEAD = _RECORD.size
RECORD_MAX = PAYLOAD_MAX - DATA_HEAD - RECORD_HEAD
SNAPSHOT_MAX = RECORD_MAX - _ROUND.size
_PART_BYTES = BUCKETS // PARTS // 8
_DIGESTS_MAX = (RECORD_MAX - _DIGESTS.size) // 8


class Message(IntEnum):
    DATA = 1
    BEACON = 2
    ACK = 3
    COMPARE = 4
    WANT = 5
    FLUSH = 6
    FLUSHED = 7


class Word(IntEnum):
    """Kinds of records that are the origin's own words; below 16 they are kinds of news (events.Kind)."""

    LOST = 16
    """Some of the kernel's news never reached the stream. Told at once, and again when nothing is lost any more."""
    DIGESTS = 17
    DIGESTS_END = 18
    SNAPSHOT = 19
    SNAPSHOT_END = 20
    COUNT = 21
    """How many flows of a group the digests are of."""
    ANEW = 22
    """The sender is the original of these groups once more: what its stream said of them before may be old."""


_RECORD_KINDS = frozenset({1, 2, 3, 4, *Word})


class Scope(IntEnum):
    """What a round is about."""

    COPY = 1
    """Flows of which the present state is copied."""
    REPLICATE = 2
    COMMAND = 3
    """An operator compares; nothing is repaired."""


@dataclass(frozen=True, slots=True)
class Data:
    stream: int
    sequence: int
    records: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Beacon:
    """The origin lives, and this is where its stream stands."""

    stream: int
    position: int
    """The last sequence number that was given."""
    floor: int
    """The lowest that can still be had."""
    groups: int
    """Bit n: the sender is the original of group n."""
    count: int
    """Echoed by the answer, for the path's round-trip time."""
    lag_us: int
    """Age of the oldest payload that the receiver has not yet said to be in its kernel."""


@dataclass(frozen=True, slots=True)
class Ack:
    """How far the sender, as the replica, has got with the stream `of`."""

    stream: int
    of: int
    received: int
    """Everything up to here has arrived."""
    written: int
    """Everything up to here that reached this start of it is in its kernel. (What reached an earlier start: agreement.)
    """
    credit: int
    """Payloads beyond `received` that it can take."""
    complete: int
    """Bit n: its replica of group n is complete."""
    echo: int
    """`count` of the beacon that this answers; 0: of none."""
    beyond: bytes = b""
    """Bit i (lowest first): payload received + 2 + i has arrived as well."""


@dataclass(frozen=True, slots=True)
class Compare:
    stream: int
    round: int
    groups: int
    scope: Scope
    empty: bool = False
    """The sender has no flow of these groups: no digest is of use, everything is wanted."""
    urgent: bool = True
    """Its replica is not known to be complete."""


@dataclass(frozen=True, slots=True)
class Want:
    stream: int
    round: int
    part: int
    bitmap: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    stream: int
    token: int


@dataclass(frozen=True, slots=True)
class Flushed:
    stream: int
    token: int
    position: int


Payload = Data | Beacon | Ack | Compare | Want | Flush | Flushed


def encode_data(stream: int, sequence: int, packed: bytes) -> bytes:
    """`packed`: records, each by `pack_record`."""
    return _DATA.pack(VERSION, Message.DATA, stream, sequence) + packed


record_head = _RECORD.pack
"""Of a record's kind and length: what stands before its content."""


def pack_record(kind: int, content: bytes) -> bytes:
    return record_head(kind, len(content)) + content


def unpack_records(packed: bytes, at: int = 0) -> list[tuple[int, bytes]]:
    """Raises DecodeError unless the bytes from `at` on are whole records of known kinds, and zeros behind them."""
    records: list[tuple[int, bytes]] = []
    end = len(packed)
    unpack, append = _RECORD.unpack_from, records.append
    while at + RECORD_HEAD <= end:
        kind, length = unpack(packed, at)
        if not kind:
            break
        begin = at + RECORD_HEAD
        at = begin + length
        append((kind, packed[begin:at]))
    if at > end or (at < end and packed[at]):
        raise DecodeError("flowsync-truncated")
    if any(packed[at:]):
        raise DecodeError("flowsync-record", "0")
    if not _RECORD_KINDS.issuperset([kind for kind, _ in records]):
        raise DecodeError("flowsync-record", str({kind for kind, _ in records} - _RECORD_KINDS))
    return records


def encode_beacon(beacon: Beacon) -> bytes:
    return _HEAD.pack(VERSION, Message.BEACON, beacon.stream) + _BEACON.pack(
        beacon.position, beacon.floor, beacon.groups, beacon.count, min(beacon.lag_us, 0xFFFF_FFFF)
    )


def encode_ack(ack: Ack) -> bytes:
    return (
        _HEAD.pack(VERSION, Message.ACK, ack.stream)
        + _ACK.pack(ack.of, ack.received, ack.written, ack.credit, ack.complete, ack.echo, len(ack.beyond))
        + ack.beyond
    )


def encode_compare(compare: Compare) -> bytes:
    return _HEAD.pack(VERSION, Message.COMPARE, compare.stream) + _COMPARE.pack(
        compare.round, compare.groups, compare.scope, compare.empty | compare.urgent << 1
    )


def encode_wants(stream: int, number: int, buckets: Sequence[int]) -> list[bytes]:
    """The messages that wish for these buckets of round `number`."""
    wanted = bytearray(BUCKETS // 8)
    for bucket in buckets:
        wanted[bucket >> 3] |= 1 << (bucket & 7)
    return [
        _HEAD.pack(VERSION, Message.WANT, stream)
        + _WANT.pack(number, part)
        + wanted[part * _PART_BYTES : (part + 1) * _PART_BYTES]
        for part in range(PARTS)
    ]


def encode_flush(flush: Flush) -> bytes:
    return _HEAD.pack(VERSION, Message.FLUSH, flush.stream) + _FLUSH.pack(flush.token)


def encode_flushed(flushed: Flushed) -> bytes:
    return _HEAD.pack(VERSION, Message.FLUSHED, flushed.stream) + _FLUSHED.pack(flushed.token, flushed.position)


def decode(payload: bytes) -> Payload:
    """Raises DecodeError for anything but one whole message of this version."""
    if len(payload) < _HEAD.size:
        raise DecodeError("flowsync-truncated")
    if len(payload) > PAYLOAD_MAX:
        raise DecodeError("flowsync-length", str(len(payload)))
    version, kind, stream = _HEAD.unpack_from(payload)
    if version != VERSION:
        raise DecodeError(OTHER_VERSION, str(version))
    if not stream:
        raise DecodeError("flowsync-stream")
    try:
        return _DECODERS[kind](stream, payload)
    except KeyError:
        raise DecodeError("flowsync-kind", str(kind)) from None
    except struct.error as error:
        raise DecodeError("flowsync-truncated", str(error)) from None


def _data(stream: int, payload: bytes) -> Data:
    sequence = _DATA.unpack_from(payload)[3]
    if not sequence:
        raise DecodeError("flowsync-sequence")
    return Data(stream, sequence, unpack_records(payload, DATA_HEAD))


def _beacon(stream: int, payload: bytes) -> Beacon:
    position, floor, groups, count, lag_us = _exactly(_BEACON, payload)
    if not 1 <= floor <= position + 1:
        raise DecodeError("flowsync-floor")
    return Beacon(stream, position, floor, groups, count, lag_us)


def _ack(stream: int, payload: bytes) -> Ack:
    of, received, written, credit, complete, echo, length = _ACK.unpack_from(payload, _HEAD.size)
    beyond = payload[_HEAD.size + _ACK.size :]
    if len(beyond) != length or length > WINDOW // 8:
        raise DecodeError("flowsync-length", str(len(beyond)))
    if written > received or credit > WINDOW:
        raise DecodeError("flowsync-ack")
    return Ack(stream, of, received, written, credit, complete, echo, beyond)


def _compare(stream: int, payload: bytes) -> Compare:
    number, groups, scope, flags = _exactly(_COMPARE, payload)
    if scope not in _SCOPES or flags > _COMPARE_FLAGS:
        raise DecodeError("flowsync-scope", f"{scope} {flags}")
    return Compare(stream, number, groups, Scope(scope), bool(flags & 1), bool(flags & 2))


def _want(stream: int, payload: bytes) -> Want:
    number, part = _WANT.unpack_from(payload, _HEAD.size)
    bitmap = payload[_HEAD.size + _WANT.size :]
    if part >= PARTS or len(bitmap) != _PART_BYTES:
        raise DecodeError("flowsync-want")
    return Want(stream, number, part, bitmap)


def _flush(stream: int, payload: bytes) -> Flush:
    return Flush(stream, *_exactly(_FLUSH, payload))


def _flushed(stream: int, payload: bytes) -> Flushed:
    return Flushed(stream, *_exactly(_FLUSHED, payload))


def _exactly(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != _HEAD.size + layout.size:
        raise DecodeError("flowsync-length", str(len(payload)))
    return layout.unpack_from(payload, _HEAD.size)


_BITS = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]
_SCOPES = frozenset(Scope)
_COMPARE_FLAGS = 0b11
_DECODERS: Mapping[int, Callable[[int, bytes], Payload]] = {
    Message.DATA: _data,
    Message.BEACON: _beacon,
    Message.ACK: _ack,
    Message.COMPARE: _compare,
    Message.WANT: _want,
    Message.FLUSH: _flush,
    Message.FLUSHED: _flushed,
}


def lost_content(over: bool) -> bytes:
    return bytes([over])


def read_lost(content: bytes) -> bool:
    """Whether all is told that the kernel still had."""
    if content not in (b"\0", b"\1"):
        raise DecodeError("flowsync-lost")
    return content == b"\1"


def anew_content(groups: int) -> bytes:
    return _ANEW.pack(groups)


def read_anew(content: bytes) -> int:
    """The groups, as a mask."""
    if len(content) != _ANEW.size:
        raise DecodeError("flowsync-anew")
    return int(_ANEW.unpack(content)[0])


def digests_contents(number: int, digests: Sequence[int]) -> Iterator[bytes]:
    """Contents of the DIGESTS records of a round; stretches of empty buckets are left out."""
    for first in range(0, len(digests), _DIGESTS_MAX):
        part = digests[first : first + _DIGESTS_MAX]
        if any(part):
            yield _DIGESTS.pack(number, first) + struct.pack(f"!{len(part)}Q", *part)


def read_digests(content: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Round, first bucket, digests."""
    if len(content) < _DIGESTS.size or (len(content) - _DIGESTS.size) % 8:
        raise DecodeError("flowsync-digests")
    number, first = _DIGESTS.unpack_from(content)
    count = (len(content) - _DIGESTS.size) // 8
    if first + count > BUCKETS:
        raise DecodeError("flowsync-digests")
    return number, first, struct.unpack_from(f"!{count}Q", content, _DIGESTS.size)


def snapshot_content(number: int, raw: bytes) -> bytes:
    return _ROUND.pack(number) + raw


def read_snapshot(content: bytes) -> tuple[int, bytes]:
    if len(content) < _ROUND.size:
        raise DecodeError("flowsync-snapshot")
    return _ROUND.unpack_from(content)[0], content[_ROUND.size :]


def end_content(number: int, entries: int, whole: bool) -> bytes:
    """Of DIGESTS_END and SNAPSHOT_END. `whole`: the listing did not fail, and all of it was told."""
    return _END.pack(number, entries, whole)


def read_end(content: bytes) -> tuple[int, int, bool]:
    if len(content) != _END.size:
        raise DecodeError("flowsync-end")
    return _END.unpack(content)


def count_content(number: int, group: int, entries: int) -> bytes:
    return _COUNT.pack(number, group, entries)


def read_count(content: bytes) -> tuple[int, int, int]:
    """Round, group, entries."""
    if len(content) != _COUNT.size:
        raise DecodeError("flowsync-count")
    return _COUNT.unpack(content)


def read_wants(parts: Sequence[bytes]) -> bytes:
    """One byte a bucket, 1 where it is wished for, from the bitmaps of all parts in order."""
    return b"".join(_BITS[each] for each in b"".join(parts))


def beyond_bitmap(received: int, sequences: Sequence[int]) -> bytes:
    """For Ack.beyond, from what arrived beyond the first missing one."""
    bits = 0
    for sequence in sequences:
        index = sequence - received - 2
        if 0 <= index < WINDOW:
            bits |= 1 << index
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def beyond_sequences(ack: Ack) -> list[int]:
    """The inverse of `beyond_bitmap`."""
    bits = int.from_bytes(ack.beyond, "little")
    found = []
    while bits:
        low = bits & -bits
        found.append(ack.received + 1 + low.bit_length())
        bits ^= low
    return found
