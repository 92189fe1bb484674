"""The report in a terminal: a table, the median run as a timeline of characters, what happened and why, the verdict."""

from collections.abc import Callable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.drill import statewords
from understudy.drill.phrases import speaker
from understudy.drill.picture import Say
from understudy.drill.result import (
    BandJson,
    DrillJson,
    RunJson,
    StripJson,
    median_run,
    phase_lengths,
    rows_that_decided,
    spell_parameters,
)

_ROLE = {"active": ("█", "blue"), "standby": ("░", "blue")}
_DOWN = ("╳", "bright_black")


def show(console: Console, drill: DrillJson, language: str = "en") -> None:
    """Print one drill's report."""
    say = speaker(language)
    console.print(Text(f"{drill['fault']}: {say(drill['sentence'])}", style="bold"))
    if drill.get("parameters"):
        console.print(Text(f"{say('parameters')}: {spell_parameters(drill)}", style="dim"))
    console.print(_figures(drill, say, console.width))
    if words := statewords.lines(drill, say):
        console.print(Text(f"\n{say('Kept flows')}", style="bold"))
        console.print(_state(words))
    run = median_run(drill)
    if run is not None:
        console.print(Text(f"\n{say('The median run')} (#{run['number']})", style="bold"))
        for line in timeline(run, min(console.width, 132) - 12, say):
            console.print(line, soft_wrap=True)
        console.print(Text(f"\n{say('Events of the median run, with their causes')}", style="bold"))
        console.print(_events(run))
    for line in _closing(drill, say):
        console.print(line)


