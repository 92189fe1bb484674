"""The probe of the wire: one process that sends numbered datagrams, asks for the virtual addresses and watches the
gateways' ports.

It sends by schedule (open loop) whatever happens to the answers. When it wakes late, it catches up on what is due
within STALL_LIMIT and otherwise starts a new schedule; the record of send instants shows that, and the run is void.
Reading may be late without harm: the kernel stamped every packet as it came in.
"""

import gc
import resource
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from understudy.adapters.scheduling import ask_for_real_time
from understudy.drill import frames
from understudy.drill.board import Board, Cell
from understudy.drill.measure import ASK_PERIOD, DATAGRAM_PERIOD, STALL_LIMIT
from understudy.drill.record import Sighting, Stream, WireRecord
from understudy.drill.sockets import clock_offset, drain
from understudy.units import MILLISECOND, SECOND, Instant

_DATAGRAM = struct.Struct("!4sQ")
_MAGIC = b"usdr"
_READ_EVERY = 5
"""Ticks between two readings: packets wait in the socket's buffer, stamped."""
_AFTERGLOW = 200 * MILLISECOND
"""How long stragglers are waited for after the last datagram."""
_TICKS_MAX = 600_000
"""Ten minutes: the loop ends by itself if the drill never stops it."""


@dataclass(frozen=True, slots=True)
class DatagramFlow:
    """One direction: a socket in one namespace sends to a socket in another, through the gateways."""

    name: str
    sender: socket.socket
    target: tuple[str, int]
    receiver: socket.socket
    """Stamped and non-blocking (`sockets.stamp`)."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A packet socket bound to a client's interface, and the frame that asks for one virtual address."""

    sock: socket.socket
    frame: bytes


@dataclass(frozen=True, slots=True)
class Tap:
    """A packet socket on the switch's side of a gateway's link (`sockets.open_tap`)."""

    node: str
    network: str
    sock: socket.socket


class WireProbe:
    def __init__(
        self, flows: Sequence[DatagramFlow], askers: Sequence[Asker], taps: Sequence[Tap], board: Board
    ) -> None:
        self._flows, self._askers, self._taps, self._board = flows, askers, taps, board
        self._sent: list[list[int]] = [[] for _ in flows]
        self._arrivals: list[list[tuple[Instant, int]]] = [[] for _ in flows]
        self._asked: list[Instant] = []
        self._sightings: list[Sighting] = []
        self._sighted: dict[bytes, tuple[str, str] | None] = {}

    def run(self) -> WireRecord:
        """Send and listen until the board says stop."""
        realtime = ask_for_real_time(5)
        gc.disable()
        began = time.monotonic_ns()
        self._send_and_listen()
        time.sleep(_AFTERGLOW / SECOND)
        self._read()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        share = (usage.ru_utime + usage.ru_stime) * SECOND / (time.monotonic_ns() - began)
        streams = tuple(
            Stream(flow.name, tuple(Instant(at) for at in sent), tuple(arrivals))
            for flow, sent, arrivals in zip(self._flows, self._sent, self._arrivals, strict=True)
        )
        return WireRecord(streams, tuple(self._sightings), tuple(self._asked), round(share, 4), realtime)

    def _send_and_listen(self) -> None:
        board = self._board
        due = time.monotonic_ns() + DATAGRAM_PERIOD
        ask_every = ASK_PERIOD // DATAGRAM_PERIOD
        for tick in range(_TICKS_MAX):
            now = time.monotonic_ns()
            if now < due:
                time.sleep((due - now) / SECOND)
                now = time.monotonic_ns()
            if now - due > STALL_LIMIT:
                due = now
            self._send_datagrams()
            if tick % ask_every == 0:
                self._ask()
            if tick % _READ_EVERY == 0:
                self._read()
                board[Cell.WIRE_READY] = 1
                stop = board[Cell.STOP]
                if stop and now >= stop:
                    return
            due += DATAGRAM_PERIOD

    def _send_datagrams(self) -> None:
        for flow, sent in zip(self._flows, self._sent, strict=True):
            now = time.monotonic_ns()
            try:
                flow.sender.sendto(_DATAGRAM.pack(_MAGIC, len(sent)), flow.target)
            except OSError:
                pass  # No route or no buffer: it counts as sent and lost, as a user would have felt it.
            sent.append(now)

    def _ask(self) -> None:
        for asker in self._askers:
            try:
                asker.sock.send(asker.frame)
            except OSError:
                pass  # The client's own link is down: nobody can be asked.
        self._asked.append(Instant(time.monotonic_ns()))

    def _read(self) -> None:
        offset = clock_offset()
        for index, (flow, arrivals) in enumerate(zip(self._flows, self._arrivals, strict=True)):
            for instant, data in drain(flow.receiver, 64, offset):
                if len(data) == _DATAGRAM.size and data[:4] == _MAGIC:
                    arrivals.append((instant, _DATAGRAM.unpack(data)[1]))
                    self._board.arrived(index, instant, STALL_LIMIT)
        for tap in self._taps:
            for instant, frame in drain(tap.sock, 128, offset):
                # The same answers come hundreds of times a second: decode each distinct frame once.
                if frame not in self._sighted:
                    self._sighted[frame] = frames.sight(frame)
                sight = self._sighted[frame]
                if sight is not None:
                    self._sightings.append(Sighting(instant, tap.node, tap.network, *sight))


def asker_for(sock: socket.socket, address: str) -> Asker:
    """An asker for `address` over a packet socket that is bound to a client's interface."""
    return Asker(sock, frames.ask(ip_address(address)))
