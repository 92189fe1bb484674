"""The report as one HTML page that needs nothing else: no script, no font, no request. One section a fault."""

from collections.abc import Iterator, Sequence
from html import escape

from understudy.drill import picture, runschart, statewords
from understudy.drill.phrases import speaker
from understudy.drill.picture import Say
from understudy.drill.result import DrillJson, RunJson, median_run, phase_lengths, spell_parameters

_STYLE = """
*{box-sizing:border-box} html{color-scheme:light dark}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,
'Noto Sans CJK KR','Noto Sans',sans-serif}
main,header{max-width:1080px;margin:0 auto;padding:0 28px} header{padding-top:38px} header p{max-width:none}
h1{font-size:27px;margin:0;letter-spacing:-.01em} h2{font-size:21px;margin:52px 0 4px} h3{font-size:15px;margin:26px 0
6px} p{margin:4px 0;max-width:76ch} .soft{color:var(--soft)} code{font:13px ui-monospace,'DejaVu Sans Mono',monospace}
.chip{display:inline-block;padding:1px
11px;border-radius:99px;font-size:13px;font-weight:650;color:#fff;vertical-align:3px;margin-left:10px}
.pass{background:#15803d} .fail{background:#b42318} .cards{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}
.card{flex:1 1 150px;background:var(--panel);border:1px solid var(--line); border-radius:10px;padding:10px 14px} .card
b{display:block;font-size:23px;letter-spacing:-.01em;font-variant-numeric:tabular-nums} .card
span{color:var(--soft);font-size:13px} figure{margin:6px 0 0;border:1px solid
var(--line);border-radius:10px;padding:12px 10px 6px;overflow-x:auto;background:var(--paper)} figure
svg{width:100%;min-width:720px;height:auto;display:block} figcaption{color:var(--soft);font-size:13px;padding:2px 8px
4px} table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
.wide{overflow-x:auto} th{font-weight:600;color:var(--soft);text-align:right;padding:5px 9px;border-bottom:1px solid
var(--line);white-space:nowrap} td{text-align:right;padding:5px 9px;border-bottom:1px solid var(--line)}
td.l,th.l{text-align:left} td.t{white-space:nowrap} ul{margin:4px 0;padding-left:20px}
.key{display:inline-block;width:13px;height:11px;border-radius:2px;margin-right:6px} details{margin-top:10px}
summary{cursor:pointer;font-weight:600} footer{margin:56px auto 40px;max-width:1080px;padding:0
28px;color:var(--soft);font-size:13px}
"""


def render(drills: Sequence[DrillJson], language: str = "en") -> str:
    """The whole page for one drill or several."""
    say = speaker(language)
    passed = all(drill["verdict"]["passed"] for drill in drills)
    title = f"{say('Drill report')} · {drills[0]['cluster']}"
    body = "".join(
        [
            f"<header><h1>{escape(title)}{_chip(passed, say)}</h1>",
            f'<p class="soft">{escape(drills[0]["file"])} · {escape(drills[0]["started"])} · understudy '
            f"{escape(drills[0]['version'])} · Linux {escape(drills[0]['kernel'])}</p></header><main>",
            _overview(drills, say) if len(drills) > 1 else "",
            *(_section(drill, say) for drill in drills),
            _legend(say),
            "</main>",
            _footer(drills),
        ]
    )
    colours = f":root{{{picture.PALETTE}}}@media (prefers-color-scheme:dark){{:root{{{picture.PALETTE_DARK}}}}}"
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{colours}{_STYLE}{picture.style()}</style></head><body>{body}</body></html>\n"
    )


def _chip(passed: bool, say: Say) -> str:
    return f'<span class="chip {"pass" if passed else "fail"}">{escape(say("passed" if passed else "failed"))}</span>'


def _overview(drills: Sequence[DrillJson], say: Say) -> str:
    heads = ("fault", "runs", "p50", "p95", "max", "bound", "packets", "survived", "dual answer", "verdict")
    rows = []
    for drill in drills:
        summary, totals = drill["summary"], drill["summary"]["totals"]
        cells = [
            f"{totals['runs']:.0f}",
            *(f"{value:.1f} ms" for value in (summary["p50"], summary["p95"], summary["max"])),
            _range(drill),
            f"{totals['packets_lost']:.0f} {say('lost')}",
            f"{totals['tcp_survived']:.0f}/{totals['tcp_established']:.0f}",
            f"{totals['dual_answer_ms']:.1f} ms",
        ]
        anchor = f'<a href="#{drill["fault"]}">{escape(drill["fault"])}</a>'
        rows.append(
            f'<tr><td class="l">{anchor}</td>'
            + "".join(f'<td class="t">{escape(cell)}</td>' for cell in cells)
            + f"<td>{_chip(drill['verdict']['passed'], say)}</td></tr>"
        )
    return f'<div class="wide"><table>{_heads(heads, say)}{"".join(rows)}</table></div>'


