"""`node-return`: a node that only returns changes no role and lets nobody wait; with preemption, each node's once.

Watched from the moment at which a node comes back with nothing else wrong, until something else begins.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from understudy.sim.machine import Machine
from understudy.units import SECOND, GroupName, NodeName
from understudy.wire.heartbeat import Role

if TYPE_CHECKING:
    from understudy.sim.world import World


@dataclass(slots=True)
class _Return:
    """A node is back, and how often whose role has changed since."""

    node: NodeName
    changes: dict[tuple[NodeName, GroupName], int] = field(default_factory=dict)


class Returns:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._watched: _Return | None = None
        self._disturbed_at = 0
        groups = world.plan.groups
        self._settled_after = 4 * SECOND + 20 * max((group.advertise for group in groups), default=0)
        self._first = {group.name: max(group.nodes, key=group.priorities.__getitem__) for group in groups}
        self._preempts = {group.name: group.preempt for group in groups}

    def returning(self, machine: Machine) -> None:
        """A node comes back, and nothing else is wrong."""
        world = self._world
        if world.now - self._disturbed_at < self._settled_after:
            return
        for group in self._first:
            others = [m for m in world.members(group) if m is not machine]
            if not all(
                m.running and m.roles.get(group) is Role.ACTIVE and m.kernel.answering.get(group) for m in others
            ):
                return
            if any(m.kernel.busy_until > world.now for m in others):
                return
        # What ends it is told after this: the end of the very fault.
        world.at(world.now, self._watch, _Return(machine.name))

    def _watch(self, watched: _Return) -> None:
        self._watched = watched

    def disturbed(self) -> None:
        """A fault has begun or ended, or a command was given."""
        self._watched = None
        self._disturbed_at = self._world.now

    def begins(self) -> None:
        """Something is about to be broken: no longer only a node's return."""
        self._watched = None

    def nobody_answers(self, group: GroupName) -> None:
        if self._watched is not None:
            raise self._world.checker.violation(
                "node-return", f"nobody answers for {group} since {self._watched.node} is back"
            )

    def moved(self, machine: Machine, group: GroupName) -> None:
        watched = self._watched
        if watched is None:
            return
        key = (machine.name, group)
        watched.changes[key] = watched.changes.get(key, 0) + 1
        wanted = 1 if self._preempts[group] and self._first[group] == watched.node else 0
        if watched.changes[key] > wanted:
            raise self._world.checker.violation(
                "node-return", f"{machine.name} changes its role for {group}: {watched.node} returned"
            )
