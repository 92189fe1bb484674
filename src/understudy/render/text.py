"""How our nft text is written: names of tables, chains as values, and the opening that makes a text safe to repeat.

A text is one transaction. It opens with `add table` (so that `flush` finds one) and `flush table`, which drops the
rules of our chains but no element of a set. What an older text declared and this one does not is removed by the
adapter, which can list.
"""

import re
from dataclasses import dataclass
from typing import Literal

TABLE = "understudy"
FAMILY_NETDEV = "netdev"
FAMILY_INET = "inet"
TURN_CHAIN = "ios_turn_"
"""Chains whose names begin so hold their own state: they are made once and never written again (render.ios_turns)."""

_TABLE_LINE = re.compile(rf"table (\w+) {TABLE} \{{$")
_BLOCK_LINE = re.compile(r"\t(set|map|chain) (\S+) \{")
_NEXT = "\n\t\t\t"


@dataclass(frozen=True, slots=True)
class Chain:
    name: str
    rules: tuple[str, ...]
    hook: str = ""
    """`type ... hook ... priority ...; policy accept;` of a base chain."""


@dataclass(frozen=True, slots=True)
class Elements:
    """A named set or map with what it holds, all of it from the file: flushed and filled again by every text."""

    kind: Literal["set", "map"]
    name: str
    declaration: str
    elements: tuple[str, ...]


def elements_text(each: Elements) -> str:
    lines = [f"\t{each.kind} {each.name} {{", f"\t\t{each.declaration}"]
    if each.elements:
        lines.append(f"\t\telements = {{ {f',{_NEXT}'.join(each.elements)} }}")
    return "\n".join((*lines, "\t}"))


def chain_text(chain: Chain) -> str:
    # nft 1.0.6 wants a newline before the closing brace.
    lines = [f"\tchain {chain.name} {{", *(f"\t\t{line}" for line in (chain.hook, *chain.rules) if line), "\t}"]
    return "\n".join(lines)


def preamble(family: str) -> str:
    return f"add table {family} {TABLE}\nflush table {family} {TABLE}\n"


def chain_name(device: str) -> str:
    """An interface's name within an identifier: chains are named by device, since a base chain keeps its own."""
    return re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"_{ord(found[0]):02x}", device)


def in_parts(text: str, elements_max: int) -> tuple[str, ...]:
    """A text of ours as several, to be run in order, none with many elements: declarations, elements, then the rules.

    For a kernel that takes no long message (see `adapters.nftables`). Rules change last and at once; between the parts
    a map may lack elements, so a new connection may have to try again.
    """
    head: list[str] = []
    fills: list[str] = []
    tail: list[str] = []
    family = block = ""
    elements: list[str] | None = None
    for line in text.splitlines():
        if found := _TABLE_LINE.match(line):
            family = found[1]
        elif found := _BLOCK_LINE.match(line):
            block = found[2]
            if found[1] == "chain":
                # A verdict names it, so it comes before the elements; a base chain is not named by any.
                head.append(f"add chain {family} {TABLE} {block}")
        elif line.startswith("\t\ttype ") and " hook " in line:
            head.pop()
        if line.startswith(("flush table ", "flush chain ")):
            tail.append(line)
        elif line.startswith(("add ", "flush ")):
            head.append(line)
        elif line.startswith("\t\telements = {") or elements is not None:
            elements = [] if elements is None else elements
            elements.append(line.strip().removeprefix("elements = {").removesuffix("}").strip(" ,"))
            if line.endswith("}"):
                for start in range(0, len(elements), elements_max):
                    some = ", ".join(elements[start : start + elements_max])
                    fills.append(f"add element {family} {TABLE} {block} {{ {some} }}\n")
                elements = None
        else:
            tail.append(line)
    return ("\n".join(head) + "\n", *fills, "\n".join(tail) + "\n")
