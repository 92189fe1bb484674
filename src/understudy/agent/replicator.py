"""The process that keeps flows in two kernels: the loop around `core.replication`. Sockets, kernel and time in, effects
out.

What may take long is done in parts, so that the kernel's news and the peer's datagrams never wait for it: a list of the
kernel's flows is read a chunk a turn (a paced one with pauses between), writes are joined to batches of a bounded
size (agent.flow_work), and every socket has a bounded share of a turn. A core that asks is answered within a turn.

It shares nothing with the core but a line (agent.flows_link). If it dies, or hangs, the core goes on: it only learns
that the state of the flows is not known. A successor begins with a greater stream number, and agreement (core.
replication) finds what neither the dead one nor the kernel told.
"""

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from understudy.adapters.channel import Channel
from understudy.agent.flow_work import FlowWork, Table
from understudy.agent.journal import FLOWS_ALIVE, JournalSender
from understudy.agent.lans import Lan
from understudy.agent.replicator_line import CoreLine
from understudy.core.replication.effects import (
    Cancel,
    Compared,
    Drain,
    Elsewhere,
    List,
    Noted,
    Ready,
    Recall,
    Renew,
    Send,
    Synced,
    Write,
)
from understudy.core.replication.events import (
    Asked,
    Delivered,
    Drained,
    Event,
    KernelChanged,
    KernelOverrun,
    Owned,
    Record,
    Started,
    Tick,
)
from understudy.core.replication.machine import Replication
from understudy.core.settings import NodeSettings
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NetworkName

DATAGRAMS_MAX = 128
"""Taken from one socket before the others get their turn, give or take a train of them."""
TAKE_IN_ROUNDS = 64
"""Of DATAGRAMS_MAX: more than a socket holds. Whoever floods us cannot keep a question from its answer."""
EVENTS_MAX = 2000
"""Messages of the kernel's news, likewise."""
DRAIN_ROUNDS = 50
"""Of EVENTS_MAX: more than the kernel holds for us. A busy gateway has news without end."""
EVENTS_QUEUE = 32 << 20
"""Bytes of news that the kernel may hold for us."""
DRAIN_SLICE: Duration = 20 * MILLISECOND
"""Of draining in one turn, or a read longer: beacons and answers to the peer are due meanwhile."""
GATHER: Duration = 5 * MILLISECOND
"""While there is much news it is let gather so long: what is read, packed and sent together costs half."""
GATHER_FROM = 32
"""Messages in one read that are much."""
HOUSEKEEPING_EVERY = SECOND
HOUSEKEEPING_LATER: Duration = 100 * MILLISECOND
"""It waits so long for something else to wake this process."""

_RESTING = (Tick, Delivered)
"""Events of which a pair at rest has many, and nothing comes but an answer, nor any progress."""


class News(Protocol):
    """What this kernel says of its flows."""

    @property
    def socket(self) -> socket.socket: ...

    def read(self, limit: int) -> tuple[Sequence[Record], KernelOverrun | None]:
        """What there is now, at most so many messages; whether some were lost before the last. Never waits."""


