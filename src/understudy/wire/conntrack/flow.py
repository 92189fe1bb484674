"""An entry as a value: for people, tests and rare questions. What is many goes through `entry` and `requests`."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from understudy.units import Address
from understudy.wire.conntrack import attributes as cta
from understudy.wire.conntrack.attributes import AF_INET, AF_INET6, Found, attribute, nest
from understudy.wire.conntrack.shape import shape_of

ICMP, TCP, UDP, DCCP, GRE, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 58, 132, 136
_WITH_PORTS: Final = frozenset((TCP, UDP, DCCP, GRE, SCTP, UDPLITE))
_NAMES: Final = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite"}
TCP_STATES: Final = (
    "none", "syn-sent", "syn-received", "established", "fin-wait", "close-wait", "last-ack", "time-wait", "close",
    "syn-sent2",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction. `here` and `there` are the ports or GRE keys of source and destination; ICMP has its id `here`."""

    source: Address
    destination: Address
    protocol: int
    here: int = 0
    there: int = 0
    kind: int = 0
    """ICMP's type."""
    code: int = 0
    zone: int = 0
    """Where only this direction is in a zone."""


@dataclass(frozen=True, slots=True)
class Tcp:
    state: int
    scale_original: int = 0
    scale_reply: int = 0
    flags_original: int = 0
    flags_reply: int = 0


@dataclass(frozen=True, slots=True)
class Sequence:
    """How a helper that changed lengths moved the sequence numbers of one direction, before and after a position."""

    position: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Flow:
    """An entry, as far as it is carried. None is what the message does not say."""

    original: Tuple
    reply: Tuple
    status: int | None = None
    timeout: int | None = None
    """Seconds."""
    mark: int | None = None
    tcp: Tcp | None = None
    sctp: tuple[int, int, int] | None = None
    """State and verification tags."""
    zone: int = 0
    labels: bytes = b""
    helper: str = ""
    master: Tuple | None = None
    sequences: tuple[Sequence | None, Sequence | None] = (None, None)


def decode(raw: bytes) -> Flow:
    """Read an entry. Raises DecodeError."""
    reader = _Reader(raw, shape_of(raw).found)
    tcp = sctp = None
    if reader.has("info/tcp"):
        names = ("state", "scale_original", "scale_reply")
        flags = (reader.bytes(f"info/tcp/flags_{each}")[:1] for each in ("original", "reply"))
        tcp = Tcp(
            *(reader.number(f"info/tcp/{each}") or 0 for each in names),
            *(int.from_bytes(each, "big") for each in flags),
        )
    if reader.has("info/sctp"):
        state, *tags = (reader.number(f"info/sctp/{each}") or 0 for each in ("state", "tag_original", "tag_reply"))
        sctp = (state, tags[0], tags[1])
    return Flow(
        reader.tuple("original"),
        reader.tuple("reply"),
        reader.number("status"),
        reader.number("timeout"),
        reader.number("mark"),
        tcp,
        sctp,
        reader.number("zone") or 0,
        reader.bytes("labels"),
        reader.bytes("help/name")[:-1].decode("ascii"),
        reader.tuple("master") if reader.has("master") else None,
        (reader.sequence("sequence_original"), reader.sequence("sequence_reply")),
    )


_TIMESTAMP: Final = cta.Nest("", {20: cta.Nest("timestamp", {1: cta.Value("start", (8,)), 2: cta.Value("stop", (8,))})})
"""CTA_TIMESTAMP: of no meaning to another kernel, so it is no part of what is carried."""


def started_ns(raw: bytes) -> int | None:
    """When this kernel made the entry, since 1970; None where it keeps no time (`nf_conntrack_timestamp`)."""
    span = cta.walk(raw, _TIMESTAMP).values.get("timestamp/start")
    return int.from_bytes(raw[span[0] : span[1]], "big") if span else None


def build(flow: Flow) -> bytes:
    """The message that a kernel would send of it. Absent values are left out."""
    parts = [build_tuple(cta.CTA_TUPLE_ORIG, flow.original), build_tuple(cta.CTA_TUPLE_REPLY, flow.reply)]
    if flow.zone:
        parts.append(attribute(cta.CTA_ZONE, flow.zone.to_bytes(2, "big")))
    for kind, value in ((cta.CTA_STATUS, flow.status), (cta.CTA_TIMEOUT, flow.timeout)):
        if value is not None:
            parts.append(attribute(kind, value.to_bytes(4, "big")))
    if flow.tcp is not None:
        parts.append(nest(cta.CTA_PROTOINFO, _build_tcp(flow.tcp)))
    if flow.sctp is not None:
        state, *tags = flow.sctp
        members = [attribute(1, bytes((state,)))]
        members += [attribute(kind, tag.to_bytes(4, "big")) for kind, tag in enumerate(tags, 2)]
        parts.append(nest(cta.CTA_PROTOINFO, nest(cta.CTA_PROTOINFO_SCTP, *members)))
    if flow.helper:
        parts.append(nest(cta.CTA_HELP, attribute(cta.CTA_HELP_NAME, flow.helper.encode("ascii") + b"\0")))
    if flow.labels:
        parts.append(attribute(cta.CTA_LABELS, flow.labels))
    if flow.master is not None:
        parts.append(build_tuple(cta.CTA_TUPLE_MASTER, flow.master))
    for kind, sequence in zip((cta.CTA_SEQ_ADJ_ORIG, cta.CTA_SEQ_ADJ_REPLY), flow.sequences, strict=True):
        if sequence is not None:
            values = (sequence.position, sequence.before, sequence.after)
            parts.append(nest(kind, *(attribute(at, value.to_bytes(4, "big")) for at, value in enumerate(values, 1))))
    if flow.mark is not None:
        parts.append(attribute(cta.CTA_MARK, flow.mark.to_bytes(4, "big")))
    return header(flow.original.source) + b"".join(parts)


