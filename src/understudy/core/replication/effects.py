"""What the replication wants done: commands, as data, in the order to carry them out."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.core.replication.events import Record
from understudy.units import GroupName, NetworkName


@dataclass(frozen=True, slots=True)
class Send:
    """Payloads of datagrams to node `node` on one of the shared networks, in order; the channel seals each."""

    node: int
    network: NetworkName
    payloads: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Write:
    """Into this kernel, in order. Answered by Written with the same number."""

    number: int
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class List:
    """Read this kernel's flows of these groups in parts, at most `pace` entries a second. Answered by Listed."""

    number: int
    groups: frozenset[int]
    pace: int = 0
    """0: as fast as can be."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody wants the rest of this List any more: nothing of it needs to be told, its end neither."""

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Read what the event socket holds until it is empty (bounded), hand it over as KernelChanged, then say Drained."""

    number: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Hand over the expectations that stand in this kernel, each behind its master, as KernelChanged: at once, and
    bounded. They are in no listing.
    """

    groups: frozenset[int]
    """Of the masters."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer to Asked. Told again for the same token when an incomplete replica became complete meanwhile."""

    group: GroupName
    token: int
    complete: bool
    detail: str
    waiting: bool = True
    """Whether it may still become complete. False: the peer is not heard, or owns nothing; patience changes nothing."""


@dataclass(frozen=True, slots=True)
class Synced:
    """This node's replica of the group's flows became complete, or ceased to be. Told at every change."""

    group: GroupName
    complete: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Whether another node was the original of the group's flows since this one last was. Told at every change; at
    first it is not so, as far as is known.
    """

    group: GroupName
    elsewhere: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """The answer to CompareCommanded: how many flows each kernel has, and how many of them differ."""

    token: int
    here: int
    there: int
    mismatched: int
    examples: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Renew:
    """This kernel is the original now: give copies that no packet has touched since the timeout of their protocol."""

    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Noted:
    """Worth a line in the journal. `kind` is stable."""

    kind: str
    subject: str
    detail: str


Effect = Send | Write | List | Cancel | Drain | Ready | Synced | Elsewhere | Compared | Renew | Recall | Noted
