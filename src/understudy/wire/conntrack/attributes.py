"""The attributes of ctnetlink: their numbers, what is valid inside of them, and a strict walk through a message.

The numbers are the kernel's (linux/netfilter/nfnetlink_conntrack.h). What a walk accepts is what every kernel writes:
each attribute once, those of a tuple in ascending order, padding of zeros. So equal tuples are equal bytes on every
node, and whatever else arrives is refused. Attributes that are not in the tables are passed over, and never passed on:
at the top because nobody asks for them, inside of others because `known` leaves them out.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from understudy.errors import DecodeError

MESSAGE_MAX: Final = 2048
"""Bytes of `nfgenmsg` and attributes. The kernel's own longest entries have some 600."""
HEADER: Final = 4
"""Bytes of `nfgenmsg` (family, version, resource), and of an attribute's header."""
NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF
AF_INET: Final = 2
AF_INET6: Final = 10

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO, CTA_HELP, CTA_NAT_SRC, CTA_TIMEOUT, CTA_MARK = range(1, 9)
CTA_USE, CTA_ID, CTA_NAT_DST, CTA_TUPLE_MASTER, CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY = 11, 12, 13, 14, 15, 16
CTA_ZONE, CTA_MARK_MASK, CTA_LABELS, CTA_SYNPROXY = 18, 21, 22, 24
CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE = 1, 2, 3
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE = 4, 5, 6
CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_ICMPV6_CODE = 7, 8, 9
CTA_PROTOINFO_TCP, CTA_PROTOINFO_DCCP, CTA_PROTOINFO_SCTP = 1, 2, 3
CTA_PROTOINFO_TCP_STATE, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, CTA_PROTOINFO_TCP_WSCALE_REPLY = 1, 2, 3
CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY = 4, 5
CTA_NAT_V4_MINIP, CTA_NAT_V4_MAXIP, CTA_NAT_PROTO, CTA_NAT_V6_MINIP, CTA_NAT_V6_MAXIP = 1, 2, 3, 4, 5
CTA_PROTONAT_PORT_MIN, CTA_PROTONAT_PORT_MAX = 1, 2
CTA_HELP_NAME = 1
CTA_EXPECT_MASTER, CTA_EXPECT_TUPLE, CTA_EXPECT_MASK, CTA_EXPECT_TIMEOUT, CTA_EXPECT_ID = 1, 2, 3, 4, 5
CTA_EXPECT_HELP_NAME, CTA_EXPECT_ZONE, CTA_EXPECT_FLAGS, CTA_EXPECT_CLASS, CTA_EXPECT_NAT, CTA_EXPECT_FN = range(6, 12)

IPS_EXPECTED, IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED, IPS_SRC_NAT, IPS_DST_NAT = 1, 2, 4, 8, 16, 32
IPS_FIXED_TIMEOUT = 1 << 10

_ATTRIBUTE: Final = struct.Struct("=HH")

Span = tuple[int, int]
"""Where something begins and ends in a message."""


@dataclass(frozen=True, slots=True)
class Value:
    """An attribute that holds bytes: which sizes are valid, and which of its bits decide the shape (see `shape`)."""

    name: str
    sizes: tuple[int, ...]
    fixed: int = 0
    """These bits of every byte belong to the shape."""
    below: int = 256
    """Every byte is less than this."""


@dataclass(frozen=True, slots=True)
class Text:
    """A name of the kernel's: printable, ended by a zero, part of the shape."""

    name: str
    size_max: int


@dataclass(frozen=True, slots=True)
class Nest:
    """An attribute of attributes."""

    name: str
    members: Mapping[int, "Value | Text | Nest"]
    ascending: bool = False


