"""The page's part about NAT: each figure beside its bar, and by name whatever did not reach it."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import natparts
from programs import commits, ended_with, figure
from summary import bootstrap_ratio

Row = dict[str, Any]
Document = dict[str, Any]
TITLE = """## NAT in the words of Cisco IOS

A run is a process or a lab of its own; order shuffled. *undecided* is a ratio whose 95 % interval holds the bar.
"""
READ_S, LOADED_S, CHANGED_MS, RATIO = 1.0, 3.0, 5.0, 0.97
LINEAR = 2.0
"""How many times as much a line may cost in a text a hundred times as long: memory that no cache holds, and no more."""
SHOWN_MAX = 20


def nat_section(documents: dict[str, Document]) -> str:
    """Of the documents that `bench/run.py` left, those that are about NAT; empty if there are none."""
    lines = []
    details = ""
    for name, tell in _TELLERS.items():
        document = documents.get(f"nat-{name}")
        if document is None:
            lines.append(f"| {_WHAT[name]} | {natparts.CLAIMS[name]} | not measured | 0 | - | - | - |")
            continue
        rows = [row for row in document["rows"] if not row.get("void")]
        found, met, more = tell(rows) if rows else ("-", None, "")
        verdict = _VERDICTS[met] if rows else "not measured"
        load = max(row["load"] for row in document["rows"])
        lines.append(
            f"| {_WHAT[name]} | {document['claim']} | {found} | {len(rows)} ({len(document['rows']) - len(rows)}) | "
            f"{load:.2g} | {verdict} | `{command_of(document)}`; {ended_with(document)} |"
        )
        details += more + _about_rows(name, rows)
    if not any(f"nat-{name}" in documents for name in _TELLERS):
        return ""
    head = "| what | bar | measured | n (void) | load max | verdict | command |\n|---|---|---|---|---|---|---|\n"
    return "\n" + TITLE + "\n" + head + "\n".join(lines) + "\n" + details


def command_of(document: Document) -> str:
    """With the variable that names its texts, where they are not in this repository."""
    kind, _, part = document.get("part", "").partition("-")
    cases = [row["case"] for row in document["rows"]] if kind == "nat" else []
    return natparts.command(part, document["command"], cases)


def _about_rows(name: str, rows: Sequence[Row]) -> str:
    """Whose texts they are of, and of which code, where it is not one."""
    said = []
    if away := sum(natparts.foreign(name, row["case"]) for row in rows):
        without = "nothing is measured" if name == "corpus" else "examples/nat is measured in their place"
        said.append(f"{away} of {len(rows)} texts are not in this repository: without the variable {without}")
    said += [each for each in (commits(rows),) if each]
    return f"\n* {_WHAT[name]}: {'; '.join(said)}.\n" if said else ""


Told = tuple[str, bool | None, str]
"""What was measured, whether the bar is met (None: undecided), and what is to be said below the table."""
_VERDICTS = {True: "met", False: "**missed**", None: "undecided"}


def _cases(rows: Sequence[Row]) -> Told:
    same = [row for row in rows if row["linux"] == "same"]
    other = [row for row in rows if row["linux"] != "same"]
    failed = [row for row in rows if not row["passed"]]
    packets = sum(row["packets"] for row in rows)
    found = (
        f"{sum(row['passed'] for row in same)} of {len(same)} marked `same`, "
        f"{sum(row['passed'] for row in other)} of {len(other)} others; {packets} packets"
    )
    more = [f"* {_part(rows)} `{row['case']}`: {'; '.join(row['why'])[:300] or row['note']}" for row in failed]
    return found, all(row["passed"] for row in same), _listed(more)


def _lines(rows: Sequence[Row]) -> Told:
    kinds: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        kind, size = row["case"].split()
        kinds.setdefault(kind, {}).setdefault(int(size), []).append(row)
    lines = [
        "",
        "| lines | 1 000 | 10 000 | 100 000 | a line, 1 000 | 10 000 | 100 000 |",
        "|---|---|---|---|---|---|---|",
    ]
    linear = True
    for kind, sizes in sorted(kinds.items()):
        cells = [_spread([r["total_s"] for r in sizes[size]], "s") if size in sizes else "-" for size in SIZES]
        each = {size: median(r["total_s"] for r in found) / size * 1e6 for size, found in sizes.items()}
        cells += [f"{each[size]:.3g} us" if size in each else "-" for size in SIZES]
        linear &= each[max(each)] <= LINEAR * each[min(each)]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    mixed = [row["total_s"] for row in kinds.get("mixed", {}).get(10_000, [])]
    found = f"10 000 mixed lines in {_spread(mixed, 's')}; {'linear' if linear else 'not linear'}" if mixed else "-"
    return found, bool(mixed) and max(mixed) <= READ_S and linear, "\n".join(lines) + "\n"


SIZES = (1_000, 10_000, 100_000)


def _statics(rows: Sequence[Row]) -> Told:
    loaded, changed = [row["loaded_s"] for row in rows], [row["changed_max_ms"] for row in rows]
    whole = [row["parsed_s"] + row["loaded_s"] for row in rows]
    rendered = [row["rendered_ms"] for row in rows if "rendered_ms" in row]
    found = (
        f"{_count(rows[0]['statics'])} from the text to the kernel in {_spread(whole, 's')}: {_VERDICTS[max(whole) <= LOADED_S]}, "
        f"of which from the model to the kernel {_spread(loaded, 's')}: {_VERDICTS[max(loaded) <= LOADED_S]}; one is another one in "
        f"{_spread([row['changed_ms'] for row in rows], 'ms')}, slowest of {sum(len(row['changes_ms']) for row in rows)} {max(changed):.3g} ms: "
        f"{_VERDICTS[max(changed) <= CHANGED_MS]}, of which the kernel's {_spread([row['transaction_ms'] for row in rows], 'ms')}"
    )
    more = (
        "\nOne entry is changed as a reload does it: two rule sets that differ in elements alone become one transaction "
        "of elements (`render/textchange.py`), the table stays. The time of a change is from the two rule sets on; the second "
        f"one is rendered before that, from all entries, in {_spread(rendered, 'ms') if rendered else 'a time that these rows do not have'}.\n"
    )
    return found, max(whole) <= LOADED_S and max(changed) <= CHANGED_MS, more


def _throughput(rows: Sequence[Row]) -> Told:
    ratios = {what: bootstrap_ratio([(row[f"{what}_many"], row[f"{what}_1"]) for row in rows]) for what in _RATES}
    known = [ratio for ratio in ratios.values() if ratio is not None]
    found = "; ".join(
        f"{said}: {value:.3f} [{low:.3f}, {high:.3f}]"
        f" ({_spread([row[f'{what}_many'] for row in rows], unit)} against {_spread([row[f'{what}_1'] for row in rows], unit)})"
        for what, (said, unit) in _RATES.items()
        for value, low, high in (ratios[what] or (math.nan, math.nan, math.nan),)
    )
    return found, _decided(known) if len(known) == len(ratios) else None, ""


def _decided(ratios: Sequence[tuple[float, float, float]]) -> bool | None:
    """Whether whole intervals reach the bar; None where one of them holds it, and none is below."""
    if any(high < RATIO for _, _, high in ratios):
        return False
    return True if all(low >= RATIO for _, low, _ in ratios) else None


_RATES = {"mbit_s": ("throughput", "Mbit/s"), "connections_s": ("new connections", "/s")}


def _explain(rows: Sequence[Row]) -> Told:
    packets, fine = (sum(row[key] for row in rows) for key in ("packets", "agreed"))
    found = f"{_count(fine)} of {_count(packets)} packets over {len(rows)} configurations"
    return found, fine == packets, _listed([f"* {each}" for row in rows for each in row["why"]])


def _corpus(rows: Sequence[Row]) -> Told:
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row["expect"], []).append(row)
    found = ", ".join(f"`{kind}` {sum(r['fits'] for r in of)} of {len(of)}" for kind, of in sorted(kinds.items()))
    wrong = [f"* `{row['case']}`: {'; '.join(row['why'])[:300]}" for row in rows if not row["fits"]]
    return found, not wrong, _listed(wrong)


_TELLERS: dict[str, Callable[[Sequence[Row]], Told]] = {
    "cases": _cases,
    "failover": _cases,
    "lines": _lines,
    "statics": _statics,
    "throughput": _throughput,
    "explain": _explain,
    "corpus": _corpus,
}
_WHAT = {
    "cases": "cases by real packets on a router",
    "failover": "the same on a pair of agents, the Active dying between the packets",
    "lines": "10 000 lines",
    "statics": "100 000 static entries",
    "throughput": "their cost for packets and connections",
    "explain": "`nat explain` against traffic",
    "corpus": "real texts",
}
NAMES = tuple(f"nat-{name}" for name in _TELLERS)


def _part(rows: Sequence[Row]) -> str:
    return "with a fail-over," if rows[0]["part"] == "failover" else ""


def _listed(lines: Sequence[str]) -> str:
    shown = [line.replace("* ,", "*").replace("*  ", "* ") for line in lines[:SHOWN_MAX]]
    more = [f"* and {len(lines) - SHOWN_MAX} more"] if len(lines) > SHOWN_MAX else []
    return "\n" + "\n".join((*shown, *more)) + "\n" if lines else ""


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return "-"
    return f"{figure(median(values))} {unit} ({figure(min(values))}-{figure(max(values))})"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")
