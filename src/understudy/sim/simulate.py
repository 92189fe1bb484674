"""One seed from beginning to end: start everybody, break things, heal, demand that all is well, and again."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from understudy.config.plan import Plan
from understudy.sim.checker import Violation, settle_time
from understudy.sim.dice import Dice
from understudy.sim.faults import Injector
from understudy.sim.trace import format_lines
from understudy.sim.world import World
from understudy.units import SECOND


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that did not hold."""

    seed: int
    invariant: str
    at_ns: int
    message: str
    trace: tuple[str, ...]
    """The last lines before it."""


@dataclass(slots=True)
class Outcome:
    """What became of one seed."""

    seed: int
    simulated_ns: int = 0
    wall_s: float = 0.0
    """Wall clock."""
    events: int = 0
    role_changes: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    """How often each row of the decision's table came into force."""
    overlap_planned_ns_max: int = 0
    digest: int = 0
    broken: Broken | None = None


CAUSAL_LINES = 60
"""Of the trace, printed with a violation."""


def simulate(
    plan: Plan, seed: int, seconds: float, *, show: Callable[[str], None] | None = None, **options: Any
) -> Outcome:
    """Run one seed for so many simulated seconds, or until an invariant breaks. `show` receives the trace."""
    outcome = Outcome(seed)
    begun = time.perf_counter()
    world = World(plan, seed, **options)
    injector = Injector(world)
    dice = Dice(world, seed)
    collecting = gc.isenabled()
    gc.disable()  # a tenth of the time, and nothing here leaves cycles behind
    try:
        _rounds(world, injector, dice, round(seconds * SECOND))
    except Violation as violation:
        kept = list(world.trace)[-CAUSAL_LINES:]
        lines = tuple(format_lines(kept))
        outcome.broken = Broken(seed, violation.invariant, violation.at, violation.message, lines)
    finally:
        if collecting:
            gc.enable()
    if show is not None:
        for line in format_lines(world.trace):
            show(line)
    outcome.wall_s = time.perf_counter() - begun
    outcome.simulated_ns = world.now
    outcome.events = world.events
    outcome.role_changes = world.checker.moves.count
    outcome.faults = injector.injected
    outcome.rows = world.processes.rows_walked()
    outcome.overlap_planned_ns_max = world.checker.overlaps.planned_max
    outcome.digest = world.digest & (1 << 64) - 1
    return outcome


def _rounds(world: World, injector: Injector, dice: Dice, end: int) -> None:
    """Rounds of breaking and healing, each ending in the demand that everything works."""
    advertise = max(group.advertise for group in world.plan.groups)
    settle = settle_time(advertise)
    checker = world.checker
    for number, machine in enumerate(world.machines.values()):
        world.at(int(world.rng.random() * 2 * advertise) * number, world.processes.boot, machine)
    first = True
    while world.now < end:
        if not first:
            faults, heal_at = dice.window(world.now, advertise)
            if heal_at + settle > end:
                break
            checker.moves.new_round()
            for fault in faults:
                injector.schedule(fault)
            world.run(heal_at)
            injector.heal()
        first = False
        if world.now + settle > end:
            break
        world.run(world.now + settle)
        checker.converged(faults_over_for=settle)
        checker.moves.calm_from = world.now
        world.run(min(end, world.now + int(world.rng.random() * settle)))
    world.run(end)
