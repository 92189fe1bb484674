"""Cases of NAT on a pair of agents, one of which dies between the packets: wrong answers are found, right ones pass."""

from dataclasses import replace
from pathlib import Path

from understudy.config import load_plan
from understudy.ios.reader import read_text
from understudy.lab.natcases import Case, read_cases
from understudy.lab.natpair import run_on_a_pair
from understudy.lab.natpairfile import pair_file

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/nat"


def case_named(file: str, name: str) -> Case:
    return next(case for case in read_cases(EXAMPLES / f"{file}.yaml") if case.id == name)


def test_a_connection_is_translated_as_before_after_the_actives_death() -> None:
    """Of a static entry, both ways; the case has a packet on either side of the fail-over."""
    result = run_on_a_pair(case_named("cases", "static-both-ways"))
    assert result.passed, (result.error, [step.wrong for step in result.steps], result.missing)
    assert len(result.steps) > 1


def test_a_host_keeps_the_address_that_it_was_given() -> None:
    """Of a pool without overload: the other node's allocator goes on where the dead one's was."""
    result = run_on_a_pair(case_named("pools", "segments-in-order"))
    assert result.passed, (result.error, [step.wrong for step in result.steps], result.missing)


def test_equal_addresses_in_two_vrfs_get_their_own_answers_from_the_other_node() -> None:
    """Their flows are copied with the zone that keeps them apart; what the nodes tell each other is in none."""
    result = run_on_a_pair(case_named("vrf", "vrf-answers"))
    assert result.passed, (result.error, [step.wrong for step in result.steps], result.missing)


def test_another_answer_after_the_fail_over_fails_the_case() -> None:
    """Control: the packet after one fail-over is expected to be something else."""
    case = case_named("cases", "static-both-ways")
    first, second = case.steps[:2]
    last = replace(second, expected={"verdict": "translated", "src": "192.0.2.99"})
    result = run_on_a_pair(replace(case, steps=(first, last)))
    assert not result.passed
    assert result.steps[-1].wrong


def test_every_example_is_a_file_of_a_pair() -> None:
    """Its interfaces are networks with room for two nodes and a client, none of whose addresses the case speaks of."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for case in read_cases(path):
            if case.id == "down":  # an interface without an address is no network
                continue
            file = pair_file(case, read_text(case.config).configuration)
            plan = load_plan(file.text(case.config.splitlines(), case))
            assert plan.ios is not None, case.id
            own = {str(i.ip) for node in plan.nodes for port in node.attachments for i in port.addresses}
            assert not any(each in case.config.split() for each in own), case.id
