"""An entry as requests to the other kernel: create, update, delete.

* A translated flow is created from its original tuple, the reply *before* translation, and ranges of one address and
  one port in each direction: only so does the kernel set the status bits by which packets are translated. Whether it
  is translated is told by the difference of the tuples. Both ranges are always given, so that the kernel chooses
  nothing: if the tuple is taken it refuses.
* On an existing entry the kernel refuses ranges, a master and a change of helper (EOPNOTSUPP, EBUSY): an update is
  without.
* Windows do not travel: TCP is liberal in both directions, keeps its window scale, and forgets what it saw of sequence
  numbers before. A copy without scale and without that flag would drop the first large segment.
* Copies hold for `HOLD_S`: the kernel tells nobody when a timeout is refreshed, so the end of the original ends them.
  What may be in the way of a client's next try holds for `HALF_OPEN_S`.
* GRE keeps its timeouts in the entry, where no request can put them: the first packet that met a copy would end it. So
  a copy of it has IPS_FIXED_TIMEOUT, which no packet refreshes and no request changes or takes back (EPERM: delete and
  create). It is there for a day, then the next packet from the inside makes a new entry by the rules.
* EXPECTED is the kernel's to set, from the master; an update must say what the entry has.
"""

from functools import lru_cache
from operator import itemgetter
from typing import Final

from understudy.wire.conntrack.attributes import (
    AF_INET,
    CTA_NAT_DST,
    CTA_NAT_PROTO,
    CTA_NAT_SRC,
    CTA_NAT_V4_MAXIP,
    CTA_NAT_V4_MINIP,
    CTA_NAT_V6_MAXIP,
    CTA_NAT_V6_MINIP,
    CTA_PROTONAT_PORT_MAX,
    CTA_PROTONAT_PORT_MIN,
    CTA_STATUS,
    CTA_TIMEOUT,
    FLOW,
    HEADER,
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_EXPECTED,
    IPS_FIXED_TIMEOUT,
    IPS_SEEN_REPLY,
    attribute,
    known,
    nest,
)
from understudy.wire.conntrack.entry import SYN_RECV, SYN_SENT, SYN_SENT2
from understudy.wire.conntrack.shape import Cut, Shape, shape_of

DAY_S: Final = 86400
HOLD_S: Final = 20 * DAY_S
"""Below the kernel's longest, 2^31 jiffies: 24 days at 1000 Hz."""
UNTOUCHED_S: Final = 10 * DAY_S
"""Whoever has more left is a copy that no packet has met: twice the longest timeout that the kernel sets by itself."""
HALF_OPEN_S: Final = 10
FIXED_S: Final = DAY_S
"""Of GRE: a dead tunnel's copy stays so long after a take-over, a live one's is never renewed."""

_NEW_STATUS: Final = IPS_SEEN_REPLY | IPS_ASSURED
_CREATED: Final = tuple(
    attribute(CTA_STATUS, bytes((0, 0, 0, each & _NEW_STATUS | IPS_CONFIRMED))) for each in range(256)
)
_GRE: Final = 47
_FIXED: Final = tuple(
    attribute(CTA_STATUS, bytes((0, 0, IPS_FIXED_TIMEOUT >> 8, each & _NEW_STATUS | IPS_CONFIRMED)))
    for each in range(256)
)
_UPDATED: Final = tuple(
    attribute(CTA_STATUS, bytes((0, 0, 0, each & (_NEW_STATUS | IPS_EXPECTED) | IPS_CONFIRMED))) for each in range(256)
)
# enum ip_ct_tcp_flags: what is kept of them is WINDOW_SCALE, SACK_PERM, CLOSE_INIT and SIMULTANEOUS_OPEN.
_KEPT_FLAGS: Final = 0x01 | 0x02 | 0x04 | 0x80
_BE_LIBERAL: Final = 0x08
_FLAGS: Final = {bytes((each,)): bytes((each & _KEPT_FLAGS | _BE_LIBERAL, 0xFF)) for each in range(256)}
_HALF_OPEN: Final = (SYN_RECV, SYN_SENT, SYN_SENT2)

# Of `Shape.fields`, by how many they are: the original's turned round, the reply as far as it is compared with that,
# and the values for the reply and the ranges of source and destination. An ICMP identifier is one for both directions,
# and belongs to the source; type and code of the reply are its own.
_BY_LENGTH: Final = {
    10: (itemgetter(1, 0, 2), slice(5, 8), itemgetter(1, 0, 2, 8, 9, 6, 6, 7, 7, 5, 5, 2, 2)),
    8: (itemgetter(1, 0, 3, 2), slice(4, 8), itemgetter(1, 0, 3, 2, 5, 5, 7, 7, 4, 4, 6, 6)),
    4: (itemgetter(1, 0), slice(2, 4), itemgetter(1, 0, 3, 3, 2, 2)),
}


