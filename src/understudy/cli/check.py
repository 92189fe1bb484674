"""`understudy check`: every problem of a file at once, each on the operator's own line."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import ERROR, emit_json, guarded


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


@guarded
def check(
    file: Annotated[Path, typer.Argument(help="The file of the cluster.")] = Path("understudy.yaml"),
    json_output: bool = typer.Option(False, "--json", help="One JSON document."),
) -> None:
    """Check a file and name every problem of it. Changes nothing."""
    from understudy.config import load_plan
    from understudy.config.problems import Problems

    try:
        plan = load_plan(file)
    except Problems as problems:
        if json_output:
            found = [{k: v for k, v in asdict(problem).items() if k != "width"} for problem in problems.problems]
            emit_json("understudy.check/1", {"file": str(file), "ok": False, "problems": found})
        else:
            sys.stderr.write(f"{problems}\n{problems.message}\n")
        sys.exit(ERROR)
    if json_output:
        emit_json("understudy.check/1", {"file": str(file), "ok": True, "problems": []})
        return
    counts = (
        (len(plan.networks), "network", "networks"),
        (len(plan.nodes), "node", "nodes"),
        (len(plan.groups), "group", "groups"),
        (len(plan.services), "service", "services"),
    )
    sys.stdout.write(f"{file}: fine; {', '.join(f'{n} {one if n == 1 else many}' for n, one, many in counts)}\n")