def header(address: Address) -> bytes:
    """`nfgenmsg`: family, version 0, resource 0."""
    return bytes((AF_INET if address.version == 4 else AF_INET6, 0, 0, 0))


def build_tuple(kind: int, value: Tuple) -> bytes:
    """A tuple as attribute `kind`."""
    first = cta.CTA_IP_V4_SRC if value.source.version == 4 else cta.CTA_IP_V6_SRC
    ip = nest(cta.CTA_TUPLE_IP, attribute(first, value.source.packed), attribute(first + 1, value.destination.packed))
    members = [attribute(cta.CTA_PROTO_NUM, bytes((value.protocol,)))]
    here, there = value.here.to_bytes(2, "big"), value.there.to_bytes(2, "big")
    if value.protocol in _WITH_PORTS:
        members += [attribute(cta.CTA_PROTO_SRC_PORT, here), attribute(cta.CTA_PROTO_DST_PORT, there)]
    elif value.protocol in (ICMP, ICMPV6):
        at = cta.CTA_PROTO_ICMP_ID if value.protocol == ICMP else cta.CTA_PROTO_ICMPV6_ID
        values = (here, bytes((value.kind,)), bytes((value.code,)))
        members += [attribute(at + offset, each) for offset, each in enumerate(values)]
    zone = [attribute(cta.CTA_TUPLE_ZONE, value.zone.to_bytes(2, "big"))] if value.zone else []
    return nest(kind, ip, nest(cta.CTA_TUPLE_PROTO, *members), *zone)


def describe(raw: bytes) -> str:
    """One line for people: `tcp 10.9.0.11:4711 -> 198.51.100.9:80 via 203.0.113.10:4711, established`.

    `via` is what the source becomes, `to` what the destination becomes.
    """
    flow = decode(raw)
    there, back = flow.original, flow.reply
    name = _NAMES.get(there.protocol, f"protocol {there.protocol}")
    text = f"{name} {_end(there.source, there, there.here)} -> {_end(there.destination, there, there.there)}"
    ports = there.protocol in _WITH_PORTS
    if (back.destination, back.there if ports else back.here) != (there.source, there.here):
        text += f" via {_end(back.destination, there, back.there if ports else back.here)}"
    if (back.source, back.here if ports else 0) != (there.destination, there.there if ports else 0):
        text += f" to {_end(back.source, there, back.here)}"
    if flow.tcp is not None:
        text += f", {TCP_STATES[flow.tcp.state] if flow.tcp.state < len(TCP_STATES) else flow.tcp.state}"
    if flow.zone:
        text += f", zone {flow.zone}"
    return text


def _end(address: Address, of: Tuple, port: int) -> str:
    if of.protocol not in _WITH_PORTS:
        return f"{address}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _build_tcp(tcp: Tcp) -> bytes:
    return nest(
        cta.CTA_PROTOINFO_TCP,
        attribute(cta.CTA_PROTOINFO_TCP_STATE, bytes((tcp.state,))),
        attribute(cta.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, bytes((tcp.scale_original,))),
        attribute(cta.CTA_PROTOINFO_TCP_WSCALE_REPLY, bytes((tcp.scale_reply,))),
        attribute(cta.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, bytes((tcp.flags_original, 0))),
        attribute(cta.CTA_PROTOINFO_TCP_FLAGS_REPLY, bytes((tcp.flags_reply, 0))),
    )


class _Reader:
    """Values of a message by path."""

    def __init__(self, raw: bytes, found: Found) -> None:
        self._raw = raw
        self._found = found

    def has(self, name: str) -> bool:
        return name in self._found.values

    def bytes(self, name: str) -> bytes:
        begin, end = self._found.values.get(name, (0, 0))
        return self._raw[begin:end]

    def number(self, name: str) -> int | None:
        return int.from_bytes(self.bytes(name), "big") if self.has(name) else None

    def tuple(self, name: str) -> Tuple:
        source, destination = (ip_address(self.bytes(f"{name}/ip/{each}")) for each in ("source", "destination"))
        here = "proto/id" if self.has(f"{name}/proto/id") else "proto/source_port"
        names = ("proto/protocol", here, "proto/destination_port", "proto/type", "proto/code", "zone")
        protocol, *rest = (self.number(f"{name}/{each}") or 0 for each in names)
        return Tuple(source, destination, protocol, *rest)

    def sequence(self, name: str) -> Sequence | None:
        if not self.has(name):
            return None
        return Sequence(*(self.number(f"{name}/{each}") or 0 for each in ("position", "before", "after")))
