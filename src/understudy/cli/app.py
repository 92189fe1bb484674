"""The table of commands. Each module brings `register(app)`; its heavy imports wait until the command runs."""

import importlib
import pkgutil

import typer

import understudy.cli as package

COMMANDS = (
    "init",
    "check",
    "plan",
    "keygen",
    "lab",
    "agent",
    "status",
    "switchover",
    "maintenance",
    "drill",
    "explain",
    "sim",
    "doctor",
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Redundancy from one file: run it, break it on purpose, measure what users would have felt.",
)

_present = {module.name for module in pkgutil.iter_modules(package.__path__)}
for _name in COMMANDS:
    if _name in _present:
        importlib.import_module(f"understudy.cli.{_name}").register(app)
