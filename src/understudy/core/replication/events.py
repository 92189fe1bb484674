"""What happens to the replication of one node: past tense, as data. A batch is one event."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from understudy.units import GroupName, NetworkName


class Kind(IntEnum):
    """What a record says of a flow or an expectation."""

    CHANGED = 1
    """It is new or has changed; the record has all of it."""
    GONE = 2
    EXPECTED = 3
    """An expectation (`CTA_EXPECT_*`)."""
    UNEXPECTED = 4


Record = tuple[Kind, bytes]
"""And the payload of a ctnetlink message: `nfgenmsg` and attributes, as wire.conntrack knows it."""


@dataclass(frozen=True, slots=True)
class KernelChanged:
    """News of this kernel, in order, but for what our own writes caused."""

    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class KernelOverrun:
    """The kernel had more news than its socket could hold: some are lost, nobody knows which.

    Told when it is found, and once more when it is `over`: all that came before is read, and nothing is lost any more.
    """

    over: bool


@dataclass(frozen=True, slots=True)
class Received:
    """A payload that the channel authenticated as `node`'s, on one of the shared networks."""

    node: int
    network: NetworkName
    payload: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """Payloads of `node` that arrived together, in order: the same as Received of each, and cheaper."""

    node: int
    network: NetworkName
    payloads: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Written:
    """The records of the `Write` with this number are in this kernel; `refused` of them it did not take."""

    number: int
    refused: int = 0


@dataclass(frozen=True, slots=True)
class TableFull:
    """This kernel refused records for want of room, told before their Written; or, `full` no longer, it has room."""

    full: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of this kernel's flows, for the `List` with this number."""

    number: int
    entries: Sequence[bytes]
    last: bool
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Drained:
    """All news that the kernel had at the `Drain` with this number has been handed over, an overrun included."""

    number: int


@dataclass(frozen=True, slots=True)
class Owned:
    """This node became the original of the group's flows, or ceased to be: OwnFlows of the core."""

    group: GroupName
    own: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """The gate asks: AskFlows of the core."""

    group: GroupName
    token: int
    drain: bool


@dataclass(frozen=True, slots=True)
class CompareCommanded:
    """An operator wants the two kernels compared now."""

    token: int


@dataclass(frozen=True, slots=True)
class Started:
    """With a stream number that is greater than any before it on this node."""

    stream: int
    owned: frozenset[GroupName] = frozenset()


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time has passed."""


Event = (
    KernelChanged
    | KernelOverrun
    | Received
    | Delivered
    | Written
    | TableFull
    | Listed
    | Drained
    | Owned
    | Asked
    | CompareCommanded
    | Started
    | Tick
)
