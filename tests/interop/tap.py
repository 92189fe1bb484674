"""What the switch of the lab sees of the two nodes: advertisements and answers, with the kernel's own time."""

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from speech import OURS, THEIRS

from understudy.errors import DecodeError
from understudy.lab.build import Lab
from understudy.units import SECOND, Address
from understudy.wire import arp, ndp
from understudy.wire.frame import ETHERTYPE_ARP, parse_frame
from understudy.wire.vrrp import PROTOCOL, Advertisement, decode_packet

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_TIMESTAMPNS = 35


@dataclass(frozen=True)
class Advertised:
    at: int
    node: str
    network: str
    source: Address
    source_mac: bytes
    destination_mac: bytes
    advertisement: Advertisement


@dataclass(frozen=True)
class Answered:
    at: int
    node: str
    address: Address
    mac: bytes


@dataclass
class Wire:
    """What enters the switch from the two nodes, in order. Times are of the kernel, on the real-time clock."""

    lab: Lab
    advertised: list[Advertised] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Advertisements that our own decoder refuses, by reason."""
    unreachable: int = 0
    """Packets in which our node's kernel says that it does not know what it was sent."""

    def __post_init__(self) -> None:
        self._socket = self.lab.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.setblocking(False)
        self._nodes = {p.switch_index: (n, p.network) for n in (OURS, THEIRS) for p in self.lab.topology.host(n).ports}

    def take(self) -> None:
        """Read on to the present."""
        with suppress(BlockingIOError):
            while True:
                frame, control, _, address = self._socket.recvmsg(2048, 64)
                port = self._nodes.get(self._index(address))
                if port is not None:
                    seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
                    self._read(frame, seconds * SECOND + nanoseconds, *port)

    def _index(self, address: Any) -> int:
        """Of the port; the address gives its name only."""
        if address[0] not in self._indices:
            self._indices[address[0]] = self.lab.switch.run(socket.if_nametoindex, address[0])
        return self._indices[address[0]]

    _indices: dict[str, int] = field(default_factory=dict)

    def _read(self, frame: bytes, at: int, node: str, network: str) -> None:
        try:
            if frame[12] << 8 | frame[13] == ETHERTYPE_ARP:
                message = arp.decode(frame)
                if message.operation is arp.Operation.REPLY:
                    self.answered.append(Answered(at, node, message.sender, message.sender_mac))
                return
            packet = parse_frame(frame)
            if packet.protocol == ndp.ICMPV6 and packet.payload[0] == 136:
                told = ndp.decode(frame)
                if isinstance(told, ndp.NeighborAdvertisement) and told.solicited:
                    self.answered.append(Answered(at, node, told.target, told.target_mac or frame[6:12]))
            elif node == OURS and (packet.protocol, packet.payload[0]) in ((1, 3), (ndp.ICMPV6, 4)):
                self.unreachable += 1  # protocol unreachable (RFC 792), unknown header (RFC 4443)
            elif packet.protocol == PROTOCOL:
                advertisement = decode_packet(packet)
                heard = Advertised(at, node, network, packet.source, frame[6:12], frame[:6], advertisement)
                self.advertised.append(heard)
        except DecodeError as error:
            protocol = frame[23] if frame[12:14] == b"\x08\0" else frame[20]
            if protocol == PROTOCOL:  # others are nobody's business here
                self.refused.append(f"{node}: {error.reason}")

    def first_after(self, at: int, node: str) -> Advertised | None:
        """The first advertisement of a node that serves."""
        self.take()
        return next((a for a in self.advertised if a.at >= at and a.node == node and a.advertisement.priority), None)

    def farewell_after(self, at: int, node: str) -> Advertised | None:
        self.take()
        said = (a for a in self.advertised if a.at >= at and a.node == node)
        return next((a for a in said if not a.advertisement.priority), None)

    def speaking(self, window_ns: int) -> set[str]:
        """Who advertised within the window, and was no farewell."""
        self.take()
        since = time.time_ns() - window_ns
        last: dict[str, Advertised] = {a.node: a for a in self.advertised if a.at >= since}
        return {node for node, advertised in last.items() if advertised.advertisement.priority}
