"""Two listings of our tables, compared by meaning: what `understudy plan --diff` shows.

The wanted text is loaded into a scratch namespace and listed there, so that both sides were written by the same front
end. What is left to even out: the order of chains and sets, which is that of their making; the order of elements, which
a hash decides; and what belongs to the moment and not to the file (leases, which servers the pairs point at, whose turn
it is in a rotary).
"""

import difflib
import re

from understudy.render.leaseset import LEASE_SET, QUIET_SET
from understudy.render.text import TURN_CHAIN

_BLOCK = re.compile(r"\t(?:set|map|chain) (\S+) \{")
_INLINE = re.compile(r"\{ ([^{}\n]+) \}")
_MOMENTARY = frozenset((LEASE_SET, QUIET_SET, "pairs4", "pairs6"))
_ELEMENTS = "\t\telements = {"


def canonical(listing: str) -> str:
    """A listing without what belongs to the moment, everything in order and elements one a line."""
    lines: list[str] = []
    blocks: list[list[str]] = []
    for line in listing.splitlines():
        if line.startswith("table "):
            lines.append(line)
        elif line == "}":
            lines += [each for block in sorted(blocks) for each in _block(block)] + [line]
            blocks = []
        elif _BLOCK.match(line):
            blocks.append([line])
        elif line and blocks:
            blocks[-1].append(line)
    return "".join(f"{line}\n" for line in lines)


def _block(lines: list[str]) -> list[str]:
    """One set, map or chain with its elements in order."""
    found = _BLOCK.match(lines[0])
    if found is not None and found[1].startswith(TURN_CHAIN):
        return [lines[0], lines[-1]]  # whose turn it is
    text = "\n".join(lines)
    head, opening, rest = text.partition(_ELEMENTS)
    plain = [_INLINE.sub(lambda each: "{ " + ", ".join(_ordered(each[1])) + " }", line) for line in head.splitlines()]
    if not opening:
        return plain
    elements, _, _ = rest.rpartition("}\n\t}")
    momentary = found is not None and found[1] in _MOMENTARY
    return [*plain, *(() if momentary else (f"\t\t\t{each}" for each in _ordered(elements))), "\t}"]


def listing_difference(wanted: str, held: str) -> str:
    """A unified diff from what the kernel holds to what it shall hold; empty if they mean the same."""
    lines = difflib.unified_diff(
        canonical(held).splitlines(keepends=True),
        canonical(wanted).splitlines(keepends=True),
        "kernel",
        "plan",
    )
    return "".join(lines)


def text_difference(old: str, new: str) -> tuple[str, ...]:
    """Lines that differ between two rule sets of ours, `-` for those that go and `+` for those that come."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _ordered(elements: str) -> list[str]:
    return sorted(each.strip() for each in elements.split(",") if each.strip())
