"""Outputs of `show ip nat ...` read back: translations in every layout, verbose or not, statistics, and the rest.

Routers print by absolute columns (layouts A, B and C of `docs/reference/nat.md`), but what people paste has been
reflowed by mail and documents. So rows are read by words: no field of a translation holds a blank. The layout is told
from the header alone. Whatever is not understood stands in `unread`, never lost.
"""

import re
from dataclasses import dataclass
from typing import Any

from understudy.errors import OperatorError
from understudy.ios.encoding import read_as_text
from understudy.ios.foreign import vendor_of
from understudy.ios.outputs import LINE_MAX, Other, lines_of, pairs_of, read_other
from understudy.ios.statistics import Statistics, looks_like_statistics, read_statistics
from understudy.ios.words import is_prompt, read_line

_EXPECTED = "the output of `show ip nat translations`, `show ip nat statistics` or the like"
LINES_MAX = 500_000
SIZE_MAX = 32 * 1024 * 1024
LAYOUTS = {
    (4, 23, 42, 61): "A",
    (4, 26, 48, 70): "B",
    (5, 27, 49, 71): "C",
}
"""Columns of the four fields in the header -> layout."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address as printed, and the port or ICMP id beside it."""

    address: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One translation. A side that the router does not know yet, or that does not count, is None."""

    protocol: str | None
    inside_global: Endpoint | None
    inside_local: Endpoint | None
    outside_local: Endpoint | None
    outside_global: Endpoint | None
    details: tuple[tuple[str, str], ...] = ()
    """Of `verbose`: names as the router writes them."""


@dataclass(frozen=True, slots=True)
class Translations:
    rows: tuple[Row, ...]
    layout: str | None
    """A, B or C; None where the text was reflowed or has no header."""
    total: int | None = None
    unread: tuple[str, ...] = ()


Shown = Translations | Statistics | Other

_HEADER = re.compile(r"\s*Pro\s+(?:Inside|Source) global\s", re.IGNORECASE)
_ROW = re.compile(r"\s*(---|--|[a-z][a-z0-9]{1,9}|\d{1,3})\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*", re.IGNORECASE)
_FIELD = re.compile(r"---?|(\.*[0-9]+\.[0-9.]*(?:/\d{1,2})?)(?::([0-9a-fA-F]{1,10}))?", re.ASCII)
SPI_PROTOCOLS = frozenset(("esp", "ah"))
"""Protocols whose number beside an address is a security parameter index, in hexadecimal."""
_TOTAL = re.compile(r"\s*Total number of translations:\s*(\d{1,18})\s*", re.IGNORECASE)
_KEYS = (
    "create", "use_count", "use", "timeout", "left", "Map-Id(In)", "Map-Id(Out)", "Mac-Address", "Input-IDB",
    "Output-IDB", "entry-id", "RuleID", "WLAN-Flags", "Flags", "ALG Application Type", "In_pkts", "In_bytes",
    "Out_pkts", "Out_bytes", "Group_id", "vrf", "Format(H:M:S) Time-left", "lc_entries", "VRF", "Mapping-id",
)  # fmt: skip
_KEY = re.compile(r"(?<![\w-])(" + "|".join(re.escape(key) for key in _KEYS) + r")(?:\s*:\s*|\s+(?=\S))", re.IGNORECASE)
# Later releases say more than is known here: `use_count:1, name: 0x1`.
_MORE = re.compile(r",\s+([A-Za-z][\w ()-]{0,60}\s?:.*)")
_NAMES = {key.lower(): key for key in _KEYS}


def read_show(data: bytes, where: str = "text") -> Shown:
    """Read an output. Raises OperatorError E7101 (too big) or E7104 (no output of `show ip nat`)."""
    if len(data) > SIZE_MAX:
        raise OperatorError("E7101", f"{where}: more than {SIZE_MAX >> 20} MiB", "one output at a time")
    text = read_as_text(data, where, _EXPECTED)
    lines = lines_of(text)
    if len(lines) > LINES_MAX:
        raise OperatorError("E7101", f"{where}: more than {LINES_MAX} lines", "one output at a time")
    if any(_HEADER.match(line) for line in lines) or any(_row(line) for line in lines[:200]):
        return _translations(lines)
    if looks_like_statistics(lines):
        return read_statistics(lines)
    other = read_other(lines)
    if not (other.pairs or other.rows) and any(map(_asks_for_translations, lines)):
        return Translations((), None)
    wrong = _no_output(lines)
    if not (other.pairs or other.rows) or wrong is not None:
        number, line = wrong or next(((n, each) for n, each in enumerate(lines, 1) if each.strip()), (1, ""))
        at = f"; line {number}: {line.strip()[:60]!r}" if line else ", it is empty"
        raise OperatorError("E7104", f"{where}: not an output of `show ip nat`{at}", f"expected {_EXPECTED}")
    return other


def _no_output(lines: list[str]) -> tuple[int, str] | None:
    """The first line that only a configuration has, of IOS or of somebody else."""
    for number, line in enumerate(lines, 1):
        if _CONFIGURATION.match(line) or (not line[:1].isspace() and vendor_of(line) is not None):
            return number, line
    return None


def _asks_for_translations(line: str) -> bool:
    """The command of a session; with nothing behind it, the table was empty."""
    words = [word.lower() for word in read_line(0, line).words]
    wanted = ("show", "ip", "nat", "translations")
    return len(words) >= 4 and all(len(w) > 1 and each.startswith(w) for w, each in zip(words, wanted, strict=False))


def _row(line: str) -> tuple[str | None, list[Endpoint | None]] | None:
    found = _ROW.fullmatch(line) if len(line) <= LINE_MAX else None
    if found is None:
        return None
    protocol, *fields = found.groups()
    ends: list[Endpoint | None] = []
    base = 16 if protocol.lower() in SPI_PROTOCOLS else 10
    for text in fields:
        matched = _FIELD.fullmatch(text)
        if matched is None or (base == 10 and matched[2] and not matched[2].isdecimal()):
            return None
        ends.append(Endpoint(matched[1], int(matched[2], base) if matched[2] else None) if matched[1] else None)
    if not any(ends):
        return None
    return (None if protocol.startswith("--") else protocol.lower()), ends


def _translations(lines: list[str]) -> Translations:
    rows: list[Row] = []
    details: list[tuple[str, str]] = []
    unread: list[str] = []
    layout: str | None = None
    total: int | None = None
    current: tuple[str | None, list[Endpoint | None]] | None = None

    def close() -> None:
        if current is not None:
            inside_global, inside_local, outside_local, outside_global = current[1]
            rows.append(Row(current[0], inside_global, inside_local, outside_local, outside_global, tuple(details)))
        details.clear()

    for line in lines:
        row = _row(line)
        if row is not None:
            close()
            current = row
        elif found := _TOTAL.fullmatch(line):
            total = int(found[1])
        elif _HEADER.match(line):
            layout = _layout(line)
        elif not line.strip() or is_prompt(line):
            continue
        elif current is None or not _read_details(line, details):
            unread.append(line.strip())
    close()
    return Translations(tuple(rows), layout, total, tuple(unread))


def _layout(header: str) -> str | None:
    lower = header.lower()
    starts = [lower.find(name) for name in ("inside global", "inside local", "outside local", "outside global")]
    shift = len(header) - len(header.lstrip())
    return LAYOUTS.get(tuple(start - shift for start in starts))  # type: ignore[arg-type]  # four of them


def _read_details(line: str, details: list[tuple[str, str]]) -> bool:
    """Pairs of a verbose line; what stands before the first one belongs to the pair above (`flags:`)."""
    found = list(_KEY.finditer(line))
    before = line[: found[0].start()].strip(" ,") if found else line.strip(" ,")
    if before and (unknown := pairs_of(before) if ":" in before else ()):
        details += unknown
    elif before:
        if not details or details[-1][1]:
            return False
        details[-1] = (details[-1][0], before)
    for number, key in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(line)
        text = line[key.end() : end].strip(" ,")
        more = _MORE.search(text)
        details.append((_NAMES[key[1].lower()], text[: more.start()] if more else text))
        details += pairs_of(more[1]) if more else ()
    return True


_CONFIGURATION = re.compile(
    r"[ +]*(?:no )?ip nat (?:inside|outside|pool) |interface [A-Za-z-]+ ?\d\S*\s*$|[{}]|<[?!a-zA-Z]|.*[{;]$"
)


def as_json(shown: Shown) -> dict[str, Any]:
    """The output as plain values; `show` says which kind it is."""
    if isinstance(shown, Statistics):
        return {"show": "statistics", **shown.as_json()}
    if isinstance(shown, Other):
        return {
            "show": "other",
            "title": shown.title,
            "fields": [{"under": heading, **dict(pairs)} for heading, pairs in shown.pairs],
            "rows": [list(row) for row in shown.rows],
            "notes": list(shown.notes),
            "unread": [],
        }
    return {
        "show": "translations",
        "layout": shown.layout,
        "total": shown.total,
        "rows": [_plain(row) for row in shown.rows],
        "unread": list(shown.unread),
    }


def _plain(row: Row) -> dict[str, Any]:
    sides = ("inside_global", "inside_local", "outside_local", "outside_global")
    ends = {side: getattr(row, side) for side in sides}
    return {
        "protocol": row.protocol,
        **{side: None if end is None else {"address": end.address, "port": end.port} for side, end in ends.items()},
        "details": dict(row.details),
    }


def tell(shown: Shown) -> str:
    """A table for people: translations in one width, anything else as pairs."""
    plain = as_json(shown)
    if not isinstance(shown, Translations):
        return "".join(f"{name}: {value}\n" for name, value in plain.items() if value not in (None, [], ""))
    heads = ("Pro", "Inside global", "Inside local", "Outside local", "Outside global")
    table = [
        heads,
        *(
            (
                row.protocol or "---",
                *map(_end, (row.inside_global, row.inside_local, row.outside_local, row.outside_global)),
            )
            for row in shown.rows
        ),
    ]
    widths = [max(len(line[column]) for line in table) for column in range(5)]
    text = "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in table
    )
    return text + f"Total number of translations: {len(shown.rows)}\n"


def _end(end: Endpoint | None) -> str:
    if end is None:
        return "---"
    return end.address if end.port is None else f"{end.address}:{end.port}"
