"""How it is known that nothing is missing: digests of both kernels, compared by bucket, and what differs transferred.

A round is opened by the replica (Round) and answered by the origin (Answer):

    COMPARE     both list their kernels; a flow counts in one of 65536 buckets with a 64-bit digest of its content
    DIGESTS     the origin's, in the order of its stream, after its news up to the listing's end (Drain)
    WANT        the buckets that differ (the COMPARE of an empty kernel wants all, and nothing is compared)
    SNAPSHOT    the origin lists again and tells every flow of those buckets, at once when read; SNAPSHOT_END; before
                that the expectations that stand in its kernel, of which there are no digests, as news
    verify      the replica has written all that, lists its own, ends what the origin does not have, and compares

Flows change meanwhile. What the stream carried since the round began is *touched*: its truth is in the stream and not
in a listing. The origin does not tell a touched flow's snapshot, the replica does not judge it. Because news is drained
before each END, every change that a listing may have seen or missed is touched by the time it is judged; so what
differs and is untouched does differ. Half-open flows are in no digest.

While a node is not the original its kernel changes without its stream. So one that becomes the original once more says
ANEW: words from before it, which may come late, are behind it, and no round goes on across it.

Here is what both sides of a round share; `answer` is the origin's side, `round` the replica's. Only ids (Python's
keyed hash of the identity: 8 bytes) are kept, and only while a round is under way.
"""

from array import array
from collections.abc import Sequence
from typing import Protocol

from understudy.core.replication.events import Kind, Record
from understudy.core.settings import FlowSettings, Keeping
from understudy.errors import DecodeError
from understudy.wire.conntrack import BUCKETS, identity, summary
from understudy.wire.flowsync import Scope, Word
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

_MARKS_MAX = 65536
FLOWS_MAX = 1 << 21
"""Ids that a round keeps of one kind: some 200 MB, twice the flows of a large gateway."""


class Desk(Protocol):
    """What a round needs done: the machine around it."""

    def list_kernel(self, groups: int, *, urgent: bool) -> int: ...
    def drain(self) -> int: ...
    def recall(self, groups: int) -> None: ...
    def say(self, word: Word, content: bytes) -> None: ...
    def tell(self, payloads: Sequence[bytes]) -> None: ...
    def write(self, records: Sequence[Record]) -> bool: ...
    def ticket(self) -> int: ...
    def done(self, ticket: int) -> bool: ...
    def crowded(self) -> bool: ...


class Selection:
    """Which flows a round is about: by mark, remembered."""

    def __init__(self, flows: FlowSettings, groups: int, scope: Scope) -> None:
        self.groups = groups
        self._flows = flows
        self._keeping = Keeping.COPY if scope is Scope.COPY else Keeping.REPLICATE
        self._known: dict[int, int] = {}

    def group(self, mark: int) -> int:
        """The group of a flow with this mark; 0 if the round is not about it."""
        known = self._known.get(mark)
        if known is None:
            group = (mark & GROUP_MASK) >> GROUP_SHIFT
            known = group if self.groups >> group & 1 and self._flows.keeping(mark) is self._keeping else 0
            if len(self._known) >= _MARKS_MAX:
                self._known.clear()
            self._known[mark] = known
        return known


class Census:
    """Digests by bucket and numbers by group of one listing."""

    def __init__(self, selection: Selection) -> None:
        self.digests = array("Q", bytes(8 * BUCKETS))
        self.counts: dict[int, int] = {}
        self._selection = selection

    @property
    def entries(self) -> int:
        return sum(self.counts.values())

    def add(self, raws: Sequence[bytes]) -> None:
        digests, counts, group_of = self.digests, self.counts, self._selection.group
        for raw in raws:
            try:
                mark, bucket, digest = summary(raw)
            except DecodeError:
                continue  # the kernel told something that we cannot read: it is in neither digest
            if group := group_of(mark):
                digests[bucket] ^= digest
                counts[group] = counts.get(group, 0) + 1


def flow_id(raw: bytes) -> int:
    return hash(identity(raw))


def flow_ids(records: Sequence[tuple[int, bytes]]) -> set[int]:
    found = set()
    for kind, raw in records:
        if kind <= Kind.GONE:
            try:
                found.add(flow_id(raw))
            except DecodeError:
                continue
    return found
