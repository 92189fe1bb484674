"""The watcher of both kernels: one process that hears what they say of flows and what passes between the nodes.

It lists both tables before the fault, again and again until they agree or SETTLE_MAX is over, and says so on the board.
From then on every new, changed and ended flow of both namespaces is stamped, and every datagram of the replication as
it leaves the active's cable and as it enters the standby's. It has netlink sockets of its own in the namespaces and
asks no agent anything; its sockets hear what the replicator itself writes.
"""

import errno
import gc
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from understudy.drill import flowtable, synctap
from understudy.drill.board import Board, Cell
from understudy.drill.sockets import clock_offset, drain
from understudy.drill.staterecord import Carried, Change, Listing, StateRecord
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Duration, Instant

Keeps = Callable[[int], bool]
"""Whether the flow with this mark is replicated."""

SETTLE_MAX: Final[Duration] = 10 * SECOND
"""How long the kernels may take to agree before the strike, while traffic goes on."""
_APART: Final[Duration] = 100 * MILLISECOND
"""Between two listings: what differs in both, and did not change at its origin in between, is no matter of lag."""
_AGAIN: Final[Duration] = 250 * MILLISECOND
_BEFORE: Final[Duration] = SECOND
"""Of ordinary service under observation before the strike: it tells the lag."""
_AFTERGLOW: Final[Duration] = 200 * MILLISECOND
_LIFE_MAX: Final[Duration] = 600 * SECOND
_WAKE_S: Final = 0.02
_MESSAGES_MAX: Final = 2_000_000
"""News and datagrams of a run; whatever exceeds this is not a drill."""
_READS_AT_ONCE: Final = 256
_BACKLOG_MAX: Final = 1000
_SNAP: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Ends:
    """Sockets of one node, made in its namespace."""

    node: str
    events: socket.socket
    table: socket.socket


@dataclass(frozen=True, slots=True)
class Taps:
    """Packet sockets on the switch (`synctap.open_tap`): at the active's ports, and at the standby's."""

    leaving_active: Sequence[socket.socket]
    entering_standby: Sequence[socket.socket]


