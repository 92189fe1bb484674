"""The table of commands. Each module brings `register(app)`; its heavy imports wait until the command runs."""

import importlib
import sys
from typing import Annotated

import typer

from understudy import __version__
from understudy.cli.output import ERROR, OK

COMMANDS = (
    "init",
    "import_",
    "check",
    "plan",
    "keygen",
    "lab",
    "agent",
    "status",
    "flows",
    "switchover",
    "waive",
    "reload",
    "apply",
    "maintenance",
    "drill",
    "explain",
    "sim",
    "doctor",
    "nat",
)

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Redundancy from one file: run it, break it on purpose, measure what users would have felt.",
)

# A mistyped command is an error (1) like any other: 2 says that something differs or is degraded.
for _class in typer.BadParameter.__mro__:
    if _class.__name__ == "UsageError":
        _class.exit_code = ERROR  # type: ignore[attr-defined]  # typer does not export the class itself


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"understudy {__version__}\n")
        raise typer.Exit(OK)


for _name in COMMANDS:
    importlib.import_module(f"understudy.cli.{_name}").register(app)
