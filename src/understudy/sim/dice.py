"""The scheduler that draws faults from a seed."""

from dataclasses import dataclass, field
from random import Random

from understudy.sim.catalogue import CATALOGUE
from understudy.sim.faults import Fault
from understudy.sim.world import World
from understudy.units import MILLISECOND, SECOND, Duration, NetworkName, NodeName


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
        elif what.targets:
            target = rng.choice(what.targets)
        # From shorter than an interval to longer than every timer, evenly on a logarithmic scale.
        lasts = 0 if what.instant else _round(advertise * 10 ** rng.uniform(-0.5, 2.3))
        lasts = what.lasts or max(lasts, what.lasts_min)
        amount = rng.uniform(*what.amounts)
        amount = _round(amount) if amount >= MILLISECOND else round(amount, 2)
        network = rng.choice(networks) if networks else ""
        return Fault(_round(at), kind, NodeName(node), NetworkName(network), lasts, amount, target)

    def _possible(self, kind: str) -> bool:
        wants = CATALOGUE[kind].wants
        if CATALOGUE[kind].stateful and not self.world.flows.groups:
            return False
        if "server" in wants:
            return bool(self._bindings())
        return "peer" not in wants or all(machine.settings.peers for machine in self.world.machines.values())

    def _bindings(self) -> list[int]:
        return sorted({s.binding for machine in self.world.machines.values() for s in machine.settings.servers})


def _round(duration: float) -> Duration:
    """To milliseconds, as a person would write it."""
    return max(1, round(duration / MILLISECOND)) * MILLISECOND
