"""`understudy sim`: rehearse the file in the simulator, a thousand times as fast as life, checking what must hold."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.output import CHANGED, OK, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.sim.simulate import Outcome
    from understudy.units import Duration

SCHEMA = "understudy.sim/1"
BAD_OPTION = "E6601"
NOTHING_TO_SIMULATE = "E6602"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sim)


@guarded
def sim(
    file: Annotated[Path, typer.Argument(help="The cluster's file.")] = Path("understudy.yaml"),
    *,
    seeds: Annotated[str, typer.Option(help="How many seeds, from 0; or which: 100-199.")] = "20",
    seconds: Annotated[float, typer.Option(min=1, help="Simulated seconds a seed.")] = 600.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Replay this one and print its trace.")] = None,
    advertise: Annotated[str | None, typer.Option(help="Advertisement interval in place of the file's: 1s.")] = None,
    trace: Annotated[str, typer.Option(help="With --seed: story (what changes) or full (every event).")] = "story",
    json_output: Annotated[Path | None, typer.Option("--json", help="Write the result here; `-` for stdout.")] = None,
) -> None:
    """Simulate the file's nodes under random faults, checking every invariant after every event.

    Exit code 0: everything held; 2: something was violated, with the command that replays it; 1: it could not be run.
    """
    from understudy.config import load_plan
    from understudy.sim.simulate import simulate

    numbers = _numbers(seeds)
    if trace not in ("story", "full"):
        raise OperatorError(BAD_OPTION, f"--trace is story or full, not {trace!r}")
    plan = load_plan(file, _interval(advertise))
    if not plan.groups:
        raise OperatorError(NOTHING_TO_SIMULATE, f"{file} has no redundancy group", "Nothing in it can fail over.")
    outcomes: list[Outcome] = []
    if seed is not None:
        show = None if json_output == Path("-") else lambda line: void(sys.stdout.write(line + "\n"))
        outcomes.append(simulate(plan, seed, seconds, show=show, keep="all" if trace == "full" else "story"))
    else:
        with _Progress(len(numbers)) as progress:
            for number in numbers:
                outcomes.append(simulate(plan, number, seconds))
                progress.tell(outcomes)
    replay = ["understudy", "sim", str(file), "--seconds", f"{seconds:g}"]
    if advertise is not None:
        replay += ["--advertise", advertise]
    result = _summary(outcomes, seconds, replay)
    if json_output is not None:
        text = json.dumps({"schema": SCHEMA, "file": str(file), **result}, indent=2, ensure_ascii=False) + "\n"
        if json_output == Path("-"):
            sys.stdout.write(text)
        else:
            json_output.write_text(text, encoding="utf-8")
    if json_output != Path("-"):
        sys.stdout.write("".join(f"{line}\n" for line in _report(file, outcomes, result)))
    sys.exit(CHANGED if result["violations"] else OK)


def _numbers(text: str) -> range:
    """`20` or `100-199`."""
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise OperatorError(BAD_OPTION, f"--seeds is a number or a range, not {text!r}", "--seeds 20, --seeds 100-199")
    numbers = range(int(first), int(last) + 1) if dash else range(int(first))
    if not numbers:
        raise OperatorError(BAD_OPTION, f"--seeds {text} is no seed at all")
    return numbers


def _interval(text: str | None) -> "Duration | None":
    from understudy.units import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise OperatorError(BAD_OPTION, f"--advertise: {error}") from None


def _summary(outcomes: "list[Outcome]", seconds: float, replay: list[str]) -> dict[str, Any]:
    from understudy.core.decision import TABLE
    from understudy.core.forced import FORCED

    faults: Counter[str] = Counter()
    rows = Counter({row.name: 0 for row in (*TABLE, *FORCED)})
    for outcome in outcomes:
        faults.update(outcome.faults)
        rows.update(outcome.rows)
    simulated_s = sum(outcome.simulated_ns for outcome in outcomes) / 1e9
    wall_s = sum(outcome.wall_s for outcome in outcomes)
    return {
        "seeds": len(outcomes),
        "first_seed": outcomes[0].seed,
        "seconds": seconds,
        "violations": [
            {
                "seed": outcome.seed,
                "invariant": outcome.broken.invariant,
                "at_s": outcome.broken.at_ns / 1e9,
                "message": outcome.broken.message,
                "replay": shlex.join([*replay, "--seed", str(outcome.seed)]),
            }
            for outcome in outcomes
            if outcome.broken is not None
        ],
        "simulated_s": simulated_s,
        "wall_s": wall_s,
        "speed": simulated_s / wall_s if wall_s else 0.0,
        "faults": dict(sorted(faults.items())),
        "rows_walked": dict(rows),
        "role_changes": sum(outcome.role_changes for outcome in outcomes),
        "events": sum(outcome.events for outcome in outcomes),
        "planned_overlap_ms_max": max((outcome.overlap_planned_ns_max for outcome in outcomes), default=0) / 1e6,
        "digests": [f"{outcome.digest:016x}" for outcome in outcomes],
    }


def _report(file: Path, outcomes: "list[Outcome]", result: dict[str, Any]) -> Iterable[str]:
    for outcome, violation in zip(
        [outcome for outcome in outcomes if outcome.broken is not None], result["violations"], strict=True
    ):
        assert outcome.broken is not None
        if len(outcomes) > 1:
            yield from outcome.broken.trace
        yield f"violated: {violation['invariant']} at {violation['at_s']:.6f} s, seed {violation['seed']}"
        yield f"  {violation['message']}"
        yield f"  replay: {violation['replay']}"
        yield ""
    count = len(outcomes)
    what = f"seed {outcomes[0].seed}" if count == 1 else f"{count} seeds"
    yield (
        f"{file}: {what} of {result['seconds']:g} s; {result['simulated_s']:.0f} s simulated "
        f"in {result['wall_s']:.1f} s, {result['speed']:.0f} times as fast as life; {result['events']} events"
    )
    kinds = ", ".join(f"{kind} {number}" for kind, number in result["faults"].items())
    yield f"  faults        {sum(result['faults'].values())}{': ' if kinds else ''}{kinds}"
    walked = sum(times > 0 for times in result["rows_walked"].values())
    yield f"  rows walked   {walked} of {len(result['rows_walked'])} of the decision's table"
    yield f"  role changes  {result['role_changes']}"
    yield f"  overlap       {result['planned_overlap_ms_max']:.1f} ms at most in a hand-over"
    yield f"  digest        {' '.join(result['digests'][:4])}{' ...' if count > 4 else ''}"
    yield f"  violations    {len(result['violations']) or 'none'}"


class _Progress:
    """A line on a terminal, nothing elsewhere."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> "_Progress":
        return self

    def tell(self, outcomes: "list[Outcome]") -> None:
        if self._shown:
            broken = sum(outcome.broken is not None for outcome in outcomes)
            sys.stderr.write(f"\r{len(outcomes)} of {self._seeds} seeds, {broken} violations\x1b[K")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def void(_: object) -> None:
    """For the sake of a callable's type."""
