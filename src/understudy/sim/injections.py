"""How each fault of the catalogue begins in a world.

Each returns what ends it, or None if there was nothing to break.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from understudy.core.events import MaintenanceCommanded, StopCommanded, SwitchoverCommanded
from understudy.sim.attacker import FLOOD_EVERY
from understudy.sim.machine import Process
from understudy.sim.misconfigure import misconfigured
from understudy.units import SECOND, Duration, GroupName, NodeName
from understudy.wire.heartbeat import Role

if TYPE_CHECKING:
    from understudy.sim.faults import Fault, Injector

Undo = Callable[[], None]
FLAPS = 5
REINSTALL: Duration = 2 * SECOND


def power_loss(injector: "Injector", fault: "Fault") -> Undo | None:
    machine = injector.machine(fault)
    return injector.restart(machine) if injector.world.processes.power_off(machine) else None


def node_return(injector: "Injector", fault: "Fault") -> Undo | None:
    """A node that was away for a while comes back into a pair that has settled: that must disturb nothing."""
    machine = injector.machine(fault)
    if not injector.world.processes.power_off(machine):
        return None

    def undo() -> None:
        if not injector.others_go_on() and machine.process is Process.OFF:
            injector.world.checker.returns.returning(machine)
        injector.start(machine)

    return undo


def peer_misconfigured(injector: "Injector", fault: "Fault") -> Undo | None:
    """The node is installed anew by another file, and later by the right one; it is off for a moment each time."""
    world, machine = injector.world, injector.machine(fault)
    if machine.misconfigured or not world.processes.power_off(machine):
        return None
    machine.misconfigure(misconfigured(machine.settings, fault.target))
    world.at(world.now + REINSTALL, injector.start, machine)

    def undo() -> None:
        world.processes.power_off(machine)
        machine.misconfigure(None)
        injector.start(machine)

    return undo


def agent_kill(injector: "Injector", fault: "Fault") -> Undo | None:
    machine = injector.machine(fault)
    return injector.restart(machine) if injector.world.processes.kill(machine) else None


def agent_restart(injector: "Injector", fault: "Fault") -> Undo | None:
    return _nothing if injector.world.processes.kill_core(injector.machine(fault)) else None


def agent_freeze(injector: "Injector", fault: "Fault") -> Undo | None:
    machine = injector.machine(fault)
    return (lambda: injector.world.processes.thaw(machine)) if injector.world.processes.freeze(machine) else None


def stop(injector: "Injector", fault: "Fault") -> Undo | None:
    machine, world = injector.machine(fault), injector.world
    if not world.command(machine, StopCommanded()):
        return None

    def start_again() -> None:
        if machine.process is Process.RUNNING and machine.stopping:
            world.at(world.now + SECOND, start_again)  # it still hands over
        else:
            injector.start(machine)

    return start_again


def link_down(injector: "Injector", fault: "Fault") -> Undo | None:
    world, machine = injector.world, injector.machine(fault)
    port = world.network.ports[fault.node, fault.network]
    up_again = injector.count(port, "down")
    world.set_carrier(machine, fault.network)

    def undo() -> None:
        up_again()
        world.network.changed()
        world.set_carrier(machine, fault.network)

    return undo


def flap(injector: "Injector", fault: "Fault") -> Undo | None:
    """Down and up again, five times, with half of each period down."""
    world, period = injector.world, int(fault.amount)
    now_down: list[Undo] = []

    def down(left: int) -> None:
        if left:
            undo = link_down(injector, fault)
            assert undo is not None
            now_down.append(undo)
            if injector.paths_are_cut():
                world.checker.disturbed()  # a path that is cut and heals again: nobody can tell it from a death
            world.at(world.now + period // 2, up)
            world.at(world.now + period, down, left - 1)

    def up() -> None:
        while now_down:
            now_down.pop()()

    down(FLAPS)
    return up


def link_silent(injector: "Injector", fault: "Fault") -> Undo | None:
    port = injector.world.network.ports[fault.node, fault.network]
    undo_deaf, undo_mute = injector.count(port, "deaf"), injector.count(port, "mute")

    def undo() -> None:
        undo_deaf()
        undo_mute()

    return undo


def one_way(which: str) -> "Callable[[Injector, Fault], Undo | None]":
    def begin(injector: "Injector", fault: "Fault") -> Undo | None:
        return injector.count(injector.world.network.ports[fault.node, fault.network], which)

    return begin


def cut(injector: "Injector", fault: "Fault", *, ways: int, everywhere: bool) -> Undo:
    """The two nodes do not hear each other, though both reach the hosts of the LAN."""
    network = injector.world.network
    other = NodeName(fault.target)
    keys = [
        key
        for name in (network.lans if everywhere else (fault.network,))
        for key in ((name, fault.node, other), (name, other, fault.node))[:ways]
    ]
    for key in keys:
        network.cuts[key] = network.cuts.get(key, 0) + 1
    network.changed()

    def undo() -> None:
        for key in keys:
            network.cuts[key] -= 1

    return undo


def channel_cut(injector: "Injector", fault: "Fault") -> Undo:
    """Heartbeats are dropped both ways on every path; advertisements pass."""
    network = injector.world.network
    keys = ((fault.node, NodeName(fault.target)), (NodeName(fault.target), fault.node))
    for key in keys:
        network.channel_cuts[key] = network.channel_cuts.get(key, 0) + 1

    def undo() -> None:
        for key in keys:
            network.channel_cuts[key] -= 1

    return undo


def forged(injector: "Injector", fault: "Fault") -> Undo:
    return injector.world.attacker.begin(fault.network, fault.target or "anything", int(fault.amount) or FLOOD_EVERY)


def kernel_loses(what: str) -> "Callable[[Injector, Fault], Undo | None]":
    """Repaired by events a moment later: as long as `amount`."""

    def begin(injector: "Injector", fault: "Fault") -> Undo | None:
        world, machine = injector.world, injector.machine(fault)
        if machine.process is not Process.RUNNING:
            return None
        world.note(machine.name, "kernel", f"loses its {what}")
        world.hands.flush(machine)
        world.at(world.now + int(fault.amount), world.hands.repair, machine, machine.life)
        return _nothing

    return begin


def disk_full(injector: "Injector", fault: "Fault") -> Undo | None:
    return injector.count(injector.machine(fault), "disk_full")


def clock_step(injector: "Injector", fault: "Fault") -> Undo | None:
    """The time of day, of which the core knows nothing and an agent's start only takes its epoch, jumps ahead."""
    injector.machine(fault).epoch += int(fault.amount) // SECOND
    return _nothing


