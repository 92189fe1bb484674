"""`understudy apply`: running nodes take another file one after the other, and go back if a step fails."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import korean
from understudy.cli.apply_words import change_text, outcome_text, step_line
from understudy.cli.drain_lines import Say, drain_lines, flows_said
from understudy.cli.output import CHANGED, ERROR, OK, emit_json, guarded, tell
from understudy.cli.trying import require_passed, tried, tried_text
from understudy.errors import OperatorError
from understudy.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from understudy.config.plan import Plan
    from understudy.rollout.carry import Done, Outcome, Timing
    from understudy.rollout.plan import Seen, Step
    from understudy.rollout.watch import Loss

SCHEMA = "understudy.apply/1"
ROLLED_BACK = 3
"""A step failed, and every node runs its old file again."""
STUCK = 4
"""A step failed, and a node could not be led back: it goes on trying by itself."""
LINGER_S = 1.0
"""After the last step, before the losses are counted: what it broke shows by then."""
ENDED_PATIENCE_S = 15.0
"""For the nodes to end flows, with --now."""


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
    now: Annotated[
        bool, typer.Option("--now", help="End the flows of removed translations at once, on both nodes.")
    ] = False,
    drain: Annotated[
        str,
        typer.Option(help="Let flows of removed translations go on for so long (10m, 2h) and end the rest then."),
    ] = "",
    cases: Annotated[
        Path | None, typer.Option(help="Try these cases first (understudy nat test); if one fails, nothing is applied.")
    ] = None,
    despite_cases: Annotated[
        bool, typer.Option("--despite-cases", help="Apply although a case fails; the nodes' journals say so.")
    ] = False,
    lang: Annotated[str | None, typer.Option(help="Language: en or ko (or UNDERSTUDY_LANG).")] = None,
) -> None:
    """Change running nodes without downtime: standby first, handed over in between where an agent has to restart.

    Shows what changes on every node and which flows would end, asks, and looks at everything after each step. If a step
    fails or this command disappears, the nodes go back to the file before. Exit code 3: they did.

    Flows of translations that the file removes go on until they end by themselves, unless --drain or --now says
    otherwise: no new flow uses what was removed.
    """
    from understudy.agent import client
    from understudy.config import carried, load_plan
    from understudy.rollout.agents import SocketAgents
    from understudy.rollout.carry import Timing
    from understudy.rollout.plan import elsewhere, objections, observing, steps

    say = korean.speaker(lang)
    drain_s = _drain_s(now=now, drain=drain)
    plan = load_plan(file)
    trial = tried(cases, plan) if cases is not None else None
    if trial is not None:
        if not json_output:
            sys.stdout.write(tried_text(trial, say))
        if not despite_cases:
            require_passed(trial)
    found = client.find(run_dir, None, str(plan.cluster))
    if silent := client.silent(found):
        hint = "start it, or take its directory away if its node is gone for good"
        raise OperatorError("E5235", f"a pair changes as a whole, but {silent}", hint)
    statuses = {str(status["node"]): status for _, status in found}
    paths = {str(status["node"]): path.parent for path, status in found}
    agents = SocketAgents(
        paths, str(file.resolve()), carried(file), drain_s=drain_s, remark=trial.remark if trial is not None else ""
    )
    inspections = {node: agents.inspect(node) for node in statuses}
    _refuse(inspections)
    seen = [*_seen(statuses, inspections, plan), *_absent(statuses)]
    if why := objections(seen):
        raise OperatorError("E5240", "; ".join(why), "make the change that a pair can take, or build the pair anew")
    todo = steps(seen, shorter=_shorter(statuses, plan), restart=restart)
    report = {
        "file": str(file),
        "dry_run": dry_run,
        "drain_s": drain_s,
        "cases": trial.as_json(despite=despite_cases) if trial is not None else None,
        "nodes": [_described(inspections[node], statuses[node]) for node in statuses],
        "plan": [str(step) for step in todo],
        "elsewhere": list(elsewhere(seen, str(file), restart=restart)),
    }
    if not json_output:
        sys.stdout.write(change_text(report, say))
    if dry_run or not todo:
        if json_output:
            emit_json(SCHEMA, {**report, "steps": [], "result": "nothing" if not todo else "planned"})
        raise typer.Exit(CHANGED if todo and dry_run else OK)
    if not yes:
        _ask(say, json_output=json_output)
    observed = observing(seen, plan)
    raise typer.Exit(
        _carry_out(
            plan,
            todo,
            agents,
            paths,
            report,
            timing=Timing(confirm_within, step_timeout, observed.lasts / SECOND, observed.services),
            say=None if json_output else say,
            measure=not no_probes,
        )
    )


def _drain_s(*, now: bool, drain: str) -> float | None:
    """How long flows of removed translations go on; None: until they end. Raises OperatorError."""
    from understudy.agent.draining import DRAIN_S_MAX
    from understudy.units import parse_duration

    if now and drain:
        raise OperatorError("E5243", "--now and --drain say different things", "one of the two")
    if now or not drain:
        return 0.0 if now else None
    try:
        seconds = parse_duration(drain) / SECOND
    except ValueError:
        raise OperatorError("E5243", f"{drain!r} is no duration", "such as 30s, 10m or 2h") from None
    if not 0 < seconds <= DRAIN_S_MAX:
        raise OperatorError(
            "E5243", f"--drain {drain}: at most {DRAIN_S_MAX / 86_400:g} days", "such as 30s, 10m or 2h"
        )
    return seconds


def _refuse(inspections: Mapping[str, Mapping[str, Any]]) -> None:
    """What one node cannot run changes none. Raises OperatorError."""
    for node, reply in inspections.items():
        if "error" in reply:
            error = reply["error"]
            raise OperatorError(error["code"], f"{node}: {error['message']}", error["hint"])
        if reply["trial_s"] is not None:
            hint = f"wait: it goes back in {reply['trial_s']:g} s unless its own command confirms it"
            raise OperatorError("E5236", f"{node} runs a file on trial", hint)


def _seen(
    statuses: Mapping[str, Mapping[str, Any]], inspections: Mapping[str, Mapping[str, Any]], plan: "Plan"
) -> "list[Seen]":
    from understudy.rollout.plan import Change, Seen

    known = {str(group.name) for group in plan.groups}
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
            gone=frozenset(group["name"] for group in status["groups"]) - known,
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
    names = ("node", "version", "changed", "kernel", "missing", "flows", "draining", "digest_old", "digest_new", "file")
    return {
        **{name: reply[name] for name in names},
        "active": [group["name"] for group in status["groups"] if group["role"] == "active"],
    }


def _ask(say: Say, *, json_output: bool) -> None:
    """Raises OperatorError if nobody could answer, typer.Exit if the answer is no."""
    if json_output or not sys.stdin.isatty():
        raise OperatorError(
            "E5241", "nobody is there to confirm it", "give --yes, or --dry-run to see what it would do"
        )
    if not typer.confirm(say("Go on?")):
        raise typer.Exit(ERROR)


def _carry_out(
    plan: "Plan",
    todo: "Sequence[Step]",
    agents: Any,
    paths: Mapping[str, Path],
    report: dict[str, Any],
    *,
    timing: "Timing",
    say: Say | None,
    measure: bool,
) -> int:
    """`say`: None for JSON."""
    import time

    from understudy.rollout.carry import Rollout
    from understudy.rollout.watch import UNKNOWN, Watch

    def told(done: "Done") -> None:
        if say is not None:
            tell(f"  {step_line(done, say)}\n")

    since, digest = time.time(), plan.digest.hex()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: asked.append(number))
    with Watch(plan, _lab_of(paths), measure=measure) as watch:
        rollout = Rollout(
            agents,
            list(paths),
            digest,
            timing,
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
    drained = _drained(agents, list(paths), since, now=report["drain_s"] == 0) if result == "done" else {}
    if say is None:
        ending = {"result": result, "findings": findings, "draining": drained}
        emit_json(SCHEMA, {**report, **_summary(outcome, losses), **ending})
    else:
        tell(outcome_text(outcome, losses, findings, report["elsewhere"], say))
        for node, each in drained.items():
            ended = sum(one["flows"] for one in each["ended"])
            lines = [flows_said(f"{ended} flows of removed translations ended", say)] if ended else []
            tell("".join(f"  {node}: {line}\n" for line in (*lines, *drain_lines(each, say))))
    return {"done": OK, "rolled back": ROLLED_BACK, "stuck": STUCK}[result]


def _drained(agents: Any, nodes: "Sequence[str]", since: float, *, now: bool) -> dict[str, Any]:
    """What drains on each node; with `now`, once that is over. What was ended before `since` is left out."""
    import time

    deadline = time.monotonic() + ENDED_PATIENCE_S
    while True:
        found = {node: _draining(agents, node) for node in nodes}
        late = any(one is None or any(each["ends_in_s"] == 0 for each in one["draining"]) for one in found.values())
        if not (now and late) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    told = {node: one if one is not None else {"draining": [], "ended": []} for node, one in found.items()}
    return {
        node: {**each, "ended": [one for one in each["ended"] if one["at"] >= since]} for node, each in told.items()
    }


def _draining(agents: Any, node: str) -> dict[str, Any] | None:
    """By the node's word; None if it does not answer. The change is done: that is another command's matter."""
    try:
        found: dict[str, Any] | None = agents.inspect(node, flows=False).get("draining")
    except OperatorError:
        return None
    return found


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
