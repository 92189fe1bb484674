"""What must hold of replicated flows: `state-first`, `one-original` and `replica` of the checker's list.

The tables of the simulated kernels are the truth (sim.flows); what a core was told about them is not asked.
"""

from typing import TYPE_CHECKING

from understudy.core.handover import OFFER_DEADLINE, OVERLAP_MAX
from understudy.sim.flows import SYNCED_WITHIN
from understudy.sim.machine import Machine
from understudy.units import GroupName
from understudy.wire.heartbeat import Phase

if TYPE_CHECKING:
    from understudy.sim.world import World


class Stateful:
    """Told of every change that matters. `judged` counts promotions that had to have the state."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._since: dict[tuple[Machine, GroupName], int] = {}
        """When a machine was last made the original."""
        self._reign_before: dict[tuple[Machine, GroupName], int] = {}
        self._splits: set[GroupName] = set()
        """Where two nodes are originals without a hand-over."""
        self.judged = 0
        self.waived = 0

    def begins_to_answer(self, machine: Machine, group: GroupName) -> None:
        """A kernel begins to answer for a group."""
        world = self._world
        if group not in world.flows.groups or machine.core is None or group not in machine.owns:
            return
        passed = machine.passed_gate.pop(group, None)
        if passed is None or not self._state_was_elsewhere(machine, group):
            return  # It has answered before, in the same reign; or nobody else had anything.
        if passed == "waived":
            self.waived += 1
            return
        self.judged += 1
        missing = world.flows.missing(machine, group)
        if missing and not self._is_split(group):
            raise world.checker.violation(
                "state-first", f"{machine.name} answers for {group} without flows {missing} that it had received"
            )
        if not world.flows.is_complete(machine, group):
            raise world.checker.violation(
                "state-first", f"{machine.name} answers for {group} by a replica that nothing vouches for"
            )

    def owning(self, machine: Machine, group: GroupName, own: bool) -> None:
        world = self._world
        others = [m for m in world.machines.values() if m is not machine and group in m.owns]
        core = machine.core
        if not own:
            self._splits.discard(group)
            return
        if others and core is not None and core.groups[group].phase not in (Phase.TAKING, Phase.TAKEN):
            self._splits.add(group)
        self._reign_before[machine, group] = self._since.get((machine, group), -1)
        self._since[machine, group] = world.now
        for other in others:
            advertise = next(g.advertise for g in machine.settings.groups if g.name == group)
            bound = 8 * advertise + OFFER_DEADLINE + OVERLAP_MAX
            world.at(world.now + bound, self._look_again, group, machine, other, bound)

    def converged(self, group: GroupName, replica: Machine, original: Machine, after: str) -> None:
        """Everything has healed long ago."""
        world = self._world
        if group not in world.flows.groups:
            return
        if not world.flows.is_complete(replica, group):
            raise world.checker.violation("replica", f"{replica.name} does not hold the flows of {group}, {after}")
        differs = world.flows.differs(replica, original, group, world.now - SYNCED_WITHIN)
        if differs and not self._is_split(group):
            raise world.checker.violation(
                "replica", f"flows {differs} of {group} differ between {replica.name} and {original.name}, {after}"
            )

    # --- below

    def _state_was_elsewhere(self, machine: Machine, group: GroupName) -> bool:
        """Another node has served since this one last did, or since its core began, and was heard to."""
        before = max(machine.began_at, self._reign_before.get((machine, group), -1))
        evidence = self._world.network.evidence
        others = (other for other in self._world.machines if other != machine.name)
        return any(evidence[other, machine.name].advertised_at.get(group, -1) > before for other in others)

    def _is_split(self, group: GroupName) -> bool:
        owners = [machine for machine in self._world.machines.values() if group in machine.owns]
        if len(owners) < 2:  # one died
            self._splits.discard(group)
        return group in self._splits

    def _look_again(self, group: GroupName, one: Machine, other: Machine, bound: int) -> None:
        world = self._world
        if not (group in one.owns and group in other.owns and one.running and other.running):
            return
        evidence = world.network.evidence
        networks = tuple(world.network.lans)
        healed = max(
            one.ready_at,
            other.ready_at,
            evidence[one.name, other.name].clean_since(networks),
            evidence[other.name, one.name].clean_since(networks),
        )
        slow = max(m.kernel.slow + m.late for m in (one, other))
        if world.now - healed > bound + 4 * slow:
            raise world.checker.violation(
                "one-original", f"{one.name} and {other.name} both write the flows of {group} since long"
            )
        world.at(world.now + bound, self._look_again, group, one, other, bound)
