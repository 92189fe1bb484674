"""`understudy agent`: run one node, in the foreground, as its service manager wants it."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import guarded

DEFAULT_KEY = Path("/etc/understudy/cluster.key")
STATE_DIR = Path("/var/lib/understudy")


def register(app: typer.Typer) -> None:
    app.command()(agent)


@guarded
def agent(
    file: Annotated[Path, typer.Argument(help="The cluster's file, the same on every node.")],
    *,
    node: Annotated[
        str | None, typer.Option(help="Which node of the file this is; the host's name if left out.")
    ] = None,
    key: Annotated[Path, typer.Option(help="The cluster's key, made by `understudy keygen`.")] = DEFAULT_KEY,
    run_dir: Annotated[
        Path | None, typer.Option(help="For the control socket and the journal; /run/understudy/NODE if left out.")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="For what survives a reboot; /var/lib/understudy/NODE, or the run directory if only that is named."
        ),
    ] = None,
) -> None:
    """Run this node's agent until SIGTERM, which hands over first.

    Needs CAP_NET_ADMIN and CAP_NET_RAW and nothing else.
    """
    from understudy.agent import client
    from understudy.agent.supervisor import AgentOptions, run
    from understudy.config import load_plan
    from understudy.config.key import load_keys
    from understudy.units import NodeName

    name = NodeName(node or socket.gethostname().split(".")[0])
    first, *others = load_keys(key)
    options = AgentOptions(
        load_plan(file),
        name,
        run_dir or client.RUN_DIR / name,
        first,
        state_dir=state_dir or run_dir or STATE_DIR / name,
        file=file.resolve(),
        more_keys=tuple(others),
        key_file=key.resolve(),
    )
    run(options)
