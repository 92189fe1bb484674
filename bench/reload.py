"""Reloads of a running pair under load: every kind of live change, many times, as rows.

    python bench/reload.py [--runs N] [--into FILE]

Each run walks through all steps in one lab, under 1 kHz of datagrams each way, 40 connections and 50 new ones a second.
A row says what a step lost; `effect` whether the kernels (of a priority, the agents) show it, `effect_before` whether
they did before. `stalled_ms` is how late our own sender was at most: while it slept nothing was measured, so that a row
with more than 5 ms is counted, and told apart.
"""

import argparse
import dataclasses
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.agent import client
from understudy.config import load_plan
from understudy.drill.change import Traffic, kernel_dump, traffic
from understudy.lab import sandbox
from understudy.lab.build import Lab
from understudy.units import SECOND, Duration

NODES = ("gw1", "gw2")
STALL_MAX_MS = 5.0
PAIR = Path(__file__).with_name("reload.yaml").read_text()


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of the file, and what a kernel that took it shows."""

    name: str
    old: str
    new: str
    effect: Callable[[str], bool]
    """Of the dump of the Active's kernel."""
    settle: Duration = SECOND // 2


def timeout(milliseconds: int) -> Callable[[str], bool]:
    """The short lease of an interval, in the rules that refresh it."""

    def effect(dump: str) -> bool:
        found = [_milliseconds(each) for each in re.findall(r"update @lease .* timeout (\w+)", dump)]
        return milliseconds - 20 <= min(found, default=0) <= milliseconds

    return effect


def _milliseconds(text: str) -> int:
    units = {"ms": 1, "s": 1000, "m": 60_000}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)(ms|s|m)", text))


CHECK = "servers: [web3:8080, web2:8080], check: {http: /healthz, every: 1s}}"
CHANGES: tuple[Change, ...] = (
    Change(
        "add-service",
        "services:\n",
        f"services:\n  api: {{listen: '203.0.113.10:81', {CHECK}\n",
        lambda dump: "203.0.113.10 . 81 : goto" in dump,
    ),
    Change(
        "change-check",  # Nothing listens on port 9: all servers of the service go down, and its pairs with them.
        CHECK,
        CHECK.replace("http: /healthz, every: 1s", "tcp: true, port: 9, every: 100ms, fall: 1"),
        lambda dump: "203.0.113.10 . 81 : goto" in dump and "203.0.113.10 . 81 . 0x" not in dump,
    ),
    Change("add-server", "servers: [web1:8080, web2:8080]", "servers: [web1:8080, web3:8080, web2:8080]",
           lambda dump: "map slots_3 {" in dump),
    Change("remove-server", "servers: [web1:8080, web3:8080, web2:8080]", "servers: [web2:8080, web3:8080]",
           lambda dump: "10.9.0.11 . 8080" not in dump),
    Change("add-address", "[203.0.113.10]", "[203.0.113.10, 203.0.113.20]", lambda dump: "203.0.113.20/32" in dump),
    Change("shorter-interval", "advertise: 100ms", "advertise: 50ms", timeout(150)),
    Change("longer-interval", "advertise: 50ms", "advertise: 1s", timeout(3000), 3 * SECOND),
    Change("shorter-again", "advertise: 1s", "advertise: 100ms", timeout(300), SECOND),
    Change("swap-priorities", "nodes: [gw1, gw2]", "nodes: [gw2, gw1]", lambda dump: True),
    Change("remove-address", "[203.0.113.10, 203.0.113.20]", "[203.0.113.10]",
           lambda dump: "203.0.113.20" not in dump),
    Change("remove-service", f"  api: {{listen: '203.0.113.10:81', "
           f"{CHECK.replace('http: /healthz, every: 1s', 'tcp: true, port: 9, every: 100ms, fall: 1')}\n", "",
           lambda dump: "203.0.113.10 . 81" not in dump),
)  # fmt: skip


def active(lab: Lab) -> str:
    """The one node that is. Fails if there is none, or another."""
    found = [n for n in NODES if client.ask(lab.run_dir(n) / client.SOCKET, "status")["groups"][0]["role"] == "active"]
    if len(found) != 1:
        raise RuntimeError(f"Active: {found or 'nobody'}")
    return found[0]


