"""Bounds, objectives and the verdict: each can fail, and says why."""

import pytest
from drill_rows import run_row

from understudy.drill.faults import FAULTS, Timing, by_name
from understudy.drill.judge import Bound, compare, decide, summarise
from understudy.errors import OperatorError
from understudy.units import MILLISECOND

MS = MILLISECOND
TIMING = Timing(interval=100 * MS, skew=int(6.25 * MS))
CRASH = FAULTS["node-power-loss"].bound(TIMING)


@pytest.mark.parametrize(("outage_ms", "fine"), [(201, False), (202, True), (331, True), (332, False)])
def test_a_crash_is_bounded_from_both_sides(outage_ms: float, fine: bool) -> None:
    """2 I + skew less the measuring error, to 3 I + skew and 25 ms: a gap too short puts the measurement in doubt."""
    assert (CRASH.broken_by(run_row(outage_ms=outage_ms)) == []) is fine


def test_a_frozen_agent_has_no_lower_bound() -> None:
    """Its kernel carries traffic until the lease lapses."""
    assert FAULTS["agent-freeze"].bound(TIMING).broken_by(run_row(outage_ms=12.0)) == []


@pytest.mark.parametrize(
    ("fault", "change", "word"),
    [
        ("agent-freeze", {"dual_answer_ms": 2.0}, "two nodes answered"),
        ("agent-restart", {"packets_lost": 1}, "packets lost"),
        ("agent-restart", {"role_changes_by_node": {"gw1": 1}}, "role changes"),
        ("switchover", {"packets_lost": 21}, "packets lost"),
        ("switchover", {"overlap_ms": 20.1}, "hand-over"),
        ("link-down", {"outage_ms": 51.0}, "above the bound"),
        ("link-silent", {"outage_ms": 401.0}, "above the bound"),
        ("both-agents-kill", {"silent_after_ms": 326.0}, "still answered"),
        ("injected-gap", {"outage_ms": 294.0}, "below"),
        ("none", {"packets_lost": 1}, "packets lost"),
        ("node-power-loss", {"recovered": False}, "did not come back"),
    ],
)
def test_every_promise_can_be_broken(fault: str, change: dict[str, object], word: str) -> None:
    """For each row of the table one run that breaks it, and the word that says so."""
    bound = FAULTS[fault].bound(TIMING)
    fine = (bound.outage_min or 0) / MS
    row = run_row(outage_ms=fine, packets_lost=0)
    assert bound.broken_by(row) == []
    assert any(word in sentence for sentence in bound.broken_by({**row, **change}))  # type: ignore[typeddict-item]


def test_percentiles_and_totals_come_from_all_runs() -> None:
    """Thirty runs of 1..30 ms."""
    summary = summarise([run_row(outage_ms=float(n), packets_lost=n) for n in range(1, 31)])
    assert (summary["p50"], summary["p95"], summary["p99"], summary["max"]) == (15, 29, 30, 30)
    assert summary["totals"]["packets_lost"] == 465


def test_an_objective_is_held_against_the_worst_run() -> None:
    """499 ms meets 500 ms; one run of 501 ms among thirty does not."""
    assert compare([("web", 500 * MS)], [run_row(outage_ms=499)])[0]["met"]
    runs = [run_row(outage_ms=300)] * 29 + [run_row(outage_ms=501)]
    missed = compare([("web", 500 * MS)], runs)
    assert (missed[0]["met"], missed[0]["measured_ms"]) == (False, 501)


def test_an_objective_is_not_met_by_nothing() -> None:
    """No run, or one that never came back, proves nothing."""
    assert not compare([("web", 500 * MS)], [])[0]["met"]
    assert not compare([("web", 500 * MS)], [run_row(outage_ms=10, recovered=False)])[0]["met"]


def test_the_verdict_gives_every_reason() -> None:
    """Findings, missing runs and missed objectives, all of them."""
    runs = [run_row(number=1, outage_ms=600, findings=["two nodes answered"])]
    verdict = decide(CRASH, runs, 3, compare([("web", 500 * MS)], runs), wanted=2)
    assert not verdict["passed"]
    assert verdict["reasons"] == [
        "run 1: two nodes answered",
        "only 1 of 2 runs are valid (3 were void)",
        "objective of web: 600 ms measured, 500 ms declared",
    ]


def test_a_drill_without_fault_passes() -> None:
    """Nothing found, all runs there."""
    assert decide(Bound("nothing"), [run_row()], 0, [], wanted=1) == {"passed": True, "reasons": []}


def test_the_median_switchover_may_lose_nothing() -> None:
    """One lossy run of three is allowed, two are not."""
    bound = FAULTS["switchover"].bound(TIMING)
    lossy, whole = run_row(packets_lost=3), run_row(packets_lost=0)
    assert decide(bound, [whole, lossy, whole], 0, [], wanted=3)["passed"]
    assert not decide(bound, [lossy, whole, lossy], 0, [], wanted=3)["passed"]


def test_an_unknown_fault_is_answered_with_all_names() -> None:
    """The operator need not look them up."""
    with pytest.raises(OperatorError) as refused:
        by_name("power-cut")
    assert "node-power-loss" in refused.value.hint
