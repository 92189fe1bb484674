"""`understudy doctor`: what this machine can do, tried in a scratch namespace, and what to do about the rest."""

import sys
from dataclasses import asdict

import typer

from understudy.cli.output import CHANGED, ERROR, OK, console, emit_json, guarded


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


@guarded
def doctor(json_output: bool = typer.Option(False, "--json", help="One JSON document.")) -> None:
    """Try each capability and kernel feature that Understudy needs, and say what to do about what is missing.

    Nothing of this machine is changed. Exit code 0: all is well. 1: something required is missing. 2: something would
    be better.
    """
    from understudy.doctor.checks import examine

    checks = examine()
    if json_output:
        emit_json("understudy.doctor/1", {"checks": [asdict(check) for check in checks]})
    else:
        from rich.table import Table

        table = Table("", "", "found", "what to do", box=None, pad_edge=False)
        for check in checks:
            state = "ok" if check.ok else "MISSING" if check.required else "limited"
            table.add_row(check.name, state, check.detail, check.remedy)
        console().print(table)
    failed = [check for check in checks if not check.ok]
    sys.exit(OK if not failed else ERROR if any(check.required for check in failed) else CHANGED)
