"""`understudy nat shell`: a router's prompt for the lines of NAT in the file and for the nodes that run it."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.korean import speaker
from understudy.cli.output import CHANGED, ERROR, LANGUAGE_VARIABLE, OK, check_language, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.config.plan import Plan
    from understudy.ios.shell import Answer, Shell
    from understudy.ios.shell_grammar import Order

PATTERN_MAX = 128
"""Characters of a pattern behind `|`."""
_FILTERS = ("include", "exclude", "begin", "section", "count")


def register(nat: typer.Typer) -> None:
    """Add the command below `nat`."""
    nat.command()(shell)


@guarded
def shell(
    file: Annotated[Path, typer.Argument(help="The cluster's file.")] = Path("understudy.yaml"),
    *,
    node: Annotated[str | None, typer.Option(help="Which node `show` asks; the Active if left out.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    layout: Annotated[str, typer.Option(help="Of the table: A (12.x, 15.x) or C (IOS XE).")] = "A",
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of reasons: en or ko.")] = "en",
) -> None:
    """A prompt as on the router: show, clear, configure terminal, no, abbreviations, ?, tab.

    Lines are staged; `commit` checks them, shows the plan, writes the file and applies it, `abort` drops them. From a
    pipe no question is asked. Exit code 1: a line was refused; 2: staged lines were left behind.
    """
    check_language(lang)
    for stream in (sys.stdin, sys.stdout):  # bytes that are no text are a wrong line, and no end
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    session = _Session(file, node, run_dir, layout, lang)
    lines = _typed(session.shell) if sys.stdin.isatty() else _piped(session.shell)
    for text in lines:
        try:
            session.line(text)
        except KeyboardInterrupt:
            _say("^C")
        if session.left:
            break
    sys.exit(session.code())


class _Session:
    """Carries out what the prompt asks for."""

    def __init__(self, file: Path, node: str | None, run_dir: Path | None, layout: str, lang: str) -> None:
        self._file, self._node, self._run_dir, self._layout, self._lang = file, node, run_dir, layout, lang
        self._interactive = sys.stdin.isatty()
        self._speak = speaker(lang)
        self._refused = 0
        self._spoilt = False
        """A line since the last commit was refused."""
        self._warned = False
        self._told: set[str] = set()
        """Lines of which it was said that the profile decides how they are done."""
        self.left = False
        self.shell, self._text = self._read()

    def _read(self) -> "tuple[Shell, str]":
        from understudy.config import load_plan
        from understudy.ios.profiles import profile_named
        from understudy.ios.shell import Shell, Site

        plan = load_plan(self._file)
        text = self._file.read_text(encoding="utf-8-sig")
        profile = plan.ios.profile if plan.ios is not None else "classic"
        networks = tuple(dict.fromkeys(str(r.network) for g in plan.groups for r in g.routers if r.family == 4))
        fixed, held = "", tuple[str, ...]()
        try:
            held = _staged(plan, text)
        except OperatorError as error:  # to be looked at, not to be changed here
            fixed, held = f"{error.message}: {error.hint}", _printed(plan)
        made = Shell(Site(str(plan.cluster), networks, profile_named(profile), self._lang, fixed), ())
        made.start(held)
        return made, text

    def code(self) -> int:
        """The command's."""
        staged = len(self.shell.changes())
        if staged:
            sys.stderr.write(self._speak(f"{staged} staged lines are left behind: commit applies them") + "\n")
        return ERROR if self._refused else CHANGED if staged else OK

    def _say(self, text: str) -> None:
        """Our own sentences in the language of the session; a router's stay as they are."""
        _say(self._speak(text) if text[:2] in ("! ", "% ") else text)

    def line(self, text: str) -> None:
        """One line, and all that it asks for."""
        answer = self.shell.enter(text)
        printed = list(answer.printed)
        if answer.order is not None and answer.order.what == "filter":
            printed, answer = self._filtered(printed, answer.order.values.get("words") or ()), _plain(answer)
        for each in printed:
            self._say(each)
        fine = not answer.refused
        if fine and answer.order is not None:
            try:
                fine = self._carry_out(answer.order)
            except OperatorError as error:
                self._say(f"% {error.code} {error.message}" + (f"\n  {error.hint}" if error.hint else ""))
                fine = False
        if not fine:
            self._refused += 1
            self._spoilt = True
        self._warned = self._warned and answer.order is not None and answer.order.what == "exit"

    def _carry_out(self, order: "Order") -> bool:
        acts: dict[str, Callable[..., bool]] = {
            "translations": self._translations, "statistics": self._statistics, "pool": self._pool,
            "clear": self._clear, "explain": self._explain, "commit": self._commit, "abort": self._abort,
            "exit": self._exit,
        }  # fmt: skip
        return acts[order.what](**order.values)

    # --- asking the nodes: the very commands

    def _translations(self, words: Sequence[str] = ()) -> bool:
        from understudy.cli.nat_show import translations

        asked, pipe = _pipe(words)
        where = {"node": self._node, "run_dir": self._run_dir, "layout": self._layout}
        return self._run(lambda: translations(list(asked), **where), pipe)  # type: ignore[arg-type]  # by name

    def _statistics(self, words: Sequence[str] = ()) -> bool:
        from understudy.cli.nat_show import statistics

        where = {"node": self._node, "run_dir": self._run_dir, "layout": self._layout}
        return self._run(lambda: statistics(**where), _pipe_alone(words))  # type: ignore[arg-type]  # by name

    def _pool(self, name: str, words: Sequence[str] = ()) -> bool:
        from understudy.cli.nat_show import pool

        return self._run(lambda: pool(name, None, node=self._node, run_dir=self._run_dir), _pipe_alone(words))

    def _clear(self, words: Sequence[str] = ()) -> bool:
        from understudy.cli.nat_show import clear_translations

        return self._run(lambda: clear_translations(list(words), run_dir=self._run_dir))

    def _explain(self, words: Sequence[str] = ()) -> bool:
        from understudy.cli.nat_explain import explain

        if len(words) != 5:
            self._say("% Incomplete command.\n  explain in|out|local INTERFACE PROTOCOL SRC[:PORT] DST[:PORT]")
            return False
        told = {"node": self._node, "run_dir": self._run_dir, "lang": self._lang}
        return self._run(lambda: explain(*words, **told))  # type: ignore[arg-type]  # by name

    def _run(self, command: Callable[[], object], pipe: Sequence[str] = ()) -> bool:
        """A command of ours, within the session."""
        caught = io.StringIO()
        try:
            with contextlib.redirect_stdout(caught) if pipe else contextlib.nullcontext():
                command()
        except SystemExit as exit_:
            return exit_.code in (None, OK, CHANGED)
        finally:
            for line in self._filtered(caught.getvalue().splitlines(), ("|", *pipe)) if pipe else ():
                self._say(line)
            sys.stderr.flush()
        return True

    def _filtered(self, lines: list[str], words: Sequence[str]) -> list[str]:
        """`| include PATTERN` and its relatives. Raises OperatorError E7154."""
        if not words:
            return lines
        kinds = [kind for kind in _FILTERS if len(words) > 1 and kind.startswith(words[1].lower())]
        pattern = " ".join(words[2:])
        if words[0] != "|" or len(kinds) != 1 or not pattern or len(pattern) > PATTERN_MAX:
            raise OperatorError("E7154", f"{' '.join(words)[:80]!r} is no filter", f"| {'|'.join(_FILTERS)} PATTERN")
        try:
            found = re.compile(pattern)
        except re.error as error:
            raise OperatorError("E7154", f"{pattern!r}: {error}", "a regular expression") from None
        return _sieved(lines, kinds[0], found)

    # --- the file

    def _commit(self, *, now: bool = False, drain: str = "") -> bool:
        from understudy.cli.nat_shell_commit import commit
        from understudy.cli.nat_shell_file import find_lines

        if self._spoilt and not self._interactive:
            self._say("% not committed: a line above was refused. `abort` begins anew")
            return False
        if not self.shell.changes():
            self._say("! nothing is staged")
            return True
        after = find_lines(self._text).written(self.shell.candidate)
        fine = commit(
            self._file, self._text, after,
            run_dir=self._run_dir, lang=self._lang, yes=not self._interactive, say=self._say, now=now, drain=drain,
            told=self._told,
        )  # fmt: skip
        if fine:
            self._text = after
            self.shell.committed()
        return fine

    def _abort(self) -> bool:
        """What somebody else wrote meanwhile counts from here on."""
        from understudy.config import load_plan

        text = self._file.read_text(encoding="utf-8-sig")
        self._spoilt = False
        if text != self._text:
            self.shell.start(_staged(load_plan(self._file), text))
            self._text = text
        return True

    def _exit(self) -> bool:
        if self.shell.changes() and self._interactive and not self._warned:
            self._say("% lines are staged: `commit` or `abort`; `exit` once more leaves them behind")
            self._warned = True
        else:
            self.left = True
        return True


