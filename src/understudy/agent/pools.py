"""The process that hands out addresses of NAT pools on a node, and keeps its table on both.

Who is Active is read from the kernel, as packets are forwarded by nobody else: while the group's links answer here,
this process leads. It binds the kernel's log, answers first packets and tells the peer of every change; otherwise it
follows, writes what it is told into its own kernel's maps, and neither listens nor ends anything. It leads at once when
the links come up: the table is in the kernel already. What the replicated flows use and the table does not know is
entered then. An idle host of which the peer's last word was lost may get another address: nobody can count what was
never heard, so the journal says how many entries were held and how many were found.

It also knows whose turn it is in each rotary (agent.turns), and which destinations have used up the ports of a pool's
first address (agent.crowding): who leads counts, and says so to the other.

Its sockets are its own: the channel's third port, sealed as the others are.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from understudy.adapters.channel import POOLS_PORT, Channel, key_id
from understudy.adapters.conntrack import FlowTable
from understudy.adapters.datagram import ChannelSocket
from understudy.adapters.flowuse import translated
from understudy.adapters.links import Links, LinkWatch
from understudy.agent.allocator import AllocatorLoop
from understudy.agent.crowding import Crowding
from understudy.agent.journal import JournalSender
from understudy.agent.pool_figures import PoolFigures
from understudy.agent.pool_orders import PoolOrders
from understudy.agent.turn_checks import TurnChecks, waited_for
from understudy.agent.turns import TurnKeeper
from understudy.core.allocation.effects import PoolDry
from understudy.core.allocation.forecasts import Forecasts
from understudy.core.allocation.records import Record
from understudy.core.allocation.sharing import Follower, Leader, TurnsHeard
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.render.model import Link, Pools
from understudy.units import SECOND, Address, Instant, NetworkName

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
DATAGRAMS_MAX = 256
"""Of one socket in one turn."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way to one peer."""

    network: int
    peer: int
    peer_address: Address
    socket: ChannelSocket


