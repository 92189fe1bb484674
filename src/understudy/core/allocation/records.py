"""The allocator's table: one entry for each host that has an address of a pool. Addresses are IPv4, as numbers."""

from dataclasses import dataclass

from understudy.units import Duration


@dataclass(frozen=True, slots=True)
class Entry:
    """A host and the address it was given.

    Inside pools: `host` is the inside local address, `given` the inside global one. Outside pools: `host` is the
    outside global address, `given` the outside local one.
    """

    pool: int
    host: int
    given: int


@dataclass(frozen=True, slots=True)
class Record:
    """An entry as it travels. Ages, not instants: two nodes have no clock in common."""

    pool: str
    """By name and scope, which both nodes have from the same text; numbers are each node's own."""
    host: int
    given: int
    age: Duration = 0
    """Since it was made."""
    idle: Duration = 0
    """Since it was last seen in use."""
    released: bool = False


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A pool in one role. One pool of the text that serves two kinds of rules has two of these."""

    number: int
    name: str
    spans: tuple[tuple[int, int], ...]
    """First and last address of each segment, in the order in which they are handed out."""
    timeout: Duration | None
    """After the last use an address is free again; None: never."""
    outside: bool = False
    """Hands out outside local addresses."""
    extended: bool = False
    """Its entries are flows': no other outside host gets in by them."""
    match_length: int | None = None
    """A host keeps its own number within a network of this length (`type match-host`); None: the next address."""
