"""The process that keeps flows in two kernels: the loop around `core.replication`. Sockets, kernel and time in, effects
out.

What may take long is done in parts, so that the kernel's news and the peer's datagrams never wait for it: a list of the
kernel's flows is read a chunk a turn (a paced one with pauses between), writes are joined to batches of a bounded
size (agent.flow_work), and every socket has a bounded share of a turn. A core that asks is answered within a turn.

It shares nothing with the core but a line (agent.flows_link). If it dies, or hangs, the core goes on: it only learns
that the state of the flows is not known. A successor begins with a greater stream number, and agreement (core.
replication) finds what neither the dead one nor the kernel told.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from understudy.adapters.channel import DATAGRAM_MAX, FLOWS_PORT, Channel
from understudy.agent.flow_work import FlowWork, Table
from understudy.agent.journal import FLOWS_ALIVE, JournalSender
from understudy.agent.lans import Lan
from understudy.agent.replicator_line import CoreLine
from understudy.core.replication.effects import (
    Compared,
    Drain,
    List,
    Noted,
    Ready,
    Renew,
    Send,
    Synced,
    Write,
)
from understudy.core.replication.events import (
    Drained,
    Event,
    KernelChanged,
    KernelOverrun,
    Owned,
    Received,
    Record,
    Started,
    Tick,
)
from understudy.core.replication.machine import Replication
from understudy.core.settings import NodeSettings
from understudy.errors import DecodeError
from understudy.units import SECOND, Address, Duration, Instant, NetworkName

DATAGRAMS_MAX = 128
"""Taken from one socket before the others get their turn."""
EVENTS_MAX = 2000
"""Messages of the kernel's news, likewise."""
DRAIN_ROUNDS = 50
"""Of EVENTS_MAX: more than the kernel holds for us. A busy gateway has news without end."""
EVENTS_QUEUE = 32 << 20
"""Bytes of news that the kernel may hold for us."""
HOUSEKEEPING_EVERY = SECOND


class News(Protocol):
    """What this kernel says of its flows."""

    @property
    def socket(self) -> socket.socket: ...

    def read(self, limit: int) -> tuple[Sequence[Record], bool]:
        """What there is now, at most so many messages; whether some were lost. Never waits."""


