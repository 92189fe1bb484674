"""Parts of bench/flows.py that are runs of our own commands: each returns rows, one a run of the command's."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import ROOT, US, run
from summary import Row

from understudy.config import load_plan

FILE = "examples/stateful.yaml"
COMMAND_TIMEOUT_S = 3600
_LONG = 400
"""Characters of JSON: what is longer in a run's row are the pictures' details."""


def drill(fault: str, runs: int, seed: int, *options: str) -> list[Row]:
    """Rows of one drill at 50 ms, without what only its report wants."""
    with tempfile.TemporaryDirectory(prefix="flows-") as scratch:
        out = Path(scratch) / "drill.json"
        argv = [US, "drill", FILE, "--fault", fault, "--advertise", "50ms", "--runs", str(runs), "--seed", str(seed)]
        ended = subprocess.run(
            [*argv, "--json", str(out), *options],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S,
        )  # fmt: skip
        if not out.exists():
            raise RuntimeError(f"{' '.join(argv)}: {ended.stderr[-800:]}")
        document = json.loads(out.read_text())
    command = " ".join(["understudy", *argv[1:], *options])
    return [{**slim(each), "command": command, "exit": ended.returncode} for each in document["runs"]]


def slim(each: Row) -> Row:
    """A run's row without the parts that are long, and without its own number: it is one of several commands'."""
    kept = {name: value for name, value in each.items() if len(json.dumps(value)) <= _LONG}
    kept["number_in_command"] = kept.pop("number", None)
    return kept


def gate(case: str, number: int, quick: bool) -> list[Row]:
    """Promotions while the standby's writing is slow on purpose; with the gate off state must be missing."""
    options = ["--state", "replicate", "--sync-delay", "200ms", "--tcp", "200", "--connects", "200"]
    if case == "off":
        options += ["--gate", "off"]
    runs = 2 if quick else 20 if case == "on" else 1
    return drill("node-power-loss", runs, number + 1, *options)


_TRUTH: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "power-loss": ("node-power-loss", 10, ("--state", "replicate", "--tcp", "2000")),
    "power-loss-idle": (
        "node-power-loss", 10, ("--state", "replicate", "--tcp", "10000", "--idle-share", "0.9", "--udp", "2000"),
    ),
    "switchover": ("switchover", 34, ("--state", "replicate", "--tcp", "2000")),
    "return": ("node-return", 10, ("--state", "replicate", "--tcp", "2000")),
    "copy": ("node-power-loss", 4, ("--state", "copy", "--tcp", "2000")),
    "none": ("node-power-loss", 4, ("--state", "none", "--tcp", "2000")),
}  # fmt: skip
"""Case -> fault, runs of one command, options. `none` is the control: connections must be lost."""


def truth(case: str, number: int, quick: bool) -> list[Row]:
    fault, runs, options = _TRUTH[case]
    return drill(fault, 1 if quick else runs, number + 1, *options)


# -- change without downtime --


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of the file as it was after the edits before."""

    name: str
    edit: Callable[[str], str]


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        if old not in text:
            raise ValueError(f"{FILE} has no {old!r}: the changes of the bench do not fit it")
        return text.replace(old, new, 1)

    return edit


_OUTSIDE = "addresses: {outside: 203.0.113.10,"
_TWO = "addresses: {outside: [203.0.113.10, 203.0.113.20],"
_API = "services:\n  api: {listen: '203.0.113.10:81', servers: [web1:8080, web2:8080], state: replicate}\n"

CHANGES = (
    Change("add-address", _replaced(_OUTSIDE, _TWO)),
    Change("remove-address", _replaced(_TWO, _OUTSIDE)),
    Change("shorter-interval", _replaced("advertise: 100ms", "advertise: 50ms")),
    Change("longer-interval", _replaced("advertise: 50ms", "advertise: 100ms")),
    Change("swap-priorities", _replaced("nodes: [gw1, gw2]", "nodes: [gw2, gw1]")),
    Change("swap-back", _replaced("nodes: [gw2, gw1]", "nodes: [gw1, gw2]")),
    Change("add-service", _replaced("services:\n", _API)),
    Change("remove-service", _replaced(_API, "services:\n")),
    Change("restart", lambda text: text),
)
"""The last is the upgrade of Understudy itself: every agent begins anew, one after the other."""


def apply(case: str, number: int, quick: bool) -> list[Row]:
    """Every kind of change in turn on one live pair, measured by the command's own probes."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="flows-") as scratch:
        file = Path(scratch) / "stateful.yaml"
        text = (ROOT / FILE).read_text()
        file.write_text(text)
        cluster = str(load_plan(file).cluster)
        run("lab", "up", str(file), "--json")
        try:
            for change in CHANGES[:2] if quick else CHANGES:
                text = change.edit(text)
                file.write_text(text)
                options = ["--restart"] if change.name == "restart" else []
                rows.append({"change": change.name, **applied(file, *options)})
        finally:
            with contextlib.suppress(RuntimeError):
                run("lab", "down", cluster)
    return rows


def applied(file: Path, *options: str) -> Row:
    argv = [US, "apply", str(file), "--json", "--yes", *options]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    try:
        document = json.loads(ended.stdout)
    except ValueError:
        return {"exit": ended.returncode, "result": "no answer", "void": (ended.stderr or ended.stdout)[-400:]}
    return {"exit": ended.returncode, **summary_of(document)}


def summary_of(document: dict[str, Any]) -> Row:
    """Of what `understudy apply --json` says: totals over its steps."""
    steps = document.get("steps", [])

    def total(name: str) -> int | None:
        values = [step.get(name) for step in steps]
        return None if any(value is None for value in values) else sum(values)

    return {
        "result": document.get("result"),
        "steps": [f"{step.get('node')} {step.get('action')}" for step in steps],
        "took_ms": round(sum(step.get("took_ms") or 0 for step in steps)),
        "packets": total("packets_lost"),
        "connections_lost": total("connections_lost"),
        "error": document.get("error"),
        "findings": document.get("findings", []),
    }
