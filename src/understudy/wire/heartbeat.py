"""The heartbeat between nodes: everything a node says of itself, on every shared network, as state and not as messages.

Because a heartbeat carries state ("I offer group 1 under token 7"), loss, duplication and reordering need no handling
of their own: the newest one says all. Hand-over is two such states that refer to each other.

Layout, all integers big endian. The bytes travel inside the channel's authenticated encryption (adapters.channel);
what is decoded here is therefore a known node's, but it is still bounded and checked field by field.

    0   1   version (3)
    1   1   node number
    2   4   epoch: grows with every start of the node's core
    6   8   sequence within the epoch
    14  ..  body, equal from one heartbeat to the next while nothing changes
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from understudy.errors import DecodeError
from understudy.units import Address

VERSION = 3
_HEADER = struct.Struct("!BBIQ")
_BODY = struct.Struct("!16sBBB")
_LAN = struct.Struct("!BBBB")
_GROUP = struct.Struct("!BBBBBIQIBB")
BODY_LENGTH_MAX = 1024
LANS_MAX = 64
GROUPS_MAX = 15
WITNESSES_MAX = 4

_ELIGIBLE = 1
_STOPPING = 2


class Role(IntEnum):
    """RFC 9568's states, of a group as a whole."""

    INITIALIZE = 0
    BACKUP = 1
    ACTIVE = 2


class Phase(IntEnum):
    """Where a group stands in a hand-over."""

    NONE = 0
    OFFERING = 1
    """Active asks `target` to take over."""
    TAKING = 2
    """The target is promoting itself under the offer's token."""
    TAKEN = 3
    """The target answers for the addresses: the other may stop."""
    REQUESTING = 4
    """A Backup asks the Active for a hand-over (preemption)."""


class Reach(IntEnum):
    """How well a node reaches a LAN; greater is better."""

    DOWN = 0
    """The port has no carrier."""
    SILENT = 1
    """Neither the peer nor any known witness is heard."""
    UNKNOWN = 2
    """The peer is not heard and there is no witness to ask."""
    REACHED = 3


class Hears(IntEnum):
    """Whether a node hears the other's heartbeats on a LAN: what the other cannot know of itself."""

    UNSAID = 0
    """No path of the channel, no carrier, or not listened for long enough."""
    NO = 1
    YES = 2


class Lease(IntEnum):
    """How long the node's kernel answers on without a further advertisement."""

    NONE = 0
    SHORT = 1
    LONG = 2


class Sync(IntEnum):
    """Whether a node holds the state of a group's flows in its kernel."""

    NOT_NEEDED = 0
    """None of them is replicated."""
    INCOMPLETE = 1
    COMPLETE = 2
    """Proven, and nothing was missed since; or the node is Active, and its kernel the original."""


@dataclass(frozen=True, slots=True)
class LanState:
    network: int
    """Position of the network in the file."""
    reach: Reach
    witnesses: tuple[Address, ...] = ()
    """Neighbours that answered there lately: the peer may ask them too."""
    hears: Hears = Hears.UNSAID


@dataclass(frozen=True, slots=True)
class GroupState:
    number: int
    role: Role
    phase: Phase
    target: int
    """Node number that an offer is meant for; 0 when there is none."""
    lease: Lease
    token: int
    """Names one hand-over."""
    lease_ns: int
    """The lease's length now; 0 without one."""
    transitions: int
    """Role changes since the epoch began."""
    sync: Sync = Sync.NOT_NEEDED
    urgent: bool = False
    """With an offer: it cannot wait for the state of the flows."""


@dataclass(frozen=True, slots=True)
class Body:
    config_digest: bytes
    eligible: bool
    stopping: bool
    lans: tuple[LanState, ...]
    groups: tuple[GroupState, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    node: int
    epoch: int
    sequence: int
    body: Body


def encode_body(body: Body) -> bytes:
    """The part that stays the same while nothing changes."""
    flags = (_ELIGIBLE if body.eligible else 0) | (_STOPPING if body.stopping else 0)
    parts = [_BODY.pack(body.config_digest, flags, len(body.lans), len(body.groups))]
    for lan in body.lans:
        parts.append(_LAN.pack(lan.network, lan.reach, lan.hears, len(lan.witnesses)))
        parts.extend(bytes([len(address.packed)]) + address.packed for address in lan.witnesses)
    parts.extend(
        _GROUP.pack(g.number, g.role, g.phase, g.target, g.lease, g.token, g.lease_ns, g.transitions, g.sync, g.urgent)
        for g in body.groups
    )
    return b"".join(parts)


def encode(node: int, epoch: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(VERSION, node, epoch, sequence) + body


def decode(payload: bytes) -> Heartbeat:
    """Raises DecodeError for anything but a whole heartbeat of this version."""
    if len(payload) < _HEADER.size:
        raise DecodeError("heartbeat-truncated")
    version, node, epoch, sequence = _HEADER.unpack_from(payload)
    if version != VERSION:
        raise DecodeError("heartbeat-version", str(version))
    if len(payload) > _HEADER.size + BODY_LENGTH_MAX:
        raise DecodeError("heartbeat-length", str(len(payload)))
    return Heartbeat(node, epoch, sequence, decode_body(payload[_HEADER.size :]))


@lru_cache(maxsize=64)
def decode_body(data: bytes) -> Body:
    """Cached: a body repeats until something changes."""
    try:
        digest, flags, lan_count, group_count = _BODY.unpack_from(data)
        if lan_count > LANS_MAX or group_count > GROUPS_MAX:
            raise DecodeError("heartbeat-count")
        at = _BODY.size
        lans = []
        for _ in range(lan_count):
            network, reach, hears, witness_count = _LAN.unpack_from(data, at)
            at += _LAN.size
            if witness_count > WITNESSES_MAX:
                raise DecodeError("heartbeat-count")
            witnesses: list[Address] = []
            for _ in range(witness_count):
                length = data[at]
                raw = data[at + 1 : at + 1 + length]
                if length not in (4, 16) or len(raw) != length:
                    raise DecodeError("heartbeat-address")
                witnesses.append(IPv4Address(raw) if length == 4 else IPv6Address(raw))
                at += 1 + length
            lans.append(LanState(network, Reach(reach), tuple(witnesses), Hears(hears)))
        groups = []
        for _ in range(group_count):
            number, role, phase, target, lease, token, lease_ns, transitions, sync, urgent = _GROUP.unpack_from(
                data, at
            )
            at += _GROUP.size
            if urgent > 1:
                raise DecodeError("heartbeat-malformed", f"urgent {urgent}")
            groups.append(
                GroupState(
                    number,
                    Role(role),
                    Phase(phase),
                    target,
                    Lease(lease),
                    token,
                    lease_ns,
                    transitions,
                    Sync(sync),
                    bool(urgent),
                )
            )
    except (struct.error, IndexError, ValueError) as error:
        raise DecodeError("heartbeat-malformed", str(error)) from error
    if at != len(data):
        raise DecodeError("heartbeat-length", str(len(data)))
    return Body(digest, bool(flags & _ELIGIBLE), bool(flags & _STOPPING), tuple(lans), tuple(groups))
