"""What can go wrong: the catalogue, one injection of each kind, and the scheduler that draws them from a seed.

The names are those of the drill where both can do it, and Jepsen's and Chaos Mesh's habits elsewhere. A fault has a
beginning and an end; faults overlap freely, what one took away another does not give back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from understudy.core.events import MaintenanceCommanded, StopCommanded, SwitchoverCommanded
from understudy.sim.machine import Machine, Process
from understudy.sim.world import World
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, NetworkName, NodeName, format_duration
from understudy.wire.heartbeat import Role

Undo = Callable[[], None]


_NO_NODE = NodeName("")
_NO_NETWORK = NetworkName("")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, when, where and for how long."""

    at: int
    kind: str
    node: NodeName = _NO_NODE
    network: NetworkName = _NO_NETWORK
    lasts: Duration = 0
    amount: float = 0.0
    """A probability, or the nanoseconds of a delay; what it means depends on the kind."""
    target: str = ""
    """The other node of a cut, the group of a switchover, the binding of a check."""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.node, self.network, self.target) if part)
        lasts = f" for {format_duration(self.lasts)}" if self.lasts else ""
        return f"{self.kind} {where}{lasts}".strip()


class Injector:
    """Makes faults happen in a world, and heals them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.injected: dict[str, int] = {}
        self._undo: dict[int, tuple[Fault, Undo]] = {}
        self._worse: dict[tuple[int, str], tuple[float, list[float]]] = {}
        """What an amount usually is, and what the faults that go on make of it."""
        self._number = 0

    def schedule(self, fault: Fault) -> None:
        self.world.at(fault.at, self._begin, fault)

    def heal(self) -> None:
        """End everything that still goes on, wake and start everybody, end maintenance."""
        for number in list(self._undo):
            self._end(number)
        for machine in self.world.machines.values():
            self.world.thaw(machine)
            self._start(machine)
        for machine in self.world.machines.values():
            if machine.maintenance:
                self.world.command(machine, MaintenanceCommanded(on=False))
        self.world.checker.disturbed()

    def _begin(self, fault: Fault) -> None:
        world = self.world
        undo = CATALOGUE[fault.kind].begin(self, fault)
        if undo is None:
            return  # Nothing to break: the node was down already.
        self.injected[fault.kind] = self.injected.get(fault.kind, 0) + 1
        world.checker.disturbed()
        world.note(fault.node or NodeName("-"), "fault", f"begins: {fault}")
        self._number += 1
        self._undo[self._number] = (fault, undo)
        if fault.lasts:
            world.at(world.now + fault.lasts, self._end, self._number)
        else:
            self._end(self._number)

    def _end(self, number: int) -> None:
        if number not in self._undo:
            return
        fault, undo = self._undo.pop(number)
        undo()
        self.world.network.changed()
        if fault.lasts:
            self.world.checker.disturbed()
            self.world.note(fault.node or NodeName("-"), "fault", f"ends: {fault}")

    # --- helpers of the injections

    def machine(self, fault: Fault) -> Machine:
        return self.world.machines[fault.node]

    def _start(self, machine: Machine) -> None:
        if machine.process is Process.OFF:
            self.world.boot(machine)
        elif machine.process is Process.DEAD:
            self.world.start(machine)

    def count(self, holder: Any, name: str) -> Undo:
        """Hold a counter up by one until the fault ends."""
        setattr(holder, name, getattr(holder, name) + 1)
        self.world.network.changed()
        return lambda: setattr(holder, name, getattr(holder, name) - 1)

    def worsen(self, holder: Any, name: str, value: float) -> Undo:
        """Set an amount until the fault ends. Of several at once the worst counts."""
        usual, values = self._worse.setdefault((id(holder), name), (getattr(holder, name), []))
        values.append(value)
        setattr(holder, name, max(values))
        self.world.network.changed()

        def undo() -> None:
            values.remove(value)
            setattr(holder, name, max(values, default=usual))

        return undo

    def restart(self, machine: Machine) -> Undo:
        return lambda: self._start(machine)


def _power_loss(injector: Injector, fault: Fault) -> Undo | None:
    machine = injector.machine(fault)
    return injector.restart(machine) if injector.world.power_off(machine) else None


def _agent_kill(injector: Injector, fault: Fault) -> Undo | None:
    machine = injector.machine(fault)
    return injector.restart(machine) if injector.world.kill(machine) else None


def _agent_restart(injector: Injector, fault: Fault) -> Undo | None:
    return _nothing if injector.world.kill_core(injector.machine(fault)) else None


def _agent_freeze(injector: Injector, fault: Fault) -> Undo | None:
    machine = injector.machine(fault)
    return (lambda: injector.world.thaw(machine)) if injector.world.freeze(machine) else None


def _stop(injector: Injector, fault: Fault) -> Undo | None:
    machine, world = injector.machine(fault), injector.world
    if not world.command(machine, StopCommanded()):
        return None

    def start_again() -> None:
        if machine.process is Process.RUNNING and machine.stopping:
            world.at(world.now + SECOND, start_again)  # it still hands over
        else:
            injector._start(machine)

    return start_again


def _link_down(injector: Injector, fault: Fault) -> Undo | None:
    world, machine = injector.world, injector.machine(fault)
    port = world.network.ports[fault.node, fault.network]
    up_again = injector.count(port, "down")
    world.set_carrier(machine, fault.network)

    def undo() -> None:
        up_again()
        world.network.changed()
        world.set_carrier(machine, fault.network)

    return undo


def _link_silent(injector: Injector, fault: Fault) -> Undo | None:
    port = injector.world.network.ports[fault.node, fault.network]
    undo_deaf, undo_mute = injector.count(port, "deaf"), injector.count(port, "mute")

    def undo() -> None:
        undo_deaf()
        undo_mute()

    return undo


def _one_way(which: str) -> Callable[[Injector, Fault], Undo | None]:
    def begin(injector: Injector, fault: Fault) -> Undo | None:
        return injector.count(injector.world.network.ports[fault.node, fault.network], which)

    return begin


def _cut(injector: Injector, fault: Fault, *, ways: int, everywhere: bool) -> Undo:
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


def _lan(name: str) -> Callable[[Injector, Fault], Undo | None]:
    """A property of the whole LAN. Loss makes reach a matter of chance: no bound on role changes then."""

    def begin(injector: Injector, fault: Fault) -> Undo | None:
        lan = injector.world.network.lans[fault.network]
        injector.world.checker.noisy |= name == "loss"
        return injector.worsen(lan, name, int(fault.amount) if name in ("delay", "jitter") else fault.amount)

    return begin


def _slow_kernel(injector: Injector, fault: Fault) -> Undo | None:
    return injector.worsen(injector.machine(fault).kernel, "slow", int(fault.amount))


def _refusing_kernel(injector: Injector, fault: Fault) -> Undo | None:
    return injector.count(injector.machine(fault).kernel, "refuses")


def _late_ticks(injector: Injector, fault: Fault) -> Undo | None:
    return injector.worsen(injector.machine(fault), "late", int(fault.amount))


def _maintenance(injector: Injector, fault: Fault) -> Undo | None:
    world, machine = injector.world, injector.machine(fault)
    if not world.command(machine, MaintenanceCommanded(on=True)):
        return None
    return lambda: void(world.command(machine, MaintenanceCommanded(on=False)))


def _switchover(injector: Injector, fault: Fault) -> Undo | None:
    group = GroupName(fault.target)
    for machine in injector.world.machines.values():
        core = machine.core
        if core is not None and group in core.groups and core.groups[group].role is Role.ACTIVE and machine.running:
            injector.world.command(machine, SwitchoverCommanded(group))
            return _nothing
    return None


def _hosts_down(injector: Injector, fault: Fault) -> Undo | None:
    hosts = injector.world.network.hosts_down
    hosts[fault.network] = hosts.get(fault.network, 0) + 1

    def undo() -> None:
        hosts[fault.network] -= 1

    return undo


def _server_down(injector: Injector, fault: Fault) -> Undo | None:
    binding = int(fault.target)
    injector.world.servers.down.add(binding)
    return lambda: injector.world.servers.down.discard(binding)


def _server_flaps(injector: Injector, fault: Fault) -> Undo | None:
    flapping, binding = injector.world.servers.flapping, int(fault.target)
    flapping[binding] = fault.amount
    return lambda: void(flapping.pop(binding, None))


def _round(duration: float) -> Duration:
    """To milliseconds, as a person would write it."""
    return max(1, round(duration / MILLISECOND)) * MILLISECOND


def void(_: object) -> None:
    """For the sake of a callable's type."""


