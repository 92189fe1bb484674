"""The history of translations: who had an address when, within a size that is kept."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.agent.nat_history import HistoryFile, NatHistory
from understudy.cli.nat_who import moment_of
from understudy.core.replication.events import Kind
from understudy.errors import OperatorError
from understudy.ios.history import HEADER, RECORD, SIZE_MIN, Past, Ring, capacity, pack, past_of, unpack
from understudy.ios.reader import read_text
from understudy.ios.show import Endpoint
from understudy.ios.translations import PROTOCOL_NAMES, Translation
from understudy.ios.translations import Kind as RowKind
from understudy.wire.conntrack.flow import Flow, Tuple, build

NEAR = IPv4Address("203.0.113.5")


def past(begin: int, port: int = 40123, end: int = 0) -> Past:
    hosts = (IPv4Address("10.9.0.5"), NEAR, IPv4Address("198.51.100.9"))
    return Past(begin, 6, *hosts, local_port=port, global_port=port, outside_port=443, end_ms=end)


def ring(records: int = 64) -> Ring:
    return Ring(bytearray(HEADER + records * RECORD))


pasts = st.builds(
    Past, st.integers(1, 1 << 62), st.integers(0, 255), *(st.integers(0, 0xFFFFFFFF).map(IPv4Address),) * 3,
    *(st.integers(0, 65_535),) * 3, st.integers(0, 1 << 62),
)  # fmt: skip


@given(pasts)
def test_a_record_reads_back(one: Past) -> None:
    assert unpack(pack(one)) == one


@given(pasts, st.integers(0, RECORD - 1), st.integers(1, 255))
def test_half_a_record_is_none(one: Past, at: int, change: int) -> None:
    """Whoever reads while it is written sees it whole or not at all. (A byte that nobody uses may differ.)"""
    data = bytearray(pack(one))
    data[at] ^= change
    assert unpack(bytes(data)) in (None, one)
    assert unpack(bytes(data[:-1])) is None


def test_who_had_it() -> None:
    """One host after the other had the port; each is told for its time, and nobody for the time between."""
    held = ring()
    first, second = past(1_000), replace(past(5_000), inside_local=IPv4Address("10.9.0.6"))
    held.begin(first)
    assert held.end(first.key, 3_000)
    held.begin(second)
    assert [each.inside_local for each in held.who(NEAR, 40123, 2_000)] == [IPv4Address("10.9.0.5")]
    assert held.who(NEAR, 40123, 4_000) == ()
    assert held.who(NEAR, 40123, 999) == ()
    assert [each.inside_local for each in held.who(NEAR, None, 9_000)] == [IPv4Address("10.9.0.6")]
    assert held.who(NEAR, 40124, 2_000) == ()
    assert held.who(IPv4Address("10.9.0.6"), 40123, 6_000) == (second,)


def test_a_flow_is_written_once() -> None:
    held = ring()
    assert held.begin(past(1_000))
    assert not held.begin(past(1_500))
    assert [each.begin_ms for each in held.records()] == [1_000]
    assert not held.end(past(1_000, port=1).key, 2_000)


def test_another_host_behind_the_same_end_ends_the_record_that_is_open() -> None:
    """Nobody saw the first one's end: it is over when the second begins, and the second is named from then on."""
    held = ring()
    first, second = past(1_000), replace(past(5_000), inside_local=IPv4Address("10.9.0.6"))
    held.begin(first)
    assert held.begin(second)
    third = replace(second, begin_ms=7_000, local_port=second.local_port + 1)
    assert held.begin(third)
    assert not held.begin(replace(third, begin_ms=8_000))
    assert [each.inside_local for each in held.who(NEAR, 40123, 4_999)] == [first.inside_local]
    assert held.who(NEAR, 40123, 6_000) == (replace(second, end_ms=7_000),)
    assert held.who(NEAR, 40123, 9_000) == (third,)
    assert held.end(third.key, 10_000)
    assert held.going() == ()


