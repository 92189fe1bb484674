"""The comparison's pictures, drawn from its rows: every dot is one run.

Colours are the drill's, for light and dark pages.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from summary import Key, Row, bound_ms

from understudy.drill.picture import standalone

WIDTH = 900
_LEFT, _RIGHT = 150, 24
_LINE = 30
"""Height of one contender's strip."""
COLOURS = {
    "understudy": "var(--active)",
    "keepalived": "var(--move)",
    "keepalived-vmac": "var(--answer)",
    "frr": "var(--lease)",
}
ORDER = tuple(COLOURS)
Good = Mapping[Key, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Axis:
    """A value in milliseconds -> x."""

    ticks: Sequence[float]
    place: Callable[[float], float]
    """0 at the left end, 1 at the right."""

    def __call__(self, value_ms: float) -> float:
        return round(_LEFT + min(1.0, max(0.0, self.place(value_ms))) * (WIDTH - _LEFT - _RIGHT), 1)


def linear(low: float, high: float) -> Axis:
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 8)
    first = math.ceil(low / step)
    ticks = [n * step for n in range(first, math.floor(high / step) + 1)]
    return Axis(ticks, lambda value: (value - low) / (high - low))


def logarithmic(low: float, high: float) -> Axis:
    """What is below `low` stands at the left end."""
    first, last = math.log10(low), math.log10(high)
    ticks = [10**power for power in range(math.ceil(first), math.floor(last) + 1)]
    return Axis(ticks, lambda value: (math.log10(max(value, low)) - first) / (last - first))


def outages(good: Good, fault: str) -> str:
    """A panel for each interval: a dot for each run, its median as a line, the protocol's bound shaded."""
    intervals = sorted({key[1] for key in good if key[0] == fault}, reverse=True)
    parts: list[str] = []
    top = 40
    for interval in intervals:
        panel = [(name, good[fault, interval, name]) for name in ORDER if (fault, interval, name) in good]
        values = [row["outage_ms"] for _, rows in panel for row in rows]
        axis = linear(min(1.7 * interval, *values), max(3.4 * interval, *values))
        bounds = [bound_ms(row) for _, rows in panel for row in rows]
        shade = axis(min(low for low, _ in bounds)), axis(max(high for _, high in bounds))
        height = _LINE * len(panel)
        parts += [
            _text(_LEFT, top - 8, f"{_interval(interval)} between advertisements", "strong"),
            f'<rect x="{shade[0]}" y="{top}" width="{shade[1] - shade[0]:.1f}" height="{height}" style="fill:var(--standby);opacity:.55"/>',
            *_grid(axis, top, height),
        ]
        for number, (name, rows) in enumerate(panel):
            parts += _strip(axis, name, rows, top + number * _LINE)
        top += height + 58
    caption = "Outage after a node's power loss, ms. Shaded: 2 I + skew to 3 I + skew (RFC 9568)."
    return _svg(caption, top - 22, parts)


def faults(good: Good, interval: int, chosen: Sequence[str]) -> str:
    """All other faults at one interval, on one logarithmic axis; hollow dots did not recover while watched."""
    present = [fault for fault in chosen if any(key[:2] == (fault, interval) for key in good)]
    axis = logarithmic(1, 10_000)
    parts: list[str] = []
    top = 40
    for fault in present:
        panel = [(name, good[fault, interval, name]) for name in ORDER if (fault, interval, name) in good]
        height = _LINE * len(panel)
        parts += [_text(_LEFT, top - 8, fault, "strong"), *_grid(axis, top, height)]
        for number, (name, rows) in enumerate(panel):
            parts += _strip(axis, name, rows, top + number * _LINE)
        top += height + 58
    caption = f"Outage in ms at {_interval(interval)}, logarithmic, 1 ms or less at the left; hollow: not recovered when the watch ended."
    return _svg(caption, top - 22, parts)


def dual_answers(good: Good, chosen: Sequence[tuple[str, int]]) -> str:
    """How long two nodes answered for one address: the longest of each series; an arrow where it had not ended."""
    present = [each for each in chosen if any(key[:2] == each for key in good)]
    longest = max(
        (row["dual_answer_ms"] for key, rows in good.items() if key[:2] in present for row in rows), default=1
    )
    axis = linear(0, max(longest * 1.15, 10))
    parts: list[str] = []
    top = 40
    for fault, interval in present:
        panel = [(name, good[fault, interval, name]) for name in ORDER if (fault, interval, name) in good]
        height = _LINE * len(panel)
        parts += [_text(_LEFT, top - 8, f"{fault}, {_interval(interval)}", "strong"), *_grid(axis, top, height)]
        for number, (name, rows) in enumerate(panel):
            worst = max(rows, key=lambda row: row["dual_answer_ms"])
            length = worst["dual_answer_ms"]
            endless = length > 0 and worst["answers_on"]
            y = top + number * _LINE
            parts += [
                _label(name, y),
                f'<rect x="{axis(0)}" y="{y + 7}" width="{axis(length) - axis(0):.1f}" height="{_LINE - 14}" style="fill:{COLOURS[name]}"/>',
                _text(axis(length) + 6, y + 20, f"{length:.0f} ms{' and on →' if endless else ''}", "small"),
            ]
        top += height + 58
    caption = (
        "Time during which two nodes answered ARP for one address, longest run. Arrow: still so when the watch ended."
    )
    return _svg(caption, top - 22, parts)


def _strip(axis: Axis, name: str, rows: Sequence[Row], y: float) -> Iterator[str]:
    """Dots are spread over the strip's height by their number, so that equal values stay visible."""
    yield _label(name, y)
    for place, row in enumerate(sorted(rows, key=lambda each: each["number"])):
        dot = y + 6 + (place * 7) % (_LINE - 11)
        fill = COLOURS[name] if row["recovered"] else "none"
        yield (
            f'<circle cx="{axis(row["outage_ms"])}" cy="{dot}" r="2.6" '
            f'style="fill:{fill};fill-opacity:.75;stroke:{COLOURS[name]}"/>'
        )
    middle = axis(median(row["outage_ms"] for row in rows))
    yield f'<line x1="{middle}" y1="{y + 2}" x2="{middle}" y2="{y + _LINE - 2}" style="stroke:var(--ink);stroke-width:2"/>'


def _grid(axis: Axis, top: float, height: float) -> Iterator[str]:
    for tick in axis.ticks:
        x = axis(tick)
        yield f'<line class="grid" x1="{x}" y1="{top}" x2="{x}" y2="{top + height}"/>'
        yield f'<text class="soft small" x="{x}" y="{top + height + 14}" text-anchor="middle">{tick:g}</text>'


def _label(name: str, y: float) -> str:
    return f'<text x="{_LEFT - 10}" y="{y + 20}" text-anchor="end">{name}</text>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def _interval(interval_ms: int) -> str:
    return f"{interval_ms / 1000:g} s" if interval_ms >= 1000 else f"{interval_ms} ms"


def _svg(caption: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg class="dr" viewBox="0 0 {WIDTH} {height + 26:.0f}" role="img" aria-label="{escape(caption)}" '
        f'xmlns="http://www.w3.org/2000/svg">'
    )
    return standalone(head + "".join(parts) + _text(_LEFT, height + 12, caption, "soft small") + "</svg>")