def lan(name: str) -> "Callable[[Injector, Fault], Undo | None]":
    """A property of the whole LAN. Loss makes reach a matter of chance: no bound on role changes then."""

    def begin(injector: "Injector", fault: "Fault") -> Undo | None:
        lan = injector.world.network.lans[fault.network]
        injector.world.checker.moves.noisy |= "loss" in name or "corrupt" in name
        return injector.worsen(lan, name, int(fault.amount) if name in ("delay", "jitter") else fault.amount)

    return begin


def slow_kernel(injector: "Injector", fault: "Fault") -> Undo | None:
    return injector.worsen(injector.machine(fault).kernel, "slow", int(fault.amount))


def refusing_kernel(injector: "Injector", fault: "Fault") -> Undo | None:
    return injector.count(injector.machine(fault).kernel, "refuses")


def late_ticks(injector: "Injector", fault: "Fault") -> Undo | None:
    return injector.worsen(injector.machine(fault), "late", int(fault.amount))


def maintenance(injector: "Injector", fault: "Fault") -> Undo | None:
    world, machine = injector.world, injector.machine(fault)
    if not world.command(machine, MaintenanceCommanded(on=True)):
        return None
    return lambda: void(world.command(machine, MaintenanceCommanded(on=False)))


def switchover(injector: "Injector", fault: "Fault") -> Undo | None:
    group = GroupName(fault.target)
    for machine in injector.world.machines.values():
        core = machine.core
        if core is not None and group in core.groups and core.groups[group].role is Role.ACTIVE and machine.running:
            injector.world.command(machine, SwitchoverCommanded(group))
            return _nothing
    return None


def replication(name: str) -> "Callable[[Injector, Fault], Undo | None]":
    """A property of the way between the replicators."""
    return lambda injector, fault: injector.worsen(injector.world.flows, name, fault.amount)


def overrun(injector: "Injector", fault: "Fault") -> Undo:
    """The replicator's event socket overflows all the time."""
    losing, node = injector.world.flows.overrun, fault.node
    losing[node] += 1

    def undo() -> None:
        losing[node] -= 1

    return undo


def slow_writes(injector: "Injector", fault: "Fault") -> Undo:
    """The standby writes each batch so much later."""
    slow, node, amount = injector.world.flows.slow, fault.node, int(fault.amount)
    slow[node] += amount

    def undo() -> None:
        slow[node] -= amount

    return undo


def replicator_freeze(injector: "Injector", fault: "Fault") -> Undo:
    flows, node = injector.world.flows, fault.node
    flows.frozen[node] += 1

    def undo() -> None:
        flows.frozen[node] -= 1
        flows.thaw(injector.machine(fault))

    return undo


def replicator_kill(injector: "Injector", fault: "Fault") -> Undo | None:
    return _nothing if injector.world.flows.kill(injector.machine(fault)) else None


def hosts_down(injector: "Injector", fault: "Fault") -> Undo | None:
    hosts = injector.world.network.hosts_down
    hosts[fault.network] = hosts.get(fault.network, 0) + 1

    def undo() -> None:
        hosts[fault.network] -= 1

    return undo


def server_down(injector: "Injector", fault: "Fault") -> Undo | None:
    binding = int(fault.target)
    injector.world.servers.down.add(binding)
    return lambda: injector.world.servers.down.discard(binding)


def server_flaps(injector: "Injector", fault: "Fault") -> Undo | None:
    flapping, binding = injector.world.servers.flapping, int(fault.target)
    flapping[binding] = fault.amount
    return lambda: void(flapping.pop(binding, None))


def void(_: object) -> None:
    """For the sake of a callable's type."""


def _nothing() -> None:
    """What happens at once has nothing to undo."""
