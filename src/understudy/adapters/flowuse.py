"""Which addresses take part in flows of this kernel, as hosts on the other side know them."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.netlink import attributes
from understudy.errors import EnvironmentFailure
from understudy.wire.conntrack.attributes import CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
from understudy.wire.marks import GROUP_MAX

_CTA_TUPLE_IP, _CTA_TUPLE_PROTO, _CTA_IP_V4_SRC, _CTA_IP_V4_DST = 1, 2, 1, 2
_CTA_PROTO_NUM, _CTA_PROTO_SRC, _CTA_PROTO_DST, _CTA_PROTO_ICMP_ID = 1, 2, 3, 4
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


def ports_given(table: FlowTable) -> Iterator[tuple[int, int, int, int]]:
    """Of IPv4 flows with another source: what it appears as, protocol, the flow's own port, and the one that is seen.

    An identifier of ICMP is a port here. Raises EnvironmentFailure.
    """
    for part in table.list(_GROUPS):
        for raw in part:
            entry = attributes(raw, 4)
            there, back = (attributes(entry.get(kind, b""), 0) for kind in _BOTH)
            ends = [attributes(each.get(_CTA_TUPLE_IP, b""), 0) for each in (there, back)]
            own, seen = (attributes(each.get(_CTA_TUPLE_PROTO, b""), 0) for each in (there, back))
            host, address = ends[0].get(_CTA_IP_V4_SRC, b""), ends[1].get(_CTA_IP_V4_DST, b"")
            numbers = (seen.get(_CTA_PROTO_NUM, b""), own.get(_CTA_PROTO_SRC) or own.get(_CTA_PROTO_ICMP_ID, b""),
                       seen.get(_CTA_PROTO_DST) or seen.get(_CTA_PROTO_ICMP_ID, b""))  # fmt: skip
            if len(host) == len(address) == 4 and host != address and all(numbers):
                protocol, before, after = (int.from_bytes(each, "big") for each in numbers)
                yield int.from_bytes(address, "big"), protocol, before, after


def ports_in_use(table: FlowTable, addresses: frozenset[int]) -> Counter[tuple[int, tuple[int, int, int]]]:
    """How many ports of each of these addresses flows have towards each destination: address, protocol, port.

    Raises EnvironmentFailure. The ports of TCP and UDP from 1024 up are counted, those that clients speak from.
    """
    found: Counter[tuple[int, tuple[int, int, int]]] = Counter()
    for part in table.list(_GROUPS):
        for raw in part:
            reply = attributes(attributes(raw, 4).get(CTA_TUPLE_REPLY, b""), 0)
            ends, ports = (attributes(reply.get(kind, b""), 0) for kind in (_CTA_TUPLE_IP, _CTA_TUPLE_PROTO))
            seen = int.from_bytes(ends.get(_CTA_IP_V4_DST, b""), "big")
            if seen in addresses and _CTA_PROTO_DST in ports and int.from_bytes(ports[_CTA_PROTO_DST], "big") >= 1024:
                protocol, port = (int.from_bytes(ports[each], "big") for each in (_CTA_PROTO_NUM, _CTA_PROTO_SRC))
                found[seen, (int.from_bytes(ends[_CTA_IP_V4_SRC], "big"), protocol, port)] += 1
    return found


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
