"""Role changes that nothing explains.

forgery    No role changes by an advertisement that the channel contradicts while the channel works.
calm       No role changes while nothing has been wrong for a while.
flap       A node changes its role at most twice for each thing that begins or ends, and a few more times.
"""

from typing import TYPE_CHECKING

from understudy.core.effects import Moved
from understudy.sim.machine import Machine
from understudy.units import MILLISECOND, SECOND, GroupName, NodeName

if TYPE_CHECKING:
    from understudy.sim.world import World

BUDGET_FIRST, BUDGET = 6, 2
"""Changes that need no cause: more at first, as two nodes that start may take some moves to agree."""


class Moves:
    def __init__(self, world: "World") -> None:
        self.count = 0
        self.disturbances = 0
        """Beginnings and ends of faults, and commands, in this round."""
        self.calm_from: int | None = None
        """From here on nothing is wrong any more and everything has settled."""
        self.noisy = False
        """A LAN loses frames: reach may change by chance."""
        self._world = world
        self._budget = BUDGET_FIRST
        self._changes: dict[tuple[NodeName, GroupName], int] = {}
        """In this round."""
        self._advertise = {group.name: group.advertise for group in world.plan.groups}
        self._preempts = {group.name: group.preempt for group in world.plan.groups}

    def new_round(self) -> None:
        """Count role changes and disturbances afresh."""
        self._changes.clear()
        self._budget = BUDGET
        self.disturbances = 0
        self.noisy = False

    def disturbed(self) -> None:
        self.disturbances += 1
        self.calm_from = None

    def moved(self, machine: Machine, effect: Moved) -> None:
        """Not from Initialize, which is no change."""
        world, group = self._world, effect.group
        self.count += 1
        self._judge_forgery(machine, effect)
        if self.calm_from is not None and world.now >= self.calm_from and not self._goes_home(group):
            raise world.checker.violation(
                "calm", f"{machine.name} becomes {effect.new.name} for {group} with nothing wrong: {effect.cause}"
            )
        if self._forged_alone(group):
            return
        key = (machine.name, group)
        self._changes[key] = self._changes.get(key, 0) + 1
        if self._changes[key] > self._budget + 2 * self.disturbances and not self.noisy:
            raise world.checker.violation(
                "flap",
                f"{machine.name} changed its role {self._changes[key]} times, things changed {self.disturbances}",
            )

    def _judge_forgery(self, machine: Machine, effect: Moved) -> None:
        """Who stands down for an advertisement must have had one of a true Active, unless the channel is silent."""
        if effect.row != "outranked-on-a-lan" or machine.core is None or not machine.core.peer.fresh:
            return
        world, group = self._world, effect.group
        heard = [
            world.network.evidence[other.name, machine.name].advertised_at.get(group, -1)
            for other in world.members(group)
            if other is not machine
        ]
        recent = world.now - 2 * self._advertise[group] - 50 * MILLISECOND
        if world.attacker.forged_at > recent > max(heard, default=-1):
            raise world.checker.violation("forgery", f"{machine.name} stands down for {group}: {effect.cause}")

    def _forged_alone(self, group: GroupName) -> bool:
        """A node whose peer is not heard follows RFC 9568, also where a stranger leads it, and the peer follows it."""
        recent = self._world.now - 10 * self._advertise[group] - SECOND
        if self._world.attacker.forged_at < recent:
            return False
        return not all(m.core is not None and m.core.peer.fresh for m in self._world.members(group))

    def _goes_home(self, group: GroupName) -> bool:
        """A hold-down has ended: the node of the higher priority takes back what it had to leave, however late."""
        cores = [machine.core for machine in self._world.members(group)]
        return self._preempts[group] and any(core is not None and core.groups[group].holddown.length for core in cores)
