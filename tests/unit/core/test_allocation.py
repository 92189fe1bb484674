"""The allocator of pools without overload: who gets which address, for how long, and what becomes of what waits."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.allocation.codec import decode, encode
from understudy.core.allocation.effects import Effect, LookForUse, MapEntries, PoolDry, Publish, SendAgain
from understudy.core.allocation.events import (
    Adopted,
    Cleared,
    Configured,
    Logged,
    Mapped,
    Replicated,
    Tick,
    UseSeen,
    Waiting,
)
from understudy.core.allocation.machine import WAITING_MAX, WAITING_POOL_MAX, Allocator
from understudy.core.allocation.pool import Pool, Reserved
from understudy.core.allocation.ports import REMEMBERED_MAX, FlowKey, Ports
from understudy.core.allocation.records import Entry, PoolSettings, Record
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Instant

POOL = PoolSettings(1, "P", ((100, 103),), 160 * SECOND)
T0 = Instant(5 * SECOND)


def machine(*pools: PoolSettings, reserved: tuple[tuple[int, int], ...] = ()) -> Allocator:
    made = Allocator()
    made.handle(T0, Configured(pools or (POOL,), reserved))
    return made


def packet(host: int, pool: int = 1, text: bytes = b"first") -> Waiting:
    return Waiting(pool, host, text)


def ask(allocator: Allocator, now: int, *hosts: int, pool: int = 1) -> list[Effect]:
    """Packets of hosts, and the kernel's consent."""
    effects = allocator.handle(Instant(now), Logged(tuple(packet(host, pool) for host in hosts)))
    done = [
        more
        for each in effects
        if isinstance(each, MapEntries)
        for more in allocator.handle(Instant(now), Mapped(each.number))
    ]
    return effects + done


def given_to(allocator: Allocator) -> dict[int, int]:
    return {entry.host: entry.given for entry in allocator.entries()}


def test_addresses_are_handed_out_in_ascending_order_and_once_a_host() -> None:
    allocator = machine()
    ask(allocator, T0, 7, 5)
    ask(allocator, T0, 7)
    ask(allocator, T0, 9)
    assert given_to(allocator) == {7: 100, 5: 101, 9: 102}


def test_a_packet_is_sent_again_only_when_the_kernel_has_the_mapping_and_the_replica_was_told() -> None:
    allocator = machine()
    (mapping,) = allocator.handle(T0, Logged((packet(7, text=b"a"), packet(7, text=b"b"))))
    assert isinstance(mapping, MapEntries)
    assert mapping.added == (Entry(1, 7, 100),)
    published, again = allocator.handle(T0, Mapped(mapping.number))
    assert isinstance(published, Publish)
    assert published.records == (Record("P", 7, 100),)
    assert isinstance(again, SendAgain)
    assert [each.packet for each in again.packets] == [b"a", b"b"]


def test_what_the_kernel_refuses_is_given_back_and_its_packets_are_counted() -> None:
    allocator = machine()
    (mapping,) = allocator.handle(T0, Logged((packet(7),)))
    assert isinstance(mapping, MapEntries)
    assert allocator.handle(T0, Mapped(mapping.number, done=False)) == []
    assert allocator.entries() == ()
    assert allocator.counts.refused == 1


def test_a_host_whose_mapping_somebody_took_away_gets_it_back() -> None:
    allocator = machine()
    ask(allocator, T0, 7)
    effects = ask(allocator, T0, 7)
    assert isinstance(effects[0], MapEntries)
    assert effects[0].added == (Entry(1, 7, 100),)
    assert not any(isinstance(each, Publish) for each in effects)
    assert any(isinstance(each, SendAgain) for each in effects)


def test_a_dry_pool_drops_and_says_so_once_and_others_go_on() -> None:
    allocator = machine()
    effects = ask(allocator, T0, *range(10))
    assert [each for each in effects if isinstance(each, PoolDry)] == [PoolDry("P", 4)]
    assert allocator.counts.missed == 6
    assert allocator.pools()[0].misses == 6
    assert any(isinstance(each, SendAgain) for each in ask(allocator, T0, 2))


def test_after_a_release_the_search_goes_on_behind_the_last_address() -> None:
    allocator = machine()
    ask(allocator, T0, 1, 2)
    allocator.handle(T0, Cleared(100))
    ask(allocator, T0, 3, 4)
    assert given_to(allocator) == {2: 101, 3: 102, 4: 103}
    ask(allocator, T0, 5)
    assert given_to(allocator)[5] == 100


