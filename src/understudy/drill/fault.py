"""A fault as a row of a table: what it does, what heals it, and what physics and protocol then allow.

Faults act on the switch's side of a cable or on processes, never on a gateway's own egress: the gateway must not be
told. With the advertisement interval I and the standby's skew time (256 - priority) / 256 x I (RFC 9568, section
6.1), a crash falls somewhere after the last advertisement, so the take-over comes [2 I + skew, 3 I + skew] after it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from understudy.config.drills import Value
from understudy.config.plan import Group, Plan
from understudy.drill.judge import Bound
from understudy.lab.build import Lab
from understudy.units import SECOND, Duration, Instant, NetworkName, NodeName


@dataclass(frozen=True, slots=True)
class Timing:
    """The group's timers, for bounds."""

    interval: Duration
    skew: Duration
    """Of the standby."""
    gate: Duration = 2 * SECOND
    """How long a promotion may wait for the state."""

    @property
    def takeover_min(self) -> Duration:
        return 2 * self.interval + self.skew

    @property
    def takeover_max(self) -> Duration:
        return 3 * self.interval + self.skew


def timing_of(group: Group) -> Timing:
    """The timers after the worst standby's priority."""
    lowest = min(group.priorities.values())
    return Timing(group.advertise, (256 - lowest) * group.advertise // 256, group.gate_deadline)


class NotSettled(Exception):
    """The pair did not come to rest: one Active, the others standing by, traffic whole, nothing missing."""


class Tool(Protocol):
    """Something made ready before the strike, so that the strike itself takes one instant."""

    def close(self) -> None:
        """Take it away, with whatever it still does."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One occasion: the lab and whom the fault hits."""

    lab: Lab
    group: Group
    active: NodeName
    standby: NodeName
    network: NetworkName
    """The LAN that a link fault strikes: the runs take turns."""
    turn: int = 1
    """The run's number, for faults that take turns."""
    tool: Tool | None = None
    """What `Fault.prepare` made."""
    measures: dict[str, float] = field(default_factory=dict)
    """Figures of this fault alone, for the result: how fast a flood really was, how soon an address was back."""

    @property
    def run_dir(self) -> Path:
        """Of the active."""
        return self.lab.run_dir(self.active)

    @property
    def networks(self) -> list[NetworkName]:
        """The LANs of the group."""
        return list(dict.fromkeys(router.network for router in self.group.routers))

    def node(self, who: object) -> NodeName:
        """`active` or `standby` by name."""
        return self.standby if who == "standby" else self.active


def nothing(_: Strike) -> None:
    """Nothing to prepare or to heal."""


def nothing_more(_: Strike, __: Instant) -> None:
    """The strike was all of it."""


def no_findings(_: Strike) -> list[str]:
    """The probes see all of it."""
    return []


def same_plan(plan: Plan) -> Plan:
    """The file as it is."""
    return plan


def now() -> Instant:
    return Instant(time.monotonic_ns())


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `inject` returns the instant just before the fault came into force."""

    name: str
    sentence: str
    inject: Callable[[Strike], Instant]
    bound: Callable[[Timing], Bound]
    heal: Callable[[Strike], object] = nothing
    heal_after: Callable[[Timing], Duration] | None = None
    """Healed this long after the fault, within the measurement: it lasts, or the pair cannot recover by itself."""
    prepare: Callable[[Strike], Tool | None] = nothing
    """Before the probes: what must be there when the fault strikes."""
    during: Callable[[Strike, Instant], object] = nothing_more
    """Right after the strike, whose instant it is told: what else belongs to it."""
    check: Callable[[Strike], list[str]] = no_findings
    """Once traffic is whole: what the probes cannot see, a sentence for each thing that is wrong."""
    plan: Callable[[Plan], Plan] = same_plan
    """The file as the fault needs it, such as with preemption."""
    lasts: Callable[[Timing], Duration] | None = None
    """Its effects may go on for so long although nothing is healed."""
    alone: bool = False
    """Prepared, one node is left: the drill settles anew, and that one is the active."""
    double: bool = False
    """More than one failure, or one that no pair survives: objectives are shown but not part of the verdict."""
    downs: str = ""
    """What it makes of the struck agent, for the timeline: `off`, `killed` or `frozen`."""
    downs_both: bool = False
    crash: bool = False
    """The struck agent cannot know, so the phase of the advertisement interval matters."""
    on_lan: bool = False
    """Strikes one LAN."""
    waives: bool = False
    """The standby cannot have the state: it may serve without, after its gate's deadline and with a recorded reason."""
    keeps_flows: bool = False
    """It is about flows kept in both kernels: a file that keeps none is taken to replicate them all."""
    control: bool = False
    """Checks the measurement, not the pair."""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """What was set about it."""
