"""What differs between two configurations: lines with their sign, each below the head of its block.

A line is told from its likes by the head of its block and by how many of them stand above it there. So no line is there
twice, and the lines that stay are the longest row of common ones that is in one order on both sides: the time is that
of sorting, whatever the lines say.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

_Key = tuple[str, str, int]


def difference(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Lines that go and come, each below the head of its block."""
    found: list[str] = []
    shown = ""
    heads = _heads(old), _heads(new)
    ends = ((-1, -1), *_staying(_keys(old, heads[0]), _keys(new, heads[1])), (len(old), len(new)))
    for (before, above), (behind, below) in pairwise(ends):
        for mark, lines, head_of, start, stop in (
            ("-", old, heads[0], before + 1, behind),
            ("+", new, heads[1], above + 1, below),
        ):
            for at in range(start, stop):
                head = head_of[at]
                if head is not None and not start <= head < stop and lines[head] != shown:
                    shown = lines[head]
                    found.append(f" {shown}")
                found.append(f"{mark}{lines[at]}")
    return found


def _heads(lines: Sequence[str]) -> list[int | None]:
    """For each line of a block the line that opens it."""
    found: list[int | None] = []
    head: int | None = None
    for at, line in enumerate(lines):
        inner = line.startswith(" ")
        head = head if inner else at
        found.append(head if inner else None)
    return found


def _keys(lines: Sequence[str], heads: Sequence[int | None]) -> Iterator[_Key]:
    seen: Counter[tuple[str, str]] = Counter()
    for line, head in zip(lines, heads, strict=True):
        which = (lines[head] if head is not None else "", line)
        yield (*which, seen[which])
        seen[which] += 1


def _staying(old: Iterator[_Key], new: Iterator[_Key]) -> list[tuple[int, int]]:
    """Places of the lines that stay, in both: the longest rising row (patience sorting)."""
    places = {key: at for at, key in enumerate(new)}
    tops: list[int] = []
    """The least place in `new` at which a row of each length can end."""
    ending: list[tuple[int, int]] = []
    above: dict[int, tuple[int, int] | None] = {}
    for at, key in enumerate(old):
        place = places.get(key)
        if place is None:
            continue
        length = bisect_left(tops, place)
        above[at] = ending[length - 1] if length else None
        if length == len(tops):
            tops.append(place)
            ending.append((at, place))
        else:
            tops[length], ending[length] = place, (at, place)
    found: list[tuple[int, int]] = []
    step = ending[-1] if ending else None
    while step is not None:
        found.append(step)
        step = above[step[0]]
    return found[::-1]