def _tuple(name: str) -> Nest:
    address = {
        CTA_IP_V4_SRC: Value("source", (4,)),
        CTA_IP_V4_DST: Value("destination", (4,)),
        CTA_IP_V6_SRC: Value("source", (16,)),
        CTA_IP_V6_DST: Value("destination", (16,)),
    }
    protocol = {
        CTA_PROTO_NUM: Value("protocol", (1,), 0xFF),
        CTA_PROTO_SRC_PORT: Value("source_port", (2,)),
        CTA_PROTO_DST_PORT: Value("destination_port", (2,)),
        CTA_PROTO_ICMP_ID: Value("id", (2,)),
        CTA_PROTO_ICMP_TYPE: Value("type", (1,)),
        CTA_PROTO_ICMP_CODE: Value("code", (1,)),
        CTA_PROTO_ICMPV6_ID: Value("id", (2,)),
        CTA_PROTO_ICMPV6_TYPE: Value("type", (1,)),
        CTA_PROTO_ICMPV6_CODE: Value("code", (1,)),
    }
    return Nest(
        name,
        {
            CTA_TUPLE_IP: Nest("ip", address, ascending=True),
            CTA_TUPLE_PROTO: Nest("proto", protocol, ascending=True),
            CTA_TUPLE_ZONE: Value("zone", (2,)),
        },
        ascending=True,
    )


def _sequence(name: str) -> Nest:
    return Nest(name, {1: Value("position", (4,)), 2: Value("before", (4,)), 3: Value("after", (4,))})


_TCP: Final = {
    CTA_PROTOINFO_TCP_STATE: Value("state", (1,), 0xF0, 16),
    CTA_PROTOINFO_TCP_WSCALE_ORIGINAL: Value("scale_original", (1,), 0xF0, 16),
    CTA_PROTOINFO_TCP_WSCALE_REPLY: Value("scale_reply", (1,), 0xF0, 16),
    CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: Value("flags_original", (2,)),
    CTA_PROTOINFO_TCP_FLAGS_REPLY: Value("flags_reply", (2,)),
}
_SCTP: Final = {
    1: Value("state", (1,), 0xF0, 16),
    2: Value("tag_original", (4,)),
    3: Value("tag_reply", (4,)),
}
_DCCP: Final = {1: Value("state", (1,)), 2: Value("role", (1,)), 3: Value("sequence", (8,))}
FLOW: Final = Nest(
    "",
    {
        CTA_TUPLE_ORIG: _tuple("original"),
        CTA_TUPLE_REPLY: _tuple("reply"),
        CTA_STATUS: Value("status", (4,)),
        CTA_PROTOINFO: Nest(
            "info",
            {
                CTA_PROTOINFO_TCP: Nest("tcp", _TCP),
                CTA_PROTOINFO_DCCP: Nest("dccp", _DCCP),
                CTA_PROTOINFO_SCTP: Nest("sctp", _SCTP),
            },
        ),
        CTA_HELP: Nest("help", {CTA_HELP_NAME: Text("name", 16)}),
        CTA_TIMEOUT: Value("timeout", (4,)),
        CTA_MARK: Value("mark", (4,)),
        CTA_TUPLE_MASTER: _tuple("master"),
        CTA_SEQ_ADJ_ORIG: _sequence("sequence_original"),
        CTA_SEQ_ADJ_REPLY: _sequence("sequence_reply"),
        CTA_ZONE: Value("zone", (2,)),
        CTA_LABELS: Value("labels", (4, 8, 12, 16)),
        CTA_SYNPROXY: Nest("synproxy", {1: Value("isn", (4,)), 2: Value("its", (4,)), 3: Value("offset", (4,))}),
    },
)
"""What of an entry is carried to the other kernel."""

EXPECTATION: Final = Nest(
    "",
    {
        CTA_EXPECT_MASTER: _tuple("master"),
        CTA_EXPECT_TUPLE: _tuple("tuple"),
        CTA_EXPECT_MASK: _tuple("mask"),
        CTA_EXPECT_HELP_NAME: Text("helper", 16),
        CTA_EXPECT_ZONE: Value("zone", (2,)),
        CTA_EXPECT_FLAGS: Value("flags", (4,)),
        CTA_EXPECT_CLASS: Value("class", (4,)),
        CTA_EXPECT_NAT: Nest("nat", {1: Value("direction", (4,)), 2: _tuple("tuple")}),
        CTA_EXPECT_FN: Text("function", 32),
    },
)


