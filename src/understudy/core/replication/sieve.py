"""What of this kernel's news goes to the peer: flows of groups that are ours, which the file wants replicated.

News of a group that the peer owns is somebody's hand on the standby's kernel, or its own timers: never sent, but a
reason to compare. Where everything is replicated and everything is ours, no mark needs to be read. What a later record
of the same batch says again is left out: a short connection in one batch is its end, and a long one its last state.
"""

from collections.abc import Sequence

from understudy.core.replication.events import Kind, Record
from understudy.core.settings import FlowSettings, Keeping
from understudy.errors import DecodeError
from understudy.wire.conntrack import half_open, mark_of, original
from understudy.wire.conntrack.attributes import HEADER
from understudy.wire.conntrack.shape import shape_of
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

_MARKS_MAX = 65536
_EVERYTHING = object()
"""In the place of a shape: whatever was said of the flow before is void."""


class Sieve:
    """`groups`: those shared with the peer, as a mask. `numbers`: of all groups of this node."""

    def __init__(self, flows: FlowSettings, groups: int, numbers: Sequence[int]) -> None:
        self.foreign = False
        """There was news of flows that are not ours. The reader resets it."""
        self._flows = flows
        self._groups = groups
        everything = [*flows.bindings.values(), *(flows.groups.get(number, Keeping.NONE) for number in numbers)]
        all_ours = groups == sum(1 << number for number in set(numbers))
        self._plain = all_ours and all(keeping is Keeping.REPLICATE for keeping in everything)
        self._verdicts: dict[int, int] = {}

    def take(self, records: Sequence[Record], own: int) -> Sequence[Record]:
        """In order. `own`: mask of the groups that are ours."""
        if self._plain and own == self._groups:
            return coalesced(records)
        taken = []
        for record in records:
            kind, raw = record
            if kind > Kind.GONE:
                if own:
                    taken.append(record)
                continue
            try:
                group = self._group(mark_of(raw))
                if group and own >> group & 1:
                    taken.append(record)
                elif group and not half_open(raw):  # half-open copies are short-lived by design
                    self.foreign = True
            except DecodeError:
                continue
        return coalesced(taken)

    def _group(self, mark: int) -> int:
        """Of a replicated flow; 0 for any other."""
        group = self._verdicts.get(mark)
        if group is None:
            group = (mark & GROUP_MASK) >> GROUP_SHIFT
            if not self._groups >> group & 1 or self._flows.keeping(mark) is not Keeping.REPLICATE:
                group = 0
            if len(self._verdicts) >= _MARKS_MAX:
                self._verdicts.clear()
            self._verdicts[mark] = group
        return group


def coalesced(records: Sequence[Record]) -> Sequence[Record]:
    """Without what a later record of the same flow makes void: an end all before it, a change those that say the same.

    An update names only what has changed, so a later one replaces an earlier one of the same shape, and no other.
    """
    if len(records) < 2:
        return records
    if len({raw[: HEADER + raw[HEADER]] for _, raw in records if len(raw) > HEADER}) == len(records):
        return records  # the first attribute is the original tuple: no flow occurs twice
    later: dict[bytes, object] = {}
    kept = []
    for record in reversed(records):
        kind, raw = record
        if kind <= Kind.GONE:
            try:
                flow = original(raw)
                shape = _EVERYTHING if kind is Kind.GONE else shape_of(raw)
            except DecodeError:
                continue
            known = later.get(flow)
            if kind is Kind.CHANGED and (known is _EVERYTHING or known is shape):
                continue
            later[flow] = shape
        kept.append(record)
    kept.reverse()
    return kept
