"""How many injected faults end as they must, with no human: all kinds, in random order, on the real kernel.

    python bench/coverage.py [--into DIR] [--faults 500] [--seed 1] [--only KIND ...]     the campaign; resumable
    python bench/coverage.py --report DIR                                                 the table of its rows
    python bench/coverage.py --idle [--minutes 10]                                        the starved idle pair

The campaign is drawn from the seed beforehand: every kind as often as every other, in random order, at random phases of
the interval. Every kind comes once in each block; blocks take turns between one and two families, and every fourth one
preempts. A block is one lab; one that preempts is a lab for each two faults, or the pair would be held down for moving
too often, which is its right and not what is asked here.
Each fault is a run of the drill: struck under live traffic, judged by the bound of its row, healed, and the pair must
then come to rest by itself. A row is appended to coverage.jsonl when its fault has ended; what is there is not run
again. Runs in which a probe was late prove nothing: they are repeated, and counted apart if that does not help.
"""

import argparse
import ctypes
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from understudy.config import drills, load_plan
from understudy.config.drills import Value
from understudy.config.plan import Plan
from understudy.drill import faults, measure, stage
from understudy.drill.agents import BusyLoops
from understudy.drill.board import Board, Cell
from understudy.drill.fault import NotSettled
from understudy.drill.processes import ProbeProcess
from understudy.drill.record import WireRecord
from understudy.drill.result import RunJson, Void
from understudy.drill.run import NEVER_SETTLED, Drill, Options
from understudy.drill.session import DISK_BYTES
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import sandbox
from understudy.lab.build import Lab, run_agent
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NodeName

ROOT = Path(__file__).resolve().parents[1]
ROWS = "coverage.jsonl"
FILES = ("examples/pair.yaml", "examples/dual-stack.yaml")
PREEMPTING = 2
"""Faults in a lab whose group preempts."""
ATTEMPTS = 4
SILENCE_MAX_S = 400.0
"""Four attempts of a fault in a pair that does not come to rest."""
CONNECTIONS = 20
INTERVAL: Duration = 100 * MILLISECOND

KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "node-power-loss": {},
    "agent-kill": {},
    "agent-freeze": {},
    "agent-restart": {},
    "both-agents-kill": {},
    "agent-pause": {"duration": ("1s", "2s")},
    "cpu-starve": {"duration": ("1500ms",), "loops": ("1", "4")},
    "slow-kernel": {"duration": ("800ms", "4s"), "node": ("active", "standby")},
    "clock-step": {"step": ("1d", "3d", "1000d")},
    "disk-full": {"duration": ("500ms",), "node": ("active", "standby")},
    "node-return": {},
    "link-down": {},
    "link-silent": {},
    "one-way-loss": {"direction": ("deaf", "mute")},
    "packet-loss": {"duration": ("1500ms",), "share": ("30%",)},
    "packet-corrupt": {"duration": ("1500ms",), "share": ("50%",)},
    "partition": {"duration": ("1s",), "paths": ("all", "heartbeat")},
    "flap": {"times": ("5",), "period": ("100ms", "300ms")},
    "rules-flushed": {},
    "address-deleted": {},
    "peer-misconfigured": {"duration": ("3s",), "what": ("vrid", "interval", "key", "addresses")},
    "hostile-flood": {"duration": ("1500ms",), "content": ("junk", "forged")},
    "switchover": {},
}
"""Every fault but the controls, with the values that are drawn for it: short, so that hundreds fit."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault of the campaign."""

    number: int
    fault: str
    settings: Mapping[str, str]
    phase: float


@dataclass(frozen=True, slots=True)
class Block:
    """The faults of one lab."""

    file: str
    preempt: bool
    injections: tuple[Injection, ...]


