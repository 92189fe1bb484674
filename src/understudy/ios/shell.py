"""The prompt as a machine: a line goes in, what is printed and what is to be done come out. No terminal, no file.

Configuration is staged: lines change a copy of what the file holds, and nothing else, until `commit`. A line is read
twice: by the grammar of its prompt, which knows abbreviations and the place of an error, and by the reader of running
configurations, which enters it. So a prompt takes what a file takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from understudy.ios import words
from understudy.ios.fidelity import judge
from understudy.ios.grammar import Match
from understudy.ios.lines import Kind, Line, State
from understudy.ios.model import Static
from understudy.ios.printer import print_configuration, print_statement
from understudy.ios.profiles import Profile
from understudy.ios.reader import enter_line
from understudy.ios.rules import Fidelity
from understudy.ios.shell_changes import difference
from understudy.ios.shell_grammar import BLOCKS, CONFIG, EXEC, SEQUENCE, Block, Order
from understudy.ios.shell_guide import Guide
from understudy.ios.slots import INCOMPLETE, INVALID, Unfit
from understudy.ios.texts import said
from understudy.ios.words import Command

HISTORY_MAX = 200
"""Lines that are remembered."""
LINES_MAX = 100_000
"""Lines of configuration that are staged in one session."""
_LOCAL = frozenset(("configure", "end", "nothing", "running", "startup", "changes", "history", "abort", "help"))
_STANDS = (
    "like `{}`, which stays: this one is not entered",
    "`{}`와(과) 같아 그것이 남고 이 줄은 들어가지 않습니다",
)
_HELP = (
    "Words may be cut as long as they stay clear; ? tells what may follow, the tab key completes.",
    "`configure terminal` stages lines of NAT, `show changes` tells them, `commit` checks and applies them,",
    "`abort` drops them.",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a line."""

    printed: tuple[str, ...] = ()
    order: Order | None = None
    """What only the world can do: ask a node, apply, leave."""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where the shell stands: names for the prompt, and what the lines may name."""

    name: str
    networks: tuple[str, ...]
    profile: Profile
    language: str = "en"
    fixed: str = ""
    """Why nothing can be staged; empty if it can."""


@dataclass(slots=True)
class Shell:
    """One session."""

    site: Site
    held: tuple[str, ...]
    """Lines of the file, canonical."""
    _state: State = field(default_factory=State)
    _configuring: bool = False
    _staged: int = 0
    history: list[str] = field(default_factory=list)

    # --- what is

    @property
    def prompt(self) -> str:
        if not self._configuring:
            return f"{self.site.name}#"
        block = self._block()
        return f"{self.site.name}({block.prompt if block is not None else 'config'})#"

    @property
    def candidate(self) -> tuple[str, ...]:
        """The lines that `commit` would write: canonical, lists that no rule reaches yet among them."""
        configuration = self._state.running.frozen(everything=True)
        return tuple(line for line in print_configuration(configuration).splitlines() if line != "!")

    def changes(self) -> list[str]:
        """What `commit` would change: `+` and `-`, each below the head of its block."""
        return difference(self.held, self.candidate)

    # --- what happens

    def start(self, lines: Sequence[str]) -> None:
        """Begin with the lines of a file, which are well formed."""
        self._state = State()
        for number, text in enumerate(lines, start=1):
            enter_line(self._state, number, text)
        self._state.mode = None
        self._staged = 0
        self.held = self.candidate

    def enter(self, text: str) -> Answer:
        """One line, as it was typed."""
        if len(text) > words.LENGTH_MAX:
            return Answer((f"% a line has at most {words.LENGTH_MAX} characters",), refused=True)
        command = words.read_line(0, text)
        if command.text.rstrip().endswith("?"):
            return Answer(tuple(self.help(command.text.rstrip()[:-1])))
        if not command.words:
            return Answer()
        self.history = [*self.history, command.text.strip()][-HISTORY_MAX:]
        try:
            return self._configure(command) if self._configuring else self._execute(command.words)
        except Unfit as unfit:
            return Answer(self._complaint(command, unfit), refused=True)

    def committed(self) -> None:
        """What was staged is the file's."""
        self.held, self._staged = self.candidate, 0

    # --- help

    def help(self, typed: str) -> list[str]:
        """What may follow: behind a blank the next word, else how the last one may go on."""
        return self._guide().help(typed)

    def complete(self, typed: str) -> list[str]:
        """Whole words for the last one: keywords, and names where one belongs."""
        return self._guide().complete(typed)

    def _guide(self) -> Guide:
        block = self._block() if self._configuring else None
        return Guide(self._configuring, block, self.site.networks, self._state.running)

    # --- lines

    def _execute(self, said_: Sequence[str]) -> Answer:
        order: Order = EXEC.match(said_).build()
        if order.what not in _LOCAL:
            return Answer(order=order)
        match order.what:
            case "configure" if self.site.fixed:
                return Answer((f"% {self.site.fixed}",), refused=True)
            case "configure":
                self._configuring = True
                return Answer(("Enter configuration commands, one per line. `commit` applies them.",))
            case "running" | "startup":
                held = self.candidate if order.what == "running" else self.held
                return Answer((*held, "end"), Order("filter", order.values))
            case "changes":
                return Answer(tuple(self.changes()) or ("! nothing changes",))
            case "history":
                return Answer(tuple(f"  {line}" for line in self.history))
            case "abort":
                dropped = bool(self.changes())
                self.start(self.held)
                return Answer(("! staged lines dropped" if dropped else "! nothing was staged",), order)
            case "help":
                return Answer(_HELP)
            case _:
                return Answer()

    def _configure(self, command: Command) -> Answer:
        negated = command.words[0].lower() == "no"
        if len(command.words) == negated:
            raise Unfit(1, "expected a command", INCOMPLETE)
        said_ = command.words[1:] if negated else command.words
        try:
            match, text = self._matched(said_, negated)
            named = self._named(match)
            if named:
                whole = (named.get(place, word) for place, word in enumerate(said_))
                match, text = self._matched(tuple(whole), negated)
        except Unfit as unfit:
            raise _moved(unfit, int(negated)) from None
        order = match.build() if not negated and match.form.fixed.get("what") in _MOVED else None
        if isinstance(order, Order):
            return self._move(order)
        if negated and match.words[:3] == ("ip", "nat", "pool"):
            self._check_unused(str(match.values["name"]))
        if self._staged >= LINES_MAX:
            raise Unfit(0, f"more than {LINES_MAX} lines are staged: commit them", "")
        self._staged += 1
        line = enter_line(self._state, self._staged, f"no {text}" if negated else text)
        if negated and match.words[0] == "interface":
            self._state.mode = None  # what is gone has no block
        return self._entered(line)

    def _matched(self, said_: Sequence[str], negated: bool) -> tuple[Match, str]:
        """By the grammar of the open block, else by the global one; the line in whole words."""
        block = self._block()
        first: Unfit | None = None
        if block is not None:
            skip = int(block.list_ and said_[0].isdecimal())
            try:
                if negated and skip == len(said_):  # `no 10`: the entry at that place
                    return SEQUENCE.match(said_), said_[0]
                found = block.grammar.match(said_[skip:], negated=negated)
                return found, " ".join((*said_[:skip], *found.words))
            except Unfit as unfit:
                first = _moved(unfit, skip)
        try:
            found = CONFIG.match(said_, negated=negated)
            return found, " ".join(found.words)
        except Unfit as unfit:
            raise first if first is not None and first.index >= unfit.index else unfit from None

    def _move(self, order: Order) -> Answer:
        match order.what:
            case "do" | "show":
                rest = tuple(order.values.get("words") or ())
                begin = ("show",) if order.what == "show" else ()
                try:
                    return self._execute((*begin, *rest))
                except Unfit as unfit:
                    raise _moved(unfit, 1 - len(begin)) from None
            case "end":
                self._configuring, self._state.mode = False, None
            case "exit" if self._block() is not None:
                self._state.mode = None
            case "exit":
                self._configuring = False
            case "commit":
                return Answer(order=order)
            case _:
                return self._execute((order.what,))
        return Answer()

    def _entered(self, line: Line) -> Answer:
        if line.refusal is not None:
            index = len(line.text[: line.refusal.column - 1].split())
            raise Unfit(index, line.refusal.reason, line.refusal.message)
        if line.kind is not Kind.NAT and line.belongs is None and line.why != "read":
            raise Unfit(0, "no line of NAT, nor of a list, route-map or interface that it needs")
        printed = []
        refused = False
        if line.note is not None and line.note.code in ("similar-static", "nothing-to-remove"):
            refused = line.note.code == "similar-static"
            sentence = self._noted(line)
            printed = [line.note.message, f"  {sentence}"] if line.note.message else [f"! {sentence}"]
        elif line.statement is not None and not refused:
            pools = {pool.name: pool.kind for pool in self._state.running.pools.values()}
            verdict = judge(line.statement, pools, self.site.profile, negated=line.negated)
            if verdict.fidelity >= Fidelity.DIFFERS:
                word = verdict.fidelity.said(self.site.language)
                printed = [f"! {word}: {verdict.reason(self.site.language)}"]
        return Answer(tuple(printed), refused=refused)

    def _noted(self, line: Line) -> str:
        """A prompt has no lines to count: what stands already is told by its words."""
        assert line.note is not None
        standing = self._state.running.like(line.statement) if isinstance(line.statement, Static) else None
        if line.note.code == "similar-static" and standing is not None:
            return _STANDS[self.site.language == "ko"].format(print_statement(standing))
        return said(line.note.code, line.note.said, self.site.language)

    def _block(self) -> Block | None:
        mode = self._state.mode
        if mode is None:
            return None
        if mode.__name__ == "in_list":
            held = self._state.running.lists.get(self._state.subject)
            return BLOCKS["extended" if held is None or held.extended else "standard"]
        return BLOCKS.get(mode.__name__)

    def _named(self, match: Match) -> dict[int, str]:
        """Place and whole name of each network that a line names by its beginning. Raises Unfit for one unknown."""
        fields = ("name",) if match.form.pattern.startswith("interface ") else ("interface", "egress_interface")
        known = tuple(dict.fromkeys((*self.site.networks, *self._state.running.interfaces)))
        found = {}
        for name in fields:
            said_ = match.values.get(name)
            fits = [each for each in known if isinstance(said_, str) and each.lower().startswith(said_.lower())]
            exact = [each for each in fits if each.lower() == str(said_).lower()]
            if isinstance(said_, str) and len(exact or fits) != 1:
                raise Unfit(
                    match.places[name], f"no network of a group is called {said_}: known are {', '.join(known)}"
                )
            if isinstance(said_, str) and not exact:
                found[match.places[name]] = fits[0]
        return found

    def _check_unused(self, pool: str) -> None:
        """A router keeps a pool that a rule names."""
        if any(rule.pool == pool for rule in self._state.running.dynamics.values()):
            raise Unfit(0, f"a rule names pool {pool}: remove the rule first", f"%Pool {pool} in use, cannot destroy")

    def _complaint(self, command: Command, unfit: Unfit) -> tuple[str, ...]:
        """IOS's words first, then ours."""
        reason = str(unfit)
        if unfit.message == INVALID:
            at = len(self.prompt) + command.column(min(unfit.index, len(command.words))) - 1
            return (f"{' ' * at}^", INVALID, f"  {reason}")
        return (unfit.message, f"  {reason}") if unfit.message else (f"% {reason}",)


_MOVED = frozenset(("exit", "end", "commit", "abort", "do", "show", "help"))


def _moved(unfit: Unfit, places: int) -> Unfit:
    return Unfit(unfit.index + places, str(unfit), unfit.message, placeholder=unfit.placeholder)
