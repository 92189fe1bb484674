"""`understudy flows`: are a node's replicated flows those of its peer? Both kernels are listed and compared, now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli import korean
from understudy.cli.output import CHANGED, LANGUAGE_VARIABLE, OK, console, emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.flows/1"
TIMEOUT_S = 22.0
"""Longer than an agent compares, shorter than it keeps a client waiting."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(flows)


@guarded
def flows(
    file: Annotated[Path | None, typer.Argument(help="The cluster's file, if agents of several answer here.")] = None,
    *,
    node: Annotated[str | None, typer.Option(help="Which node is asked; the standby if left out.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of what is said: en or ko.")] = "en",
) -> None:
    """Count a node's replicated flows, and compare them with its peer's, one by one.

    What changes while the kernels are listed is not held against them. Exit code 2 if any differ, or if it is not known
    that none is missing.
    """
    from understudy.agent import client

    say = korean.speaker(lang)
    cluster = None
    if file is not None:
        from understudy.config import load_plan

        cluster = str(load_plan(file).cluster)
    found = client.find(run_dir, node, cluster, of_one_cluster=True)
    path, status = _choose([(path, status) for path, status in found if "error" not in status])
    reply = client.ask(path, "flows", TIMEOUT_S)
    if reply.get("error"):
        hint = "understudy status shows whether the peer is heard and what its replicator does"
        raise OperatorError("E5312", f"{status['node']}: {reply['error']}", hint)
    document = _document(status, reply)
    if json_output:
        emit_json(SCHEMA, document)
    else:
        console().print("\n".join(say(line) for line in _lines(document)), markup=False)
    raise typer.Exit(CHANGED if document["mismatches"] or not document["complete"] else OK)


def _choose(found: list[tuple[Path, dict[str, Any]]]) -> tuple[Path, dict[str, Any]]:
    """The one that holds copies, if several answer: what it lacks would be lost."""
    standby = [each for each in found if all(group["role"] != "active" for group in each[1]["groups"])]
    return (standby or found)[0]


def _document(status: Mapping[str, Any], reply: Mapping[str, Any]) -> dict[str, Any]:
    kept = [group for group in status["groups"] if group.get("flows") is not None]
    missing = {
        group["name"]: group["flows"].get("detail") or "not proven yet"
        for group in kept
        if group["role"] != "active" and not group["flows"].get("complete")
    }
    return {
        "cluster": status["cluster"],
        "node": status["node"],
        "peer": next((peer["name"] for group in kept for peer in group["peers"]), None),
        "count": reply["here"],
        "peer_count": reply["there"],
        "mismatches": reply["mismatched"],
        "examples": list(reply["examples"]),
        "complete": not missing,
        "missing": missing,
        "groups": {group["name"]: group["flows"] for group in kept},
    }


def _lines(document: Mapping[str, Any]) -> list[str]:
    count, there, differ = document["count"], document["peer_count"], document["mismatches"]
    lines = [f"{document['node']}: {count} flows here, {there} on {document['peer']}, {differ} differ"]
    lines += [f"  {example}" for example in document["examples"]]
    return lines + [f"! {group}: {why}" for group, why in document["missing"].items()]
