"""The process that hands out addresses of NAT pools: the loop around `core.allocation`. Packets and time in, maps and
packets out.

One turn reads what the kernel logged, all of it up to a bound, so that the packets of a burst go through one
transaction and out again in their order. It needs CAP_NET_ADMIN and CAP_NET_RAW in its network namespace and nothing
else; `run` is the whole of a process, `turn` its part for somebody who waits for more than this.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.flowuse import addresses_in_use, ports_given
from understudy.adapters.nftables import Nft
from understudy.adapters.packetlog import LoggedPacket, PacketLog, Resender, flow_of, source_of
from understudy.agent.children import Children
from understudy.agent.use_look import UseLook
from understudy.core.allocation.effects import Effect, LookForUse, MapEntries, PoolDry, Publish, SendAgain
from understudy.core.allocation.events import (
    Adopted,
    Cleared,
    Configured,
    Event,
    Logged,
    Mapped,
    Replicated,
    Tick,
    UseSeen,
    Waiting,
)
from understudy.core.allocation.machine import Allocator
from understudy.core.allocation.ports import FlowKey, Ports
from understudy.core.allocation.records import Entry, Record
from understudy.errors import EnvironmentFailure
from understudy.ios.model import Side
from understudy.render.ios_first import (
    AGAIN_INSIDE,
    AGAIN_MASK,
    AGAIN_OUTSIDE,
    ASIDE_PREFIX,
    LOG_GROUP,
    LOG_PREFIX,
    PORT_PREFIX,
    Allocated,
    entries_text,
    map_listings,
    parse_maps,
    ports_text,
)
from understudy.units import SECOND, Duration, Instant

PACKETS_MAX = 512
"""Of one turn."""
ENTRIES_MAX = 500
"""In one transaction: without privilege over the machine the kernel takes no larger message (adapters.nftables)."""
BUFFER_BYTES = 8 << 20
"""Of packets that the kernel holds for us."""


class AllocatorLoop:
    """Belongs to the network namespace in which it is made."""

    def __init__(
        self,
        publish: Callable[[Sequence[Record]], None] = lambda records: None,
        alarm: Callable[[PoolDry], None] = lambda dry: None,
        *,
        listening: bool = True,
        children: Children | None = None,
    ) -> None:
        """`listening`: first packets are answered here, and not somewhere else. `children`: may look for use."""
        self.machine = Allocator()
        self._ports = Ports()
        self._counting = False
        """Numbers go on where the flows that there are leave off; looked at before the first one is given."""
        self._publish, self._alarm = publish, alarm
        self._pools: dict[int, Allocated] = {}
        """Every one there ever was: entries of one that is gone are removed by it."""
        self._nft = Nft()
        self._log: PacketLog | None = None
        if listening:
            self.listen(True)
        self._resender = Resender()
        self._flows = FlowTable()
        self._uses = UseLook(children) if children is not None else None
        self.strange = 0
        """Logged packets that were no IPv4 packets, or of no pool."""

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Readable when a turn is due; `machine.next_deadline` says when else."""
        return (
            (self._log.socket, *(self._uses.sockets if self._uses is not None else ())) if self._log is not None else ()
        )

    def listen(self, on: bool) -> None:
        """Answer first packets from here on, or no more. Raises EnvironmentFailure if somebody else does."""
        if on and self._log is None:
            self._ports, self._counting = Ports(), False
            self._log = PacketLog(LOG_GROUP, BUFFER_BYTES)
        elif not on and self._log is not None:
            self._log.close()
            self._log = None
            if self._uses is not None:
                self._uses.end()

    def configure(self, pools: Sequence[Allocated], configured: Configured) -> None:
        """The maps are in the kernel already. Entries that stand in them from before are taken over."""
        self._pools.update((each.number, each) for each in pools)
        self.handle(configured)
        self.handle(Adopted(self._held(pools)))

    def follow(self, records: Sequence[Record], *, whole: bool) -> None:
        """The peer hands out, and says what."""
        self.handle(Replicated(tuple(records), whole))

    def clear(self, address: int | None = None) -> int:
        """Take back what an address, given or of a host, is about, or all; how many entries went, also from the maps.

        Where we only follow it is not ours to take.
        """
        if self._log is None:
            return 0
        before = self.machine.held
        self.handle(Cleared(address))
        return before - self.machine.held

    def turn(self) -> None:
        """Answer what was logged, and do what is due: nothing where nobody listens, as use is seen elsewhere then."""
        if self._log is None:
            return
        packets: list[Waiting] = []
        flows: dict[bool, list[tuple[tuple[int, FlowKey], LoggedPacket]]] = {False: [], True: []}
        for each in self._log.read(PACKETS_MAX):
            host, number = source_of(each.packet), each.prefix.removeprefix(LOG_PREFIX)
            if host is not None and number.isdecimal():
                packets.append(Waiting(int(number), host, each.packet, each.mark, each.leaving))
            elif host is not None and (asked := _asked_port(each)) is not None:
                flows[each.prefix.startswith(ASIDE_PREFIX)].append((asked, each))
            else:
                self.strange += 1
        if packets:
            self.handle(Logged(tuple(packets)))
        for aside, some in flows.items():
            if some:
                self._give_ports(some, aside)
        if self._uses is not None and (seen := self._uses.heard()) is not None:
            self.handle(seen)
        due = self.machine.next_deadline()
        if due is not None and due <= time.monotonic_ns():
            self.handle(Tick())

    def run(self, stopped: Callable[[], bool] = lambda: False, patience: Duration = SECOND) -> None:
        while not stopped():
            due = self.machine.next_deadline()
            wait = patience if due is None else max(0, min(patience, due - time.monotonic_ns()))
            select.select(self.sockets, [], [], wait / SECOND)
            self.turn()

    def handle(self, event: Event) -> None:
        for effect in self.machine.handle(Instant(time.monotonic_ns()), event):
            self._carry_out(effect)

    def close(self) -> None:
        self.listen(False)
        for each in (self._flows, self._resender, self._nft):
            each.close()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case MapEntries(number, added, removed):
                self.handle(Mapped(number, self._map(added, removed)))
            case SendAgain(packets):
                for packet in packets:
                    self._send(packet)
            case Publish(records):
                self._publish(records)
            case LookForUse():
                self._look_for_use()
            case PoolDry():
                self._alarm(effect)

    def _look_for_use(self) -> None:
        if self._uses is None:
            self.handle(UseSeen(addresses_in_use(self._flows)))
            return
        try:
            self._uses.begin(frozenset(each.given for each in self.machine.entries()))
        except OSError:  # no room for a process
            self.handle(UseSeen(None))

    def _give_ports(self, flows: Sequence[tuple[tuple[int, FlowKey], LoggedPacket]], aside: bool) -> None:
        if not self._counting:
            self._counting = True
            with contextlib.suppress(EnvironmentFailure):
                self._ports.resume(ports_given(self._flows))
        ports = self._ports.give(Instant(time.monotonic_ns()), [asked for asked, _ in flows], aside=aside)
        if self._try(ports_text(ports)):
            for _, each in flows:
                self._resender.send(each.packet, each.mark & ~AGAIN_MASK | AGAIN_INSIDE, each.leaving)

    def _send(self, packet: Waiting) -> None:
        outside = self._pools[packet.pool].side is Side.OUTSIDE
        mark = packet.mark & ~AGAIN_MASK | (AGAIN_OUTSIDE if outside else AGAIN_INSIDE)
        self._resender.send(packet.packet, mark, packet.leaving)

    def _map(self, added: Sequence[Entry], removed: Sequence[Entry]) -> bool:
        if len(added) + len(removed) > ENTRIES_MAX:
            for at in range(0, len(removed), ENTRIES_MAX):
                self._map((), removed[at : at + ENTRIES_MAX])
            parts = [self._map(added[at : at + ENTRIES_MAX], ()) for at in range(0, len(added), ENTRIES_MAX)]
            return all(parts)
        try:
            self._nft.run(entries_text(self._pools.values(), added, removed))
        except EnvironmentFailure:
            # One of them is not as we think. What must go, goes if it is there; what must come, must come.
            for each in removed:
                self._try(entries_text(self._pools.values(), (), (each,)))
            return self._try(entries_text(self._pools.values(), added, ())) if removed else False
        return True

    def _try(self, text: str) -> bool:
        try:
            self._nft.run(text)
        except EnvironmentFailure:
            return False
        return True

    def _held(self, pools: Sequence[Allocated]) -> tuple[Entry, ...]:
        listing = "".join(self._nft.run(text) for text in map_listings(pools))
        return parse_maps(pools, listing)


def _asked_port(logged: LoggedPacket) -> tuple[int, FlowKey] | None:
    """Which flow asks for a port of which address."""
    flow = flow_of(logged.packet)
    address = logged.prefix.removeprefix(PORT_PREFIX).removeprefix(ASIDE_PREFIX)
    if flow is None or address == logged.prefix:
        return None
    try:
        return int(IPv4Address(address)), FlowKey(*flow)
    except ValueError:
        return None
