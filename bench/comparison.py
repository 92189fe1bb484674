"""The page's part about the others: tables from `summary.json`, pictures from the rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare import ROWS
from contenders import CONTENDERS
from plots import ORDER, dual_answers, faults, outages
from resumable import rows_of
from summary import series_of, summarise

OTHERS = ("agent-kill", "agent-freeze", "link-down", "link-silent", "switchover", "node-return")
REST = ("link-down", "link-silent", "switchover", "node-return", "none")
MEDIAN_RATIO_MAX = 1.05
Entry = dict[str, Any]


def section(directory: Path, images: Path) -> str:
    """Markdown for docs/benchmarks.md, and its pictures into `images`; empty if nothing was compared."""
    rows = rows_of(directory / ROWS)
    if not rows:
        return ""
    known = directory / "summary.json"
    machine = json.loads(known.read_text())["machine"] if known.exists() else {}
    entries: list[Entry] = summarise(rows, machine)["contenders"]
    good, _, _ = series_of(rows)
    pictures = {
        "bench-power-loss.svg": outages(good, "node-power-loss"),
        "bench-dual-answer.svg": dual_answers(
            good, [(fault, ms) for fault in ("agent-freeze", "agent-kill") for ms in (100, 50)]
        ),
    }
    if _sorted(entries, REST):
        pictures["bench-faults.svg"] = faults(good, 100, OTHERS)
    for name, drawing in pictures.items():
        (images / name).write_text(drawing)
    return "\n".join(
        (
            _HEAD,
            *(f"* **{name}**: {CONTENDERS[name].sentence}" for name in ORDER),
            _FAIR,
            _power_loss(entries),
            _PICTURE.format("Outage after power loss, every run", "bench-power-loss.svg"),
            _SILENCE,
            _dual(entries),
            _PICTURE.format("Time during which two nodes answered", "bench-dual-answer.svg"),
            _rest(entries),
            _commands(entries, machine),
        )
    )


_PICTURE = "\n![{}](images/{})\n"

_HEAD = """## Beside keepalived and FRR

The same lab, switch, traffic, faults and probes, in the same minutes: the pairs of all contenders are up at once, one of them is struck at a
time, in an order shuffled over contenders and faults. Each series has the same phases of the advertisement interval for all, stratified.
"""

_FAIR = """
All of them hold VRID 31 with priorities 250 and 240 on both LANs, do not preempt, run as root and with what real-time scheduling they know.
The others' nodes get Understudy's own data path, without which no traffic could be compared: its balancer and NAT table (not the lease), its
sysctls. Every run ends with a power cycle of the struck node. The outage is the longest time without an arrival in either direction of a
1 kHz stream of datagrams; *dual answer* the longest time during which two nodes answered ARP for one address, asked every 2 ms.
keepalived counts with the mode whose median is lower. A run whose senders were late by more than 5 ms is void, repeated and counted.

### A node loses its power
"""

_BAR = f"""Bar: a median at most {MEDIAN_RATIO_MAX} times keepalived's, every run within the bound. *Beyond the timers* is the outage less what the
protocol's timers make of the phase in which the fault fell: what the daemon, the kernel and the switch took on top. A negative value is a
daemon that did not wait as long as the standard has it. The interval of the ratio is drawn over pairs of runs of the same phase."""

_SILENCE = """
### A frozen or killed daemon

