"""The hands that change the kernels, and the eye on what each kernel answers for.

Orders are carried out one after another and take their time (sim.kernel); a lease ends at its moment, whoever sleeps.
Whether a machine answers is judged anew after anything that it depends on has changed, and the checker is told.
"""

from typing import TYPE_CHECKING

from understudy.core.effects import Quieten, RevokeLease, SetRole
from understudy.core.events import KernelRepaired, Quietened, RoleSet
from understudy.core.timers import NEVER
from understudy.sim.kernel import Command
from understudy.sim.machine import Machine, Process
from understudy.units import MILLISECOND, GroupName, Instant, NetworkName, NodeName
from understudy.wire.heartbeat import Lease

if TYPE_CHECKING:
    from understudy.sim.world import World


class Hands:
    """Of all machines: each machine's own state is in its `kernel`."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._networks: dict[tuple[NodeName, GroupName], tuple[NetworkName, ...]] = {
            (machine.name, group.name): tuple(dict.fromkeys(router.network for router in group.routers))
            for machine in world.machines.values()
            for group in machine.settings.groups
        }

    # --- orders

    def revoke_lease(self, machine: Machine, effect: RevokeLease) -> None:
        ending = machine.kernel.ending
        ending[effect.group] = ending.get(effect.group, 0) + 1
        self._order(machine, Command(effect.group, None, 0, machine.life))

    def quieten(self, machine: Machine, effect: Quieten) -> None:
        if effect.on and effect.token:
            machine.kernel.quiet_ordered_at = self._world.now
        self._order(machine, Command(effect.group, None, effect.token, machine.life, quiet=effect.on))

    def set_role(self, machine: Machine, effect: SetRole) -> None:
        error = "the kernel refused (simulated)" if machine.kernel.refuses else ""
        self._order(machine, Command(effect.group, effect.active, effect.token, machine.life, error))

    def thaw(self, machine: Machine) -> None:
        """What came due while all processes were frozen is done now."""
        commands, machine.kernel.waiting = machine.kernel.waiting, []
        for command in commands:
            self._done(machine, command, machine.kernel.hands)

    def flush(self, machine: Machine) -> None:
        """Somebody's command takes our rules or addresses away, and with the rules every lease."""
        machine.kernel.missing += 1
        machine.kernel.lease_until.clear()
        self.look_at_all(machine)

    def repair(self, machine: Machine, life: int) -> None:
        """The hands have put back what was missing; whoever sleeps repairs when he wakes."""
        kernel, world = machine.kernel, self._world
        if machine.process is Process.FROZEN:
            world.at(world.now + 5 * MILLISECOND, self.repair, machine, life)
        elif kernel.missing:
            kernel.missing = 0
            kernel.repaired_at = world.now
            world.arrive(machine, KernelRepaired(), -1)

    # --- what the kernel answers for

    def refresh(self, machine: Machine, group: GroupName, lease: Lease) -> None:
        """An advertisement leaves the port: the lease begins anew."""
        kernel, world = machine.kernel, self._world
        if kernel.missing:
            return
        kernel.refreshed_at[group] = world.now
        until = kernel.lease_until[group] = world.now + machine.lease_lengths[group, lease]
        if not kernel.answering.get(group):
            self.look(machine, group)
        if until < kernel.watched_until.get(group, NEVER):
            kernel.watched_until[group] = until
            world.at(until, self._expire, machine, group)

    def look(self, machine: Machine, group: GroupName) -> None:
        """Judge anew whether the machine answers for the group, after anything that it depends on has changed."""
        kernel = machine.kernel
        answers = self.answers(machine, group)
        if answers != kernel.answering.get(group, False):
            kernel.answering[group] = answers
            self._world.note(machine.name, "kernel", f"{group}: {'answers' if answers else 'is silent'}")
            self._world.checker.answering(machine, group, answers)

    def look_at_all(self, machine: Machine) -> None:
        for group in machine.settings.groups:
            self.look(machine, group.name)

    def answers(self, machine: Machine, group: GroupName) -> bool:
        """Links up, lease alive, and a port that works."""
        kernel, network = machine.kernel, self._world.network
        return bool(
            kernel.links_up.get(group)
            and group not in kernel.quiet
            and not kernel.missing
            and kernel.lease_until.get(group, -1) > self._world.now
            and machine.process is not Process.OFF
            and any(network.has_carrier(machine.name, name) for name in self._networks[machine.name, group])
        )

    # --- below

    def _order(self, machine: Machine, command: Command) -> None:
        """After all that the hands have to do already."""
        kernel, world = machine.kernel, self._world
        world.at(kernel.schedule(Instant(world.now), world.rng), self._done, machine, command, kernel.hands)

    def _done(self, machine: Machine, command: Command, hands: int) -> None:
        kernel = machine.kernel
        if hands != kernel.hands:
            return
        if machine.process is Process.FROZEN:
            kernel.waiting.append(command)
            return
        if command.quiet is not None:
            (kernel.quiet.add if command.quiet else kernel.quiet.discard)(command.group)
        elif command.active is None:
            kernel.lease_until.pop(command.group, None)
            kernel.ending[command.group] -= 1
        elif not command.error:
            kernel.links_up[command.group] = command.active
            if command.active:
                kernel.quiet.discard(command.group)
        self.look(machine, command.group)
        if command.active is not None:
            event = RoleSet(command.group, command.active, command.token, command.error)
            self._world.arrive(machine, event, command.life)
        elif command.quiet is not None and command.token:
            self._world.arrive(machine, Quietened(command.group, command.token), command.life)

    def _expire(self, machine: Machine, group: GroupName) -> None:
        """Look at the lease's end. Refreshes since then put it off: there is one look a lease, not one a refresh."""
        kernel, world = machine.kernel, self._world
        if kernel.watched_until.get(group) != world.now:
            return
        until = kernel.lease_until.get(group, -1)
        if until > world.now:
            kernel.watched_until[group] = until
            world.at(until, self._expire, machine, group)
            return
        del kernel.watched_until[group]
        self.look(machine, group)