def test_the_time_that_is_known() -> None:
    held = ring()
    assert held.span() is None
    for begin, end in ((2_000, 9_000), (1_000, 3_000), (4_000, 0)):
        held.begin(past(begin, port=begin))
        if end:
            held.end(past(0, port=begin).key, end)
    assert held.span() == (1_000, 9_000)


def test_the_size_is_kept_and_the_oldest_go() -> None:
    memory = bytearray(HEADER + 16 * RECORD)
    held = Ring(memory)
    for number in range(100):
        held.begin(past(1_000 + number, port=number))
        held.end(past(0, port=number).key, 1_001 + number)
    assert len(memory) == HEADER + 16 * RECORD
    assert sorted(each.global_port for each in held.records()) == list(range(84, 100))
    assert held.lost == 0


def test_a_long_flow_outlasts_short_ones() -> None:
    held = ring(16)
    held.begin(past(1_000, port=7))
    for number in range(100, 200):
        held.begin(past(1_000 + number, port=number))
        held.end(past(0, port=number).key, 1_001 + number)
    assert [each.begin_ms for each in held.who(NEAR, 7, 50_000)] == [1_000]


def test_more_flows_than_places_lose_the_oldest_and_are_counted() -> None:
    held = ring(16)
    for number in range(20):
        held.begin(past(1_000 + number, port=number))
    assert held.lost == 4
    assert len(list(held.records())) == 16


def test_a_ring_is_taken_up_again() -> None:
    """What went on goes on, and can end."""
    memory = bytearray(SIZE_MIN)
    Ring(memory).begin(past(1_000))
    again = Ring(memory)
    assert not again.begin(past(1_200))
    assert again.end(past(1_000).key, 2_000)
    assert [(each.begin_ms, each.end_ms) for each in Ring(memory).records()] == [(1_000, 2_000)]


@pytest.mark.parametrize("content", [b"x" * SIZE_MIN, b"usnathis" + b"\xff" * SIZE_MIN, b"", b"\0" * 99])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(OperatorError, match="E7131"):
        Ring(bytearray(content))


@given(st.binary(min_size=SIZE_MIN - HEADER, max_size=SIZE_MIN - HEADER))
def test_any_content_behind_a_good_header_is_survived(content: bytes) -> None:
    memory = bytearray(SIZE_MIN)
    Ring(memory)
    memory[HEADER:] = content
    assert Ring(memory).who(NEAR, None, 1) == ()


def test_capacity_is_what_fits() -> None:
    assert capacity(HEADER + 3 * RECORD + 1) == 3
    assert ring(16).held == 16


def test_half_entries_have_no_history() -> None:
    half = Translation(None, Endpoint("203.0.113.5"), Endpoint("10.9.0.5"), None, None, RowKind.STATIC)
    assert past_of(half, 1) is None


# --- the file, and the kernel's news


def raw(port: int, near: str = "203.0.113.10", local: str = "10.9.0.5") -> bytes:
    there = Tuple(IPv4Address(local), IPv4Address("198.51.100.9"), 6, port, 443)
    return build(Flow(there, Tuple(IPv4Address("198.51.100.9"), IPv4Address(near), 6, 443, port)))


LINES = """
interface g0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat inside source list 1 interface g0/1 overload
"""


def test_news_of_the_kernel_become_history() -> None:
    """A change begins or is nothing new, an end ends; what is not translated is not kept, and nonsense is survived."""
    held = ring()
    history = NatHistory(held, read_text(LINES).configuration)
    history.feed([(Kind.CHANGED, raw(1)), (Kind.CHANGED, raw(2, "10.9.0.5")), (Kind.CHANGED, b"\xff" * 9)], 1_000)
    history.feed([(Kind.CHANGED, raw(1)), (Kind.CHANGED, raw(3))], 2_000)
    history.feed([(Kind.GONE, raw(1))], 3_000)
    assert [(each.global_port, each.begin_ms, each.end_ms) for each in held.records()] == [
        (1, 1_000, 3_000), (3, 2_000, 0),
    ]  # fmt: skip


