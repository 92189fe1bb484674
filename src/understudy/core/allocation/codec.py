"""Records of the allocator's table as bytes, for the way to the replica. What arrives may be anything: DecodeError."""

import struct
from collections.abc import Sequence

from understudy.core.allocation.records import Record
from understudy.errors import DecodeError
from understudy.units import MILLISECOND

_HEAD = struct.Struct("!BBIIQQ")
"""Flags, length of the pool's name, host, given, age and idle in milliseconds."""
_RELEASED = 1
NAME_MAX = 255
RECORDS_MAX = 65_536
"""In one payload."""
_AGE_MAX = 1 << 48


def encode(records: Sequence[Record]) -> bytes:
    """Names longer than NAME_MAX bytes are no names of ours. Raises ValueError for them."""
    parts = []
    for each in records:
        name = each.pool.encode()
        if len(name) > NAME_MAX:
            raise ValueError(f"pool {each.pool[:40]}... has a name longer than {NAME_MAX} bytes")
        age, idle = (min(value // MILLISECOND, _AGE_MAX) for value in (each.age, each.idle))
        flags = _RELEASED if each.released else 0
        parts.append(_HEAD.pack(flags, len(name), each.host, each.given, age, idle) + name)
    return b"".join(parts)


def size_max(records: Sequence[Record]) -> int:
    """Bytes of the longest of them."""
    return _HEAD.size + max((len(name.encode()) for name in {each.pool for each in records}), default=0)


def decode(data: bytes) -> tuple[Record, ...]:
    found: list[Record] = []
    offset = 0
    while offset < len(data):
        if len(found) == RECORDS_MAX:
            raise DecodeError("allocation-too-many")
        if offset + _HEAD.size > len(data):
            raise DecodeError("allocation-truncated")
        flags, length, host, given, age, idle = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        name = data[offset : offset + length]
        offset += length
        if len(name) < length:
            raise DecodeError("allocation-truncated")
        if flags & ~_RELEASED or max(age, idle) > _AGE_MAX:
            raise DecodeError("allocation-value")
        try:
            pool = name.decode()
        except UnicodeDecodeError as error:
            raise DecodeError("allocation-name") from error
        found.append(Record(pool, host, given, age * MILLISECOND, idle * MILLISECOND, bool(flags & _RELEASED)))
    return tuple(found)
