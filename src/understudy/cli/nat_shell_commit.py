"""`commit`: staged lines through the same check, plan and apply as a file; if a step fails, the file is as it was."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import typer

from understudy.cli.output import ERROR, OK
from understudy.errors import OperatorError

PLAN_MAX = 100
"""Lines of the plan that are shown."""


def commit(
    file: Path,
    before: str,
    after: str,
    *,
    run_dir: Path | None,
    lang: str,
    yes: bool,
    say: Callable[[str], object],
    now: bool = False,
    drain: str = "",
) -> bool:
    """Whether the file says `after` now and every running node too. Raises OperatorError E7153."""
    from understudy.cli.apply import apply
    from understudy.cli.nat_import import write

    if file.read_text(encoding="utf-8-sig") != before:
        raise OperatorError("E7153", f"{file} was changed by somebody else meanwhile", "abort: it is read anew")
    if not _fine(file, after, lang, say):
        return False
    running = _running(file, run_dir)
    write(file, after, force=True)
    if not running:
        say(f"! {file} is written; no agent answers here: `understudy apply {file}` where they run")
        return True
    code = ERROR
    try:
        with _own_signals():
            code = _code(lambda: apply(file, yes=yes, run_dir=run_dir, now=now, drain=drain, lang=lang))
    finally:  # whatever ended it: the file says what the nodes run
        if code != OK:
            write(file, before, force=True)
    if code != OK:
        say(f"% not applied: {file} is as it was")
    return code == OK


def _fine(file: Path, after: str, lang: str, say: Callable[[str], object]) -> bool:
    """Check and plan, on a file beside ours, so that it finds what ours finds."""
    from understudy.cli.check import check
    from understudy.cli.plan import cluster_text
    from understudy.config import load_plan

    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            stream.write(after)
        told = io.StringIO()
        with redirect_stdout(told), redirect_stderr(told):
            fine = _code(lambda: check(beside, json_output=False, lang=lang)) == OK
        say(told.getvalue().rstrip("\n").replace(str(beside), str(file)))
        if not fine:
            say("% nothing is changed")
            return False
        for line in _notable(cluster_text(load_plan(beside), lang)):
            say(line)
    except OSError as error:
        raise OperatorError("E7153", f"cannot write beside {file}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return True


def _notable(lines: Iterable[str]) -> Iterator[str]:
    """Of the plan: the group, and lines of NAT that Linux does not do in the very same way."""
    shown = [line for line in lines if not line.endswith("  -- same")]
    yield from shown[:PLAN_MAX]
    if len(shown) > PLAN_MAX:
        yield f"    ... and {len(shown) - PLAN_MAX} lines more: understudy plan"


def _running(file: Path, run_dir: Path | None) -> bool:
    from understudy.agent import client
    from understudy.config import load_plan

    try:
        client.find(run_dir, None, str(load_plan(file).cluster))
    except OperatorError as error:
        if error.code in ("E5301", "E5308"):
            return False
        raise
    return True


def _code(command: Callable[[], object]) -> int:
    """The exit code with which a command would have ended."""
    try:
        command()
    except typer.Abort:  # a question was answered by Ctrl-C
        return ERROR
    except typer.Exit as exit_:
        return int(exit_.exit_code)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else ERROR
    return OK


@contextmanager
def _own_signals() -> Iterator[None]:
    """`apply` takes signals for itself; afterwards they are ours again."""
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    held = {kind: signal.getsignal(kind) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in held.items():
            with suppress(TypeError):
                signal.signal(kind, handler)
        sys.stdout.flush()
