"""Pools of `overload` with several addresses: where the ports of one are used up, the next one serves.

Towards one destination an address has 64 512 ports in the group that clients speak from. No kernel says that they are
about to run out, but it says how many flows it has, and how many it could not enter: so the flow table is counted only
where there are flows enough for it, or after a failure. From `CROWDED` ports on, the destination is served by the next
address; from `RELIEVED` down, by the first again. New connections of a client are told by nobody to wait: of those that
find no port before it was noticed, TCP tries again after a second.

Counting takes as long as it takes, some 4 us a flow, and packets wait for this process: a child counts. The map is
written whole with every count, so that what others emptied is filled again.
"""

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.flowuse import ports_in_use
from understudy.adapters.nftables import Nft
from understudy.agent.beside import Beside
from understudy.agent.children import Children
from understudy.agent.messages import send
from understudy.errors import EnvironmentFailure
from understudy.render.ios_overload import Destination, Ladder, crowded_text

CROWDED = 60_000
"""Of 64 512: the kernel looks at some 240 of the ports and then gives up, so that it fails before the last one."""
RELIEVED = 50_000
FLOWS_MIN = 40_000
"""With fewer in the kernel no address can be crowded."""
LOOK_EVERY_S = 2.0
SHARE: Final = 2
"""A count of so many seconds is followed by a pause of so many times that: at most a third of one processor."""
PATIENCE_S = 120.0
"""A count that lasts longer hangs, and is ended."""
USED_MAX = 4096
"""Figures of one count: they go in one message."""
_ROLE: Final = "counts"
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_NAMES = {6: "tcp", 17: "udp"}

Used = Counter[tuple[int, Destination]]
"""Ports of an address towards a destination."""


class Crowding:
    """Belongs to the network namespace in which it is made."""

    def __init__(
        self, ladders: Sequence[Ladder], children: Children, *, crowded: int = CROWDED, flows_min: int = FLOWS_MIN
    ) -> None:
        self._ladders = tuple(dict.fromkeys(ladders))
        self._crowded, self._relieved = crowded, crowded * RELIEVED // CROWDED
        self._flows_min = flows_min
        self._serving: dict[Ladder, dict[Destination, int]] = {each: {} for each in self._ladders}
        """Where the first address does not serve: which one does."""
        self._look_at = self._began = 0.0
        self._counter = Beside(children, _ROLE)
        self._nft = Nft()

    @property
    def counting(self) -> bool:
        return self._counter.busy

    def begin(self) -> None:
        """What the maps hold is somebody else's word, or of a time before: it is found anew, at once."""
        self._counter.end()
        self._look_at = 0.0
        for each in self._ladders:
            self._serving[each] = {}
            self._write(each)

    def look(self, now: float) -> list[str]:
        """Begin to count if it is due and worth it, and write what a count has changed; what is to be told."""
        if self.counting:
            return self._hear(now)
        if self._ladders and now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            with contextlib.suppress(OSError, ValueError):  # no such file: the kernel has no flows yet
                if any(self._serving.values()) or int(_COUNT.read_text()) >= self._flows_min:
                    self._began = now
                    known = {to for each in self._serving.values() for to in each}
                    self._counter.begin(partial(_say_counted, self._ladders, self._relieved, known))
        return []

    def close(self) -> None:
        self._counter.end()
        self._nft.close()

    def _hear(self, now: float) -> list[str]:
        try:
            told = self._counter.hear()
        except EOFError:  # it ended, and could not count
            told = {}
        if told is None and now < self._began + PATIENCE_S:
            return []
        self._counter.end()
        self._look_at = now + max(LOOK_EVERY_S, SHARE * (now - self._began))
        if not told:
            return []
        used: Used = Counter({(each[0], (each[1], each[2], each[3])): each[4] for each in told["used"]})
        return [line for each in self._ladders for line in self._climb(each, used)]

    def _climb(self, ladder: Ladder, used: Used) -> list[str]:
        addresses, serving, told = ladder.addresses, self._serving[ladder], []
        full = {to for (address, to), count in used.items() if address == addresses[0] and count >= self._relieved}
        known = bool(serving)
        for to in sorted(full | set(serving)):
            before = serving.get(to, addresses[0])
            at = addresses.index(before)
            # Down again only where there is room to stay.
            limits = (self._relieved if step < at else self._crowded for step in range(len(addresses)))
            room = (a for a, limit in zip(addresses, limits, strict=True) if used[a, to] < limit)
            serves = next(room, addresses[-1])
            if serves == before:
                continue
            serving.pop(to, None)
            if serves != addresses[0]:
                serving[to] = serves
            address, protocol, port = to
            where = f"{IPv4Address(address)}:{port}/{_NAMES.get(protocol, protocol)}"
            taken = f"{used[before, to]} ports of {IPv4Address(before)} are taken"
            told.append(f"pool {ladder.pool}: {IPv4Address(serves)} serves {where} from here on, {taken}")
        if (known or serving) and not self._write(ladder):
            return []  # the next count finds it, and writes it
        return told

    def _write(self, ladder: Ladder) -> bool:
        try:
            self._nft.run(crowded_text(ladder, self._serving[ladder]))
        except EnvironmentFailure:  # no such map for now: a rule set is being loaded
            self._serving[ladder] = {}
            return False
        return True


def _say_counted(ladders: Sequence[Ladder], relieved: int, known: Collection[Destination], end: socket.socket) -> None:
    """Ports towards those destinations that matter: the known ones, and where an address is crowded or nearly. Nothing
    if the kernel does not say.
    """
    os.nice(10)
    try:
        table = FlowTable()
        try:
            used = ports_in_use(table, frozenset(address for each in ladders for address in each.addresses))
        finally:
            table.close()
    except (EnvironmentFailure, OSError):
        return
    matter = {to for (_, to), count in used.items() if count >= relieved} | set(known)
    some = [[address, *to, count] for (address, to), count in used.most_common() if to in matter]
    send(end, {"used": some[:USED_MAX]})
