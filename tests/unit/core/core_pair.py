"""A pair of cores in the simulated world, with every effect written down: the stage for the stories of the core."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config import load_plan
from understudy.core.effects import Effect, SendVrrp
from understudy.core.events import Event
from understudy.core.node import Node
from understudy.sim.stage import Stage
from understudy.units import MILLISECOND, Duration, Instant
from understudy.wire.frame import parse_frame
from understudy.wire.vrrp import decode_packet

PAIR_FILE = Path(__file__).parents[3] / "examples" / "pair.yaml"
INTERVAL: Duration = 100 * MILLISECOND
SKEW: Duration = (256 - 240) * INTERVAL // 256
"""Of gw2, whose priority is 240."""
LATE: Duration = MILLISECOND
"""The simulated scheduler and wire are together later than this never."""
KERNEL: Duration = 10 * MILLISECOND
"""The simulated hands need less to bring the addresses up."""


@dataclass(frozen=True)
class Done:
    """One effect, and the node and the time of it."""

    at: int
    node: str
    effect: Effect


class Pair(Stage):
    """gw1 is Active, gw2 stands by."""

    def __init__(self, seed: int = 1, advertise: Duration = INTERVAL, **options: Any) -> None:
        done: list[Done] = []

        class Recorder(Node):
            def handle(self, now: Instant, event: Event) -> list[Effect]:
                effects = super().handle(now, event)
                done.extend(Done(now, self.settings.name, effect) for effect in effects)
                return effects

        super().__init__(load_plan(PAIR_FILE, advertise), seed, make_node=Recorder, **options)
        self._done = done

    def effects(self, node: str, *kinds: type) -> list[Done]:
        """What a node has done since all was at rest, in order."""
        return [
            done
            for done in self._done
            if done.at >= self.begin and done.node == node and (not kinds or isinstance(done.effect, kinds))
        ]

    def core(self, node: str) -> Node:
        core = self.machine(node).core
        assert core is not None
        return core


def priorities(effects: list[Done]) -> Iterator[int]:
    """Of the advertisements among them."""
    for done in effects:
        if isinstance(done.effect, SendVrrp):
            yield decode_packet(parse_frame(done.effect.frame)).priority
