"""What every command shares: exit codes, JSON with a schema name, errors that say what to do, plain text off a
terminal.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from understudy.errors import EnvironmentFailure, OperatorError

if TYPE_CHECKING:
    from rich.console import Console

OK = 0
ERROR = 1
CHANGED = 2
"""Something differs, is degraded, or an objective was missed."""

LANGUAGES = ("en", "ko")
LANGUAGE_VARIABLE = "UNDERSTUDY_LANG"
"""The environment variable behind every `--lang`."""

P = ParamSpec("P")
R = TypeVar("R")


def console(*, stderr: bool = False) -> "Console":
    """A console without colour when the stream is no terminal or NO_COLOR is set; wide enough for tables in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        highlight=False,
        soft_wrap=not stream.isatty(),
        no_color=not stream.isatty() or "NO_COLOR" in os.environ,
        width=None if stream.isatty() or "COLUMNS" in os.environ else 160,
    )


def tell(text: str) -> None:
    """Say it to whoever still listens, and to nobody from then on: what is under way goes on all the same."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        # What is left in the buffer would fail once more at the end, and change the exit code.
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def check_language(language: str) -> str:
    """One that we speak. Raises OperatorError E6001."""
    if language not in LANGUAGES:
        raise OperatorError("E6001", f"no language {language!r}", " or ".join(LANGUAGES))
    return language


def emit_json(schema: str, payload: Mapping[str, Any]) -> None:
    """Write one JSON document; `schema` (such as `understudy.check/1`) comes first."""
    json.dump({"schema": schema, **payload}, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def _plain(problem: Any) -> dict[str, Any]:
    names = ("code", "line", "column", "path", "message", "hint")
    return {name: getattr(problem, name, None) for name in names}


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that an operator can mend into a message and exit code 1 instead of a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except OperatorError as error:
            if kwargs.get("json_output") is True:
                problem = {"code": error.code, "message": error.message, "hint": error.hint}
                more = getattr(error, "problems", ())  # of a file: all of them
                emit_json("understudy.error/1", {"error": problem, "problems": [_plain(each) for each in more]})
            else:
                sys.stderr.write(f"{error}\n")
        except EnvironmentFailure as error:
            if kwargs.get("json_output") is True:
                emit_json("understudy.error/1", {"error": {"code": "E9000", "message": str(error), "hint": ""}})
            else:
                sys.stderr.write(f"E9000 {error}\n")
        sys.exit(ERROR)

    return run
