"""Two rule sets of ours of which only elements differ: the commands that make one of the other.

A table of a hundred thousand elements is loaded in a second, in which the kernel keeps the old one too; one element is
changed in less than a millisecond, and whatever rules count (the turn of a rotary) goes on. So where rules and
declarations are the same, letter by letter, the elements that went are deleted and those that came are added, in one
transaction. It holds only for a kernel in which the old text is: else the whole new one has to be run.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_TABLE = re.compile(r"^table (\w+ \w+) \{$", re.MULTILINE)
_BLOCK = re.compile(r"^\t(?:set|map) (\S+) \{$", re.MULTILINE)
_ELEMENTS = "\n\t\telements = { "
_CLOSING = " }\n\t}"
_SEPARATOR = ",\n\t\t\t"
_CHUNK = 1 << 16
CHANGES_MAX = 10_000
"""Elements; beyond that the whole text is not slower."""


def change_text(old: str, new: str) -> str | None:
    """nft commands, empty for none; None where more than elements differs, or very many do."""
    before, after = list(_parts(old)), list(_parts(new))
    if [each.frame for each in before] != [each.frame for each in after]:
        return None
    gone: list[str] = []
    come: list[str] = []
    count = 0
    for was, now in zip(before, after, strict=True):
        removed, added = _differing(old, was, new, now)
        count += len(removed) + len(added)
        gone += [f"delete element {was.where} {{ {', '.join(map(_key, removed))} }}\n"] if removed else []
        come += [f"add element {was.where} {{ {', '.join(added)} }}\n"] if added else []
    return "".join((*gone, *come)) if count <= CHANGES_MAX else None


@dataclass(frozen=True, slots=True)
class _Part:
    """What stands before some elements, whose they are (`family table name`), and from where to where."""

    frame: str
    where: str
    first: int
    end: int


def _parts(text: str) -> Iterator[_Part]:
    """The last one has what stands behind all elements, and none. No long text is copied."""
    at = 0
    table = ""
    while (found := text.find(_ELEMENTS, at)) >= 0:
        first = found + len(_ELEMENTS)
        end = text.find("}", first) - 1
        if not text.startswith(_CLOSING, max(end, 0)):
            break  # an element with braces: none of ours
        frame = text[at:first]
        table = (_TABLE.findall(frame) or [table])[-1]
        yield _Part(frame, f"{table} {(_BLOCK.findall(frame) or [''])[-1]}", first, end)
        at = end
    yield _Part(text[at:], "", len(text), len(text))


def _differing(old: str, was: _Part, new: str, now: _Part) -> tuple[list[str], list[str]]:
    """Elements that went and that came. What is the same at the beginning and at the end is not looked at twice."""
    short = min(was.end - was.first, now.end - now.first)

    def forwards(begin: int, end: int) -> bool:
        return old[was.first + begin : was.first + end] == new[now.first + begin : now.first + end]

    def backwards(begin: int, end: int) -> bool:
        return old[was.end - end : was.end - begin] == new[now.end - end : now.end - begin]

    same = _common(short, forwards)
    if same == short and was.end - was.first == now.end - now.first:
        return [], []
    behind = old.rfind(_SEPARATOR, was.first, was.first + same)
    left = behind + len(_SEPARATOR) - was.first if behind >= 0 else 0
    same = _common(short - left, backwards)
    cut = old.find(_SEPARATOR, was.end - same, was.end)
    right = was.end - cut if cut >= 0 else 0
    removed = _split(old[was.first + left : was.end - right])
    added = _split(new[now.first + left : now.end - right])
    both = set(removed) & set(added)
    return [each for each in removed if each not in both], [each for each in added if each not in both]


def _common(most: int, same: Callable[[int, int], bool]) -> int:
    """How far two texts are the same; `same` compares a span of both."""
    at = 0
    while at < most and same(at, min(at + _CHUNK, most)):
        at = min(at + _CHUNK, most)
    span = min(_CHUNK, most - at)
    while span > 1:
        half = span // 2
        if same(at, at + half):
            at += half
            span -= half
        else:
            span = half
    return at + (span == 1 and same(at, at + 1))


def _split(elements: str) -> list[str]:
    return elements.split(_SEPARATOR) if elements else []


def _key(element: str) -> str:
    """Of a map's element what stands before its value."""
    return element.partition(" : ")[0]
