"""Established connections: what survives, what it costs, and keepalived with conntrackd beside it; every row is kept.

    python bench/flows.py --into DIR [--only PART ...] [--quick] [--contenders ...] [--runs N] [--list]

Rows go to DIR/flows-PART.jsonl, one JSON object a line, as soon as they are measured. Interrupt and start it again as
you like: what has its row is not measured again. Within a part the order is shuffled over contenders and cases, so that
whatever drifts on this machine drifts for all; a row carries the machine's load. `--quick` tries every part with one to
three runs.

`strike` parts have the labs of all contenders up at once and strike one of them at a time, with the drill's probes and
the drill's judgement. `bed` parts write flows into a kernel (bench/injector.py), each run in a lab of its own. `command`
parts are runs of our own commands.

It needs root (or user namespaces), and the daemons in `.peers/` (scripts/peers).
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import beds
from conntrackd import STATEFUL
from contenders import peers
from flowparts import ALL, OURS, PARTS, Part, Strike
from injections import FAULTS
from resumable import Book, carried_out, rows_of, whole_attempts
from strikes import Stand, Unrest
from summary import Row
from turn import Turn, turn
from witness import witness

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.drill.measure import stratified_phases
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import sandbox
from understudy.units import MILLISECOND, SECOND

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "examples/stateful.yaml"
ADVERTISE_MS = 50
VOID_RETRIES = 2
SILENCE_S = 400
"""No run takes longer without a row, nor does a lab to end. Only while others measure there is no limit."""
WAITING: Row = {"turn": "waiting"}
OUR_TURN: Row = {"turn": "ours"}
"""Told by the sandbox in place of a row: others measure, and now it measures."""
UNDECIDED_AFTER = 5 * SECOND
"""A connection that has not gone on this long after traffic was whole has stalled."""

Report = Callable[[Row | None], None]


@dataclass(frozen=True, slots=True)
class Run:
    part: str
    contender: str
    case: str
    number: int
    of: int
    phase: float = 0.0

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.contender, self.case, self.of, self.number


def key_of(row: Row) -> tuple[str, str, int, int]:
    return row["contender"], row["case"], row["of"], row["number"]


def plan_runs(part: Part, contenders: Sequence[str], runs: int | None, *, quick: bool, seed: int = 1) -> list[Run]:
    """In the order in which to do them: shuffled, and the same on every start."""
    planned = []
    cases = part.quick_cases if quick and part.quick_cases is not None else part.cases
    for contender in part.contenders:
        if contender not in contenders:
            continue
        wanted = runs or (2 if quick and part.strike else 1 if quick else part.runs)
        if contender == ALL[-1]:
            wanted = min(wanted, part.control_runs)
        for case in cases:
            phases = stratified_phases(wanted, seed)
            planned += [Run(part.name, contender, case, n, wanted, phase) for n, phase in enumerate(phases)]
    random.Random(f"{seed} {part.name}").shuffle(planned)
    return planned


def left_of(planned: Iterable[Run], rows: Iterable[Row]) -> list[Run]:
    """Those that have no believed row yet; of a run with several rows, all must be believed."""
    done = whole_attempts(list(rows), key_of)
    return [run for run in planned if run.key not in done]


def row_of(run: Run, begun: float, found: Row) -> Row:
    return {
        "part": run.part,
        "contender": run.contender,
        "case": run.case,
        "of": run.of,
        "number": run.number,
        "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "took_s": round(time.monotonic() - begun, 2),
        "load": round(os.getloadavg()[0], 2),
        "void": "",
        **found,
    }


# -- in the sandbox --


def plan_for(strike: Strike | None) -> Plan:
    plan = load_plan(FILE, ADVERTISE_MS * MILLISECOND)
    preempt = strike is not None and strike.preempt
    return replace(plan, groups=tuple(replace(group, preempt=preempt) for group in plan.groups))


class Strikes:
    """All runs of a part that strikes, with the labs of its contenders up at the same time."""

    def __init__(self, strike: Strike, runs: Sequence[Run], state: Path) -> None:
        self._strike, self._runs, self._state = strike, runs, state
        self._plan = plan_for(strike)
        self._stands: dict[str, Stand] = {}

    def __call__(self, report: Report) -> None:
        runs, turns = list(self._runs), Turn(lambda: report(WAITING))
        for _ in range(1 + VOID_RETRIES):
            runs = [run for run in runs if not self._measured(run, turns, report)]
        for stand in self._stands.values():
            stand.lab.down()
        turns.close()
        report(None)

    def _measured(self, run: Run, turns: Turn, report: Report) -> bool:
        with turns.run():
            report(OUR_TURN)
            return self._measured_alone(run, report)

    def _measured_alone(self, run: Run, report: Report) -> bool:
        begun = time.monotonic()
        try:
            found = self._stand(run.contender).strike(FAULTS[self._strike.fault], run.number, run.phase)
        except (Unrest, EnvironmentFailure, OperatorError) as failure:
            found = {"void": f"not run: {failure}"}
            if (stand := self._stands.pop(run.contender, None)) is not None:
                stand.lab.down()
        report(row_of(run, begun, {"advertise_ms": ADVERTISE_MS, **found}))
        return not found["void"]

    def _stand(self, name: str) -> Stand:
        if name not in self._stands:
            state = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._state))
            self._stands[name] = Stand(
                STATEFUL[name],
                self._plan,
                state,
                population=self._strike.population,
                witness=witness,
                undecided_after=UNDECIDED_AFTER,
                late_max=self._strike.late_max,
            )
            self._stands[name].up()
        return self._stands[name]


class BedRun:
    """One run in a lab of its own."""

    def __init__(self, part: Part, run: Run, state: Path, *, quick: bool) -> None:
        self._part, self._run, self._state, self._quick = part, run, state, quick

    def __call__(self, report: Report) -> None:
        with turn(lambda: report(WAITING)):
            report(OUR_TURN)
            self._measure(report)
        report(None)

    def _measure(self, report: Report) -> None:
        begun = time.monotonic()
        assert self._part.bed is not None
        try:
            with beds.Bed(STATEFUL[self._run.contender], plan_for(None), self._state).up() as bed:
                found = self._part.bed(bed, self._run.case, self._quick)
        except (EnvironmentFailure, OperatorError) as failure:
            found = {"void": f"not run: {failure}"}
        report(row_of(self._run, begun, found))


# -- outside --


def line_of(row: Row) -> str:
    return f"{row['part']:10} {row['contender']:18} {row['case']:16} {row['number']:>3} | {told(row)}"


def told(row: Row) -> str:
    """The figures of a row that fit on a line."""
    if row["void"]:
        return f"void: {row['void'][:160]}"
    return ", ".join(f"{key} {row[key]}" for key in SHOWN if row.get(key) is not None)


SHOWN = (
    "outage_ms", "packets_lost", "tcp_established", "tcp_survived", "tcp_reset", "tcp_stalled", "udp_established",
    "udp_survived", "missing_at_answer", "vip_before_state", "flows_unsent", "flows_mismatched", "p50_ms", "p99_ms",
    "missing", "sustained", "active_cpu_s", "standby_cpu_s", "copied_s", "resync_s", "idle_cpu_percent_active",
    "idle_cpu_percent_standby", "pss_mb_active", "pss_mb_standby", "complete_after_answer_ms", "gate_ms", "agreed_s",
    "events_lost", "change", "connections_lost", "packets", "result",
    "session", "path", "ended", "longest_ms",
)  # fmt: skip


def measure(part: Part, planned: Sequence[Run], directory: Path, *, quick: bool) -> int:
    """How many runs have no believed row after it."""
    path = directory / f"flows-{part.name}.jsonl"
    left = left_of(planned, rows_of(path))
    print(f"{part.name}: {part.claim}\n{len(left)} of {len(planned)} runs left", flush=True)
    if not left:
        return 0
    book = Book(path, len(left), line_of)
    try:
        if part.strike is not None:
            with tempfile.TemporaryDirectory(prefix="flows-") as state:
                _in_sandbox(Strikes(part.strike, left, Path(state)), book)
        for _ in range(0 if part.strike is not None else 1 + VOID_RETRIES):
            left = [run for run in left if not _measured(part, run, book, quick=quick)]
    finally:
        book.close()
    return len(left_of(planned, rows_of(path)))


def _measured(part: Part, run: Run, book: Book, *, quick: bool) -> bool:
    if part.command is not None:
        return _commanded(part.command, run, book, quick=quick)
    with tempfile.TemporaryDirectory(prefix="flows-") as state:
        return _in_sandbox(BedRun(part, run, Path(state), quick=quick), book)


def _commanded(command: Callable[[str, int, bool], list[Row]], run: Run, book: Book, *, quick: bool) -> bool:
    with turn():
        begun = time.monotonic()
        try:
            found = command(run.case, run.number, quick)
        except (RuntimeError, OSError, ValueError, KeyError, subprocess.SubprocessError) as failure:
            found = [{"void": f"not run: {str(failure)[-400:]}"}]
        # One for all: it tells the rows of one attempt from those of the next.
        about = row_of(run, begun, {})
    return book.keep(*({**about, **row} for row in found))


def _in_sandbox(work: Callable[[Report], None], book: Book) -> bool:
    """Whether its last row is to be believed."""
    fine = False
    with sandbox.start(work) as box:
        patience: float | None = SILENCE_S
        while (row := box.receive(patience)) is not None:
            patience = None if row == WAITING else SILENCE_S
            if row not in (WAITING, OUR_TURN):
                fine = book.keep(row)
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "bench/results" / time.strftime("%Y-%m-%d"))
    parser.add_argument("--only", action="append", default=[], help=", ".join(part.name for part in PARTS))
    parser.add_argument("--contenders", default=",".join(ALL), help=", ".join(ALL))
    parser.add_argument("--runs", type=int, help="of every contender and case, instead of the part's own number")
    parser.add_argument("--quick", action="store_true", help="one to three runs of everything, and smaller where long")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for part in PARTS:
            print(f"{part.name:12} {part.claim}")
        return 0
    contenders = arguments.contenders.split(",")
    unknown = [*(set(contenders) - set(ALL)), *(set(arguments.only) - {part.name for part in PARTS})]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    arguments.into.mkdir(parents=True, exist_ok=True)

    def all_parts() -> int:
        if set(contenders) - set(OURS):
            peers()
        left = 0
        for part in PARTS:
            if not arguments.only or part.name in arguments.only:
                planned = plan_runs(part, contenders, arguments.runs, quick=arguments.quick)
                left += measure(part, planned, arguments.into, quick=arguments.quick)
        return left

    return carried_out("flows", all_parts)


if __name__ == "__main__":
    sys.exit(main())
