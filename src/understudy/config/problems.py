"""Problems of the operator's file: each with its place, all of them at once.

    E2104 pair.yaml:14:11 redundancy.edge.vrid: 300 is not between 1 and 255. Hint: one number per group and LAN.
       14 |     vrid: 300
          |           ^^^

The first line is the stable form for logs and editors; the excerpt below it is the operator's own text.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from understudy.config.codes import CODES
from understudy.errors import OperatorError

# What libyaml takes for the end of a line: YAML 1.1, section 4.2 (b-char). Its marks count by these.
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_EXCERPT_WIDTH = 140
PROBLEMS_MAX = 1000
"""Nobody mends more in one go; the search for hints stays bounded."""
_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend. `line` and `column` count from 1; both are 0 when the problem has no place in the text."""

    line: int
    column: int
    code: str
    path: str
    """Where in the file's structure, such as `redundancy.edge.vrid`; empty for the file as a whole."""
    message: str
    hint: str = ""
    width: int = field(default=1, compare=False)
    """Of the text that the caret points at."""

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code

    def headline(self, file: str) -> str:
        """The problem in one line: `CODE file:line:column path: message. Hint: ...`."""
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        subject = f" {printable(self.path)}:" if self.path else ""
        hint = f". Hint: {self.hint}" if self.hint else ""
        return printable(f"{self.code} {place}{subject} {self.message}{hint}")


class Problems(OperatorError):
    """All problems of one file, in the order of its lines."""

    def __init__(self, file: str, problems: Iterable[Problem], text: str = "") -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        self.lines: Sequence[str] = LINE_BREAK.split(text)
        first = self.problems[0]
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(first.code, f"{count} in {file}", first.hint)

    def __str__(self) -> str:
        shown = self.problems[:_SHOWN_MAX]
        blocks = ["\n".join((problem.headline(self.file), *self.excerpt(problem))) for problem in shown]
        if len(shown) < len(self.problems):
            blocks.append(f"... and {len(self.problems) - len(shown)} more problems")
        return "\n".join(blocks)

    def excerpt(self, problem: Problem) -> tuple[str, ...]:
        """The operator's own line with a caret below; nothing if the problem has no place in the text."""
        if not 1 <= problem.line <= len(self.lines):
            return ()
        line, start = self.lines[problem.line - 1], problem.column - 1
        if not line.strip():
            return ()
        first = max(0, min(start - _EXCERPT_WIDTH // 2, len(line) - _EXCERPT_WIDTH))
        shown = line[first : first + _EXCERPT_WIDTH]
        before, under = line[first:start], line[start : min(start + problem.width, first + _EXCERPT_WIDTH)]
        pad = "".join("\t" if character == "\t" else " " * _cells(character) for character in before)
        number = f"{problem.line:>5}"
        caret = "^" * max(1, sum(map(_cells, under)))
        return f"{number} | {printable(shown, keep='	')}", f"{' ' * len(number)} | {pad}{caret}"


def printable(text: str, keep: str = "") -> str:
    """The text without characters that could steer a terminal."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def quoted(text: str) -> str:
    """A value of the file inside a message: shortened, on one line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _cells(character: str) -> int:
    """Columns of a terminal that a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
