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
from understudy.ios.rules import Fidelity

_PROFILE = Fidelity.PROFILE.word
PLAN_MAX = 100
"""Lines of the plan that are shown."""


class Ended(SystemExit):
    """By a signal; the exit code is a shell's."""


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
    told: set[str] | None = None,
) -> bool:
    """Whether the file says `after` now and every running node too. `told`: lines of NAT whose profile's way has been
    told; those of this commit are added.

    Raises OperatorError E7153, and Ended if a signal ends the command before the nodes are asked to change anything.
    """
    from understudy.cli.apply import apply
    from understudy.cli.nat_import import write

    if file.read_text(encoding="utf-8-sig") != before:
        raise OperatorError("E7153", f"{file} was changed by somebody else meanwhile", "abort: it is read anew")
    with _ended_by_signals():
        if not _fine(file, after, lang, say, told):
            return False
        running = _running(file, run_dir)
        code = ERROR
        try:
            write(file, after, force=True)
            code = (
                _code(lambda: apply(file, yes=yes, run_dir=run_dir, now=now, drain=drain, lang=lang)) if running else OK
            )
        finally:  # whatever ended it: the file says what the nodes run
            if code != OK:
                write(file, before, force=True)
    if not running:
        say(f"! {file} is written; no agent answers here: `understudy apply {file}` where they run")
    elif code != OK:
        say(f"% not applied: {file} is as it was")
    return code == OK


def _fine(file: Path, after: str, lang: str, say: Callable[[str], object], told: set[str] | None) -> bool:
    """Check and plan, on a file beside ours, so that it finds what ours finds."""
    from understudy.cli.check import check
    from understudy.cli.plan import cluster_text
    from understudy.config import load_plan

    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            stream.write(after)
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            fine = _code(lambda: check(beside, json_output=False, lang=lang)) == OK
        say(printed.getvalue().rstrip("\n").replace(str(beside), str(file)))
        if not fine:
            say("% nothing is changed")
            return False
        plan = load_plan(beside)
        lines = [each.text for each in (plan.ios.said if plan.ios is not None else ()) if each.fidelity == _PROFILE]
        known = set() if told is None else told.intersection(lines)
        for line in _notable(cluster_text(plan, lang), known):
            say(line)
        if told is not None:
            told.update(lines)
    except OSError as error:
        raise OperatorError("E7153", f"cannot write beside {file}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return True


def _notable(lines: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """Of the plan: the group, and lines of NAT that Linux does not do in the very same way, but for the known ones."""
    passed = tuple(f" {each}  -- {_PROFILE}" for each in known)
    shown = [line for line in lines if not line.endswith("  -- same") and not any(each in line for each in passed)]
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
    except Ended:
        raise
    except typer.Abort:  # a question was answered by Ctrl-C
        return ERROR
    except typer.Exit as exit_:
        return int(exit_.exit_code)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else ERROR
    return OK


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A terminal that is closed ends the command as ever, but not before the file is in order.

    `apply` takes signals for itself once it changes nodes; afterwards they are as they were.
    """
    held = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    def end(number: int, _: object) -> None:
        for kind in held:
            signal.signal(kind, signal.SIG_IGN)  # a second one must not come between
        raise Ended(128 + number)

    for kind in (signal.SIGTERM, signal.SIGHUP):
        if held[kind] is not signal.SIG_IGN:
            signal.signal(kind, end)
    try:
        yield
    finally:
        for kind, handler in held.items():
            with suppress(TypeError):
                signal.signal(kind, handler)
        with suppress(OSError):
            sys.stdout.flush()
