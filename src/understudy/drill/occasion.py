"""What the drill itself knows about a run: what it struck, whom, and when."""

from collections.abc import Mapping
from dataclasses import dataclass

from understudy.drill.measure import Spell
from understudy.units import MILLISECOND, Duration, Instant

LEAD: Duration = 100 * MILLISECOND
"""The measured window begins this long before the fault: the stream must have been whole."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Of one run."""

    number: int
    phase: float
    group: str
    nodes: tuple[str, ...]
    struck: str
    addresses: frozenset[str]
    """The group's: an answer for a node's own address is nobody's business."""
    network: str | None
    """The LAN that was struck."""
    lane_network: str
    """The LAN whose advertisements the timeline shows."""
    sentence: str
    """What the fault is."""
    downed: Mapping[str, str]
    """What the fault made of whom: node -> `off`, `killed` or `frozen`. Such a node cannot write it down itself."""
    interval: Duration
    fault: Instant
    healed: Instant | None
    """If that was within the measurement."""
    mark: Instant
    """When the drill saw that traffic was whole again (or gave up waiting)."""
    stop: Instant
    recovered: bool
    load_average: float
    injected: Duration | None = None

    @property
    def window(self) -> Spell:
        return Instant(self.fault - LEAD), self.stop

    def after(self, instant: int) -> float:
        """Milliseconds after the fault."""
        return milliseconds(instant - self.fault)


def milliseconds(duration: int) -> float:
    return round(duration / MILLISECOND, 3)
