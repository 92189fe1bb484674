"""The allocator's table on two nodes: whatever is lost on the way, the follower ends with what the leader has."""

import random

from hypothesis import given
from hypothesis import strategies as st

from understudy.core.allocation.effects import MapEntries, Publish
from understudy.core.allocation.events import Cleared, Configured, Event, Logged, Mapped, Replicated, Waiting
from understudy.core.allocation.machine import Allocator
from understudy.core.allocation.records import PoolSettings, Record
from understudy.core.allocation.sharing import ASK, BODY_MAX, PARTS_EVERY, WHOLE, Follower, Leader, split
from understudy.errors import DecodeError
from understudy.units import SECOND, Instant

SIZE = 100_000
HUGE = Configured((PoolSettings(7, "P/near", ((1_000_000, 1_200_000),), None),))
POOL = Configured((PoolSettings(7, "P/near", ((1000, 2000),), None),))


def record(host: int, given_: int, *, released: bool = False) -> Record:
    return Record("P/near", host, given_, released=released)


def applied(follower: Follower, payloads: list[bytes], table: dict[int, int]) -> None:
    for payload in payloads:
        for event in follower.heard(payload):
            if event.whole:
                table.clear()
            for each in event.records:
                table.pop(each.host, None) if each.released else table.__setitem__(each.host, each.given)


def test_changes_in_order_are_applied_once() -> None:
    """Both paths carry everything: the second copy changes nothing."""
    leader, follower, table = Leader(b"leader-1"), Follower(), dict[int, int]()
    (ask,) = follower.due(Instant(0))
    applied(follower, leader.asked(Instant(SECOND), ask, list), table)
    assert follower.whole
    payloads = leader.changed([record(1, 1000)]) + leader.changed([record(1, 1000, released=True)])
    applied(follower, payloads, table)
    assert table == {}
    applied(follower, payloads[:1], table)
    assert table == {}


def test_a_lost_last_change_is_found_by_the_beacon() -> None:
    leader, follower, table = Leader(b"leader-1"), Follower(), dict[int, int]()
    applied(follower, leader.asked(Instant(SECOND), follower.due(Instant(0))[0], list), table)
    leader.changed([record(1, 1000)])
    assert follower.whole
    applied(follower, leader.due(Instant(5 * SECOND)), table)
    assert not follower.whole
    applied(
        follower,
        leader.asked(Instant(6 * SECOND), follower.due(Instant(6 * SECOND))[0], lambda: [record(1, 1000)]),
        table,
    )
    assert table == {1: 1000}


def test_a_new_leader_is_asked_for_everything() -> None:
    follower, table = Follower(), dict[int, int]()
    applied(
        follower,
        Leader(b"leader-1").asked(Instant(SECOND), follower.due(Instant(0))[0], lambda: [record(1, 1000)]),
        table,
    )
    second = Leader(b"leader-2")
    applied(follower, second.changed([record(2, 1001)]), table)
    assert table == {1: 1000}
    whole = second.asked(Instant(9 * SECOND), follower.due(Instant(9 * SECOND))[0], lambda: [record(2, 1001)])
    applied(follower, whole, table)
    assert table == {2: 1001}


def test_a_table_of_many_parts_keeps_what_changed_meanwhile() -> None:
    """A change between the parts of the whole is applied on top of it."""
    leader, follower, table = Leader(b"leader-1"), Follower(), dict[int, int]()
    held = [record(host, 1000 + host) for host in range(300)]
    parts = leader.asked(Instant(SECOND), follower.due(Instant(0))[0], lambda: held)
    assert len(parts) > 3
    late = leader.changed([record(0, 1000, released=True)])
    applied(follower, [*parts[:2], *late, *parts[2:]], table)
    assert table == {each.host: each.given for each in held[1:]}
    assert follower.whole


def test_pieces_fit_a_datagram() -> None:
    assert all(len(piece) <= BODY_MAX for piece in split([record(host, host) for host in range(1000)]))


@given(st.integers(0, 2**32), st.integers(0, 60))
def test_any_loss_and_order_ends_in_the_leaders_table(seed: int, losses: int) -> None:
    """Safety while things are lost; once nothing is, both hold the same."""
    dice = random.Random(seed)
    leader, follower = Leader(b"leader-1"), Follower()
    held: dict[int, int] = {}
    table: dict[int, int] = {}
    now = Instant(0)
    for step in range(40):
        now = Instant(now + SECOND)
        host = dice.randrange(10)
        released = host in held
        change = record(host, held.pop(host) if released else held.setdefault(host, 1000 + step), released=released)
        payloads = leader.changed([change]) + leader.due(now)
        for ask in follower.due(now):
            payloads += leader.asked(now, ask, lambda: [record(h, g) for h, g in held.items()])
        dice.shuffle(payloads)
        applied(follower, [each for each in payloads if dice.randrange(100) >= losses], table)
    for _ in range(6):
        now = Instant(now + SECOND)
        applied(follower, leader.due(now), table)
        for ask in follower.due(now):
            applied(follower, leader.asked(now, ask, lambda: [record(h, g) for h, g in held.items()]), table)
    assert table == held


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_mean_something(data: bytes) -> None:
    follower = Follower()
    for kind in (b"", b"\1", b"\4"):
        try:
            assert all(isinstance(each, Replicated) for each in follower.heard(kind + data))
        except DecodeError:
            pass
    if data[:1] != bytes([ASK]):
        assert Leader(b"leader-1").asked(Instant(SECOND), data, list) == []