def _heads(heads: Sequence[str], say: Say) -> str:
    cells = "".join(
        f"<th{' class=l' if number == 0 else ''}>{escape(say(head))}</th>" for number, head in enumerate(heads)
    )
    return f"<tr>{cells}</tr>"


def _range(drill: DrillJson) -> str:
    low, high = drill["bound"]["outage_min_ms"], drill["bound"]["outage_max_ms"]
    if high is None:
        return "–"
    return f"≤ {high:.0f} ms" if low is None else f"{low:.0f}–{high:.0f} ms"


def _section(drill: DrillJson, say: Say) -> str:
    run = median_run(drill)
    reasons = drill["verdict"]["reasons"]
    parts = [
        f'<section id="{drill["fault"]}"><h2>{escape(drill["fault"])}{_chip(drill["verdict"]["passed"], say)}</h2>',
        f"<p>{escape(say(drill['sentence']))}</p>",
        f"<p>{escape(say('parameters'))}: {escape(spell_parameters(drill))}</p>" if drill.get("parameters") else "",
        f"<ul>{''.join(f'<li>{escape(reason)}</li>' for reason in reasons)}</ul>" if reasons else "",
        *_cards(drill, say),
        _state(drill, say),
    ]
    if run is not None:
        parts += [*_figures(drill, run, say), _percentiles(drill, say), _events(run, say), _runs(drill, say)]
    return "".join(parts) + "</section>"


def _cards(drill: DrillJson, say: Say) -> Iterator[str]:
    summary, totals = drill["summary"], drill["summary"]["totals"]
    objective = next(iter(drill["objectives"]), None)
    worst = f"{say('outage')}, {say('max')} · {totals['runs']:.0f} {say('runs')}"
    cards = [
        (f"{summary['p50']:.1f} ms", f"{say('outage')}, p50"),
        (
            f"{summary['max']:.1f} ms",
            worst + (f" · {say('declared')} {objective['declared_ms']:.0f} ms" if objective else ""),
        ),
        (f"{totals['packets_lost']:.0f}", f"{say('packets')} {say('lost')} / {totals['packets_sent']:.0f}"),
        (f"{totals['tcp_survived']:.0f}/{totals['tcp_established']:.0f}", f"TCP {say('survived')}"),
        (f"{totals['dual_answer_ms']:.1f} ms", say("dual answer")),
    ]
    yield '<div class="cards">'
    for value, label in cards:
        yield f'<div class="card"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
    yield "</div>"


def _figures(drill: DrillJson, run: RunJson, say: Say) -> Iterator[str]:
    yield f"<h3>{escape(say('The median run'))}</h3><figure>{picture.timeline(drill, run, say)}"
    yield f"<figcaption>{_keys(say)}</figcaption></figure>"
    window = picture.promotion(run)
    if window is not None:
        yield f"<h3>{escape(say('The promotion, magnified'))}</h3>"
        yield f"<figure>{picture.timeline(drill, run, say, window=window)}</figure>"
    yield f"<h3>{escape(say('Every run'))}</h3><figure>{runschart.chart(drill, say)}"
    yield f"<figcaption>{escape(say('bound'))}: {escape(drill['bound']['sentence'])}</figcaption></figure>"


def _keys(say: Say) -> str:
    keys = [
        ("--active", "active"),
        ("--standby", "standby"),
        ("--answer", "answers for the virtual addresses"),
        ("--lease", "lease"),
        ("--ink", "advertisement"),
        ("--announce", "announcement (gratuitous ARP)"),
    ]
    return " &nbsp; ".join(
        f'<span class="key" style="background:var({colour})"></span>{escape(say(text))}' for colour, text in keys
    )


