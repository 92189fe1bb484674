"""The shape of an entry: where everything stands in messages that differ in their values only.

A kernel writes few shapes: a protocol, a family, a zone or none, an event or a listing. The first message of a shape
is walked attribute by attribute and checked; any later one is recognised by its size and one comparison of all its
headers, padding and names at once (as one big integer under a mask), and then read at known places. What a shape was
learnt from does not matter: everything that a check looked at is under the mask, so a message of a known shape is as
valid as the first.

The memory of shapes, and of the last message, is only a memory: without it all results are the same.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Final

from understudy.errors import DecodeError
from understudy.wire.conntrack import attributes as cta
from understudy.wire.conntrack.attributes import AF_INET, FLOW, HEADER, Found, Span, walk

SHAPES_MAX: Final = 1024
"""More shapes than kernels write, and few enough that hostile bytes cannot fill the memory."""
_NEAR: Final = 8
"""Shapes of one size that are tried one after the other. Any more of them differ in the protocol, which a client may
choose: they are looked up by it."""
_PROTOCOL_4: Final = slice(36, 37)
_PROTOCOL_6: Final = slice(60, 61)
"""Where the number of the protocol stands, as every kernel writes the original tuple."""
_PARTS: Final = ("source_port", "destination_port", "id", "type", "code")
_PORTS: Final = (cta.CTA_PROTO_SRC_PORT, cta.CTA_PROTO_DST_PORT)
_BARE: Final[tuple[tuple[int, ...], ...]] = ((),)
_LAYOUTS: Final[dict[int, tuple[tuple[int, ...], ...]]] = {
    1: ((cta.CTA_PROTO_ICMP_ID, cta.CTA_PROTO_ICMP_TYPE, cta.CTA_PROTO_ICMP_CODE),),
    58: ((cta.CTA_PROTO_ICMPV6_ID, cta.CTA_PROTO_ICMPV6_TYPE, cta.CTA_PROTO_ICMPV6_CODE),),
    6: (_PORTS,),
    17: (_PORTS,),
    # DCCP, GRE, SCTP, UDP-Lite: not every kernel knows them by more than their number.
    **dict.fromkeys((33, 47, 132, 136), (_PORTS, ())),
}
"""What a tuple has of its protocol, by number."""
_UPDATED: Final = ("zone", "info", "mark", "labels", "sequence_original", "sequence_reply", "synproxy")
_ORPHANED: Final = (*_UPDATED, "help")
_CREATED: Final = (*_ORPHANED, "master")
_CARRIED: Final = (
    "original", "reply", "zone", "status", "timeout", "info", "help", "labels", "master",
    "sequence_original", "sequence_reply", "synproxy", "mark",
)  # fmt: skip
_NAMED: Final = ("original", "reply", "zone", "mark")


@dataclass(frozen=True, slots=True)
class Cut:
    """How to take a message apart: attributes that go into a request as they stand, cut where TCP has its flags."""

    layout: struct.Struct
    flags: int
    """Which piece is the first direction's flags, without their mask; the second's come two pieces later. 0: none."""


Reorder = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]


class Shape:
    """Places of one shape. A place that it does not have is 0: everything stands behind the first four bytes."""

    def __init__(self, raw: bytes) -> None:
        found = walk(raw, FLOW)
        for each in ("original", "reply", "master"):
            if each in found.attributes:
                check_tuple(raw, found, each)
        if found.attributes.get("original", (0, 0))[0] != HEADER:
            raise DecodeError("flow-order", "original")
        if found.attributes.get("reply", (0, 0))[0] != found.attributes["original"][1]:
            raise DecodeError("flow-order", "reply")
        if _protocol(raw, found, "original") != _protocol(raw, found, "reply"):
            raise DecodeError("flow-tuple", "two protocols")
        self.found: Final[Found] = found
        self.mask: Final = int.from_bytes(found.fixed, "little")
        self.expected: Final = int.from_bytes(raw, "little") & self.mask
        self.family: Final = raw[0]
        self.protocol: Final = _protocol(raw, found, "original")[0]
        self.original_end: Final = found.attributes["original"][1]
        self.reply_end: Final = found.attributes["reply"][1]
        self.zone: Final = self._attribute("zone")
        self.status: Final = self._place("status") + 3 if "status" in found.values else 0
        """Of the byte with the low bits."""
        self.mark: Final = self._place("mark")
        self.state: Final = self._place("info/tcp/state")
        self.sctp_state: Final = self._place("info/sctp/state")
        self.timeout: Final = self._place("timeout")
        self.strange: Final = found.strange
        """Whether it must be written anew before any of it is passed on."""
        self.content, self.order = self._content()
        self.translated: bytes | None = None
        """What requests makes of it once, for translated flows."""

    @cached_property
    def fields(self) -> struct.Struct:
        """Addresses, then ports or what ICMP has, of the original and then of the reply, from the first tuple on."""
        return picking([*self._places("original"), *self._places("reply")], HEADER)

    @cached_property
    def carried(self) -> struct.Struct:
        """What of an entry travels, unless it is strange."""
        return picking(self._merged(_CARRIED))

    @cached_property
    def named(self) -> struct.Struct:
        """What there is to say of a flow that is gone."""
        return picking(self._merged(_NAMED))

    @cached_property
    def updated(self) -> Cut:
        """What an update says beside tuples, status and timeout."""
        return self._cut(_UPDATED)

    @cached_property
    def orphaned(self) -> Cut:
        """What a creation without a master says."""
        return self._cut(_ORPHANED)

    @cached_property
    def created(self) -> Cut:
        return self._cut(_CREATED)

    def reply_pattern(self, raw: bytes) -> bytes:
        """The reply tuple of a message of this shape, for `%`, with its values left open in the order of `fields`."""
        pattern, at = b"", self.original_end
        for begin, end in self._places("reply"):
            pattern += raw[at:begin].replace(b"%", b"%%") + b"%b"
            at = end
        return pattern + raw[at : self.reply_end].replace(b"%", b"%%")

    def _places(self, direction: str) -> list[Span]:
        names = [f"{direction}/ip/source", f"{direction}/ip/destination"]
        names += [f"{direction}/proto/{each}" for each in _PARTS]
        return [self.found.values[each] for each in names if each in self.found.values]

    @property
    def icmp(self) -> bool:
        return "original/proto/id" in self.found.values

    @property
    def ports(self) -> bool:
        return "original/proto/source_port" in self.found.values

    def _place(self, name: str) -> int:
        return self.found.values.get(name, (0, 0))[0]

    def _attribute(self, name: str) -> slice | None:
        span = self.found.attributes.get(name)
        return slice(*span) if span else None

    def _merged(self, names: Sequence[str]) -> list[Span]:
        """The message's header and these attributes in order, with those that touch made one."""
        joined = [(0, HEADER)]
        for begin, end in sorted(self.found.attributes[each] for each in names if each in self.found.attributes):
            if begin == joined[-1][1]:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((begin, end))
        return joined

    def _cut(self, names: Sequence[str]) -> Cut:
        pieces: list[Span] = []
        first, second = self._place("info/tcp/flags_original"), self._place("info/tcp/flags_reply")
        flags = 0
        for span in self._merged(names)[1:]:
            begin, end = span
            if begin < first < second < end:
                flags = len(pieces) + 1
                pieces += [(begin, first), (first, first + 1), (first + 2, second), (second, second + 1)]
                begin = second + 2
            pieces.append((begin, end))
        return Cut(picking(pieces), flags)

    def _content(self) -> tuple[struct.Struct, Reorder | None]:
        """What two kernels must agree on, apart from status: identity, mark, TCP state and scales, labels, helper.

        As they stand in the message, and the order in which they count (None: the same, as in a kernel's listing).
        """
        names = ["info/tcp/state", "info/tcp/scale_original", "info/tcp/scale_reply", "help/name", "mark", "labels"]
        spans = [(HEADER, self.reply_end)] + [self.found.values[each] for each in names if each in self.found.values]
        if "zone" in self.found.attributes:
            spans.append(self.found.attributes["zone"])
        standing = sorted(spans)
        places = [standing.index(each) for each in spans]
        order: Reorder = itemgetter(*places)
        return picking(standing), order if standing != spans else None


