"""Strike Understudy, keepalived and FRR side by side, with the same faults, and keep every row.

    python bench/compare.py RESULTS_DIR [--intervals 1s,100ms,50ms] [--faults ...] [--runs 60] [--contenders ...]
    python bench/compare.py --quick RESULTS_DIR     # 3 runs of the main series, about 3 minutes
    python bench/compare.py --summary RESULTS_DIR   # only summary.json, from the rows

Rows go to RESULTS_DIR/compare.jsonl, one JSON object a line, as soon as they are measured. Interrupt and start it again
as you like: what has its row is not measured again. When all is there (or with --summary) summary.json is written; and
`bench/report.py RESULTS_DIR` makes the page.

The labs of all contenders are up at the same time, one of them is struck at a time, and the order is shuffled over
contenders and faults, so that whatever drifts on this machine drifts for all. The number of a run fixes its phase in
the advertisement interval: the phases are stratified and the same for every contender.

It needs root (or user namespaces), and the daemons in `.peers/` (scripts/peers).
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contenders import CONTENDERS, peers
from injections import FAULTS
from resumable import carried_out, rows_of
from run import machine
from strikes import Stand, Unrest
from summary import Row, write_summary
from turn import turn

from understudy.config import load_plan
from understudy.drill.measure import stratified_phases
from understudy.errors import EnvironmentFailure
from understudy.lab import sandbox
from understudy.units import MILLISECOND

ROOT = Path(__file__).resolve().parents[1]
PAIR = ROOT / "examples/pair.yaml"
VOID_RETRIES = 3
ROWS = "compare.jsonl"


@dataclass(frozen=True, slots=True)
class Series:
    """One fault at one interval, `runs` times for each contender."""

    fault: str
    advertise_ms: int
    runs: int


SERIES = (
    Series("node-power-loss", 1000, 60),
    Series("node-power-loss", 100, 60),
    Series("node-power-loss", 50, 60),
    Series("agent-freeze", 100, 60),
    Series("agent-kill", 100, 60),
    Series("agent-freeze", 50, 20),
    Series("agent-kill", 50, 20),
    Series("link-down", 100, 20),
    Series("link-silent", 100, 20),
    Series("switchover", 100, 20),
    Series("node-return", 100, 20),
    Series("none", 100, 10),
)
QUICK = (
    *(Series("node-power-loss", interval, 3) for interval in (1000, 100, 50)),
    *(Series(fault, 100, 3) for fault in ("agent-freeze", "agent-kill", "switchover")),
)


@dataclass(frozen=True, slots=True)
class Run:
    contender: str
    series: Series
    number: int
    phase: float

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """What a row says about itself. The size of the series is part of it: it decides the phases."""
        return self.contender, self.series.fault, self.series.advertise_ms, self.series.runs, self.number


def plan_runs(series: Iterable[Series], contenders: Sequence[str], seed: int) -> dict[int, list[Run]]:
    """By interval, in the order in which to do them: shuffled, and the same on every start."""
    by_interval: dict[int, list[Run]] = {}
    for each in series:
        own = int.from_bytes(hashlib.sha256(f"{seed} {each.fault} {each.advertise_ms}".encode()).digest()[:4])
        for number, phase in enumerate(stratified_phases(each.runs, own)):
            for name in contenders:
                if each.fault != "switchover" or CONTENDERS[name].switch_over is not None:
                    by_interval.setdefault(each.advertise_ms, []).append(Run(name, each, number, phase))
    for interval, runs in by_interval.items():
        random.Random(seed * 1000 + interval).shuffle(runs)
    return by_interval


def key_of(row: Row) -> tuple[str, str, int, int, int]:
    return row["contender"], row["fault"], row["advertise_ms"], row["of"], row["number"]


# -- inside the sandbox --


class Session:
    """The runs of one interval, in one sandbox with one lab for each contender."""

    def __init__(self, interval_ms: int, runs: Sequence[Run], state: Path) -> None:
        self._plan = load_plan(PAIR, interval_ms * MILLISECOND)
        self._runs, self._state = runs, state
        self._stands: dict[str, Stand] = {}

    def __call__(self, report: Callable[[Row | None], None]) -> None:
        for name in dict.fromkeys(run.contender for run in self._runs):
            self._build(name)
        runs = list(self._runs)
        for attempt in range(1 + VOID_RETRIES):
            # Void runs are repeated at the end, when what disturbed them may be over.
            runs = [run for run in runs if not self._measured(run, attempt, report)]
        for stand in self._stands.values():
            stand.lab.down()
        report(None)

    def _measured(self, run: Run, attempt: int, report: Callable[[Row | None], None]) -> bool:
        if run.contender not in self._stands:
            self._build(run.contender)
        begun = time.monotonic()
        try:
            row = self._stands[run.contender].strike(FAULTS[run.series.fault], run.number, run.phase)
        except (Unrest, EnvironmentFailure) as failure:
            row = {"void": f"not run: {failure}"}
            # Whatever is wrong with this lab, the next one does not inherit it.
            self._stands.pop(run.contender).lab.down()
        report(
            {
                "contender": run.contender,
                "fault": run.series.fault,
                "advertise_ms": run.series.advertise_ms,
                "of": run.series.runs,
                "number": run.number,
                "attempt": attempt,
                "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
                "took_s": round(time.monotonic() - begun, 2),
                **row,
            }
        )
        return not row["void"]

    def _build(self, name: str) -> None:
        state = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._state))
        self._stands[name] = Stand(CONTENDERS[name], self._plan, state)
        self._stands[name].up()


# -- outside --


class Progress:
    """One line a run, with the time that is left, from the times that runs took so far."""

    def __init__(self, runs: Iterable[Run], rows: Iterable[Row]) -> None:
        self._left = list(runs)
        self._took: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            self._learn(row)

    def _learn(self, row: Row) -> None:
        self._took.setdefault((row["fault"], row["advertise_ms"]), []).append(row["took_s"])

    def _expected_s(self, run: Run) -> float:
        took = self._took.get((run.series.fault, run.series.advertise_ms))
        return sum(took) / len(took) if took else 1.5 + 5 * run.series.advertise_ms / 1000

    @property
    def left(self) -> int:
        return len(self._left)

    def left_s(self) -> float:
        return sum(map(self._expected_s, self._left))

    def tell(self, row: Row) -> None:
        self._learn(row)
        if not row["void"]:
            self._left = [run for run in self._left if run.key != key_of(row)]
        found = (
            f"void: {row['void']}"
            if row["void"]
            else f"outage {row['outage_ms']:.1f} ms, dual answer {row['dual_answer_ms']:.1f} ms"
            + ("" if row["recovered"] else ", NOT recovered")
        )
        what = f"{row['contender']:15} {row['fault']:15} {row['advertise_ms']:>4} ms"
        print(f"{len(self._left):>4} left, {self.left_s() / 60:4.1f} min | {what} | {found}", flush=True)


def chosen_series(arguments: argparse.Namespace) -> list[Series]:
    table = QUICK if arguments.quick else SERIES
    faults = arguments.faults.split(",") if arguments.faults else []
    intervals = [_ms(text) for text in arguments.intervals.split(",")] if arguments.intervals else []
    if faults and intervals:
        known = {(each.fault, each.advertise_ms): each for each in table}
        picked = [known.get((f, i), Series(f, i, 3 if arguments.quick else 20)) for f in faults for i in intervals]
    else:
        picked = [
            each
            for each in table
            if (not faults or each.fault in faults) and (not intervals or each.advertise_ms in intervals)
        ]
    return [Series(each.fault, each.advertise_ms, arguments.runs or each.runs) for each in picked]


def _ms(text: str) -> int:
    return int(text[:-2]) if text.endswith("ms") else int(float(text.removesuffix("s")) * 1000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--intervals", help="of the advertisements, as in 1s,100ms,50ms")
    parser.add_argument("--faults", help=", ".join(FAULTS))
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help=", ".join(CONTENDERS))
    parser.add_argument("--runs", type=int, help="of every series, instead of its own number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="3 runs of the main series, or of the --faults at the --intervals"
    )
    parser.add_argument("--summary", action="store_true", help="only write summary.json")
    arguments = parser.parse_args()
    contenders = arguments.contenders.split(",")
    series = chosen_series(arguments)
    for known, asked in ((CONTENDERS, contenders), (FAULTS, [each.fault for each in series])):
        unknown = [name for name in asked if name not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    arguments.directory.mkdir(parents=True, exist_ok=True)
    path = arguments.directory / ROWS

    def all_series() -> int:
        left = 0
        if not arguments.summary:
            if set(contenders) - {"understudy"}:
                peers()
            left = measure(path, plan_runs(series, contenders, arguments.seed))
        write_summary(arguments.directory, rows_of(path), machine())
        return left

    return carried_out("compare", all_series)


def measure(path: Path, planned: dict[int, list[Run]]) -> int:
    """All runs that have no row yet, interval by interval; how many stayed void."""
    rows = rows_of(path)
    done = {key_of(row) for row in rows if not row["void"]}
    by_interval = {
        interval: left for interval, runs in planned.items() if (left := [run for run in runs if run.key not in done])
    }
    progress = Progress([run for runs in by_interval.values() for run in runs], rows)
    print(f"{sum(map(len, by_interval.values()))} runs, about {progress.left_s() / 60:.0f} minutes", flush=True)
    with path.open("a") as file:
        for interval, runs in by_interval.items():
            with turn(), tempfile.TemporaryDirectory(prefix="compare-") as state:
                session = Session(interval, runs, Path(state))
                with sandbox.start(session) as box:
                    while (row := box.receive(180)) is not None:
                        file.write(json.dumps(row, separators=(",", ":")) + "\n")
                        file.flush()
                        progress.tell(row)
    return progress.left


if __name__ == "__main__":
    sys.exit(main())
