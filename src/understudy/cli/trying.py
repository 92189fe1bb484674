"""The user's own cases before a change: tried on a router in a scratch namespace, as `understudy nat test` does.

A case without a `config` of its own is about the file: it gets the file's lines, with the group's addresses.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.cli import korean
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.config.plan import Plan
    from understudy.lab.natrun import CaseResult

NAMED_MAX = 5
"""Failed cases that are named in a sentence."""


@dataclass(frozen=True, slots=True)
class Tried:
    file: Path
    results: "tuple[CaseResult, ...]"

    @property
    def failed(self) -> "list[CaseResult]":
        return [each for each in self.results if not each.passed and not each.expected_to_differ]

    @property
    def summary(self) -> str:
        """Empty if none failed."""
        names = ", ".join(each.id for each in self.failed[:NAMED_MAX])
        more = ", ..." if len(self.failed) > NAMED_MAX else ""
        return f"{len(self.failed)} of {len(self.results)} cases failed: {names}{more}" if self.failed else ""

    @property
    def remark(self) -> str:
        """For the journal of a node that takes the file all the same."""
        return f"taken although {self.summary}" if self.failed else ""

    def as_json(self, *, despite: bool = False) -> dict[str, Any]:
        return {
            "file": str(self.file),
            "failed": [each.id for each in self.failed],
            "overridden": bool(self.failed) and despite,
            "cases": [asdict(each) for each in self.results],
        }


def tried(file: Path, plan: "Plan") -> Tried:
    """Raises OperatorError for a file that holds no cases, and where namespaces are forbidden."""
    from understudy.agent.nat_standing import text_of
    from understudy.lab.natcases import read_cases
    from understudy.lab.natrun import run_cases

    own = (text_of(plan.ios), plan.ios.profile) if plan.ios is not None else None
    return Tried(file, tuple(run_cases(read_cases(file, own))))


def passed(file: Path, plan: "Plan", language: str, *, quiet: bool) -> Tried:
    """Try them and say so, unless `quiet`. Raises OperatorError if one fails."""
    trial = tried(file, plan)
    if not quiet:
        sys.stdout.write(tried_text(trial, korean.speaker(language)))
    require_passed(trial)
    return trial


def tried_text(trial: Tried, say: Callable[[str], str]) -> str:
    lines = []
    for each in trial.failed:
        lines.append(f"  {each.id}: " + say("FAILED") + (f": {each.title}" if each.title else ""))
        lines += [f"    {each.error}"] if each.error else []
        for number, step in enumerate(each.steps, start=1):
            lines += [f"    packet {number}: {what}" for what in step.wrong]
        lines += [f"    not in the table: {row}" for row in each.missing]
    passed = sum(each.passed for each in trial.results)
    return "".join(f"{line}\n" for line in (say(f"{passed} of {len(trial.results)} cases passed"), *lines))


def require_passed(trial: Tried) -> None:
    """Raises OperatorError if a case failed."""
    if trial.failed:
        raise OperatorError("E5242", trial.summary, "mend the file or the cases; --despite-cases applies all the same")
