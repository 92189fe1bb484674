"""The probe of TCP: one process with a population of long-lived connections and a fixed rate of new ones, in plain
epoll.

Every connection asks something small each EXCHANGE (a large population less often: EXCHANGES_MAX a second in all) and
waits for the whole answer, so an answer proves both directions. Each question is numbered, and the answer must be it,
byte for byte: anything else ends the connection as a reset would. Whoever still waits does not ask again: TCP itself
retransmits, as for a real client. Idle connections ask once when they begin, and then only when the drill wants to know
who is alive. New connections start at instants fixed beforehand (open loop); what they waited counts from there, not
from when the process got round to it.
"""

import errno
import gc
import hashlib
import resource
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.drill.board import Board, Cell
from understudy.drill.record import Connect, Connection, FlowRecord
from understudy.units import MILLISECOND, SECOND, Address, Duration, Instant

EXCHANGE: Duration = 100 * MILLISECOND
EXCHANGES_MAX = 2000
"""A second: a prober that is late for its own schedule proves less."""
CONNECT_RATE = 50
"""New connections a second."""
CONNECT_TIMEOUT: Duration = 5 * SECOND
_ESTABLISH_TIMEOUT: Duration = 5 * SECOND
_ESTABLISH_RATE_MIN = 500
"""Connections a second that must come about, beyond the time above."""
_LIFE_MAX: Duration = 600 * SECOND
_ANSWER_MAX = 4096
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Member:
    """A connection to be made: an unconnected socket, made in its client's namespace, and where it goes."""

    path: str
    """`service` speaks HTTP/1.1 with keep-alive, `source-nat` speaks to a plain echo."""
    sock: socket.socket
    target: tuple[str, int]
    idle: bool = False


@dataclass(slots=True)
class _Live:
    """A member while it runs."""

    member: Member
    index: int
    established: bool = False
    waiting: bytes = b""
    """What the answer must be; empty while nothing is asked."""
    received: bytes = b""
    asked: int = 0
    answered: int = 0
    ended: int = 0
    corrupted: bool = False


@dataclass(slots=True)
class _Attempt:
    sock: socket.socket
    scheduled: int
    connected: bool = False


