"""Which addresses take part in flows of this kernel, as hosts on the other side know them."""

from typing import Final

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.netlink import attributes
from understudy.errors import EnvironmentFailure
from understudy.wire.conntrack.attributes import CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
from understudy.wire.marks import GROUP_MAX

_CTA_TUPLE_IP, _CTA_IP_V4_DST = 1, 2
_GROUPS: Final = frozenset(range(GROUP_MAX + 1))


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
