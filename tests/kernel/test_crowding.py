"""Pools of `overload` with several addresses, by real packets: one is filled before the next is taken."""

import time
from collections.abc import Callable

from nft_bed import in_sandbox

from understudy.agent import messages
from understudy.agent.children import Children
from understudy.agent.crowding import LOOK_EVERY_S, Crowding
from understudy.agent.journal import JournalSender
from understudy.ios.asking import Clearing
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Step
from understudy.render.ios_overload import crowded_text
from understudy.units import NodeName

LINES = """
interface Ethernet0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat pool P 203.0.113.21 203.0.113.23 prefix-length 24
ip nat inside source list 1 pool P overload
"""
PORTS = 12
"""That count as all of an address's."""


def tried(story: Callable[[Bed, Crowding], None]) -> None:
    def run() -> None:
        bed = Bed(LINES, ())
        crowding: Crowding = bed.run(lambda: Crowding(bed.nat.ladders, children(), crowded=PORTS, flows_min=0))
        crowding.begin()
        try:
            story(bed, crowding)
        finally:
            crowding.close()
            bed.close()

    in_sandbox(run)


def children() -> Children:
    _, journal_out = messages.pair()
    return Children(journal_out, JournalSender(journal_out, NodeName("gw1")))


def looked(crowding: Crowding, now: float) -> list[str]:
    """A look that is due, with its count's end."""
    told, deadline = crowding.look(now), time.monotonic() + 10
    while crowding.counting:
        assert time.monotonic() < deadline
        time.sleep(0.005)
        told += crowding.look(now)
    return told


def leaves_as(bed: Bed, port: int, to: str = "203.0.113.9", protocol: str = "tcp", dport: int = 80) -> str:
    sent = {"src": "10.9.0.5", "sport": port, "dst": to, "dport": dport}
    seen = bed.send(Step(direction="in>out", protocol=protocol, sent=sent, expected={"verdict": "x"}), ())
    return str(seen.fields.get("src", "nobody")).removeprefix("203.0.113.")


def test_the_next_address_serves_a_destination_whose_ports_are_used_up() -> None:
    """And no other one: towards those the first has all its ports."""

    def story(bed: Bed, crowding: Crowding) -> None:
        used = [leaves_as(bed, port) for port in range(2000, 2000 + PORTS)]
        assert used == ["21"] * PORTS
        assert leaves_as(bed, 3000) == "21"  # control: nobody has counted
        (told,) = bed.run(looked, crowding, 1.0)
        assert "203.0.113.22 serves 203.0.113.9:80/tcp" in told
        assert leaves_as(bed, 3001) == "22"
        assert leaves_as(bed, 3002, to="203.0.113.8") == "21"
        assert leaves_as(bed, 3003, protocol="udp") == "21"
        assert leaves_as(bed, 3004, dport=81) == "21"
        assert not bed.run(looked, crowding, 1.0 + LOOK_EVERY_S), "nothing changed"
        used = [leaves_as(bed, port) for port in range(4000, 4000 + PORTS)]
        assert used == ["22"] * PORTS
        (told,) = bed.run(looked, crowding, 1.0 + 2 * LOOK_EVERY_S)
        assert "203.0.113.23 serves" in told
        assert leaves_as(bed, 5000) == "23"

    tried(story)


def test_the_first_address_serves_again_when_it_has_room() -> None:
    def story(bed: Bed, crowding: Crowding) -> None:
        for port in range(2000, 2000 + PORTS):
            leaves_as(bed, port)
        bed.run(looked, crowding, 1.0)
        assert leaves_as(bed, 3000) == "22"
        bed.clear(Clearing())
        (told,) = bed.run(looked, crowding, 1.0 + LOOK_EVERY_S)
        assert "203.0.113.21 serves" in told
        assert leaves_as(bed, 3001) == "21"

    tried(story)


def test_another_process_finds_what_was_crowded() -> None:
    def story(bed: Bed, crowding: Crowding) -> None:
        for port in range(2000, 2000 + PORTS):
            leaves_as(bed, port)
        bed.run(looked, crowding, 1.0)
        crowding.begin()
        assert leaves_as(bed, 3000) == "21"
        assert bed.run(looked, crowding, 1.5)
        assert leaves_as(bed, 3001) == "22"

    tried(story)


def test_with_few_flows_nothing_is_counted() -> None:
    def story(bed: Bed, _: Crowding) -> None:
        crowding: Crowding = bed.run(lambda: Crowding(bed.nat.ladders, children(), crowded=1, flows_min=1000))
        leaves_as(bed, 2000)
        assert not bed.run(looked, crowding, 1.0)
        crowding.close()

    tried(story)


def test_a_map_that_others_emptied_is_filled_again() -> None:
    """As whoever loads another rule set: the next count writes all elements, and what went on goes on."""

    def story(bed: Bed, crowding: Crowding) -> None:
        for port in range(2000, 2000 + PORTS):
            leaves_as(bed, port)
        bed.run(looked, crowding, 1.0)
        assert leaves_as(bed, 3000) == "22"
        bed.nft.run(crowded_text(bed.nat.ladders[0], {}))
        assert leaves_as(bed, 3001) == "21", "control: nobody has looked"
        assert not bed.run(looked, crowding, 1.0 + LOOK_EVERY_S)
        assert leaves_as(bed, 3002) == "22"
        bed.nft.run(crowded_text(bed.nat.ladders[0], {}))
        bed.clear(Clearing())
        (told,) = bed.run(looked, crowding, 1.0 + 2 * LOOK_EVERY_S)
        assert "203.0.113.21 serves" in told
        assert leaves_as(bed, 3003) == "21"

    tried(story)


def test_whoever_looks_does_not_wait_for_the_count() -> None:
    """It is a child's: after a look it is under way, and what it found comes with a later one."""

    def story(bed: Bed, crowding: Crowding) -> None:
        for port in range(2000, 2000 + PORTS):
            leaves_as(bed, port)

        def look() -> list[list[str]]:
            first = crowding.look(1.0)
            assert crowding.counting
            return [first, looked(crowding, 1.0)]

        first, later = bed.run(look)
        assert first == []
        assert len(later) == 1

    tried(story)


def test_a_long_count_is_followed_by_a_long_pause() -> None:
    """One that took ten seconds is not begun again after two."""

    def story(bed: Bed, crowding: Crowding) -> None:
        def look() -> list[bool]:
            crowding.look(1.0)
            deadline = time.monotonic() + 10
            while crowding.counting:
                assert time.monotonic() < deadline
                time.sleep(0.005)
                crowding.look(11.0)
            found = []
            for now in (14.0, 30.9, 31.1):
                crowding.look(now)
                found.append(crowding.counting)
            crowding.begin()
            return found

        assert bed.run(look) == [False, False, True]

    tried(story)