def _nothing() -> None:
    """What happens at once has nothing to undo."""


@dataclass(frozen=True, slots=True)
class Kind:
    begin: Callable[[Injector, Fault], Undo | None]
    wants: tuple[str, ...] = ("node",)
    """Which fields it reads: `node`, `network` (a LAN of the node), `lan` (any LAN), `peer`, `group`, `server`."""
    amounts: tuple[float, float] = (0.0, 0.0)
    """Range of the amount; nanoseconds or a probability."""
    instant: bool = False
    weight: int = 2


CATALOGUE: dict[str, Kind] = {
    "node-power-loss": Kind(_power_loss, weight=4),
    "agent-kill": Kind(_agent_kill, weight=4),
    "agent-restart": Kind(_agent_restart, instant=True, weight=3),
    "agent-freeze": Kind(_agent_freeze, weight=5),
    "agent-stop": Kind(_stop),
    "link-down": Kind(_link_down, ("node", "network"), weight=4),
    "link-silent": Kind(_link_silent, ("node", "network"), weight=4),
    "link-deaf": Kind(_one_way("deaf"), ("node", "network")),
    "link-mute": Kind(_one_way("mute"), ("node", "network")),
    "partition": Kind(lambda i, f: _cut(i, f, ways=2, everywhere=True), ("node", "peer")),
    "partition-one-way": Kind(lambda i, f: _cut(i, f, ways=1, everywhere=True), ("node", "peer")),
    "path-cut": Kind(lambda i, f: _cut(i, f, ways=2, everywhere=False), ("node", "peer", "network")),
    "path-cut-one-way": Kind(lambda i, f: _cut(i, f, ways=1, everywhere=False), ("node", "peer", "network")),
    "loss": Kind(_lan("loss"), ("lan",), (0.01, 0.4)),
    "duplication": Kind(_lan("duplicate"), ("lan",), (0.1, 0.9), weight=1),
    "reordering": Kind(_lan("reorder"), ("lan",), (0.1, 0.9), weight=1),
    "delay": Kind(_lan("delay"), ("lan",), (MILLISECOND, 8 * MILLISECOND), weight=1),
    "kernel-slow": Kind(_slow_kernel, amounts=(10 * MILLISECOND, 1500 * MILLISECOND)),
    "kernel-refuses": Kind(_refusing_kernel),
    "ticks-late": Kind(_late_ticks, amounts=(MILLISECOND, 40 * MILLISECOND)),
    "maintenance": Kind(_maintenance, weight=3),
    "switchover": Kind(_switchover, ("group",), instant=True, weight=4),
    "hosts-down": Kind(_hosts_down, ("lan",), weight=1),
    "server-down": Kind(_server_down, ("server",), weight=1),
    "server-flaps": Kind(_server_flaps, ("server",), (0.2, 0.8), weight=1),
}


