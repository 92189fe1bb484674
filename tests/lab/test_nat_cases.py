"""Cases of NAT on a router in a scratch namespace: what is right passes, and what is wrong is found out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.errors import OperatorError
from understudy.lab import natbed, sandbox
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Case, Seen, Step, judge, read_cases
from understudy.lab.natrun import run_cases
from understudy.units import MILLISECOND

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/nat"
FILES = sorted(EXAMPLES.glob("*.yaml"))


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    return read_cases(EXAMPLES / "cases.yaml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_examples_pass_with_real_packets(file: Path) -> None:
    for result in run_cases(read_cases(file)):
        assert result.passed, (result.id, result.error, [step.wrong for step in result.steps])
        assert not result.left_out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_without_its_lines_no_case_passes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a bed on which everything passes would prove nothing.

    Much is waited for in vain, so not as long as where it may come.
    """
    monkeypatch.setattr(natbed, "WAIT", 250 * MILLISECOND)

    def bare(case: Case) -> Case:
        lines = [
            line for line in case.config.splitlines() if not line.startswith(("ip nat inside s", "ip nat outside s"))
        ]
        return replace(case, config="\n".join(line for line in lines if "destination" not in line))

    assert not any(result.passed for result in run_cases([bare(case) for case in read_cases(file)]))


def test_a_change_of_a_list_leaves_what_has_begun(cases: tuple[Case, ...]) -> None:
    """A list is asked for a flow's first packet only; and the change did take effect for others."""
    begun = {"verdict": "translated", "src": "203.0.113.10"}
    first = Step(direction="in>out", protocol="tcp", sent=_tcp("10.9.0.5", 4000), expected=begun)
    later = replace(first, same_flow_as=0)
    other = replace(first, sent=_tcp("10.9.0.5", 4001), expected={"verdict": "untranslated"})
    plain = next(case for case in cases if case.id == "overload-keeps-the-port")
    change = Step(lines=("no access-list 1", "access-list 1 permit 10.99.0.0 0.0.255.255"))
    (result,) = run_cases([replace(plain, steps=(first, change, later, other))])
    assert result.passed, [step.wrong for step in result.steps]


def test_answers_to_equal_addresses_leave_by_the_interface_of_their_vrf() -> None:
    case = next(each for each in read_cases(EXAMPLES / "vrf.yaml") if each.id == "vrf-answers")
    red, blue, answer = case.steps
    other = replace(answer, reply_to=1, vrf="BLUE", sent={**answer.sent, "dport": "any"})

    def story() -> list[str]:
        bed = Bed(case.config, (red, blue, answer, other))
        seen: list[Seen | None] = []
        for step in (red, blue, answer, other):
            seen.append(bed.send(step, seen))
        bed.close()
        return [each.interface for each in seen if each is not None]

    assert sandbox.run(story) == ["e2", "e2", "e0", "e1"]


def test_what_a_pool_has_left_is_no_business_of_who_has_an_address(cases: tuple[Case, ...]) -> None:
    """A scan from more sources than the pool has addresses: each further one is refused, the first goes on."""
    dry = next(each for each in read_cases(EXAMPLES / "pools.yaml") if each.id == "dry-pool-refuses-the-third")
    first = dry.steps[0]
    scan = [
        replace(first, sent=_tcp(f"10.9.0.{n}", 4000), expected={"verdict": "translated" if n < 3 else "dropped"})
        for n in range(1, 30)
    ]
    again = replace(first, sent=_tcp("10.9.0.1", 5000))
    (result,) = run_cases([replace(dry, steps=(*scan, again))])
    assert result.passed, [step.wrong for step in result.steps]


def _tcp(source: str, port: int) -> dict[str, Any]:
    return {"src": source, "sport": port, "dst": "198.51.100.9", "dport": 80}


def test_a_refused_line_is_a_failed_case_and_not_the_end(cases: tuple[Case, ...]) -> None:
    wrong = replace(cases[0], config=cases[0].config + "\nip nat pool P 10.0.0.9 10.0.0.1 netmask 255.255.255.0\n")
    refused, fine = run_cases([wrong, cases[0]])
    assert "E7113" in refused.error or "refused" in refused.error
    assert fine.passed


@pytest.mark.parametrize(
    ("value", "found", "fits"),
    [
        ("any", 7, True),
        (7, 7, True),
        ("7", 7, True),
        (8, 7, False),
        ({"range": [1, 7], "not": [3]}, 7, True),
        ({"range": [1, 7], "not": [7]}, 7, False),
        ({"range": [8, 9]}, 7, False),
        ({"same_as": 0}, 5, True),
        ({"same_as": 0}, 6, False),
        ({"not_same_as": 0}, 6, True),
        ({"unheard-of": 0}, 6, False),
    ],
)
def test_values(value: Any, found: int, fits: bool) -> None:
    step = Step(direction="in>out", protocol="tcp", sent={}, expected={"verdict": "translated", "sport": value})
    seen = Seen("translated", {"sport": found})
    assert (judge(step, seen, [Seen("translated", {"sport": 5})]) == ()) is fits


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "no list `cases`"),
        ({"cases": []}, "no list `cases`"),
        ({"cases": ["x"]}, "case 1 is no mapping"),
        ({"cases": [{"id": "a"}]}, "case a needs `config`"),
        ({"cases": [{"id": "a", "config": "", "packets": [{}]}]}, "`dir` is one of"),
        ({"cases": [{"id": "a", "config": "", "packets": [{"action": "reboot"}]}]}, "the only action"),
        ({"cases": [{"id": "a", "config": "", "packets": []}] * 2}, "two cases are called a"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path: Path, document: Any, says: str) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(OperatorError, match="E7111") as refused:
        read_cases(file)
    assert says in str(refused.value)


def test_no_yaml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text("cases: [")
    with pytest.raises(OperatorError, match="E7111"):
        read_cases(file)
    with pytest.raises(OperatorError, match="E7110"):
        read_cases(tmp_path / "missing.yaml")
