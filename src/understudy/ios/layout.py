"""Outputs of `show ip nat translations` in the layouts A (12.x, 15.x) and C (IOS XE) of docs/reference/nat.md. Pure.

Fields start at absolute columns with at least one blank between two: a long field pushes only itself, the next one
returns to its column where it can. What is not known of an entry is written as dashes in the form of what should
stand there.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from understudy.errors import OperatorError
from understudy.ios.show import SPI_PROTOCOLS, Endpoint
from understudy.ios.translations import Kind, Translation

LAYOUTS = ("A", "C")
_COLUMNS = {"A": (4, 23, 42, 61), "C": (5, 27, 49, 71)}
_HEADS = ("Pro", "Inside global", "Inside local", "Outside local", "Outside global")
_DAY = 86_400
NO_AGE = "--:--:--"
NO_DATE = "--/--/-- --:--:--"


def check_layout(layout: str) -> str:
    """Raises OperatorError E7121 for a layout that we do not write."""
    if layout not in LAYOUTS:
        raise OperatorError("E7121", f"no layout {layout!r}", " or ".join(LAYOUTS))
    return layout


def print_translations(
    rows: Sequence[Translation], layout: str = "A", *, verbose: bool = False, now_s: int = 0, total: int | None = None
) -> str:
    """The whole output. `now_s`: seconds since 1970 on the clock that verbose dates of layout C are to show. `total`:
    where `rows` are not all of them.
    """
    columns = _COLUMNS[check_layout(layout)]
    uses: Counter[tuple[object, ...]] = Counter()
    for each in rows if verbose else ():
        if each.kind is Kind.FLOW:
            uses.update({_whose(each, ported=True), _whose(each, ported=False)})
    lines = [aligned(_HEADS, columns)]
    for number, row in enumerate(rows, start=1):
        lines.append(aligned(words_of(row), columns))
        if verbose:
            used = 1 if row.kind is Kind.FLOW and layout == "C" else 0
            if row.kind is not Kind.FLOW:
                used = uses[_whose(row, ported=row.protocol is not None)]
            lines += _classic(row, number, used) if layout == "A" else _modern(row, number, used, now_s)
    if layout == "C":
        lines.append(print_total(len(rows) if total is None else total))
    return "\n".join(lines) + "\n"


def words_of(row: Translation) -> tuple[str, ...]:
    """A row's five fields."""
    ends = (row.inside_global, row.inside_local, row.outside_local, row.outside_global)
    hexadecimal = row.protocol in SPI_PROTOCOLS
    return (row.protocol or "---", *(_end(end, hexadecimal) for end in ends))


def print_total(total: int) -> str:
    """The line that `total` asks for, and layout C ends with."""
    return f"Total number of translations: {total}"


def aligned(fields: Sequence[str], columns: Sequence[int]) -> str:
    """The first field at column 0, the others each at its own."""
    line = fields[0]
    for text, column in zip(fields[1:], columns, strict=True):
        line = line.ljust(column) if len(line) < column else line + " "
        line += text
    return line


def _whose(row: Translation, *, ported: bool) -> tuple[object, ...]:
    """Which half entry a row is, or belongs to."""
    ends = (row.inside_global, row.inside_local) if row.inside else (row.outside_local, row.outside_global)
    if ported:
        return (row.vrf, row.protocol, *ends)
    return (row.vrf, *(end.address if end is not None else "" for end in ends))


def _end(end: Endpoint | None, hexadecimal: bool) -> str:
    if end is None:
        return "---"
    if end.port is None:
        return end.address
    return f"{end.address}:{end.port:X}" if hexadecimal else f"{end.address}:{end.port}"


def _classic(row: Translation, number: int, used: int) -> Iterator[str]:
    create, use = age(row.age_s), age(row.idle_s)
    if row.kind is Kind.STATIC:
        yield f"    create {create}, use {use} timeout:0,"
    else:
        yield f"    create {create}, use {use}, left {age(row.left_s)}, Map-Id(In): {row.rule},"
    yield "    flags:"
    yield f"{', '.join(row.flags) or 'none'}, use_count: {used}, entry-id: {number}, lc_entries: 0"


def _modern(row: Translation, number: int, used: int, now_s: int) -> Iterator[str]:
    left = clock(0) if row.kind is Kind.STATIC else clock(row.left_s)
    yield f"  create: {date(now_s, row.age_s)}, use: {date(now_s, row.idle_s)}, timeout: {left}"
    yield f"  Map-Id(In): {row.rule}"
    yield f"  Mac-Address: 0000.0000.0000    Input-IDB: {row.interface or ''}".rstrip()
    yield f"  entry-id: {number if row.kind is Kind.FLOW else 0:#x}, use_count:{used}"
    yield ""


def age(seconds: int | None) -> str:
    """As the classic trains write durations: 23:59:59, 1d02h, 1w2d."""
    if seconds is None or seconds < 0:
        return NO_AGE
    days, rest = divmod(seconds, _DAY)
    if not days:
        return clock(seconds)
    return f"{days}d{rest // 3600:02}h" if days < 7 else f"{days // 7}w{days % 7}d"


def clock(seconds: int | None) -> str:
    """Hours, which may be many, minutes, seconds."""
    if seconds is None or seconds < 0:
        return NO_AGE
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def date(now_s: int, ago_s: int | None) -> str:
    """MM/DD/YY HH:MM:SS of the moment so long ago."""
    if ago_s is None:
        return NO_DATE
    days, seconds = divmod(now_s - ago_s, _DAY)
    year, month, day = _civil(days)
    return f"{month:02}/{day:02}/{year % 100:02} {clock(seconds)}"


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day counted from 1 January 1970.

    Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin with March in between, so that the leap day is
    their last.
    """
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return year_of_era + era * 400 + (month <= 2), month, day
