"""Cases of NAT, each on a router of its own, and what became of them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import EnvironmentFailure, OperatorError
from understudy.ios.layout import words_of
from understudy.ios.profiles import DEFAULT, PROFILES
from understudy.lab import sandbox
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Case, Seen, judge
from understudy.render.ios_scene import Wishes

_FAILURES = (EnvironmentFailure, OperatorError, OSError, ValueError, LookupError, struct.error)


@dataclass(frozen=True, slots=True)
class StepResult:
    expected: dict[str, object]
    seen: dict[str, object]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    id: str
    title: str
    passed: bool
    expected_to_differ: bool
    steps: tuple[StepResult, ...]
    left_out: tuple[str, ...]
    """Parts of the configuration that have no counterpart."""
    error: str = ""
    table: tuple[str, ...] = ()
    """Rows of `show ip nat translations` after the last step, each in five words."""
    missing: tuple[str, ...] = ()
    """Rows of the case's `table_after` that are not there."""


def run_cases(cases: Sequence[Case]) -> list[CaseResult]:
    """All of them, each on a router of its own. Raises OperatorError where namespaces are forbidden."""
    return sandbox.run(lambda: [_run(case) for case in cases])


def _run(case: Case) -> CaseResult:
    steps: list[StepResult] = []
    left_out: tuple[str, ...] = ()
    try:
        bed = Bed(case.config, case.steps, wishes=_wishes(case))
    except _FAILURES as error:
        return CaseResult(case.id, case.title, False, case.differs, (), (), str(error))
    try:
        seen: list[Seen | None] = []
        for step in case.steps:
            if step.lines:
                bed.enter(step.lines)
                seen.append(None)
                steps.append(StepResult({}, {}, ()))
                continue
            found = bed.send(step, seen)
            seen.append(found)
            wrong = judge(step, found, seen)
            steps.append(StepResult(dict(step.expected), {"verdict": found.verdict, **found.fields}, wrong))
        left_out = bed.left_out
        table = tuple(" ".join(words_of(row)) for row in bed.view().rows)
    except _FAILURES as error:
        return CaseResult(case.id, case.title, False, case.differs, tuple(steps), left_out, str(error))
    finally:
        bed.close()
    missing = tuple(row for row in case.table_after if row not in table)
    # What is expected to differ is told and not held against it: rows may tell of a past that the case does not have.
    passed = not any(step.wrong for step in steps) and (case.differs or not missing)
    return CaseResult(case.id, case.title, passed, case.differs, tuple(steps), left_out, table=table, missing=missing)


def _wishes(case: Case) -> Wishes:
    """A case's profile is ours, or one of `any` and names that mean the default."""
    profile = case.profile if case.profile in PROFILES else DEFAULT
    return Wishes(profile=profile, strict=case.strict, rotary_udp=case.rotary_udp)
