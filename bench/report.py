"""Turn the rows of a measurement into docs/benchmarks.md and its pictures.

python bench/report.py DIR [--to docs/benchmarks.md]

Of DIR it reads the drills and the rest as `bench/run.py` left them, the rows of `bench/compare.py`, and every `NAME.md`
that another benchmark put there as its own part of the page.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from comparison import section
from natpage import NAMES as NAT_NAMES
from natpage import command_of, nat_section
from programs import PROGRAMS, figure, programs_section
from resumable import rows_of
from run import PARTS
from run import machine as this_machine

ROOT = Path(__file__).resolve().parents[1]
Document = dict[str, Any]

HEAD = """# Benchmarks

Every figure here was measured by `make bench`, which keeps the rows in `bench/results/`; the command of a single figure stands beside it.
All nodes, clients and servers are network namespaces of one machine, and so share its CPUs with the probes: absolute times include that.

"""

DRILLS = """## Fail-over

`n` is the number of runs, their phases stratified over the advertisement interval; a run whose probes stalled for more than 5 ms is void,
repeated and counted. The outage is the longest time without an arrival in either direction of a 1 kHz stream. *Dual answer* is the time
during which two nodes answered for one address, outside a declared hand-over. *Survived* counts connections that were established
before the fault and answer after it; the flows of this file are not replicated.

| fault | bar | n (void) | outage p50 | p95 | max | lost p50 / max | dual answer max | role changes max a node | survived | resets | verdict |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100).__int__() - 1)] if ordered else 0.0


def drill_row(document: Document, judge: Callable[[list[Document]], str]) -> str:
    runs = document["runs"]
    outages = [run["outage_ms"] for run in runs]
    lost = [run["packets_lost"] for run in runs]
    void = document["void"]
    void = void if isinstance(void, int) else len(void)
    survived = sum(run["tcp_survived"] for run in runs)
    established = sum(run["tcp_established"] for run in runs)
    cells = (
        f"`{document['part']}`",
        document["claim"],
        f"{len(runs)} ({void})",
        f"{median(outages):.1f} ms",
        f"{percentile(outages, 95):.1f}",
        f"{max(outages):.1f}",
        f"{median(lost):g} / {max(lost)}",
        f"{max(run['dual_answer_ms'] for run in runs):.1f} ms",
        str(max(changes(run) for run in runs)),
        f"{survived} / {established}",
        str(sum(run["tcp_reset"] for run in runs)),
        judge(runs),
    )
    return "| " + " | ".join(cells) + " |"


def changes(run: Document) -> int:
    """Role changes of the node that had most."""
    return max(run["role_changes_by_node"].values(), default=0)


def spread(values: Sequence[float], unit: str) -> str:
    return f"median {figure(median(values))} {unit}, {figure(min(values))}-{figure(max(values))} (n = {len(values)})"


def skew(priority: int) -> float:
    return (256 - priority) / 256


def within(interval_ms: float, runs: list[Document], *, low: bool) -> str:
    """[2 I + skew, 3 I + skew] + 25 ms, with the skew of the standby that took over."""
    bad = []
    for run in runs:
        # The struck node's peer takes over: gw2 (priority 240) for gw1, gw1 (250) for gw2.
        share = skew(240 if run["struck"] == "gw1" else 250)
        floor = (2 + share) * interval_ms if low else 0.0
        ceiling = (3 + share) * interval_ms + 25
        if not floor - 1 <= run["outage_ms"] <= ceiling:
            bad.append(run["outage_ms"])
    return "met" if not bad else f"**missed in {len(bad)} of {len(runs)}: {', '.join(f'{b:.0f}' for b in bad[:5])} ms**"


def all_of(*conditions: tuple[bool, str]) -> str:
    failed = [text for met, text in conditions if not met]
    return "met" if not failed else "**" + "; ".join(failed) + "**"


def no_dual(runs: list[Document]) -> tuple[bool, str]:
    return all(run["dual_answer_ms"] == 0 for run in runs), "dual answer above 0"


