"""Texts and what is said of them: every line's word, the warnings, and the canonical form.

`UNDERSTUDY_GOLDEN_UPDATE=1 pytest tests/unit/ios` writes the expected files anew: read the difference before
keeping it.
"""

import os
from pathlib import Path

import pytest

from understudy.ios.check import Report, check
from understudy.ios.lines import Kind
from understudy.ios.printer import print_configuration
from understudy.ios.profiles import PROFILES
from understudy.ios.reader import read_bytes

GOLDEN = Path(__file__).parents[2] / "golden" / "ios"
TEXTS = sorted(path.stem for path in GOLDEN.glob("*.ios"))


def judged(name: str) -> Report:
    return check(read_bytes((GOLDEN / f"{name}.ios").read_bytes()), PROFILES["classic"])


def told(report: Report) -> str:
    """A line for each line of the text, and one for each warning."""
    lines = []
    for each in report.lines:
        line = each.line
        if each.verdict is not None:
            word = f"{each.verdict.fidelity.word} [{' '.join(rule.name for rule in each.verdict.rules)}]"
        elif line.refusal is not None:
            word = f"{line.refusal.fault}: {line.refusal.reason} (column {line.refusal.column})"
            word += f" {line.refusal.message}" if line.refusal.message else ""
        else:
            word = line.why
        lines.append(f"{line.number:3} {line.kind:11} {line.text.strip()}\n        {word}\n")
    lines += [f"{each.code} {each.line}: {each.said()} {each.message}".rstrip() + "\n" for each in report.warnings]
    return "".join(lines)


def compare(path: Path, said: str) -> None:
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        path.write_text(said, encoding="utf-8")
    assert said == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_every_line_of_a_text_gets_exactly_this_word(name: str) -> None:
    """Kind, fidelity with its rules, or the refusal with its place and IOS's message; then the warnings."""
    compare(GOLDEN / f"{name}.check", told(judged(name)))


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_has_exactly_this_canonical_form(name: str) -> None:
    """And the canonical form is its own: reading and printing it again changes nothing."""
    printed = print_configuration(judged(name).reading.configuration)
    compare(GOLDEN / f"{name}.canonical", printed)
    again = read_bytes(printed.encode())
    assert not again.refused
    assert again.configuration == judged(name).reading.configuration
    assert print_configuration(again.configuration) == printed


def test_no_line_of_nat_is_lost_in_a_whole_running_configuration() -> None:
    """Each `ip nat` of the text that holds every form is NAT; elsewhere the words are a comment or a banner."""
    report = judged("everything")
    lost = [
        each.line.text
        for each in report.lines
        if "ip nat" in each.line.text and each.line.kind is not Kind.NAT and each.line.why not in ("comment", "banner")
    ]
    assert lost == [" description ip nat inside stands here as text"]
    assert not report.reading.refused


def test_templates_and_what_a_router_refuses_are_told_apart() -> None:
    """Each NAT line of one text is a placeholder's, none of the other's is."""
    assert {str(line.refusal.fault) for line in judged("template").reading.refused if line.refusal} == {"placeholder"}
    assert judged("template").template
    faults = {str(line.refusal.fault) for line in judged("refused").reading.refused if line.refusal}
    assert faults == {"syntax", "foreign"}
    assert not judged("refused").template