def create_request(raw: bytes, hold_s: int = HOLD_S, half_open_s: int = HALF_OPEN_S, *, orphan: bool = False) -> bytes:
    """Make the entry. `orphan`: without its master, where this kernel does not have that."""
    shape = shape_of(raw)
    if shape.strange:
        raw = known(raw, FLOW)
        shape = shape_of(raw)
    status = _CREATED
    if shape.protocol == _GRE:
        status, hold_s = _FIXED, min(hold_s, FIXED_S)
    cut = shape.orphaned if orphan else shape.created
    return _request(raw, shape, _tuples(raw, shape), status, hold_s, half_open_s, cut)


def update_request(raw: bytes, hold_s: int = HOLD_S, half_open_s: int = HALF_OPEN_S) -> bytes:
    """Make an existing entry what this one is, but for what cannot be changed: translation, master, helper."""
    shape = shape_of(raw)
    if shape.strange:
        raw = known(raw, FLOW)
        shape = shape_of(raw)
    return _request(raw, shape, raw[: shape.original_end], _UPDATED, hold_s, half_open_s, shape.updated)


def delete_request(raw: bytes) -> bytes:
    """End the entry with this original tuple. There is always one in it: a deletion without a tuple would be of all."""
    shape = shape_of(raw)
    named = raw[: shape.original_end]
    return named + raw[shape.zone] if shape.zone else named


def reply_request(raw: bytes) -> bytes:
    """Name the entry by its reply tuple instead: who stands in the way of this one, if the original tuple is free."""
    shape = shape_of(raw)
    named = raw[:HEADER] + raw[shape.original_end : shape.reply_end]
    return named + raw[shape.zone] if shape.zone else named


def timeout_request(raw: bytes, timeout_s: int) -> bytes:
    """Change nothing but how long the entry has."""
    return delete_request(raw) + _timeout(timeout_s)


def _request(
    raw: bytes, shape: Shape, tuples: bytes, status: tuple[bytes, ...], hold_s: int, half_open_s: int, cut: Cut
) -> bytes:
    """Tuples, status, timeout, and what is copied as it stands but for TCP's flags."""
    half_open = shape.state and raw[shape.state] in _HALF_OPEN
    pieces = list(cut.layout.unpack_from(raw))
    if first := cut.flags:
        pieces[first] = _FLAGS[pieces[first]]
        pieces[first + 2] = _FLAGS[pieces[first + 2]]
    said = status[raw[shape.status] if shape.status else 0]
    return b"".join((tuples, said, _timeout(half_open_s if half_open else hold_s), *pieces))


@lru_cache(maxsize=64)
def _timeout(seconds: int) -> bytes:
    return attribute(CTA_TIMEOUT, seconds.to_bytes(4, "big"))


def _tuples(raw: bytes, shape: Shape) -> bytes:
    """Header, original and reply; of a translated flow the reply as it were without, and the ranges."""
    fields = shape.fields.unpack_from(raw, HEADER)
    turned, reply, opened = _BY_LENGTH[len(fields)]
    if turned(fields) == fields[reply]:
        return raw[: shape.reply_end]
    if shape.translated is None:
        shape.translated = shape.reply_pattern(raw) + _range(shape, CTA_NAT_SRC) + _range(shape, CTA_NAT_DST)
    values: tuple[bytes, ...] = opened(fields)
    return raw[: shape.original_end] + shape.translated % values


def _range(shape: Shape, kind: int) -> bytes:
    """One address and, where the protocol has such, one port or identifier: least and most alike, left open for `%`."""
    if shape.family == AF_INET:
        size, least, most = 4, CTA_NAT_V4_MINIP, CTA_NAT_V4_MAXIP
    else:
        size, least, most = 16, CTA_NAT_V6_MINIP, CTA_NAT_V6_MAXIP
    hole = b"\xff" * size
    members = [attribute(least, hole), attribute(most, hole)]
    if shape.ports or shape.icmp:
        ends = attribute(CTA_PROTONAT_PORT_MIN, hole[:2]), attribute(CTA_PROTONAT_PORT_MAX, hole[:2])
        members.append(nest(CTA_NAT_PROTO, *ends))
    return nest(kind, *members).replace(hole, b"%b").replace(hole[:2], b"%b")