def bounded(interval_ms: float, *, low: bool) -> Callable[[list[Document]], str]:
    return lambda runs: within(interval_ms, runs, low=low)


def silent(interval_ms: float) -> Callable[[list[Document]], str]:
    def judge(runs: list[Document]) -> str:
        bound = within(interval_ms, runs, low=False)
        return bound if bound != "met" else all_of(no_dual(runs))

    return judge


def at_most(outage_ms: float, role_changes: int) -> Callable[[list[Document]], str]:
    return lambda runs: all_of(
        (max(run["outage_ms"] for run in runs) <= outage_ms, f"outage above {outage_ms:g} ms"),
        (max(changes(run) for run in runs) <= role_changes, "more role changes"),
    )


def lossless(runs: list[Document]) -> str:
    return all_of(
        (sum(run["packets_lost"] for run in runs) == 0, "packets lost"),
        (max(changes(run) for run in runs) == 0, "role changes"),
    )


def switchover(runs: list[Document]) -> str:
    lost = [run["packets_lost"] for run in runs]
    return all_of(
        (median(lost) == 0, "median above 0"),
        (max(lost) <= 20, "worst above 20"),
        (max(run["overlap_ms"] for run in runs) <= 20, "overlap above 20 ms"),
    )


def gap(runs: list[Document]) -> str:
    errors = [abs(run["outage_ms"] - run["injected_ms"]) for run in runs]
    return "met" if max(errors) <= 5 else f"**error {max(errors):.1f} ms**"


JUDGES: dict[str, Callable[[list[Document]], str]] = {
    "power-loss-1s": bounded(1000, low=True),
    "power-loss-100ms": bounded(100, low=True),
    "power-loss-50ms": bounded(50, low=True),
    "agent-freeze": silent(100),
    "agent-freeze-50ms": silent(50),
    "agent-freeze-lease-off": lambda runs: all_of(
        (min(run["dual_answer_ms"] for run in runs) > 0, "the control did not fail")
    ),
    "agent-kill": silent(100),
    "agent-restart-100ms": lossless,
    "agent-restart-50ms": lossless,
    "both-agents-kill": lambda runs: "stated below",
    "link-down": at_most(50, 1),
    "link-silent": at_most(400, 1),
    "switchover": switchover,
    "control-none": lossless,
    "control-gap": gap,
}

OTHERS: dict[str, tuple[str, Callable[[list[Document]], str]]] = {
    "idle-node": (
        "an idle node at 100 ms, all its processes",
        lambda rows: (
            f"CPU {spread([r['cpu_percent'] for r in rows], '%')}; PSS {spread([r['pss_mb'] for r in rows], 'MB')}"
        ),
    ),
    "lab-10": ("lab of 10 nodes, whole command", lambda rows: spread([r["wall_s"] for r in rows], "s")),
    "lab-100": ("lab of 100 nodes, whole command", lambda rows: spread([r["wall_s"] for r in rows], "s")),
    "lab-cycles": (
        "up and down, what is left behind",
        lambda rows: (
            f"{rows[0]['cycles']} cycles in {rows[0]['wall_s']:.0f} s; before {rows[0]['before']}, after {rows[0]['after']}"
        ),
    ),
    "sim-1s": (
        "simulator at 1 s, one CPU, invariants checked",
        lambda rows: (
            f"{spread([r['speed'] for r in rows], 'x real time')}, {sum(r['violations'] for r in rows)} violations"
        ),
    ),
    "sim-100ms": (
        "simulator at 100 ms, one CPU, invariants checked",
        lambda rows: (
            f"{spread([r['speed'] for r in rows], 'x real time')}, {sum(r['violations'] for r in rows)} violations"
        ),
    ),
    "check-1000": ("1 000 services checked, whole process", lambda rows: spread([r["wall_s"] for r in rows], "s")),
    "status": ("`understudy status`, whole process", lambda rows: spread([r["wall_ms"] for r in rows], "ms")),
}

