"""NAT in the words of Cisco IOS: cases by real packets, through fail-overs, and what lines, statics and packets cost.

    python bench/nat.py --into DIR [--only PART ...] [--cases FILE ...] [--corpus INDEX.tsv] [--runs N] [--quick] [--list]

Rows go to DIR/nat-PART.jsonl, one JSON object a line, as soon as they are measured. Interrupt and start it again as you
like: what has its row is not measured again. The order within a part is shuffled; a row carries the machine's load.
`--cases` names other files of cases than examples/nat; `--corpus` an index of real texts (columns `file` and `expect`),
without which that part has nothing to do. What cannot be on a pair is told with the reason and counts as not passed.
`--quick`: a few runs of everything, and smaller ones.

It needs root or user namespaces.
"""

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from natcorpus import judged, read_index
from natparts import CASES, CLAIMS, CORPUS
from natrig import Rig
from nattraffic import agreed
from resumable import Book, carried_out, rows_of
from summary import Row
from turn import Turn

from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import sandbox
from understudy.lab.natcases import Case, read_cases
from understudy.lab.natpair import run_on_a_pair
from understudy.lab.natrun import CaseResult, run_cases

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = tuple(sorted((ROOT / "examples/nat").glob("*.yaml")))
PACKETS = 20
"""Of a random configuration."""
STATICS = 100_000
RIG_SECONDS = 2.0
RUN_MAX_S = 120.0
VOID_RETRIES = 1
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Run:
    part: str
    case: str
    number: int
    measure: Callable[[], Row]

    @property
    def key(self) -> tuple[str, int]:
        return self.case, self.number


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    files: tuple[Path, ...]
    corpus: Path | None
    runs: int | None
    quick: bool

    def times(self, usually: int) -> int:
        return self.runs or (2 if self.quick else usually)


# -- cases --


def _cases(part: str, run: Callable[[Case], CaseResult], wish: Wish) -> list[Run]:
    found = []
    for file in wish.files:
        cases = read_cases(file)
        for case in cases[:: 4 if wish.quick else 1]:
            name = f"{_place(file)}:{case.id}"
            found.append(Run(part, name, 0, partial(_case, run, case)))
    return found


def _place(file: Path) -> Path:
    """As rows name it, which are read on other machines: of a file elsewhere its name alone."""
    whole = file.resolve()
    return (whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else Path(file.name)).with_suffix("")


def _case(run: Callable[[Case], CaseResult], case: Case) -> Row:
    result = run(case)
    wrong = [f"packet {number}: {each}" for number, step in enumerate(result.steps, 1) for each in step.wrong]
    wrong += [f"no row {row}" for row in result.missing if not case.differs]
    return {
        "linux": "differs" if case.differs else "same",
        "packets": sum(not step.lines for step in case.steps),
        "passed": result.passed,
        "why": [*wrong, *([result.error] if result.error else [])],
        "note": case.note,
    }


def _alone(case: Case) -> CaseResult:
    (result,) = run_cases([case])
    return result


def _in_sandbox(work: Callable[[], R]) -> R:
    """What it returns. Raises TimeoutError where it hangs: nothing of it is left then."""

    def report_result(report: Callable[[R], None]) -> None:
        report(work())

    with sandbox.start(report_result) as box:
        return box.receive(RUN_MAX_S)


# -- lines and statics --


def _lines(wish: Wish) -> list[Run]:
    sizes = (1_000, 10_000) if wish.quick else (1_000, 10_000, 100_000)
    found = []
    for kind in ("mixed", "statics", "list", "garbage", "slots"):
        for size in sizes:
            times = 3 if size > 10_000 else wish.times(7)
            found += [_program("lines", f"{kind} {size}", n, "read", kind, str(size)) for n in range(times)]
    return found


def _statics(wish: Wish) -> list[Run]:
    count = str(STATICS // 10 if wish.quick else STATICS)
    return [_program("statics", count, number, "load", count) for number in range(wish.times(7))]


def _program(part: str, case: str, number: int, *words: str) -> Run:
    return Run(part, case, number, partial(_row_of_program, words))


def _row_of_program(words: Sequence[str]) -> Row:
    argv = [sys.executable, "bench/natlines.py", *words]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=RUN_MAX_S)
    if ended.returncode:
        return {"void": f"not run: {ended.stderr[-400:]}"}
    row: Row = json.loads(ended.stdout)
    return row


# -- packets --


def _throughput(wish: Wish) -> list[Run]:
    """Both sizes in one run, one after the other and then the other way round, so that a slow moment meets both."""
    most = STATICS // 10 if wish.quick else STATICS
    return [Run("throughput", f"1 and {most}", n, partial(_rigs, most, n)) for n in range(wish.times(15))]


def _rigs(most: int, number: int) -> Row:
    return _in_sandbox(partial(_in_rigs, most, number))


