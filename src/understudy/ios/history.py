"""Who had 203.0.113.5:40123 at 14:02:07? Translations that were, as a ring of records of one size. Pure.

The ring lies in memory that is given (a mapped file): HEADER bytes, then records of RECORD bytes. A record is written
when a flow begins and completed when it ends; what is not completed counts as going on. When the ring is full the
oldest go, but one that still goes on is passed over, SKIPPED_MAX of them at most, so that long flows outlast short
ones and the size is kept all the same.

    header   magic, version, size of a record, records that fit, records written, lost
    record   begin and end (milliseconds since 1970), inside local, inside global, outside global, their ports,
             protocol, a check of the rest

Whoever reads while it is written sees a record whole or, by its check, not at all.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from understudy.errors import OperatorError
from understudy.ios.translations import PROTOCOL_NAMES, Translation

MAGIC = b"usnathis"
VERSION = 1
_HEADER = struct.Struct("!8sHHIQQ")
HEADER = 64
_RECORD = struct.Struct("!QQIIIHHHBxI")
RECORD = _RECORD.size
SIZE_MIN = HEADER + 16 * RECORD
SIZE_MAX = 1 << 32
SKIPPED_MAX = 64
GOING_ON = 0
_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}


class Memory(Protocol):
    """A mapped file, or a bytearray."""

    def __getitem__(self, span: slice, /) -> bytes | bytearray: ...
    def __setitem__(self, span: slice, content: bytes, /) -> None: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Past:
    """A flow that had a translation. Milliseconds since 1970; an end of zero: it goes on, or nobody saw its end."""

    begin_ms: int
    protocol: int
    inside_local: IPv4Address
    inside_global: IPv4Address
    outside_global: IPv4Address
    local_port: int = 0
    global_port: int = 0
    outside_port: int = 0
    end_ms: int = GOING_ON

    @property
    def key(self) -> tuple[int, IPv4Address, int, IPv4Address, int]:
        """What is one flow's alone at a time: how the outside knows it."""
        return (self.protocol, self.inside_global, self.global_port, self.outside_global, self.outside_port)

    @property
    def name(self) -> str:
        return PROTOCOL_NAMES.get(self.protocol, str(self.protocol))

    def at(self, moment_ms: int) -> bool:
        """Whether it was there then."""
        return self.begin_ms <= moment_ms and (self.end_ms == GOING_ON or moment_ms <= self.end_ms)


def past_of(row: Translation, now_ms: int) -> Past | None:
    """A flow's row of the table, begun now; None for half entries and what is not numbers."""
    ends = (row.inside_local, row.inside_global, row.outside_global)
    name = row.protocol or ""
    number = _NUMBERS.get(name, int(name) if name.isdecimal() else None)
    if number is None or any(end is None for end in ends):
        return None
    local, near, far = (end for end in ends if end is not None)
    hosts = tuple(IPv4Address(end.address) for end in (local, near, far))
    return Past(now_ms, number, hosts[0], hosts[1], hosts[2], local.port or 0, near.port or 0, far.port or 0)


