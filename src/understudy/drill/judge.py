"""From runs to a verdict: percentiles, the declared objective beside the measured outage, and the bound that the
fault's physics set.

A verdict never rests on a mean: one run beyond its bound fails the drill, and says which run and by how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.drill.measure import percentile
from understudy.drill.result import BoundJson, ObjectiveJson, PhasesJson, RunJson, SummaryJson, VerdictJson
from understudy.units import MILLISECOND, Duration


@dataclass(frozen=True, slots=True)
class Bound:
    """What a fault may cost. None: not bounded."""

    sentence: str
    outage_min: Duration | None = None
    outage_max: Duration | None = None
    packets_lost_max: int | None = None
    packets_lost_median: int | None = None
    dual_answer_max: Duration | None = 0
    overlap_max: Duration | None = None
    role_changes_max: int | None = None
    """Of any one node."""
    role_changes_min: int | None = None
    """Of the node that changes most: the fault must have had its effect."""
    dual_answer_min: Duration | None = None
    """Likewise."""
    late_max: Duration | None = None
    """How late a probe may be before the run proves nothing, where no milliseconds are judged: a datagram that left
    late is not lost. None: as late as the measurement allows.
    """
    tcp_reset_max: int | None = None
    """New connections that were refused count like established ones that were reset."""
    silent_max: Duration | None = None
    """The struck node's last answer may come this long after the fault."""

    def as_json(self) -> BoundJson:
        return {
            "sentence": self.sentence,
            "outage_min_ms": _ms(self.outage_min),
            "outage_max_ms": _ms(self.outage_max),
            "packets_lost_max": self.packets_lost_max,
            "dual_answer_max_ms": _ms(self.dual_answer_max),
            "overlap_max_ms": _ms(self.overlap_max),
            "role_changes_max": self.role_changes_max,
            "role_changes_min": self.role_changes_min,
            "dual_answer_min_ms": _ms(self.dual_answer_min),
            "tcp_reset_max": self.tcp_reset_max,
        }

    def broken_by(self, run: RunJson) -> list[str]:
        """Sentences, one for each way in which `run` breaks the bound."""
        broken = []
        outage = run["outage_ms"]
        # What a sender was late made a gap longer that was not the pair's; elsewhere it would have voided the run.
        late = run["sender_stall_ms"] if self.late_max is not None else 0.0
        if not run["recovered"]:
            broken.append("traffic did not come back")
        if self.outage_max is not None and outage - late > self.outage_max / MILLISECOND:
            told = f" (its probe was {late:.1f} ms late)" if late else ""
            broken.append(f"outage {outage:.1f} ms{told} is above the bound of {self.outage_max / MILLISECOND:.1f} ms")
        if self.outage_min is not None and outage < self.outage_min / MILLISECOND:
            broken.append(
                f"outage {outage:.1f} ms is below what the protocol's timers allow "
                f"({self.outage_min / MILLISECOND:.1f} ms): the measurement is in doubt"
            )
        if self.packets_lost_max is not None and run["packets_lost"] > self.packets_lost_max:
            broken.append(f"{run['packets_lost']} packets lost, allowed are {self.packets_lost_max}")
        if self.dual_answer_max is not None and run["dual_answer_ms"] > self.dual_answer_max / MILLISECOND:
            broken.append(f"two nodes answered for one address for {run['dual_answer_ms']:.1f} ms")
        if self.overlap_max is not None and run["overlap_ms"] > self.overlap_max / MILLISECOND:
            broken.append(
                f"both nodes answered for {run['overlap_ms']:.1f} ms during the hand-over, "
                f"declared are {self.overlap_max / MILLISECOND:.0f} ms"
            )
        silent = run["silent_after_ms"]
        if self.silent_max is not None and silent is not None and silent > self.silent_max / MILLISECOND:
            broken.append(
                f"{run['struck']} still answered {silent:.1f} ms after the fault, "
                f"allowed are {self.silent_max / MILLISECOND:.1f} ms"
            )
        worst = max(run["role_changes_by_node"].values(), default=0)
        if self.role_changes_max is not None and worst > self.role_changes_max:
            broken.append(f"{worst} role changes on one node, allowed are {self.role_changes_max}")
        if self.role_changes_min is not None and worst < self.role_changes_min:
            broken.append(f"{worst} role changes on any node, {self.role_changes_min} must be")
        if self.dual_answer_min is not None and run["dual_answer_ms"] < self.dual_answer_min / MILLISECOND:
            broken.append(
                f"two nodes answered for {run['dual_answer_ms']:.1f} ms only: the fault did not do what it says"
            )
        resets = run["tcp_reset"] + run["refused_connects"]
        if self.tcp_reset_max is not None and resets > self.tcp_reset_max:
            broken.append(f"{resets} connections were reset or refused, allowed are {self.tcp_reset_max}")
        return broken


