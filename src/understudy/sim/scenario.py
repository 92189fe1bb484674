"""A story as a small file: what breaks when, and what must be seen. Invariants are checked all along.

    title: A frozen Active is silent before its peer speaks
    advertise: 100ms
    faults:
      - {at: 1s, kind: agent-freeze, node: gw1, lasts: 2s}
    expect:
      - {at: 900ms, active: [gw1], answering: [gw1]}
      - {at: 10s, active: [gw2], answering: [gw2], role_changes: {gw1: 1, gw2: 1}}

Times count from when everything was at rest. `expect` may also bound `outage_ms_max`, `outage_ms_min` and
`overlap_ms_max`, and name in `trace` a text that a line of the trace so far contains.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from understudy.config import load_plan
from understudy.sim.checker import Violation
from understudy.sim.faults import Fault
from understudy.sim.stage import Stage
from understudy.sim.trace import format_lines
from understudy.units import MILLISECOND, NetworkName, NodeName, parse_duration

_FIELDS = {"at", "kind", "node", "network", "lasts", "amount", "target"}


def play(path: Path, default: Path) -> Iterator[str]:
    """Play the scenario in `path`, over the cluster in `default` unless it names another. Yields what went wrong."""
    story = yaml.safe_load(path.read_text(encoding="utf-8"))
    advertise = parse_duration(story["advertise"]) if "advertise" in story else None
    file = path.parent / story["file"] if "file" in story else default
    stage = Stage(load_plan(file, advertise), int(story.get("seed", 1)))
    for entry in story.get("faults", ()):
        stage.injector.schedule(_fault(entry, stage.begin))
    try:
        for expected in story["expect"]:
            stage.run_until(parse_duration(expected["at"]))
            yield from _differences(stage, expected)
    except Violation as violation:
        yield f"violated at {(violation.at - stage.begin) / 1e9:.6f} s: {violation}"
        yield from format_lines(list(stage.world.trace)[-40:])


def _fault(entry: Mapping[str, Any], begin: int) -> Fault:
    unknown = set(entry) - _FIELDS
    if unknown:
        raise ValueError(f"unknown in a fault: {', '.join(sorted(unknown))}")
    amount = entry.get("amount", 0.0)
    return Fault(
        at=begin + parse_duration(entry["at"]),
        kind=entry["kind"],
        node=NodeName(entry.get("node", "")),
        network=NetworkName(entry.get("network", "")),
        lasts=parse_duration(entry["lasts"]) if "lasts" in entry else 0,
        amount=parse_duration(amount) if isinstance(amount, str) else float(amount),
        target=str(entry.get("target", "")),
    )


def _differences(stage: Stage, expected: Mapping[str, Any]) -> Iterator[str]:
    when = expected["at"]
    outage_ms = max((gap.lasted for gap in stage.gaps()), default=0) / MILLISECOND
    overlap_ms = stage.world.checker.overlaps.planned_max / MILLISECOND
    for key, wanted in expected.items():
        match key:
            case "at":
                continue
            case "active":
                found: Any = stage.active()
            case "answering":
                found = stage.answering()
            case "role_changes":
                found = {node: stage.role_changes(node) for node in wanted}
            case "outage_ms_max":
                found = wanted if outage_ms <= wanted else outage_ms
            case "outage_ms_min":
                found = wanted if outage_ms >= wanted else outage_ms
            case "overlap_ms_max":
                found = wanted if overlap_ms <= wanted else overlap_ms
            case "trace":
                found = wanted if any(wanted in line for line in format_lines(stage.world.trace)) else "no such line"
            case _:
                raise ValueError(f"unknown expectation: {key}")
        if found != wanted:
            yield f"at {when}: {key} is {found}, expected {wanted}"
