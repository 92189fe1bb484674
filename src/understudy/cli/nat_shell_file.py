"""The lines of NAT within the one file: found, and written anew with everything around them as it was.

Only their own place in the text changes; comments among the lines go, as a router's do. Where they stand in a file of
their own (`from`), or in several entries among others, there is no one place, and it is said instead.
"""

import json
from dataclasses import dataclass
from typing import Any

from understudy.errors import OperatorError
from understudy.migrate.ios_draft import quoted_line

NOTHING = "!"
"""Stands for no line at all: an empty list is no value of the file."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What the file says, and where: text before, the list, text after."""

    held: tuple[str, ...]
    before: str
    after: str
    indent: int
    """Blanks before each line of the list."""
    flow: bool
    """The list stands in brackets or braces."""

    def written(self, lines: tuple[str, ...]) -> str:
        """The whole file with other lines."""
        wanted = lines or (NOTHING,)
        if self.flow:
            return f"{self.before} [{', '.join(json.dumps(line, ensure_ascii=False) for line in wanted)}]{self.after}"
        blanks = " " * self.indent
        items = (f"{blanks}- {' ' * line.startswith(' ')}{quoted_line(line.strip())}" for line in wanted)
        return self.before + "\n" + "\n".join(items) + self.after


def find_lines(text: str) -> Lines:
    """Of a file that passes every check. Raises OperatorError E7152 where they have no one place."""
    import yaml

    root: Any = yaml.compose(text, Loader=yaml.CSafeLoader)
    nat = next(((key, value) for key, value in root.value if key.value == "nat"), None)
    if nat is None:
        head = "" if text.endswith("\n") else "\n"
        return Lines((), f"{text}{head}nat:\n  state: replicate\n  lines:", "\n", 4, flow=False)
    key, value = _place(*nat)
    items = value.value if value.id == "sequence" else [value]
    held = tuple(part for item in items for part in item.value.splitlines())
    end = _end(value)
    if text[end - 1 : end] == "\n":  # a block of text ends where the next line begins
        end -= 1
    rest = text[end:].partition("\n")
    if rest[0].strip().startswith("#"):
        end += len(rest[0])
    begin = text.index(":", key.end_mark.index) + 1
    flow = _in_flow(root, key)
    return Lines(held, text[:begin], text[end:], key.start_mark.column + 2, flow=flow)


def _place(key: Any, value: Any) -> tuple[Any, Any]:
    """Key and value of the lines: of `nat` itself, or of `lines` in its one entry that has them."""
    if value.id == "scalar" or (value.id == "sequence" and all(each.id == "scalar" for each in value.value)):
        return key, value
    entries = value.value if value.id == "sequence" else [value]
    found = [pair for entry in entries if entry.id == "mapping" for pair in entry.value if pair[0].value == "lines"]
    others = [pair for entry in entries if entry.id == "mapping" for pair in entry.value if pair[0].value == "from"]
    if len(found) == 1 and not others and all(entry.id == "mapping" for entry in entries):
        return found[0][0], found[0][1]
    if others:
        message = f"the lines of NAT stand in {others[0][1].value}"
        raise OperatorError("E7152", message, "change that file and `understudy apply`, or write them as `lines`")
    raise OperatorError("E7152", "the lines of NAT have no one place in the file", "write them as one list of `lines`")


def _end(value: Any) -> int:
    """Where a value ends; a block's own mark would stand behind the comments that follow it."""
    if value.id == "sequence" and not value.flow_style and value.value:
        return _end(value.value[-1])
    return int(value.end_mark.index)


def _in_flow(root: Any, wanted: Any) -> bool:
    """Whether a key stands within braces or brackets."""
    waiting = [(root, False)]
    while waiting:
        node, flow = waiting.pop()
        inner = flow or bool(node.flow_style)
        children = [each for pair in node.value for each in pair] if node.id == "mapping" else node.value
        if any(child is wanted for child in children):
            return inner
        waiting += [(child, inner) for child in children if child.id != "scalar"]
    return False