def test_a_list_makes_up_for_news_that_were_lost() -> None:
    held = ring()
    history = NatHistory(held, read_text(LINES).configuration)
    history.feed([(Kind.CHANGED, raw(1)), (Kind.CHANGED, raw(2))], 1_000)
    history.seed([raw(2), raw(3)], 5_000)
    assert [(each.global_port, each.begin_ms, each.end_ms) for each in held.records()] == [
        (1, 1_000, 5_000), (2, 1_000, 0), (3, 5_000, 0),
    ]  # fmt: skip


def test_a_list_names_the_host_that_has_the_address_by_then() -> None:
    """The former one's end was lost with the news, and the outside sees no difference."""
    held = ring()
    history = NatHistory(held, read_text(LINES).configuration)
    history.feed([(Kind.CHANGED, raw(1))], 1_000)
    history.seed([raw(1, local="10.9.0.6")], 5_000)
    assert [(str(each.inside_local), each.begin_ms, each.end_ms) for each in held.records()] == [
        ("10.9.0.5", 1_000, 5_000), ("10.9.0.6", 5_000, 0),
    ]  # fmt: skip


def test_a_list_looks_at_what_goes_on_alone() -> None:
    """However many records a ring holds: only memory that is written again, or is a flow's that goes on, is read."""
    memory = Counting(HEADER + 4_000 * RECORD)
    held = Ring(memory)
    history = NatHistory(held, read_text(LINES).configuration)
    for number in range(1, 3_001):
        held.begin(past(1_000, port=number))
        held.end(past(0, port=number).key, 2_000)
    history.feed([(Kind.CHANGED, raw(7)), (Kind.CHANGED, raw(8))], 3_000)
    memory.reads = 0
    history.seed([raw(8)], 4_000)
    assert memory.reads < 10
    assert held.going() == (next(each for each in held.records() if each.end_ms == 0).key,)


class Counting(bytearray):
    """Memory that counts how often it is read."""

    reads = 0

    def __getitem__(self, span: Any) -> Any:
        self.reads += 1
        return super().__getitem__(span)


def test_a_file_is_as_large_as_it_was_made_and_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "history"
    writer = HistoryFile(path, SIZE_MIN)
    writer.ring.begin(past(1_000))
    with pytest.raises(OperatorError, match="E7130"):
        HistoryFile(path, SIZE_MIN)
    reader = HistoryFile(path, write=False)
    assert reader.ring.who(NEAR, 40123, 2_000) == (past(1_000),)
    reader.close()
    writer.close()
    again = HistoryFile(path, SIZE_MIN * 4)
    assert path.stat().st_size == SIZE_MIN
    again.close()
    with pytest.raises(OperatorError, match="E7130"):
        HistoryFile(tmp_path / "none", write=False)


@pytest.mark.parametrize(
    ("text", "moment"),
    [("1700000000", 1_700_000_000.0), ("2023-11-14T22:13:20Z", 1_700_000_000.0), ("22:13:20Z", 1_700_000_000.0),
     ("2023-11-14 22:13Z", 1_699_999_980.0)],
)  # fmt: skip
def test_moments(text: str, moment: float) -> None:
    """A time alone is that of today."""
    assert moment_of(text, 1_700_000_001.0) == moment


@pytest.mark.parametrize(
    "text",
    ["yesterday", "99999999999999999", "9" * 400, "253402300800", "0001-01-01 00:00Z", "0001-01-01 00:00",
     "1969-12-31 23:59Z"],
)  # fmt: skip
def test_what_is_no_moment_is_refused(text: str) -> None:
    """Before 1970, and from the year 10000 on, nobody can have had anything."""
    with pytest.raises(OperatorError, match="E7132"):
        moment_of(text, 0.0)
    moment_of("253402300799", 0.0)


@pytest.mark.parametrize("number", sorted(PROTOCOL_NAMES))
def test_every_protocol_that_the_table_names_is_kept(number: int) -> None:
    ends = (Endpoint("203.0.113.1", 1), Endpoint("10.0.0.1", 1), None, Endpoint("198.51.100.1", 2))
    past = past_of(Translation(PROTOCOL_NAMES[number], *ends, RowKind.FLOW), 5)
    assert past is not None
    assert past.protocol == number
