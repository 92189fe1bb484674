"""`understudy apply`: running nodes take another file one after the other, and go back if a step fails."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import korean
from understudy.cli.output import CHANGED, ERROR, OK, emit_json, guarded
from understudy.errors import OperatorError
from understudy.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from understudy.config.plan import Plan
    from understudy.rollout.carry import Done, Outcome
    from understudy.rollout.plan import Seen, Step
    from understudy.rollout.watch import Loss

SCHEMA = "understudy.apply/1"
ROLLED_BACK = 3
"""A step failed, and every node runs its old file again."""
STUCK = 4
"""A step failed, and a node could not be led back: it goes on trying by itself."""
KERNEL_LINES = 12
"""Of what changes in a node's kernel: shown to people; a program gets more."""
LINGER_S = 1.0
"""After the last step, before the losses are counted: what it broke shows by then."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(apply)


@guarded
def apply(
    file: Annotated[Path, typer.Argument(help="The cluster's file, as it shall be from now on.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing; exit code 2 if anything.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Every agent begins anew, from the code that is installed now.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    confirm_within: Annotated[
        float, typer.Option(min=2, max=600, help="Seconds after which a node goes back if this command disappears.")
    ] = 20.0,
    step_timeout: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds that a step may need until all is well again.")
    ] = 30.0,
    no_probes: Annotated[bool, typer.Option("--no-probes", help="Measure nothing.")] = False,
) -> None:
    """Change running nodes without downtime: standby first, handed over in between where an agent has to restart.

    Shows what changes on every node and which flows would end, asks, and looks at everything after each step. If a step
    fails or this command disappears, the nodes go back to the file before. Exit code 3: they did.
    """
    from understudy.agent import client
    from understudy.config import carried, load_plan
    from understudy.rollout.agents import SocketAgents
    from understudy.rollout.plan import elsewhere, objections, observing, steps

    plan = load_plan(file)
    found = client.find(run_dir, None, str(plan.cluster))
    silent = [str(status["node"]) for _, status in found if "error" in status]
    if silent:
        hint = "start it, or take its directory away if its node is gone for good"
        raise OperatorError("E5235", f"{', '.join(silent)} does not answer: a pair changes as a whole", hint)
    statuses = {str(status["node"]): status for _, status in found}
    paths = {str(status["node"]): path.parent for path, status in found}
    agents = SocketAgents(paths, str(file.resolve()), carried(file))
    inspections = {node: agents.inspect(node) for node in statuses}
    _refuse(inspections)
    seen = [*_seen(statuses, inspections), *_absent(statuses)]
    if why := objections(seen):
        raise OperatorError("E5240", "; ".join(why), "make the change that a pair can take, or build the pair anew")
    todo = steps(seen, shorter=_shorter(statuses, plan), restart=restart)
    report = {
        "file": str(file),
        "dry_run": dry_run,
        "nodes": [_described(inspections[node], statuses[node]) for node in statuses],
        "plan": [str(step) for step in todo],
        "elsewhere": list(elsewhere(seen, str(file), restart=restart)),
    }
    if not json_output:
        sys.stdout.write(_text(report))
    if dry_run or not todo:
        if json_output:
            emit_json(SCHEMA, {**report, "steps": [], "result": "nothing" if not todo else "planned"})
        raise typer.Exit(CHANGED if todo and dry_run else OK)
    if not yes:
        _ask(json_output=json_output)
    raise typer.Exit(
        _carry_out(
            plan,
            todo,
            agents,
            paths,
            report,
            timing=(confirm_within, step_timeout, observing(seen, plan) / SECOND),
            json_output=json_output,
            measure=not no_probes,
        )
    )


def _refuse(inspections: Mapping[str, Mapping[str, Any]]) -> None:
    """What one node cannot run changes none. Raises OperatorError."""
    for node, reply in inspections.items():
        if "error" in reply:
            error = reply["error"]
            raise OperatorError(error["code"], f"{node}: {error['message']}", error["hint"])
        if reply["trial_s"] is not None:
            hint = f"wait: it goes back in {reply['trial_s']:g} s unless its own command confirms it"
            raise OperatorError("E5236", f"{node} runs a file on trial", hint)


def _seen(statuses: Mapping[str, Mapping[str, Any]], inspections: Mapping[str, Mapping[str, Any]]) -> "list[Seen]":
    from understudy.rollout.plan import Change, Seen

    return [
        Seen(
            name=node,
            active=frozenset(group["name"] for group in status["groups"] if group["role"] == "active"),
            partners={
                group["name"]: group["peers"][0]["name"]
                for group in status["groups"]
                if group["peers"] and not group.get("plain")
            },
            changes=tuple(Change(**each) for each in inspections[node]["changed"]),
            same=inspections[node]["same"],
            way_back=inspections[node]["way_back"],
        )
        for node, status in statuses.items()
    ]


def _absent(statuses: Mapping[str, Mapping[str, Any]]) -> "list[Seen]":
    """Partners whose agents do not answer here."""
    from understudy.rollout.plan import Seen

    names = {
        peer["name"]
        for status in statuses.values()
        for group in status["groups"]
        for peer in (() if group.get("plain") else group["peers"])
    }
    return [Seen(name, frozenset(), {}, (), False, True, here=False) for name in sorted(names - statuses.keys())]


def _shorter(statuses: Mapping[str, Mapping[str, Any]], plan: "Plan") -> bool:
    wanted = {str(group.name): group.advertise / MILLISECOND for group in plan.groups}
    groups = [group for status in statuses.values() for group in status["groups"]]
    return any(wanted.get(group["name"], group["advertise_ms"]) < group["advertise_ms"] for group in groups)


def _described(reply: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    names = ("node", "version", "changed", "kernel", "missing", "flows", "digest_old", "digest_new", "file")
    return {
        **{name: reply[name] for name in names},
        "active": [group["name"] for group in status["groups"] if group["role"] == "active"],
    }


def _ask(*, json_output: bool) -> None:
    """Raises OperatorError if nobody could answer, typer.Exit if the answer is no."""
    if json_output or not sys.stdin.isatty():
        raise OperatorError(
            "E5241", "nobody is there to confirm it", "give --yes, or --dry-run to see what it would do"
        )
    if not typer.confirm(_said("Go on?")):
        raise typer.Exit(ERROR)


def _carry_out(
    plan: "Plan",
    todo: "Sequence[Step]",
    agents: Any,
    paths: Mapping[str, Path],
    report: dict[str, Any],
    *,
    timing: tuple[float, float, float],
    json_output: bool,
    measure: bool,
) -> int:
    import time

    from understudy.rollout.carry import Rollout, Timing
    from understudy.rollout.watch import UNKNOWN, Watch

    def told(done: "Done") -> None:
        if not json_output:
            sys.stdout.write(f"  {_line(done)}\n")
            sys.stdout.flush()

    digest = plan.digest.hex()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: asked.append(number))
    with Watch(plan, _lab_of(paths), measure=measure) as watch:
        rollout = Rollout(
            agents,
            list(paths),
            digest,
            Timing(*timing),
            free=frozenset(str(group.name) for group in plan.groups if group.preempt),
            answers=watch.answers,
            told=told,
            stop=lambda: bool(asked),
        )
        outcome = rollout.run(todo)
        if measure:
            time.sleep(LINGER_S)
        losses = watch.losses(_windows(outcome)) if measure else [UNKNOWN for _ in outcome.steps]
        findings = watch.findings
    result = "stuck" if outcome.stuck else "rolled back" if outcome.error else "done"
    if json_output:
        emit_json(SCHEMA, {**report, **_summary(outcome, losses), "result": result, "findings": findings})
    else:
        sys.stdout.write(_outcome_text(outcome, losses, findings, report["elsewhere"]))
    return {"done": OK, "rolled back": ROLLED_BACK, "stuck": STUCK}[result]


def _lab_of(paths: Mapping[str, Path]) -> Path | None:
    """The directory of the lab that the nodes are in, if they are."""
    above = {path.parent for path in paths.values()}
    directory = above.pop() if len(above) == 1 else None
    return directory if directory is not None and (directory / "lab.json").exists() else None


def _windows(outcome: "Outcome") -> list[tuple[int, int]]:
    """Each step counts until the next one begins: what it broke may show late."""
    begins = [done.begun for done in outcome.steps]
    last = max((done.ended for done in outcome.steps), default=0) + int(LINGER_S * 1000) * MILLISECOND
    return list(zip(begins, [*begins[1:], last], strict=True))


def _summary(outcome: "Outcome", losses: "Sequence[Loss]") -> dict[str, Any]:
    rows = [
        {
            "node": done.node,
            "action": done.action,
            "result": done.result,
            "took_ms": done.took_ms,
            "packets_lost": loss.packets,
            "connections_lost": loss.connections,
            "detail": done.detail,
        }
        for done, loss in zip(outcome.steps, losses, strict=True)
    ]
    return {"steps": rows, "error": outcome.error, "stuck": outcome.stuck}


# --- words


def _said(text: str) -> str:
    return korean.sentence(text) if korean.speaks_korean() else text


def _line(done: "Done") -> str:
    tail = f": {done.detail}" if done.detail else ""
    return _said(f"{done.node}: {done.action}: {done.result} ({done.took_ms:.0f} ms)") + tail


def _text(report: Mapping[str, Any]) -> str:
    """What changes where, and in which order."""
    lines = []
    for node in report["nodes"]:
        serves = ", ".join(node["active"])
        lines.append(_said(f"{node['node']} (serves {serves})" if serves else f"{node['node']} (stands by)"))
        lines += [f"  {each['words']}" for each in node["changed"]] or [f"  {_said('nothing changes')}"]
        lines += [f"  {line}" for line in node["kernel"][:KERNEL_LINES]]
        if len(node["kernel"]) > KERNEL_LINES:
            lines.append("  " + _said(f"... and {len(node['kernel']) - KERNEL_LINES} lines more: --json"))
        lines += [f"  ! {line}" for line in node["missing"]]
        lines += [f"  {line}" for line in _flow_lines(node["flows"])]
    if report["plan"]:
        lines += [
            "",
            _said("In this order:"),
            *(f"  {number}. {_said(each)}" for number, each in enumerate(report["plan"], 1)),
        ]
    if report["elsewhere"]:
        lines += ["", _said("Where the agent does not answer here:"), *(f"  {e}" for e in report["elsewhere"])]
    return "".join(f"{line}\n" for line in lines)


def _flow_lines(flows: Mapping[str, Any]) -> list[str]:
    lines = []
    for each in flows["by"]:
        if each["flows"] == 0:
            continue
        number = "?" if each["flows"] is None else each["flows"]
        fate = "end" if each["ends"] else "go on"
        lines.append(_said(f"{number} flows {fate}: {each['what']} is removed"))
        lines += [f"  {example}" for example in each["examples"]]
    return lines


def _outcome_text(
    outcome: "Outcome", losses: "Sequence[Loss]", findings: Sequence[str], elsewhere: Sequence[str]
) -> str:
    packets = [loss.packets for loss in losses if loss.packets is not None]
    connections = [loss.connections for loss in losses if loss.connections is not None]
    lines = [f"! {finding}" for finding in findings]
    if packets:
        lines.append(_said(f"packets lost: {sum(packets)}"))
    if connections:
        lines.append(_said(f"connections lost: {sum(connections)}"))
    for done, loss in zip(outcome.steps, losses, strict=True):
        if loss.packets or loss.connections:
            lines.append(f"  {done.node}: {done.action}: {loss.packets}, {loss.connections}")
    if outcome.error:
        lines.append(_said("taken back") + f": {outcome.error}")
        lines += [_said(f"{node} could not be led back; it goes on trying by itself") for node in outcome.stuck]
    else:
        lines.append(_said("done"))
        lines += [f"  {each}" for each in elsewhere]
    return "".join(f"{line}\n" for line in lines)