class Replicator:
    """Built by `agent.app`; `run` never returns."""

    def __init__(
        self,
        machine: Replication,
        settings: NodeSettings,
        lans: Mapping[NetworkName, Lan],
        channel: Channel,
        table: Table,
        news: News,
        core: CoreLine,
        journal: JournalSender,
        *,
        sync_delay: Duration = 0,
    ) -> None:
        self._machine = machine
        self._channel = channel
        self._news = news
        self._core = core
        self._journal = journal
        self._lans = {name: lan for name, lan in lans.items() if lan.flows is not None}
        self._by_socket: dict[object, Lan] = {lan.flows: lan for lan in self._lans.values()}
        self._paths: dict[tuple[int, NetworkName], Address] = {
            (peer.number, network): address for peer in settings.peers for network, address in peer.paths.items()
        }
        self._pending: deque[Event] = deque()
        self._work = FlowWork(table, self.feed, self._complain, sync_delay)
        self._numbers = {group.name: group.number for group in settings.groups}
        self._housekeeping_at = 0
        self.dropped: dict[str, int] = {}
        """Datagrams that were not believed, by reason."""
        self._sockets = [self._news.socket, self._core.socket]
        self._sockets += [lan.flows for lan in self._lans.values() if lan.flows is not None]
        self._do: dict[type, Callable[[Instant, Any], None]] = {
            Send: self._send,
            Write: self._work.write,
            List: self._work.list,
            Drain: self._drain,
            Renew: self._work.renew,
            Ready: self._core.ready,
            Synced: self._core.synced,
            Compared: self._core.compared,
            Noted: self._note,
        }

    def run(self, stream: int) -> None:
        """`stream` is greater than that of any replicator of this node before."""
        self.feed(Started(stream))
        self._core.hello(stream)
        while True:
            self.turn()

    def turn(self) -> None:
        """Wait for something to do, and do a bounded part of it."""
        readable, _, _ = select.select(self._sockets, [], [], self._patience() / SECOND)
        for which in readable:
            if which is self._news.socket:
                self._read_news()
            elif which is self._core.socket:
                for event in self._core.read():
                    if isinstance(event, Owned) and not event.own:
                        self._work.stop_renewing(Instant(time.monotonic_ns()), self._numbers.get(event.group, 0))
                    self.feed(event)
            else:
                self._read_channel(self._by_socket[which])
        now = time.monotonic_ns()
        self._work.turn(now)
        deadline = self._machine.next_deadline()
        if deadline is not None and deadline <= time.monotonic_ns():
            self.feed(Tick())
        if now >= self._housekeeping_at:
            self._housekeep(now)
        self._core.tell_status(now, self._status)

    def feed(self, event: Event) -> None:
        """One event into the machine, its effects out into the world; what they bring about follows in order."""
        self._pending.append(event)
        if len(self._pending) > 1:
            return  # it came of an effect that is being carried out
        self._core.stir()
        while self._pending:
            now = Instant(time.monotonic_ns())
            for effect in self._machine.handle(now, self._pending[0]):
                self._do[type(effect)](now, effect)
            self._pending.popleft()

    def _patience(self) -> int:
        """Nanoseconds until something is due."""
        now = time.monotonic_ns()
        due = [self._housekeeping_at, self._core.due()]
        deadline = self._machine.next_deadline()
        due += [deadline] if deadline is not None else []
        return max(0, min(*due, *self._work.due()) - now)

    # --- what comes in

    def _read_news(self) -> bool:
        """False if there was none."""
        records, overrun = self._news.read(EVENTS_MAX)
        if records:
            self.feed(KernelChanged(records))
        if overrun:
            self.feed(KernelOverrun())
        return bool(records) or overrun

    def _drain(self, now: Instant, effect: Drain) -> None:
        for _ in range(DRAIN_ROUNDS):
            if not self._read_news():
                break
        self.feed(Drained(effect.number))

    def _read_channel(self, lan: Lan) -> None:
        assert lan.flows is not None
        for _ in range(DATAGRAMS_MAX):
            try:
                datagram = lan.flows.recv(DATAGRAM_MAX + 1)
            except OSError:
                return  # nothing more, or nothing for now
            try:
                sender, payload = self._channel.open(datagram, lan.number)
            except DecodeError as error:
                self.dropped[error.reason] = self.dropped.get(error.reason, 0) + 1
                continue
            self.feed(Received(sender, lan.network, payload))

    # --- what goes out

    def _send(self, now: Instant, effect: Send) -> None:
        lan = self._lans.get(effect.network)
        address = self._paths.get((effect.node, effect.network))
        if lan is None or lan.flows is None or address is None:
            return
        datagram = self._channel.seal(effect.payload, effect.node, lan.number)
        try:
            lan.flows.sendto(datagram, (str(address), FLOWS_PORT))
        except OSError:
            pass  # A path may be down or full: what is not acknowledged is sent again.

    def _complain(self, operation: str, reason: str) -> None:
        self._note(Instant(time.monotonic_ns()), Noted("error", operation, reason))

    def _note(self, now: Instant, effect: Noted) -> None:
        self._journal.write(now, {"kind": effect.kind, "subject": effect.subject, "detail": effect.detail})

    # --- once a second

    def _housekeep(self, now: int) -> None:
        self._housekeeping_at = now + HOUSEKEEPING_EVERY
        self._journal.alive(FLOWS_ALIVE)
        self._work.look()
        for lan in self._lans.values():
            assert lan.flows is not None
            sieve = lan.flows.sieve
            for kind, begins in sieve.news():
                detail = "only a share is looked at" if begins else "over"
                self._note(Instant(now), Noted("flood", f"{kind} on {lan.network}", detail))
            for reason, count in sieve.shed.items():
                self.dropped[reason] = self.dropped.get(reason, 0) + count
            sieve.shed.clear()

    def _status(self) -> dict[str, Any]:
        """For `understudy status`."""
        told = self._machine.status()
        return {**told, **self._work.status(), "dropped": {**told["dropped"], **self.dropped}}