def _figures(drill: DrillJson, say: Say, width: int) -> Table:
    summary, totals, bound = drill["summary"], drill["summary"]["totals"], drill["bound"]
    rows: list[tuple[str, str]] = [
        ("runs", f"{totals['runs']:.0f}" + (f" (+{len(drill['void'])} void)" if drill["void"] else "")),
        ("p50", f"{summary['p50']:.1f} ms"),
        ("p95", f"{summary['p95']:.1f} ms"),
        ("p99", f"{summary['p99']:.1f} ms"),
        ("max", f"{summary['max']:.1f} ms"),
        ("bound", _range(bound["outage_min_ms"], bound["outage_max_ms"])),
        ("lost", f"{totals['packets_lost']:.0f} / {totals['packets_sent']:.0f}"),
        ("survived", f"{totals['tcp_survived']:.0f} / {totals['tcp_established']:.0f}"),
        ("reset", f"{totals['tcp_reset']:.0f}"),
        ("stalled", f"{totals['tcp_stalled']:.0f}"),
        ("dual answer", f"{totals['dual_answer_ms']:.1f} ms"),
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    needed = sum(max(cell_len(say(name)), cell_len(value)) + 2 for name, value in rows)
    if needed > width:  # upright: a figure is never cut
        table.show_header = False
        for name, value in rows:
            table.add_row(Text(say(name), style="dim"), value)
        return table
    for name, _ in rows:
        table.add_column(say(name), justify="right", no_wrap=True)
    table.add_row(*(value for _, value in rows))
    return table


def _state(words: Sequence[statewords.Line]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for line in words:
        table.add_row(line.name, Text(line.value, style="" if line.good else "red"), line.meaning)
    return table


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return "–"
    return f"≤ {high:.0f} ms" if low is None else f"{low:.0f}–{high:.0f} ms"


def timeline(run: RunJson, width: int, say: Say) -> list[Text]:
    """Lanes and strips, one character a slice of time."""
    trace = run["trace"]
    scale = _scale(trace["start_ms"], trace["end_ms"], width)
    lines = [_axis(run, scale, width)]
    for node, lane in trace["lanes"].items():
        cells = Text(_label(node))
        for column in _columns(lane["roles"], scale, width):
            glyph, style = _ROLE.get(column, _DOWN) if column else (" ", "")
            cells.append(glyph, style)
        lines.append(cells)
        marks = [" "] * width
        for answer in lane["answers"]:
            for position in range(scale(answer["start_ms"]), scale(answer["end_ms"]) + 1):
                _put(marks, position, "·")
        for t_ms in lane["advertisements_ms"]:
            _put(marks, scale(t_ms), "|")
        for t_ms in lane["announcements_ms"]:
            _put(marks, scale(t_ms), "◆")
        lines.append(Text(" " * 11 + "".join(marks), style="cyan"))
    lines += [_strip(strip, scale, width, say) for strip in trace["strips"]]
    named = (("advertisement", "|"), ("announcement (gratuitous ARP)", "◆"), ("answers for the virtual addresses", "·"))
    legend = "   ".join(f"{say(what)} {glyph}" for what, glyph in named)
    lines.append(Text(" " * 11 + legend, style="dim"))
    return lines


def _scale(start: float, end: float, width: int) -> Callable[[float], int]:
    def column(t_ms: float) -> int:
        return min(width - 1, max(0, int((t_ms - start) / (end - start) * width)))

    return column


def _label(text: str) -> str:
    """Right-aligned in ten cells; Hangul is two cells wide."""
    text = set_cell_size(text, 10) if cell_len(text) > 10 else text
    return " " * (10 - cell_len(text)) + text + " "


def _put(cells: list[str], position: int, glyph: str) -> None:
    if 0 <= position < len(cells):
        cells[position] = glyph


def _axis(run: RunJson, scale: Callable[[float], int], width: int) -> Text:
    """The fault and the return of traffic, by name."""
    cells = [" "] * width
    _write(cells, scale(0), "▼ fault 0")
    back = sum(length for _, length in phase_lengths(run["phases_ms"]))
    if back and run["recovered"]:
        _write(cells, scale(back), f"▼ back {back:.0f} ms")
    return Text(" " * 11 + "".join(cells), style="red")


def _write(cells: list[str], position: int, text: str) -> None:
    for offset, glyph in enumerate(text):
        _put(cells, position + offset, glyph)


def _columns(bands: Sequence[BandJson], scale: Callable[[float], int], width: int) -> list[str]:
    columns = [""] * width
    for band in bands:
        for position in range(scale(band["start_ms"]), scale(band["end_ms"]) + 1):
            columns[position] = band["value"]
    return columns


def _strip(strip: StripJson, scale: Callable[[float], int], width: int, say: Say) -> Text:
    cells = ["━"] * width
    for silence in strip["silences"]:
        start, end = scale(silence["start_ms"]), scale(silence["end_ms"])
        for position in range(start, end + 1):
            _put(cells, position, " ")
        label = f"{silence['end_ms'] - silence['start_ms'] - 1:.0f} ms"
        if end - start > len(label) + 2:
            _write(cells, (start + end - len(label)) // 2, label)
    line = Text(_label(say(strip["direction"])))
    for glyph in cells:
        line.append(glyph, "green" if glyph == "━" else "bold red")
    return line


def _events(run: RunJson) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for event in run["events"]:
        style = "red" if event["kind"] in ("fault", "silence") else "green" if event["kind"] == "resumed" else ""
        table.add_row(f"{event['t_ms']:+.1f} ms", event["node"], Text(event["text"], style=style))
    return table


def _closing(drill: DrillJson, say: Say) -> list[Text]:
    phases = "  ".join(f"{say(name)} {length:.1f} ms" for name, length in phase_lengths(drill["summary"]["phases_ms"]))
    lines = [Text(f"\n{say('phases')} (p50)  {phases}")]
    bound = Text(f"{say('bound')}: {drill['bound']['sentence']}")
    lines.append(bound)
    for row, times in rows_that_decided(drill):
        lines.append(Text(f"{say('decided by')}: {row} ({times})", style="dim"))
    for objective in drill["objectives"]:
        mark, style = ("✓", "green") if objective["met"] else ("✗", "red")
        text = (
            f"{mark} {say('objective')} {objective['service']}: {say('declared')} {objective['declared_ms']:.0f} ms, "
            f"{say('measured')} {objective['measured_ms']:.1f} ms"
        )
        lines.append(Text(text, style=style))
    passed = drill["verdict"]["passed"]
    lines.append(Text(say("passed" if passed else "failed").upper(), style="bold green" if passed else "bold red"))
    lines += [Text(f"  - {reason}") for reason in drill["verdict"]["reasons"]]
    return lines
