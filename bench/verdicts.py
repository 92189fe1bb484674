"""Whether a part's figures reach its bar: each figure of the claim by itself, so that what missed is named."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from flowparts import ALL, PARTS, Part

Row = dict[str, Any]
Check = tuple[bool, str]
"""Whether it is reached, and the figure in words."""
OURS, CONTROL = "understudy", ALL[-1]
SURVIVE, COVERED, LOSSLESS, WORST_LOST = 0.999, 0.995, 0.95, 20
FLOWS = {f"flows-{part.name}": part for part in PARTS}


def ours(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["contender"].partition(",")[0] == OURS]


def planned(part: Part, contender: str) -> int:
    """Runs of a contender and case that the claim is about."""
    return min(part.runs, part.control_runs) if contender == CONTROL else part.runs


def verdict(name: str, rows: Sequence[Row]) -> str:
    """Of the rows that count. Few runs can miss a bar, and cannot reach it."""
    if name not in MET:
        return ""
    if name in FLOWS and not ours(rows):
        return "too few runs"
    missed = [said for reached, said in MET[name](rows) if not reached]
    if missed:
        return f"**missed**: {'; '.join(missed)}"
    return "too few runs" if name in FLOWS and _few(FLOWS[name], rows) else "met"


def _few(part: Part, rows: Sequence[Row]) -> bool:
    runs = {(row["contender"].partition(",")[0], row["case"], row["of"], row["number"]) for row in rows}
    asked = [(name, case) for name in {OURS, CONTROL} & set(part.contenders) for case in part.cases]
    return any(sum(run[:2] == each for run in runs) < planned(part, each[0]) for each in asked)


def worst(rows: Sequence[Row], key: str, most: float, said: str) -> Check:
    """A figure that was not found is not reached."""
    values = [row.get(key) for row in rows]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return False, f"{said}: unknown in {len(values) - len(known)} of {len(values)}"
    highest = max(known, default=0)
    return highest <= most, f"{said} {highest:.4g} (at most {most:g})"


def _survive(rows: Sequence[Row], *protocols: str) -> list[Check]:
    checks = [worst(rows, "tcp_reset", 0, "resets")]
    for each in protocols:
        had, kept = (sum(row.get(f"{each}_{what}") or 0 for row in rows) for what in ("established", "survived"))
        checks.append((kept >= SURVIVE * had, f"{kept} of {had} {each} survived"))
    return checks


def _control_loses(rows: Sequence[Row]) -> Check:
    """Where nothing keeps state connections must be lost, or survival proves nothing. Without a run nothing is said."""
    lost = [row["tcp_survived"] < SURVIVE * row["tcp_established"] for row in rows]
    return all(lost), "the control lost nothing"


def _of(rows: Iterable[Row], key: str, *values: str) -> list[Row]:
    return [row for row in rows if row.get(key) in values]


def _survival(*protocols: str) -> Callable[[Sequence[Row]], list[Check]]:
    return lambda rows: [*_survive(ours(rows), *protocols), _control_loses(_of(rows, "contender", CONTROL))]


def _switchover(rows: Sequence[Row]) -> list[Check]:
    own = ours(rows)
    lossless = sum(row["packets_lost"] == 0 for row in own)
    return [
        (lossless >= LOSSLESS * len(own), f"0 lost in {lossless} of {len(own)}"),
        worst(own, "packets_lost", WORST_LOST, "packets lost"),
        worst(own, "tcp_reset", 0, "resets"),
    ]


def _return(rows: Sequence[Row]) -> list[Check]:
    lost = sum(row["tcp_established"] - row["tcp_survived"] for row in ours(rows))
    return [(lost == 0, f"{lost} connections lost")]


def _gate(rows: Sequence[Row]) -> list[Check]:
    off = _of(rows, "case", "off")
    shown = all(row["vip_before_state"] > 0 for row in off)
    return [
        worst(_of(rows, "case", "on"), "vip_before_state", 0, "flows missing at the first answer"),
        (shown, "with the gate off nothing was missing"),
    ]


def _truth(rows: Sequence[Row]) -> list[Check]:
    kept = _of(rows, "case", "power-loss", "power-loss-idle", "switchover", "return")
    return [
        worst(kept, "vip_before_state", 0, "flows missing at the first answer"),
        *_survive(kept, "tcp"),
        _control_loses(_of(rows, "case", "none")),
    ]


def _sessions(rows: Sequence[Row]) -> list[Check]:
    kept = _of(rows, "case", "replicate")
    whole = sum(row["whole"] for row in kept)
    controls = {case: _of(rows, "case", case) for case in ("none", "no-helpers", "unreplicated")}
    fine = [case for case, each in controls.items() if each and all(row["whole"] for row in each)]
    return [
        (whole == len(kept), f"{whole} of {len(kept)} whole"),
        (not fine, f"controls lost nothing: {', '.join(fine)}"),
    ]


def _apply(rows: Sequence[Row]) -> list[Check]:
    return [
        worst(rows, "connections_lost", 0, "connections lost"),
        worst(rows, "packets", WORST_LOST, "packets lost"),
    ]


def _lag(rows: Sequence[Row]) -> list[Check]:
    own = ours(rows)
    return [
        worst(own, "p50_ms", 10, "p50 in ms"),
        worst(own, "p99_ms", 50, "p99 in ms"),
        worst(own, "missing", 0, "events that never came"),
    ]


def _rate(rows: Sequence[Row]) -> list[Check]:
    own = ours(rows)
    least = min(row["sustained"] for row in own)
    # Of the series that all were in together, or the moments would be compared.
    cpu = {name: median(row["active_cpu_s"] for row in each) for name in ALL if (each := _of(rows, "contender", name))}
    best = min((value for name, value in cpu.items() if name != OURS), default=None)
    spent = cpu.get(OURS)
    checks = [(least >= 60_000, f"{least:,.0f} events/s sustained".replace(",", " "))]
    if best is not None and spent is not None:
        checks.append((spent <= best, f"CPU of the active {spent:.3g} s, conntrackd's {best:.3g} s"))
    return checks


def _resync(rows: Sequence[Row]) -> list[Check]:
    own = ours(rows)
    return [
        worst(own, "gate_ms", 20, "promotion in ms"),
        worst(own, "resync_s", 10, "copied anew in s"),
        *(worst(own, f"idle_cpu_percent_{side}", 3, f"idle {side}, % of a CPU") for side in ("active", "standby")),
        *(worst(own, f"pss_mb_{side}", 250, f"MB of the {side}") for side in ("active", "standby")),
    ]


def _covered(rows: Sequence[Row]) -> list[Check]:
    ended = sum(row["ended"] for row in rows)
    return [(ended >= COVERED * len(rows), f"{ended} of {len(rows)}, {100 * ended / len(rows):.2f} %")]


MET: dict[str, Callable[[Sequence[Row]], list[Check]]] = {
    "drift": lambda rows: [worst(rows, "ms", 100, "ms")],
    "reload": lambda rows: [
        worst(rows, "lost", 0, "packets lost"),
        worst(rows, "role_changes", 0, "role changes"),
    ],
    "flood": lambda rows: [worst(rows, "role_changes", 0, "role changes")],
    "interoperability": lambda rows: [(all(row["ok"] for row in rows), f"{sum(not row['ok'] for row in rows)} failed")],
    "sim-faults": lambda rows: [worst(rows, "violations", 0, "violations")],
    "coverage-500": _covered,
    "starved-pair": lambda rows: [worst(rows, "moves", 0, "role changes")],
    "flows-survival": _survival("tcp"),
    "flows-idle": _survival("tcp", "udp"),
    "flows-switchover": _switchover,
    "flows-return": _return,
    "flows-gate": _gate,
    "flows-truth": _truth,
    "flows-sessions": _sessions,
    "flows-apply": _apply,
    "flows-lag": _lag,
    "flows-rate": _rate,
    "flows-resync": _resync,
    "flows-overrun": lambda rows: [worst(ours(rows), "agreed_s", 3, "s until both sides agreed")],
}
"""By part, of its rows that count. Contenders are named as on the page: a series apart is `NAME, ...`."""
