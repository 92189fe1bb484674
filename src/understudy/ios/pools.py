"""What a pool can hand out: neither the network's own address nor its broadcast address."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from understudy.ios.model import Pool

Span = tuple[IPv4Address, IPv4Address]


def spans_of(pool: Pool) -> tuple[Span, ...]:
    """First and last usable address of each segment that has one, in the order in which they are handed out."""
    found = []
    for segment in pool.segments:
        first, last = segment.first, segment.last
        if pool.length < 31:
            first = first + 1 if first == IPv4Network((first, pool.length), strict=False).network_address else first
            last = last - 1 if last == IPv4Network((last, pool.length), strict=False).broadcast_address else last
        if first <= last:
            found.append((first, last))
    return tuple(found)


def count_of(pool: Pool) -> int:
    """How many addresses that are."""
    return sum(int(last) - int(first) + 1 for first, last in spans_of(pool))


def holds(pool: Pool, address: IPv4Address) -> bool:
    """Whether the address is one of them."""
    return among(spans_of(pool), address)


def among(spans: Iterable[Span], address: IPv4Address) -> bool:
    """The same for many addresses, of spans that are there already."""
    return any(first <= address <= last for first, last in spans)
