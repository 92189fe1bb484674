"""Whose turn it is in a rotary, in this kernel, by real connections: kept, told, left out, and counted exactly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from nft_bed import in_sandbox

from understudy.agent.turns import TurnKeeper
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Step
from understudy.lab.natrules import ruleset
from understudy.render.ios_turns import turn_listing

LINES = """
interface Ethernet0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 2 permit 203.0.113.80
ip nat pool FARM 10.9.0.11 10.9.0.13 prefix-length 24 type rotary
ip nat inside destination list 2 pool FARM
"""
NAME = "2/FARM"
A, B, C = (int(IPv4Address(f"10.9.0.{n}")) for n in (11, 12, 13))


class World:
    """A router, clients that come one after the other, and a keeper of turns."""

    def __init__(self, bed: Bed) -> None:
        self.bed, self._port = bed, 1000
        self.keeper: TurnKeeper = bed.run(TurnKeeper, bed.nat.rotaries)

    def served(self, count: int) -> str:
        """Last parts of the addresses that so many new connections reach."""
        found = []
        for _ in range(count):
            self._port += 1
            sent = {"src": "198.51.100.9", "sport": self._port, "dst": "203.0.113.80", "dport": 80}
            seen = self.bed.send(Step(direction="out>in", protocol="tcp", sent=sent, expected={"verdict": "x"}), ())
            found.append(str(seen.fields.get("dst", "nobody")).rpartition(".")[2])
        return " ".join(found)

    def again(self) -> None:
        """Another keeper in the place of this one."""
        self.keeper.close()
        self.keeper = self.bed.run(TurnKeeper, self.bed.nat.rotaries)


@contextmanager
def world() -> Iterator[World]:
    bed = Bed(LINES, ())
    made = World(bed)
    try:
        yield made
    finally:
        made.keeper.close()
        bed.close()


def tried(story: Callable[[World], None]) -> None:
    def run() -> None:
        with world() as made:
            story(made)

    in_sandbox(run)


def test_a_load_of_the_rule_set_leaves_the_turn_alone() -> None:
    def story(world: World) -> None:
        assert world.served(2) == "11 12"
        world.bed.nft.apply(ruleset(world.bed.nat))
        assert world.served(2) == "13 11"
        world.bed.nft.restore_rules(ruleset(world.bed.nat))
        assert world.served(1) == "12"
        # Control: a text that is simply loaded begins anew.
        world.bed.nft.run(ruleset(world.bed.nat))
        assert world.served(2) == "11 12"

    tried(story)


def test_a_new_keeper_goes_on_where_the_kernel_stands() -> None:
    def story(world: World) -> None:
        world.served(1)
        world.again()
        assert world.keeper.look() == {NAME: B}
        assert world.served(2) == "12 13"

    tried(story)


def test_who_follows_begins_with_the_turn_that_was_told() -> None:
    """And with what it served itself on top, where it began before it heard."""

    def story(world: World) -> None:
        world.keeper.follow({NAME: C})
        assert world.served(3) == "13 11 12"
        world.keeper.lead()
        world.served(1)
        world.keeper.correct({NAME: A})
        assert world.served(3) == "12 13 11"
        # One that is told what is so already writes nothing.
        before = world.bed.nft.run(turn_listing(world.bed.nat.rotaries[0]))
        world.keeper.correct({NAME: A})
        assert world.bed.nft.run(turn_listing(world.bed.nat.rotaries[0])) == before

    tried(story)


def test_who_stops_leading_says_whose_turn_it_was_at_last() -> None:
    def story(world: World) -> None:
        world.keeper.lead()
        world.served(4)
        assert world.keeper.rest() == {NAME: B}
        world.keeper.follow({NAME: B})  # the other node has served nobody yet
        assert world.keeper.look() == {NAME: B}

    tried(story)


def test_a_server_that_is_not_well_is_left_out_and_told() -> None:
    """The others go on in their sequence; with all of them ill, all have their turns."""

    def story(world: World) -> None:
        world.keeper.lead()
        assert world.served(1) == "11"
        (told,) = world.keeper.leave_out({B})
        assert "10.9.0.12 is left out" in told
        assert world.served(4) == "13 11 13 11"
        (told,) = world.keeper.leave_out(())
        assert "10.9.0.12" in told
        assert "2 were passed over" in told
        assert world.served(3) == "13 11 12"
        world.keeper.leave_out({A, B, C})
        assert world.served(3) == "13 11 12"

    tried(story)


def test_other_servers_begin_with_the_one_whose_turn_it_is() -> None:
    def story(world: World) -> None:
        world.served(1)
        world.bed.enter(
            ("no ip nat pool FARM", "ip nat pool FARM 10.9.0.12 10.9.0.14 prefix-length 24 type rotary"),
        )
        assert world.served(4) == "12 13 14 12"

    tried(story)


def test_a_rule_that_somebody_took_away_is_put_back() -> None:
    def story(world: World) -> None:
        world.served(1)
        world.keeper.look()
        world.bed.nft.run(f"flush chain inet understudy {world.bed.nat.rotaries[0].chain}\n")
        assert world.served(1) != "12"
        world.keeper.look()
        assert world.served(1) == "12"

    tried(story)
