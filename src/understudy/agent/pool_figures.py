"""Figures of the process that hands out addresses, for `show`: a question and one answer, both datagrams.

    question   any datagram of our own user
    answer     length 4 | JSON of that length | entries, 20 bytes each: pool, host, given, age and idle in seconds

The socket's abstract name belongs to the network namespace, as that of `agent.pool_orders`. An answer tells of at most
ENTRIES_MAX entries and POOLS_MAX pools; who leaves before it comes loses it, and nobody waits for him.
"""

import contextlib
import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from understudy.core.allocation.machine import Allocator
from understudy.units import SECOND, Instant

ENTRIES_MAX = 5_000
POOLS_MAX = 500
PATIENCE_S = 1.0
_NAME = "\0understudy-pool-figures"
_CREDENTIALS = struct.Struct("3i")
_LENGTH = struct.Struct("!I")
_ENTRY = struct.Struct("!IIIII")
_ANSWER_MAX = _LENGTH.size + POOLS_MAX * 128 + ENTRIES_MAX * _ENTRY.size
_SECONDS_MAX = 0xFFFF_FFFF
_READ_MAX = 16


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


class PoolFigures:
    """The answering end."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _ANSWER_MAX)
        # Of two in one namespace the first is asked: the other goes on without.
        with contextlib.suppress(OSError):
            self.socket.bind(_NAME)

    def answer(self, machine: Allocator, now: Instant, *, leads: bool) -> None:
        """Tell everybody who asks; whoever cannot take it now is left without."""
        for _ in range(_READ_MAX):
            try:
                _, ancillary, _, asker = self.socket.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
            except OSError:
                return
            users = [
                _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[1]
                for level, kind, content in ancillary
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
            ]
            if asker and users == [os.geteuid()]:
                with contextlib.suppress(OSError):
                    self.socket.sendto(_told(machine, now, leads), asker)

    def close(self) -> None:
        self.socket.close()


def ask_figures() -> Figures | None:
    """None if nobody hands out addresses in this namespace, or nobody answers in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.settimeout(PATIENCE_S)
        try:
            end.bind("")  # a name of the kernel's choice, to be answered at
            end.sendto(b"?", _NAME)
            return _heard(end.recv(_ANSWER_MAX))
        except (OSError, ValueError, KeyError, struct.error):
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
        parts.append(_ENTRY.pack(0, record.host, record.given, age, idle))
    return b"".join(parts)


def _heard(answer: bytes) -> Figures:
    (length,) = _LENGTH.unpack_from(answer)
    said = json.loads(answer[_LENGTH.size : _LENGTH.size + length])
    leads = bool(said["leads"])
    entries = {
        (host, given): EntryFigure(age, idle if leads else None)
        for _, host, given, age, idle in _ENTRY.iter_unpack(answer[_LENGTH.size + length :])
    }
    pools = {int(each[0]): PoolFigure(*each) for each in said["pools"]}
    return Figures(leads, said["asked"], said["missed"], said["released"], pools, entries)
