"""What differs between two configurations: lines with their sign, each below the head of its block."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher


def difference(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Lines that go and come, each below the head of its block."""
    found: list[str] = []
    shown: Mapping[str, str | None] = {}
    for tag, first, last, begin, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for mark, lines, start, stop in (("-", old, first, last), ("+", new, begin, end)):
            for at in range(start, stop):
                head = _head_of(lines, at)
                if head is not None and shown.get("head") != head and not start <= lines.index(head) < stop:
                    found.append(f" {head}")
                    shown = {"head": head}
                found.append(f"{mark}{lines[at]}")
    return found


def _head_of(lines: Sequence[str], at: int) -> str | None:
    """The line that opens the block in which a line stands."""
    if not lines[at].startswith(" "):
        return None
    return next((lines[above] for above in range(at - 1, -1, -1) if not lines[above].startswith(" ")), None)
