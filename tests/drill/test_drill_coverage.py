"""The campaign of faults: drawn the same again, every kind as often, and told honestly."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from understudy.drill.faults import FAULTS

_SPEC = importlib.util.spec_from_file_location("bench_coverage", Path(__file__).parents[2] / "bench" / "coverage.py")
assert _SPEC is not None
assert _SPEC.loader is not None
coverage: Any = importlib.util.module_from_spec(_SPEC)
"""Any: a script outside of every package."""
sys.modules[_SPEC.name] = coverage  # Its dataclasses look themselves up there.
_SPEC.loader.exec_module(coverage)


def drawn(seed: int, count: int) -> list[Any]:
    kinds = tuple(coverage.KINDS)
    return [injection for block in coverage.campaign(seed, count, kinds) for injection in block.injections]


def test_the_campaign_knows_every_fault_but_the_controls() -> None:
    """A new fault that it forgets fails here; every value that it draws is one that the fault takes.

    Faults of kept flows need a file that keeps some, which the campaign's files do not.
    """
    wanted = {name for name, fault in FAULTS.items() if not fault.control and not fault.keeps_flows}
    assert set(coverage.KINDS) == wanted
    for injection in drawn(3, 230):
        coverage.values_of(injection)


def test_a_seed_draws_the_same_campaign_again_and_every_kind_as_often() -> None:
    """Otherwise it could not be resumed, nor its share believed."""
    assert drawn(1, 100) == drawn(1, 100) != drawn(2, 100)
    assert set(Counter(injection.fault for injection in drawn(1, 230)).values()) == {10}
    assert [injection.number for injection in drawn(1, 50)] == list(range(1, 51))


def test_labs_take_turns_between_families_and_preemption() -> None:
    """Both files, preempting and not, in a campaign of 500."""
    blocks = coverage.campaign(1, 500, tuple(coverage.KINDS))
    assert {(block.file, block.preempt) for block in blocks} == {(f, p) for f in coverage.FILES for p in (True, False)}


def test_void_runs_are_no_success_and_the_rest_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of four rows one failed and one proves nothing: two of three, with the reason."""
    fine = {"number": 1, "fault": "flap", "counts": True, "ended": True, "why": [], "outage_ms": 3.0}
    rows = [
        fine,
        {**fine, "number": 2},
        {**fine, "number": 3, "ended": False, "why": ["4 role changes"]},
        {**fine, "number": 4, "counts": False, "ended": False, "why": ["the asker stalled"]},
    ]
    (tmp_path / coverage.ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = coverage.report(tmp_path)
    assert (summary["runs"], summary["ended"], summary["void"]) == (3, 2, 1)
    assert "1 x flap: 4 role changes" in capsys.readouterr().out