@dataclass(slots=True)
class Dice:
    """Draws faults for a world from a generator of its own, so that they do not depend on what the world does."""

    world: World
    seed: int
    _rng: Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = Random(self.seed ^ 0x5EED)

    def window(self, begins: int, advertise: Duration) -> tuple[list[Fault], int]:
        """Some faults after `begins`, and when to heal what is left of them."""
        rng = self._rng
        length = int(rng.uniform(40 * advertise, 60 * advertise + 20 * SECOND))
        count = rng.choice((1, 1, 1, 2, 2, 3, 4, 6))
        return [self.fault(begins + int(rng.random() * length), advertise) for _ in range(count)], begins + length

    def fault(self, at: int, advertise: Duration) -> Fault:
        rng, world = self._rng, self.world
        kinds = [kind for kind in CATALOGUE if self._possible(kind)]
        kind = rng.choices(kinds, [CATALOGUE[name].weight for name in kinds])[0]
        what = CATALOGUE[kind]
        names = list(world.machines)
        node = rng.choice(names) if "node" in what.wants else ""
        networks: list[str] = []
        if "network" in what.wants:
            networks = [network for owner, network in world.network.ports if owner == node]
        elif "lan" in what.wants:
            networks = list(dict.fromkeys(network for _, network in world.network.ports))
        target = ""
        if "peer" in what.wants:
            target = rng.choice(world.machines[NodeName(node)].settings.peers).name
        elif "group" in what.wants:
            target = rng.choice(world.plan.groups).name
        elif "server" in what.wants:
            target = str(rng.choice(self._bindings()))
        # From shorter than an interval to longer than every timer, evenly on a logarithmic scale.
        lasts = 0 if what.instant else _round(advertise * 10 ** rng.uniform(-0.5, 2.3))
        amount = rng.uniform(*what.amounts)
        amount = _round(amount) if amount >= MILLISECOND else round(amount, 2)
        network = rng.choice(networks) if networks else ""
        return Fault(_round(at), kind, NodeName(node), NetworkName(network), lasts, amount, target)

    def _possible(self, kind: str) -> bool:
        wants = CATALOGUE[kind].wants
        if "server" in wants:
            return bool(self._bindings())
        return "peer" not in wants or all(machine.settings.peers for machine in self.world.machines.values())

    def _bindings(self) -> list[int]:
        return sorted({s.binding for machine in self.world.machines.values() for s in machine.settings.servers})
