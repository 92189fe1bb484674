"""`understudy switchover`: the other node serves from now on, without a packet lost."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli import korean
from understudy.cli.output import CHANGED, LANGUAGE_VARIABLE, OK, console, emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.switchover/1"
POLL_S = 0.02


def register(app: typer.Typer) -> None:
    app.command()(switchover)


@guarded
def switchover(
    group: Annotated[str | None, typer.Argument(help="The group, if there are several.")] = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    cluster: Annotated[str | None, typer.Option(help="Of this cluster, if several answer here.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also to a node that lacks some of the connections' state.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the outcome.")] = 5.0,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of what is said: en or ko.")] = "en",
) -> None:
    """Hand a group over to its standby: make before break, then wait until it is done.

    Exit code 2 if the group stayed where it was.
    """
    from understudy.agent import client

    say = korean.speaker(lang)
    path, name = client.active_of(client.find(run_dir, None, cluster, of_one_cluster=True), group)
    begun = time.monotonic()
    reply = client.ask(path, "switchover", group=name, force=force)
    if reply.get("error"):
        raise OperatorError("E5310", str(reply["error"]), "understudy status shows what each node sees")
    state: dict[str, Any] = {}
    while time.monotonic() - begun < timeout:
        status = client.ask(path, "status")
        state = next(each for each in status["groups"] if each["name"] == name)
        if state["role"] != "active" or not state["phase"]:
            break
        time.sleep(POLL_S)
    moved = state.get("role") != "active"
    took_ms = (time.monotonic() - begun) * 1000
    peer = state["peers"][0]["name"] if state.get("peers") else "?"
    result = {"group": name, "moved": moved, "to": peer if moved else None, "took_ms": round(took_ms, 1)}
    if json_output:
        emit_json(SCHEMA, result)
    else:
        said = f"{name} stayed where it was: {peer} did not take it. understudy explain tells why"
        if moved:
            said = f"{name} is served by {peer} now ({took_ms:.0f} ms)"
        console().print(say(said))
    raise typer.Exit(OK if moved else CHANGED)
