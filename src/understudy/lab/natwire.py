"""Packets of a case as bytes, and back: what the scratch router and the pair send and look for (pure).

Every packet carries a word of its own, so that nothing else is taken for it. A TCP segment is one of four: the one that
begins a connection, its answer, and what goes forth and back once it is established; their sequence numbers fit.
"""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from understudy.errors import DecodeError
from understudy.ios.model import Role
from understudy.lab.natcases import Seen, Step
from understudy.wire.checksum import checksum, pseudo_header_sum
from understudy.wire.frame import parse_frame

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50}
ANY_PORT = 33_000
"""Where a case says nothing of a port or an ICMP identifier."""
_ICMP = {"echo-reply": 0, "echo-request": 8}
_PORTS = struct.Struct("!HH")
_SYN, _SYN_ACK, _ACK = 0x02, 0x12, 0x10
_FIRST, _SECOND = 1000, 2000
_SEGMENTS = {
    "begin": (_SYN, _FIRST, 0),
    "answer": (_SYN_ACK, _SECOND, _FIRST + 9),
    "forth": (_ACK, _FIRST + 9, _SECOND + 9),
    "back": (_ACK, _SECOND + 9, _FIRST + 9),
}
"""Flags, sequence and acknowledged number: a word of eight bytes goes with the first two already."""
_SWAPPED = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport", "id": "id"}


def sides(direction: str) -> tuple[Role | None, Role]:
    """From where, and whereto; None for the router itself."""
    roles = {"in": Role.INSIDE, "out": Role.OUTSIDE}
    coming, _, going = direction.partition(">")
    return roles.get(coming), roles[going]


def resolved(step: Step, before: Sequence[Seen | None]) -> dict[str, str | int]:
    """The fields to send: `any` in an answer is what the packet that it answers showed."""
    answered = before[step.reply_to] if step.reply_to is not None else None
    fields: dict[str, str | int] = {}
    for name, value in step.sent.items():
        if value == "any" and answered is not None and name in _SWAPPED:
            fields[name] = answered.fields.get(_SWAPPED[name], 0)
        elif value is None or value == "any":
            fields[name] = ANY_PORT
        elif not isinstance(value, Mapping):
            fields[name] = value if isinstance(value, int) else str(value)
    return fields


def payload(
    protocol: str, fields: Mapping[str, str | int], source: IPv4Address, target: IPv4Address, word: bytes, stage: str
) -> bytes:
    """What stands behind the IP header. `stage` is of a TCP connection: begin, answer, forth or back."""
    sport, dport = int(fields.get("sport", 0)), int(fields.get("dport", 0))
    match protocol:
        case "tcp":
            flags, sequence, acknowledged = _SEGMENTS[stage]
            data = struct.pack("!HHIIBBHHH", sport, dport, sequence, acknowledged, 0x50, flags, 8192, 0, 0) + word
            at = 16
        case "udp":
            data = struct.pack("!HHHH", sport, dport, 8 + len(word), 0) + word
            at = 6
        case "icmp":
            kind = _ICMP.get(str(fields.get("icmp", "echo-request")), 8)
            data = struct.pack("!BBHHH", kind, 0, 0, int(fields.get("id", 0)), 1) + word
            summed = checksum(data)
            return data[:2] + summed.to_bytes(2, "big") + data[4:]
        case "gre":
            return b"\0\0\x08\0" + word
        case _:
            return struct.pack("!II", 0x1234, 1) + word
    summed = checksum(data, pseudo_header_sum(source, target, NUMBERS[protocol], len(data)))
    return data[:at] + summed.to_bytes(2, "big") + data[at + 2 :]


def fields_of(frame: bytes, protocol: str) -> dict[str, str | int] | None:
    """What of a packet NAT may change; None if it is another protocol's."""
    try:
        packet = parse_frame(frame)
    except DecodeError:
        return None
    if packet.protocol != NUMBERS[protocol]:
        return None
    fields: dict[str, str | int] = {"src": str(packet.source), "dst": str(packet.destination)}
    if protocol in ("tcp", "udp"):
        fields["sport"], fields["dport"] = _PORTS.unpack_from(packet.payload)
    elif protocol == "icmp":
        (fields["id"],) = struct.unpack_from("!H", packet.payload, 4)
    return fields
