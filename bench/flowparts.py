"""The parts of bench/flows.py: what is claimed, who is measured, how often, and by what."""

from collections.abc import Callable
from dataclasses import dataclass

import beds
import commands
from conntrackd import STATEFUL
from summary import Row

import sessions
from understudy.drill.stage import Population
from understudy.units import MILLISECOND, Duration

ALL = tuple(STATEFUL)
REPLICATING = ("understudy", "conntrackd", "conntrackd-direct")
LATE_MAX: Duration = 50 * MILLISECOND
OURS = ("understudy",)


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault, and who is connected while it comes."""

    fault: str
    population: Population
    preempt: bool = False
    late_max: Duration | None = None
    """How late a probe may be: where losses are judged and no milliseconds, a datagram that left late is not lost."""


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    claim: str
    runs: int
    contenders: tuple[str, ...]
    cases: tuple[str, ...] = ("",)
    strike: Strike | None = None
    bed: Callable[[beds.Bed, str, bool], Row] | None = None
    command: Callable[[str, int, bool], list[Row]] | None = None
    """Of a case and the number of its run: rows."""
    quick_cases: tuple[str, ...] | None = None
    control_runs: int = 5
    """Of the contender that replicates nothing."""


PARTS = (
    Part(
        "survival",
        "2 000 NATed and balanced connections, power loss at 50 ms: 99.9 % survive, 0 resets; control: nothing replicated",
        30,
        ALL,
        strike=Strike("node-power-loss", Population(2000)),
    ),
    Part(
        "idle",
        "the same with 10 000 mostly idle connections and 2 000 idle exchanges of UDP: 99.9 % survive, 0 resets",
        30,
        ALL,
        # Seconds after the take-over conntrackd resyncs so many at the highest priority, in calls of 9 ms that a kernel
        # without preemption does not interrupt: who survived is judged here, milliseconds in `survival`.
        strike=Strike("node-power-loss", Population(10_000, idle_share=0.9, udp=2_000), late_max=LATE_MAX),
    ),
    Part(
        "switchover",
        "1 kHz both ways, 2 000 connections: 0 packets lost in 95 of 100, worst 20; 0 resets",
        100,
        REPLICATING,
        strike=Strike("switchover", Population(2000), late_max=LATE_MAX),
    ),
    Part(
        "return",
        "the node returns and takes over again, 2 000 connections: 0 lost",
        20,
        REPLICATING,
        strike=Strike("node-takes-back", Population(2000), preempt=True, late_max=LATE_MAX),
    ),
    Part(
        "gate",
        "writing slowed by 200 ms: vip_before_state 0 in 200 promotions; control: above 0 with the gate off",
        10,
        OURS,
        ("on", "off"),
        command=commands.gate,
    ),
    Part(
        "truth",
        "the drill's own account at 50 ms: state truth in both kernels, lag, flows unsent, survival",
        3,
        OURS,
        ("power-loss", "power-loss-idle", "switchover", "return", "copy", "none"),
        command=commands.truth,
    ),
    Part(
        "sessions",
        "FTP downloads, SSH sessions and WebSockets through six moves of the pair: none lost, every byte right",
        5,
        OURS,
        tuple(sessions.CASES),
        command=sessions.measure,
    ),
    Part(
        "apply",
        "0 connections lost, 0 packets beyond a switchover, for each kind of change on a live pair",
        5,
        OURS,
        command=commands.apply,
    ),
    Part(
        "lag",
        "event in the active to event in the standby's kernel at 1 000 new connections/s: p50 10 ms, p99 50 ms",
        10,
        ("understudy", "conntrackd-direct"),
        ("1000",),
        bed=beds.lagging,
    ),
    Part(
        "rate",
        "60 000 events/s sustained; CPU of the active per 200 000 events no more than conntrackd's",
        5,
        REPLICATING,
        bed=beds.rate,
    ),
    Part(
        "resync",
        "200 000 entries: promotion at most 20 ms, copied anew in 10 s, idle at most 3 % of a CPU, at most 250 MB a node",
        5,
        REPLICATING,
        ("200000",),
        bed=beds.resync,
        quick_cases=("20000",),
    ),
    Part("overrun", "events lost to both sides agreeing again: at most 3 s", 10, REPLICATING, bed=beds.overrun),
)
