"""Any story: two replications, faulty networks, overruns, restarts and moves, from a seed. Then nothing is missing."""

import pytest
from replication_world import EDGE, Node, World, ask, flow

from understudy.core.replication import agenda
from understudy.core.replication.effects import Effect, Ready
from understudy.core.replication.events import Event, Kind
from understudy.core.replication.machine import Replication
from understudy.core.replication.round import Outcome, Round
from understudy.units import MILLISECOND, SECOND, Instant
from understudy.wire.conntrack import identity
from understudy.wire.flowsync import Ack, Data, Word, decode, read_snapshot

OWN_WRITES = (69, 633)
"""An original whose own writes are under way while it tells its flows: what it tells then is no longer true."""
ANEW = (162, 746)
"""An original once more, whose words from before arrive late: its kernel has changed since, as no original's."""
LOSSY = (41,)
"""A payload overtakes a lost one just when the original has told its last words."""


class Checked(World):
    """Holds the machines to what they say, while they say it."""

    def __init__(self, seed: int, make: type[Replication] = Replication) -> None:
        super().__init__(seed, make=make)
        self.tokens = 0
        self.judged = {"acknowledged": 0, "ready": 0}
        self.arrived: dict[tuple[str, int, int], dict[int, list[tuple[int, bytes]]]] = {}
        """By node, its start and stream: records of every payload that reached the node, by sequence number, but for
        those that came before the beacon that told of the stream.
        """
        self.moved: set[str] = set()
        """Nodes that were the original lately: what they had counts as well."""
        self.hands: set[bytes] = set()
        """Flows that somebody changed on a standby: its kernel may differ in them."""
        self.ear = self._hear
        self.spy = self._see
        self.judge = self._ready

    def _hear(self, node: Node, payload: bytes) -> None:
        message = decode(payload)
        [pair] = node.machine.pairs
        if isinstance(message, Data) and pair.replica.stream == message.stream:
            self.arrived.setdefault((node.name, node.start, message.stream), {})[message.sequence] = message.records

    def _see(self, sender: Node, _: Node, network: str, payload: bytes) -> bool:
        message = decode(payload)
        if isinstance(message, Ack):
            self.judged["acknowledged"] += 1
            self.holds(sender, message.of, message.written)
        return True

    def holds(self, node: Node, stream: int, written: int | None) -> None:
        """What the stream brought up to `written` is in the node's kernel, unless something later changed it."""
        if EDGE in node.owned or node.name in self.moved:
            return
        payloads = self.arrived.get((node.name, node.start, stream), {})
        state: dict[bytes, bytes | None] = {}
        for sequence in sorted(payloads):
            for kind, raw in payloads[sequence]:
                if kind <= Kind.GONE:
                    if written is None or sequence <= written:
                        state[identity(raw)] = raw if kind == Kind.CHANGED else None
                    else:
                        state.pop(identity(raw), None)
                elif kind == Word.SNAPSHOT:
                    state.pop(identity(read_snapshot(raw)[1]), None)  # an agreement's truth
        original = self.gw1 if node is self.gw2 else self.gw2
        for key, raw in state.items():
            # An agreement may end what the original does not have: the news of it was lost.
            if key not in self.hands and key in original.kernel.flows:
                assert node.kernel.flows.get(key) == raw

    def _ready(self, node: Node, ready: Ready) -> None:
        """What is Ready and complete has everything in its kernel that had reached it, but for what overtook others:
        it is younger than the last words that the original was asked for.
        """
        if ready.complete:
            [pair] = node.machine.pairs
            assert pair.replica.waiting == 0
            self.holds(node, pair.replica.stream, pair.replica.received)
            self.judged["ready"] += 1

    def ask(self, node: Node, drain: bool) -> None:
        self.tokens += 1
        ask(node, self.tokens, drain)
        self.run(self.dice.choice((5, 50, 200)) * MILLISECOND)

    def step(self) -> None:
        original = next((node for node in self.nodes.values() if EDGE in node.owned), None)
        dice = self.dice
        if original is not None:
            self.traffic(original, dice.randrange(12), most=300)
        match dice.randrange(24):
            case 0:
                path = self.faults[dice.choice(list(self.faults))]
                path.loss, path.copies = dice.choice((0, 0.05, 0.4)), dice.choice((0, 0.2))
                path.jitter = dice.choice((0, 300_000, 20 * MILLISECOND))
            case 1:
                path = self.faults[dice.choice(list(self.faults))]
                path.cut = not path.cut
            case 2:
                node = dice.choice(list(self.nodes.values()))
                node.stop()
                self.run(dice.randrange(300) * MILLISECOND)
                node.boot()
            case 3 if original is not None:
                original.kernel.room = 3
                self.traffic(original, 40)
                original.kernel.room = 100_000
            case 4 if original is not None:
                self.hand_over(original)
            case 5:
                standby = self.standby()
                for key in list(standby.kernel.flows)[: dice.randrange(5)]:
                    self.hands.add(key)
                    standby.end(key)
            case 6:
                raw = flow(900_000 + dice.randrange(50))
                self.hands.add(identity(raw))
                self.standby().change(raw)
            case 7:
                dice.choice(list(self.nodes.values())).write_delay = dice.choice((50_000, 5 * MILLISECOND))
            case 8:
                self.ask(self.standby(), dice.random() < 0.5)
            case _:
                pass
        self.run(dice.randrange(40) * MILLISECOND)

    def standby(self) -> Node:
        return self.gw2 if EDGE in self.gw1.owned else self.gw1

    def hand_over(self, old: Node) -> None:
        """With an overlap in which both are the original, or a while in which none is."""
        new = self.gw2 if old is self.gw1 else self.gw1
        self.moved |= set(self.nodes)
        if self.dice.random() < 0.6:
            new.own(True)
            self.run(20 * MILLISECOND)
            old.own(False)
        else:
            old.own(False)
            self.run(self.dice.randrange(300) * MILLISECOND)
            new.own(True)

    def heal(self) -> None:
        for path in self.faults.values():
            path.loss = path.copies = 0
            path.cut, path.jitter = False, 300_000
        for node in self.nodes.values():
            node.write_delay = 50_000
            node.kernel.room = 100_000


