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
AGAIN_S = 0.1
"""Between two orders, where the first was refused for a moment only."""


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
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for a standby that is not ready yet, and for the outcome.")
    ] = 5.0,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of what is said: en or ko.")] = "en",
) -> None:
    """Hand a group over to its standby: make before break, then wait until it is done.

    Exit code 2 if the group stayed where it was.
    """
    from understudy.agent import client

    say = korean.speaker(lang)
    path, name = client.active_of(client.find(run_dir, None, cluster, of_one_cluster=True), group)
    taker = _order(path, name, timeout, force=force)
    begun = time.monotonic()
    epoch, state = _state(path, name)
    while state["role"] == "active" and time.monotonic() - begun < timeout:
        if state["phase"]:
            time.sleep(POLL_S)
        elif epoch != taker:  # The core that took the order ended in the middle of it.
            taker = _order(path, name, timeout, force=force)
        else:
            break
        epoch, state = _state(path, name)
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


def _order(path: Path, name: str, patience_s: float, *, force: bool) -> int:
    """Have the Active hand over; the epoch of the core that was asked. Nothing holds a switchover down: what refuses it
    for a moment only is waited for.

    That is so while a standby is there: the last move is not over yet, or its copy of the flows has not been compared
    since. Raises OperatorError E5310 with the reason.
    """
    from understudy.agent import client

    begun = time.monotonic()
    while True:
        epoch, _ = _state(path, name)
        try:
            reply = client.ask(path, "switchover", group=name, force=force)
        except client.TornError:
            return epoch  # It may have been begun: the outcome tells.
        if not reply.get("error"):
            return epoch
        hint, (_, state) = "understudy status shows what each node sees", _state(path, name)
        if state["role"] != "active":
            return epoch  # It has moved already.
        able = [each for each in state.get("peers", []) if each["heard"] and each.get("eligible")]
        if able:
            if time.monotonic() - begun + AGAIN_S < patience_s:
                time.sleep(AGAIN_S)
                continue
            hint = f"so for {patience_s:g} s; it passes by itself, --timeout waits longer; {hint}"
        raise OperatorError("E5310", str(reply["error"]), hint)


def _state(path: Path, name: str) -> tuple[int, dict[str, Any]]:
    """The epoch of the node's core, and what it says of the group."""
    from understudy.agent import client

    status = client.ask(path, "status")
    return int(status["epoch"]), next(each for each in status["groups"] if each["name"] == name)
