"""What can go wrong: one fault as data, and the injector that makes faults happen and heals them.

The kinds are in sim.catalogue, what each does in sim.injections. A fault has a beginning and an end; faults overlap
freely, what one took away another does not give back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from understudy.core.events import MaintenanceCommanded
from understudy.sim.catalogue import CATALOGUE, PATH_CUTS
from understudy.sim.machine import Machine, Process
from understudy.sim.world import World
from understudy.units import Duration, NetworkName, NodeName, format_duration

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
    """The other node of a cut, the group of a switchover, the binding of a check, what is forged."""

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

    def others_go_on(self) -> bool:
        """Whether another fault is going on than the one that ends now."""
        return bool(self._undo)

    def paths_are_cut(self) -> bool:
        """Whether some path between the nodes is cut: what happens to another one may then cut the last."""
        return any(fault.kind in PATH_CUTS for fault, _ in self._undo.values())

    def schedule(self, fault: Fault) -> None:
        self.world.at(fault.at, self._begin, fault)

    def heal(self) -> None:
        """End everything that still goes on, wake and start everybody, end maintenance."""
        for number in list(self._undo):
            self._end(number)
        for machine in self.world.machines.values():
            self.world.processes.thaw(machine)
            self.start(machine)
        for machine in self.world.machines.values():
            if machine.maintenance or (machine.core is not None and machine.core.standing.maintenance):
                self.world.command(machine, MaintenanceCommanded(on=False))
        self.world.checker.disturbed()

    def _begin(self, fault: Fault) -> None:
        world = self.world
        kind = CATALOGUE[fault.kind]
        world.checker.returns.begins()
        undo = kind.begin(self, fault)
        if undo is None:
            return  # Nothing to break: the node was down already.
        self.injected[fault.kind] = self.injected.get(fault.kind, 0) + 1
        if not kind.harmless:
            world.checker.disturbed()
        world.note(fault.node or NodeName("-"), "fault", f"begins: {fault}")
        self._number += 1
        self._undo[self._number] = (fault, undo)
        world.checker.better.changed()
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
        self.world.checker.better.changed()
        if fault.lasts:
            if not CATALOGUE[fault.kind].harmless:
                self.world.checker.disturbed()
            self.world.note(fault.node or NodeName("-"), "fault", f"ends: {fault}")

    # --- helpers of the injections

    def machine(self, fault: Fault) -> Machine:
        return self.world.machines[fault.node]

    def start(self, machine: Machine) -> None:
        if machine.process is Process.OFF:
            self.world.processes.boot(machine)
        elif machine.process is Process.DEAD:
            self.world.processes.start(machine)

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
        return lambda: self.start(machine)
