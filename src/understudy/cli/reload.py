"""`understudy reload`: running nodes take another file, without a packet lost or a role moved."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import korean
from understudy.cli.output import CHANGED, ERROR, LANGUAGE_VARIABLE, OK, emit_json, guarded
from understudy.errors import OperatorError
from understudy.units import MILLISECOND

if TYPE_CHECKING:
    from understudy.config.plan import Plan

SCHEMA = "understudy.reload/1"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reload)


@guarded
def reload(
    file: Annotated[Path, typer.Argument(help="The cluster's file, as it shall be from now on.")],
    *,
    node: Annotated[str | None, typer.Option(help="Only this node; all that answer here if left out.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing; exit code 2 if anything.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of what is said: en or ko.")] = "en",
) -> None:
    """Have running nodes take another file: servers, checks, addresses, intervals, priorities and more, live.

    A file with problems, or with a change that needs a restart, changes nothing on any node. The standby goes first.
    """
    from understudy.agent import client
    from understudy.config import carried, load_plan

    say = korean.speaker(lang)
    plan = load_plan(file)
    text = carried(file)
    found = client.find(run_dir, node, str(plan.cluster))
    if silent := client.silent(found):
        hint = "start it, or name the other one with --node"
        raise OperatorError("E5235", f"nodes should not run different files, but {silent}", hint)
    statuses = {str(status["node"]): status for _, status in found}
    paths = {str(status["node"]): path.parent for path, status in found}
    order = in_order(statuses, plan)
    name = str(file.resolve())
    # All are asked first: what one of them would refuse shall change none.
    replies = [client.reload(paths[each], name, text, dry_run=True) for each in order]
    if not dry_run and not any("error" in reply for reply in replies):
        replies = []
        for each in order:
            replies.append(client.reload(paths[each], name, text))
            if "error" in replies[-1]:
                break  # The others keep what they have.
    failed = any("error" in reply for reply in replies)
    if json_output:
        emit_json(SCHEMA, {"file": str(file), "dry_run": dry_run, "ok": not failed, "nodes": replies})
    else:
        sys.stderr.write(
            "".join(f"{reply['node']}: {reply['error']['text']}\n" for reply in replies if "error" in reply)
        )
        sys.stdout.write("".join(_text(reply, say, dry_run=dry_run) for reply in replies if "error" not in reply))
    if failed:
        raise typer.Exit(ERROR)
    raise typer.Exit(CHANGED if dry_run and any(reply["changed"] for reply in replies) else OK)


def in_order(statuses: Mapping[str, Mapping[str, Any]], plan: "Plan") -> list[str]:
    """Nodes in the order in which they take the file: the standby first, so that a file that fails there stops there.

    The Active first where an interval becomes shorter: a standby that began with the short one would hear the long
    one as silence, and ask.
    """
    wanted = {str(group.name): group.advertise / MILLISECOND for group in plan.groups}
    groups = [group for status in statuses.values() for group in status["groups"]]
    shorter = any(wanted.get(group["name"], 0.0) < group["advertise_ms"] for group in groups)

    def served(name: str) -> int:
        return sum(group["role"] == "active" for group in statuses[name]["groups"])

    return sorted(statuses, key=served, reverse=shorter)


def _text(reply: Mapping[str, Any], say: Callable[[str], str], *, dry_run: bool) -> str:
    took = "would change" if dry_run else f"reloaded in {reply['took_ms']:.0f} ms"
    head = say(f"{reply['node']}: {took if reply['changed'] else 'nothing changes'}") + "\n"
    note = f"! {say(reply['note'])}\n" if reply.get("note") else ""
    return head + "".join(f"  {line}\n" for line in (*reply["changed"], *reply.get("kernel", ()))) + note