def order(lab: Lab, change: Change) -> Sequence[str]:
    first = active(lab)
    other = next(node for node in NODES if node != first)
    return (first, other) if change.name.startswith("shorter") else (other, first)


def walk(flowing: Traffic, changes: Sequence[Change], text: str = PAIR) -> list[dict[str, Any]]:
    """Every change in turn; whether each could be seen afterwards, and not before."""
    seen = []
    for change in changes:
        assert change.old in text, change.name
        before = active(flowing.lab)
        shown = any(_shows(flowing.lab, node, change) for node in NODES)
        text = text.replace(change.old, change.new)
        step = flowing.reload(change.name, text.encode(), order(flowing.lab, change), change.settle)
        errors = [reply["error"]["message"] for reply in step.replies if "error" in reply]
        visible = all(_shows(flowing.lab, node, change) for node in NODES)
        seen.append({"effect": visible, "effect_before": shown, "active": [before, active(flowing.lab)],
                     "errors": errors})  # fmt: skip
    return seen


def _shows(lab: Lab, node: str, change: Change) -> bool:
    if change.name == "add-address" and node != active(lab):
        return "203.0.113.20" in kernel_dump(lab, node)  # in the gates; the link has it only where it is Active
    if change.name == "swap-priorities":
        status = client.ask(lab.run_dir(node) / client.SOCKET, "status")
        return bool(status["groups"][0]["priority"] == {"gw1": 240, "gw2": 250}[node])
    return change.effect(kernel_dump(lab, node))


def one_run(report: Callable[[list[dict[str, Any]]], None]) -> None:
    with tempfile.TemporaryDirectory() as state:
        lab = Lab(load_plan(PAIR.encode()), Path(state))
        lab.up()
        wait_for_pair(lab)
        with traffic(lab, lab.plan.groups[0]) as flowing:
            control = flowing.watch("nothing", lambda: None)
            seen = [{"effect": True, "effect_before": False, "active": [], "errors": []}, *walk(flowing, CHANGES)]
        del control
        report([{**dataclasses.asdict(row), **what} for row, what in zip(flowing.rows(), seen, strict=True)])
        lab.down()


def wait_for_pair(lab: Lab) -> None:
    """Until one is Active and hears the other."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            groups = [client.ask(lab.run_dir(n) / client.SOCKET, "status")["groups"][0] for n in NODES]
        except Exception:
            groups = []
        if sorted(g["role"] for g in groups) == ["active", "backup"] and all(g["peers"][0]["heard"] for g in groups):
            return
        time.sleep(0.05)
    raise RuntimeError("the pair did not come up")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for number in range(1, arguments.runs + 1):
        time.sleep(random.random() * 0.1)  # another phase of the interval
        with sandbox.start(one_run) as running:
            found = running.receive(120)
        rows += [{"run": number, "load": os.getloadavg()[0], **row} for row in found]
        if arguments.into:
            arguments.into.write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(f"run {number} of {arguments.runs}", file=sys.stderr, flush=True)
    failed = False
    for step in dict.fromkeys(row["step"] for row in rows):
        failed |= summarise(step, [row for row in rows if row["step"] == step])
    return int(failed)


def summarise(step: str, rows: Sequence[dict[str, Any]]) -> bool:
    """One line for a step; True if anything was lost, moved or not seen."""
    wrong = {key: sum(row[key] for row in rows) for key in ("lost", "resets", "refused", "role_changes")}
    wrong["unseen"] = sum(not row["effect"] or row["effect_before"] for row in rows)
    wrong["errors"] = sum(len(row["errors"]) for row in rows)
    took = sorted(each for row in rows for each in row["took_ms"])
    slow = f"{took[len(took) // 2]:.0f}/{took[-1]:.0f}" if took else "-"
    stalled = sum(row["stalled_ms"] > STALL_MAX_MS for row in rows)
    print(f"{step:18} rows {len(rows)}, sent {sum(row['sent'] for row in rows)}, "
          + ", ".join(f"{key} {value}" for key, value in wrong.items())
          + f"; took p50/max {slow} ms; {stalled} rows with a sender that stalled")  # fmt: skip
    return any(wrong.values())


if __name__ == "__main__":
    sys.exit(main())