def _ms(duration: Duration | None) -> float | None:
    return None if duration is None else round(duration / MILLISECOND, 3)


def summarise(runs: Sequence[RunJson]) -> SummaryJson:
    """Percentiles of the outage by nearest rank, median phases, totals. Zeros without runs."""
    outages = [run["outage_ms"] for run in runs] or [0.0]
    phases: PhasesJson = {
        "detect": _median([run["phases_ms"]["detect"] for run in runs]),
        "decide": _median([run["phases_ms"]["decide"] for run in runs]),
        "move": _median([run["phases_ms"]["move"] for run in runs]),
        "resume": _median([run["phases_ms"]["resume"] for run in runs]),
    }
    return {
        "p50": percentile(outages, 0.5),
        "p95": percentile(outages, 0.95),
        "p99": percentile(outages, 0.99),
        "max": max(outages),
        "min": min(outages),
        "mean": round(sum(outages) / len(outages), 3),
        "phases_ms": phases,
        "totals": {
            "runs": len(runs),
            "packets_sent": sum(run["packets_sent"] for run in runs),
            "packets_lost": sum(run["packets_lost"] for run in runs),
            "packets_duplicated": sum(run["packets_duplicated"] for run in runs),
            "tcp_established": sum(run["tcp_established"] for run in runs),
            "tcp_survived": sum(run["tcp_survived"] for run in runs),
            "tcp_reset": sum(run["tcp_reset"] for run in runs),
            "tcp_stalled": sum(run["tcp_stalled"] for run in runs),
            "connects": sum(run["connects"] for run in runs),
            "refused_connects": sum(run["refused_connects"] for run in runs),
            "timed_out_connects": sum(run["timed_out_connects"] for run in runs),
            "dual_answer_ms": round(sum(run["dual_answer_ms"] for run in runs), 3),
            "role_changes": sum(run["role_changes"] for run in runs),
        },
    }


def _median(values: Sequence[float]) -> float:
    return percentile(values, 0.5) if values else 0.0


def compare(declared: Sequence[tuple[str, Duration]], runs: Sequence[RunJson]) -> list[ObjectiveJson]:
    """Each declared outage beside the worst that was measured. What never came back met nothing."""
    worst = max((run["outage_ms"] for run in runs), default=0.0)
    recovered = all(run["recovered"] for run in runs)
    return [
        {
            "service": service,
            "declared_ms": outage / MILLISECOND,
            "measured_ms": worst,
            "met": bool(runs) and recovered and worst <= outage / MILLISECOND,
        }
        for service, outage in declared
    ]


def decide(
    bound: Bound,
    runs: Sequence[RunJson],
    void: int,
    objectives: Sequence[ObjectiveJson],
    wanted: int,
    *,
    objectives_count: bool = True,
) -> VerdictJson:
    """Whether the drill passed, and every reason why not. What each run broke already stands in its findings."""
    reasons = [f"run {run['number']}: {finding}" for run in runs for finding in run["findings"]]
    if len(runs) < wanted:
        reasons.append(f"only {len(runs)} of {wanted} runs are valid ({void} were void)")
    if bound.packets_lost_median is not None and runs:
        median = percentile([run["packets_lost"] for run in runs], 0.5)
        if median > bound.packets_lost_median:
            reasons.append(f"the median run lost {median:.0f} packets, allowed are {bound.packets_lost_median}")
    reasons += [
        f"objective of {objective['service']}: {objective['measured_ms']:.0f} ms measured, "
        f"{objective['declared_ms']:.0f} ms declared"
        for objective in objectives
        if not objective["met"] and runs and objectives_count
    ]
    return {"passed": not reasons, "reasons": reasons}
