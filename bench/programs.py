"""The page's parts about other benchmarks of this folder: any rows as a table, the verdict, and what does not count."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import interoptable
from resumable import whole_attempts
from verdicts import COVERED, FLOWS, planned, verdict

Row = dict[str, Any]
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
NOTED_ABOVE = {"flows-sessions": 60}
BOUNDS = {
    "flows-rate": (
        "The active's time for an event is the kernel's own copy of it, one cut by `struct` and one copy into a datagram; "
        "conntrackd's cached mode does about as much, and its standby writes nothing into a kernel. A reader of netlink "
        "in C would lift it."
    ),
    "flows-resync": (
        "At rest at 50 ms an active node's core takes about 1.3 % (20 beats a second), replication 0.7 % and the process "
        "that changes the kernel 0.3 %; a comparison of 200 000 entries every 800 s comes on top, and the minute that is "
        "measured has none. A slower beat while nothing moves would lift it, at the price of a later take-over."
    ),
}
"""What bounds a figure that misses its bar, and what would lift it."""
"""Parts in whose rows the times of gaps are none, or 0, where none was longer than so many ms."""
NO_FIGURES = frozenset({"run", "number", "seed", "trial"})
LABELS_MAX = 3
LINES_MAX = 60


Cell = Callable[[str, list[Row]], str]
"""Of a figure's name and the rows of a line: what stands there."""


def cell(key: str, rows: list[Row]) -> str:
    return middle_and_worst([row[key] for row in rows if row.get(key) is not None], least=key in THE_MORE_THE_BETTER)


def gap_cell(key: str, rows: list[Row]) -> str:
    """Of gaps that are noted from some length on: in how many runs there was one."""
    noted = [row[key] for row in rows if row.get(key)]
    if not key.endswith("_ms") or len(noted) == len(rows):
        return cell(key, rows)
    return f"{middle_and_worst(noted)} in {len(noted)} of {len(rows)}" if noted else "-"


def rows_table(
    rows: list[Row],
    labels: Sequence[str] = (),
    numbers: Sequence[str] = (),
    asked: Callable[[list[Row]], int | None] = lambda _: None,
    told: Cell = cell,
) -> str:
    """Rows of any shape as a table: a line for each kind of row, and of each number its median and worst.

    If not given, the kinds are what the first few short texts of a row say, and all its numbers are figures. `asked`
    says how many rows a line was to have.
    """
    first = rows[0]
    if not labels:
        labels = [key for key, value in first.items() if isinstance(value, str) and len(value) < 40][:LABELS_MAX]
    if not numbers:
        numbers = [key for key, value in first.items() if isinstance(value, int | float) and key not in NO_FIGURES]
    else:
        numbers = [key for key in numbers if any(row.get(key) is not None for row in rows)]
    kinds: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        kinds.setdefault(tuple(str(row.get(key, "")) for key in labels), []).append(row)
    lines = ["| " + " | ".join([*labels, "n", *numbers]) + " |", "|---" * (len(labels) + 1 + len(numbers)) + "|"]
    for kind, same in list(kinds.items())[:LINES_MAX]:
        total = asked(same)
        count = str(len(same)) if total is None else f"{len(same)} of {total}"
        lines.append("| " + " | ".join([*kind, count, *(told(key, same) for key in numbers)]) + " |")
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


# -- which rows count --


def believable(row: Row) -> bool:
    """Where a run was repeated within its row, `counts` says whether one of them was measured well."""
    return bool(row["counts"]) if "counts" in row else not row.get("void")


def _key(row: Row) -> tuple[Any, ...]:
    return row["contender"], row["case"], row["of"], row["number"]


def counting(rows: list[Row]) -> list[Row]:
    """Believable rows. One void row lets all rows of its attempt go, once the run has been repeated whole."""
    found = [row for row in rows if believable(row)]
    if not all("at" in row and "of" in row for row in rows):
        return found
    whole = whole_attempts(rows, _key)
    partly = {(_key(row), row["at"]) for row in rows if not believable(row)}
    return [row for row in found if _key(row) not in whole or (_key(row), row["at"]) not in partly]


def told_apart(rows: list[Row]) -> list[Row]:
    """Of a contender with runs of several series, those that no other contender was in get a line of their own.

    Only runs of one series were shuffled with the others', and so met the same moments. Where there is no other, all
    runs are one.
    """
    if not all("of" in row for row in rows):
        return rows
    sizes: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        sizes.setdefault((row["contender"], row["case"]), set()).add(row["of"])

    def name_of(row: Row) -> str:
        own = sizes[row["contender"], row["case"]]
        others = [each for (name, case), each in sizes.items() if case == row["case"] and name != row["contender"]]
        alone = len(own) > 1 and bool(others) and not any(row["of"] in each for each in others)
        return f"{row['contender']}, series of {row['of']}" if alone else row["contender"]

    return [{**row, "contender": name_of(row)} for row in rows]


def asked_of(name: str) -> Callable[[list[Row]], int | None]:
    """How many rows a line was to have: by the claim, or of a series apart by its own size."""
    part = FLOWS.get(name)

    def asked(same: list[Row]) -> int | None:
        if part is None:
            return None
        first = same[0]
        a_run = max(Counter((row["of"], row["number"]) for row in same).values())
        runs = first["of"] if "," in first["contender"] else planned(part, first["contender"])
        return int(a_run * runs)

    return asked


# -- what is said beside the table --