def campaign(seed: int, count: int, kinds: tuple[str, ...]) -> list[Block]:
    """The same for the same seed, count and kinds."""
    dice = random.Random(seed)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += dice.sample(kinds, len(kinds))
    injections = [
        Injection(number, kind, {name: dice.choice(texts) for name, texts in KINDS[kind].items()}, dice.random())
        for number, kind in enumerate(drawn[:count], 1)
    ]
    blocks = []
    for index, start in enumerate(range(0, count, len(kinds))):
        block = injections[start : start + len(kinds)]
        preempt = index % 4 == 3
        size = PREEMPTING if preempt else len(block)
        blocks += [
            Block(FILES[index % 2 ^ index // 4 % 2], preempt, tuple(block[at : at + size]))
            for at in range(0, len(block), size)
        ]
    return blocks


def plan_of(block: Block) -> Plan:
    plan = load_plan(ROOT / block.file, INTERVAL)
    return replace(plan, groups=tuple(replace(group, preempt=block.preempt) for group in plan.groups))


# --- inside the sandbox


@dataclass(frozen=True, slots=True)
class Stage:
    """One lab and what is done to it; ends early if the pair does not come to rest any more."""

    block: Block
    state: Path

    def __call__(self, report: sandbox.Report[dict[str, Any] | None]) -> None:
        plan = plan_of(self.block)
        lab = Lab(plan, self.state, disk_bytes=DISK_BYTES)
        lab.up()
        pending: dict[str, Any] | None = None
        for injection in self.block.injections:
            begun = time.monotonic()
            outcome, voids = self._strike(lab, plan, injection)
            unrest = isinstance(outcome, Void) and outcome.reason.startswith(NEVER_SETTLED)
            if pending is not None:
                if unrest:
                    pending |= {"ended": False, "why": [*pending["why"], str(voids[-1])]}
                report(pending)
            if unrest:
                report(None)
                return
            pending = {**self._row(injection, outcome, voids), "took_s": round(time.monotonic() - begun, 1)}
        if pending is not None:
            try:
                Drill(lab, plan.groups[0], faults.by_name("none"), Options(1, 0, 1), _ignore).come_to_rest()
            except NotSettled as unsettled:
                pending |= {"ended": False, "why": [*pending["why"], str(unsettled)]}
            report(pending)
        lab.down()
        report(None)

    def _strike(self, lab: Lab, plan: Plan, injection: Injection) -> tuple[RunJson | Void, list[str]]:
        """The run that counts, and why others before it did not."""
        fault = faults.configure(injection.fault, values_of(injection), plan.groups[0])
        drill = Drill(lab, plan.groups[0], fault, Options(1, CONNECTIONS, injection.number), _ignore)
        voids: list[str] = []
        outcome: RunJson | Void = Void(injection.number, "")
        for _ in range(ATTEMPTS):
            try:
                outcome = drill.run_once(injection.number, injection.phase)
            except EnvironmentFailure as failure:  # It could not be injected: nothing is proved.
                outcome = Void(injection.number, str(failure))
            if not isinstance(outcome, Void):
                break
            voids.append(outcome.reason)
            if outcome.reason.startswith(NEVER_SETTLED):
                break
        return outcome, voids

    def _row(self, injection: Injection, outcome: RunJson | Void, voids: list[str]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "number": injection.number,
            "fault": injection.fault,
            "settings": dict(injection.settings),
            "file": self.block.file,
            "preempt": self.block.preempt,
            "void": voids,
            "counts": not isinstance(outcome, Void),
            "load": round(os.getloadavg()[0], 2),
        }
        if isinstance(outcome, Void):
            return row | {"ended": False, "why": [outcome.reason]}
        told = {
            name: outcome[name]
            for name in (
                "phase", "struck", "network", "recovered", "outage_ms", "outage_bound_ms", "packets_lost", "tcp_reset",
                "refused_connects", "dual_answer_ms", "overlap_ms", "role_changes_by_node", "sender_stall_ms",
            )
        }  # fmt: skip
        extra = {"measures": outcome.get("measures", {}), "decisions": outcome.get("decisions", [])}
        events = (
            [] if not outcome["findings"] else [f"{e['t_ms']:+.1f} {e['node']} {e['text']}" for e in outcome["events"]]
        )
        return row | told | extra | {"ended": not outcome["findings"], "why": outcome["findings"], "events": events}


def values_of(injection: Injection) -> dict[str, Value]:
    return {name: drills.parameter_of(injection.fault, name).parse(text) for name, text in injection.settings.items()}


def _ignore(_: str) -> None:
    """Nobody watches each step."""


# --- outside


def run_campaign(into: Path, seed: int, count: int, kinds: tuple[str, ...]) -> None:
    into.mkdir(parents=True, exist_ok=True)
    (into / "coverage-machine.json").write_text(json.dumps(machine(), indent=2) + "\n")
    done = {row["number"] for row in rows_of(into)}
    for block in campaign(seed, count, kinds):
        left = [injection for injection in block.injections if injection.number not in done]
        while left:
            told = 0
            for row in play(replace(block, injections=tuple(left))):
                keep(into, row)
                done.add(row["number"])
                told += 1
            if not told:
                keep(into, unexplained(block, left[0]))
                done.add(left[0].number)
            left = [injection for injection in left if injection.number not in done]


def play(block: Block) -> Iterator[dict[str, Any]]:
    """The rows of one lab, until its end or until its pair no longer comes to rest."""
    state = Path(tempfile.mkdtemp(prefix="understudy-coverage-"))
    with sandbox.start(Stage(block, state), cleanup=partial(shutil.rmtree, state, ignore_errors=True)) as box:
        try:
            while (row := box.receive(SILENCE_MAX_S)) is not None:
                yield row
        except (TimeoutError, OperatorError, EnvironmentFailure) as error:
            print(f"the lab ended: {error}", file=sys.stderr)


def unexplained(block: Block, injection: Injection) -> dict[str, Any]:
    """The row of a fault whose lab ended without a word: that needs a human."""
    return {
        "number": injection.number,
        "fault": injection.fault,
        "settings": dict(injection.settings),
        "file": block.file,
        "preempt": block.preempt,
        "void": [],
        "counts": True,
        "ended": False,
        "why": ["the lab ended without a word"],
    }


def keep(into: Path, row: Mapping[str, Any]) -> None:
    with (into / ROWS).open("a") as file:
        file.write(json.dumps(row, separators=(",", ":")) + "\n")
    verdict = "void" if not row["counts"] else "as it must" if row["ended"] else "; ".join(row["why"])
    print(f"{row['number']:4} {row['fault']:20} {verdict}", flush=True)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / ROWS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "root": os.geteuid() == 0,
    }


def report(folder: Path) -> dict[str, Any]:
    """The figures of a campaign, printed and returned."""
    rows = rows_of(folder)
    counted = [row for row in rows if row["counts"]]
    kinds = []
    print(f"{'fault':20} {'runs':>5} {'ended':>6} {'void':>5} {'outage p50':>11} {'max':>9} {'dual max':>9}")
    for kind in KINDS:
        mine = [row for row in counted if row["fault"] == kind]
        outages = [row["outage_ms"] for row in mine if "outage_ms" in row] or [0.0]
        entry = {
            "fault": kind,
            "runs": len(mine),
            "ended": sum(row["ended"] for row in mine),
            "void": sum(row["fault"] == kind and not row["counts"] for row in rows),
            "outage_ms_p50": measure.percentile(outages, 0.5),
            "outage_ms_max": max(outages),
            "dual_answer_ms_max": max((row.get("dual_answer_ms", 0.0) for row in mine), default=0.0),
        }
        if not entry["runs"] and not entry["void"]:
            continue
        kinds.append(entry)
        print(
            f"{kind:20} {entry['runs']:5} {entry['ended']:6} {entry['void']:5} {entry['outage_ms_p50']:11.1f} "
            f"{entry['outage_ms_max']:9.1f} {entry['dual_answer_ms_max']:9.1f}"
        )
    ended = sum(row["ended"] for row in counted)
    share = ended / len(counted) if counted else 0.0
    print(f"\n{ended} of {len(counted)} ended as they must with no human: {share:.2%}")
    for (fault, why), times in Counter((r["fault"], w) for r in counted if not r["ended"] for w in r["why"]).items():
        print(f"  {times} x {fault}: {why}")
    summary = {"runs": len(counted), "ended": ended, "share": share, "void": len(rows) - len(counted), "kinds": kinds}
    (folder / "coverage-summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


# --- the idle pair


IDLE_INTERVAL: Duration = 50 * MILLISECOND
_WINDOW_S = 60
_PR_CAPBSET_DROP, _CAP_SYS_NICE = 24, 23


def without_real_time(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """An agent that may not ask the kernel for a better place in its queue."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(ctypes.byref(header), ctypes.byref(sets))
    for position in range(3):
        sets[position] &= ~(1 << _CAP_SYS_NICE)
    libc.capset(ctypes.byref(header), ctypes.byref(sets))
    run_agent(plan, node, run_dir, key)


@dataclass(frozen=True, slots=True)
class Idle:
    """A pair with nothing to do but a thousand datagrams a second, and a busy loop for every CPU."""

    minutes: int
    loops: int
    state: Path

    def __call__(self, tell: sandbox.Report[dict[str, Any] | None]) -> None:
        plan = load_plan(ROOT / FILES[0], IDLE_INTERVAL)
        lab = Lab(plan, self.state, agent_main=without_real_time)
        lab.up()
        group = plan.groups[0]
        drill = Drill(lab, group, faults.by_name("none"), Options(1, 0, 1), _ignore)
        drill.come_to_rest()
        loops = BusyLoops()
        loops.start(self.loops * len(os.sched_getaffinity(0)), (self.minutes + 1) * 60 * SECOND)
        for minute in range(1, self.minutes + 1):
            board = Board()
            with ProbeProcess("wire", lambda page=board: stage.wire_probe(lab, group, page).run()) as wire:  # type: ignore[misc]
                time.sleep(1)
                began = Instant(time.monotonic_ns())
                time.sleep(_WINDOW_S)
                board[Cell.STOP] = ended = Instant(time.monotonic_ns())
                record: WireRecord = wire.result(60)
            moves = [event for event in drill.journals() if began <= event.instant <= ended and event.kind == "moved"]
            tell(
                {
                    "minute": minute,
                    "moves": len(moves),
                    "load": os.getloadavg()[0],
                    **wire_figures(record, began, ended),
                }
            )
        loops.close()
        lab.down()
        tell(None)


def wire_figures(record: WireRecord, began: Instant, ended: Instant) -> dict[str, Any]:
    """Lapses as the wire shows them: two advertisements of the Active at a port further apart than its lease."""
    lease = 3 * IDLE_INTERVAL - 8 * MILLISECOND
    longest = lapses = 0
    ports = {(s.node, s.network) for s in record.sightings if s.kind == "advertisement"}
    for port in ports:
        seen = [s.instant for s in record.sightings if s.kind == "advertisement" and (s.node, s.network) == port]
        gaps = [after - before for before, after in pairwise(seen)]
        longest = max([longest, *gaps])
        lapses += sum(gap > lease for gap in gaps)
    counts = [measure.count(stream, (began, ended)) for stream in record.streams]
    return {
        "packets_sent": sum(count.sent for count in counts),
        "packets_lost": sum(count.lost for count in counts),
        "advertisement_gap_ms_max": round(longest / MILLISECOND, 1),
        "lease_lapses": lapses,
        "advertising_ports": len(ports),
    }


def run_idle(into: Path, minutes: int, loops: int) -> None:
    into.mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix="understudy-idle-"))
    rows: list[dict[str, Any]] = []
    with sandbox.start(Idle(minutes, loops, state), cleanup=partial(shutil.rmtree, state, ignore_errors=True)) as box:
        while (row := box.receive(SILENCE_MAX_S + _WINDOW_S)) is not None:
            rows.append(row)
            print(row, flush=True)
    totals = {
        name: sum(row[name] for row in rows) for name in ("moves", "packets_sent", "packets_lost", "lease_lapses")
    }
    longest = max(row["advertisement_gap_ms_max"] for row in rows)
    document = {"machine": machine(), "loops_a_cpu": loops, **totals, "advertisement_gap_ms_max": longest, "rows": rows}
    (into / "idle.json").write_text(json.dumps(document, indent=1) + "\n")
    print({name: value for name, value in document.items() if name != "rows"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "bench/results" / time.strftime("%Y-%m-%d"))
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(KINDS), default=[])
    parser.add_argument("--report", type=Path)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--loops", type=int, default=1, help="busy loops a CPU beside the idle pair; 0 to compare")
    arguments = parser.parse_args()
    if arguments.report is not None:
        report(arguments.report)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if arguments.idle:
        run_idle(arguments.into, arguments.minutes, arguments.loops)
        return 0
    try:
        run_campaign(arguments.into, arguments.seed, arguments.faults, tuple(arguments.only or KINDS))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where it was")
        return 1
    return 0 if report(arguments.into)["share"] >= 0.995 else 2


if __name__ == "__main__":
    sys.exit(main())
