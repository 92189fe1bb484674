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
        lines.append(flows_said(f"{left} flows drain {until}: {what}", say))
    return lines


def flows_said(text: str, say: Say) -> str:
    """A sentence that begins with a number of flows; of one flow in the singular, where the language has it."""
    said = say(text)
    if said != text:
        return said
    return next((one + text.removeprefix(many) for many, one in _ONE.items() if text.startswith(many)), text)


_ONE = {
    "1 flows end:": "1 flow ends:",
    "1 flows go on until they end:": "1 flow goes on until it ends:",
    "1 flows go on": "1 flow goes on",
    "1 flows drain until they end:": "1 flow drains until it ends:",
    "1 flows drain": "1 flow drains",
    "1 flows of": "1 flow of",
}
"""The longer ones first."""
