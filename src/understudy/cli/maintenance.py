"""`understudy maintenance on|off`: a node in maintenance never becomes Active, also not after a restart."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import korean
from understudy.cli.output import LANGUAGE_VARIABLE, console, emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.maintenance/1"


class Switch(StrEnum):
    on = "on"
    off = "off"


def register(app: typer.Typer) -> None:
    app.command()(maintenance)


@guarded
def maintenance(
    state: Annotated[Switch, typer.Argument(help="on: rest and never take over; off: stand by again.")],
    *,
    node: Annotated[str | None, typer.Option(help="Which node, if several answer here.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if nobody could take over, or only without the connections' state.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    cluster: Annotated[str | None, typer.Option(help="Of this cluster, if several answer here.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of what is said: en or ko.")] = "en",
) -> None:
    """Put a node to rest, or back on duty. An Active hands over first; the state survives restarts."""
    from understudy.agent import client

    say = korean.speaker(lang)
    path, status = client.only(client.find(run_dir, node, cluster, of_one_cluster=True))
    reply = client.ask(path, "maintenance", on=state is Switch.on, force=force)
    if reply.get("error"):
        raise OperatorError("E5311", str(reply["error"]), "understudy status shows what each node sees")
    if json_output:
        emit_json(SCHEMA, {"node": status["node"], "maintenance": state is Switch.on})
    else:
        rests = "rests: it never becomes Active" if state is Switch.on else "stands by again"
        console().print(say(f"{status['node']} {rests}"))
