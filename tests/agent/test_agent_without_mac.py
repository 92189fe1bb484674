"""Two of our own agents on ports that speak from their own MAC only: addresses of both families move between ports."""

import signal
import time
from functools import partial

from agent_worlds import NODES, ROOT, World, in_lab, other

# Who serves shall not change in the middle of a story, also on a busy machine: whoever is killed is back in a lease.
TEXT = (
    (ROOT / "examples" / "dual-stack.yaml")
    .read_text()
    .replace("advertise: 50ms", "advertise: 400ms")
    .replace("outage: 200ms", "outage: 3s")
    .replace("every: 500ms, timeout: 250ms", "every: 200ms, timeout: 100ms")
    .replace("preempt: true", "preempt: false\n    vrrp: {virtual_mac: false}")
)
ADDRESS, ADDRESS6 = "203.0.113.10", "2001:db8:1::10"
OPERATORS = "203.0.113.77"
DOWN_S = 1.6
"""Four intervals: after so long a standby that has heard nothing serves, and has said so."""


def mac(world: World, node: str) -> bytes:
    """Of the node's outside port."""
    host = next(each for each in world.lab.topology.hosts if each.name == node)
    return next(port.mac for port in host.ports if port.network == "outside")


def addresses(world: World, node: str) -> str:
    return world.run(node, "ip -o addr show dev eth0")


def gone(world: World, node: str, address: str) -> bool:
    return f"{address}/" not in addresses(world, node)


@in_lab
def test_the_actives_port_carries_the_addresses_and_answers_with_its_own_mac(world: World) -> None:
    """There is no virtual MAC anywhere, and the other node's port holds nothing of the group."""
    active = world.active()
    for address in (ADDRESS, ADDRESS6):
        assert world.answers(address) == {mac(world, active)}
        assert world.get(address) in ("web1", "web2")
        assert not gone(world, active, address)
        assert gone(world, other(active), address)
    assert not any("macvlan" in world.run(node, "ip -d link") for node in NODES)


@in_lab
def test_a_switchover_moves_the_addresses_and_nothing_of_the_operators(world: World) -> None:
    """Both ways; an address that the operator gave to the port stays, and is answered by a Backup as well."""
    operators_node = world.active()
    world.run(operators_node, f"ip addr add {OPERATORS}/32 dev eth0")
    for _ in range(2):
        old = world.active()
        world.switch_over()
        for address in (ADDRESS, ADDRESS6):
            world.until(partial(gone, world, old, address))
            world.until(lambda old=old, address=address: world.answers(address) == {mac(world, other(old))})  # type: ignore[misc]
            world.until(partial(world.get, address))
        assert world.answers(OPERATORS) == {mac(world, operators_node)}
    world.run(operators_node, f"ip addr del {OPERATORS}/32 dev eth0")


@in_lab
def test_a_frozen_node_keeps_its_addresses_and_is_silent(world: World) -> None:
    """The successor alone answers; the frozen node's own address goes on answering."""
    active = world.active()
    own = "203.0.113.1" if active == "gw1" else "203.0.113.2"
    world.lab.freeze_agent(active)
    world.until(lambda: world.role(other(active)) == "active")
    assert not gone(world, active, ADDRESS)
    for address in (ADDRESS, ADDRESS6):
        world.until(lambda address=address: world.answers(address) == {mac(world, other(active))})  # type: ignore[misc]
        world.until(partial(world.get, address))
    assert world.answers(own) == {mac(world, active)}
    world.lab.thaw_agent(active)
    world.until(lambda: world.role(active) == "backup" and gone(world, active, ADDRESS))


@in_lab
def test_a_killed_core_is_followed_by_one_that_adopts_the_addresses(world: World) -> None:
    """Lease and addresses say that the group is held here; nobody else takes it."""
    active, killed = world.active(), time.monotonic_ns()
    world.signal(active, "core", signal.SIGKILL)
    world.remains(lambda: world.role(other(active)) == "backup", DOWN_S)
    world.until(lambda: world.events(active, "moved", killed))
    assert [event["reason"] for event in world.events(active, "moved", killed)] == ["adopted"]
    assert world.answers(ADDRESS) == {mac(world, active)}
