"""The timeline of one run as SVG: a swim lane a node, the probes below, the gap drawn and labelled, the objective
beside it.

Colours are CSS variables, so that one drawing serves light and dark pages; `standalone` adds the style sheet for a
file of its own.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape

from understudy.drill.result import BandJson, DrillJson, LaneJson, RunJson, StripJson, phase_lengths

Say = Callable[[str], str]
"""Translates a phrase (see `phrases`)."""

WIDTH = 1000
_LEFT, _RIGHT = 118, 22
_LANE = 74
_STRIP = 40
_TICKS_MAX = 400

PALETTE = """
  --ink:#1c2430; --soft:#667085; --line:#d5dae3; --paper:#ffffff; --panel:#f6f8fb;
  --active:#2563eb; --active-ink:#ffffff; --standby:#cfdcf5; --standby-ink:#28406e; --down:#e4e7ec; --down-ink:#475467;
  --answer:#0d9488; --lease:#8b5cf6; --announce:#d97706; --good:#16a34a; --gap:#dc2626; --gap-fill:#fee4e2;
  --declared:#667085; --detect:#94a3b8; --decide:#f59e0b; --move:#0ea5e9; --resume:#22c55e;
"""
PALETTE_DARK = """
  --ink:#e6eaf2; --soft:#98a2b3; --line:#344054; --paper:#11161f; --panel:#182130;
  --active:#3b82f6; --active-ink:#ffffff; --standby:#263a5e; --standby-ink:#c8d7f5; --down:#2b3442; --down-ink:#b6c0cf;
  --answer:#2dd4bf; --lease:#a78bfa; --announce:#fbbf24; --good:#22c55e; --gap:#f87171; --gap-fill:#4a1d1d;
  --declared:#98a2b3; --detect:#64748b; --decide:#d99a1e; --move:#38a5db; --resume:#30b765;
