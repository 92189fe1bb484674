"""Whose turn it is: the order that a kernel begins with, and what one node hears of the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.allocation.records import Record
from understudy.core.allocation.sharing import Follower, Leader, TurnsHeard
from understudy.core.allocation.turns import order, same_ring, turn_of
from understudy.errors import DecodeError


@pytest.mark.parametrize(
    ("well", "turn", "expected"),
    [
        ({1, 2, 3, 4}, 3, (3, 4, 1, 2)),
        ({1, 2, 4}, 3, (4, 1, 2)),
        ({1, 2, 3, 4}, None, (1, 2, 3, 4)),
        ({1, 2, 3, 4}, 9, (1, 2, 3, 4)),
        ({2}, 1, (2,)),
        (set(), 2, (2, 3, 4, 1)),
    ],
)
def test_it_begins_with_the_turn_or_the_next_that_is_well(
    well: set[int], turn: int | None, expected: tuple[int, ...]
) -> None:
    assert order((1, 2, 3, 4), well, turn) == expected


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
def test_going_on_from_a_turn_is_as_if_nothing_had_happened(count: int, first: int, more: int) -> None:
    """Whoever writes the rule anew after some turns gives the same ones as who did not."""
    servers = tuple(range(count))
    begun_anew = order(servers, servers, turn_of(servers, first))
    assert turn_of(begun_anew, more) == turn_of(servers, first + more)
    assert same_ring(begun_anew, servers)


def test_rings_differ_by_their_members_and_order() -> None:
    assert same_ring((3, 1, 2), (1, 2, 3))
    assert not same_ring((3, 2, 1), (1, 2, 3))
    assert not same_ring((1, 2), (1, 2, 3))
    assert not same_ring((1, 2, 4), (1, 2, 3))
    assert not same_ring((), ())


def test_the_last_word_counts_whatever_comes_after_it() -> None:
    """Two paths bring everything twice, and not in order; another leader's word begins anew."""
    leader, heard = Leader(b"leader-1"), TurnsHeard()
    (first,), (second,) = leader.turned({"R": 1}), leader.turned({"R": 2}, last=True)
    told = heard.heard(second)
    assert told is not None
    assert (told.turns, told.last) == ({"R": 2}, True)
    assert heard.heard(second) is None
    assert heard.heard(first) is None
    again = heard.heard(Leader(b"leader-2").turned({"R": 7, "S/udp": 8})[0])
    assert again is not None
    assert (again.turns, again.last) == ({"R": 7, "S/udp": 8}, False)


def test_turns_are_no_part_of_the_table() -> None:
    leader, heard, follower = Leader(b"leader-1"), TurnsHeard(), Follower()
    (payload,) = leader.turned({"R": 1})
    assert not follower.heard(payload)
    assert not any(heard.heard(each) for each in leader.changed([Record("P/near", 1, 2)]))


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_a_decode_error(data: bytes) -> None:
    heard = TurnsHeard()
    for payload in (data, b"\5" + data):
        try:
            heard.heard(payload)
        except DecodeError:
            continue
