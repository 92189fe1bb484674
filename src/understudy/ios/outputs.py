"""What outputs of `show` have in common: lines without what the terminal left, pairs of name and value, tables.

An output that has no reader of its own is read by these alone, under its headings (`read_other`).
"""

import re
from dataclasses import dataclass

from understudy.ios.words import is_prompt

LINE_MAX = 1024
"""Characters; longer lines hold no pairs and are no rows."""
Pairs = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[A-Za-z][\w /().-]{0,60}")
_BETWEEN = re.compile(r"([,;]\s+|\s{2,})")
_COUNTS = re.compile(r"(\d+)((?: [a-z][a-z -]{0,40}:\d+)+)")
_NUMBER = r"(?:0x[0-9a-fA-F]+|\d[\d.:/]*%?)"
_NAMED = re.compile(rf"([A-Za-z_][\w/()-]*(?: [A-Za-z_(][\w/()-]*){{0,7}}) ({_NUMBER})(?:, ?| |$)", re.ASCII)
_POOL = re.compile(r"Pool name (\S+), id (\d+)")
_BLANKS = re.compile(r"\s{2,}")
_MORE = re.compile(
    # From the first of the blanks before it, so that those of a long run are not each a beginning.
    r"(?<![ \t])[ \t]*(?:-{1,2} ?More ?-{1,2}|<-{2,3} More -{2,3}>)[\s\x08]*|[^\x08\n]\x08",
    re.IGNORECASE,
)
_SUBJECTS = ("add", "set", "notify", "request", "req", "enable", "query", "est")


@dataclass(frozen=True, slots=True)
class Other:
    """Any other output: its pairs line by line, under the heading above them."""

    title: str
    pairs: tuple[tuple[str, Pairs], ...]
    """(heading, pairs)."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Lines of tables, cut into cells."""
    notes: tuple[str, ...] = ()
    """Lines of words alone, under which nothing stands."""


def lines_of(text: str) -> list[str]:
    """Lines of any ending, without the pager's mark and the fences of a document."""
    if "\x08" in text or "More" in text or "more" in text:
        text = _MORE.sub("", text)
    return ["" if line.startswith("```") else line.rstrip() for line in re.split(r"\r?\n|\r", text)]


def read_other(lines: list[str]) -> Other:
    """Pairs and tables, whatever they tell of."""
    title = heading = ""
    under = 0
    pairs: list[tuple[str, Pairs]] = []
    rows: list[tuple[str, ...]] = []
    empty: list[str] = []
    wanted = 0
    for line in lines:
        text = line.strip()
        if not text or is_prompt(line) or not text.strip("-=+|*# "):
            continue
        found = pairs_of(text)
        held = len(pairs) + len(rows)
        if found:
            pairs.append((heading, _under_first(found)))
        elif (row := _columns(text, wanted)) is not None:
            wanted = wanted or len(row)
            rows.append(row)
        else:
            if heading and under == held:
                empty.append(heading)
            title, heading, under = title or text, text, held
    if heading and under == len(pairs) + len(rows):
        empty.append(heading)
    return Other(title, tuple(pairs), tuple(rows), tuple(each for each in empty if each != title))


def pairs_of(text: str) -> Pairs:
    """`Name: value`, as many as stand there; or nothing but `name 5 other name 7`."""
    if len(text) > LINE_MAX:
        return ()
    if text.startswith(":"):
        # A list under a name: each line `: Local Address 192.0.2.1`.
        parts = [part.rpartition(" ") for part in text.lstrip(": ").split(", ")]
        return tuple((name.strip(), value) for name, _, value in parts if name)
    if ":" in text:
        return _colons(text)
    if (pool := _POOL.fullmatch(text)) is not None:
        return (("Pool name", pool[1]), ("id", pool[2]))
    return named(text)


def _colons(text: str) -> Pairs:
    """A value ends where the next name begins, behind a comma or two blanks; other commas belong to it."""
    found: list[tuple[str, str]] = []
    parts = _BETWEEN.split(text)
    for between, part in zip(["", *parts[1::2]], parts[::2], strict=True):
        name, colon, value = part.partition(":")
        if colon and _NAME.fullmatch(name.rstrip()):
            found.append((name.rstrip(), value.strip()))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{between}{part}")
        elif part:
            found.append((part, ""))
    if not any(":" in each for each in parts[::2]):
        return ()
    return tuple(pair for name, value in found for pair in _split(name, value.strip(" ,;")))


def _split(name: str, value: str) -> Pairs:
    """`Nat active mapping inside:0 outside:2` is two numbers."""
    if (counts := _COUNTS.fullmatch(value)) is None:
        return ((name, value),)
    return ((name, counts[1]), *re.findall(r" ([a-z][a-z -]*):(\d+)", counts[2]))


def named(text: str) -> Pairs:
    """`name 5, other name 0x7`: names with a number behind each, if the whole text is that and no table's line."""
    if len(text) > LINE_MAX or _BLANKS.search(text):
        return ()
    found, at = [], 0
    while at < len(text):
        match = _NAMED.match(text, at)
        if match is None:
            return ()
        found.append((match[1], match[2]))
        at = match.end()
    return tuple(found)


def _columns(text: str, wanted: int) -> tuple[str, ...] | None:
    """The cells of a table's line; None for a heading. `wanted` is the number of columns of the table's first line."""
    if text.startswith("(") and text.endswith(")"):
        return None
    if "|" in text:
        return tuple(cell.strip() for cell in text.strip("| ").split("|"))
    cells, said = tuple(_BLANKS.split(text)), tuple(text.split())
    if len(cells) > 1 and (len(cells) == wanted or len(said) != wanted):
        return cells
    if len(said) == wanted:
        return said
    return said if len(said) > 3 and re.search(r"\d", text) else None


def _under_first(found: Pairs) -> Pairs:
    """`pool add: 1, del: 0` counts deletions of pools too: later names take the first one's subject."""
    first = found[0][0].split()
    if len(found) < 2 or len(first) < 2 or first[-1] not in _SUBJECTS:
        return found
    subject = " ".join(first[:-1])
    return (found[0], *((f"{subject} {name}", value) for name, value in found[1:]))
