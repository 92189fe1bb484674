"""Two listings of our tables, compared by meaning: what `understudy plan --diff` shows.

The wanted text is loaded into a scratch namespace and listed there, so that both sides were written by the same front
end. What is left to even out: the order of elements, which a hash decides, and what belongs to the moment and not to
the file (leases, and which servers the pairs point at).
"""

import difflib
import re

from understudy.render.lease import LEASE_SET

_BLOCK = re.compile(r"\t(?:set|map) (\S+) \{")
_INLINE = re.compile(r"\{ ([^{}\n]+) \}")
_MOMENTARY = frozenset((LEASE_SET, "pairs4", "pairs6"))


def canonical(listing: str) -> str:
    """A listing without what belongs to the moment, elements in order and one a line."""
    lines: list[str] = []
    block = ""
    elements: list[str] | None = None
    for line in listing.splitlines():
        if found := _BLOCK.match(line):
            block = found[1]
        if line.startswith("\t\telements = {"):
            elements = []
        if elements is None:
            lines.append(_INLINE.sub(lambda found: "{ " + ", ".join(_ordered(found[1])) + " }", line))
        else:
            elements.append(line.removeprefix("\t\telements = {").removesuffix("}"))
            if line.endswith("}"):
                if block not in _MOMENTARY:
                    lines += [f"\t\t\t{each}" for each in _ordered("".join(elements))]
                elements = None
    return "".join(f"{line}\n" for line in lines)


def listing_difference(wanted: str, held: str) -> str:
    """A unified diff from what the kernel holds to what it shall hold; empty if they mean the same."""
    lines = difflib.unified_diff(
        canonical(held).splitlines(keepends=True),
        canonical(wanted).splitlines(keepends=True),
        "kernel",
        "plan",
    )
    return "".join(lines)


def _ordered(elements: str) -> list[str]:
    return sorted(each.strip() for each in elements.split(",") if each.strip())
