"""Rows of bench/interop.py as the table that docs/interop.md and docs/benchmarks.md show."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

Rows = list[dict[str, Any]]


def table(rows: Rows) -> Iterator[str]:
    """One line a way to speak: trials that passed, and the times of the two kinds of leaving, by who took over."""
    yield "| beside | lives | checks | failover to us, ms | failover to them, ms | priority 0 to us, ms | to them, ms |"
    yield "|---|---|---|---|---|---|---|"
    for label in dict.fromkeys(row["speech"] for row in rows):
        own = [row for row in rows if row["speech"] == label]
        lives = {(row["ours_first"], row["preempt"], row["run"]) for row in own}
        failed = {(row["ours_first"], row["preempt"], row["run"]) for row in own if not row["ok"]}
        times = [
            _figures([row["took_ms"] for row in own if row["check"] == check and f"{to} takes over" in row["detail"]])
            for check in ("fail over", "priority 0")
            for to in ("gw1", "gw2")
        ]
        checks = f"{sum(row['ok'] for row in own)} of {len(own)}"
        yield f"| {label} | {len(lives) - len(failed)} of {len(lives)} | {checks} | {' | '.join(times)} |"


def _figures(times: Sequence[float]) -> str:
    if not times:
        return "-"
    low, high = round(min(times)), round(max(times))
    return f"{round(statistics.median(times))} ({low}-{high})" if len(times) > 1 else str(low)