def _percentiles(drill: DrillJson, say: Say) -> str:
    summary = drill["summary"]
    heads = ["outage", "min", "p50", "p95", "p99", "max", "bound"]
    values = [summary["min"], summary["p50"], summary["p95"], summary["p99"], summary["max"]]
    rows = "<tr><td class=l>ms</td>" + "".join(f"<td>{value:.1f}</td>" for value in values)
    rows += f"<td class=t>{escape(_range(drill))}</td></tr>"
    phases = "".join(
        f'<td><span class="key" style="background:var(--{name})"></span>{escape(say(name))} {length:.1f} ms</td>'
        for name, length in phase_lengths(summary["phases_ms"])
    )
    objectives = "".join(
        f"<tr><td class=l>{escape(objective['service'])}</td><td>{objective['declared_ms']:.0f} ms</td>"
        f"<td>{objective['measured_ms']:.1f} ms</td><td>{_chip(objective['met'], say)}</td></tr>"
        for objective in drill["objectives"]
    )
    table = f"<h3>{escape(say('What users felt'))}</h3><div class=wide><table>{_heads(heads, say)}{rows}</table></div>"
    table += f"<div class=wide><table><tr><td class=l>{escape(say('phases'))} (p50)</td>{phases}</tr></table></div>"
    if objectives:
        heads = ["objective", "declared", "measured", "verdict"]
        table += f"<div class=wide><table>{_heads(heads, say)}{objectives}</table></div>"
    return table


def _state(drill: DrillJson, say: Say) -> str:
    rows = "".join(
        f"<tr><td class='l t'>{escape(line.name)}</td><td class=t>{escape(line.value)}</td>"
        f"<td class=l>{escape(line.meaning)}</td></tr>"
        for line in statewords.lines(drill, say)
    )
    return f"<h3>{escape(say('Kept flows'))}</h3><div class=wide><table>{rows}</table></div>" if rows else ""


def _events(run: RunJson, say: Say) -> str:
    rows = "".join(
        f"<tr><td class=t>{event['t_ms']:+.1f} ms</td><td class='l t'>{escape(event['node'])}</td>"
        f"<td class='l t'><code>{escape(event['kind'])}</code></td><td class=l>{escape(event['text'])}</td></tr>"
        for event in run["events"]
    )
    head = escape(say("Events of the median run, with their causes"))
    return f"<details open><summary>{head}</summary><div class=wide><table>{rows}</table></div></details>"


def _runs(drill: DrillJson, say: Say) -> str:
    heads = (
        "#",
        "struck",
        "I",
        "outage",
        "lost",
        "survived",
        "reset",
        "stalled",
        "refused",
        "dual answer",
        "role changes",
        "",
    )
    rows = "".join(
        f"<tr><td class=l>{run['number']}</td><td>{escape(run['struck'])}</td><td>{run['phase']:.2f}</td>"
        f"<td class=t>{run['outage_ms']:.1f} ms</td><td>{run['packets_lost']}</td><td>{run['tcp_survived']}</td>"
        f"<td>{run['tcp_reset']}</td><td>{run['tcp_stalled']}</td><td>{run['refused_connects']}</td>"
        f"<td class=t>{run['dual_answer_ms']:.1f} ms</td><td>{run['role_changes']}</td>"
        f"<td class=l>{escape('; '.join(run['findings']))}</td></tr>"
        for run in drill["runs"]
    )
    void = "".join(f"<li>run {one['number']}: {escape(one['reason'])}</li>" for one in drill["void"])
    void = f"<p>Void, measured again:</p><ul>{void}</ul>" if void else ""
    table = f"<div class=wide><table>{_heads(heads, say)}{rows}</table></div>"
    return f"<details><summary>{escape(say('All runs'))}</summary>{table}{void}</details>"


def _legend(say: Say) -> str:
    return f"""<h2>{escape(say("How to read this"))}</h2>
<p>Each lane is one node. The broad band is its role; below it: when it answered for the virtual addresses (seen where
its cable enters the switch, asked every 2 ms), the kernel lease that allows it to, advertisements as strokes,
announcements as diamonds.</p> <p>The green strips are what users had: one numbered datagram each millisecond, inward
to a server and outward through source NAT. Red is silence, labelled with its length; the longest one of either
direction is the run's outage. The bracket below is what the file declared for the service.</p> <p><b>detect</b>:
until the standby knew. <b>decide</b>: until its promotion began. <b>move</b>: until the addresses were announced on
every LAN. <b>resume</b>: until the first datagram arrived again. Together they are the time from the fault to that
datagram.</p> <p><b>dual answer</b>: how long two nodes answered for the same address. A run in which a probe's own
sender was more than 5 ms late is void and measured again.</p>"""


def _footer(drills: Sequence[DrillJson]) -> str:
    commands = "<br>".join(
        f"<code>understudy drill {escape(drill['file'])} --fault {escape(drill['fault'])} "
        f"--runs {len(drill['runs'])} --seed {drill['seed']}</code>"
        for drill in drills
    )
    return f"<footer>{commands}</footer>"
