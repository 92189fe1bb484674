"""Measure every figure of docs/benchmarks.md, in parts that can be resumed.

    python bench/run.py [--into DIR] [--only NAME] [--kept] [--list]

A part that has its file in DIR, of a run that ended, is not run again; delete the file to repeat it. Rows (`runs[]`) are
kept as they were measured, with the load of the machine before and after. `--kept` makes the files of parts whose runs
have not ended from the rows that they have left: their `exit` is null, and the next run goes on with them.
`python bench/report.py DIR` turns all of it into docs/benchmarks.md.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowparts import PARTS as FLOW_PARTS
from measure import check_thousand, idle_node, lab_cycles, lab_up, simulated_faults, simulator, status_time
from natparts import CLAIMS as NAT_CLAIMS
from natparts import CORPUS
from turn import turn

ROOT = Path(__file__).resolve().parents[1]
PAIR = "examples/pair.yaml"
US = str(ROOT / ".venv/bin/understudy")
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    claim: str
    measure: Callable[[Path], dict[str, Any]]
    needs: str = ""
    """The variable that names texts which are not in this repository; unset, the part is left out."""


def drill(fault: str, runs: int, *options: str) -> Callable[[Path], dict[str, Any]]:
    def measure(scratch: Path) -> dict[str, Any]:
        out = scratch / "drill.json"
        argv = [US, "drill", PAIR, "--fault", fault, "--runs", str(runs), "--json", str(out), *options]
        ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        if not out.exists():
            raise RuntimeError(f"{' '.join(argv)}: {ended.stderr[-2000:]}")
        return {"command": " ".join(["understudy", *argv[1:]]), "exit": ended.returncode, **json.loads(out.read_text())}

    return measure


def rows_in(text: str) -> list[dict[str, Any]]:
    """Of one object with `rows`, or of JSON lines amid other lines."""
    try:
        document = json.loads(text)
        return list(document.get("rows", [document]))
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Program:
    """Another benchmark of this folder, whose rows become this part's.

    In its options `{into}` stands for the folder of the results, where it may keep the file `rows` and go on with it
    after an interruption, and `{out}` for a file of its own; if it names neither, standard output has the rows. With
    `turns` it sees to it itself that nobody else measures meanwhile.
    """

    def __init__(self, script: str, *options: str, rows: str = "", turns: bool = False) -> None:
        self._script, self._options, self.rows, self.turns = script, options, rows, turns

    def __call__(self, scratch: Path) -> dict[str, Any]:
        out = scratch / "rows"
        given = (each.format(into=scratch.parent, out=out) for each in self._options)
        argv = [sys.executable, f"bench/{self._script}", *given]
        ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        kept = scratch.parent / self.rows if self.rows else out
        found = rows_in(kept.read_text() if kept.is_file() else ended.stdout)
        if not found:
            raise RuntimeError(f"{' '.join(argv)}: {ended.stderr[-2000:]}")
        # Who was ended from outside, or interrupted, goes on where it was.
        left = ended.returncode < 0 or ended.returncode == INTERRUPTED
        return {"command": self._shown, "exit": None if left else ended.returncode, "rows": found}

    def kept(self, into: Path) -> dict[str, Any] | None:
        """What an interrupted run, or one of some parts, has left; None if there is nothing."""
        path = into / self.rows
        found = rows_in(path.read_text()) if self.rows and path.is_file() else []
        if not found:
            return None
        loads = [row.get("load", 0.0) for row in found]
        about = {"load_first": loads[0], "load_last": loads[-1], "took_s": round(took_s(found), 1)}
        return {"command": self._shown, "exit": None, "rows": found, **about}

    @property
    def _shown(self) -> str:
        return " ".join((f".venv/bin/python bench/{self._script}", *self._options)).format(into="DIR", out="FILE")


_RUN = ("contender", "case", "of", "number", "at")


def took_s(rows: Sequence[dict[str, Any]]) -> float:
    """Of the runs whose rows these are: one run may have several, each with the time of all of it."""
    return sum({tuple(row.get(key) for key in _RUN): float(row.get("took_s", 0.0)) for row in rows}.values())


PARTS = (
    Part(
        "power-loss-1s",
        "outage within [2 I + skew, 3 I + skew] + 25 ms",
        drill("node-power-loss", 30, "--advertise", "1s"),
    ),
    Part("power-loss-100ms", "the same at 100 ms", drill("node-power-loss", 30)),
    Part("power-loss-50ms", "the same at 50 ms", drill("node-power-loss", 30, "--advertise", "50ms")),
    Part("agent-freeze", "dual answer 0, outage within the bound", drill("agent-freeze", 20)),
    Part("agent-freeze-50ms", "the same at 50 ms", drill("agent-freeze", 20, "--advertise", "50ms")),
    Part("agent-freeze-lease-off", "control: two nodes answer", drill("agent-freeze", 5, "--lease", "off")),
    Part("agent-kill", "dual answer 0, outage within the bound", drill("agent-kill", 20)),
    Part("agent-restart-100ms", "0 packets lost, 0 role changes", drill("agent-restart", 20)),
    Part("agent-restart-50ms", "the same at 50 ms", drill("agent-restart", 20, "--advertise", "50ms")),
    Part("both-agents-kill", "silent within a lease, stated", drill("both-agents-kill", 10)),
    Part("link-down", "at most 50 ms, 1 role change a node", drill("link-down", 20)),
    Part("link-silent", "at most 4 I, 1 role change a node", drill("link-silent", 20)),
    Part("switchover", "median 0, worst 20 packets lost; overlap at most 20 ms", drill("switchover", 30)),
    Part("control-none", "control: nothing done, nothing measured", drill("none", 10)),
    Part("control-gap", "control: 300 ms gap measured within 5 ms", drill("injected-gap", 10)),
    Part("idle-node", "at most 2 % of a CPU, 120 MB PSS", idle_node),
    Part("lab-10", "10 nodes up in at most 1 s", lambda scratch: lab_up(scratch, 10, 7)),
    Part("lab-100", "100 nodes up in at most 10 s", lambda scratch: lab_up(scratch, 100, 5)),
    Part("lab-cycles", "100 cycles leave nothing behind", lambda scratch: lab_cycles(scratch, 100)),
    Part("sim-faults", "1 000 seeds of 600 s: no violation", lambda scratch: simulated_faults(scratch, 1000)),
    Part("sim-1s", "at least 10 000 x real time at 1 s", lambda scratch: simulator(scratch, "1s", 5)),
    Part("sim-100ms", "at least 1 000 x real time at 100 ms", lambda scratch: simulator(scratch, "100ms", 5)),
    Part("check-1000", "1 000 services checked in at most 1 s", check_thousand),
    Part("status", "status takes at most 200 ms", status_time),
    Part("drift", "repaired within 100 ms", Program("drift.py", "20")),
    Part("reload", "0 packets lost, 0 role changes", Program("reload.py", "--runs", "20", "--into", "{out}")),
    Part("flood", "0 role changes at 100 000 packets/s for 10 s", Program("flood.py", "--json", "{out}")),
    Part(
        "interoperability",
        "every step of every way to speak",
        Program("interop.py", "--into", "{into}", rows="interop.jsonl"),
    ),
    Part(
        "coverage-500",
        "at least 99.5 % end as the table says with no human",
        Program("coverage.py", "--into", "{into}", rows="coverage.jsonl"),
    ),
    Part(
        "starved-pair",
        "0 role changes in 10 minutes at 50 ms, one busy loop a CPU, no real-time priority",
        Program("coverage.py", "--idle", "--into", "{into}", rows="idle.json"),
    ),
    *(
        Part(
            f"flows-{part.name}",
            part.claim,
            Program("flows.py", "--only", part.name, "--into", "{into}", rows=f"flows-{part.name}.jsonl", turns=True),
        )
        for part in FLOW_PARTS
    ),
    *(
        Part(
            f"nat-{name}",
            claim,
            Program("nat.py", "--only", name, "--into", "{into}", rows=f"nat-{name}.jsonl", turns=True),
            CORPUS if name == "corpus" else "",
        )
        for name, claim in NAT_CLAIMS.items()
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "bench/results" / time.strftime("%Y-%m-%d"))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--kept", action="store_true", help="measure nothing: take the rows that there are")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for part in PARTS:
            print(f"{part.name:24} {part.claim}")
        return 0
    arguments.into.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in PARTS if not arguments.only or part.name in arguments.only]
    if arguments.kept:
        return take_kept(chosen, arguments.into)
    (arguments.into / "machine.json").write_text(json.dumps(machine(), indent=2) + "\n")
    failed = 0
    for number, part in enumerate(chosen, start=1):
        target = arguments.into / f"{part.name}.json"
        if finished(target):
            print(f"[{number}/{len(chosen)}] {part.name}: kept", flush=True)
            continue
        if part.needs and not os.environ.get(part.needs):
            print(f"[{number}/{len(chosen)}] {part.name}: not measured: {part.needs} is not set", flush=True)
            continue
        left = sum(
            took_before(each.name)
            for each in chosen[number - 1 :]
            if not finished(arguments.into / f"{each.name}.json")
        )
        print(f"[{number}/{len(chosen)}, {left / 60:.0f} min left] {part.name}: {part.claim} ...", end=" ", flush=True)
        scratch = arguments.into / ".scratch"
        scratch.mkdir(exist_ok=True)
        for old in scratch.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        with alone(part):
            before, begun = os.getloadavg()[0], time.monotonic()
            try:
                result = part.measure(scratch)
            except (RuntimeError, OSError, ValueError) as error:
                failed += 1
                print(f"not measured: {error}", flush=True)
                continue
            took = time.monotonic() - begun
        row = {
            "part": part.name,
            "claim": part.claim,
            "load_before": before,
            "load_after": os.getloadavg()[0],
            "took_s": round(took, 1),
        }
        write(target, {**row, **result})
        print(f"{took:.0f} s", flush=True)
    return 1 if failed else 0


def alone(part: Part) -> AbstractContextManager[None]:
    """While it is held nobody else measures on this machine."""
    return nullcontext() if isinstance(part.measure, Program) and part.measure.turns else turn()


def finished(target: Path) -> bool:
    """Whether it is the document of a run that ended. Rows alone are none, nor is what did not end."""
    return target.exists() and json.loads(target.read_text()).get("exit", 0) is not None


def take_kept(parts: Sequence[Part], into: Path) -> int:
    """Make the documents of those parts that have rows of runs that have not ended, without measuring."""
    for part in parts:
        target = into / f"{part.name}.json"
        if not isinstance(part.measure, Program) or finished(target):
            continue
        if (result := part.measure.kept(into)) is not None:
            write(target, {"part": part.name, "claim": part.claim, **result})
            print(f"{part.name}: {len(result['rows'])} rows")
    return 0


def write(target: Path, document: dict[str, Any]) -> None:
    draft = target.with_suffix(".new")
    draft.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    draft.rename(target)


def took_before(part: str) -> float:
    """Seconds that a part took when it was measured last, in whichever folder; a minute if it never was."""
    known = [path for path in sorted((ROOT / "bench/results").glob(f"*/{part}.json")) if finished(path)]
    return float(json.loads(known[-1].read_text())["took_s"]) if known else 60.0


def machine() -> dict[str, Any]:
    memory = next(
        line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    model = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    )
    return {
        "name": platform.node(),
        "cpu": next(model, platform.machine()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory_kb": int(memory),
        "python": platform.python_version(),
        "root": os.geteuid() == 0,
    }


if __name__ == "__main__":
    sys.exit(main())
