"""What former files left behind on a node: flows of translations that the file does not say any more."""

from collections.abc import Callable, Mapping
from typing import Any

from understudy.units import SECOND, format_duration

Say = Callable[[str], str]
"""A sentence in the reader's language."""


def drain_lines(draining: Mapping[str, Any], say: Say) -> list[str]:
    """What former files left behind on a node."""
    lines = []
    for each in draining["draining"]:
        left = "?" if each["left"] is None else each["left"]
        what = f"{each['lines'][0]}" + (f" (+{len(each['lines']) - 1})" if len(each["lines"]) > 1 else "")
        bound = each["ends_in_s"]
        until = "until they end" if bound is None else f"for {format_duration(round(bound) * SECOND)}"
        lines.append(say(f"{left} flows drain {until}: {what}"))
    return lines
