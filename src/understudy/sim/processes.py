"""What the processes of a simulated machine go through: power, cores that begin and end, freezing and thawing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from understudy.core.events import CarrierChanged, LocalAddressLearned, Started, WitnessesLearned
from understudy.core.node import Node
from understudy.core.timers import NEVER
from understudy.sim.machine import Machine, Process
from understudy.units import MILLISECOND, Duration

if TYPE_CHECKING:
    from understudy.sim.world import World

_FORK: Duration = 20 * MILLISECOND
"""From the death of a core to the first event of the next, forked by the supervisor."""


class Processes:
    """Of all machines. What breaks something returns whether there was anything to break."""

    def __init__(self, world: "World", make_node: Callable[..., Node]) -> None:
        self._world = world
        self._make_node = make_node
        self._decided: dict[str, int] = {}
        """By the cores that have ended."""

    def boot(self, machine: Machine) -> None:
        """Power on, agent up. The kernel begins empty."""
        if machine.process is Process.OFF:
            machine.kernel.reset()
            self.start(machine)

    def start(self, machine: Machine) -> None:
        """A core begins, and finds what the kernel holds."""
        world, kernel, settings = self._world, machine.kernel, machine.settings
        held = frozenset(
            group.name
            for group in settings.groups
            if kernel.links_up.get(group.name)
            and kernel.lease_until.get(group.name, -1) > world.now
            and group.name not in kernel.quiet
        )
        machine.life += 1
        machine.epoch += 1
        machine.process = Process.RUNNING
        machine.ready_at = machine.began_at = world.now
        machine.stopping = False
        machine.sequence = -1
        machine.last_sent.clear()
        machine.tick_time, machine.tick_number = NEVER, -1
        machine.core = self._make_node(settings, epoch=machine.epoch, maintenance=machine.maintenance)
        for (_, target), evidence in world.network.evidence.items():
            if target == machine.name:
                evidence.newest_arrived = world.now  # a new core knows that it knows nothing, and has to ask
        world.note(machine.name, "core", f"epoch {machine.epoch} begins" + (" and adopts what is held" if held else ""))
        for (network, family), address in machine.local.items():
            world.handle(machine, LocalAddressLearned(network, family, address))
        for network in machine.core.lans:
            if not world.network.has_carrier(machine.name, network):
                world.handle(machine, CarrierChanged(network, False))
            world.handle(machine, WitnessesLearned(network, (world.hosts[network],)))
        world.handle(machine, Started(held))
        world.flows.core_began(machine)
        inbox, machine.inbox = machine.inbox, []
        for event in inbox:
            world.handle(machine, event)
        world.servers.begin_checks(machine)

    def freeze(self, machine: Machine) -> bool:
        if machine.process is not Process.RUNNING:
            return False
        machine.process = Process.FROZEN
        self._world.note(machine.name, "processes", "frozen")
        return True

    def thaw(self, machine: Machine) -> None:
        """Everything that waited comes at once, and only then the clock is looked at."""
        if machine.process is not Process.FROZEN:
            return
        machine.process = Process.RUNNING
        machine.ready_at = self._world.now
        self._world.note(machine.name, "processes", "go on")
        inbox, machine.inbox = machine.inbox, []
        for event in inbox:
            if machine.process is Process.RUNNING:
                self._world.handle(machine, event)
        self._world.hands.thaw(machine)
        self._world.flows.thaw(machine)
        if machine.process is Process.RUNNING:
            self._world.tick_now(machine)

    def kill_core(self, machine: Machine) -> bool:
        """Only the core dies; its supervisor forks the next one at once."""
        if machine.process is not Process.RUNNING:
            return False
        self.end(machine, Process.STARTING, "core killed")
        self._world.at(self._world.now + _FORK, self._forked, machine, machine.life)
        return True

    def kill(self, machine: Machine) -> bool:
        """All processes of the agent die."""
        if machine.process not in (Process.RUNNING, Process.FROZEN, Process.STARTING):
            return False
        machine.kernel.drop_commands()
        self._world.flows.end(machine)
        self.end(machine, Process.DEAD, "all processes killed")
        return True

    def power_off(self, machine: Machine) -> bool:
        if machine.process is Process.OFF:
            return False
        machine.kernel.reset()
        self._world.flows.end(machine)
        self._world.flows.power_off(machine)
        self.end(machine, Process.OFF, "power lost")
        self._world.hands.look_at_all(machine)
        return True

    def end(self, machine: Machine, process: Process, why: str) -> None:
        """Its core is gone."""
        _add_rows(machine, self._decided)
        machine.process = process
        machine.life += 1
        machine.core = None
        machine.roles.clear()
        machine.offering.clear()
        machine.owns.clear()
        machine.passed_gate.clear()
        machine.stopping = False
        machine.inbox.clear()
        machine.tick_time, machine.tick_number = NEVER, -1
        self._world.note(machine.name, "processes", why)

    def rows_walked(self) -> dict[str, int]:
        """How often each row of the decision's table came into force, and each move without choice was made."""
        walked = dict(self._decided)
        for machine in self._world.machines.values():
            _add_rows(machine, walked)
        return walked

    def _forked(self, machine: Machine, life: int) -> None:
        if machine.process is Process.STARTING and machine.life == life:
            self.start(machine)


def _add_rows(machine: Machine, to: dict[str, int]) -> None:
    if machine.core is not None:
        for group in machine.core.groups.values():
            for name, times in group.record.times.items():
                to[name] = to.get(name, 0) + times