class FlowProbe:
    """Runs inside the namespace of the client whose new connections it makes."""

    def __init__(
        self,
        members: Sequence[Member],
        services: Sequence[tuple[Address, int]],
        board: Board,
        connect_rate: int = CONNECT_RATE,
    ) -> None:
        self._live = [_Live(member, index) for index, member in enumerate(members)]
        self._services = services
        self._board = board
        self._connect_every = SECOND // connect_rate
        self._poll = select.epoll()
        self._by_fd: dict[int, _Live] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._connects: list[Connect] = []
        self._stall_max = 0

    def run(self) -> FlowRecord:
        """Establish the population, then exchange until the board says stop."""
        gc.disable()
        began = time.monotonic_ns()
        self._establish()
        self._board[Cell.FLOWS_READY] = 1
        self._exchange()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        share = (usage.ru_utime + usage.ru_stime) * SECOND / (time.monotonic_ns() - began)
        connections = tuple(
            Connection(live.member.path, live.established, Instant(live.answered), Instant(live.ended), live.corrupted)
            for live in self._live
        )
        return FlowRecord(connections, tuple(self._connects), self._stall_max, round(share, 4))

    def _establish(self) -> None:
        """Connect every member, a few at a time; who is not there in time does not count as established."""
        deadline = time.monotonic_ns() + _ESTABLISH_TIMEOUT + len(self._live) * SECOND // _ESTABLISH_RATE_MIN
        pending = deque(self._live)
        open_now: set[int] = set()
        while (pending or open_now) and time.monotonic_ns() < deadline:
            while pending and len(open_now) < 64:
                live = pending.popleft()
                live.member.sock.setblocking(False)
                code = live.member.sock.connect_ex(live.member.target)
                if code not in (0, errno.EINPROGRESS):
                    continue
                fd = live.member.sock.fileno()
                self._by_fd[fd] = live
                self._poll.register(fd, select.EPOLLOUT)
                open_now.add(fd)
            for fd, _events in self._poll.poll(0.05):
                live = self._by_fd[fd]
                open_now.discard(fd)
                if live.member.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._poll.unregister(fd)
                    continue
                live.established = True
                live.member.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Nothing of this run shall be left for the next one: neither ports nor flows.
                live.member.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self._poll.modify(fd, select.EPOLLIN)
        for fd in open_now:
            self._poll.unregister(fd)

    def _exchange(self) -> None:
        established = [live for live in self._live if live.established]
        idle = [live for live in established if live.member.idle]
        busy = [live for live in established if not live.member.idle]
        every = max(EXCHANGE, len(busy) * SECOND // EXCHANGES_MAX)
        start = time.monotonic_ns()
        due = deque((start + every * position // max(1, len(busy)), live) for position, live in enumerate(busy))
        once = _paced(idle, start)
        marked = False
        next_connect = start + self._connect_every
        next_count = start
        end = start + _LIFE_MAX
        while True:
            now = time.monotonic_ns()
            stop = self._board[Cell.STOP]
            if (stop and now >= stop) or now >= end:
                break
            if self._board[Cell.MARK] and not marked:
                marked = True
                once += _paced(idle, now)
            while due and due[0][0] <= now:
                at, live = due.popleft()
                self._stall_max = max(self._stall_max, now - at)
                self._ask(live)
                due.append((at + every, live))
            while once and once[0][0] <= now:
                self._ask(once.popleft()[1])
            while self._services and next_connect <= now:
                self._connect(next_connect)
                next_connect += self._connect_every
            if next_count <= now:
                self._count(established)
                self._expire(now)
                next_count = now + 50 * MILLISECOND
            waits = [next_count, *(queue[0][0] for queue in (due, once) if queue)]
            if self._services:
                waits.append(next_connect)
            timeout = max(0, min(waits) - time.monotonic_ns())
            # epoll counts in milliseconds and rounds up: a few exchanges a millisecond late harm nothing.
            for fd, _events in self._poll.poll(timeout / SECOND):
                if fd in self._attempts:
                    self._progress(fd)
                elif fd in self._by_fd:
                    self._hear(self._by_fd[fd])
        for fd in list(self._attempts):
            self._finish(fd, "timeout" if time.monotonic_ns() - self._attempts[fd].scheduled > SECOND else "")

    def _ask(self, live: _Live) -> None:
        if live.ended or live.waiting:
            return
        live.asked += 1
        question = question_of(live.index, live.asked)
        live.waiting, live.received = question, b""
        if live.member.path == "service":
            question = b"GET /echo?%s HTTP/1.1\r\nHost: drill\r\n\r\n" % question
        try:
            live.member.sock.send(question)
        except BlockingIOError:
            pass
        except OSError:
            self._end(live)

    def _hear(self, live: _Live) -> None:
        try:
            data = live.member.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(live)
            return
        live.received += data
        answer = body_of(live.received) if live.member.path == "service" else live.received
        if not live.waiting.startswith(answer) or len(live.received) > _ANSWER_MAX or not live.waiting:
            live.corrupted = True
            self._end(live)
        elif answer == live.waiting:
            live.waiting = b""
            live.answered = time.monotonic_ns()

    def _end(self, live: _Live) -> None:
        live.ended = time.monotonic_ns()
        self._poll.unregister(live.member.sock.fileno())
        del self._by_fd[live.member.sock.fileno()]
        live.member.sock.close()

    def _count(self, established: Sequence[_Live]) -> None:
        mark = self._board[Cell.MARK]
        self._board[Cell.UNDECIDED] = sum(not live.ended and live.answered <= mark for live in established)
        self._board[Cell.COUNTED_MARK] = mark

    def _connect(self, scheduled: int) -> None:
        address, port = self._services[len(self._connects) % len(self._services)]
        sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        code = sock.connect_ex((str(address), port))
        attempt = _Attempt(sock, scheduled)
        fd = sock.fileno()
        self._attempts[fd] = attempt
        self._poll.register(fd, select.EPOLLOUT)
        if code not in (0, errno.EINPROGRESS):
            self._finish(fd, "refused" if code == errno.ECONNREFUSED else "timeout")

    def _progress(self, fd: int) -> None:
        attempt = self._attempts[fd]
        try:
            if not attempt.connected:
                code = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._finish(fd, "refused" if code in (errno.ECONNREFUSED, errno.ECONNRESET) else "timeout")
                    return
                attempt.connected = True
                self._poll.modify(fd, select.EPOLLIN)
                attempt.sock.send(b"GET /echo?new HTTP/1.1\r\nHost: drill\r\nConnection: close\r\n\r\n")
                return
            answer = attempt.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        self._finish(fd, "answered" if answer else "refused")

    def _finish(self, fd: int, outcome: str) -> None:
        """Close an attempt; without an outcome it ended with the run and counts for nothing."""
        attempt = self._attempts.pop(fd)
        self._poll.unregister(fd)
        if outcome == "timeout":
            attempt.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        attempt.sock.close()
        if outcome:
            answered = time.monotonic_ns() if outcome == "answered" else 0
            self._connects.append(Connect(Instant(attempt.scheduled), Instant(answered), outcome))

    def _expire(self, now: int) -> None:
        for fd in [fd for fd, attempt in self._attempts.items() if now - attempt.scheduled > CONNECT_TIMEOUT]:
            self._finish(fd, "timeout")


def _paced(lives: Sequence[_Live], start: int) -> deque[tuple[int, _Live]]:
    """One turn each, as fast as the process can be on time."""
    return deque((start + position * SECOND // EXCHANGES_MAX, live) for position, live in enumerate(lives))


def question_of(index: int, number: int) -> bytes:
    """What connection `index` asks as its question `number`: no other connection or question has these bytes."""
    told = b"c%d.%d;" % (index, number)
    return told + hashlib.blake2b(told, digest_size=24).hexdigest().encode()


def body_of(response: bytes) -> bytes:
    """What has come of an HTTP response's body; empty while its head is not whole."""
    return response.partition(b"\r\n\r\n")[2]
