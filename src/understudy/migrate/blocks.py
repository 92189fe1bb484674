"""The syntax of keepalived.conf(5): words, blocks in braces, comments, quotes, definitions and included files.

    vrrp_instance VI_1 {          an entry with two words and a block
        interface eth0            an entry within it
        virtual_ipaddress { 192.0.2.10/24 }
    }

What the words mean is `keepalived`'s business. Everything is bounded: the text comes from somewhere else.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from understudy.errors import OperatorError

SIZE_MAX = 1 << 20
FILES_MAX = 100
DEPTH_MAX = 12
ENTRIES_MAX = 50_000

_TOKEN = re.compile(
    r"""\s+|(?P<comment>[!#].*)|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<brace>[{}])|(?P<word>[^\s{}"']+)"""
)
_DEFINITION = re.compile(r"^\s*\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*$")
_USE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, or the head of a block with what stands in it."""

    file: str
    line: int
    words: tuple[str, ...]
    children: tuple["Entry", ...] = ()
    block: bool = False

    @property
    def keyword(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def value(self, default: str = "") -> str:
        """The word behind the keyword."""
        return self.words[1] if len(self.words) > 1 else default

    def find(self, keyword: str) -> "Entry | None":
        """The last entry of the block with this keyword: later ones override."""
        return next((child for child in reversed(self.children) if child.keyword == keyword), None)

    def listed(self, keyword: str) -> tuple["Entry", ...]:
        """The entries of all blocks of this keyword."""
        return tuple(each for child in self.children if child.keyword == keyword for each in child.children)


@dataclass(slots=True)
class _Open:
    head: Entry
    children: list[Entry] = field(default_factory=list)


class _Reader:
    def __init__(self, read: Callable[[Path], str]) -> None:
        self._read = read
        self._files = 0
        self._entries = 0
        self._definitions: dict[str, str] = {}

    def entries(self, path: Path, depth: int = 0) -> tuple[Entry, ...]:
        self._files += 1
        if self._files > FILES_MAX or depth > DEPTH_MAX:
            raise OperatorError(
                "E7003", f"{path}: more than {FILES_MAX} included files, or files that include each other"
            )
        text = self._read(path)
        root = _Open(Entry(str(path), 0, ()))
        stack = [root]
        for number, words in _lines(text, self._define):
            self._take(path, number, words, stack, depth)
        if len(stack) > 1:
            head = stack[-1].head
            raise OperatorError("E7002", f"{path}:{head.line}: the block {head.text!r} is not closed", "add a }")
        return tuple(root.children)

    def _take(self, path: Path, number: int, words: list[tuple[str, bool]], stack: list[_Open], depth: int) -> None:
        """One line's tokens into the block that is open."""
        pending: list[str] = []

        def flush(*, block: bool = False) -> Entry:
            entry = Entry(str(path), number, tuple(pending), (), block)
            pending.clear()
            self._entries += 1
            if self._entries > ENTRIES_MAX:
                raise OperatorError("E7003", f"{path}:{number}: more than {ENTRIES_MAX} entries")
            return entry

        for word, brace in words:
            if brace and word == "{":
                if not pending and stack[-1].children and not stack[-1].children[-1].block:
                    head = stack[-1].children.pop()  # the brace stands on a line of its own
                    head = Entry(head.file, head.line, head.words, (), True)
                else:
                    head = flush(block=True)
                stack.append(_Open(head))
                if len(stack) > DEPTH_MAX:
                    raise OperatorError("E7003", f"{path}:{number}: blocks are nested more than {DEPTH_MAX} deep")
            elif brace:
                if pending:
                    stack[-1].children.append(flush())
                if len(stack) == 1:
                    raise OperatorError("E7002", f"{path}:{number}: a }} closes nothing", "a block begins with {")
                done = stack.pop()
                stack[-1].children.append(
                    Entry(done.head.file, done.head.line, done.head.words, tuple(done.children), True)
                )
            else:
                pending.append(self._expand(word))
        if not pending:
            return
        entry = flush()
        if entry.keyword == "include" and len(entry.words) == 2:
            stack[-1].children.extend(self._included(path, entry, depth))
        else:
            stack[-1].children.append(entry)

    def _included(self, path: Path, entry: Entry, depth: int) -> Iterator[Entry]:
        pattern = entry.words[1]
        base = path.parent if not pattern.startswith("/") else Path("/")
        found = sorted(base.glob(pattern.lstrip("/")))[: FILES_MAX + 1]
        if not found:
            yield entry  # told apart as a line that was not understood
        for each in found:
            yield from self.entries(each, depth + 1)

    def _define(self, name: str, value: str) -> None:
        self._definitions[name] = self._expand(value)

    def _expand(self, word: str) -> str:
        return _USE.sub(lambda use: self._definitions.get(use[1] or use[2], use[0]), word)[:1000]


def read_entries(path: Path) -> tuple[Entry, ...]:
    """The entries of a configuration and of the files that it includes. Raises OperatorError E7001 to E7003."""
    return _Reader(_read_file).entries(path)


def parse_text(text: str, name: str = "keepalived.conf") -> tuple[Entry, ...]:
    """The entries of a text that includes nothing."""
    return _Reader(lambda _: text).entries(Path(name))


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise OperatorError("E7001", f"cannot read {path}: {error.strerror}") from error
    if len(data) > SIZE_MAX:
        raise OperatorError("E7001", f"{path} is larger than {SIZE_MAX >> 20} MiB")
    return data.decode("utf-8", errors="replace")


def _lines(text: str, define: Callable[[str, str], None]) -> Iterator[tuple[int, list[tuple[str, bool]]]]:
    """Number and tokens of every line that says something; a definition (`$NAME=value`) is taken out."""
    number, lines = 0, text.splitlines()
    while number < len(lines):
        first, line = number + 1, lines[number]
        while line.endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line[:-1] + " " + lines[number]
        number += 1
        definition = _DEFINITION.match(line)
        if definition:
            define(definition["name"], definition["value"])
            continue
        words = [
            (match["brace"] or match["word"] or match["double"] or match["single"] or "", match["brace"] is not None)
            for match in _TOKEN.finditer(line)
            if match.lastgroup and match.lastgroup != "comment"
        ]
        if words:
            yield first, words
