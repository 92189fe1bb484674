"""Lines of NAT are told by the place where the operator wrote them, however they came into the file."""

from pathlib import Path

import pytest

from understudy.config import carried, load_plan
from understudy.config.plan import IosNat, Plan
from understudy.config.problems import Problems

HEAD = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24, sync: 192.168.250.0/29}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1, sync: 192.168.250.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}
redundancy:
  edge: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.10, inside: 10.9.0.254}}
"""
OVERLOAD, ANY = "ip nat inside source list 1 interface outside overload", "access-list 1 permit any"
LISTED = f"nat:\n  - {OVERLOAD}\n  - {ANY}\n"
BLOCK = f"nat:\n  lines: |\n    {OVERLOAD}\n    {ANY}\n"


def nat(plan: Plan) -> IosNat:
    assert plan.ios is not None
    return plan.ios


def number(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize("lines", [LISTED, BLOCK], ids=["listed", "block"])
def test_a_line_within_the_file_has_the_files_own_number(lines: str) -> None:
    """What is said of it, and what it is warned of."""
    text = HEAD + lines
    found = nat(load_plan(text.encode()))
    assert [each.where for each in found.said] == [f"line {number(text, part)}" for part in (OVERLOAD, ANY)]
    (words,) = [english for code, english, _ in found.warnings if code == "permit-any"]
    assert words.startswith(f"line {number(text, ANY)}: ")


def test_a_refused_line_of_a_block_is_told_with_its_own_number() -> None:
    text = HEAD + BLOCK + "    ip nat inside sorce list 2\n"
    with pytest.raises(Problems) as caught:
        load_plan(text.encode())
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("E2505", number(text, "sorce"))


def test_a_line_of_a_named_file_keeps_its_number_on_the_way_to_a_node(tmp_path: Path) -> None:
    """Also the other line that a warning speaks of."""
    static = "ip nat inside source static 10.9.0.{} 203.0.113.21\n"
    (tmp_path / "edge.ios").write_text(f"! edge\n{OVERLOAD}\n{ANY}\n{static.format(11)}{static.format(12)}")
    file = tmp_path / "pair.yaml"
    file.write_text(HEAD + "nat: {from: edge.ios}\n")
    here, there = nat(load_plan(file)), nat(load_plan(carried(file)))
    line = number(HEAD + "nat:", "nat:")
    assert [each.where for each in here.said] == [f"edge.ios:{n}" for n in range(2, 6)]
    assert [each.where for each in there.said] == [f"line {line}, item {n}" for n in range(2, 6)]
    (words,) = [english for code, english, _ in here.warnings if code == "similar-static"]
    assert words.startswith("edge.ios:5: like the entry of line edge.ios:4, ")


@pytest.mark.parametrize(
    ("code", "group", "nat_line"),
    [
        ("E2510", "", "ip nat inside source static 10.9.0.11 203.0.113.2"),
        ("E2511", "\n    vrrp: {virtual_mac: false}", "ip nat inside source static 10.9.0.11 203.0.113.21"),
        ("E2511", "\n    vrrp: {virtual_mac: false}", "ip nat pool P 203.0.113.40 203.0.113.41 prefix-length 24"),
    ],
)
def test_a_rule_that_takes_a_wrong_address_is_told_on_its_own_line(code: str, group: str, nat_line: str) -> None:
    """Not on the first line of NAT, wherever it stands."""
    head = HEAD.replace("  edge: {", "  edge:\n    ").replace("}}\n", f"}}{group}\n").replace("], addr", "]\n    addr")
    pool = "ip nat inside source list 2 pool P overload" if " pool P " in nat_line else "access-list 3 permit any"
    for shape in ("nat:\n  - {}\n  - {}\n  - {}\n  - {}\n", "nat:\n  lines: |\n    {}\n    {}\n    {}\n    {}\n"):
        text = head + shape.format(OVERLOAD, ANY, nat_line, pool)
        with pytest.raises(Problems) as caught:
            load_plan(text.encode())
        assert [(each.code, each.line) for each in caught.value.problems] == [(code, number(text, nat_line))]
