"""A world to break by hand: brought to rest first, with the questions that a story asks of it."""

from dataclasses import dataclass
from typing import Any

from understudy.config.plan import Plan
from understudy.core.effects import Moved
from understudy.sim.faults import Fault, Injector
from understudy.sim.machine import Machine
from understudy.sim.world import World
from understudy.units import MILLISECOND, Duration, GroupName, NetworkName, NodeName
from understudy.wire.heartbeat import Role


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nobody answered for a group."""

    begin: int
    end: int

    @property
    def lasted(self) -> Duration:
        return self.end - self.begin


class Stage:
    """Times are relative to the moment at which all was at rest: one node Active, the other standing by."""

    def __init__(self, plan: Plan, seed: int = 1, **options: Any) -> None:
        options.setdefault("keep", "story")
        self.world = World(plan, seed, **options)
        self.injector = Injector(self.world)
        self.advertise = max(group.advertise for group in plan.groups)
        self.group = plan.groups[0].name
        for number, machine in enumerate(self.world.machines.values()):
            self.world.at(number * 3 * MILLISECOND, self.world.processes.boot, machine)
        # Not a whole number of intervals, and longer than the announcements are repeated.
        self.world.run(60 * self.advertise + 7_013 * MILLISECOND)
        self.begin = self.world.now

    # --- what to do

    def run_for(self, duration: Duration) -> None:
        self.world.run(self.world.now + duration)

    def run_until(self, when: Duration) -> None:
        self.world.run(self.begin + when)

    def break_now(self, kind: str, node: str = "", **details: Any) -> None:
        """One fault of the catalogue, at once."""
        details["network"] = NetworkName(details.get("network", ""))
        self.schedule(Fault(self.world.now, kind, NodeName(node), **details))

    def schedule(self, fault: Fault) -> None:
        self.injector.schedule(fault)
        self.world.run(self.world.now)

    # --- what to ask

    @property
    def now(self) -> int:
        return self.world.now - self.begin

    def machine(self, name: str) -> Machine:
        return self.world.machines[NodeName(name)]

    def active(self, group: GroupName | None = None) -> list[str]:
        """Whose running core says that it is Active."""
        name = group or self.group
        return [
            machine.name
            for machine in self.world.machines.values()
            if machine.core is not None and machine.running and machine.core.groups[name].role is Role.ACTIVE
        ]

    def answering(self, group: GroupName | None = None) -> list[str]:
        """Whose kernel answers."""
        name = group or self.group
        return [machine.name for machine in self.world.machines.values() if machine.kernel.answering.get(name)]

    def moves(self, node: str | None = None) -> list[Moved]:
        """Every change of role since all was at rest."""
        return [
            what
            for at, where, kind, what in self.world.trace
            if kind == "moved" and at >= self.begin and (node is None or where == node)
        ]

    def role_changes(self, node: str) -> int:
        return sum(move.old is not Role.INITIALIZE for move in self.moves(node))

    def gaps(self, group: GroupName | None = None) -> list[Gap]:
        """When nobody answered for the group, since all was at rest; one that still lasts ends now."""
        name = group or self.group
        answering: set[str] = set()
        gaps: list[Gap] = []
        silent_since: int | None = None
        for at, where, kind, what in self.world.trace:
            if kind != "kernel" or not what.startswith(f"{name}: "):
                continue
            (answering.add if what.endswith("answers") else answering.discard)(where)
            if not answering and silent_since is None:
                silent_since = at
            elif answering and silent_since is not None:
                gaps.append(Gap(silent_since - self.begin, at - self.begin))
                silent_since = None
        if silent_since is not None:
            gaps.append(Gap(silent_since - self.begin, self.now))
        return [gap for gap in gaps if gap.end > 0]
