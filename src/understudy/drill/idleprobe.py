"""The probe of idle datagrams: one process with many UDP exchanges that fall silent and must be known afterwards.

Each begins inside, goes out through source NAT and is answered, twice, more than two seconds apart, so that the kernel
holds it for an ordinary one (`nf_conntrack_udp_timeout_stream`). After the fault the *outside* speaks first, to the
translated address that it remembers: only a kernel that holds the flow can bring that inside. The answer must then come
from the address of before. Every datagram is numbered; a wrong byte counts as a reset does.
"""

import gc
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from understudy.drill.board import Board, Cell
from understudy.drill.flowprobe import question_of
from understudy.drill.record import Connection
from understudy.units import MILLISECOND, SECOND, Duration, Instant

PATH: Final = "udp"
_RATE: Final = 2000
"""Datagrams a second."""
_SETTLED: Final[Duration] = 2 * SECOND + 200 * MILLISECOND
"""After this a kernel takes an answered exchange for a lasting one."""
_REPEAT: Final[Duration] = 300 * MILLISECOND
_PATIENCE: Final[Duration] = 5 * SECOND
_LIFE_MAX: Final[Duration] = 600 * SECOND
_SIZE: Final = 256


Peer = tuple[Any, ...]
"""An address as recvfrom gives it (Any: two parts or four)."""


@dataclass(slots=True)
class _Exchange:
    index: int
    sock: socket.socket
    known: Peer = ()
    """The address that the outside knows it by."""
    asked: int = 0
    answered: int = 0
    ended: int = 0


class IdleProbe:
    """`socks` are unconnected, made inside; `far` is bound outside, at `target`."""

    def __init__(
        self, socks: Sequence[socket.socket], far: socket.socket, target: tuple[str, int], board: Board
    ) -> None:
        self._exchanges = [_Exchange(index, sock) for index, sock in enumerate(socks)]
        self._far, self._target, self._board = far, target, board
        self._poll = select.epoll()
        self._by_fd = {exchange.sock.fileno(): exchange for exchange in self._exchanges}

    def run(self) -> tuple[Connection, ...]:
        """Begin them all, be silent until the board has a mark, then speak from outside until the board says stop."""
        gc.disable()
        for sock in (self._far, *(exchange.sock for exchange in self._exchanges)):
            sock.setblocking(False)
            self._poll.register(sock, select.EPOLLIN)
        self._far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        began = time.monotonic_ns()
        self._round(self._greet, began + _PATIENCE)
        self._pause(began + _SETTLED)
        self._round(self._greet, time.monotonic_ns() + _PATIENCE, again=True)
        self._board[Cell.DATAGRAMS_READY] = 1
        established = [bool(exchange.known) for exchange in self._exchanges]
        end = time.monotonic_ns() + _LIFE_MAX
        while not self._board[Cell.MARK] and not self._stopped() and time.monotonic_ns() < end:
            self._turn(20 * MILLISECOND)
        mark = self._board[Cell.MARK]
        if mark:
            self._verify(mark, end)
        return tuple(
            Connection(PATH, there, Instant(exchange.answered), Instant(exchange.ended), bool(exchange.ended))
            for exchange, there in zip(self._exchanges, established, strict=True)
        )

    def _stopped(self) -> bool:
        stop = self._board[Cell.STOP]
        return bool(stop) and time.monotonic_ns() >= stop

    def _round(self, speak: Callable[[_Exchange], None], deadline: int, *, again: bool = False) -> None:
        """Have everybody speak, and again whoever was not answered, until all were or the deadline is over."""
        wanted = 2 if again else 1
        while time.monotonic_ns() < deadline and not self._stopped():
            left = [exchange for exchange in self._exchanges if exchange.asked < wanted or not exchange.known]
            if not left:
                return
            self._paced(left, speak)
            self._turn(_REPEAT)

    def _verify(self, mark: int, end: int) -> None:
        while not self._stopped() and time.monotonic_ns() < end:
            left = [one for one in self._exchanges if one.known and one.answered <= mark and not one.ended]
            self._board[Cell.DATAGRAMS_UNDECIDED] = len(left)
            self._board[Cell.DATAGRAMS_COUNTED] = mark
            if left:
                self._paced(left, self._call)
            self._turn(_REPEAT if left else 20 * MILLISECOND)

    def _paced(self, exchanges: Sequence[_Exchange], speak: Callable[[_Exchange], None]) -> None:
        due = time.monotonic_ns()
        for exchange in exchanges:
            speak(exchange)
            due += SECOND // _RATE
            self._turn(max(0, due - time.monotonic_ns()))

    def _pause(self, until: int) -> None:
        while time.monotonic_ns() < until and not self._stopped():
            self._turn(20 * MILLISECOND)

    def _greet(self, exchange: _Exchange) -> None:
        exchange.asked += 1
        _send(exchange.sock, question_of(exchange.index, exchange.asked), self._target)

    def _call(self, exchange: _Exchange) -> None:
        exchange.asked += 1
        _send(self._far, question_of(exchange.index, exchange.asked), exchange.known)

    def _turn(self, length: Duration) -> None:
        """Read what comes for so long."""
        end = time.monotonic_ns() + length
        while True:
            left = end - time.monotonic_ns()
            for fd, _ in self._poll.poll(max(0, left) / SECOND):
                if fd == self._far.fileno():
                    self._hear_outside()
                else:
                    self._hear_inside(self._by_fd[fd])
            if left <= 0:
                return

    def _hear_outside(self) -> None:
        while (came := _receive(self._far)) is not None:
            data, sender = came
            exchange = self._named(data)
            if exchange is None:
                continue
            if not exchange.known:
                exchange.known = sender
            if sender != exchange.known:
                exchange.ended = time.monotonic_ns()  # another translation than before: a user's peer would not know it
            elif self._board[Cell.MARK]:
                exchange.answered = time.monotonic_ns()
            else:
                _send(self._far, data, sender)

    def _hear_inside(self, exchange: _Exchange) -> None:
        while (came := _receive(exchange.sock)) is not None:
            if self._named(came[0]) is not exchange:
                exchange.ended = time.monotonic_ns()
            elif self._board[Cell.MARK]:
                _send(exchange.sock, came[0], self._target)

    def _named(self, data: bytes) -> _Exchange | None:
        """Whose datagram this is, if every byte of it is right."""
        head = data.partition(b";")[0]
        index, _, number = head[1:].partition(b".")
        if not index.isdigit() or not number.isdigit() or int(index) >= len(self._exchanges):
            return None
        return self._exchanges[int(index)] if data == question_of(int(index), int(number)) else None


def _send(sock: socket.socket, data: bytes, target: Peer) -> None:
    try:
        sock.sendto(data, target)
    except OSError:
        pass  # It is repeated; what never arrives counts as lost.


def _receive(sock: socket.socket) -> tuple[bytes, Peer] | None:
    try:
        return sock.recvfrom(_SIZE)
    except OSError:
        return None