class PoolKeeper:
    def __init__(
        self,
        pools: Pools,
        links: Sequence[Link],
        group: int,
        paths: Sequence[Path],
        channel: Channel,
        journal: JournalSender,
    ) -> None:
        self._pools, self._links_wanted, self._group = pools, links, group
        self._paths, self._channel, self._journal = paths, channel, journal
        self._links, self._news = Links(), LinkWatch()
        self._leader: Leader | None = None
        self._follower = Follower()
        self._look_at = 0.0
        self._orders = PoolOrders()
        self._figures = PoolFigures()
        self._forecasts = Forecasts()
        self.dropped: dict[str, int] = {}
        self._turns = TurnKeeper(pools.rotaries)
        self._turns_heard, self._heard = TurnsHeard(), dict[str, int]()
        self._turns_told: dict[str, int] = {}
        self._turns_at = self._tell_turns_at = self._led_at = 0.0
        self._rested = False
        self._checks = TurnChecks(self._turns.servers, pools.check) if pools.check and pools.rotaries else None
        self._crowding = Crowding(pools.ladders)
        self.loop = AllocatorLoop(self._publish, self._alarm, listening=False)
        self.loop.configure(pools.allocated, pools.configured)

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        while not stopped():
            self.turn()

    def turn(self) -> None:
        """Wait for something to do, at most `LOOK_EVERY_S`, and do it."""
        by_socket = {path.socket: path for path in self._paths}
        due = self.loop.machine.next_deadline() if self._leader is not None else None
        longest = TURNS_EVERY_S if self._pools.rotaries and self._leader is not None else LOOK_EVERY_S
        wait = longest if due is None else max(0.0, min(longest, (due - time.monotonic_ns()) / SECOND))
        own = (self._news.socket, self._orders.socket, self._figures.socket)
        waited = [*by_socket, *own, *self.loop.sockets, *waited_for(self._checks)]
        ready, _, _ = select.select(waited, [], [], wait)
        if self._news.socket in ready or time.monotonic() >= self._look_at:
            self._news.read()
            self._look()
        if self._figures.socket in ready:
            self._figures.answer(self.loop.machine, Instant(time.monotonic_ns()), leads=self._leader is not None)
        given_back = self._orders.read() if self._orders.socket in ready else []
        if self._leader is not None:
            for address in given_back:
                self.loop.clear(address)
            self.loop.turn()
        for each in ready:
            if each in by_socket:
                self._receive(by_socket[each])
        if self._checks is not None and self._checks.socket in ready:
            self._judge(self._checks)
        now = Instant(time.monotonic_ns())
        self._send(self._leader.due(now) if self._leader is not None else self._follower.due(now))
        if self._pools.rotaries and time.monotonic() >= self._turns_at:
            self._turn()

    @property
    def leads(self) -> bool:
        return self._leader is not None

    # --- who leads

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_EVERY_S
        with contextlib.suppress(EnvironmentFailure):
            leads = self._links.are_answering(self._links_wanted)
            if leads and self._leader is None:
                self._lead()
            elif not leads and self._leader is not None:
                self._send(self._leader.turned(self._turns.rest(), last=True))
                self._leader, self._follower = None, Follower()
                self.loop.listen(False)
            elif not leads and not self._rested:
                self._turns.rest()
            self._rested = True
        if self._leader is not None:
            for each in self._forecasts.due(Instant(time.monotonic_ns()), self.loop.machine.pools()):
                left = f"{each.free} addresses left, for {each.left // (60 * SECOND)} min at the present rate"
                self._tell("pool-forecast", f"pool {each.pool}: {left}")
            for line in self._crowding.look(time.monotonic()):
                self._tell("pool-crowded", line)

    def _lead(self) -> None:
        # First of all: connections come already.
        self._turns.lead()
        self._turns.follow(self._heard)
        self._heard, self._turns_told = {}, {}
        self._crowding.begin()
        self._led_at = time.monotonic()
        self.loop.listen(True)
        known = len(self.loop.machine.entries())
        found = self._rebuild()
        self._leader = Leader(os.urandom(8))
        detail = f"{known} entries held, {found} more found by their flows"
        if not self._follower.whole and not known:
            detail += "; nothing had come from another node: what was idle there is not known here"
        self._tell("pools-taken", detail)

    def _rebuild(self) -> int:
        """Entries that replicated flows use and that nobody told of."""
        machine = self.loop.machine
        entries = machine.entries()
        hosts, given = {(each.pool, each.host) for each in entries}, {each.given for each in entries}
        records = []
        table = FlowTable()
        try:
            for host, address in translated(table, self._group):
                pool = next((p for p in machine.pools() if p.holds(address)), None)
                if pool is None or address in given or (pool.settings.number, host) in hosts:
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
            self._send(self._leader.turned(found))

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
        for reason in reasons:
            self._tell("rotary-check", reason)
        for line in self._turns.leave_out(ill) if ill is not None else ():
            self._tell("rotary-skip", line)

    # --- the peer

    def _publish(self, records: Sequence[Record]) -> None:
        if self._leader is not None:
            self._send(self._leader.changed(records))

    def _send(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            for path in self._paths:
                # A path that does not carry it now is no loss of the table: gaps are found and mended.
                with contextlib.suppress(OSError):
                    datagram = self._channel.seal(payload, path.peer, path.network)
                    path.socket.send_all([datagram], str(path.peer_address))

    def _receive(self, path: Path) -> None:
        for _ in range(DATAGRAMS_MAX):
            try:
                datagram = path.socket.recv(2048)
            except OSError:
                return
            try:
                _, payload = self._channel.open(datagram, path.network)
                self._hear_turns(payload)
                if self._leader is not None:
                    now = Instant(time.monotonic_ns())
                    self._send(self._leader.asked(now, payload, self.loop.machine.snapshot(now)))
                else:
                    for event in self._follower.heard(payload):
                        self.loop.handle(event)
            except DecodeError as error:
                reason = str(error)
                self.dropped[reason] = self.dropped.get(reason, 0) + 1

    # --- telling

    def _alarm(self, dry: PoolDry) -> None:
        self._tell("pool-dry", f"pool {dry.pool} has no address left")

    def _tell(self, kind: str, detail: str) -> None:
        line = {"kind": kind, "subject": "pools", "group": self._pools.group, "detail": detail}
        self._journal.write(Instant(time.monotonic_ns()), line)


def open_paths(
    keys: Sequence[bytes],
    own: Mapping[NetworkName, Sequence[Address]],
    networks: Sequence[NetworkName],
    interfaces: Mapping[NetworkName, str],
    peers: Mapping[int, Mapping[NetworkName, Address]],
) -> list[Path]:
    """A socket for each shared network. What cannot be bound is left out: the others carry the table."""
    paths = []
    for number, addresses in peers.items():
        for network, address in addresses.items():
            source = next((each for each in own.get(network, ()) if each.version == address.version), None)
            if source is None or network not in interfaces:
                continue
            with contextlib.suppress(OSError):
                end = ChannelSocket(source, interfaces[network], address, *map(key_id, keys), port=POOLS_PORT)
                paths.append(Path(networks.index(network), number, address, end))
    return paths
