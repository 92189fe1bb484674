"""News as records: what travels of a message is the same, whether others like it came before or not."""

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.adapters.conntrack_cuts import Cutter
from understudy.core.replication.events import Kind, Record
from understudy.wire import conntrack
from understudy.wire.conntrack import Flow, Tcp, Tuple, build
from understudy.wire.conntrack import attributes as cta
from understudy.wire.conntrack.attributes import attribute, nest

NEW, GONE, EXPECTED, OTHER = 0x100, 0x102, 0x200, 0x203
CLIENT, SERVER = ip_address("10.9.0.11"), ip_address("198.51.100.9")
TCP = Flow(Tuple(CLIENT, SERVER, 6, 4711, 80), Tuple(SERVER, CLIENT, 6, 80, 4711), 0xE, 300, 0x400, Tcp(3, 7, 9, 3, 3))
UDP = Flow(Tuple(CLIENT, SERVER, 17, 53, 53), Tuple(SERVER, CLIENT, 17, 53, 53), 0xE, 30, 0x400, zone=7)
OWN = attribute(cta.CTA_ID, b"abcd")
"""Belongs to one kernel."""
STRANGE = nest(cta.CTA_PROTOINFO, nest(cta.CTA_PROTOINFO_TCP, attribute(1, b"\3"), attribute(9, bytes(4))))


def message(kind: int, raw: bytes, number: int = 0) -> bytes:
    """As the kernel sends it: sequence and port differ from one to the next, and tell nothing."""
    return struct.pack("=IHHII", 16 + len(raw), kind, number & 0xFFFF, number, number) + raw


def cutter(with_master: Callable[[Kind, bytes], list[Record]] = lambda kind, raw: [(kind, raw)]) -> Cutter:
    readers: dict[int, tuple[Kind, Callable[[bytes], bytes]]] = {
        NEW: (Kind.CHANGED, conntrack.portable),
        GONE: (Kind.GONE, conntrack.remains),
        EXPECTED: (Kind.EXPECTED, conntrack.portable),
    }
    return Cutter({struct.pack("=H", kind): reader for kind, reader in readers.items()}, with_master)


def cut(by: Cutter, *messages: bytes) -> list[Record]:
    records: list[Record] = []
    by.cut(messages, records)
    return records


def test_what_is_like_another_is_cut_like_it() -> None:
    """The second of a shape has its own values and nothing of its kernel's; new and gone of one size are told apart."""
    both = cutter()
    for port in range(4711, 4720):
        raws = [
            build(replace(flow, original=replace(flow.original, here=port), reply=replace(flow.reply, there=port)))
            for flow in (TCP, UDP)
        ]
        for raw in raws:
            whole = raw[:-8] + OWN + raw[-8:]
            told = cut(both, message(NEW, whole, port), message(GONE, whole, port + 1))
            assert told == [(Kind.CHANGED, raw), (Kind.GONE, conntrack.remains(raw))]
    assert both.unread == 0


@pytest.mark.parametrize("place", range(0, 16 + len(build(TCP)) + 8))
def test_a_memory_of_shapes_changes_no_answer(place: int) -> None:
    """Whatever bit of a known message is another, it is cut or refused as if no other had been read before."""
    whole = message(NEW, build(TCP) + OWN)
    knows = cutter()
    cut(knows, whole, message(GONE, build(TCP) + OWN), whole)
    for bit in range(8):
        bent = whole[:place] + bytes((whole[place] ^ 1 << bit,)) + whole[place + 1 :]
        fresh = cutter()
        before = knows.unread
        assert cut(knows, bent) == cut(fresh, bent)
        assert knows.unread - before == fresh.unread


@given(st.permutations(range(20)))
def test_more_shapes_than_are_remembered_are_read_all_the_same(order: list[int]) -> None:
    """Protocols that a client may choose make a shape each: none is lost, and order is kept."""
    raws = [build(Flow(Tuple(CLIENT, SERVER, 140 + n), Tuple(SERVER, CLIENT, 140 + n), 8, 30, 0x400)) for n in order]
    records = cut(cutter(), *(message(NEW, raw) for raw in raws * 2))
    assert records == [(Kind.CHANGED, raw) for raw in raws * 2]


def test_the_unknown_inside_of_the_known_is_never_passed_on() -> None:
    """However often it comes: what is not in our tables does not travel."""
    raw = build(replace(TCP, tcp=None))
    strange = raw + STRANGE
    told = cut(cutter(), *[message(NEW, strange)] * 3)
    assert told == [(Kind.CHANGED, conntrack.portable(strange))] * 3
    assert attribute(9, bytes(4)) not in told[0][1]


def test_what_is_no_news_of_a_flow_takes_its_own_way() -> None:
    """Expectations are asked about, in their place; unknown types are passed over; what cannot be read is counted."""
    asked: list[bytes] = []

    def with_master(kind: Kind, raw: bytes) -> list[Record]:
        asked.append(raw)
        return [(Kind.CHANGED, b"master"), (kind, raw)]

    by, raw = cutter(with_master), build(TCP)
    told = cut(
        by, message(NEW, raw), message(EXPECTED, raw), message(OTHER, raw), message(NEW, b"?"), message(NEW, raw)
    )
    assert told == [(Kind.CHANGED, raw), (Kind.CHANGED, b"master"), (Kind.EXPECTED, raw), (Kind.CHANGED, raw)]
    assert asked == [raw]
    assert by.unread == 1
