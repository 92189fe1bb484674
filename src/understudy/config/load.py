"""Text to a tree of nodes with marks, within limits that are checked while the text is read, never after.

The tree is built from the events of libyaml, so a file that is too deep or too large is given up at the value that is
too much; nothing has been composed by then. All scalars stay text: what `no`, `010` or `1:30` mean is decided by the
models (YAML 1.2 in spirit, where a word is a word), never by YAML's resolver. Left out on purpose: anchors, aliases,
merge keys and tags. They save typing in generated files only, and cost every reader and every position in a message.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from understudy.config.problems import LINE_BREAK, PROBLEMS_MAX, Problem, Problems, quoted

SIZE_MAX = 4 * 1024 * 1024
DEPTH_MAX = 12
NODES_MAX = 400_000

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STEP_SHOWN_MAX = 60
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})

Steps = tuple[str | int, ...]
"""From the root to a value: keys and positions in lists."""


def spell_steps(steps: Iterable[str | int]) -> str:
    """The way to a value in words: `services.web.servers[1]`. Absurd keys are shortened."""
    shown = ""
    for step in steps:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            word = step if len(step) <= _STEP_SHOWN_MAX else step[:_STEP_SHOWN_MAX] + "..."
            shown += f".{word}" if shown else word
    return shown


@dataclass(slots=True)
class Node:
    """A value and where it stands. Lines and columns count from 1."""

    line: int
    column: int
    width: int
    """Of the text to point at: a whole scalar, or the first character of anything larger."""
    value: "str | list[Node] | dict[str, tuple[Node, Node]] | None"
    """A scalar's text (None for YAML's null), a list, or key -> (node of the key, node of the value)."""

    def plain(self) -> Any:
        """The value without marks: dicts, lists, text and None (Any: the shape is the operator's)."""
        match self.value:
            case dict(entries):
                return {key: node.plain() for key, (_, node) in entries.items()}
            case list(items):
                return [node.plain() for node in items]
            case scalar:
                return scalar


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text and its tree."""

    name: str
    text: str
    root: Node
    problems: tuple[Problem, ...] = ()
    """Of the text, that leave a tree in which the others can still be found."""
    directory: Path | None = None
    """Where the file is; None for bytes without a place."""

    def locate(self, path: Steps, *, key: bool = False) -> tuple[Node, str]:
        """The node at `path`, and the path in words.

        Steps that the text does not have are skipped, so that a path into the long form of a value leads to its short
        form. With `key` the node of the last key instead of its value.
        """
        node = label = self.root
        taken: list[str | int] = []
        for step in path:
            if isinstance(step, str) and isinstance(node.value, dict) and step in node.value:
                label, node = node.value[step]
                taken.append(step)
            elif isinstance(step, int) and isinstance(node.value, list) and step < len(node.value):
                label = node = node.value[step]
                taken.append(step)
        return (label if key else node), spell_steps(taken)

    def problem(self, path: Steps, code: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem of the value (or key) at `path`."""
        node, shown = self.locate(path, key=key)
        return Problem(node.line, node.column, code, shown, message, hint, node.width)


def read_source(file: Path | bytes, name: str = "<bytes>") -> Source:
    """Read a file, or its bytes, into a tree. Raises Problems when there is no tree to go on with."""
    directory = None
    if isinstance(file, Path):
        name, directory = str(file), file.parent
        file = _read(file)
    text = _decode(file, name)
    reader = _Reader(text)
    root = reader.document()
    if root is None:
        raise Problems(name, reader.problems, text)
    return Source(name, text, root, tuple(reader.problems), directory)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(SIZE_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "`understudy init` writes an example" if isinstance(error, FileNotFoundError) else ""
        problem = Problem(0, 0, "E2001", "", f"cannot be read: {reason}", hint)
        raise Problems(str(path), [problem]) from None


def _decode(data: bytes, name: str) -> str:
    if len(data) > SIZE_MAX:
        raise Problems(name, [Problem(0, 0, "E2002", "", f"the file is larger than {SIZE_MAX} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
        problem = Problem(*_position(before), "E2003", "", message, "save the file as UTF-8")
        raise Problems(name, [problem], before) from None
    if found := _FORBIDDEN.search(text):
        message = f"character U+{ord(found[0]):04X} is not allowed in text"
        raise Problems(name, [Problem(*_position(text[: found.start()]), "E2013", "", message)], text)
    return text


def _position(before: str) -> tuple[int, int]:
    lines = LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


class _GivenUp(Exception):
    """The text cannot be read further; the problem is recorded."""


class _Reader:
    """Builds the tree of one text and collects what is wrong with it."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._lines = len(LINE_BREAK.findall(text)) + 1
        self._events = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._nodes = 0
        self._holes = False
        """Whether values are missing in the tree, so that judging it would find what is not wrong."""
        self._steps: list[str | int] = []
        """To the value that is being read."""

    def document(self) -> Node | None:
        """The only document of the text; None when it has none that can be used."""
        try:
            self._next()  # the stream's start
            event = self._next()
            if isinstance(event, StreamEndEvent):
                hint = "`understudy init` writes an example"
                self.problems.append(Problem(0, 0, "E2011", "", "the file is empty", hint))
                return None
            root = self._node(self._next())
            self._next()  # the document's end
            event = self._next()
            if isinstance(event, DocumentStartEvent):
                self._report(event, "E2007", "a second document begins here", "one cluster, one file, one document")
        except _GivenUp:
            return None
        return None if self._holes else root

    def _next(self) -> Event:
        try:
            event: Event = next(self._events)
        except yaml.MarkedYAMLError as error:
            self.problems.append(_syntax_problem(error, LINE_BREAK.split(self._text)))
            raise _GivenUp from None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            self.problems.append(Problem(0, 0, "E2004", "", f"the text is not YAML: {error}"))
            raise _GivenUp from None
        return event

    def _report(self, event: Event, code: str, message: str, hint: str = "", width: int = 1) -> None:
        if len(self.problems) >= PROBLEMS_MAX:
            raise _GivenUp
        line, column = self._start(event)
        self.problems.append(Problem(line, column, code, spell_steps(self._steps), message, hint, width))

    def _start(self, event: Event) -> tuple[int, int]:
        """What is missing at the end has its mark behind the last line."""
        mark = event.start_mark
        assert mark is not None, "libyaml marks every event"
        return min(mark.line + 1, self._lines), mark.column + 1

    def _node(self, event: Event, depth: int = 0) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self._report(event, "E2008", f"the file holds more than {NODES_MAX} values")
            raise _GivenUp
        if depth > DEPTH_MAX:
            self._report(event, "E2005", f"values are nested more than {DEPTH_MAX} deep")
            raise _GivenUp
        node = Node(*self._start(event), 1, None)
        if isinstance(event, ScalarEvent):
            self._refuse_decoration(event)
            node.width = _width(event)
            if not (event.implicit[0] and event.value in _NULLS):
                node.value = event.value
        elif isinstance(event, SequenceStartEvent):
            self._refuse_decoration(event)
            node.value = self._items(depth)
        elif isinstance(event, MappingStartEvent):
            self._refuse_decoration(event)
            node.value = self._entries(depth)
        else:
            assert isinstance(event, AliasEvent), event
            self._holes = True
            self._report(event, "E2006", f"{quoted(f'*{event.anchor}')} is an alias", "write the value out")
        return node

    def _refuse_decoration(self, event: ScalarEvent | SequenceStartEvent | MappingStartEvent) -> None:
        if event.anchor is not None:
            self._report(event, "E2006", f"{quoted(f'&{event.anchor}')} is an anchor", "write the value out")
        if event.tag is not None:
            self._report(event, "E2009", f"the tag {quoted(event.tag)} is not allowed", "write the value alone")

    def _items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            self._steps.append(len(items))
            items.append(self._node(event, depth + 1))
            self._steps.pop()
        return items

    def _entries(self, depth: int) -> dict[str, tuple[Node, Node]]:
        entries: dict[str, tuple[Node, Node]] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key.value, str):
                self._report(event, "E2012", "a key is not plain text", "write `key: value`", key.width)
                self._node(self._next(), depth + 1)
            elif key.value == "<<":
                self._report(event, "E2012", "merge keys are not part of the language", "write `key: value`", key.width)
                self._node(self._next(), depth + 1)
            else:
                self._steps.append(key.value)
                if key.value in entries:
                    message = f"{quoted(key.value)} stands twice, first in line {entries[key.value][0].line}"
                    self._report(event, "E2010", message, "keep one of the two", key.width)
                value = self._node(self._next(), depth + 1)
                entries.setdefault(key.value, (key, value))
                self._steps.pop()
        return entries


def _width(event: Event) -> int:
    start, end = event.start_mark, event.end_mark
    assert start is not None, "libyaml marks every event"
    assert end is not None, "libyaml marks every event"
    return max(1, end.column - start.column) if end.line == start.line else 1


_NO_TABS = "indent with spaces, YAML allows no tabs there"
# What libyaml says -> what helps. The first text that its message contains counts.
_SYNTAX_HINTS = (
    ("tab character", _NO_TABS),
    ("cannot start any token", "put quotes around text that begins with %, @ or `"),
    ("mapping values are not allowed", "check the indentation, or put quotes around text that holds `: `"),
    ("found unexpected ':'", "put quotes around an address that ends in a colon, as in '2001:db8::'"),
    ("did not find expected node content", "put quotes around '[v6]:port'"),
    ("did not find expected ',' or ']'", "close the list with ], or put quotes around '[v6]:port'"),
    ("did not find expected ',' or '}'", "close the mapping with }"),
    ("could not find expected ':'", "a key needs a colon and a space: `key: value`"),
    ("did not find expected key", "check the indentation; text after '[v6]:port' needs quotes around it"),
)


def _syntax_problem(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> Problem:
    said = error.problem or "unreadable"
    context = f" {error.context}" if error.context else ""
    mark = error.problem_mark or error.context_mark
    opened = error.context_mark
    if mark and opened and mark.line >= len(lines) - 1 and not "".join(lines[mark.line :]).strip():
        mark = opened  # the end of the text tells nothing: show what was left open
    elif mark and opened and opened.line != mark.line:
        context += f" that begins in line {opened.line + 1}"
    line, column = (min(mark.line + 1, len(lines)), mark.column + 1) if mark else (0, 0)
    hint = next((hint for words, hint in _SYNTAX_HINTS if words in said), "")
    if line and "cannot start any token" in said and lines[line - 1][column - 1 : column] == "\t":
        hint = _NO_TABS
    return Problem(line, column, "E2004", "", f"not YAML: {said}{context}", hint)