def _in_rigs(most: int, number: int) -> Row:
    rigs = {count: Rig(count) for count in (1, most)}
    found: dict[str, dict[int, float]] = {"bits": {}, "connections": {}}
    try:
        if not all(rig.translated() for rig in rigs.values()):
            return {"void": "what was sent was not translated"}
        order = sorted(rigs, reverse=bool(number % 2))
        for what, seconds in (("bits", RIG_SECONDS), ("connections", RIG_SECONDS)):
            # Each twice, in the order A B B A.
            for count in (*order, *reversed(order)):
                rig = rigs[count]
                value = rig.throughput(seconds) if what == "bits" else rig.connections(seconds)
                found[what][count] = found[what].get(count, 0.0) + value / 2
    finally:
        for rig in rigs.values():
            rig.close()
    return {
        "statics": most,
        "mbit_s_1": found["bits"][1] / 1e6,
        "mbit_s_many": found["bits"][most] / 1e6,
        "throughput_ratio": found["bits"][most] / found["bits"][1],
        "connections_s_1": found["connections"][1],
        "connections_s_many": found["connections"][most],
        "connections_ratio": found["connections"][most] / found["connections"][1],
    }


def _explained(wish: Wish) -> list[Run]:
    seeds = wish.runs or (5 if wish.quick else 50)
    return [Run("explain", "random", seed, partial(_seed, seed)) for seed in range(seeds)]


def _seed(seed: int) -> Row:
    fine, wrong = _in_sandbox(partial(agreed, seed, PACKETS))
    return {"seed": seed, "packets": PACKETS, "agreed": fine, "why": wrong}


# -- texts --


def _corpus(wish: Wish) -> list[Run]:
    if wish.corpus is None:
        return []
    return [Run("corpus", entry.file, 0, partial(judged, entry)) for entry in read_index(wish.corpus)]


PLANS: dict[str, Callable[[Wish], list[Run]]] = {
    "cases": partial(_cases, "cases", _alone),
    "failover": partial(_cases, "failover", run_on_a_pair),
    "lines": _lines,
    "statics": _statics,
    "throughput": _throughput,
    "explain": _explained,
    "corpus": _corpus,
}


# -- rows --


def line_of(row: Row) -> str:
    return f"{row['part']:10} {row['case'][:40]:40} | {told(row)}"


def told(row: Row) -> str:
    """The figures of a row that fit on a line."""
    if row["void"]:
        return f"void: {row['void'][:160]}"
    shown = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items() if key in SHOWN}
    why = "; ".join(row.get("why", ()))[:160]
    return ", ".join(f"{key} {value}" for key, value in shown.items()) + (f" | {why}" if why else "")


SHOWN = (
    "passed", "packets", "agreed", "total_s", "us_a_line", "loaded_s", "changed_ms", "throughput_ratio",
    "connections_ratio", "expect", "fits",
)  # fmt: skip


def measured(run: Run, turn: Turn) -> Row:
    """One run, with nobody else measuring on this machine."""
    with turn.run():
        begun = time.monotonic()
        try:
            found = run.measure()
        except (
            EnvironmentFailure,
            OperatorError,
            OSError,
            RuntimeError,
            ValueError,
            ArithmeticError,
            AssertionError,
            LookupError,
            struct.error,
            subprocess.SubprocessError,
        ) as failure:
            found = {"void": f"not run: {failure!r}"[:400]}
        took = time.monotonic() - begun
    return {
        "part": run.part,
        "case": run.case,
        "number": run.number,
        "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "took_s": round(took, 2),
        "load": round(os.getloadavg()[0], 2),
        "void": "",
        **found,
    }


def measure(part: str, wish: Wish, directory: Path) -> int:
    """How many runs stayed void."""
    path = directory / f"nat-{part}.jsonl"
    planned = PLANS[part](wish)
    random.Random(part).shuffle(planned)
    done = {(row["case"], row["number"]) for row in rows_of(path) if not row["void"]}
    left = [run for run in planned if run.key not in done]
    print(f"{part}: {CLAIMS[part]}\n{len(left)} of {len(planned)} runs left", flush=True)
    if not left:
        return 0
    book, turn = Book(path, len(left), line_of), Turn()
    try:
        for _ in range(1 + VOID_RETRIES):
            left = [run for run in left if not book.keep(measured(run, turn))]
    finally:
        turn.close()
        book.close()
    return len(left)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "bench/results" / time.strftime("%Y-%m-%d"))
    parser.add_argument("--only", action="append", default=[], help=", ".join(CLAIMS))
    cases, corpus = (os.environ.get(name, "") for name in (CASES, CORPUS))
    parser.add_argument(
        "--cases",
        action="append",
        type=Path,
        help="a file of cases (or UNDERSTUDY_NAT_CASES, separated by colons); examples/nat/*.yaml",
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        default=Path(corpus) if corpus else None,
        help="an index.tsv of texts, beside them (or UNDERSTUDY_NAT_CORPUS)",
    )
    parser.add_argument("--runs", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for part, claim in CLAIMS.items():
            print(f"{part:12} {claim}")
        return 0
    if unknown := set(arguments.only) - CLAIMS.keys():
        parser.error(f"unknown: {', '.join(unknown)}")
    arguments.into.mkdir(parents=True, exist_ok=True)
    files = arguments.cases or [Path(each) for each in cases.split(":") if each] or EXAMPLES
    if len({_place(file) for file in files}) < len(files):
        parser.error("files of cases need different names: rows tell them apart by these")
    wish = Wish(tuple(files), arguments.corpus, arguments.runs, arguments.quick)
    parts = [part for part in CLAIMS if not arguments.only or part in arguments.only]
    return carried_out("nat", lambda: sum(measure(part, wish, arguments.into) for part in parts))


if __name__ == "__main__":
    sys.exit(main())