class StateWatch:
    def __init__(
        self,
        open_ends: Callable[[str], Ends],
        open_taps: Callable[[], Taps],
        active: str,
        standby: str,
        keys: Sequence[bytes],
        keeps: Keeps,
        board: Board,
        *,
        after: Sequence[Cell] = (Cell.FLOWS_READY,),
        fresh: str = "",
        patience: Duration = SETTLE_MAX,
    ) -> None:
        """`after` says that the population stands. `fresh` is the node whose kernel begins with the strike: it is
        opened then, and not compared before.
        """
        self._open_ends, self._open_taps = open_ends, open_taps
        self._active, self._standby, self._fresh = active, standby, fresh
        self._after, self._since = after, Instant(0)
        self._keys, self._keeps, self._board, self._patience = keys, keeps, board, patience
        self._ends: dict[str, Ends] = {}
        self._listings: list[Listing] = []
        self._news: list[tuple[int, str, bytes]] = []
        self._frames: dict[str, list[tuple[Instant, bytes]]] = {"left": [], "arrived": []}
        self._overruns: dict[str, int] = {}

    def run(self) -> StateRecord:
        """Watch from when the population stands until the board says stop."""
        gc.disable()
        for cell in self._after:
            self._wait_for(cell)
        taps = self._open_taps()
        for node in (self._active, self._standby):
            if node != self._fresh:
                self._open(node)
        differing = self._compare()
        for _ in range(_BACKLOG_MAX):  # what was said during the listings is read late
            if not self._hear():
                break
        self._since = Instant(time.monotonic_ns())
        self._watch(taps)
        return self._decoded(differing)

    def _open(self, node: str) -> None:
        self._ends[node] = self._open_ends(node)
        self._list(node)

    def _wait_for(self, cell: Cell) -> None:
        end = time.monotonic_ns() + _LIFE_MAX
        while not self._board[cell] and not self._board[Cell.STOP] and time.monotonic_ns() < end:
            time.sleep(_WAKE_S)

    def _list(self, node: str) -> Listing:
        # Subscribed before: what changes during the listing is told besides.
        began = time.monotonic_ns()
        offset = clock_offset()
        flows = {}
        for flow in flowtable.list_flows(self._ends[node].table):
            flows[flow.key] = flow._replace(started=flow.started - offset) if flow.started else flow
        listing = Listing(node, Instant(began), Instant(time.monotonic_ns()), flows)
        self._listings.append(listing)
        return listing

    def _compare(self) -> tuple[bytes, ...]:
        """Kept flows that differ, once both kernels agree or patience is over."""
        if self._fresh:
            return ()
        first = tuple(self._listings)
        deadline = time.monotonic_ns() + self._patience
        while True:
            differing = self._differing_twice()
            if not differing or time.monotonic_ns() >= deadline or self._board[Cell.STOP]:
                # The first ones stay: the changes since then are applied to them.
                self._listings[:] = [*first, *self._listings[-2:]]
                return tuple(differing)
            del self._listings[2:]
            self._hear()
            time.sleep(_AGAIN / SECOND)

    def _differing_twice(self) -> list[bytes]:
        active, standby = self._list(self._active), self._list(self._standby)
        suspects = differing(active, standby, self._keeps)
        if not suspects:
            return []
        time.sleep(_APART / SECOND)
        before = active.flows
        active, standby = self._list(self._active), self._list(self._standby)
        again = differing(active, standby, self._keeps)
        return sorted(key for key in suspects & again if _content(before, key) == _content(active.flows, key))

    def _watch(self, taps: Taps) -> None:
        poll = select.epoll()
        for ends in self._ends.values():
            poll.register(ends.events, select.EPOLLIN)
        for sock in (*taps.leaving_active, *taps.entering_standby):
            poll.register(sock, select.EPOLLIN)
        end = time.monotonic_ns() + _LIFE_MAX
        while (now := time.monotonic_ns()) < end:
            poll.poll(_WAKE_S)
            self._hear()
            self._capture(taps)
            if now >= self._since + _BEFORE:
                self._board[Cell.STATE_READY] = 1
            if self._board[Cell.CUT] and self._fresh not in self._ends and self._fresh:
                self._open(self._fresh)
                poll.register(self._ends[self._fresh].events, select.EPOLLIN)
            stop = self._board[Cell.STOP]
            if stop and now >= stop + _AFTERGLOW:
                break
        for node in self._ends:
            self._list(node)
        poll.close()

    def _hear(self) -> int:
        """Read what the kernels have said, no more than some at once; how much that was."""
        before = len(self._news)
        for ends in self._ends.values():
            for _ in range(_READS_AT_ONCE):
                try:
                    data = ends.events.recv(1 << 18)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self._overruns[ends.node] = self._overruns.get(ends.node, 0) + 1
                    self._list(ends.node)
                    continue
                if len(self._news) < _MESSAGES_MAX:
                    self._news.append((time.monotonic_ns(), ends.node, data))
        return len(self._news) - before

    def _capture(self, taps: Taps) -> None:
        offset = clock_offset()
        for where, socks in (("left", taps.leaving_active), ("arrived", taps.entering_standby)):
            for sock in socks:
                if len(self._frames[where]) < _MESSAGES_MAX:
                    self._frames[where].extend(drain(sock, _SNAP, offset))

    def _decoded(self, differing: tuple[bytes, ...]) -> StateRecord:
        offset = clock_offset()
        changes = []
        for instant, node, data in self._news:
            for kind, flags, payload in flowtable.messages(data):
                if flowtable.is_synthetic(payload):
                    continue
                flow = flowtable.decode(payload)
                flow = flow._replace(started=flow.started - offset) if flow.started else flow
                gone, new = kind == flowtable.IPCTNL_MSG_CT_DELETE, bool(flags & flowtable.NLM_F_CREATE)
                changes.append(Change(Instant(instant), node, flow, gone, new))
        opener = synctap.Opener(self._keys)
        unread = 0
        streams: dict[str, list[Carried]] = {"left": [], "arrived": []}
        for where, frames in self._frames.items():
            for instant, frame in sorted(frames, key=lambda stamped: stamped[0]):
                for datagram in synctap.datagrams_of(frame):
                    try:
                        _, payload_bytes = opener.open(datagram)
                        streams[where] += synctap.carried(instant, payload_bytes)
                    except DecodeError:
                        unread += 1
        return StateRecord(
            tuple(self._listings),
            tuple(changes),
            tuple(streams["left"]),
            tuple(streams["arrived"]),
            differing,
            self._since,
            unread,
            dict(self._overruns),
        )


def differing(active: Listing, standby: Listing, keeps: Keeps) -> set[bytes]:
    """Replicated flows that are not the same in both listings; half-open ones are not judged."""
    found = set()
    for key in active.flows.keys() | standby.flows.keys():
        here, there = active.flows.get(key), standby.flows.get(key)
        either = [flow for flow in (here, there) if flow is not None]
        equal = here is not None and there is not None and here.content == there.content
        if not equal and keeps(either[0].mark) and not any(flow.half_open for flow in either):
            found.add(key)
    return found


def _content(flows: Mapping[bytes, flowtable.Flow], key: bytes) -> object:
    flow = flows.get(key)
    return None if flow is None else flow.content
