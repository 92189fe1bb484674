"""The first moments of an original: another node was it before, and its last words are still on their way.

In a hand-over the old original forwards until the new one does, so its words are still written. After a split, or a
death, they are old news that is sent again, and must not undo what this kernel has seen since. So, for OVERLAP after a
group became ours:

* what this kernel has changed since, the peer's word changes no more;
* news of this kernel that is read after an older word of the peer was written is written once more: ours is the last;
* a word of a peer that is a replica by then goes into our stream too, because it compared without it, perhaps.

Ids of flows are kept meanwhile, at most FLOWS_MAX; with more the peer's word is taken no longer. What was written in
that time has the timeouts of copies, though this kernel is the original: `written` tells that they want renewing.
"""

from collections.abc import Sequence

from understudy.core.replication.agreement import flow_id
from understudy.core.replication.events import Kind, Record
from understudy.errors import DecodeError
from understudy.units import SECOND, Duration, Instant
from understudy.wire.conntrack import mark_of
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

OVERLAP: Duration = 2 * SECOND
FLOWS_MAX = 1 << 17


class Overlap:
    """Of one pair. Groups are masks."""

    def __init__(self) -> None:
        self.written = 0
        """Groups of which something of the peer was written since they are ours."""
        self._until: dict[int, Instant] = {}
        self._changed: set[int] = set()
        self._written: set[int] = set()

    @property
    def open(self) -> bool:
        """Whether any group is so young."""
        return bool(self._until)

    @property
    def ends(self) -> Instant | None:
        """When `expired` has something to tell."""
        return min(self._until.values(), default=None)

    def begin(self, now: Instant, group: int) -> None:
        self._until[group] = Instant(now + OVERLAP)

    def end(self, group: int) -> None:
        """It is no longer ours, or has been for long."""
        self._until.pop(group, None)
        self.written &= ~(1 << group)
        if not self._until:
            self._changed, self._written = set(), set()

    def expired(self, now: Instant) -> int:
        """Groups whose overlap is over and in which something of the peer was written."""
        renew = 0
        for group in [group for group, until in self._until.items() if now >= until]:
            renew |= self.written & 1 << group
            self.end(group)
        return renew

    def kernel_changed(self, news: Sequence[Record]) -> list[Record]:
        """News of ours, while `open`; what of it is to be written over an older word of the peer."""
        again = []
        for record in news:
            if record[0] > Kind.GONE:
                continue
            try:
                flow = flow_id(record[1])
            except DecodeError:
                continue
            self._changed.add(flow)
            if flow in self._written:
                again.append(record)
        self._bound()
        return again

    def judge(self, news: Sequence[Record], own: int, theirs: int) -> tuple[list[Record], list[Record]]:
        """Of the peer's news what is to be written, and of that what goes into our stream too."""
        kept: list[Record] = []
        told: list[Record] = []
        for record in news:
            if record[0] > Kind.GONE:
                kept.append(record)
                continue
            try:
                bit = 1 << ((mark_of(record[1]) & GROUP_MASK) >> GROUP_SHIFT)
                flow = flow_id(record[1])
            except DecodeError:
                continue
            if own & bit:
                if bit.bit_length() - 1 not in self._until or flow in self._changed:
                    continue
                self._written.add(flow)
                self.written |= bit
                if not theirs & bit:
                    told.append(record)
            kept.append(record)
        self._bound()
        return kept, told

    def _bound(self) -> None:
        if len(self._changed) + len(self._written) > FLOWS_MAX:
            self._until = dict.fromkeys(self._until, Instant(0))  # it expires with this event
            self._changed, self._written = set(), set()
