"""Ports of `overload` where a profile counts them: each flow gets the next one, whatever its own was.

Either all flows are counted, or those alone whose own port is set aside for the router: then from the next group of
ports, or in the last one from the next port (500 becomes 512 and 513, 4500 becomes 4501 and 4502).

One counter for each global address and protocol, from 1024 up and round again, across all inside hosts (docs/reference/
nat.md). A number that comes round while its flow still lives is no harm: towards another destination the kernel takes
it, towards the same one it drops the packet, and the next try has the next number. A node that takes over goes on
behind the highest number that a flow has.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from understudy.units import SECOND, Duration, Instant

FIRST, LAST = 1024, 65535
REMEMBERED_MAX = 16_384
REMEMBERED_FOR: Duration = 5 * SECOND
"""A packet that comes once more before its flow has an entry is given the same number."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """A flow as it came in. Of ICMP, `source_port` is the identifier and `target_port` type and code."""

    protocol: int
    source: int
    source_port: int
    target: int
    target_port: int


def beyond(port: int) -> int:
    """Where a port that is set aside sends a flow: behind its group, or in the last group behind itself."""
    return 512 if port < 512 else FIRST if port < FIRST else min(port + 1, LAST)


class Ports:
    def __init__(self) -> None:
        self._next: dict[tuple[int, int, int], int] = {}
        """By address, protocol and where counting begins."""
        self._given: OrderedDict[tuple[int, FlowKey], tuple[int, Instant]] = OrderedDict()

    def resume(self, used: Iterable[tuple[int, int, int, int]]) -> None:
        """Go on behind what another node gave. `used`, of each flow: address, protocol, own port, given port."""
        for address, protocol, own, port in used:
            for first in {FIRST, beyond(own)}:
                counter = address, protocol, first
                if port >= first:
                    self._next[counter] = max(self._next.get(counter, first), port + 1 if port < LAST else first)

    def give(
        self, now: Instant, asked: Iterable[tuple[int, FlowKey]], *, aside: bool = False
    ) -> dict[tuple[int, FlowKey], int]:
        """For each global address and flow its port, in the order of asking. `aside`: its own is the router's."""
        while self._given and now - next(iter(self._given.values()))[1] > REMEMBERED_FOR:
            self._given.popitem(last=False)
        found = {}
        for address, flow in asked:
            key = address, flow
            if key not in self._given:
                first = beyond(flow.source_port) if aside else FIRST
                counter = address, flow.protocol, first
                port = self._next.get(counter, first)
                self._next[counter] = port + 1 if port < LAST else first
                self._given[key] = port, now
                if len(self._given) > REMEMBERED_MAX:
                    self._given.popitem(last=False)
            found[key] = self._given[key][0]
        return found
