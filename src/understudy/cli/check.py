"""`understudy check`: every problem of a file at once, each on the operator's own line."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import ERROR, LANGUAGE_VARIABLE, check_language, emit_json, guarded


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


@guarded
def check(
    file: Annotated[Path, typer.Argument(help="The file of the cluster.")] = Path("understudy.yaml"),
    json_output: bool = typer.Option(False, "--json", help="One JSON document."),
    lang: str = typer.Option(
        "en", envvar=LANGUAGE_VARIABLE, help="Say also in this language what each problem means: en or ko."
    ),
) -> None:
    """Check a file and name every problem of it. Changes nothing."""
    from understudy.config import load_plan
    from understudy.config.korean import MEANINGS
    from understudy.config.problems import Problems

    meanings = MEANINGS if check_language(lang) == "ko" else {}
    try:
        plan = load_plan(file)
    except Problems as problems:
        if json_output:
            found = [
                {k: v for k, v in asdict(problem).items() if k != "width"}
                | ({"meaning": meanings[problem.code]} if problem.code in meanings else {})
                for problem in problems.problems
            ]
            emit_json("understudy.check/1", {"file": str(file), "ok": False, "problems": found})
        else:
            sys.stderr.write(f"{problems}\n")
            for code in dict.fromkeys(problem.code for problem in problems.problems):
                if code in meanings:
                    sys.stderr.write(f"{code}: {meanings[code]}\n")
            sys.stderr.write(f"{problems.message}\n")
        sys.exit(ERROR)
    warnings = plan.ios.warnings if plan.ios is not None else ()
    korean = check_language(lang) == "ko"
    if json_output:
        said = {"warnings": [{"code": code, "message": words} for code, words, _ in warnings]} if warnings else {}
        emit_json("understudy.check/1", {"file": str(file), "ok": True, "problems": [], **said})
        return
    sys.stdout.writelines(f"{file}: warning {code}: {both[korean]}\n" for code, *both in warnings)
    counts = (
        (len(plan.networks), "network", "networks"),
        (len(plan.nodes), "node", "nodes"),
        (len(plan.groups), "group", "groups"),
        (len(plan.services), "service", "services"),
    )
    sys.stdout.write(f"{file}: fine; {', '.join(f'{n} {one if n == 1 else many}' for n, one, many in counts)}\n")