def test_what_is_somebodys_own_is_never_handed_out() -> None:
    allocator = machine(reserved=((99, 100), (102, 102)))
    ask(allocator, T0, 1, 2, 3)
    assert given_to(allocator) == {1: 101, 2: 103}
    assert allocator.pools()[0].capacity == 2


def test_an_address_of_two_pools_is_given_once() -> None:
    allocator = machine(POOL, PoolSettings(2, "Q", ((102, 105),), None))
    ask(allocator, T0, 1, 2, 3)
    ask(allocator, T0, 8, 9, pool=2)
    assert sorted(entry.given for entry in allocator.entries()) == [100, 101, 102, 103, 104]


def test_segments_are_used_up_in_their_order() -> None:
    allocator = machine(PoolSettings(1, "P", ((200, 201), (50, 51)), None))
    ask(allocator, T0, 1, 2, 3)
    assert given_to(allocator) == {1: 200, 2: 201, 3: 50}
    allocator.handle(T0, Cleared(200))
    ask(allocator, T0, 4, 5)
    assert given_to(allocator) == {2: 201, 3: 50, 4: 51, 5: 200}


def test_match_host_keeps_the_number_of_the_host_and_the_second_with_it_gets_none() -> None:
    base = int(IPv4Address("192.0.2.0"))
    allocator = machine(PoolSettings(1, "P", ((base + 1, base + 254),), None, match_length=24))
    first, second = int(IPv4Address("10.9.0.77")), int(IPv4Address("10.8.0.77"))
    ask(allocator, T0, first, second)
    assert given_to(allocator) == {first: base + 77}
    assert allocator.counts.missed == 1


def look(allocator: Allocator, now: int, *used: int) -> list[Effect]:
    assert allocator.handle(Instant(now), Tick()) == [LookForUse()]
    return allocator.handle(Instant(now), UseSeen(frozenset(used)))


def test_an_address_is_kept_while_it_is_used_and_for_the_timeout_after() -> None:
    allocator = machine()
    ask(allocator, T0, 1, 2)
    now: int = T0
    while (due := allocator.next_deadline()) is not None and now < T0 + 330 * SECOND:
        now = due
        # Host 2 has a flow for the first 100 s.
        look(allocator, now, *([101] if now <= T0 + 100 * SECOND else []))
        assert (1 in given_to(allocator)) is (now < T0 + 160 * SECOND)
        assert (2 in given_to(allocator)) is (now < T0 + 260 * SECOND)
    assert allocator.entries() == ()
    assert allocator.next_deadline() is None


def test_nothing_ends_while_use_cannot_be_found() -> None:
    allocator = machine()
    ask(allocator, T0, 1)
    now = T0 + 10_000 * SECOND
    allocator.handle(Instant(now), Tick())
    assert allocator.handle(Instant(now), UseSeen(None)) == []
    assert given_to(allocator) == {1: 100}
    assert allocator.next_deadline() is not None


def test_a_pool_without_a_timeout_never_takes_back_and_never_looks() -> None:
    allocator = machine(replace(POOL, timeout=None))
    ask(allocator, T0, 1)
    assert allocator.next_deadline() is None


def test_waiting_packets_are_bounded_a_pool_and_in_all() -> None:
    pools = [PoolSettings(n, f"P{n}", ((n << 16, (n << 16) + 9),), None) for n in range(8)]
    allocator = machine(*pools)
    for number in range(8):
        (mapping,) = allocator.handle(T0, Logged(tuple(packet(1, number) for _ in range(WAITING_POOL_MAX + 5))))
        assert isinstance(mapping, MapEntries)
        if (number + 1) * WAITING_POOL_MAX == WAITING_MAX:
            break
    assert allocator.counts.overflown == 4 * 5
    assert allocator.handle(T0, Logged((packet(1, 7),))) == []
    # Control: answered, there is room again.
    allocator.handle(T0, Mapped(1))
    assert allocator.handle(T0, Logged((packet(1, 7),))) != []


def test_a_packet_of_an_unknown_pool_is_counted() -> None:
    allocator = machine()
    assert ask(allocator, T0, 1, pool=99) == []
    assert allocator.counts.unknown == 1


