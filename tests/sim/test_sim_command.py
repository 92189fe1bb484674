"""`understudy sim` as a script uses it."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from understudy.cli import sim as command
from understudy.core.handover import Handover

PAIR = str(Path(__file__).parents[2] / "examples" / "pair.yaml")


def run(*arguments: str) -> Any:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_a_run_without_violation_ends_with_0_and_names_its_figures() -> None:
    """The names that scripts rely on."""
    result = run(PAIR, "--seeds", "2", "--seconds", "100", "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["schema"] == "understudy.sim/1"
    assert (document["seeds"], document["violations"], document["simulated_s"]) == (2, [], 200.0)
    assert document["wall_s"] > 0
    assert document["speed"] == document["simulated_s"] / document["wall_s"]
    assert sum(document["faults"].values()) > 0
    assert {"role_changes", "events"} <= set(document)
    assert document["rows_walked"]["serves"] >= 2
    assert document["rows_walked"]["held-down"] == 0


def test_a_violation_ends_with_2_and_its_replay_shows_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command that is printed replays the seed to the same moment, with the trace that led there."""
    monkeypatch.setattr(Handover, "yields_port", property(lambda self: False))
    out = tmp_path / "result.json"
    result = run(PAIR, "--seeds", "6", "--seconds", "300", "--json", str(out))
    assert result.exit_code == 2, result.output
    violation = json.loads(out.read_text())["violations"][0]
    assert violation["invariant"] == "yields-port"
    assert violation["replay"] in result.stdout
    words = violation["replay"].split()
    assert words[:2] == ["understudy", "sim"]
    again = run(*words[2:])
    assert again.exit_code == 2
    assert f"violated: yields-port at {violation['at_s']:.6f} s" in again.stdout
    assert "handover offered" in again.stdout


def test_a_full_trace_holds_every_event() -> None:
    """And a story only what changes."""
    story, full = (run(PAIR, "--seed", "1", "--seconds", "20", "--trace", kind) for kind in ("story", "full"))
    assert "HeartbeatReceived" not in story.stdout
    assert "HeartbeatReceived" in full.stdout
    assert full.stdout.count("\n") > 10 * story.stdout.count("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (PAIR, "--seeds", "some"),
        (PAIR, "--seeds", "9-3"),
        (PAIR, "--advertise", "soon"),
        (PAIR, "--seed", "1", "--trace", "everything"),
        ("/nowhere.yaml",),
    ],
)
def test_what_cannot_be_run_ends_with_1(arguments: tuple[str, ...]) -> None:
    """With a code and a sentence, not a traceback."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_a_part_of_the_seeds_is_the_same_as_in_the_whole() -> None:
    """`--seeds 2-3` runs what `--seeds 4` runs last: a long campaign can be divided and resumed."""
    part, whole = (json.loads(run(PAIR, "--seeds", n, "--seconds", "100", "--json", "-").stdout) for n in ("2-3", "4"))
    assert (part["seeds"], part["first_seed"]) == (2, 2)
    assert part["digests"] == whole["digests"][2:]


def test_another_interval_can_be_rehearsed() -> None:
    """`--advertise` stands in for the file's, and the replay command repeats it."""
    result = run(PAIR, "--seeds", "1", "--seconds", "100", "--advertise", "1s")
    assert result.exit_code == 0
    assert "digest" in result.stdout
