"""The process that hands out addresses of NAT pools on a node, and keeps its table on both.

Who is Active is read from the kernel, as packets are forwarded by nobody else: while the group's links answer here,
this process leads. It binds the kernel's log, answers first packets and tells the peer of every change; otherwise it
follows, writes what it is told into its own kernel's maps, and neither listens nor ends anything. It leads at once when
the links come up: the table is in the kernel already. What the replicated flows use and the table does not know is
entered then. An idle host of which the peer's last word was lost may get another address: nobody can count what was
never heard, so the journal says how many entries were held and how many were found.

It also knows whose turn it is in each rotary (agent.turns), and which destinations have used up the ports of a pool's
first address (agent.crowding): who leads counts, and says so to the other.

Its sockets are its own: the channel's third port, sealed as the others are. First packets wait for it, so what lists
the table of flows again and again, and what asks servers, are children of its own (agent.beside).
"""

import os
import select
import time
from collections.abc import Callable, Sequence
from functools import partial

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.flowuse import translated
from understudy.adapters.links import Links, LinkWatch
from understudy.agent.allocator import AllocatorLoop
from understudy.agent.children import Children
from understudy.agent.crowding import Crowding
from understudy.agent.journal import POOLS_ALIVE, JournalSender
from understudy.agent.pool_figures import PoolFigures
from understudy.agent.pool_orders import PoolOrders
from understudy.agent.pool_paths import PoolPaths
from understudy.agent.turn_checks import TurnChecks
from understudy.agent.turns import TurnKeeper
from understudy.core.allocation.effects import PoolDry
from understudy.core.allocation.forecasts import Forecasts
from understudy.core.allocation.records import Record
from understudy.core.allocation.sharing import Follower, Leader, TurnsHeard
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.render.model import Link, Pools
from understudy.units import SECOND, Instant

TURNS_EVERY_S = 0.05
"""Whose turn it is, is looked at so often, and told: so old is what the other node knows after a death."""
TURNS_TOLD_S = 1.0
"""And told again so often where it does not change."""
TURNS_WRITTEN_S = 0.2
"""How often the standby's kernel follows; at once when it takes over."""
LAST_WORD_S = 3.0
"""For so long after a take-over the last word of the other node still counts."""
LOOK_EVERY_S = 0.2
"""At whether we lead, where no news of a link says so."""
HOUSEKEEPING_EVERY_S = 1.0
DROPPED_TOLD_S = 60.0
"""At most so often the journal says what was dropped: a flood must not fill it."""


