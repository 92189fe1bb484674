"""What happens to the allocator: past tense, as data. A batch is one event."""

from dataclasses import dataclass

from understudy.core.allocation.records import Entry, PoolSettings, Record


@dataclass(frozen=True, slots=True)
class Waiting:
    """The first packet of a flow for whose host the kernel knew no address; it was not forwarded."""

    pool: int
    host: int
    packet: bytes
    mark: int = 0
    """The packet mark that it had."""
    leaving: int = 0
    """Index of the interface by which it was to leave."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The pools there are, and what of their addresses is somebody's own: first and last of each range, sorted."""

    pools: tuple[PoolSettings, ...]
    reserved: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Adopted:
    """What the kernel's maps held when we came: of an allocator before us."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """In the order of their coming."""

    packets: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    """The answer to MapEntries."""

    number: int
    done: bool = True


@dataclass(frozen=True, slots=True)
class UseSeen:
    """The answer to LookForUse: addresses that take part in a flow of this kernel; None if that could not be found."""

    addresses: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Replicated:
    """The peer's table changed; `whole`: this is all of it."""

    records: tuple[Record, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Cleared:
    """An operator takes entries away: those of an address, given or host, or all."""

    address: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Configured | Adopted | Logged | Mapped | UseSeen | Replicated | Cleared | Tick
