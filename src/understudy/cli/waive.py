"""`understudy waive`: a standby that lacks some of the connections' state may serve without it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli import korean
from understudy.cli.output import LANGUAGE_VARIABLE, console, emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.waive/1"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(waive)


@guarded
def waive(
    group: Annotated[str | None, typer.Argument(help="The group, if there are several.")] = None,
    *,
    node: Annotated[str | None, typer.Option(help="Which standby, if several answer here.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    cluster: Annotated[str | None, typer.Option(help="Of this cluster, if several answer here.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of what is said: en or ko.")] = "en",
) -> None:
    """Let a standby serve without the connections' state: its promotion under way, or the next one within a minute.

    Connections that it lacks are lost. It takes over from nobody who serves.
    """
    from understudy.agent import client

    say = korean.speaker(lang)
    found = client.find(run_dir, node, cluster, of_one_cluster=True)
    name = client.group_of(found, group)
    # An Active alone refuses it by itself, with the reason.
    path, status = client.only([each for each in found if _stands_by(each[1], name)] or found)
    reply = client.ask(path, "waive", group=name)
    if reply.get("error"):
        raise OperatorError("E5313", str(reply["error"]), "understudy status shows what each node sees")
    if json_output:
        emit_json(SCHEMA, {"node": status["node"], "group": name})
    else:
        console().print(say(f"{status['node']} serves {name} without the state, if it is to within a minute"))


def _stands_by(status: dict[str, Any], name: str) -> bool:
    return any(group["name"] == name and group["role"] != "active" for group in status["groups"])
