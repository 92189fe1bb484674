"""What a line is after reading, and the state that reading carries from line to line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from understudy.ios.model import Configuration
from understudy.ios.running import Note, Running
from understudy.ios.words import Command


class Kind(StrEnum):
    NAT = "nat"
    PASSED_OVER = "passed-over"
    REFUSED = "refused"


class Fault(StrEnum):
    """Why a line is refused."""

    SYNTAX = "syntax"
    """IOS would not take it."""
    PLACEHOLDER = "placeholder"
    """A template: something is to be filled in first."""
    FOREIGN = "foreign"
    """Another vendor's language."""


@dataclass(frozen=True, slots=True)
class Refusal:
    fault: Fault
    reason: str
    column: int
    message: str = ""
    """IOS's own words; empty where it has none."""


@dataclass(slots=True)
class Line:
    """One line and what became of it. `why` names the reason of a line passed over."""

    number: int
    text: str
    kind: Kind = Kind.PASSED_OVER
    why: str = "not-nat"
    refusal: Refusal | None = None
    statement: Any = None
    note: Note | None = None
    negated: bool = False
    belongs: tuple[str, str] | None = None
    """("list" | "route-map" | "object-group", name): NAT only if a rule reaches it."""

    def refuse(self, refusal: Refusal) -> None:
        """Mark the line as one that does not fit."""
        self.kind, self.refusal = Kind.REFUSED, refusal


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that was read. `running` knows the line of each statement."""

    configuration: Configuration
    lines: tuple[Line, ...]
    running: Running

    @property
    def refused(self) -> tuple[Line, ...]:
        """The lines that do not fit."""
        return tuple(line for line in self.lines if line.kind is Kind.REFUSED)


Words = tuple[str, ...]


@dataclass(slots=True)
class State:
    """Where the reading stands. `mode` takes the lines that begin nothing of their own."""

    running: Running = field(default_factory=Running)
    mode: "Handler | None" = None
    interfaces: tuple[str, ...] = ()
    """Of the last `interface` line."""
    indented: bool = False
    """The interface's block has an indented line."""
    header_indent: int = 0
    subject: Any = None
    """What the open block is about: a list's name, a pool's ..."""


Handler = Callable[[State, Command, Words, bool, Line], None]
"""(state, command, its words without `no`, whether it had one, the line to mark)."""