def story(seed: int, make: type[Replication] = Replication, steps: int = 60) -> Checked:
    world = Checked(seed, make=make)
    world.boot()
    world.populate(world.gw1, 50)
    for _ in range(steps):
        world.step()
    world.heal()
    world.run(35 * SECOND)
    return world


@pytest.mark.parametrize("seed", [*range(12), *OWN_WRITES, *ANEW, *LOSSY])
def test_after_any_faults_the_replica_equals_the_original(seed: int) -> None:
    """Flows, faults, restarts and hand-overs at random; some time after they end the kernels agree, and it is known."""
    world = story(seed)
    assert world.equal()
    assert world.standby().complete[EDGE] is True
    for node in world.nodes.values():
        [pair] = node.machine.pairs
        assert pair.origin.backlog_bytes == 0
        assert pair.replica.waiting == 0
    assert world.judged["acknowledged"] > 100


def test_a_replica_without_agreement_is_found_out() -> None:
    """Control: where rounds prove everything unseen, the same stories end with kernels that differ."""

    class Credulous(Round):
        def _compare_buckets(self, now: Instant) -> None:
            if self._counted and self._told:
                self.outcome = Outcome(True)

    class Blind(Replication):
        def handle(self, now: Instant, event: Event) -> list[Effect]:
            agenda.Round = Credulous  # type: ignore[misc]  # only while this machine acts
            try:
                return super().handle(now, event)
            finally:
                agenda.Round = Round  # type: ignore[misc]

    world = World(3, make=Blind).boot()
    world.run(SECOND)
    world.gw1.kernel.room = 3
    world.populate(world.gw1, 40)
    world.gw1.kernel.room = 100_000
    world.run(35 * SECOND)
    assert not world.equal()
    assert world.gw2.complete[EDGE] is True


def test_the_same_overrun_is_mended_by_agreement() -> None:
    """The same story with the machine as it is."""
    world = World(3).boot()
    world.run(SECOND)
    world.gw1.kernel.room = 3
    world.populate(world.gw1, 40)
    world.gw1.kernel.room = 100_000
    world.until(lambda: world.gw2.complete[EDGE] is False)
    assert world.until(lambda: world.gw2.complete[EDGE] is True) < SECOND
    assert world.equal()
