"""A text judged: each line's kind, fidelity and reason, the warnings, and the counts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.ios.fidelity import Verdict, judge, verdict_of
from understudy.ios.lines import Kind, Line, Reading
from understudy.ios.mistakes import Mistake, find_mistakes
from understudy.ios.profiles import Profile
from understudy.ios.rules import Fidelity
from understudy.ios.texts import KINDS, PASSED


@dataclass(frozen=True, slots=True)
class Judged:
    """A line and, if it is NAT, its fidelity."""

    line: Line
    verdict: Verdict | None

    def reason(self, language: str = "en") -> str:
        """Why it is what it is, in a sentence."""
        if self.line.refusal is not None:
            return self.line.refusal.reason
        if self.verdict is not None:
            return self.verdict.reason(language)
        return PASSED[self.line.why][language == "ko"]


@dataclass(frozen=True, slots=True)
class Report:
    """All that `understudy nat check` says."""

    reading: Reading
    profile: Profile
    lines: tuple[Judged, ...]
    warnings: tuple[Mistake, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """Lines of each kind, NAT lines of each fidelity, warnings, refused lines of each fault."""
        kinds = Counter(str(each.line.kind) for each in self.lines)
        close = Counter(each.verdict.fidelity.word for each in self.lines if each.verdict is not None)
        faults = Counter(str(each.line.refusal.fault) for each in self.lines if each.line.refusal is not None)
        return {
            **{str(kind): kinds[kind] for kind in Kind},
            **{fidelity.word: close[fidelity.word] for fidelity in Fidelity if fidelity is not Fidelity.REFUSED},
            "refused-fidelity": close["refused"],
            "warnings": len(self.warnings),
            **{f"refused-{fault}": faults[fault] for fault in ("syntax", "placeholder", "foreign")},
        }

    @property
    def template(self) -> bool:
        """Whether something is to be filled in first."""
        return self.counts["refused-placeholder"] > 0

    @property
    def clean(self) -> bool:
        """No warning, and no line of NAT that differs or cannot be."""
        return not self.warnings and not self.counts["differs"] and not self.counts["refused-fidelity"]


def check(reading: Reading, profile: Profile) -> Report:
    """Judge every line."""
    judged = []
    pools = {pool.name: pool.kind for pool in reading.configuration.pools}
    for line in reading.lines:
        verdict = None
        if line.kind is Kind.NAT:
            if line.note is not None and line.note.code == "similar-static":
                verdict = verdict_of(("similar-static",))
            else:
                verdict = judge(line.statement, pools, profile, negated=line.negated)
        judged.append(Judged(line, verdict))
    return Report(reading, profile, tuple(judged), find_mistakes(reading))


def as_json(report: Report, language: str = "en") -> dict[str, Any]:
    """The report as plain values; names and codes stay English."""
    return {
        "profile": report.profile.name,
        "template": report.template,
        "counts": dict(report.counts),
        "lines": [_line(each, report.profile.name, language) for each in report.lines],
        "warnings": [
            {"code": each.code, "line": each.line, "message": each.said(language), "ios_message": each.message or None}
            for each in report.warnings
        ],
    }


def _fidelity_said(judged: Judged, profile: str, language: str) -> str | None:
    if judged.verdict is not None:
        return judged.verdict.fidelity.said(language).format(profile=profile)
    return Fidelity.REFUSED.said(language) if judged.line.refusal is not None else None


def _line(judged: Judged, profile: str, language: str) -> dict[str, Any]:
    line, verdict = judged.line, judged.verdict
    refusal = line.refusal
    message = refusal.message if refusal is not None else line.note.message if line.note is not None else ""
    refused = Fidelity.REFUSED.word if refusal is not None else None
    return {
        "line": line.number,
        "text": line.text,
        "kind": str(line.kind),
        "kind_said": KINDS[str(line.kind)][language == "ko"],
        "fidelity": verdict.fidelity.word if verdict is not None else refused,
        "fidelity_said": _fidelity_said(judged, profile, language),
        "reason": judged.reason(language),
        "rule": verdict.rules[0].name if verdict is not None else None,
        "rules": [rule.name for rule in verdict.rules] if verdict is not None else [],
        "column": refusal.column if refusal is not None else None,
        "fault": str(refusal.fault) if refusal is not None else None,
        "ios_message": message or None,
    }