keepalived's and FRR's addresses stay in the kernel of a daemon that no longer speaks. *and on* counts the runs in which the struck node
still answered when the watch ended, shortly after the take-over: nothing would have ended it. Understudy's outage here is the time from
the end of its lease to the take-over: what it costs that nobody answers twice. The others' stream goes on, through whichever of the two
answering nodes the switch last learned; what that does to flows with state on one of them is not in this column.
"""

_REST_TITLE = "\n### Everything else, at 100 ms\n\n"
_REST = """What had not recovered two seconds after the protocol's bound is counted as *not recovered*; its outage is then what was watched.
"""


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def _sorted(entries: Sequence[Entry], fault_names: Sequence[str]) -> list[Entry]:
    chosen = [entry for entry in entries if entry["fault"] in fault_names]
    return sorted(chosen, key=lambda e: (fault_names.index(e["fault"]), -e["advertise_ms"], ORDER.index(e["name"])))


def _ratio(entry: Entry) -> str:
    ratio = entry["ratio_of_medians"]
    if entry["name"] == entry["compared_with"]:
        return "(the better mode)"
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else "-"


def _power_loss(entries: Sequence[Entry]) -> str:
    lines = [
        "| interval | | n (void) | outage p50 | p95 | p99 | max | within the bound + 25 ms | beyond the timers p50 / max | median to keepalived's best [95 %] | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in _sorted(entries, ("node-power-loss",)):
        out, late = entry["outage_ms"], entry["beyond_protocol_ms"]
        verdict = ""
        if entry["name"] == "understudy" and entry["ratio_of_medians"]:
            met = entry["ratio_of_medians"]["value"] <= MEDIAN_RATIO_MAX and entry["within_bound"] == entry["runs"]
            verdict = "met" if met else "**missed**"
        lines.append(
            f"| {entry['advertise_ms']} ms | {entry['name']} | {entry['runs']} ({entry['void']}) | {_ms(out['p50'])} ms | "
            f"{_ms(out['p95'])} | {_ms(out['p99'])} | {_ms(out['max'])} | {entry['within_bound']} of {entry['runs']} | "
            f"{_ms(late['p50'])} / {_ms(late['max'])} ms | {_ratio(entry)} | {verdict} |"
        )
    return "\n".join(
        [*lines, "", f"Bar: a median at most {MEDIAN_RATIO_MAX} times keepalived's, every run within the bound."]
    )


def _dual(entries: Sequence[Entry]) -> str:
    lines = [
        "| fault | interval | | n (void) | dual answer max | p50 | runs above 0 | and on | outage p50 | max | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in _sorted(entries, ("agent-freeze", "agent-kill")):
        out, dual = entry["outage_ms"], entry["dual_answer_ms"]
        verdict = ("met" if dual["max"] == 0 else "**missed**") if entry["name"] == "understudy" else ""
        lines.append(
            f"| `{entry['fault']}` | {entry['advertise_ms']} ms | {entry['name']} | {entry['runs']} ({entry['void']}) | "
            f"{_ms(dual['max'])} ms | {_ms(dual['p50'])} | {dual['runs_above_0']} | {entry['answers_on']} | "
            f"{_ms(out['p50'])} ms | {_ms(out['max'])} | {verdict} |"
        )
    return "\n".join(lines)


def _rest(entries: Sequence[Entry]) -> str:
    chosen = _sorted(entries, REST)
    if not chosen:
        return _REST_TITLE + "Not measured.\n"
    lines = [
        _REST_TITLE + _REST,
        "| fault | | n (void) | outage p50 | max | lost p50 / max | dual answer max | declared overlap max | not recovered | connections survived | reset |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in chosen:
        out, tcp, lost = entry["outage_ms"], entry["tcp"], entry["lost"]
        lines.append(
            f"| `{entry['fault']}` | {entry['name']} | {entry['runs']} ({entry['void']}) | {_ms(out['p50'])} ms | {_ms(out['max'])} | "
            f"{lost['p50']:g} / {lost['max']} | {_ms(entry['dual_answer_ms']['max'])} ms | {_ms(entry['overlap_ms']['max'])} | "
            f"{entry['not_recovered']} | {tcp['survived']} / {tcp['established']} | {tcp['reset']} |"
        )
    lines.append(_PICTURE.format("Outage of the other faults, every run", "bench-faults.svg"))
    return "\n".join(lines)


def _commands(entries: Sequence[Entry], machine: Mapping[str, Any]) -> str:
    busy = [entry["load"] for entry in entries]
    where = f"{machine.get('name', '?')} ({machine.get('cpus', '?')} x {machine.get('cpu', '?')}, Linux {machine.get('kernel', '?')})"
    lines = [
        "### Commands of the comparison",
        "",
        f"Machine: {where}. Load average at the end of a run: median {min(b['average'] for b in busy)} to "
        f"{max(b['average'] for b in busy)} by series, {max(b['average_max'] for b in busy)} at most; CPU busy in a run: "
        f"{min(b['cpu_busy'] for b in busy):.0%} to {max(b['cpu_busy'] for b in busy):.0%}; stolen at most {max(b['steal_max'] for b in busy):.1%}.",
        "",
        "All: `.venv/bin/python bench/compare.py DIR` (as root, after `scripts/peers`); interrupted, it goes on where it was.",
        "",
        "| series | command | a run takes |",
        "|---|---|---|",
    ]
    seen: dict[tuple[str, int], list[float]] = {}
    for entry in entries:
        seen.setdefault((entry["fault"], entry["advertise_ms"]), []).append(entry["took_s"])
    for (fault, ms), took in sorted(
        seen.items(), key=lambda item: (item[0][0] != "node-power-loss", item[0][0], -item[0][1])
    ):
        lines.append(
            f"| `{fault}` at {ms} ms | `bench/compare.py DIR --faults {fault} --intervals {ms}ms` | {sum(took) / len(took):.1f} s |"
        )
    return "\n".join(lines) + "\n"