def capacity(size: int) -> int:
    """Records that fit."""
    return max(0, (size - HEADER) // RECORD)


class Ring:
    """Writes, and reads. One writer at a time; the caller sees to that."""

    def __init__(self, memory: Memory) -> None:
        """Takes a ring that is there, or makes one of zeros. Raises OperatorError E7131 for anything else."""
        self._memory = memory
        self._capacity = capacity(len(memory))
        head = bytes(memory[slice(0, _HEADER.size)])
        if not SIZE_MIN <= len(memory) <= SIZE_MAX:
            raise OperatorError("E7131", f"a history of {len(memory)} bytes", f"{SIZE_MIN} to {SIZE_MAX} bytes")
        if head == bytes(_HEADER.size):
            self._written = self._lost = 0
            self._write_header()
        magic, version, size, held, self._written, self._lost = _HEADER.unpack(bytes(memory[slice(0, _HEADER.size)]))
        if (magic, version, size, held) != (MAGIC, VERSION, RECORD, self._capacity):
            raise OperatorError("E7131", "this file is no history of translations", "name another file")
        self._open: dict[object, int] = {}
        self._going: set[int] = set()
        for slot in range(self._capacity):
            found = self._read(slot)
            if found is not None and found.end_ms == GOING_ON:
                self._open[found.key] = slot
                self._going.add(slot)

    @property
    def lost(self) -> int:
        """Records of flows that went on when their place was needed."""
        return self._lost

    @property
    def held(self) -> int:
        """Places for records."""
        return self._capacity

    def going(self) -> tuple[object, ...]:
        """Keys of the flows that go on."""
        return tuple(self._open)

    def begin(self, past: Past) -> bool:
        """Write a flow that begins; False if it is written already.

        The outside knows the flows of two inside hosts one after the other by the same key: the former one is over by
        then, although nobody saw its end.
        """
        slot = self._open.get(past.key)
        if slot is not None:
            found = self._read(slot)
            if found is not None and (found.inside_local, found.local_port) == (past.inside_local, past.local_port):
                return False
            self.end(past.key, past.begin_ms)
        slot = self._place()
        self._put(slot, past)
        self._open[past.key] = slot
        self._going.add(slot)
        return True

    def end(self, key: object, now_ms: int) -> bool:
        """A flow has gone; False if nothing is known of it."""
        slot = self._open.pop(key, None)
        if slot is None:
            return False
        self._going.discard(slot)
        found = self._read(slot)
        if found is None or found.key != key:
            return False
        ended = Past(
            found.begin_ms, found.protocol, found.inside_local, found.inside_global, found.outside_global,
            found.local_port, found.global_port, found.outside_port, max(now_ms, found.begin_ms, 1),
        )  # fmt: skip
        self._put(slot, ended)
        return True

    def records(self) -> Iterator[Past]:
        """All, in the order of their places."""
        for slot in range(self._capacity):
            found = self._read(slot)
            if found is not None:
                yield found

    def who(self, address: IPv4Address, port: int | None, moment_ms: int) -> tuple[Past, ...]:
        """Flows that had the address, inside global or local, and the port with it, at that moment; oldest first."""
        wanted = int(address)
        found = []
        for past in self.records():
            near = int(past.inside_global) == wanted and port in (None, past.global_port)
            local = int(past.inside_local) == wanted and port in (None, past.local_port)
            if (near or local) and past.at(moment_ms):
                found.append(past)
        return tuple(sorted(found, key=lambda past: past.begin_ms))

    def span(self) -> tuple[int, int] | None:
        """The first beginning and the last word that are held: what lies outside is not known here."""
        first = last = None
        for past in self.records():
            first = past.begin_ms if first is None else min(first, past.begin_ms)
            last = max(last or 0, past.begin_ms, past.end_ms)
        return (first, last) if first is not None and last is not None else None

    def _place(self) -> int:
        """The next one, of one that has ended if there is such near."""
        for _ in range(min(SKIPPED_MAX, self._capacity)):
            slot = self._written % self._capacity
            self._written += 1
            if slot not in self._going:
                self._write_header()
                return slot
        slot = (self._written - 1) % self._capacity
        self._lost += 1
        old = self._read(slot)
        if old is not None:
            self._open.pop(old.key, None)
        self._write_header()
        return slot

    def _write_header(self) -> None:
        head = _HEADER.pack(MAGIC, VERSION, RECORD, self._capacity, self._written, self._lost)
        self._memory[slice(0, _HEADER.size)] = head

    def _put(self, slot: int, past: Past) -> None:
        at = HEADER + slot * RECORD
        self._memory[slice(at, at + RECORD)] = pack(past)

    def _read(self, slot: int) -> Past | None:
        at = HEADER + slot * RECORD
        return unpack(bytes(self._memory[slice(at, at + RECORD)]))


def pack(past: Past) -> bytes:
    values = (
        past.begin_ms, past.end_ms, int(past.inside_local), int(past.inside_global), int(past.outside_global),
        past.local_port, past.global_port, past.outside_port, past.protocol,
    )  # fmt: skip
    return _RECORD.pack(*values, zlib.crc32(_RECORD.pack(*values, 0)))


def unpack(data: bytes) -> Past | None:
    """None for what is no whole record: an empty place, or one that is being written."""
    if len(data) != RECORD:
        return None
    begin, end, local, near, far, local_port, global_port, outside_port, protocol, check = _RECORD.unpack(data)
    if not begin or zlib.crc32(data[:-4] + bytes(4)) != check:
        return None
    hosts: Sequence[IPv4Address] = [IPv4Address(each) for each in (local, near, far)]
    return Past(begin, protocol, hosts[0], hosts[1], hosts[2], local_port, global_port, outside_port, end)
