"""The page's parts about other benchmarks of this folder: any rows as a table."""

from collections.abc import Sequence
from statistics import median
from typing import Any

PROGRAMS = {
    "drift": "Changes behind our back",
    "reload": "Live reload",
    "flood": "Hostile floods",
    "interoperability": "Speaking with keepalived and FRR",
    "sim-faults": "All faults in the simulator",
    "coverage-500": "Faults that ended with no human",
    "starved-pair": "A starved pair with nothing to do",
    "flows-survival": "Established connections through a power loss",
    "flows-idle": "Mostly idle connections and datagrams through a power loss",
    "flows-switchover": "Hand-over under load",
    "flows-return": "The node returns and takes over again",
    "flows-gate": "No address before its state",
    "flows-truth": "Both kernels' flows in the drill",
    "flows-sessions": "FTP, SSH and WebSocket through six moves of the pair",
    "flows-apply": "Change without downtime",
    "flows-lag": "Replication lag",
    "flows-rate": "Sustained events and their CPU",
    "flows-resync": "200 000 entries: resting, copied anew, promoted",
    "flows-overrun": "After lost events",
}
_STRUCK = (
    "outage_ms", "packets_lost", "tcp_established", "tcp_survived", "tcp_reset", "tcp_stalled", "missing_at_answer",
    "dual_answer_ms",
)  # fmt: skip
_DRILLED = (
    "vip_before_state", "flows_unsent", "flows_mismatched", "sync_lag_ms", "sync_lag_p99_ms", "flows_active",
    "tcp_established", "tcp_survived", "tcp_reset", "udp_established", "udp_survived", "packets_lost", "outage_ms",
)  # fmt: skip
COLUMNS: dict[str, tuple[str, ...]] = {
    "coverage-500": ("ended", "outage_ms", "tcp_reset", "dual_answer_ms", "overlap_ms", "load"),
    "flows-survival": _STRUCK,
    "flows-idle": (*_STRUCK, "udp_established", "udp_survived"),
    "flows-switchover": _STRUCK,
    "flows-return": _STRUCK,
    "flows-gate": _DRILLED,
    "flows-truth": _DRILLED,
    "flows-sessions": (
        "whole", "resets", "stalls", "wrong", "power_loss_ms", "node_returns_ms", "agent_kill_ms", "agent_returns_ms",
        "switchover_ms", "link_down_ms",
    ),
    "flows-apply": ("packets", "connections_lost", "took_ms"),
    "flows-lag": ("flows", "missing", "p50_ms", "p99_ms", "max_ms"),
    "flows-rate": ("sustained", "cpu_rate", "active_cpu_s", "standby_cpu_s"),
    "flows-resync": (
        "copied_s", "resync_s", "complete_after_answer_ms", "in_kernel_at_answer", "commit_s", "gate_ms",
        "promotion_cpu_s", "idle_cpu_percent_active", "idle_cpu_percent_standby", "pss_mb_active", "pss_mb_standby",
        "rss_mb_active", "rss_mb_standby",
    ),
    "flows-overrun": ("events_lost", "stopped_s", "agreed_s", "differing"),
}  # fmt: skip
"""Figures of a part's page where its rows have more than a page wants."""
KINDS = {
    "coverage-500": ("fault",),
    "flows-apply": ("contender", "change", "result"),
    "flows-gate": ("contender", "case"),
    "flows-sessions": ("case", "session", "path"),
    "flows-truth": ("contender", "case"),
}
"""What tells a part's rows apart, where it is not simply the contender."""
THE_MORE_THE_BETTER = frozenset({"tcp_established", "tcp_survived", "udp_established", "udp_survived", "sustained"})
NO_FIGURES = frozenset({"run", "number", "seed", "trial"})
LABELS_MAX = 3
LINES_MAX = 60


def rows_table(rows: list[dict[str, Any]], labels: Sequence[str] = (), numbers: Sequence[str] = ()) -> str:
    """Rows of any shape as a table: a line for each kind of row, and of each number its median and worst.

    If not given, the kinds are what the first few short texts of a row say, and all its numbers are figures.
    """
    first = rows[0]
    if not labels:
        labels = [key for key, value in first.items() if isinstance(value, str) and len(value) < 40][:LABELS_MAX]
    if not numbers:
        numbers = [key for key, value in first.items() if isinstance(value, int | float) and key not in NO_FIGURES]
    else:
        numbers = [key for key in numbers if any(row.get(key) is not None for row in rows)]
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(str(row.get(key, "")) for key in labels), []).append(row)
    lines = ["| " + " | ".join([*labels, "n", *numbers]) + " |", "|---" * (len(labels) + 1 + len(numbers)) + "|"]
    for kind, same in list(kinds.items())[:LINES_MAX]:
        cells = [
            middle_and_worst([row[key] for row in same if row.get(key) is not None], least=key in THE_MORE_THE_BETTER)
            for key in numbers
        ]
        lines.append("| " + " | ".join([*kind, str(len(same)), *cells]) + " |")
    return "\n".join(lines)


def middle_and_worst(values: list[float], *, least: bool = False) -> str:
    """A yes or no as how many said yes. The worst is the greatest, or the least."""
    if not values:
        return "-"
    if all(isinstance(value, bool) for value in values):
        return f"{sum(values)} of {len(values)}"
    if min(values) == max(values):
        return figure(values[0])
    worst = f"min {figure(min(values))}" if least else f"max {figure(max(values))}"
    return f"{figure(median(values))}, {worst}"


def believable(row: dict[str, Any]) -> bool:
    """Where a run was repeated within its row, `counts` says whether one of them was measured well."""
    return bool(row["counts"]) if "counts" in row else not row.get("void")


def unexpected_ends(rows: list[dict[str, Any]]) -> str:
    """How many faults ended as they must, and each that did not; nothing for rows that do not say."""
    if not all(isinstance(row.get("ended"), bool) for row in rows):
        return ""
    ended = sum(row["ended"] for row in rows)
    text = f"\n\n{ended} of {len(rows)} ended as they must: {100 * ended / len(rows):.2f} %."
    for row in rows:
        if not row["ended"]:
            text += f"\n* number {row['number']}, {row['fault']}, {row['file']}: {'; '.join(row['why'])}"
    return text


def programs_section(documents: dict[str, dict[str, Any]]) -> str:
    text = ""
    for name, title in PROGRAMS.items():
        if name in documents:
            document = documents[name]
            void = [row for row in document["rows"] if not believable(row)]
            believed = [row for row in document["rows"] if believable(row)]
            if not believed:
                continue
            table = rows_table(
                believed, KINDS.get(name, ("contender",) if name in COLUMNS else ()), COLUMNS.get(name, ())
            )
            if void:
                table += f"\n\n{len(void)} runs were void{'' if 'counts' in void[0] else ' and repeated'}."
            table += unexpected_ends(believed)
            text += f"\n## {title}\n\nBar: {document['claim']}. Command: `{document['command']}`; it ended with {document['exit']}.\n\n{table}\n"
    return text


def figure(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"