class PoolKeeper:
    def __init__(
        self,
        pools: Pools,
        links: Sequence[Link],
        group: int,
        paths: PoolPaths,
        journal: JournalSender,
        children: Children,
        drop_privileges: Callable[[], None],
    ) -> None:
        self._pools, self._links_wanted, self._group = pools, links, group
        self._paths, self._journal = paths, journal
        self._links, self._news = Links(), LinkWatch()
        self._leader: Leader | None = None
        self._follower = Follower()
        self._look_at = self._housekeeping_at = self._dropped_told_at = 0.0
        self._orders = PoolOrders()
        self._figures = PoolFigures()
        self._forecasts = Forecasts()
        self._complaints: dict[str, str] = {}
        """What is wrong, by what it is about: told once."""
        self._turns = TurnKeeper(pools.rotaries)
        self._turns_heard, self._heard = TurnsHeard(), dict[str, int]()
        self._turns_told: dict[str, int] = {}
        self._turns_at = self._tell_turns_at = self._led_at = 0.0
        self._rested = False
        checked = pools.check if pools.rotaries else None
        self._checks = TurnChecks(self._turns.servers, checked, children, drop_privileges) if checked else None
        self._crowding = Crowding(pools.ladders, children)
        self.loop = AllocatorLoop(self._publish, self._alarm, listening=False, children=children)
        self.loop.configure(pools.allocated, pools.configured)

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        try:
            while not stopped():
                self.turn()
        finally:
            self.close()

    def turn(self) -> None:
        """Wait for something to do, at most `LOOK_EVERY_S`, and do it."""
        if time.monotonic() >= self._housekeeping_at:
            self._housekeep()
        paths, checks = self._paths.sockets, self._checks.sockets if self._checks is not None else ()
        own = (self._news.socket, self._orders.socket, self._figures.socket)
        ready, _, _ = select.select([*paths, *own, *self.loop.sockets, *checks], [], [], self._patience())
        if self._news.socket in ready or time.monotonic() >= self._look_at:
            self._news.read()
            self._look()
        if self._figures.socket in ready:
            self._figures.tell(self.loop.machine, Instant(time.monotonic_ns()), leads=self._leader is not None)
        if self._orders.socket in ready:
            self._orders.carry_out(self.loop.clear)
        if self._leader is not None:
            self.loop.turn()
        for payload in self._paths.read(ready):
            self._receive(payload)
        if self._checks is not None and any(each in ready for each in checks):
            self._judge(self._checks)
        now = Instant(time.monotonic_ns())
        self._paths.send(self._leader.due(now) if self._leader is not None else self._follower.due(now))
        if self._pools.rotaries and time.monotonic() >= self._turns_at:
            self._turn()

    def close(self) -> None:
        for each in (self._checks, self._crowding, self.loop, self._turns, self._figures, self._orders, self._paths):
            if each is not None:
                each.close()

    def _patience(self) -> float:
        """Seconds until something is due that no socket says."""
        if self._leader is None:
            return LOOK_EVERY_S
        longest = TURNS_EVERY_S if self._pools.rotaries else LOOK_EVERY_S
        dues = (self.loop.machine.next_deadline(), self._leader.next_deadline())
        due = min(each for each in dues if each is not None)
        return max(0.0, min(longest, (due - time.monotonic_ns()) / SECOND))

    def _housekeep(self) -> None:
        now = time.monotonic()
        self._housekeeping_at = now + HOUSEKEEPING_EVERY_S
        self._journal.alive(POOLS_ALIVE)
        for network, failure in self._paths.complete().items():
            self._complain(f"path {network}", failure)
        for subject, detail in self._paths.news():
            self._tell("flood", detail, subject)
        for end in (self._orders, self._figures):
            self._complain(type(end).__name__, end.bind())
        if self._checks is not None:
            self._checks.tend()
        if self._paths.dropped and now >= self._dropped_told_at:
            self._dropped_told_at = now + DROPPED_TOLD_S
            counts = ", ".join(f"{reason} {count}" for reason, count in sorted(self._paths.dropped.items()))
            self._paths.dropped.clear()
            self._tell("dropped", counts)

    @property
    def leads(self) -> bool:
        return self._leader is not None

    # --- who leads

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_EVERY_S
        try:
            self._decide(self._links.are_answering(self._links_wanted))
            self._complain("lead", "")
        except EnvironmentFailure as failure:
            self._complain("lead", str(failure))
            if self._leader is None:
                self.loop.listen(False)  # Nobody would read what is logged.
        if self._leader is not None:
            for each in self._forecasts.due(Instant(time.monotonic_ns()), self.loop.machine.pools()):
                left = f"{each.free} addresses left, for {each.left // (60 * SECOND)} min at the present rate"
                self._tell("pool-forecast", f"pool {each.pool}: {left}")
            for line in self._crowding.look(time.monotonic()):
                self._tell("pool-crowded", line)

    def _decide(self, leads: bool) -> None:
        """Raises EnvironmentFailure; it is tried again with the next look."""
        if leads and self._leader is None:
            self._lead()
        elif not leads and self._leader is not None:
            self._paths.send(self._leader.turned(self._turns.rest(), last=True))
            self._leader, self._follower = None, Follower()
            self.loop.listen(False)
        elif not leads and not self._rested:
            self._turns.rest()
        self._rested = True

    def _lead(self) -> None:
        # First of all: connections come already. It fails if another program reads the log, with nothing changed.
        self.loop.listen(True)
        self._turns.lead()
        self._turns.follow(self._heard)
        self._heard, self._turns_told = {}, {}
        self._crowding.begin()
        self._led_at = time.monotonic()
        known = self.loop.machine.held
        found = self._rebuild()
        self._leader = Leader(os.urandom(8))
        detail = f"{known} entries held, {found} more found by their flows"
        if not self._follower.whole and not known:
            detail += "; nothing had come from another node: what was idle there is not known here"
        self._tell("pools-taken", detail)

    def _rebuild(self) -> int:
        """Entries that replicated flows use and that nobody told of."""
        machine = self.loop.machine
        entries, pools = machine.entries(), machine.pools()
        hosts, given = {(each.pool, each.host) for each in entries}, {each.given for each in entries}
        records = []
        table = FlowTable()
        try:
            for host, address in translated(table, self._group):
                if address in given:
                    continue
                pool = next((p for p in pools if p.holds(address)), None)
                if pool is None or (pool.settings.number, host) in hosts:
                    continue
                hosts.add((pool.settings.number, host))
                given.add(address)
                records.append(Record(pool.settings.name, host, address))
        except EnvironmentFailure as failure:
            self._tell("error", str(failure))
        finally:
            table.close()
        self.loop.follow(records, whole=False)
        return len(records)

    # --- whose turn it is

    def _turn(self) -> None:
        now = time.monotonic()
        if self._leader is None:
            self._turns_at = now + TURNS_WRITTEN_S
            self._turns.follow(self._heard)
            self._heard = {}
            return
        self._turns_at = now + TURNS_EVERY_S
        found = self._turns.look()
        if found != self._turns_told or now >= self._tell_turns_at:
            self._turns_told, self._tell_turns_at = found, now + TURNS_TOLD_S
            self._paths.send(self._leader.turned(found))

    def _hear_turns(self, payload: bytes) -> None:
        turned = self._turns_heard.heard(payload)
        if turned is None:
            return
        if self._leader is None:
            self._heard = dict(turned.turns)
        elif turned.last and time.monotonic() < self._led_at + LAST_WORD_S:
            self._turns.correct(turned.turns)

    def _judge(self, checks: TurnChecks) -> None:
        ill, reasons = checks.read()
        # The kernel first: who reads that a server is up finds it in its turn.
        skipped = self._turns.leave_out(ill) if ill is not None else []
        for reason in reasons:
            self._tell("rotary-check", reason)
        for line in skipped:
            self._tell("rotary-skip", line)

    # --- the peer

    def _publish(self, records: Sequence[Record]) -> None:
        if self._leader is not None:
            self._paths.send(self._leader.changed(records))

    def _receive(self, payload: bytes) -> None:
        try:
            self._hear_turns(payload)
            if self._leader is not None:
                now = Instant(time.monotonic_ns())
                self._paths.send(self._leader.asked(now, payload, partial(self.loop.machine.snapshot, now)))
            else:
                for event in self._follower.heard(payload):
                    self.loop.handle(event)
        except DecodeError as error:
            self._paths.dropped[error.reason] += 1

    # --- telling

    def _alarm(self, dry: PoolDry) -> None:
        self._tell("pool-dry", f"pool {dry.pool} has no address left")

    def _complain(self, about: str, what: str) -> None:
        """Told when it is news; nothing: all is well with it."""
        if what and what != self._complaints.get(about):
            self._tell("error", what)
        self._complaints[about] = what

    def _tell(self, kind: str, detail: str, subject: str = "pools") -> None:
        line = {"kind": kind, "subject": subject, "group": self._pools.group, "detail": detail}
        self._journal.write(Instant(time.monotonic_ns()), line)
