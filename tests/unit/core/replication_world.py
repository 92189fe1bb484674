"""Two replications, two kernels and the networks between them, in virtual time: the stage for stories of replication.

The kernels are tables of real ctnetlink messages. What is not modelled: forwarding. What is: news with a delay and a
buffer that overruns, listings that take time while flows change, writes that take time, loss, copies and disorder on
each path, restarts.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from understudy.core.replication.effects import (
    Compared,
    Drain,
    Effect,
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
    CompareCommanded,
    Drained,
    Event,
    KernelChanged,
    KernelOverrun,
    Kind,
    Listed,
    Owned,
    Received,
    Record,
    Started,
    TableFull,
    Tick,
    Written,
)
from understudy.core.replication.machine import Replication
from understudy.core.settings import FlowSettings, GroupSettings, Keeping, NodeSettings, PeerSettings
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant, NetworkName, NodeName
from understudy.wire.conntrack import half_open, identity, mark_of
from understudy.wire.flowsync import PAYLOAD_MAX
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT, flow_mark

EDGE = GroupName("edge")
PATHS = (NetworkName("sync"), NetworkName("inside"))
SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, TIME_WAIT = 1, 2, 3, 4, 7
REPLICATED = FlowSettings({}, {1: Keeping.REPLICATE})
US: Duration = 1000


def attribute(kind: int, content: bytes, nested: bool = False) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind | (0x8000 if nested else 0)) + content + bytes(-len(content) % 4)


def tuple_(kind: int, source: int, target: int, sport: int, dport: int) -> bytes:
    ip = attribute(1, source.to_bytes(4, "big")) + attribute(2, target.to_bytes(4, "big"))
    proto = attribute(1, b"\x06") + attribute(2, sport.to_bytes(2, "big")) + attribute(3, dport.to_bytes(2, "big"))
    return attribute(kind, attribute(1, ip, True) + attribute(2, proto, True), True)


def flow(index: int, state: int = ESTABLISHED, group: int = 1, binding: int = 0) -> bytes:
    """The message of a translated TCP connection; `index` tells one from the other."""
    client, port = 0x0A090000 | index >> 12, 1024 + (index & 0xFFF)
    return (
        bytes([2, 0, 0, 0])
        + tuple_(1, client, 0xC6336409, port, 80)
        + tuple_(2, 0xC6336409, 0xCB00710A, 80, port)
        + attribute(3, struct.pack("!I", 0x18E))
        + attribute(4, attribute(1, attribute(1, bytes([state])), True), True)
        + attribute(7, struct.pack("!I", 300))
        + attribute(8, struct.pack("!I", flow_mark(binding, group)))
    )


def settings(name: str, flows: FlowSettings = REPLICATED, groups: int = 1) -> NodeSettings:
    number = {"gw1": 1, "gw2": 2}[name]
    other = NodeName("gw2" if number == 1 else "gw1")
    return NodeSettings(
        name=NodeName(name),
        number=number,
        config_digest=bytes(16),
        networks=PATHS,
        paths=PATHS,
        peers=(PeerSettings(other, 3 - number, dict.fromkeys(PATHS)),),  # type: ignore[arg-type]  # no addresses here
        groups=tuple(
            GroupSettings(
                name=EDGE if index == 1 else GroupName(f"edge{index}"),
                number=index,
                advertise=50 * MILLISECOND,
                preempt=True,
                routers=(),
                peers=(other,),
                peer_priority={},
                stateful=True,
            )
            for index in range(1, groups + 1)
        ),
        servers=(),
        witnesses={},
        heartbeat=50 * MILLISECOND,
        flows=flows,
    )


@dataclass
class Faults:
    """Of one path, as shares of its datagrams."""

    loss: float = 0.0
    copies: float = 0.0
    delay: Duration = 200 * US
    jitter: Duration = 300 * US
    cut: bool = False


@dataclass
class Kernel:
    """Flows by identity; `news` waits to be read, as in the event socket."""

    flows: dict[bytes, bytes] = field(default_factory=dict)
    news: list[Record] = field(default_factory=list)
    overrun: bool = False
    room: int = 100_000
    full: bool = False
    """Refuses new flows."""
    expected: list[bytes] = field(default_factory=list)
    """Expectations that stand."""

    def change(self, raw: bytes) -> None:
        self.flows[identity(raw)] = raw
        self._tell(Kind.CHANGED, raw)

    def end(self, key: bytes) -> None:
        self._tell(Kind.GONE, self.flows.pop(key))

    def write(self, records: list[Record]) -> int:
        """By replication: causes no news."""
        refused = 0
        for kind, raw in records:
            if kind is Kind.EXPECTED:
                self.expected += [] if raw in self.expected else [raw]
                continue
            try:
                flow = identity(raw)
            except DecodeError:
                refused += 1
                continue
            if kind is Kind.CHANGED:
                if self.full and flow not in self.flows:
                    refused += 1
                else:
                    self.flows[flow] = raw
            elif kind is Kind.GONE:
                self.flows.pop(flow, None)
        return refused

    def kept(self) -> dict[bytes, bytes]:
        return {key: raw for key, raw in self.flows.items() if not half_open(raw)}

    def _tell(self, kind: Kind, raw: bytes) -> None:
        if len(self.news) >= self.room:
            self.overrun = True
        else:
            self.news.append((kind, raw))


class Node:
    def __init__(self, world: "World", config: NodeSettings, make: Callable[[NodeSettings], Replication]) -> None:
        self.world, self.settings = world, config
        self.kernel = Kernel()
        self.machine = make(config)
        self.running = False
        self.make = make
        self.start = 0
        self.owned: set[GroupName] = set()
        self.write_delay: Duration = 50 * US
        self.list_delay: Duration = MILLISECOND
        self.list_part = 200
        self.done: list[tuple[Instant, Effect]] = []
        self.sent = 0
        self.complete: dict[GroupName, bool] = {}
        self.reading = False
        self.writes: list[tuple[int, Write]] = []
        self.wake: Instant | None = None

    @property
    def name(self) -> str:
        return self.settings.name

    def boot(self) -> None:
        self.start += 1
        self.running = True
        self.machine = self.make(self.settings)
        self.complete.clear()
        self.writes.clear()
        self.kernel.news.clear()
        self.kernel.overrun = False
        self.handle(Started(1000 * self.start, frozenset(self.owned)))

    def stop(self) -> None:
        """The replicator dies; the kernel goes on."""
        self.running = False

    def handle(self, event: Event) -> list[Effect]:
        if not self.running:
            return []
        effects = self.machine.handle(self.world.now, event)
        for effect in effects:
            self.perform(effect)
        deadline = self.machine.next_deadline()
        assert deadline is None or deadline > self.world.now
        if deadline is not None and (self.wake is None or deadline < self.wake or self.wake <= self.world.now):
            self.wake = deadline
            self.world.at(deadline, self.life(self._tick))
        return effects

    def _tick(self) -> None:
        if self.wake is not None and self.world.now >= self.wake:
            self.wake = None
            self.handle(Tick())

    def life(self, action: Callable[[], None]) -> Callable[[], None]:
        """Only if this start of the replicator is still the one that runs then."""
        start = self.start

        def act() -> None:
            if self.running and self.start == start:
                action()

        return act

    def own(self, own: bool, group: GroupName = EDGE) -> None:
        (self.owned.add if own else self.owned.discard)(group)
        self.handle(Owned(group, own))

    def change(self, raw: bytes) -> None:
        self.kernel.change(raw)
        self._news()

    def end(self, key: bytes) -> None:
        self.kernel.end(key)
        self._news()

    def _news(self) -> None:
        if not self.reading:
            self.reading = True
            self.world.at(Instant(self.world.now + self.world.dice.randrange(2000) * US), self._read)

    def _read(self) -> None:
        self.reading = False
        if not self.running:
            return
        news, self.kernel.news = self.kernel.news, []
        if news:
            self.handle(KernelChanged(news))
        if self.kernel.overrun:
            self.kernel.overrun = False
            self.handle(KernelOverrun(over=True))

    def perform(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case Send(node, network, payloads):
                self.sent += len(payloads)
                for payload in payloads:
                    assert len(payload) <= PAYLOAD_MAX
                    world.carry(self, world.by_number(node), network, payload)
            case Write():
                self.writes.append((effect.number, effect))
                if len(self.writes) == 1:
                    world.at(Instant(world.now + self.write_delay), self.life(self._write))
            case List(number, groups, _):
                world.at(Instant(world.now + self.list_delay), self.life(self._lister(number, groups)))
            case Drain(number):
                world.at(Instant(world.now + 100 * US), self.life(lambda: self._drain(number)))
            case Recall():
                records = [(Kind.EXPECTED, raw) for raw in self.kernel.expected]
                if records:  # before what comes of the effects behind it
                    world.at(world.now, self.life(lambda: self._tell(KernelChanged(records))))
            case Synced(group, complete, _):
                assert self.complete.get(group) is not complete
                self.complete[group] = complete
                self.done.append((world.now, effect))
            case Ready() if world.judge is not None:
                world.judge(self, effect)
                self.done.append((world.now, effect))
            case Ready() | Compared() | Noted() | Renew() | Elsewhere():
                self.done.append((world.now, effect))

    def effects(self, kind: type[Any]) -> list[Any]:
        return [effect for _, effect in self.done if isinstance(effect, kind)]

    def _write(self) -> None:
        number, write = self.writes.pop(0)
        refused = self.kernel.write(list(write.records))
        if self.writes:
            self.world.at(Instant(self.world.now + self.write_delay), self.life(self._write))
        if refused and self.kernel.full:
            self.handle(TableFull(True))
        self.handle(Written(number, refused))

    def _lister(self, number: int, groups: frozenset[int]) -> Callable[[], None]:
        keys = list(self.kernel.flows)
        self.world.dice.shuffle(keys)

        def part() -> None:
            now, rest = keys[: self.list_part], keys[self.list_part :]
            keys[:] = rest
            raws = [self.kernel.flows[key] for key in now if key in self.kernel.flows]
            raws = [raw for raw in raws if (mark_of(raw) & GROUP_MASK) >> GROUP_SHIFT in groups]
            if rest:
                self.world.at(Instant(self.world.now + self.list_delay), self.life(part))
            # What was read waits a little before it is looked at.
            self.world.at(
                Instant(self.world.now + self.list_delay // 2),
                self.life(lambda: self._tell(Listed(number, raws, not rest))),
            )

        return part

    def _tell(self, event: Event) -> None:
        self.handle(event)

    def _drain(self, number: int) -> None:
        self._read()
        self.handle(Drained(number))


class World:
    def __init__(
        self,
        seed: int = 1,
        flows: FlowSettings = REPLICATED,
        groups: int = 1,
        make: Callable[[NodeSettings], Replication] = Replication,
    ) -> None:
        self.dice = random.Random(seed)
        self.now = Instant(1_000_000_000)
        self.faults = {network: Faults() for network in PATHS}
        self.nodes = {name: Node(self, settings(name, flows, groups), make) for name in ("gw1", "gw2")}
        self.gw1, self.gw2 = self.nodes["gw1"], self.nodes["gw2"]
        self.spy: Callable[[Node, Node, NetworkName, bytes], bool] | None = None
        """Told of each datagram that leaves; False loses it."""
        self.ear: Callable[[Node, bytes], None] | None = None
        """Told of each that arrives, before it is handled."""
        self.judge: Callable[[Node, Ready], None] | None = None
        """Told of each Ready."""
        self._agenda: list[tuple[Instant, int, Callable[[], None]]] = []
        self._order = count()
        self._flows = count(1)

    def boot(self, original: str = "gw1") -> "World":
        self.nodes[original].owned.add(EDGE)
        for node in self.nodes.values():
            node.boot()
        return self

    def by_number(self, number: int) -> Node:
        return next(node for node in self.nodes.values() if node.settings.number == number)

    def at(self, when: Instant, action: Callable[[], None]) -> None:
        heappush(self._agenda, (when, next(self._order), action))

    def run(self, duration: Duration) -> None:
        until = self.now + duration
        while self._agenda and self._agenda[0][0] <= until:
            when, _, action = heappop(self._agenda)
            self.now = max(self.now, when)
            action()
        self.now = Instant(until)

    def until(self, condition: Callable[[], bool], most: Duration = 30 * SECOND) -> Duration:
        """Run until it holds; how long that took."""
        began = self.now
        while not condition():
            assert self.now - began < most, "it did not come about"
            self.run(MILLISECOND)
        return self.now - began

    def carry(self, sender: Node, target: Node, network: NetworkName, payload: bytes) -> None:
        faults = self.faults[network]
        if self.spy is not None and not self.spy(sender, target, network, payload):
            return
        if faults.cut or self.dice.random() < faults.loss:
            return
        for _ in range(2 if self.dice.random() < faults.copies else 1):
            delay = faults.delay + self.dice.randrange(faults.jitter + 1)
            event = Received(sender.settings.number, network, payload)
            self.at(Instant(self.now + delay), partial(self._arrive, target, event))

    def _arrive(self, target: Node, event: Received) -> None:
        if target.running and self.ear is not None:
            self.ear(target, event.payload)
        target.handle(event)

    def populate(self, node: Node, number: int, state: int = ESTABLISHED, **marks: int) -> list[bytes]:
        """New flows in the node's kernel; their keys."""
        keys = []
        for _ in range(number):
            raw = flow(next(self._flows), state, **marks)
            node.change(raw)
            keys.append(identity(raw))
        return keys

    def traffic(self, node: Node, steps: int = 20, most: int = 400) -> None:
        """Flows come, change and go."""
        for _ in range(steps):
            keys = list(node.kernel.flows)
            choice = self.dice.random()
            if choice < 0.45 and len(keys) < most:
                node.change(flow(next(self._flows), self.dice.choice((SYN_SENT, SYN_RECV, ESTABLISHED, ESTABLISHED))))
            elif keys and choice < 0.8:
                key = self.dice.choice(keys)
                node.change(with_state(node.kernel.flows[key], self.dice.choice((ESTABLISHED, FIN_WAIT, TIME_WAIT))))
            elif keys:
                node.end(self.dice.choice(keys))

    def equal(self) -> bool:
        return self.gw1.kernel.kept() == self.gw2.kernel.kept()


def with_state(raw: bytes, state: int) -> bytes:
    return raw[:_STATE_AT] + bytes([state]) + raw[_STATE_AT + 1 :]


_ONE, _TWO = flow(1, SYN_SENT), flow(1, TIME_WAIT)
_STATE_AT = next(index for index, (one, two) in enumerate(zip(_ONE, _TWO, strict=True)) if one != two)


def ask(node: Node, token: int, drain: bool = False) -> None:
    node.handle(Asked(EDGE, token, drain))


def compare(node: Node, token: int) -> None:
    node.handle(CompareCommanded(token))


def complete(world: World) -> World:
    """Both run, and gw2's replica of gw1's flows is complete."""
    world.until(lambda: world.gw2.complete.get(EDGE) is True)
    return world