class Found:
    """What a walk found, by path (`original/ip/source`): where the attribute and where its value are."""

    __slots__ = ("attributes", "fixed", "strange", "values")

    def __init__(self, size: int) -> None:
        self.attributes: dict[str, Span] = {}
        """With header and padding."""
        self.values: dict[str, Span] = {}
        self.fixed = bytearray(size)
        """The bits that make two messages of one size one shape."""
        self.strange = False
        """Some attribute holds another that is not in the table."""


def walk(raw: bytes, schema: Nest) -> Found:
    """All of a message against a table. Raises DecodeError."""
    if not HEADER < len(raw) <= MESSAGE_MAX:
        raise DecodeError("flow-size", str(len(raw)))
    if raw[0] not in (AF_INET, AF_INET6) or raw[1]:
        raise DecodeError("flow-family", raw[:HEADER].hex())
    found = Found(len(raw))
    found.fixed[:HEADER] = b"\xff" * HEADER
    _walk(raw, (HEADER, len(raw)), schema, "", found)
    return found


def _walk(raw: bytes, span: Span, schema: Nest, path: str, found: Found) -> None:
    offset, end = span
    before = 0
    while offset < end:
        if end - offset < HEADER:
            raise DecodeError("flow-attribute", "cut")
        size, flagged = _ATTRIBUTE.unpack_from(raw, offset)
        kind = flagged & NLA_TYPE_MASK
        stop, aligned = offset + size, offset + (size + 3 & ~3)
        if size < HEADER or aligned > end:
            raise DecodeError("flow-attribute", f"{path or 'message'} {kind}")
        found.fixed[offset : offset + HEADER] = b"\xff" * HEADER
        member = schema.members.get(kind)
        if member is None:
            if schema.ascending:
                raise DecodeError("flow-tuple", f"{path} {kind}")
            found.strange = found.strange or bool(path)
            offset = aligned
            continue
        name = f"{path}/{member.name}" if path else member.name
        if name in found.values or (schema.ascending and kind <= before):
            raise DecodeError("flow-order", name)
        if bool(flagged & NLA_F_NESTED) != isinstance(member, Nest):
            raise DecodeError("flow-attribute", name)
        if any(raw[stop:aligned]):
            raise DecodeError("flow-padding", name)
        found.fixed[stop:aligned] = b"\xff" * (aligned - stop)
        found.attributes[name] = (offset, aligned)
        value = (offset + HEADER, stop)
        found.values[name] = value
        match member:
            case Nest():
                _walk(raw, value, member, name, found)
            case Text():
                _text(raw, value, member, name, found)
            case Value():
                _value(raw, value, member, name, found)
        before, offset = kind, aligned


def known(raw: bytes, schema: Nest) -> bytes:
    """A message that was walked, without what is not in the table, at any depth."""
    return raw[:HEADER] + _known(raw, (HEADER, len(raw)), schema)


def _known(raw: bytes, span: Span, schema: Nest) -> bytes:
    kept = []
    offset, end = span
    while offset < end:
        size, flagged = _ATTRIBUTE.unpack_from(raw, offset)
        member = schema.members.get(flagged & NLA_TYPE_MASK)
        following = offset + (size + 3 & ~3)
        if isinstance(member, Nest):
            kept.append(attribute(flagged, _known(raw, (offset + HEADER, offset + size), member)))
        elif member is not None:
            kept.append(raw[offset:following])
        offset = following
    return b"".join(kept)


def _value(raw: bytes, span: Span, member: Value, name: str, found: Found) -> None:
    begin, end = span
    if end - begin not in member.sizes:
        raise DecodeError("flow-value", name)
    if member.below < 256 and max(raw[begin:end]) >= member.below:
        raise DecodeError("flow-value", name)
    found.fixed[begin:end] = bytes((member.fixed,)) * (end - begin)


def _text(raw: bytes, span: Span, member: Text, name: str, found: Found) -> None:
    begin, end = span
    text = raw[begin:end]
    if not 1 < len(text) <= member.size_max or text[-1] or not all(0x20 < each < 0x7F for each in text[:-1]):
        raise DecodeError("flow-name", name)
    found.fixed[begin:end] = b"\xff" * (end - begin)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + HEADER, kind) + payload + bytes(-len(payload) % 4)


def nest(kind: int, *members: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(members))
