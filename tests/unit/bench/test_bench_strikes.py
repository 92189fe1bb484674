"""The comparison on real daemons: each contender comes up, carries the probes, and is struck."""

import tempfile
from pathlib import Path

import compare
import pytest
from contenders import CONTENDERS
from injections import FAULTS
from strikes import Stand
from summary import Row

from understudy.config import load_plan
from understudy.lab import sandbox
from understudy.units import MILLISECOND


def freeze_each() -> dict[str, Row]:
    """One frozen daemon a contender, all pairs up at once as in the comparison itself."""
    plan = load_plan(compare.PAIR, 100 * MILLISECOND)
    with tempfile.TemporaryDirectory() as state:
        stands = {}
        for name, contender in CONTENDERS.items():
            stands[name] = Stand(contender, plan, Path(tempfile.mkdtemp(dir=state)))
            stands[name].up()
        rows = {name: stand.strike(FAULTS["agent-freeze"], 0, 0.5) for name, stand in stands.items()}
        for stand in stands.values():
            stand.lab.down()
    return rows


@pytest.mark.usefixtures("peers")
def test_only_understudy_falls_silent_when_it_is_frozen() -> None:
    """The others' kernels go on answering beside the node that took over: the observation can convict."""
    rows = sandbox.run(freeze_each)
    assert all(row["speaker_changes"] >= 1 for row in rows.values())
    assert {name: row["dual_answer_ms"] > 0 for name, row in rows.items()} == {
        name: name != "understudy" for name in CONTENDERS
    }
    assert {name: row["answers_on"] for name, row in rows.items()} == {
        name: name != "understudy" for name in CONTENDERS
    }
    assert all(row["tcp_established"] == 40 for row in rows.values())
