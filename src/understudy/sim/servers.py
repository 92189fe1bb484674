"""The servers behind the services, as far as health checks see them: a check of each by each node, at its pace."""

from typing import TYPE_CHECKING

from understudy.config.plan import Plan
from understudy.core.events import CheckFinished
from understudy.sim.machine import Machine, Process
from understudy.units import Duration

if TYPE_CHECKING:
    from understudy.sim.world import World


class Servers:
    def __init__(self, world: "World", plan: Plan) -> None:
        self._world = world
        self.down: set[int] = set()
        """Bindings whose server does not answer now."""
        self.flapping: dict[int, float] = {}
        """... or answers with this probability only."""
        self._every = {s.binding: service.check.every for service in plan.services for s in service.servers}
        self._finished = {
            (binding, ok): CheckFinished(binding, ok, "ok" if ok else "no answer")
            for binding in self._every
            for ok in (True, False)
        }

    def begin_checks(self, machine: Machine) -> None:
        """For as long as the present core of the machine lives."""
        world = self._world
        for server in machine.settings.servers:
            every = self._every[server.binding]
            first = world.now + int(world.rng.random() * every)
            world.at(first, self._check, machine, machine.life, server.binding, every)

    def _check(self, machine: Machine, life: int, binding: int, every: Duration) -> None:
        if life != machine.life:
            return
        world = self._world
        if machine.process is Process.RUNNING:
            ok = binding not in self.down
            if binding in self.flapping:
                ok = world.rng.random() < self.flapping[binding]
            world.handle(machine, self._finished[binding, ok])
        world.at(world.now + every, self._check, machine, life, binding, every)