def _staged(plan: "Plan", text: str) -> tuple[str, ...]:
    """The lines of a file, with the roles that it leaves to us: one that is typed would else be the only one."""
    from understudy.cli.nat_shell_file import find_lines
    from understudy.ios.reader import read_text

    held = find_lines(text).held
    if plan.ios is None or any(each.roles for each in read_text("\n".join(held)).configuration.interfaces):
        return held
    told = [(each.name, role) for each in plan.ios.configuration.interfaces for role in each.roles]
    return (*(line for name, role in told for line in (f"interface {name}", f" ip nat {role}")), *held)


def _printed(plan: "Plan") -> tuple[str, ...]:
    """The lines of a file, wherever they stand."""
    from dataclasses import replace

    from understudy.ios.printer import print_configuration

    if plan.ios is None:
        return ()
    held = plan.ios.configuration
    bare = tuple(replace(each, addresses=()) for each in held.interfaces)
    return tuple(print_configuration(replace(held, interfaces=bare)).splitlines())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _plain(answer: "Answer") -> "Answer":
    from dataclasses import replace

    return replace(answer, order=None)


def _pipe(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words of a command, and those behind `|`."""
    at = list(words).index("|") if "|" in words else len(words)
    return words[:at], words[at + 1 :]


def _pipe_alone(words: Sequence[str]) -> Sequence[str]:
    """What stands behind `|`, where a command takes no words of its own. Raises OperatorError E7123."""
    asked, pipe = _pipe(words)
    if asked:
        raise OperatorError("E7123", f"{asked[0]!r} is none of its words", f"| {'|'.join(_FILTERS)} PATTERN")
    return pipe


def _sieved(lines: list[str], kind: str, found: "re.Pattern[str]") -> list[str]:
    hits = [bool(found.search(line)) for line in lines]
    if kind == "count":
        return [f"Number of lines which match regexp = {sum(hits)}"]
    if kind == "begin":
        return lines[hits.index(True) :] if any(hits) else []
    if kind == "section":
        blocks: list[tuple[list[str], list[bool]]] = []
        for line, hit in zip(lines, hits, strict=True):
            if not line.startswith(" ") or not blocks:
                blocks.append(([], []))
            blocks[-1][0].append(line)
            blocks[-1][1].append(hit)
        return [line for block, found_ in blocks if any(found_) for line in block]
    return [line for line, hit in zip(lines, hits, strict=True) if hit == (kind == "include")]


def _piped(machine: "Shell") -> Iterator[str]:
    """Lines of a script, each shown behind its prompt. Raises OperatorError E7101 behind the last that is taken."""
    from understudy.ios.reader import LINES_MAX
    from understudy.ios.words import LENGTH_MAX

    for _ in range(LINES_MAX):
        text = sys.stdin.readline(LENGTH_MAX + 2)
        if not text:
            return
        while not text.endswith("\n") and (more := sys.stdin.readline(LENGTH_MAX)):
            text = text[: LENGTH_MAX + 1] + "\n" * more.endswith("\n")
        text = text.rstrip("\r\n")
        _say(f"{machine.prompt}{text}")
        yield text
    if sys.stdin.readline(1):
        raise OperatorError("E7101", f"the script: more than {LINES_MAX} lines", "the others were not read")


def _typed(machine: "Shell") -> Iterator[str]:
    """Lines of a terminal, with history, the tab key and `?`."""
    readline = _with_keys(machine)
    begun = [""]
    if readline is not None:  # behind the answer to a `?` stands what was typed before it
        readline.set_startup_hook(lambda: readline.insert_text(begun[0]))
    while True:
        try:
            text = input(machine.prompt)
        except EOFError:
            _say("")
            return
        except KeyboardInterrupt:
            _say("^C")
            begun[0] = ""
            continue
        begun[0] = text[:-1] if text.endswith("?") else ""
        yield text


def _with_keys(machine: "Shell") -> Any:
    """The readline of the standard library, where Python has it."""
    try:
        import readline
    except ImportError:
        return None
    from understudy.ios.shell import HISTORY_MAX

    def complete(_text: str, state: int) -> str | None:
        if readline.get_current_history_length() > HISTORY_MAX:
            readline.remove_history_item(0)
        found = machine.complete(readline.get_line_buffer()[: readline.get_endidx()])
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.set_auto_history(True)
    readline.parse_and_bind("tab: complete")
    readline.parse_and_bind(r'"?": "\C-v?\C-m"')  # `?` shows help at once, as on a router
    return readline
