"""Figures of the process that hands out addresses, for `show`: a question and one answer, both datagrams.

    question   one byte
    answer     length 4 | JSON of that length | entries, 16 bytes each: host, given, age and idle in seconds

An answer tells of at most ENTRIES_MAX entries and POOLS_MAX pools; who leaves before it comes loses it, and nobody
waits for him.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from understudy.agent.local_end import LocalEnd, ask
from understudy.core.allocation.machine import Allocator
from understudy.units import SECOND, Instant

ENTRIES_MAX = 5_000
POOLS_MAX = 500
PATIENCE_S = 1.0
_NAME = b"understudy-pool-figures"
_LENGTH = struct.Struct("!I")
_ENTRY = struct.Struct("!IIII")
_ANSWER_MAX = _LENGTH.size + POOLS_MAX * 128 + ENTRIES_MAX * _ENTRY.size
_SECONDS_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class PoolFigure:
    """A pool in one role, by its number."""

    number: int
    capacity: int
    given: int
    misses: int
    left_s: int | None
    """Until its last free address is given, at the rate of the last hour; None: it does not become emptier."""


@dataclass(frozen=True, slots=True)
class EntryFigure:
    age_s: int
    idle_s: int | None
    """None where nobody looks: the node only follows."""


@dataclass(frozen=True, slots=True)
class Figures:
    leads: bool
    asked: int
    """Packets that waited for an address."""
    missed: int
    released: int
    """Entries that ended because nobody used them."""
    pools: Mapping[int, PoolFigure]
    entries: Mapping[tuple[int, int], EntryFigure]
    """By host and given address."""


class PoolFigures(LocalEnd):
    """The answering end."""

    def __init__(self) -> None:
        super().__init__(_NAME, 1, _ANSWER_MAX)

    def tell(self, machine: Allocator, now: Instant, *, leads: bool) -> None:
        """Answer everybody who asks."""
        told: bytes | None = None
        for _, asker in self.read():
            told = told or _told(machine, now, leads)
            self.answer(asker, told)


def ask_figures() -> Figures | None:
    """None if nobody hands out addresses in this namespace, or nobody answers in time."""
    try:
        answer = ask(_NAME, b"?", _ANSWER_MAX, PATIENCE_S)
        return _heard(answer) if answer is not None else None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _told(machine: Allocator, now: Instant, leads: bool) -> bytes:
    pools = []
    for pool in machine.pools()[:POOLS_MAX]:
        left = pool.forecast(now)
        seconds = None if left is None else left // SECOND
        pools.append([pool.settings.number, pool.capacity, pool.given, pool.misses, seconds])
    counts = machine.counts
    said = {"leads": leads, "asked": counts.asked, "missed": counts.missed, "released": counts.released, "pools": pools}
    text = json.dumps(said, separators=(",", ":")).encode()
    parts = [_LENGTH.pack(len(text)), text]
    for record in machine.snapshot(now)[:ENTRIES_MAX]:
        age, idle = (min(max(0, value) // SECOND, _SECONDS_MAX) for value in (record.age, record.idle))
        parts.append(_ENTRY.pack(record.host, record.given, age, idle))
    return b"".join(parts)


def _heard(answer: bytes) -> Figures:
    (length,) = _LENGTH.unpack_from(answer)
    said = json.loads(answer[_LENGTH.size : _LENGTH.size + length])
    leads = bool(said["leads"])
    entries = {
        (host, given): EntryFigure(age, idle if leads else None)
        for host, given, age, idle in _ENTRY.iter_unpack(answer[_LENGTH.size + length :])
    }
    pools = {int(each[0]): PoolFigure(*each) for each in said["pools"]}
    return Figures(leads, said["asked"], said["missed"], said["released"], pools, entries)
