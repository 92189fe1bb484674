"""What is asked of an entry on its way: who it is, whose it is, what of it travels, and what two kernels must agree on.

`raw` is `nfgenmsg` and attributes of a message of ctnetlink, an event or a part of a listing. All functions raise
DecodeError for bytes that no kernel writes.
"""

from hashlib import blake2b
from typing import Final
from zlib import crc32

from understudy.wire.conntrack.attributes import (
    FLOW,
    HEADER,
    IPS_ASSURED,
    IPS_DST_NAT,
    IPS_SEEN_REPLY,
    IPS_SRC_NAT,
    known,
)
from understudy.wire.conntrack.shape import shape_of

BUCKETS: Final = 65536
SYN_SENT, SYN_RECV, ESTABLISHED, SYN_SENT2 = 1, 2, 3, 9
_HALF_OPEN: Final = frozenset((SYN_SENT, SYN_RECV, SYN_SENT2))
_AGREED_STATUS: Final = IPS_SEEN_REPLY | IPS_ASSURED | IPS_SRC_NAT | IPS_DST_NAT
_STATUS: Final = tuple(bytes((each & _AGREED_STATUS,)) for each in range(256))
_DIGEST: Final = blake2b(digest_size=8, person=b"understudy flows")


def identity(raw: bytes) -> bytes:
    """Both tuples and the zone: equal on both nodes for the same flow, and different for any other."""
    shape = shape_of(raw)
    tuples = raw[HEADER : shape.reply_end]
    return tuples + raw[shape.zone] if shape.zone else tuples


def original(raw: bytes) -> bytes:
    """The original tuple and the zone: what a deletion names."""
    shape = shape_of(raw)
    first = raw[HEADER : shape.original_end]
    return first + raw[shape.zone] if shape.zone else first


def whose(raw: bytes) -> tuple[bytes, int, int]:
    """All that a writer asks at once: `original`, the hash of `identity`, `mark_of`."""
    shape = shape_of(raw)
    first, both = raw[HEADER : shape.original_end], raw[HEADER : shape.reply_end]
    if shape.zone:
        zone = raw[shape.zone]
        first, both = first + zone, both + zone
    place = shape.mark
    return first, hash(both), int.from_bytes(raw[place : place + 4], "big") if place else 0


def mark_of(raw: bytes) -> int:
    """The `ct mark`: whose flow it is (wire.marks)."""
    place = shape_of(raw).mark
    return int.from_bytes(raw[place : place + 4], "big") if place else 0


def tcp_state(raw: bytes) -> int:
    """The kernel's number of the TCP state (linux/netfilter/nf_conntrack_tcp.h); 0 if it is not TCP."""
    place = shape_of(raw).state
    return raw[place] if place else 0


def sctp_state(raw: bytes) -> int:
    """The kernel's number of the SCTP state; 0 if it is not SCTP."""
    place = shape_of(raw).sctp_state
    return raw[place] if place else 0


def protocol_of(raw: bytes) -> int:
    """The number of the protocol over IP."""
    return shape_of(raw).protocol


def timeout_of(raw: bytes) -> int:
    """Seconds that the entry had left; 0 if the message does not say."""
    place = shape_of(raw).timeout
    return int.from_bytes(raw[place : place + 4], "big") if place else 0


def assured(raw: bytes) -> bool:
    """Whether the kernel spares it when the table is full: both sides have spoken, more than once."""
    place = shape_of(raw).status
    return bool(place and raw[place] & IPS_ASSURED)


def half_open(raw: bytes) -> bool:
    """Whether it is TCP whose handshake is not complete: such come in floods, and no two kernels agree on them."""
    return tcp_state(raw) in _HALF_OPEN


def portable(raw: bytes) -> bytes:
    """Without what belongs to one kernel: identifier, counters, times, security context, and whatever is not known."""
    shape = shape_of(raw)
    if shape.strange:
        return portable(known(raw, FLOW))
    return b"".join(shape.carried.unpack_from(raw))


def remains(raw: bytes) -> bytes:
    """What there is to say of a flow that is gone: tuples, zone and mark."""
    return b"".join(shape_of(raw).named.unpack_from(raw))


def bucket_of(identified: bytes) -> int:
    """Of an `identity`. It need only be the same everywhere: who crafts flows of one bucket makes repairs coarser."""
    return crc32(identified) % BUCKETS


def bucket_and_digest(raw: bytes) -> tuple[int, int]:
    """The bucket of its identity, and 64 bits over all that two kernels must agree on: strong enough that no two flows
    hide each other by chance.
    """
    shape = shape_of(raw)
    content = shape.content.unpack_from(raw)
    if shape.order is not None:
        content = shape.order(content)
    digest = _DIGEST.copy()  # half the cost of a new one
    digest.update(b"".join(content))
    if shape.status:
        digest.update(_STATUS[raw[shape.status]])
    return bucket_of(identity(raw)), int.from_bytes(digest.digest(), "little")


def summary(raw: bytes) -> tuple[int, int, int]:
    """Of an entry of a listing at once: mark, bucket and digest; the mark is 0, as nobody's, if it is half open."""
    shape = shape_of(raw)
    if not shape.mark or (shape.state and raw[shape.state] in _HALF_OPEN):
        return 0, 0, 0
    return int.from_bytes(raw[shape.mark : shape.mark + 4], "big"), *bucket_and_digest(raw)
