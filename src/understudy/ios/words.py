"""A line as a router would see it: without prompt, diff mark and trailing comment, cut into words with their columns.

People paste sessions, diffs and Markdown. What is around a command is taken off here, so that the grammar sees the
command alone; columns still count in the line as it was given, from 1.
"""

import re
from enum import Enum
from typing import NamedTuple

LENGTH_MAX = 1024
"""Characters of a line that is read as a command. IOS itself stops at 254; longer ones are told, never read."""


class Prompt(Enum):
    """Where a prompt says the line was typed."""

    NONE = "none"
    EXEC = "exec"
    GLOBAL = "global"
    INTERFACE = "interface"
    OTHER = "other"


class Command(NamedTuple):
    """Words of one line. `text` is what follows the prompt, its comment included; `indent` its leading blanks.

    A tuple with names: one is made for every line of a text, and that of a dataclass takes three times as long.
    """

    number: int
    text: str
    words: tuple[str, ...]
    start: int
    """Characters before `text` in the line as given."""
    prompt: Prompt = Prompt.NONE
    indent: int = 0
    comment: str = ""
    """A whole-line comment, or what follows the command."""
    removed: bool = False
    """A diff takes this line away."""

    def column(self, index: int) -> int:
        """Where word `index` stands in the line as given, from 1; past the last word: where one would stand."""
        for position, found in enumerate(_WORD.finditer(self.text)):
            if position == index:
                return self.start + found.start() + 1
        return self.start + len(self.text.rstrip()) + 1

    def after(self, index: int) -> str:
        """The rest of the line from word `index` on, blanks and comment marks included: a remark, a description."""
        return self.text[self.column(index) - 1 - self.start :].strip()


_WORD = re.compile(r"\S+")
_PROMPT = re.compile(
    r"(?:[A-Za-z0-9][\w.:/@-]*)?\((?P<mode>(?:config|conf|cfg)[^()\s]*)\)[#>]\s*|[A-Za-z][\w.:/@-]*(?:[#>])(?![#>])\s*",
    re.ASCII,
)
_NUMBERED = re.compile(r"\s{0,8}\d{1,6} : ?")  # `show running-config linenum`
_MORE = re.compile(r"-{1,2} ?More ?-{1,2}[\s\x08]*", re.IGNORECASE)
# `!` is IOS's own; the others are what people write beside a command in documents.
_COMMENT = re.compile(r"\s(?:!|#|//|;|<[-=]|←|→|⟵|<<)")


def read_line(number: int, line: str, *, diff: bool = False) -> Command:
    """Cut one line. `diff` says that the text is a diff: a `+` or `-` in the first column is its mark."""
    text = line.rstrip()
    start = 0
    removed = False
    if diff and text[:1] in ("+", "-"):
        removed = text[0] == "-"
        text = text[1:]
        start = 1
    if " : " in text[:16] and (numbered := _NUMBERED.match(text)):
        start, text = start + numbered.end(), text[numbered.end() :]
    if "More" in text and (more := _MORE.match(text.lstrip())):
        offset = len(text) - len(text.lstrip()) + more.end()
        start, text = start + offset, text[offset:]
    stripped = text.lstrip()
    indent = len(text) - len(stripped)
    start += indent
    text = stripped
    prompt = Prompt.NONE
    if ("#" in text or ">" in text) and (found := _PROMPT.match(text)):
        prompt = _where(found["mode"])
        start += found.end()
        text = text[found.end() :]
        indent = 0
    if text[:1] in ("!", "#"):
        return Command(number, "", (), start, prompt, indent, text, removed)
    comment = ""
    if cut := _COMMENT.search(text):
        comment = text[cut.start() + 1 :]
        words = tuple(text[: cut.start()].split())
    else:
        words = tuple(text.split())
    return Command(number, text, words, start, prompt, indent, comment, removed)


def _where(mode: str | None) -> Prompt:
    if mode is None:
        return Prompt.EXEC
    inside = mode.lower().removeprefix("config").removeprefix("conf").removeprefix("cfg").lstrip("-")
    if not inside:
        return Prompt.GLOBAL
    return Prompt.INTERFACE if inside.startswith(("if", "subif")) else Prompt.OTHER


def is_diff(lines: list[str]) -> bool:
    """Whether a text is a diff: some line begins with `+` or is a hunk's head, and none is a table's rule."""
    return any((line[:1] == "+" and not line.startswith(("+-", "+="))) or line.startswith("@@ -") for line in lines)


def is_prompt(line: str) -> bool:
    """A line of the session around an output: a prompt, with or without a `show` behind it, or the bare command."""
    command = read_line(0, line)
    said = [word.lower() for word in command.words[:2]]
    if not said:
        return not command.comment
    return len(said) > 1 and len(said[0]) > 1 and "show".startswith(said[0])
