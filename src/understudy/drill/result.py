"""The shape of a drill's result: `schema: understudy.drill/1`. The terminal, the HTML page and scripts all read this
one document.

Lengths are milliseconds (float), instants are milliseconds after the fault.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

SCHEMA = "understudy.drill/1"


class PhasesJson(TypedDict):
    detect: float
    decide: float
    move: float
    resume: float


def phase_lengths(phases: PhasesJson) -> list[tuple[str, float]]:
    """Name and length in ms, in the order of time."""
    return [
        ("detect", phases["detect"]),
        ("decide", phases["decide"]),
        ("move", phases["move"]),
        ("resume", phases["resume"]),
    ]


class EventJson(TypedDict):
    t_ms: float
    node: str
    kind: str
    text: str
    """One line for people: what happened and why."""
    details: dict[str, Any]
    """As the node's journal has them: any JSON."""


class BandJson(TypedDict):
    start_ms: float
    end_ms: float
    value: str


class LaneJson(TypedDict):
    """What one node did and said, for the timeline."""

    roles: list[BandJson]
    lease: list[BandJson]
    advertisements_ms: list[float]
    announcements_ms: list[float]
    answers: list[BandJson]


class StripJson(TypedDict):
    """One direction of datagrams: where nothing arrived."""

    direction: str
    silences: list[BandJson]
    outage_ms: float
    packets_sent: int
    packets_lost: int


class TraceJson(TypedDict):
    start_ms: float
    end_ms: float
    lanes: dict[str, LaneJson]
    strips: list[StripJson]


class DecisionJson(TypedDict):
    t_ms: float
    node: str
    row: str
    """Name of the row, where the journal says it; otherwise the reason that it gives."""


class StateJson(TypedDict, total=False):
    """What became of kept flows, judged by the harness. There only if the file keeps flows, or `--state` was given."""

    vip_before_state: int | None
    """Flows that the new Active had received, or could still have had from its peer, and that were not in its kernel
    when it first answered for an address. Must be 0.
    """
    flows_unsent: int | None
    """Flows in the struck node's kernel at the cut of which nothing had left it."""
    sync_lag_ms: float | None
    """Median, from a flow's first word in the active's kernel to its copy in the standby's; None without new flows."""
    sync_lag_p99_ms: float | None
    sync_lag_max_ms: float | None
    sync_lag_flows: int
    """How many flows these are of."""
    flows_active: int | None
    """Kept flows in the active's kernel right before the fault, half-open ones left out."""
    flows_standby: int | None
    flows_mismatched: int | None
    """Of the replicated ones, how many were not the same in both kernels then."""
    udp_established: int
    udp_survived: int
    """Idle exchanges of datagrams (`--udp`) that were known from outside again, under the address of before."""
    tcp_corrupted: int
    """Of the connections counted as reset: these brought other bytes than they had to."""


class RunJson(StateJson):
    number: int
    phase: float
    """Where in the advertisement interval the fault struck, 0-1, by the last advertisement seen at the node's port."""
    phase_wanted: float
    struck: str
    """The node that was Active when the fault struck."""
    network: str | None
    """The LAN that was struck, if the fault strikes one."""
    recovered: bool
    outage_ms: float
    outage_bound_ms: list[float | None]
    """[least, most] that this run was allowed: it depends on which node stood by."""
    phases_ms: PhasesJson
    packets_sent: int
    packets_lost: int
    packets_duplicated: int
    packets_reordered: int
    tcp_established: int
    tcp_survived: int
    tcp_reset: int
    tcp_stalled: int
    tcp_by_path: dict[str, dict[str, int]]
    connects: int
    refused_connects: int
    timed_out_connects: int
    connect_ms_max: float
    dual_answer_ms: float
    overlap_ms: float
    silent_after_ms: float | None
    """When the struck node answered last; None if it never answered after the fault."""
    role_changes: int
    role_changes_by_node: dict[str, int]
    findings: list[str]
    """What this run got wrong, in sentences."""
    load_average: float
    prober_cpu: float
    prober_realtime: bool
    sender_stall_ms: float
    flow_stall_ms: float
    """The TCP probe's lateness: it voids nothing, what waited counts from its schedule."""
    injected_ms: float | None
    """Length of the gap that the control injected."""
    events: list[EventJson]
    trace: TraceJson
    measures: NotRequired[dict[str, float]]
    """Figures of this fault alone, such as the rate of a flood or how soon an address was back."""
    decisions: NotRequired[list[DecisionJson]]
    """Which rows of the decision's table moved whom."""


@dataclass(frozen=True, slots=True)
class Void:
    """A run that proves nothing: a probe was late, or the pair never came to rest."""

    number: int
    reason: str


class VoidJson(TypedDict):
    number: int
    reason: str


class BoundJson(TypedDict):
    sentence: str
    outage_min_ms: float | None
    outage_max_ms: float | None
    packets_lost_max: int | None
    dual_answer_max_ms: float | None
    overlap_max_ms: float | None
    role_changes_max: int | None
    role_changes_min: NotRequired[int | None]
    dual_answer_min_ms: NotRequired[float | None]
    tcp_reset_max: NotRequired[int | None]


class SummaryJson(TypedDict):
    p50: float
    p95: float
    p99: float
    max: float
    min: float
    mean: float
    phases_ms: PhasesJson
    """Median of each phase."""
    totals: dict[str, float]


class ObjectiveJson(TypedDict):
    service: str
    declared_ms: float
    measured_ms: float
    """The worst run."""
    met: bool


class VerdictJson(TypedDict):
    passed: bool
    reasons: list[str]


class DrillJson(TypedDict):
    schema: str
    fault: str
    sentence: str
    file: str
    cluster: str
    started: str
    version: str
    kernel: str
    advertise_ms: float
    skew_ms: float
    seed: int
    lease: bool
    gate: NotRequired[bool]
    """False in the control without the state gate."""
    state: NotRequired[str]
    """What `--state` set for every service and NAT rule; `as-is`: what the file says."""
    sync_delay_ms: NotRequired[float]
    """How long each write of replicated flows was held back on purpose."""
    population: NotRequired[dict[str, float]]
    """Connections, the share of idle ones, idle exchanges of datagrams, new connections a second."""
    parameters: NotRequired[dict[str, str]]
    """What was set about the fault, as one would write it."""
    interrupted: bool
    runs: list[RunJson]
    void: list[VoidJson]
    bound: BoundJson
    summary: SummaryJson
    objectives: list[ObjectiveJson]
    verdict: VerdictJson


def spell_parameters(drill: DrillJson) -> str:
    """`share=30%, duration=5s`."""
    return ", ".join(f"{name}={value}" for name, value in drill.get("parameters", {}).items())


def rows_that_decided(drill: DrillJson) -> list[tuple[str, int]]:
    """Which rows of the decision's table moved a node, and how often in all runs; the most frequent first."""
    rows = Counter(decision["row"] for run in drill["runs"] for decision in run.get("decisions", []))
    return rows.most_common()


def median_run(drill: DrillJson) -> RunJson | None:
    """The run whose outage is the median, by nearest rank: a run that really happened, not an average of several."""
    ranked = sorted(drill["runs"], key=lambda run: run["outage_ms"])
    return ranked[(len(ranked) - 1) // 2] if ranked else None