NOTES = """
### When both agents die

`both-agents-kill` kills both nodes' agents within one instant, and starts them again two seconds later. Each kernel answers until its
lease ends, so traffic goes on for up to a lease after the kill and then stops until an agent is back and its Active_Down_Interval has
passed. This is the one case in which keepalived's kernel would go on and ours stops. The bound is the time without agents plus
3 I + skew plus the agent's start.
"""

COMMANDS = """
## Commands

The load is that before and after the part; of rows of a run that did not end (*rows*), that after the first and the last of its runs, and
the time is the sum of their times.

| part | command | load | took |
|---|---|---|---|
"""
INTEROP = ROOT / "bench/results/interop/interop.jsonl"
FIRST_PASSES = {"coverage-500": "coverage-first-pass.jsonl"}
"""Rows of a part before those that its document holds."""


def with_interop(documents: dict[str, Document]) -> dict[str, Document]:
    """The matrix has a folder of its own where it was not measured with the rest."""
    name = "interoperability"
    if name in documents or not (rows := rows_of(INTEROP)):
        return documents
    (part,) = (part for part in PARTS if part.name == name)
    command = f".venv/bin/python bench/interop.py --into {INTEROP.parent.relative_to(ROOT)}"
    return {**documents, name: {"claim": part.claim, "command": command, "rows": rows}}


def first_passes(directory: Path) -> dict[str, tuple[str, list[Document]]]:
    return {part: (file, rows) for part, file in FIRST_PASSES.items() if (rows := rows_of(directory / file))}


def loads(document: Document) -> str:
    kept = "load_first" in document
    first, last = (document[f"load_{each}"] for each in (("first", "last") if kept else ("before", "after")))
    return f"{first:.2f} / {last:.2f}{' (rows)' if kept else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--to", type=Path, default=ROOT / "docs/benchmarks.md")
    arguments = parser.parse_args()
    documents = {path.stem: json.loads(path.read_text()) for path in arguments.directory.glob("*.json")}
    machine = documents.pop("machine", None) or this_machine()
    text = HEAD + (
        f"Machine: {machine.get('name', '')}{', ' if 'name' in machine else ''}{machine['cpus']} CPUs, {machine['memory_kb'] // 1_000_000} GB, Linux {machine['kernel']}, "
        f"Python {machine['python']}, {'as root' if machine['root'] else 'without root'}. "
        f"Rows: `{os.path.relpath(arguments.directory, ROOT)}/`. "
        "Reproduce with `make bench`, or one part with `.venv/bin/python bench/run.py --only NAME`.\n\n"
    )
    images = arguments.to.parent / "images"
    images.mkdir(exist_ok=True)
    if any(name in documents for name in JUDGES):
        text += DRILLS
    for name, judge in JUDGES.items():
        if name in documents:
            text += drill_row(documents[name], judge) + "\n"
    text += NOTES
    text += "\n" + section(arguments.directory, images)
    for part in sorted(arguments.directory.glob("*.md")):
        text += "\n" + part.read_text().strip() + "\n"
    text += programs_section(with_interop(documents), first_passes(arguments.directory))
    text += nat_section(documents)
    text += "\n## Everything else\n\n| what | bar | measured |\n|---|---|---|\n"
    for name, (title, tell) in OTHERS.items():
        if name in documents:
            text += f"| {title} | {documents[name]['claim']} | {tell(documents[name]['rows'])} |\n"
    text += COMMANDS
    for name in (*JUDGES, *OTHERS, *PROGRAMS, *NAT_NAMES):
        if name in documents:
            d = documents[name]
            command = re.sub(r" --json \S+drill\.json", "", command_of(d))
            text += f"| `{name}` | `{command}` | {loads(d)} | {d['took_s']:.0f} s |\n"
    arguments.to.write_text(text)
    print(f"wrote {arguments.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