"""
_STYLE = """
  .dr text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans CJK KR',sans-serif;fill:var(--ink)}
  .dr .soft{fill:var(--soft)} .dr .small{font-size:10.5px} .dr .strong{font-weight:650}
  .dr .grid{stroke:var(--line);stroke-width:1} .dr .zero{stroke:var(--gap);stroke-width:1.5}
  .dr .back{stroke:var(--good);stroke-width:1.5;stroke-dasharray:3 3}
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Milliseconds after the fault -> x."""

    start: float
    end: float

    def __call__(self, t_ms: float) -> float:
        share = (t_ms - self.start) / (self.end - self.start)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 2)

    def shows(self, t_ms: float) -> bool:
        return self.start <= t_ms <= self.end

    def clip(self, band: BandJson) -> tuple[float, float] | None:
        """x from and to, or None if the band lies outside."""
        start, end = max(band["start_ms"], self.start), min(band["end_ms"], self.end)
        return (self(start), self(end)) if end >= start else None


def timeline(drill: DrillJson, run: RunJson, say: Say, *, window: tuple[float, float] | None = None) -> str:
    """The run between two instants (milliseconds after the fault), or all of its trace."""
    trace = run["trace"]
    scale = Scale(*(window or (trace["start_ms"], trace["end_ms"])))
    lanes_top = 66
    lanes = list(trace["lanes"].items())
    strips_top = lanes_top + _LANE * len(lanes) + 6
    objectives = [] if window else drill["objectives"]
    strips = trace["strips"]
    height = strips_top + _STRIP * len(strips) + 20 * len(objectives) + 34
    parts = [
        *_axis(scale, lanes_top - 4, height - 30, say),
        *_phase_bar(scale, run, say),
        *(
            part
            for number, (node, lane) in enumerate(lanes)
            for part in _lane(scale, node, lane, run, lanes_top + number * _LANE, say)
        ),
        *(
            part
            for number, strip in enumerate(strips)
            for part in _strip(scale, strip, strips_top + number * _STRIP, say)
        ),
        *_objectives(scale, drill, run, strips_top + _STRIP * len(strips) + 4, say, shown=not window),
        *_moments(scale, run, lanes_top - 4, height - 30, say),
    ]
    label = escape(f"{drill['fault']}: {say('timeline of one run')}")
    return (
        f'<svg class="dr" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg"><defs><pattern id="hatch" width="6" height="6" '
        f'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" '
        f'style="fill:var(--down)"/><line x1="0" y1="0" x2="0" y2="6" style="stroke:var(--line);stroke-width:3"/>'
        f"</pattern></defs>{''.join(parts)}</svg>"
    )


def promotion(run: RunJson) -> tuple[float, float] | None:
    """The window around decision and promotion, worth magnifying when it drowns in the waiting before it."""
    phases, trace = run["phases_ms"], run["trace"]
    begin, length = phases["detect"], phases["decide"] + phases["move"] + phases["resume"]
    if length <= 0 or phases["detect"] <= 0 or length > (trace["end_ms"] - trace["start_ms"]) / 6:
        return None
    margin = max(2.0, length * 0.4)
    return begin - margin, min(begin + length + margin, trace["end_ms"])


def standalone(drawing: str) -> str:
    """A drawing as a file of its own: with colours for light and dark, and a background."""
    style = (
        f"<style>svg{{{PALETTE}background:var(--paper)}}"
        f"@media (prefers-color-scheme:dark){{svg{{{PALETTE_DARK}}}}}{_STYLE}</style>"
    )
    head, rest = drawing.split(">", 1)
    return f"{head}>{style}{rest}\n"


def style() -> str:
    """The style sheet that inline drawings share."""
    return _STYLE


def _line(x: float, y1: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x}" y1="{y1}" x2="{x}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x1: float, x2: float, y: float, height: float, fill: str, title: str = "", radius: float = 2) -> str:
    hover = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x1}" y="{y}" width="{round(max(x2 - x1, 0.8), 2)}" height="{height}" rx="{radius}" '
        f'style="fill:{fill}">{hover}</rect>'
    )


def _step(span: float) -> float:
    """A round distance of ticks, for seven to sixteen of them."""
    for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000):
        if span / step <= 16:
            return step
    return span / 10


def _axis(scale: Scale, top: float, bottom: float, say: Say) -> Iterator[str]:
    step = _step(scale.end - scale.start)
    tick = -(-scale.start // step) * step
    while tick <= scale.end:
        x = scale(tick)
        yield _line(x, top, bottom, "grid")
        yield _text(x, bottom + 15, f"{tick:g}", "soft small", "middle")
        tick += step
    yield _text(WIDTH - _RIGHT, bottom + 28, say("milliseconds after the fault"), "soft small", "end")


def _moments(scale: Scale, run: RunJson, top: float, bottom: float, say: Say) -> Iterator[str]:
    """The two instants that everything hangs on: the fault, and when traffic flowed again."""
    if scale.shows(0):
        yield _line(scale(0), top - 30, bottom, "zero")
        yield f'<text class="strong" x="{scale(0)}" y="{top - 48}" text-anchor="middle" style="fill:var(--gap)">' + (
            f"{escape(say('fault'))}</text>"
        )
        yield f'<path d="M{scale(0) - 5} {top - 42}h10l-5 9z" style="fill:var(--gap)"/>'
    back = sum(length for _, length in phase_lengths(run["phases_ms"])) if run["recovered"] else 0
    if back and scale.shows(back):
        yield _line(scale(back), top - 30, bottom, "back")
        yield (
            f'<text class="strong" x="{scale(back)}" y="{top - 36}" text-anchor="middle" style="fill:var(--good)">'
            + (f"{escape(say('traffic is back'))}</text>")
        )


def _phase_bar(scale: Scale, run: RunJson, say: Say) -> Iterator[str]:
    at, y = 0.0, 40
    if not any(run["phases_ms"].values()):
        return
    yield _text(_LEFT - 10, y + 11, say("phases"), "soft", "end")
    for name, length in phase_lengths(run["phases_ms"]):
        clipped = scale.clip({"start_ms": at, "end_ms": at + length, "value": name})
        at += length
        if clipped is None or length <= 0:
            continue
        x1, x2 = clipped
        yield _box(x1, x2, y, 14, f"var(--{name})", f"{say(name)}: {length:.1f} ms")
        label = f"{say(name)} {length:.1f} ms"
        if x2 - x1 > 7 * len(label):
            yield (
                f'<text class="small strong" x="{(x1 + x2) / 2}" y="{y + 11}" text-anchor="middle" '
                f'style="fill:#0b1220">{escape(label)}</text>'
            )


def _lane(scale: Scale, node: str, lane: LaneJson, run: RunJson, y: float, say: Say) -> Iterator[str]:
    yield _text(_LEFT - 10, y + 20, node, "strong", "end")
    if node == run["struck"]:
        yield _text(_LEFT - 10, y + 34, say("struck"), "soft small", "end")
    for band in lane["roles"]:
        clipped = scale.clip(band)
        if clipped is not None:
            yield from _role(clipped, band["value"], y + 6, say)
    for row, bands, fill, what in (
        (31, lane["answers"], "var(--answer)", "answers for the virtual addresses"),
        (38, lane["lease"], "var(--lease)", "lease"),
    ):
        for band in bands:
            clipped = scale.clip(band)
            if clipped is not None and band["value"] not in ("revoked", "lapsed"):
                title = " ".join(filter(None, (say(what), band["value"])))
                opacity = ";opacity:.45" if band["value"] == "long" else ""
                yield _box(*clipped, y + row, 5, fill + opacity, title)
    yield from _ticks(scale, lane["advertisements_ms"], y + 47, say)
    yield from _diamonds(scale, lane["announcements_ms"], y + 53, say)
    yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y + _LANE - 5}" y2="{y + _LANE - 5}"/>'


def _role(span: tuple[float, float], role: str, y: float, say: Say) -> Iterator[str]:
    x1, x2 = span
    known = role in ("active", "standby")
    fill = f"var(--{role})" if known else "url(#hatch)"
    yield _box(x1, x2, y, 22, fill, say(role), radius=3)
    if x2 - x1 > 8 * len(say(role)) + 8:
        ink = f"var(--{role}-ink)" if known else "var(--down-ink)"
        yield (
            f'<text class="small strong" x="{(x1 + x2) / 2}" y="{y + 15}" text-anchor="middle" '
            f'style="fill:{ink}">{escape(say(role))}</text>'
        )


def _ticks(scale: Scale, instants: Iterable[float], y: float, say: Say) -> Iterator[str]:
    for t_ms in [t for t in instants if scale.shows(t)][:_TICKS_MAX]:
        title = escape(f"{say('advertisement')} {t_ms:.1f} ms")
        yield (
            f'<line x1="{scale(t_ms)}" x2="{scale(t_ms)}" y1="{y}" y2="{y + 13}" '
            f'style="stroke:var(--ink);stroke-width:1.6"><title>{title}</title></line>'
        )


def _diamonds(scale: Scale, instants: Iterable[float], y: float, say: Say) -> Iterator[str]:
    last = -1e9
    for t_ms in instants:
        # The same announcement on every LAN and for every address: one mark is enough.
        if not scale.shows(t_ms) or scale(t_ms) - last < 3:
            continue
        last = scale(t_ms)
        title = escape(f"{say('announcement (gratuitous ARP)')} {t_ms:.1f} ms")
        yield f'<path d="M{last} {y - 6}l5 6l-5 6l-5 -6z" style="fill:var(--announce)"><title>{title}</title></path>'


def _strip(scale: Scale, strip: StripJson, y: float, say: Say) -> Iterator[str]:
    yield _text(_LEFT - 10, y + 17, say(strip["direction"]), "strong", "end")
    yield _text(_LEFT - 10, y + 30, f"{strip['packets_lost']} {say('lost')}", "soft small", "end")
    yield _box(_LEFT, WIDTH - _RIGHT, y + 8, 14, "var(--good)", say("a datagram every millisecond arrives"))
    for silence in strip["silences"]:
        clipped = scale.clip(silence)
        if clipped is None:
            continue
        x1, x2 = clipped
        length = silence["end_ms"] - silence["start_ms"] - 1
        yield (
            f'<rect x="{x1}" y="{y + 5}" width="{round(max(x2 - x1, 1.5), 2)}" height="20" '
            f'style="fill:var(--gap-fill);stroke:var(--gap);stroke-width:1.2"/>'
        )
        label = f"{length:.0f} ms"
        inside = x2 - x1 > 7 * len(label) + 8
        x, anchor = ((x1 + x2) / 2, "middle") if inside else (x2 + 5, "start")
        back = "" if inside else "paint-order:stroke;stroke:var(--paper);stroke-width:4px;"
        yield (
            f'<text class="strong" x="{x}" y="{y + 19.5}" text-anchor="{anchor}" '
            f'style="{back}fill:var(--gap)">{escape(label)}</text>'
        )


def _objectives(scale: Scale, drill: DrillJson, run: RunJson, y: float, say: Say, *, shown: bool) -> Iterator[str]:
    """The declared outage, laid beside the measured gap from where the gap begins."""
    silences = [silence for strip in run["trace"]["strips"] for silence in strip["silences"]]
    if not shown or not silences:
        return
    begin = max(silences, key=lambda silence: silence["end_ms"] - silence["start_ms"])["start_ms"]
    for number, objective in enumerate(drill["objectives"]):
        row = y + 20 * number + 8
        x1 = scale(max(begin, scale.start))
        beyond = begin + objective["declared_ms"] > scale.end
        x2 = WIDTH - _RIGHT if beyond else scale(begin + objective["declared_ms"])
        yield _text(_LEFT - 10, row + 4, say("declared"), "soft", "end")
        cap = "" if beyond else f"M{x2} {row - 5}v10"
        yield (
            f'<path d="M{x1} {row - 5}v10M{x1} {row}H{x2}{cap}" '
            f'style="stroke:var(--declared);stroke-width:1.5;fill:none"/>'
        )
        label = f"{objective['service']}: {objective['declared_ms']:.0f} ms" + (" →" if beyond else "")
        yield (
            f'<text class="small" x="{(x1 + x2) / 2}" y="{row + 4}" text-anchor="middle" '
            f'style="paint-order:stroke;stroke:var(--paper);stroke-width:5px">{escape(label)}</text>'
        )
