"""`understudy keygen`: the key that the nodes of one cluster share."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import emit_json, guarded


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(keygen)


@guarded
def keygen(
    file: Annotated[Path, typer.Argument(help="Where to write the key.")] = Path("cluster.key"),
    json_output: bool = typer.Option(False, "--json", help="One JSON document."),
) -> None:
    """Write a new random cluster key that only its owner can read. Never overwrites one."""
    from understudy.config.key import create_key

    create_key(file)
    if json_output:
        emit_json("understudy.keygen/1", {"file": str(file)})
    else:
        sys.stdout.write(f"{file}: written; copy it to every node of the cluster, and to nobody else\n")
