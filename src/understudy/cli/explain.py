"""`understudy explain`: why the last transition happened, from the reasons that the nodes recorded."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.output import LANGUAGE_VARIABLE, check_language, console, emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.explain/1"
BEFORE_NS = 2_000_000_000
AFTER_NS = 1_000_000_000
LINES_READ_MAX = 20_000


def register(app: typer.Typer) -> None:
    app.command()(explain)


@guarded
def explain(
    group: Annotated[
        str | None,
        typer.Argument(metavar="GROUP | FILE", help="The group, if there are several; with --table, the file."),
    ] = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    cluster: Annotated[str | None, typer.Option(help="Of this cluster, if several answer here.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' journals are.")] = None,
    table: Annotated[
        bool, typer.Option("--table", help="The decision's table instead: who holds when, with the FILE's figures.")
    ] = False,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Of the decisions' sentences: en or ko.")] = "en",
) -> None:
    """The causal chain of the last transition: what was heard, what was decided by which rule, what was done."""
    if table:
        _explain_table(Path(group) if group is not None else None, json_output, check_language(lang))
        return
    events = _events(run_dir, cluster)
    moves = [
        event
        for event in events
        if event["kind"] == "moved" and event["old"] != "initialize" and group in (None, event["group"])
    ]
    if not moves:
        raise OperatorError("E5320", "no transition is recorded yet", "understudy status shows the present roles")
    last = moves[-1]
    chain = [
        event
        for event in events
        if last["t"] - BEFORE_NS <= event["t"] <= last["t"] + AFTER_NS and event.get("group") in (None, last["group"])
    ]
    if json_output:
        emit_json(SCHEMA, {"group": last["group"], "at_ns": last["t"], "events": chain})
        return
    out = console()
    out.print(f"{last['group']}: {last['node']} became {last['new']} because: {last['reason']}. {last['cause']}")
    korean = _korean_rows() if check_language(lang) == "ko" else {}
    if last.get("row") in korean:
        out.print(korean[last["row"]], markup=False)
    chain = [{**event, "sentence": korean.get(event.get("row", ""), event.get("sentence", ""))} for event in chain]
    for event in chain:
        mark = ">" if event is last else " "
        out.print(
            f"{mark} {(event['t'] - last['t']) / 1e6:+9.1f} ms  {event['node']:<8} {sentence(event)}", markup=False
        )


def _korean_rows() -> dict[str, str]:
    """The decision's rows by name, in Korean."""
    from understudy.core.decision import TABLE
    from understudy.core.forced import FORCED

    return {row.name: row.korean for row in (*TABLE, *FORCED)}


def sentence(event: dict[str, Any]) -> str:
    """One event in words."""
    match event["kind"]:
        case "moved":
            by = f", row {event['row']}" if event.get("row") else ""
            return f"{event['old']} -> {event['new']}: {event['reason']} ({event['cause']}){by}"
        case "took_over_step":
            detail = f": {event['detail']}" if event.get("detail") else ""
            return f"step {event['step']} {event['phase']}{detail}"
        case "decided":
            return f"decides by {event['row']}: {event['sentence']}"
        case "drift" | "drift-alarm":
            told = " ".join(str(event[name]) for name in ("what", "who", "error") if event.get(name))
            return f"{event['kind']}: {told}"
        case "expired":
            return f"Active_Down_Timer fired on {event['network']} (IPv{event['family']}): no advertisement heard"
        case "lease":
            length = f" {event['length_ns'] / 1e6:g} ms" if event["length_ns"] else ""
            return f"kernel lease {event['state']}{length}: {event['reason']}"
        case "announced":
            return f"gratuitous ARP and neighbour advertisements, round {event['round']}"
        case "advertised":
            return f"first advertisement on {event['network']}"
        case kind:
            rest = " ".join(str(event[name]) for name in ("subject", "phase", "detail") if event.get(name))
            return f"{kind} {rest}".rstrip()


def _explain_table(file: Path | None, json_output: bool, lang: str) -> None:
    from understudy.cli.table import describe, figures, lines
    from understudy.config import load_plan

    plan = load_plan(file) if file is not None else None
    if json_output:
        groups = figures(plan) if plan is not None else []
        emit_json("understudy.explain-table/2", {"file": file, "groups": groups, "rows": list(describe(plan))})
        return
    for line in lines(plan, lang):
        console().print(line, markup=False)


def _events(run_dir: Path | None, cluster: str | None) -> list[dict[str, Any]]:
    from understudy.agent import client

    events: list[dict[str, Any]] = []
    for path, _ in client.find(run_dir, None, cluster, of_one_cluster=True):
        journal = path.with_name("events.jsonl")
        if journal.exists():
            for line in journal.read_text(errors="replace").splitlines()[-LINES_READ_MAX:]:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # A node that was killed may leave half a line.
                if isinstance(event, dict) and "t" in event and "kind" in event:
                    events.append(event)
    return sorted(events, key=lambda event: event["t"])
