"""`understudy keygen`: the key that the nodes of one cluster share, and its replacement without a gap."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.keygen/1"
NEXT = {
    "created": "written; copy it to every node of the cluster, and to nobody else",
    "rotated": "a second key added; copy the file to every node and reload each (SIGHUP), then --promote",
    "promoted": "the new key comes first; copy the file to every node and reload each (SIGHUP), then --retire",
    "retired": "one key is left; copy the file to every node and reload each (SIGHUP)",
}
"""What was done, and what comes next."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(keygen)


@guarded
def keygen(
    file: Annotated[Path, typer.Argument(help="The key file.")] = Path("cluster.key"),
    *,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Add a fresh key as the second: every node opens what either sealed.")
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Once every node has both: the second comes first, and seals.")
    ] = False,
    retire: Annotated[
        bool, typer.Option("--retire", help="Once every node seals with the new key: drop all but the first.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Write a new random cluster key that only its owner can read, or replace one step by step.

    Never overwrites a file with a fresh key: a running cluster gets one by --rotate, --promote, --retire, each copied
    to every node and read there (`systemctl reload`, or SIGHUP to the agent) before the next.
    """
    from understudy.config import key

    if rotate + promote + retire > 1:
        hint = "copy the file to every node and reload each in between"
        raise OperatorError("E2706", "--rotate, --promote and --retire are steps, one at a time", hint)
    keys = 1
    if rotate:
        done, keys = "rotated", key.rotate(file)
    elif promote:
        done, keys = "promoted", key.promote(file)
    elif retire:
        done, keys = "retired", key.retire(file)
    else:
        key.create_key(file)
        done = "created"
    if json_output:
        emit_json(SCHEMA, {"file": str(file), "done": done, "keys": keys, "next": NEXT[done]})
    else:
        sys.stdout.write(f"{file}: {NEXT[done]}\n")