def test_a_new_text_keeps_entries_whose_pool_still_holds_their_address() -> None:
    allocator = machine()
    ask(allocator, T0, 1, 2, 3)
    effects = allocator.handle(T0, Configured((replace(POOL, spans=((100, 101), (110, 111))),), ((100, 100),)))
    assert effects[0] == MapEntries(2, (), (Entry(1, 1, 100), Entry(1, 3, 102)))
    assert given_to(allocator) == {2: 101}
    ask(allocator, T0, 4)
    assert given_to(allocator)[4] == 110


def test_what_the_kernel_holds_at_the_start_is_taken_over_and_what_contradicts_is_removed() -> None:
    allocator = machine()
    held = (Entry(1, 2, 101), Entry(1, 1, 100), Entry(1, 3, 100), Entry(1, 4, 999))
    (mapping,) = allocator.handle(T0, Adopted(held))
    assert isinstance(mapping, MapEntries)
    assert set(mapping.removed) == {Entry(1, 3, 100), Entry(1, 4, 999)}
    ask(allocator, T0, 9)
    assert given_to(allocator) == {1: 100, 2: 101, 9: 102}


def test_a_replica_goes_on_where_the_other_stopped() -> None:
    active, standby = machine(), machine()
    for host in (1, 2, 3):
        for effect in ask(active, T0, host):
            if isinstance(effect, Publish):
                standby.handle(T0, Replicated(effect.records))
    for effect in active.handle(T0, Cleared(1)):
        if isinstance(effect, Publish):
            standby.handle(T0, Replicated(effect.records))
    assert given_to(standby) == given_to(active) == {2: 101, 3: 102}
    ask(standby, T0, 4)
    assert given_to(standby)[4] == 103
    late = machine()
    late.handle(T0, Replicated(active.snapshot(T0), whole=True))
    ask(late, T0, 4)
    assert given_to(late) == given_to(standby)


def test_a_whole_table_takes_away_what_is_not_in_it() -> None:
    standby = machine()
    ask(standby, T0, 1, 2)
    (mapping,) = standby.handle(T0, Replicated((Record("P", 2, 100),), whole=True))
    assert isinstance(mapping, MapEntries)
    assert mapping.added == (Entry(1, 2, 100),)
    assert set(mapping.removed) == {Entry(1, 1, 100), Entry(1, 2, 101)}
    assert given_to(standby) == {2: 100}


def test_records_of_unknown_pools_and_foreign_addresses_are_ignored() -> None:
    standby = machine()
    assert standby.handle(T0, Replicated((Record("X", 1, 100), Record("P", 1, 55)))) == []
    assert standby.counts.ignored == 2


def test_the_forecast_follows_the_rate_of_the_last_hour() -> None:
    allocator = machine(PoolSettings(1, "P", ((0x1000, 0x10FF),), None))
    pool = allocator.pools()[0]
    assert pool.forecast(T0) is None
    for n in range(16):
        ask(allocator, T0 + n * 10 * SECOND, n)
    forecast = pool.forecast(Instant(T0 + 160 * SECOND))
    assert forecast is not None
    assert 2200 * SECOND < forecast < 2600 * SECOND
    # Two hours later nothing has changed for an hour.
    assert pool.forecast(Instant(T0 + 7200 * SECOND)) is None


@pytest.mark.parametrize(
    ("ranges", "address", "end"), [([(5, 9)], 5, 9), ([(5, 9)], 10, None), ([(5, 9), (10, 12), (2, 6)], 3, 12)]
)
def test_reserved_ranges(ranges: list[tuple[int, int]], address: int, end: int | None) -> None:
    assert Reserved(ranges).end(address) == end


