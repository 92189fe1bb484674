"""Pools of `overload` with several addresses, by real packets: one is filled before the next is taken."""

from collections.abc import Callable

from nft_bed import in_sandbox

from understudy.agent.crowding import LOOK_EVERY_S, Crowding
from understudy.ios.asking import Clearing
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Step

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
        crowding: Crowding = bed.run(lambda: Crowding(bed.nat.ladders, crowded=PORTS, flows_min=0))
        crowding.begin()
        try:
            story(bed, crowding)
        finally:
            crowding.close()
            bed.close()

    in_sandbox(run)


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
        (told,) = bed.run(crowding.look, 1.0)
        assert "203.0.113.22 serves 203.0.113.9:80/tcp" in told
        assert leaves_as(bed, 3001) == "22"
        assert leaves_as(bed, 3002, to="203.0.113.8") == "21"
        assert leaves_as(bed, 3003, protocol="udp") == "21"
        assert leaves_as(bed, 3004, dport=81) == "21"
        assert not bed.run(crowding.look, 1.0 + LOOK_EVERY_S), "nothing changed"
        used = [leaves_as(bed, port) for port in range(4000, 4000 + PORTS)]
        assert used == ["22"] * PORTS
        (told,) = bed.run(crowding.look, 1.0 + 2 * LOOK_EVERY_S)
        assert "203.0.113.23 serves" in told
        assert leaves_as(bed, 5000) == "23"

    tried(story)


def test_the_first_address_serves_again_when_it_has_room() -> None:
    def story(bed: Bed, crowding: Crowding) -> None:
        for port in range(2000, 2000 + PORTS):
            leaves_as(bed, port)
        bed.run(crowding.look, 1.0)
        assert leaves_as(bed, 3000) == "22"
        bed.clear(Clearing())
        (told,) = bed.run(crowding.look, 1.0 + LOOK_EVERY_S)
        assert "203.0.113.21 serves" in told
        assert leaves_as(bed, 3001) == "21"

    tried(story)


def test_another_process_finds_what_was_crowded() -> None:
    def story(bed: Bed, crowding: Crowding) -> None:
        for port in range(2000, 2000 + PORTS):
            leaves_as(bed, port)
        bed.run(crowding.look, 1.0)
        crowding.begin()
        assert leaves_as(bed, 3000) == "21"
        assert bed.run(crowding.look, 1.5)
        assert leaves_as(bed, 3001) == "22"

    tried(story)


def test_with_few_flows_nothing_is_counted() -> None:
    def story(bed: Bed, _: Crowding) -> None:
        crowding: Crowding = bed.run(lambda: Crowding(bed.nat.ladders, crowded=1, flows_min=1000))
        leaves_as(bed, 2000)
        assert not bed.run(crowding.look, 1.0)
        crowding.close()

    tried(story)
