"""The same seed gives the same trace, byte for byte, whatever else differs."""

import os
import subprocess
import sys
from pathlib import Path

from understudy.config import load_plan
from understudy.sim.simulate import simulate

PAIR = Path(__file__).parents[2] / "examples" / "pair.yaml"


def trace_of(seed: int) -> tuple[int, str]:
    lines: list[str] = []
    outcome = simulate(load_plan(PAIR), seed, 60, show=lines.append, keep="all")
    return outcome.digest, "\n".join(lines)


def test_a_seed_gives_the_same_trace_again() -> None:
    """Text of every event and digest are equal."""
    first, again = trace_of(7), trace_of(7)
    assert first == again
    assert first[1].count("\n") > 5000


def test_another_seed_gives_another_trace() -> None:
    """Otherwise the comparison above would mean nothing."""
    assert trace_of(7)[0] != trace_of(8)[0]


def test_the_trace_does_not_depend_on_the_order_of_sets() -> None:
    """Python hashes text differently in every process; two processes with different hash seeds agree."""
    program = (
        "import sys; from understudy.config import load_plan; from understudy.sim.simulate import simulate\n"
        "outcome = simulate(load_plan(sys.argv[1]), 11, 120); print(outcome.digest, outcome.events)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program, str(PAIR)],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    }
    assert len(answers) == 1


def test_keeping_the_whole_trace_changes_nothing() -> None:
    """What is written down does not reach back into what happens: events and role changes stay."""
    plan = load_plan(PAIR)
    tail, everything = simulate(plan, 5, 120), simulate(plan, 5, 120, keep="all")
    assert (tail.events, tail.role_changes, tail.faults) == (
        everything.events,
        everything.role_changes,
        everything.faults,
    )


def test_looking_at_every_invariant_after_every_event_finds_what_the_flags_find() -> None:
    """Invariants are only looked at where something that they depend on changed; this proves that nothing is missed."""
    plan = load_plan(PAIR)
    for seed in range(6):
        quick, thorough = simulate(plan, seed, 200), simulate(plan, seed, 200, check_all=True)
        assert thorough.broken is None, thorough.broken
        assert (quick.events, quick.digest) == (thorough.events, thorough.digest)
