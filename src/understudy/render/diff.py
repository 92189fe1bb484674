"""Two listings of our tables, compared by meaning: what `understudy plan --diff` shows.

The wanted text is loaded into a scratch namespace and listed there, so that both sides were written by the same front
end. What is left to even out: the order of elements, which a hash decides, and what belongs to the moment and not to
the file (leases, and which servers the pairs point at).
"""

import difflib
import re

from understudy.render.lease import LEASE_SET

_LISTED = re.compile(r"elements = \{ ?(.*?) ?\}", re.DOTALL)
_MOMENTARY = re.compile(
    rf"(\t(?:set {LEASE_SET}|map pairs[46]) \{{\n(?:(?!\t\}}).*\n)*?)\t\telements = \{{.*?\}}\n", re.DOTALL
)
_INLINE = re.compile(r"\{ ([^{}\n]+) \}")


def canonical(listing: str) -> str:
    """A listing without what belongs to the moment, elements in order and one a line."""
    text = _MOMENTARY.sub(r"\1", listing)
    text = _LISTED.sub(lambda found: "elements = {\n\t\t\t" + "\n\t\t\t".join(_ordered(found[1])) + "\n\t\t}", text)
    return _INLINE.sub(lambda found: "{ " + ", ".join(_ordered(found[1])) + " }", text)


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
