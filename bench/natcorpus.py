"""Real texts, judged against an index: columns `file` and `expect`, tab-separated, the texts in a folder beside it.

accept, accept-fragment             every line of NAT is understood; in a fragment the missing roles are warned of
accept-lines-flag-conflicts         the same, and what the lines do to each other is told
flag                                a line is refused, or a mistake is warned of
template                            refused as something to fill in, told apart from a wrong line
parse-output                        an output of `show`, of which nothing is left unread
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from summary import Row

from understudy.errors import OperatorError
from understudy.ios.check import Report, check
from understudy.ios.profiles import profile_named
from understudy.ios.reader import read_bytes
from understudy.ios.show import as_json, read_show

ROLES = frozenset(("no-roles", "no-inside", "no-outside"))
CONFLICTS = frozenset(("similar-static", "replaced", "said-twice", "two-statics", "same-list"))


@dataclass(frozen=True, slots=True)
class Entry:
    file: str
    path: Path
    expect: str


def read_index(index: Path) -> list[Entry]:
    """Raises OSError."""
    with index.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return [Entry(row["file"], _beside(index, row["file"]), row["expect"]) for row in rows]


def _beside(index: Path, name: str) -> Path:
    """The texts stand beside the index or in folders there."""
    here = index.parent / name
    return here if here.exists() else next(index.parent.rglob(name), here)


def judged(entry: Entry) -> Row:
    """Whether a text is judged as its index says."""
    data = entry.path.read_bytes()
    if entry.expect == "parse-output":
        return {"expect": entry.expect, **_output(data)}
    try:
        report = check(read_bytes(data, entry.file), profile_named("classic"))
    except OperatorError as error:
        return {"expect": entry.expect, "fits": False, "why": [str(error)]}
    known = _JUDGES.get(entry.expect)
    counts = {key: report.counts[key] for key in ("nat", "refused", "refused-placeholder", "warnings")}
    fits = known is not None and known(report)
    refused = [f"line {line.number}: {line.refusal.reason}" for line in report.reading.refused if line.refusal]
    return {"expect": entry.expect, "fits": fits, **counts, "why": [] if fits else refused or ["no judge for it"]}


def _accepted(report: Report) -> bool:
    return report.counts["nat"] > 0 and not report.reading.refused


def _warned(report: Report, codes: frozenset[str]) -> bool:
    return any(each.code in codes for each in report.warnings)


_JUDGES: dict[str, Callable[[Report], bool]] = {
    "accept": _accepted,
    "accept-fragment": lambda report: _accepted(report) and _warned(report, ROLES),
    "accept-lines-flag-conflicts": lambda report: _accepted(report) and _warned(report, CONFLICTS),
    "flag": lambda report: bool(report.reading.refused or report.warnings),
    "template": lambda report: report.template,
}


def _output(data: bytes) -> Row:
    try:
        shown = as_json(read_show(data))
    except OperatorError as error:
        return {"fits": False, "why": [str(error)]}
    unread = shown.get("unread") or []
    held = any(shown.get(key) for key in ("rows", "numbers", "mappings", "fields", "pools"))
    return {"fits": bool(held and not unread), "why": [str(each) for each in unread]}
