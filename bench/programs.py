"""The page's parts about other benchmarks of this folder: any rows as a table."""

from statistics import median
from typing import Any

PROGRAMS = {
    "drift": "Changes behind our back",
    "reload": "Live reload",
    "flood": "Hostile floods",
    "interoperability": "Speaking with keepalived and FRR",
    "coverage-500": "Faults that ended with no human",
    "starved-pair": "A starved pair with nothing to do",
}
NO_FIGURES = frozenset({"run", "number", "seed", "trial"})
LABELS_MAX = 3
LINES_MAX = 60


def rows_table(rows: list[dict[str, Any]]) -> str:
    """Rows of any shape as a table: a line for each kind of row, and of each number its median and worst.

    The kinds are what the first few short texts of a row say.
    """
    first = rows[0]
    labels = [key for key, value in first.items() if isinstance(value, str) and len(value) < 40][:LABELS_MAX]
    numbers = [key for key, value in first.items() if isinstance(value, int | float) and key not in NO_FIGURES]
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(str(row.get(key, "")) for key in labels), []).append(row)
    lines = ["| " + " | ".join([*labels, "n", *numbers]) + " |", "|---" * (len(labels) + 1 + len(numbers)) + "|"]
    for kind, same in list(kinds.items())[:LINES_MAX]:
        cells = [middle_and_worst([row[key] for row in same if row.get(key) is not None]) for key in numbers]
        lines.append("| " + " | ".join([*kind, str(len(same)), *cells]) + " |")
    return "\n".join(lines)


def middle_and_worst(values: list[float]) -> str:
    """A yes or no as how many said yes."""
    if not values:
        return "-"
    if all(isinstance(value, bool) for value in values):
        return f"{sum(values)} of {len(values)}"
    return figure(values[0]) if min(values) == max(values) else f"{figure(median(values))}, max {figure(max(values))}"


def programs_section(documents: dict[str, dict[str, Any]]) -> str:
    text = ""
    for name, title in PROGRAMS.items():
        if name in documents:
            document = documents[name]
            text += f"\n## {title}\n\nBar: {document['claim']}. Command: `{document['command']}`; it ended with {document['exit']}.\n\n{rows_table(document['rows'])}\n"
    return text


def figure(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"
