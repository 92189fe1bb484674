"""The file as it goes to agents: what `from` names stands in it, and everything else is where it was."""

from pathlib import Path

import pytest

from understudy.config import carried, load_plan
from understudy.config.load import SIZE_MAX, read_source
from understudy.config.models import NAT_MAX
from understudy.config.plan import IosNat
from understudy.config.problems import Problems
from understudy.config.validate import validate
from understudy.errors import OperatorError

HEAD = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24, sync: 192.168.250.0/29}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1, sync: 192.168.250.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}
redundancy:
  edge: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.10, inside: 10.9.0.254}}
"""
TAIL = "objectives: {}  # the last line"
OVERLOAD, ANY = "ip nat inside source list 1 interface outside overload", "access-list 1 permit any"
LINES = f"{OVERLOAD}\n{ANY}\n"


def file_with(directory: Path, nat: str, lines: str = LINES) -> Path:
    (directory / "edge.ios").write_text(lines, encoding="utf-8")
    file = directory / "pair.yaml"
    file.write_text(f"{HEAD}{nat}{TAIL}\n", encoding="utf-8")
    return file


def said(file: Path | bytes) -> list[str]:
    nat = load_plan(file).ios
    assert isinstance(nat, IosNat)
    return [each.text for each in nat.said]


@pytest.mark.parametrize(
    "nat",
    [
        "nat: {from: edge.ios}\n",
        "nat:\n  from: edge.ios\n",
        'nat:\n  - "from": "edge.ios"  # 😀\n    state: replicate\n',
        "nat:\n  - state: replicate\n    from:\n      edge.ios\n",
        "nat:\n  from: >-\n    edge.ios\n",
        "nat:\n  - from: |-\n      edge.ios\n\n    state: replicate\n",
        "nat: {from: 'edge\\\n  .ios', state: replicate}\n".replace("'", '"'),
        "nat:\n  ? from\n  : edge.ios\n",
    ],
)
def test_a_name_in_any_style_gives_way_to_the_lines(tmp_path: Path, nat: str) -> None:
    """The agents read the same, and every other line of the file keeps its number."""
    file = file_with(tmp_path, nat)
    whole = carried(file)
    assert said(whole) == said(file) == [OVERLOAD, ANY]
    lines, before = whole.decode().splitlines(), file.read_text().splitlines()
    assert lines.index(TAIL) == before.index(TAIL)


@pytest.mark.parametrize("strange", ["😀", "\U0010ffff", "\x7f", "\x9f", "\ufeff", '"', "\\", "\\ud83d", "가"])
def test_every_character_of_a_named_file_arrives(tmp_path: Path, strange: str) -> None:
    """Also those that YAML takes as an escape only, and those beyond 16 bits, of which JSON makes two."""
    remark = f"access-list 2 remark a{strange}b"
    file = file_with(tmp_path, "nat: {from: edge.ios}\n", f"{LINES}{remark}\n")
    (model,) = (model for _, model in validate(read_source(carried(file))).file.ios)
    assert model.lines == (OVERLOAD, ANY, remark)


def test_more_lines_than_a_file_may_give_are_refused_where_the_operator_is(tmp_path: Path) -> None:
    """As many as are allowed arrive. One more, and no node is asked."""
    file = file_with(tmp_path, "nat: {from: edge.ios}\n", LINES + "!\n" * (NAT_MAX - 2))
    assert said(carried(file)) == [OVERLOAD, ANY]
    file_with(tmp_path, "nat: {from: edge.ios}\n", LINES + "!\n" * (NAT_MAX - 1))
    with pytest.raises(Problems) as caught:
        load_plan(file)
    assert [each.code for each in caught.value.problems] == ["E2118"]


def test_a_file_that_is_too_large_as_a_whole_is_refused_where_the_operator_is(tmp_path: Path) -> None:
    """Each part of it is small enough."""
    line = "! " + '"' * 998
    file = file_with(tmp_path, "nat: [{from: edge.ios}, {from: edge.ios}]\n", LINES + f"{line}\n" * (SIZE_MAX // 4000))
    with pytest.raises(OperatorError) as caught:
        carried(file)
    assert caught.value.code == "E2002"