def test_what_follows_gives_no_address_twice() -> None:
    """The follower's own machine goes on from the leader's table."""
    first, second = Allocator(), Allocator()
    for machine in (first, second):
        machine.handle(Instant(0), POOL)
    leader, follower = Leader(b"leader-1"), Follower()
    now = Instant(SECOND)
    first.handle(now, Logged((Waiting(7, 1, b""),)))
    (published, _) = first.handle(now, Mapped(1))
    leader.changed(published.records)  # type: ignore[union-attr] # Publish
    for payload in leader.asked(now, follower.due(now)[0], lambda: first.snapshot(now)):
        for event in follower.heard(payload):
            second.handle(now, event)
    second.handle(now, Logged((Waiting(7, 2, b""),)))
    assert {each.given for each in second.entries()} == {1000, 1001}


class Machines:
    """Two of them with a way between that loses parts of tables, and a clock."""

    def __init__(self, size: int, loss: float) -> None:
        self.now, self._loss, self._dice = Instant(SECOND), loss, random.Random(4)
        self.leader, self.follower = Leader(b"leader-1"), Follower()
        self.first, self.second = Allocator(), Allocator()
        for machine in (self.first, self.second):
            machine.handle(self.now, HUGE)
        held = tuple(record(host, 1_000_000 + host) for host in range(size))
        self.do(self.first, Replicated(held, whole=True))
        self.sent: list[int] = []
        """Payloads of each step."""
        self.tables = 0
        """How often the leader's table was copied."""

    def do(self, machine: Allocator, event: Event) -> list[bytes]:
        """With the kernel's consent; what the leader says of it."""
        effects = machine.handle(self.now, event)
        said = []
        for each in effects:
            if isinstance(each, MapEntries):
                said += self.do(machine, Mapped(each.number))
            elif isinstance(each, Publish):
                said += self.leader.changed(each.records)
        return said

    def table(self) -> tuple[Record, ...]:
        self.tables += 1
        return self.first.snapshot(self.now)

    def step(self, *events: Event) -> None:
        """A tenth of a second."""
        self.now = Instant(self.now + PARTS_EVERY)
        payloads = [each for event in events for each in self.do(self.first, event)] + self.leader.due(self.now)
        for ask in self.follower.due(self.now):
            payloads += self.leader.asked(self.now, ask, self.table)
        self.sent.append(len(payloads))
        for payload in payloads:
            if payload[0] != WHOLE or self._dice.random() >= self._loss:
                for event in self.follower.heard(payload):
                    self.do(self.second, event)

    def alike(self) -> bool:
        return set(self.first.entries()) == set(self.second.entries())


def test_a_huge_table_reaches_who_follows_at_a_pace_that_a_socket_takes() -> None:
    """Parts get lost and hosts come and go meanwhile: the rest is asked for, and the table is copied once."""
    world = Machines(SIZE, loss=0.02)
    for step in range(120):
        if world.follower.whole:
            break
        come = Logged((Waiting(7, SIZE + step, b""),))
        world.step(come, Cleared(1_000_000 + step))
    assert world.follower.whole
    assert world.alike()
    assert len(world.second.entries()) == SIZE
    assert world.tables == 1
    assert len(world.sent) > 50, "control: it took its time"
    assert max(sum(world.sent[at : at + 10]) for at in range(len(world.sent))) <= 600


def test_of_a_table_whose_leader_died_half_way_nothing_is_kept() -> None:
    """Another leader's parts are another table's, whatever came before."""
    world = Machines(2000, loss=0.0)
    world.step()
    assert not world.follower.whole
    world.leader = Leader(b"leader-2")
    world.do(world.first, Cleared(1_000_007))
    for _ in range(60):
        world.step()
    assert world.follower.whole
    assert world.alike()


def test_a_change_that_was_lost_copies_the_table_again_and_nothing_else_does() -> None:
    world = Machines(300, loss=0.0)
    for _ in range(40):
        world.step(Cleared(0))
    assert world.tables == 1
    world.leader.changed([record(1, 1)])
    for _ in range(40):
        world.step()
    assert world.tables == 2
    assert world.alike()
