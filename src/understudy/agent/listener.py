"""What a node hears on its LANs and over the channel, as events for its core. Nothing here waits.

The counterpart of the speaker. A frame that cannot be read is dropped and counted; what floods was mostly shed before,
by the filters in the sockets (`adapters.sieve`), and is counted and told here.
"""

import socket
from collections.abc import Callable, Mapping

from understudy.adapters.channel import DATAGRAM_MAX, Channel
from understudy.agent.lans import Lan
from understudy.core.events import AddressAnswered, Event, HeartbeatReceived, VrrpReceived, WitnessAnswered
from understudy.core.settings import NodeSettings
from understudy.errors import DecodeError
from understudy.units import Address, GroupName, NetworkName
from understudy.wire import arp, ndp
from understudy.wire.frame import ETHERTYPE_ARP, parse_frame
from understudy.wire.vrrp import PROTOCOL, is_virtual_mac

BURST_MAX = 64
"""Frames taken from one socket before the others get their turn."""


class Listener:
    """`feed` takes an event into the core; `drop` counts, by reason, packets that nobody looks at."""

    def __init__(
        self,
        settings: NodeSettings,
        lans: Mapping[NetworkName, Lan],
        channel: Channel,
        feed: Callable[[Event], None],
        drop: Callable[..., None],
    ) -> None:
        self._lans = lans
        self._channel = channel
        self._feed = feed
        self._drop = drop
        self._by_port: dict[socket.socket, Lan] = {lan.port.socket: lan for lan in lans.values()}
        self._by_channel: dict[socket.socket, Lan] = {
            lan.channel: lan for lan in lans.values() if lan.channel is not None
        }
        self.sockets: list[socket.socket] = [*self._by_port, *self._by_channel]
        self._with_virtual_mac = {
            group.name for group in settings.groups if all(router.virtual_mac for router in group.routers)
        }
        self.virtual: dict[Address, tuple[GroupName, NetworkName]] = {
            address: (group.name, router.network)
            for group in settings.groups
            for router in group.routers
            for address in router.addresses
        }
        self._latest: dict[tuple[NetworkName, bytes], tuple[bytes, VrrpReceived]] = {}
        """The last advertisement of each LAN and ethertype: the next one is probably the same, byte by byte."""
        self._own = {address for lan in lans.values() for address in lan.own.values()}

    def read(self, which: socket.socket, most: int = BURST_MAX) -> bool:
        """What waits in one of the `sockets`, at most so many frames. False if it is none of them."""
        if (lan := self._by_port.get(which)) is not None:
            self._read_port(lan, most)
        elif (lan := self._by_channel.get(which)) is not None:
            self._read_channel(lan, most)
        else:
            return False
        return True

    def housekeep(self, note: Callable[[str, str, str], None]) -> None:
        """Filters that shed a flood open again here, and what they shed is counted and told."""
        for lan in self._lans.values():
            for sieve in (lan.port.sieve, *((lan.channel.sieve,) if lan.channel is not None else ())):
                for kind, begins in sieve.news():
                    detail = "only a share is looked at" if begins else "over"
                    note("flood", f"{kind} on {lan.network}", detail)
                for reason, count in sieve.shed.items():
                    self._drop(reason, count)
                sieve.shed.clear()

    def _read_port(self, lan: Lan, most: int) -> None:
        for _ in range(most):
            frame = lan.port.receive()
            if frame is None:
                return
            try:
                self._take_frame(lan, frame)
            except DecodeError as error:
                self._drop(error.reason)

    def _take_frame(self, lan: Lan, frame: bytes) -> None:
        way = lan.network, frame[12:14]
        latest = self._latest.get(way)
        if latest is not None and latest[0] == frame:
            self._feed(latest[1])
            return
        if len(frame) > 14 and frame[12] << 8 | frame[13] == ETHERTYPE_ARP:
            answer = arp.decode(frame)
            self._take_answer(lan, answer.sender, answer.sender_mac)
            return
        packet = parse_frame(frame)
        if packet.protocol == PROTOCOL:
            event = VrrpReceived(lan.network, packet)
            self._latest[way] = frame, event
            self._feed(event)
            return
        message = ndp.decode(frame)
        if isinstance(message, ndp.NeighborAdvertisement):
            self._take_answer(lan, message.target, message.target_mac)

    def _take_answer(self, lan: Lan, address: Address, mac: bytes | None) -> None:
        """An answer on the LAN: of a virtual address that we asked about, or of a witness.

        A node of a group with virtual MAC answers with one: whoever else claims the address (a duplicate, a proxy) is
        wrong, and must not hold back a take-over.
        """
        virtual = self.virtual.get(address)
        if virtual is not None:
            group, network = virtual
            if network == lan.network and (group not in self._with_virtual_mac or is_virtual_mac(mac)):
                self._feed(AddressAnswered(group, address))
        elif address not in self._own:
            self._feed(WitnessAnswered(lan.network, address))

    def _read_channel(self, lan: Lan, most: int) -> None:
        assert lan.channel is not None
        for _ in range(most):
            try:
                datagram = lan.channel.recv(DATAGRAM_MAX + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return
            try:
                sender, payload = self._channel.open(datagram, lan.number)
            except DecodeError as error:
                self._drop(error.reason)
                continue
            self._feed(HeartbeatReceived(lan.network, sender, payload))
