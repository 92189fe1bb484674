"""Which addresses take part in flows of this kernel, as hosts on the other side know them."""

from collections.abc import Iterator
from typing import Final

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.netlink import attributes
from understudy.errors import EnvironmentFailure
from understudy.wire.conntrack.attributes import CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
from understudy.wire.marks import GROUP_MAX

_CTA_TUPLE_IP, _CTA_IP_V4_SRC, _CTA_IP_V4_DST = 1, 1, 2
_BOTH: Final = (CTA_TUPLE_ORIG, CTA_TUPLE_REPLY)
_GROUPS: Final = frozenset(range(GROUP_MAX + 1))


def translated(table: FlowTable, group: int) -> Iterator[tuple[int, int]]:
    """Of the group's IPv4 flows with another source than they show: the host, and what it appears as."""
    for part in table.list({group}):
        for raw in part:
            entry = attributes(raw, 4)
            ends = [attributes(attributes(entry.get(k, b""), 0).get(_CTA_TUPLE_IP, b""), 0) for k in _BOTH]
            host, seen = ends[0].get(_CTA_IP_V4_SRC, b""), ends[1].get(_CTA_IP_V4_DST, b"")
            if len(host) == len(seen) == 4 and host != seen:
                yield int.from_bytes(host, "big"), int.from_bytes(seen, "big")


def addresses_in_use(table: FlowTable) -> frozenset[int] | None:
    """Destinations of either direction, IPv4: an inside global address is one, whoever began. None if unknown."""
    found: set[bytes] = set()
    try:
        for part in table.list(_GROUPS):
            for raw in part:
                entry = attributes(raw, 4)
                for kind in (CTA_TUPLE_ORIG, CTA_TUPLE_REPLY):
                    ends = attributes(attributes(entry.get(kind, b""), 0).get(_CTA_TUPLE_IP, b""), 0)
                    found.add(ends.get(_CTA_IP_V4_DST, b""))
    except EnvironmentFailure:
        return None
    return frozenset(int.from_bytes(each, "big") for each in found if len(each) == 4)
