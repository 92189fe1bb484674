"""The pure choice of a server: even, stable when one dies, and the same everywhere."""

from collections import Counter
from ipaddress import ip_address
from itertools import permutations

import pytest

from understudy.render.choice import (
    SLOTS_FEW,
    SLOTS_MANY,
    jhash,
    maglev,
    pair_count,
    pair_members,
    resolve,
    slot_count,
    slot_of,
    slot_pairs,
)

SEED = 0x12345678


@pytest.mark.parametrize(
    ("key", "seed", "expected"),
    [
        (b"", 0, 0xDEADBEEF),
        # Bob Jenkins' own example for lookup3 (hashlittle), which the kernel's jhash equals on little-endian machines.
        (b"Four score and seven years ago", 0, 0x17770551),
        (b"Four score and seven years ago", 1, 0xCD628161),
    ],
)
def test_jhash_is_bob_jenkins_lookup3(key: bytes, seed: int, expected: int) -> None:
    """Published values, of a key that needs both the mixing and the final rounds."""
    assert jhash(key, seed) == expected


@pytest.mark.parametrize("servers", [2, 3, 8, 40])
def test_shares_are_within_one_per_cent_of_each_other(servers: int) -> None:
    """No server has more than one slot in a hundred above the fair share."""
    slots = slot_count(servers)
    shares = Counter(maglev(servers, slots, SEED)).values()
    assert len(shares) == servers
    assert max(shares) <= slots / servers * 1.01 + 1


def test_many_servers_get_a_bigger_table() -> None:
    """41 servers would have fewer than a hundred slots each in the small one."""
    assert (slot_count(40), slot_count(41)) == (SLOTS_FEW, SLOTS_MANY)


def test_the_table_depends_on_nothing_but_its_arguments() -> None:
    """Equal for equal arguments, whatever was computed in between; different for another seed."""
    before = maglev(5, SLOTS_FEW, SEED)
    maglev.cache_clear()
    assert maglev(5, SLOTS_FEW, SEED) == before
    assert maglev(5, SLOTS_FEW, SEED + 1) != before


@pytest.mark.parametrize("servers", [2, 8, 32])
def test_another_server_takes_its_share_and_moves_little_else(servers: int) -> None:
    """Adding a server at the end moves at most four slots in a hundred between the old ones."""
    before, after = maglev(servers, SLOTS_FEW, SEED), maglev(servers + 1, SLOTS_FEW, SEED)
    moved = sum(old != new != servers for old, new in zip(before, after, strict=True))
    assert moved <= SLOTS_FEW * 0.04


@pytest.mark.parametrize("servers", [2, 3, 8])
def test_a_death_moves_the_dead_servers_slots_only_and_evenly(servers: int) -> None:
    """Every other slot keeps its server, and the survivors share what was left within two per cent of it."""
    pairs = slot_pairs(servers, SLOTS_FEW, SEED)
    everyone = (True,) * servers
    for dead in range(servers):
        up = tuple(position != dead for position in range(servers))
        moves = [(resolve(pair, everyone), resolve(pair, up)) for pair in pairs]
        assert all(old == new for old, new in moves if old != dead)
        heirs = Counter(new for old, new in moves if old == dead)
        assert len(heirs) == servers - 1
        assert max(heirs.values()) - min(heirs.values()) <= 1


@pytest.mark.parametrize("servers", [1, 2, 3, 5])
def test_a_pair_is_two_servers_and_every_two_are_a_pair(servers: int) -> None:
    """Pair numbers run from 0 without gaps; one server is its own pair."""
    members = [pair_members(pair, servers) for pair in range(pair_count(servers))]
    assert sorted(members) == (sorted(permutations(range(servers), 2)) if servers > 1 else [(0, 0)])


def test_a_pair_of_two_dead_servers_goes_to_any_that_lives_and_to_none_if_none_does() -> None:
    """What lives is used in turn, pair by pair."""
    dead = [pair for pair in range(pair_count(4)) if set(pair_members(pair, 4)) == {0, 1}]
    assert {resolve(pair, (False, False, True, True)) for pair in dead} <= {2, 3}
    assert resolve(0, (False,) * 4) is None


def test_a_source_has_its_slot_in_either_family() -> None:
    """Slots are within the table and differ from port to port."""
    for source in ("203.0.113.100", "2001:db8::1"):
        slots = {slot_of(ip_address(source), port, SLOTS_FEW, SEED) for port in range(1024, 2048)}
        assert len(slots) > 850
        assert max(slots) < SLOTS_FEW