@dataclass(slots=True)
class _Draining:
    number: int
    rounds: int = DRAIN_ROUNDS


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
        self._paths: dict[tuple[int, NetworkName], str] = {
            (peer.number, network): str(address) for peer in settings.peers for network, address in peer.paths.items()
        }
        self._pending: deque[Event] = deque()
        self._work = FlowWork(table, self.feed, self._complain, sync_delay, lambda: machine.crowded)
        self._numbers = {group.name: group.number for group in settings.groups}
        self._housekeeping_at = 0
        self.dropped: dict[str, int] = {}
        """Datagrams that were not believed, by reason."""
        self._others = [self._core.socket, *(lan.flows for lan in self._lans.values() if lan.flows is not None)]
        self._sockets = [self._news.socket, *self._others]
        self._news_at = 0
        """When the kernel's news is read next, if there is any."""
        self._drains: deque[_Draining] = deque()
        self._progress: tuple[int, ...] = ()
        self._outbox: dict[tuple[int, NetworkName], list[bytes]] = {}
        """What this event brought to send, sealed."""
        self._do: dict[type, Callable[[Instant, Any], None]] = {
            Send: self._send,
            Write: self._work.write,
            List: self._work.list,
            Cancel: self._work.cancel,
            Drain: self._drain,
            Renew: self._work.renew,
            Recall: self._work.recall,
            Ready: self._core.ready,
            Synced: self._core.synced,
            Elsewhere: self._core.elsewhere,
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
        now = time.monotonic_ns()
        deadline = self._machine.next_deadline()
        due = [self._housekeeping_at + HOUSEKEEPING_LATER, self._core.due(), *self._work.due()]
        due += [deadline] if deadline is not None else []
        due += [now] if self._drains else []
        for which in self._readable(now, min(due)):
            if which is self._news.socket:
                self._read_news()
            elif which is self._core.socket:
                events = self._core.read()
                if any(isinstance(event, Asked) for event in events):
                    self._take_in()
                for event in events:
                    if isinstance(event, Owned) and not event.own:
                        self._work.stop_renewing(Instant(time.monotonic_ns()), self._numbers.get(event.group, 0))
                    self.feed(event)
            else:
                self._read_channel(self._by_socket[which])
        if self._drains:
            self._drain_some()
        now = time.monotonic_ns()
        self._work.turn(now)
        if deadline is not None and deadline <= now:
            self.feed(Tick())  # one that came nearer by what was fed is the next turn's
        if now >= self._housekeeping_at:
            self._housekeep(now)
        self._core.tell_status(now, self._status)

    def _readable(self, now: int, until: int) -> Sequence[object]:
        """Sockets that have something for us: as soon as there is one, and at `until` at the latest.

        While news gathers, only the core is heard at once. What the peer acknowledges meanwhile is read in the same
        turn as the news.
        """
        if now < self._news_at:
            select.select([self._core.socket], [], [], max(0, min(until, self._news_at) - now) / SECOND)
            now = until = time.monotonic_ns()
        sockets = self._others if now < self._news_at else self._sockets
        return select.select(sockets, [], [], max(0, until - now) / SECOND)[0]

    def feed(self, event: Event) -> None:
        """One event into the machine, its effects out into the world; what they bring about follows in order."""
        self._pending.append(event)
        if len(self._pending) > 1:
            return  # it came of an effect that is being carried out
        while self._pending:
            now = Instant(time.monotonic_ns())
            effects = self._machine.handle(now, self._pending[0])
            if (
                type(self._pending[0]) not in _RESTING
                or any(type(effect) is not Send for effect in effects)
                or self._machine.progress != self._progress
            ):
                self._progress = self._machine.progress
                self._core.stir()
            for effect in effects:
                self._do[type(effect)](now, effect)
            self._pending.popleft()
        if self._outbox:
            self._send_out()

    # --- what comes in

    def _read_news(self) -> bool:
        """False if there was none."""
        records, overrun = self._news.read(EVENTS_MAX)
        if records:
            self.feed(KernelChanged(records))
        self._news_at = time.monotonic_ns() + GATHER if GATHER_FROM <= len(records) < EVENTS_MAX else 0
        if overrun is not None:
            self.feed(overrun)
        return bool(records) or overrun is not None

    def _drain(self, now: Instant, effect: Drain) -> None:
        self._drains.append(_Draining(effect.number))
        self._drain_some()

    def _drain_some(self) -> None:
        """Until the kernel has told what it held when it was asked, or the slice of this turn is over."""
        until = time.monotonic_ns() + DRAIN_SLICE
        while self._drains:
            more = self._read_news()
            for draining in self._drains:
                draining.rounds -= 1
            while self._drains and (not more or self._drains[0].rounds <= 0):
                self.feed(Drained(self._drains.popleft().number))
            if time.monotonic_ns() >= until:
                break

    def _take_in(self) -> None:
        """Everything that has arrived, before a question about it is answered: we may have been starved, or frozen."""
        for lan in self._lans.values():
            for _ in range(TAKE_IN_ROUNDS):
                if not self._read_channel(lan):
                    break

    def _read_channel(self, lan: Lan) -> bool:
        """False if there was nothing more."""
        assert lan.flows is not None
        taken: dict[int, list[bytes]] = {}
        count = 0
        while count < DATAGRAMS_MAX:
            try:
                datagrams = lan.flows.receive()
            except OSError:
                break  # nothing more, or nothing for now
            count += max(len(datagrams), 1)
            for datagram in datagrams:
                try:
                    sender, payload = self._channel.open(datagram, lan.number)
                except DecodeError as error:
                    self.dropped[error.reason] = self.dropped.get(error.reason, 0) + 1
                    continue
                taken.setdefault(sender, []).append(payload)
        for sender, payloads in taken.items():
            self.feed(Delivered(sender, lan.network, payloads))
        return count > 0

    # --- what goes out

    def _send(self, now: Instant, effect: Send) -> None:
        """When the event has been dealt with: what goes the same way goes together."""
        lan, way = self._lans.get(effect.network), (effect.node, effect.network)
        if lan is not None and way in self._paths:
            seal, node, number = self._channel.seal, effect.node, lan.number
            self._outbox.setdefault(way, []).extend([seal(payload, node, number) for payload in effect.payloads])

    def _send_out(self) -> None:
        for way, datagrams in self._outbox.items():
            lan = self._lans[way[1]]
            assert lan.flows is not None
            with contextlib.suppress(OSError):  # A path may be down or full: what is not acknowledged is sent again.
                lan.flows.send_all(datagrams, self._paths[way])
        self._outbox = {}

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
