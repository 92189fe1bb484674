"""The pair over both families: neighbour discovery by the virtual MAC, the channel over a network of IPv6 alone."""

import signal
import socket
import time

from agent_worlds import ROOT, World, in_lab, other

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (
    (ROOT / "examples" / "dual-stack.yaml")
    .read_text()
    .replace("preempt: true", "preempt: false")
    .replace("advertise: 50ms", "advertise: 400ms")
    .replace("outage: 200ms", "outage: 3s")
)
LEASE_S = 1.2
"""Three intervals: after so long without an advertisement a kernel is silent."""
ADDRESSES = ("203.0.113.10", "2001:db8:1::10")
VIRTUAL_MACS = {"203.0.113.10": "00005e000133", "2001:db8:1::10": "00005e000233"}


@in_lab
def test_the_service_answers_over_both_families(world: World) -> None:
    """And each address is answered for by the virtual MAC of its own family."""
    for address in ADDRESSES:
        assert world.get(address) in ("web1", "web2")
        assert {mac.hex() for mac in world.answers(address)} == {VIRTUAL_MACS[address]}


@in_lab
def test_an_ipv6_only_network_carries_heartbeats(world: World) -> None:
    """With every other cable between the nodes silent, each still hears the other: both know who is Active."""
    node = world.standby()
    before = world.moves()
    for network in ("outside", "inside"):
        world.lab.cut(node, network)
    try:
        world.remains(lambda: world.group(node)["peers"][0]["heard"], 0.5)
        assert world.group(node)["peers"][0]["role"] == "active"
        assert world.moves() == before
    finally:
        for network in ("outside", "inside"):
            world.lab.heal(node, network)


@in_lab
def test_advertisements_over_ipv6_come_from_the_port_and_carry_the_link_local_first(world: World) -> None:
    """RFC 9568, sections 5.1.2.1 and 5.2.9: the source is the sender's link-local address, hop limit 255."""
    node = world.active()
    with world.lab.namespaces["client-outside"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("eth0", 3))
        wire.settimeout(5)
        for _ in range(10_000):
            frame = wire.recv(2048)
            if frame[12:14] == b"\x86\xdd" and frame[20] == 112:
                break
        else:
            raise AssertionError("no advertisement over IPv6 among all frames")
    port = next(port for port in world.lab.topology.host(node).ports if port.network == "outside")
    own = world.run(node, f"ip -6 -brief addr show dev {port.interface} scope link").split()[2].split("/")[0]
    assert socket.inet_ntop(socket.AF_INET6, frame[22:38]) == own
    assert frame[6:12].hex() == VIRTUAL_MACS["2001:db8:1::10"]
    assert frame[21] == 255
    assert frame[62:64] == b"\xfe\x80"
    assert frame[78:94] == socket.inet_pton(socket.AF_INET6, "2001:db8:1::10")


@in_lab
def test_a_switchover_and_a_death_move_both_families_together(world: World) -> None:
    """The new Active holds every address, its link-local one included, and the old one none."""
    world.switch_over()
    held_by_the_active_alone(world)
    old = world.active()
    world.lab.power_off(old)
    world.until(lambda: world.role(other(old)) == "active")
    for address in ADDRESSES:
        world.until(lambda: {mac.hex() for mac in world.answers(address, 0.02)} == {VIRTUAL_MACS[address]})  # noqa: B023
        assert world.get(address)
    world.lab.power_on(old)
    world.until(lambda: world.role(old) == "backup")
    held_by_the_active_alone(world)


def held_by_the_active_alone(world: World) -> None:
    active = world.active()
    addresses = [*ADDRESSES, "10.9.0.254", "2001:db8:9::fe"]
    world.until(lambda: all(f" {address}/" in world.run(active, "ip addr") for address in addresses))
    # The kernel follows the role by a few milliseconds; the lease is revoked before.
    world.until(lambda: not any(f" {address}/" in world.run(other(active), "ip addr") for address in addresses))
    links = [word for word in world.run(active, "ip -brief link").split() if word.startswith("us1") and "v6" in word]
    for link in links:
        assert "fe80::" in world.run(active, f"ip addr show dev {link.split('@')[0]}")


@in_lab
def test_a_frozen_node_answers_no_neighbour_discovery_after_its_lease(world: World) -> None:
    """Silent when its lease is over, in both families."""
    active = world.active()
    for network in ("outside", "inside"):  # so that whoever answers is the frozen one; they still hear each other
        world.lab.cut(other(active), network)
    try:
        assert all(world.answers(address) for address in ADDRESSES)
        world.lab.freeze_agent(active)
        time.sleep(LEASE_S)
        for address in ADDRESSES:
            assert world.answers(address) == set()
    finally:
        world.lab.thaw_agent(active)
        for network in ("outside", "inside"):
            world.lab.heal(other(active), network)


@in_lab
def test_a_killed_core_is_adopted_over_both_families(world: World) -> None:
    """Its successor is there before the lease is over."""
    active = world.active()
    before = world.moves()[other(active)]
    killed = time.monotonic_ns()
    world.signal(active, "core", signal.SIGKILL)
    world.until(lambda: world.events(active, "adopted", killed))
    world.remains(lambda: world.role(other(active)) == "backup", 1.5 * LEASE_S)
    assert world.moves()[other(active)] == before
    for address in ADDRESSES:
        assert world.get(address)