def not_counted(rows: list[Row]) -> str:
    """Of each contender: how many rows are void and why, and how many runs have no row that counts."""
    lines = []
    for name in dict.fromkeys(row.get("contender", "") for row in rows):
        own = [row for row in rows if row.get("contender", "") == name]
        void = [row for row in own if not believable(row)]
        done = {(row.get("case"), row["of"], row["number"]) for row in own if "of" in row and believable(row)}
        series = {(row.get("case"), row["of"]) for row in own if "of" in row}
        short = sum(of for _, of in series) - len(done)
        said = [f"void {len(void)} ({reasons(void)})"] if void else []
        said += [f"runs asked for without a row that counts: {short}"] if short > 0 else []
        if said:
            lines.append(f"* {name}{': ' if name else ''}{'; '.join(said)}")
    return "\n\n" + "\n".join(lines) if lines else ""


def reasons(void: list[Row]) -> str:
    """Why, without what was measured of it each time; and what these rows have in common with their outcome."""
    why = Counter(_why(row).partition(" for ")[0] for row in void)
    text = ", ".join(f"{reason}: {times}" for reason, times in why.most_common(LABELS_MAX))
    missing = [row["missing_at_answer"] for row in void if row.get("missing_at_answer") is not None]
    return text + (f"; missing_at_answer {middle_and_worst(missing)}" if missing else "")


def _why(row: Row) -> str:
    return str(row["void"][-1] if isinstance(row["void"], list) else row["void"])


def unexpected_ends(rows: list[Row]) -> str:
    """How many faults ended as they must, each that did not, each that was not seen; nothing for rows without an end."""
    if not all(isinstance(row.get("ended"), bool) for row in rows):
        return ""
    seen = [row for row in rows if believable(row)]
    ended = sum(row["ended"] for row in seen)
    text = f"\n\n{ended} of {len(seen)} ended as they must: {100 * ended / len(seen):.2f} %."
    for row in seen:
        if not row["ended"]:
            text += f"\n* number {row['number']}, {row['fault']}, {row['file']}: {'; '.join(row['why'])}"
    void = [row for row in rows if not believable(row)]
    text += f"\n\n{len(void)} were not seen well in any attempt, and are in no figure:" if void else ""
    for row in void:
        text += f"\n* number {row['number']}, {row['fault']}, {row['file']}: {'; '.join(row['void'])}"
    return text


def first_pass_told(rows: list[Row], file: str) -> str:
    """A pass before the one whose rows the table shows."""
    seen = [row for row in rows if believable(row)]
    ended = sum(row["ended"] for row in seen)
    met = "met" if ended >= COVERED * len(seen) else "**missed**"
    missed = "; ".join(
        f"number {row['number']}, {row['fault']}: {', '.join(row['why'])}" for row in seen if not row["ended"]
    )
    return (
        f"\n\nThe same {len(rows)} faults had been struck before (`{file}`): {ended} of {len(seen)} ended as they must, "
        f"{100 * ended / len(seen):.2f} %, with {len(rows) - len(seen)} void: {met}. What had not: {missed}."
    )


def ended_with(document: Mapping[str, Any]) -> str:
    if "exit" not in document:
        return "how it ended was not kept"
    return "rows of a run that did not end" if document["exit"] is None else f"it ended with {document['exit']}"


def commits(rows: Sequence[Row]) -> str:
    """Which code the rows are of, where it is not one."""
    found = Counter(row.get("commit", "") for row in rows)
    if len(found) < 2:
        return ""
    return "rows of " + ", ".join(
        f"`{name}`: {times}" if name else f"a commit that they do not name: {times}" for name, times in found.items()
    )


def programs_section(documents: Mapping[str, Any], first_passes: Mapping[str, tuple[str, list[Row]]] = {}) -> str:
    """Of the documents that `bench/run.py` left; `first_passes` are a part's earlier rows with their file's name."""
    text, nothing = "", []
    for name, title in PROGRAMS.items():
        document = documents.get(name)
        believed = told_apart(counting(document["rows"])) if document is not None else []
        if document is None or not believed:
            nothing.append(f"`{name}` ({title})")
            continue
        judged = verdict(name, believed)
        text += (
            f"\n## {title}\n\nBar: {document['claim']}.{f' Verdict: {judged}.' if judged else ''} "
            f"Command: `{document['command']}`; {ended_with(document)}.\n\n{_table(name, believed)}"
        )
        if (above := NOTED_ABOVE.get(name)) is not None:
            text += f"\n\n`-`: no gap above {above} ms (what is shorter is how these programs speak), or no such move."
        if "missed" in judged and name in BOUNDS:
            text += f"\n\n{BOUNDS[name]}"
        rows = document["rows"]
        text += unexpected_ends(rows) or not_counted(rows)
        text += f"\n\n{said[0].upper()}{said[1:]}." if (said := commits(believed)) else ""
        if name in first_passes:
            file, earlier = first_passes[name]
            text += first_pass_told(earlier, file)
        text += "\n"
    return text + (f"\n## Not measured\n\n{', '.join(nothing)}.\n" if nothing else "")


def _table(name: str, rows: list[Row]) -> str:
    if name == "interoperability":
        return "\n".join(interoptable.table(rows))
    labels = KINDS.get(name, ("contender",) if name in COLUMNS else ())
    return rows_table(rows, labels, COLUMNS.get(name, ()), asked_of(name), gap_cell if name in NOTED_ABOVE else cell)


def figure(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"