_HOSTS = st.integers(0, 12)
_STORY = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.lists(_HOSTS, min_size=1, max_size=5), st.integers(1, 2), st.booleans()),
        st.tuples(st.just("clear"), st.integers(98, 108)),
        st.tuples(st.just("later"), st.integers(1, 400)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(_STORY)
def test_no_story_gives_an_address_twice_or_one_that_is_not_the_pools(story: list[tuple]) -> None:  # type: ignore[type-arg]
    """Whatever is asked, cleared and refused: one address a host, one host an address, counts add up, nothing waits."""
    pools = (PoolSettings(1, "P", ((100, 104),), 160 * SECOND), PoolSettings(2, "Q", ((103, 107),), 80 * SECOND))
    allocator = machine(*pools, reserved=((101, 101),))
    held: set[Entry] = set()
    now: int = T0
    for step in story:
        pending: list[Effect] = []
        accept = True
        if step[0] == "ask":
            accept = step[3]
            pending = allocator.handle(Instant(now), Logged(tuple(packet(h, step[2]) for h in step[1])))
        elif step[0] == "clear":
            pending = allocator.handle(Instant(now), Cleared(step[1]))
        else:
            now += step[1] * SECOND
            pending = allocator.handle(Instant(now), Tick())
        while pending:
            effect = pending.pop(0)
            if isinstance(effect, MapEntries):
                if accept:
                    assert set(effect.removed) <= held
                    held = held - set(effect.removed) | set(effect.added)
                pending += allocator.handle(Instant(now), Mapped(effect.number, done=accept))
            elif isinstance(effect, LookForUse):
                pending += allocator.handle(Instant(now), UseSeen(frozenset()))
            elif isinstance(effect, SendAgain):
                assert all(any(e.host == p.host and e.pool == p.pool for e in held) for p in effect.packets)
        entries = allocator.entries()
        assert set(entries) == held
        assert len({(e.pool, e.host) for e in entries}) == len({e.given for e in entries}) == len(entries)
        for pool in allocator.pools():
            mine = [e.given for e in entries if e.pool == pool.settings.number]
            assert pool.given == len(mine) <= pool.capacity
            assert all(pool.holds(each) and each != 101 for each in mine)


def test_a_full_pool_refuses_without_a_search() -> None:
    """A scan of many sources costs nothing a packet: a full pool does not look at its addresses."""

    class Unlooked(dict[int, int]):
        def __contains__(self, key: object) -> bool:
            raise AssertionError("searched")

    pool = Pool(PoolSettings(1, "P", ((1, 50_000),), None), Reserved(()))
    pool.given = pool.capacity
    assert pool.take(T0, 1, Unlooked()) is None


def flow(source: int, port: int, protocol: int = 6) -> FlowKey:
    return FlowKey(protocol, source, port, 99, 80)


def test_ports_are_counted_for_all_hosts_of_an_address_and_a_protocol() -> None:
    ports = Ports()
    asked = [(1, flow(5, 4000)), (1, flow(6, 4000)), (1, flow(5, 4000, 17)), (2, flow(5, 4000)), (1, flow(5, 4001))]
    assert list(ports.give(T0, asked).values()) == [1024, 1025, 1024, 1024, 1026]


def test_a_packet_that_comes_again_at_once_has_the_same_port_and_a_later_flow_another() -> None:
    ports = Ports()
    assert ports.give(T0, [(1, flow(5, 4000))]) == ports.give(Instant(T0 + SECOND), [(1, flow(5, 4000))])
    assert ports.give(Instant(T0 + 60 * SECOND), [(1, flow(5, 4000))]) == {(1, flow(5, 4000)): 1025}


def test_what_is_remembered_of_flows_is_bounded_and_the_counter_comes_round() -> None:
    ports = Ports()
    for start in range(0, 65536 - 1024, 1024):
        ports.give(T0, [(1, flow(n, 7)) for n in range(start, start + 1024)])
    assert len(ports._given) <= REMEMBERED_MAX
    assert ports.give(T0, [(1, flow(1 << 20, 7))]) == {(1, flow(1 << 20, 7)): 1024}


@pytest.mark.parametrize(("own", "first"), [(500, 512), (511, 512), (512, 1024), (1023, 1024), (4500, 4501)])
def test_a_port_set_aside_counts_on_from_the_next_of_its_kind(own: int, first: int) -> None:
    ports = Ports()
    given_ports = ports.give(T0, [(1, flow(5, own, 17)), (1, flow(6, own, 17))], aside=True)
    assert list(given_ports.values()) == [first, first + 1]


_RECORDS = st.lists(
    st.builds(
        Record,
        st.text(max_size=40),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 10**9).map(lambda n: n * MILLISECOND),
        st.integers(0, 10**9).map(lambda n: n * MILLISECOND),
        st.booleans(),
    ),
    max_size=20,
)


@given(_RECORDS)
def test_records_travel_unchanged(records: list[Record]) -> None:
    assert decode(encode(records)) == tuple(records)


@given(st.binary(max_size=200))
def test_bytes_from_anybody_are_records_or_a_decode_error(data: bytes) -> None:
    try:
        records = decode(data)
    except DecodeError:
        return
    assert encode(records) == data
