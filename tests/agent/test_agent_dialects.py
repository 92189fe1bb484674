"""Two of our own agents where the network carries no multicast: unicast advertisements, the other form of the checksum.

The lease lives by what leaves the port, so that all which rests on it is told anew here: freezing, adoption, hand-over.
"""

import signal
import time

from agent_worlds import NODES, ROOT, World, in_lab, other
from test_agent_pair import refused

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (
    (ROOT / "examples" / "pair.yaml")
    .read_text()
    .replace("every: 1s", "every: 200ms")
    .replace("outage: 500ms", "outage: 3s")
    .replace("advertise: 100ms", "advertise: 400ms\n    vrrp: {unicast: true, checksum: rfc5798}")
)
ADDRESS = "203.0.113.10"
VIRTUAL_MAC = bytes.fromhex("00005e0001")
LEASE_S = 1.2
"""Three intervals: after so long without an advertisement a kernel is silent, and the peer takes over."""


@in_lab
def test_a_unicast_pair_comes_up_with_exactly_one_active(world: World) -> None:
    """From the virtual MAC, nothing refused on either side, and nobody else on the LAN hears an advertisement."""
    before = refused(world)  # in the first moment both may have taken over at once
    world.remains(lambda: refused(world) == before, 0.5)
    for node in NODES:
        assert world.events(node, "mismatch") == []
    assert world.get(ADDRESS) in ("web1", "web2")
    assert {mac[:5] for mac in world.answers(ADDRESS)} == {VIRTUAL_MAC}
    world.remains(lambda: world.role(world.active()) == "active", 0.5)


@in_lab
def test_a_unicast_switchover_moves_the_group_once(world: World) -> None:
    """As over multicast: the successor is heard, the old Active is quiet, the service goes on."""
    before, old = world.moves(), world.active()
    world.switch_over()
    world.until(lambda: world.moves() == {node: count + 1 for node, count in before.items()})
    assert world.group(other(old))["reason"] == f"handed over by {old}"
    assert world.get(ADDRESS)


@in_lab
def test_a_frozen_unicast_agent_is_silent_when_its_lease_ends(world: World) -> None:
    """The lease is refreshed by unicast advertisements and by nothing else; after its sleep the agent stands down."""
    active = world.active()
    world.lab.freeze_agent(active)
    world.until(lambda: world.role(other(active)) == "active")
    assert len(world.until(lambda: world.answers(ADDRESS))) == 1  # the addresses follow the role
    world.lab.thaw_agent(active)
    world.until(lambda: world.role(active) == "backup")
    assert world.get(ADDRESS)


@in_lab
def test_a_killed_unicast_core_is_followed_by_one_that_goes_on(world: World) -> None:
    """What it must ask anew, the peer's MAC, keeps no advertisement from leaving."""
    active = world.active()
    before, killed = world.moves()[other(active)], time.monotonic_ns()
    world.signal(active, "core", signal.SIGKILL)
    assert world.answers(ADDRESS)
    world.remains(lambda: world.role(other(active)) == "backup", 1.5 * LEASE_S)
    world.until(lambda: world.events(active, "moved", killed))
    assert [event["reason"] for event in world.events(active, "moved", killed)] == ["adopted"]
    assert world.moves()[other(active)] == before


@in_lab
def test_a_unicast_pair_survives_the_death_of_one(world: World) -> None:
    """The machine dies; the other serves, goes on although nobody tells the MAC any more, and gets its standby back."""
    active = world.active()
    world.lab.power_off(active)
    world.until(lambda: world.role(other(active)) == "active")
    world.until(lambda: world.answers(ADDRESS))
    world.remains(lambda: world.answers(ADDRESS) != set(), 1)
    world.lab.power_on(active)
    world.until(lambda: world.role(active) == "backup")
