"""Rows of a comparison -> `summary.json`: a row for each contender, fault and interval, and how it stands to keepalived.

keepalived counts with the better of its two modes: the one with the lower median outage at that fault and interval.
Ratios are of medians over the runs that both have, with a bootstrap interval over pairs of the same phase.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

SCHEMA = "understudy.comparison/1"
RESAMPLES = 4000
PEERS = ("keepalived", "keepalived-vmac")
PRIORITIES = {"gw1": 250, "gw2": 240}
Row = dict[str, Any]
"""One line of `compare.jsonl`: plain JSON."""
Key = tuple[str, int, str]
"""Fault, interval in ms, contender."""


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, int(-(-len(ordered) * share // 100)) - 1)]


def bound_ms(row: Row) -> tuple[float, float]:
    """[2 I + skew, 3 I + skew] with the skew of the node that stood by (RFC 9568, section 6.1)."""
    standby = next(node for node in PRIORITIES if node != row["struck"])
    skew = (256 - PRIORITIES[standby]) / 256
    return (2 + skew) * row["advertise_ms"], (3 + skew) * row["advertise_ms"]


def beyond_protocol_ms(row: Row) -> float:
    """What the outage had beyond the timers, with the phase as it was: the daemon's, the kernel's and the clients' part.

    The standby's timer runs out 3 I + skew after the last advertisement, which was `phase` of an interval before the
    fault; the first packet that fails comes up to a millisecond after that.
    """
    return float(row["outage_ms"] - (bound_ms(row)[1] - row["phase"] * row["advertise_ms"]))


def ratio_interval(ours: Sequence[Row], theirs: Sequence[Row], seed: int = 1) -> tuple[float, float, float] | None:
    """Ratio of median outages with its 95 % interval by the bootstrap's percentiles; None where there is no outage.

    Drawn by run number: runs of one number had the same phase, which is most of what makes outages differ. Drawn apart,
    the interval would be as wide as the phases are spread, and say nothing about the daemons.
    """
    by_number = {row["number"]: row["outage_ms"] for row in theirs}
    pairs = [(row["outage_ms"], by_number[row["number"]]) for row in ours if row["number"] in by_number]
    return bootstrap_ratio(pairs, seed)


def bootstrap_ratio(pairs: Sequence[tuple[float, float]], seed: int = 1) -> tuple[float, float, float] | None:
    """Ratio of the medians of two sides with its 95 % interval, drawn over pairs that met the same conditions."""
    middle = _ratio(pairs)
    if middle is None:
        return None
    generator = random.Random(seed)
    drawn = [_ratio(generator.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES)]
    known = [ratio for ratio in drawn if ratio is not None]
    return middle, percentile(known, 2.5), percentile(known, 97.5)


def _ratio(pairs: Sequence[tuple[float, float]]) -> float | None:
    if not pairs:
        return None
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    return ours / theirs if theirs > 0 else None


def series_of(rows: Sequence[Row]) -> tuple[dict[Key, list[Row]], Counter[Key], dict[Key, Counter[str]]]:
    """Believed rows, number of void ones and their reasons.

    If sizes were mixed, the largest series counts; of a run that was measured twice, the last row.
    """
    largest: dict[tuple[str, int], int] = {}
    for row in rows:
        where = row["fault"], row["advertise_ms"]
        largest[where] = max(largest.get(where, 0), row["of"])
    good: dict[Key, dict[int, Row]] = {}
    void: Counter[Key] = Counter()
    reasons: dict[Key, Counter[str]] = {}
    for row in rows:
        key = row["fault"], row["advertise_ms"], row["contender"]
        if row["of"] != largest[key[:2]]:
            continue
        if row["void"]:
            void[key] += 1
            reasons.setdefault(key, Counter())[row["void"].partition(" for ")[0]] += 1
        else:
            good.setdefault(key, {})[row["number"]] = row
    return {key: list(runs.values()) for key, runs in good.items()}, void, reasons


def best_peer(good: Mapping[Key, Sequence[Row]], fault: str, interval_ms: int) -> str | None:
    """The mode of keepalived with the lower median outage."""
    found = [name for name in PEERS if (fault, interval_ms, name) in good]
    return min(
        found,
        key=lambda name: median(row["outage_ms"] for row in good[fault, interval_ms, name]),
        default=None,
    )


def summarise(rows: Sequence[Row], machine: Mapping[str, Any]) -> dict[str, Any]:
    good, void, reasons = series_of(rows)
    contenders = []
    for (fault, interval_ms, name), runs in sorted(
        good.items(), key=lambda item: (item[0][0], -item[0][1], item[0][2])
    ):
        outages = [row["outage_ms"] for row in runs]
        dual = [row["dual_answer_ms"] for row in runs]
        best = best_peer(good, fault, interval_ms)
        ratio = ratio_interval(runs, good[fault, interval_ms, best]) if best else None
        inside = [low - 1 <= row["outage_ms"] <= high + 25 for row in runs for low, high in (bound_ms(row),)]
        contenders.append(
            {
                "name": name,
                "fault": fault,
                "advertise_ms": interval_ms,
                "runs": len(runs),
                "void": void[fault, interval_ms, name],
                "void_reasons": dict(reasons.get((fault, interval_ms, name), {})),
                "outage_ms": spread(outages),
                "dual_answer_ms": {**spread(dual), "runs_above_0": sum(value > 0 for value in dual)},
                "overlap_ms": {"max": max(row["overlap_ms"] for row in runs)},
                "answers_on": sum(row["answers_on"] and row["dual_answer_ms"] > 0 for row in runs),
                "not_recovered": sum(not row["recovered"] for row in runs),
                "lost": {"p50": median(row["packets_lost"] for row in runs), "max": max(r["packets_lost"] for r in runs)},
                "tcp": {
                    end: sum(row[f"tcp_{end}"] for row in runs) for end in ("established", "survived", "reset", "stalled")
                },
                "speaker_changes_max": max(row["speaker_changes"] for row in runs),
                "within_bound": sum(inside),
                "beyond_protocol_ms": spread([beyond_protocol_ms(row) for row in runs]) if fault == "node-power-loss" else None,
                "compared_with": best,
                "ratio_of_medians": ratio and {
                    "value": round(ratio[0], 4), "low": round(ratio[1], 4), "high": round(ratio[2], 4),
                },
                "load": {
                    "average": round(median(row["load_average"] for row in runs), 2),
                    "average_max": max(row["load_average"] for row in runs),
                    "cpu_busy": round(median(row["cpu_busy"] for row in runs), 3),
                    "steal_max": max(row["cpu_steal"] for row in runs),
                },
                "took_s": round(median(row["took_s"] for row in runs), 2),
            }
        )  # fmt: skip
    return {"schema": SCHEMA, "machine": dict(machine), "contenders": contenders}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(median(values), 3),
        "p95": round(percentile(values, 95), 3),
        "p99": round(percentile(values, 99), 3),
        "max": round(max(values), 3),
        "min": round(min(values), 3),
    }


def write_summary(directory: Path, rows: Sequence[Row], machine: Mapping[str, Any]) -> None:
    draft = directory / "summary.new"
    draft.write_text(json.dumps(summarise(rows, machine), indent=1) + "\n")
    draft.rename(directory / "summary.json")