def check_tuple(raw: bytes, found: Found, path: str) -> None:
    """Raise DecodeError unless it has two addresses of the message's family, and what its protocol has."""
    size = 4 if raw[0] == AF_INET else 16
    for each in ("source", "destination"):
        begin, end = found.values.get(f"{path}/ip/{each}", (0, 0))
        if end - begin != size:
            raise DecodeError("flow-tuple", f"{path} {each}")
    if f"{path}/proto/protocol" not in found.values:
        raise DecodeError("flow-tuple", f"{path} protocol")
    starts = [found.attributes[f"{path}/proto/{each}"][0] for each in _PARTS if f"{path}/proto/{each}" in found.values]
    kinds = tuple(struct.unpack_from("=2xH", raw, each)[0] for each in starts)
    if kinds not in _LAYOUTS.get(_protocol(raw, found, path)[0], _BARE):
        raise DecodeError("flow-tuple", f"{path} {kinds}")


def _protocol(raw: bytes, found: Found, path: str) -> tuple[int, int]:
    """The protocol's number, and how many bytes its part of the tuple has."""
    begin, end = found.values[f"{path}/proto"]
    return raw[found.values[f"{path}/proto/protocol"][0]], end - begin


def picking(spans: Sequence[Span], at: int = 0) -> struct.Struct:
    """Takes these parts of a message, which are in order, from `at` on."""
    layout = "="
    for begin, end in spans:
        layout += f"{begin - at}x{end - begin}s"
        at = end
    return struct.Struct(layout)


class _Memory:
    """Shapes by size, and the last message: most are asked more than one question. See the head of this file."""

    def __init__(self) -> None:
        self._shapes: dict[int, list[Shape]] = {}
        self._far: dict[tuple[int, bytes], list[Shape]] = {}
        self._count = 0
        self._raw = b""
        self._shape: Shape | None = None

    def shape_of(self, raw: bytes) -> Shape:
        """The shape of a message. Raises DecodeError."""
        if raw is self._raw and self._shape is not None:
            return self._shape
        number = int.from_bytes(raw, "little")
        for shape in self._shapes.get(len(raw), ()):
            if number & shape.mask == shape.expected:
                break
        else:
            shape = self._further(raw, number)
        self._raw, self._shape = raw, shape
        return shape

    def _further(self, raw: bytes, number: int) -> Shape:
        """Not among the nearest: found by its protocol, or learnt."""
        place = len(raw), raw[_PROTOCOL_4 if raw[:1] == bytes((AF_INET,)) else _PROTOCOL_6]
        for shape in self._far.get(place, ()):
            if number & shape.mask == shape.expected:
                return shape
        shape = Shape(raw)
        self._count += 1
        if self._count > SHAPES_MAX:
            self._shapes.clear()
            self._far.clear()
            self._count = 1
        near = self._shapes.setdefault(len(raw), [])
        (near if len(near) < _NEAR else self._far.setdefault(place, [])).append(shape)
        return shape


shape_of: Final = _Memory().shape_of
