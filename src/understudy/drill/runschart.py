"""Every run of a drill in one chart: how long the outage was over where in the advertisement interval the fault fell.

For a crash the protocol predicts the outage: 3 I + skew less the time since the last advertisement. The prediction is
drawn, the allowed range is shaded, and each run is a dot, so that one look tells whether the timers or something else
made the outage.
"""

from html import escape

from understudy.drill.picture import WIDTH, Say
from understudy.drill.result import DrillJson, RunJson

_LEFT, _RIGHT, _TOP, _BOTTOM = 118, 120, 16, 44
_HEIGHT = 240
_PREDICTED = frozenset({"node-power-loss"})
"""Faults whose outage begins with the fault and ends with the take-over."""


def chart(drill: DrillJson, say: Say) -> str:
    """SVG for the page; shares its style sheet."""
    runs = drill["runs"]
    top = _ceiling(drill)
    parts = [*_rows(top), *_allowed(drill, top, say)]
    if drill["fault"] in _PREDICTED and runs:
        parts.append(_prediction(drill, top))
    parts += [_dot(run, top, bool(run["findings"])) for run in runs]
    parts += _levels(drill, top, say)
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(
            f'<text class="soft small" x="{_x(share)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
            f"{share:g} I</text>"
        )
    parts.append(
        f'<text class="soft small" x="{_x(0.5)}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{escape(say('time from the last advertisement to the fault'))}</text>"
    )
    label = escape(f"{drill['fault']}: {say('Every run')}")
    return (
        f'<svg class="dr" viewBox="0 0 {WIDTH} {_HEIGHT}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _ceiling(drill: DrillJson) -> float:
    """The top of the scale: all runs, the bound, and the objective where it is not far beyond them."""
    highest = max([run["outage_ms"] for run in drill["runs"]] + [drill["bound"]["outage_max_ms"] or 0, 10])
    near = [o["declared_ms"] for o in drill["objectives"] if o["declared_ms"] <= 2.5 * highest]
    return max([highest, *near]) * 1.12


def _x(share: float) -> float:
    return round(_LEFT + min(max(share, 0), 1) * (WIDTH - _LEFT - _RIGHT), 2)


def _y(outage_ms: float, top: float) -> float:
    return round(_HEIGHT - _BOTTOM - outage_ms / top * (_HEIGHT - _TOP - _BOTTOM), 2)


def _rows(top: float) -> list[str]:
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if top / s <= 6), 10000)
    parts = []
    value = 0
    while value <= top:
        y = _y(value, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="soft small" x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{value} ms</text>')
        value += step
    return parts


def _allowed(drill: DrillJson, top: float, say: Say) -> list[str]:
    bound = drill["bound"]
    if bound["outage_max_ms"] is None:
        return []
    high, low = _y(bound["outage_max_ms"], top), _y(bound["outage_min_ms"] or 0, top)
    return [
        f'<rect x="{_LEFT}" y="{high}" width="{WIDTH - _LEFT - _RIGHT}" height="{round(low - high, 2)}" '
        f'style="fill:var(--standby);opacity:.45"><title>{escape(bound["sentence"])}</title></rect>',
        f'<text class="soft small" x="{WIDTH - _RIGHT - 6}" y="{high + 13}" text-anchor="end">'
        f"{escape(say('allowed'))}</text>",
    ]


def _prediction(drill: DrillJson, top: float) -> str:
    interval, skew = drill["advertise_ms"], drill["skew_ms"]
    return (
        f'<line x1="{_x(0)}" y1="{_y(3 * interval + skew, top)}" x2="{_x(1)}" y2="{_y(2 * interval + skew, top)}" '
        f'style="stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 4">'
        f"<title>3 I + skew − time since the last advertisement</title></line>"
    )


def _dot(run: RunJson, top: float, bad: bool) -> str:
    colour = "var(--gap)" if bad else "var(--active)"
    title = f"run {run['number']}: {run['outage_ms']:.1f} ms, {run['struck']}" + "".join(
        f"; {finding}" for finding in run["findings"]
    )
    return (
        f'<circle cx="{_x(run["phase"])}" cy="{_y(run["outage_ms"], top)}" r="4.5" '
        f'style="fill:{colour};fill-opacity:.85;stroke:var(--paper)"><title>{escape(title)}</title></circle>'
    )


def _levels(drill: DrillJson, top: float, say: Say) -> list[str]:
    """Median, worst and objective at the right edge, kept apart from each other."""
    summary = drill["summary"]
    levels = [(summary["max"], f"{say('max')} {summary['max']:.1f} ms", "var(--ink)")]
    if summary["max"] - summary["p50"] > top / 15:
        levels.append((summary["p50"], f"p50 {summary['p50']:.1f} ms", "var(--ink)"))
    levels += [
        (o["declared_ms"], f"{say('objective')} {o['declared_ms']:.0f} ms", "var(--gap)")
        for o in drill["objectives"]
        if o["declared_ms"] <= top
    ]
    parts = []
    for value, text, colour in levels:
        y = _y(value, top)
        if colour == "var(--gap)":
            parts.append(
                f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}" '
                f'style="stroke:{colour};stroke-dasharray:2 3"/>'
            )
        parts.append(
            f'<text class="small strong" x="{WIDTH - _RIGHT + 8}" y="{y + 4}" '
            f'style="fill:{colour}">{escape(text)}</text>'
        )
    return parts
