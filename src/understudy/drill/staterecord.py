"""What the watcher of both kernels brings home about kept flows: raw instants, nothing judged yet.

Instants are CLOCK_MONOTONIC as everywhere. A kernel's word about a flow is stamped when it was read, some milliseconds
late on a busy machine; where it matters, the kernel's own note of when it took an entry (`Listing.flows[...].started`)
stands in for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from understudy.drill.flowtable import Flow
from understudy.units import Instant


@dataclass(frozen=True, slots=True)
class Listing:
    """One reading of a kernel's whole table."""

    node: str
    began: Instant
    ended: Instant
    flows: Mapping[bytes, Flow]
    """By key; `started` is by the monotonic clock here, 0 if the kernel did not note it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a kernel said of one flow."""

    instant: Instant
    node: str
    flow: Flow
    gone: bool
    new: bool = False
    """It begins with this."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What one record of the replication's stream said of one flow."""

    instant: Instant
    place: tuple[int, int]
    """In the order of the origin: its stream and the number within it. Paths and repetition mix the arrivals."""
    flow: Flow
    gone: bool


@dataclass(frozen=True, slots=True)
class StateRecord:
    """From the process that watches both kernels and the wire between them."""

    listings: tuple[Listing, ...]
    """In the order of time; the first of each node is from before the fault."""
    changes: tuple[Change, ...]
    """Both kernels', in the order in which they were read."""
    left: tuple[Carried, ...]
    """As it left the active's cable."""
    arrived: tuple[Carried, ...]
    """As it entered the standby's cable."""
    differing: tuple[bytes, ...]
    """Kept flows that differed between the kernels before the fault, in two listings one after the other."""
    since: Instant
    """From here on news were read as they came."""
    unread: int = 0
    """Datagrams of the stream that could not be opened or read: what they carried counts as never sent."""
    overruns: Mapping[str, int] = field(default_factory=dict)
    """By node, how often the kernel had more news than the watcher's own socket held; it listed anew then."""
