"""Pools of `overload` with several addresses: where the ports of one are used up, the next one serves.

Towards one destination an address has 64 512 ports in the group that clients speak from. No kernel says that they are
about to run out, but it says how many flows it has, and how many it could not enter: so the flow table is counted only
where there are flows enough for it, or after a failure. From `CROWDED` ports on, the destination is served by the next
address; from `RELIEVED` down, by the first again. New connections of a client are told by nobody to wait: of those that
find no port before it was noticed, TCP tries again after a second.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.flowuse import ports_in_use
from understudy.adapters.nftables import Nft
from understudy.errors import EnvironmentFailure
from understudy.render.ios_overload import Destination, Ladder, crowded_text, forget_text

CROWDED = 60_000
"""Of 64 512: the kernel looks at some 240 of the ports and then gives up, so that it fails before the last one."""
RELIEVED = 50_000
FLOWS_MIN = 40_000
"""With fewer in the kernel no address can be crowded."""
LOOK_EVERY_S = 2.0
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_NAMES = {6: "tcp", 17: "udp"}


class Crowding:
    """Belongs to the network namespace in which it is made."""

    def __init__(self, ladders: Sequence[Ladder], *, crowded: int = CROWDED, flows_min: int = FLOWS_MIN) -> None:
        self._ladders = tuple(ladders)
        self._crowded, self._relieved = crowded, crowded * RELIEVED // CROWDED
        self._flows_min = flows_min
        self._serving: dict[tuple[Ladder, Destination], int] = {}
        """Where the first address does not serve: which one does."""
        self._look_at = 0.0
        self._nft = Nft()

    def begin(self) -> None:
        """What the maps hold is somebody else's word, or of a time before: it is found anew, at once."""
        self._serving, self._look_at = {}, 0.0
        for each in self._ladders:
            with contextlib.suppress(EnvironmentFailure):
                self._nft.run(forget_text(each))

    def look(self, now: float) -> list[str]:
        """Count if it is due and worth it, and write what changes; what is to be told."""
        if not self._ladders or now < self._look_at:
            return []
        self._look_at = now + LOOK_EVERY_S
        try:
            if not self._serving and int(_COUNT.read_text()) < self._flows_min:
                return []
            table = FlowTable()
            try:
                used = ports_in_use(table, frozenset(a for each in self._ladders for a in each.addresses))
            finally:
                table.close()
            return [line for each in self._ladders for line in self._climb(each, used)]
        except (EnvironmentFailure, OSError):
            return []

    def close(self) -> None:
        self._nft.close()

    def _climb(self, ladder: Ladder, used: Counter[tuple[int, Destination]]) -> list[str]:
        addresses, told = ladder.addresses, []
        known = {to for of, to in self._serving if of == ladder}
        full = {to for (address, to), count in used.items() if address == addresses[0] and count >= self._relieved}
        for to in sorted(full | known):
            before = self._serving.get((ladder, to), addresses[0])
            at = addresses.index(before)
            # Down again only where there is room to stay.
            limits = (self._relieved if step < at else self._crowded for step in range(len(addresses)))
            room = (a for a, limit in zip(addresses, limits, strict=True) if used[a, to] < limit)
            serves = next(room, addresses[-1])
            if serves == before:
                continue
            self._nft.run(crowded_text(ladder, to, known=before != addresses[0], serves=serves))
            self._serving.pop((ladder, to), None)
            if serves != addresses[0]:
                self._serving[ladder, to] = serves
            address, protocol, port = to
            where = f"{IPv4Address(address)}:{port}/{_NAMES.get(protocol, protocol)}"
            taken = f"{used[before, to]} ports of {IPv4Address(before)} are taken"
            told.append(f"pool {ladder.pool}: {IPv4Address(serves)} serves {where} from here on, {taken}")
        return told
