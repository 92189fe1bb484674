"""What the allocator wants done: commands, as data, in the order to carry them out."""

from dataclasses import dataclass

from understudy.core.allocation.events import Waiting
from understudy.core.allocation.records import Entry, Record


@dataclass(frozen=True, slots=True)
class MapEntries:
    """Into the kernel's maps and out of them, in one transaction. Answered by Mapped with the same number."""

    number: int
    added: tuple[Entry, ...]
    removed: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Packets that waited, in their order: the kernel translates them by what was just mapped."""

    packets: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class LookForUse:
    """Which addresses take part in flows? Answered by UseSeen."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Changes for the replica, in order."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class PoolDry:
    """A host got no address: told for the first of a series."""

    pool: str
    host: int


Effect = MapEntries | SendAgain | LookForUse | Publish | PoolDry
