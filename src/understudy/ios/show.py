"""Outputs of `show ip nat ...` read back: translations in every layout, verbose or not, statistics, and the rest.

Routers print by absolute columns (layouts A, B and C of `docs/reference/nat.md`), but what people paste has been
reflowed by mail and documents. So rows are read by words: no field of a translation holds a blank. The layout is told
from the header alone. Whatever is not understood stands in `unread`, never lost.
"""

import re
from dataclasses import dataclass
from typing import Any

from understudy.errors import OperatorError
from understudy.ios.statistics import Statistics, looks_like_statistics, read_statistics
from understudy.ios.words import is_prompt

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


@dataclass(frozen=True, slots=True)
class Other:
    """Any other output: its pairs line by line, under the heading above them."""

    title: str
    pairs: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """(heading, pairs)."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Lines of tables, cut into cells."""


Shown = Translations | Statistics | Other

_HEADER = re.compile(r"\s*Pro\s+(?:Inside|Source) global\s", re.IGNORECASE)
_ROW = re.compile(r"\s*(---|--|[a-z][a-z0-9]{1,9}|\d{1,3})\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*", re.IGNORECASE)
_FIELD = re.compile(r"---?|([0-9a-fA-F.]+)(?::(\d{1,10}))?|([0-9.]+)", re.ASCII)
_TOTAL = re.compile(r"\s*Total number of translations:\s*(\d+)\s*", re.IGNORECASE)
_KEYS = (
    "create", "use_count", "use", "timeout", "left", "Map-Id(In)", "Map-Id(Out)", "Mac-Address", "Input-IDB",
    "Output-IDB", "entry-id", "RuleID", "WLAN-Flags", "Flags", "ALG Application Type", "In_pkts", "In_bytes",
    "Out_pkts", "Out_bytes", "Group_id", "vrf", "Format(H:M:S) Time-left", "lc_entries", "VRF", "Mapping-id",
)  # fmt: skip
_KEY = re.compile(r"(?<![\w-])(" + "|".join(re.escape(key) for key in _KEYS) + r")(?:\s*:\s*|\s+(?=\S))", re.IGNORECASE)
_NAMES = {key.lower(): key for key in _KEYS}


def read_show(data: bytes, where: str = "text") -> Shown:
    """Read an output. Raises OperatorError E7101 (too big) or E7104 (no output of `show ip nat`)."""
    if len(data) > SIZE_MAX:
        raise OperatorError("E7101", f"{where}: more than {SIZE_MAX >> 20} MiB", "one output at a time")
    text = data.decode("utf-8-sig", errors="replace")
    lines = [line.rstrip() for line in re.split(r"\r?\n|\r", text)]
    if any(_HEADER.match(line) for line in lines) or any(_row(line) for line in lines[:200]):
        return _translations(lines)
    if looks_like_statistics(lines):
        return read_statistics(lines)
    other = _other(lines)
    if not (other.pairs or other.rows) or _CONFIGURATION.search(text):
        hint = "expected `show ip nat translations`, `show ip nat statistics` or the like"
        raise OperatorError("E7104", f"{where}: not an output of `show ip nat`", hint)
    return other


def _row(line: str) -> tuple[str | None, list[Endpoint | None]] | None:
    found = _ROW.fullmatch(line)
    if found is None:
        return None
    protocol, *fields = found.groups()
    ends: list[Endpoint | None] = []
    for text in fields:
        matched = _FIELD.fullmatch(text)
        if matched is None or (matched[1] is not None and "." not in matched[1]):
            return None
        port = int(matched[2]) if matched[2] else None
        ends.append(None if matched[1] is None and matched[3] is None else Endpoint(matched[1] or matched[3], port))
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
    if before:
        if not details or details[-1][1]:
            return False
        details[-1] = (details[-1][0], before)
    for number, key in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(line)
        details.append((_NAMES[key[1].lower()], line[key.end() : end].strip(" ,")))
    return bool(found) or bool(before)


_PAIR = re.compile(r"([A-Za-z][\w /().-]{0,60}?) ?:[ \t]*(.{0,200}?)(?=,\s|\s{2,}[A-Za-z]|$)")
_LINE_MAX = 1024
_CONFIGURATION = re.compile(r"^[ +]*(?:no )?ip nat (?:inside|outside|pool) |^interface [A-Za-z-]+ ?\d", re.MULTILINE)


def _other(lines: list[str]) -> Other:
    title = heading = ""
    pairs: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    rows: list[tuple[str, ...]] = []
    for line in lines:
        text = line.strip()
        if not text or is_prompt(line) or not text.strip("-=+|*# "):
            continue
        found = _pairs(text)
        if found:
            pairs.append((heading, _under_first(found)))
        elif (row := _columns(text, len(rows[0]) if rows else 0)) is not None:
            rows.append(row)
        else:
            title, heading = title or text, text
    return Other(title, tuple(pairs), tuple(rows))


def _columns(text: str, wanted: int) -> tuple[str, ...] | None:
    """The cells of a table's line; None for a heading. `wanted` is the number of columns of the table's first line."""
    if "|" in text:
        return tuple(cell.strip() for cell in text.strip("| ").split("|"))
    said = tuple(text.split())
    if len(said) == wanted:
        return said
    cells = tuple(re.split(r"\s{2,}", text))
    if len(cells) > 1:
        return cells
    return said if len(said) > 3 and re.search(r"\d", text) else None


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    if len(text) > _LINE_MAX or ":" not in text:
        return ()
    return tuple((name.strip(), value.strip(" ,")) for name, value in _PAIR.findall(text))


def _under_first(found: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """`pool add: 1, del: 0` counts deletions of pools too: later names take the first one's subject."""
    first = found[0][0].split()
    if (
        len(found) < 2
        or len(first) < 2
        or first[-1] not in ("add", "set", "notify", "request", "req", "enable", "query", "est")
    ):
        return found
    subject = " ".join(first[:-1])
    return (found[0], *((f"{subject} {name}", value) for name, value in found[1:]))


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
