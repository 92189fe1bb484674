"""The kernel's messages about flows as records: what belongs to this kernel alone is cut out of them.

A kernel writes few shapes (wire.conntrack.shape). Each is remembered together with the netlink header and with the way
to cut it: whatever is like one of these is recognised by one comparison and cut at once. The rest takes the long way,
to the same result.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from understudy.core.replication.events import Kind, Record
from understudy.errors import DecodeError
from understudy.wire.conntrack.shape import Shape, shape_of

NETLINK_HEADER: Final = 16
_ALIKE_MAX: Final = 8
"""Shapes that are remembered of messages of one size: more than a kernel writes of its own accord."""
_OPENING: Final = (1 << 8 * 6) - 1
"""Of a message as a number: its size and type."""

_Cut = tuple[int, int, Kind, Callable[[bytes, int], tuple[bytes, ...]]]
"""Of messages that are alike: the bits that make them so, and what these are; what they say; their pieces that travel,
from an offset on.
"""


class Cutter:
    """`readers` tells, by the type as it stands in the header, what a message says and how it is read; `with_master`
    makes records of an expectation.
    """

    def __init__(
        self,
        readers: Mapping[bytes, tuple[Kind, Callable[[bytes], bytes]]],
        with_master: Callable[[Kind, bytes], list[Record]],
    ) -> None:
        self._readers = readers
        self._with_master = with_master
        self._cuts: defaultdict[int, list[_Cut]] = defaultdict(list)
        """By size."""
        self.unread = 0
        """Messages that this version does not understand."""

    def cut(self, batch: Iterable[bytes], records: list[Record]) -> None:
        """What these messages say, behind `records`."""
        cuts, append, number_of, join = self._cuts, records.append, int.from_bytes, b"".join
        for data in batch:
            number = number_of(data, "little")
            for mask, expected, kind, pieces in cuts.get(len(data), ()):
                if number & mask == expected:
                    append((kind, join(pieces(data, NETLINK_HEADER))))
                    break
            else:
                try:
                    records += self._read(data)
                except DecodeError:
                    self.unread += 1

    def _read(self, data: bytes) -> list[Record]:
        """Of one that is not like any that is remembered. Raises DecodeError."""
        known = self._readers.get(data[4:6])
        if known is None:
            return []
        kind, reader = known
        message = data[NETLINK_HEADER:]
        raw = reader(message)
        if kind > Kind.GONE:
            return self._with_master(kind, raw)
        alike, shape = self._cuts[len(data)], shape_of(message)
        if len(alike) < _ALIKE_MAX and not shape.strange:
            alike.append(_cut(data, kind, shape))
        return [(kind, raw)]


def _cut(data: bytes, kind: Kind, shape: Shape) -> _Cut:
    behind = 8 * NETLINK_HEADER
    opening = int.from_bytes(data, "little") & _OPENING
    pieces = shape.carried if kind is Kind.CHANGED else shape.named
    return shape.mask << behind | _OPENING, shape.expected << behind | opening, kind, pieces.unpack_from
