"""Reading the text: limits, positions, and that nothing but Problems ever comes out."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from understudy.config import load_plan
from understudy.config.load import DEPTH_MAX, NODES_MAX, SIZE_MAX, read_source
from understudy.config.problems import Problems

FOLDER = Path(__file__).parents[3] / "examples"
PAIR = (FOLDER / "pair.yaml").read_bytes()
EXAMPLES = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))]


def codes(problems: Problems) -> list[str]:
    """The codes of all problems, in order."""
    return [problem.code for problem in problems.problems]


def refused(data: bytes | Path) -> Problems:
    """What is wrong with a file."""
    with pytest.raises(Problems) as caught:
        load_plan(data)
    return caught.value


def test_a_file_that_is_not_there_is_a_problem_with_a_hint(tmp_path: Path) -> None:
    """A missing file, a folder and an impossible name are all E2001 and name the reason."""
    missing = refused(tmp_path / "none.yaml")
    assert codes(missing) == ["E2001"]
    assert "No such file" in str(missing)
    assert "understudy init" in str(missing)
    assert codes(refused(tmp_path)) == ["E2001"]
    assert codes(refused(Path("a\0b"))) == ["E2001"]


def test_a_file_of_more_than_4_mib_is_not_read_on(tmp_path: Path) -> None:
    """The size is checked before anything is decoded; one byte less is judged as YAML."""
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * (SIZE_MAX + 1))
    assert codes(refused(file)) == ["E2002"]
    file.write_bytes(b"#" * SIZE_MAX)
    assert codes(refused(file)) == ["E2011"]


def test_too_many_values_end_the_reading() -> None:
    """The count of values is limited while they are read."""
    assert codes(refused(b"[" + b"a," * (NODES_MAX + 1) + b"]")) == ["E2008"]


def test_nesting_is_limited_while_it_is_read() -> None:
    """The deepest allowed nesting is judged as a value; one more is E2005, and a million more cost nothing more."""
    assert codes(refused(b"cluster: " + b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1)))[0] != "E2005"
    assert codes(refused(b"cluster: " + b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))) == ["E2005"]
    assert codes(refused(b"[" * 1_000_000)) == ["E2005"]


def test_a_laughing_file_is_refused_at_its_first_anchor() -> None:
    """Aliases are never followed, so a file cannot grow in memory."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(c)}: &{chr(c)} [{', '.join([f'*{chr(c - 1)}'] * 9)}]" for c in range(ord("b"), ord("j"))]
    assert set(codes(refused("\n".join(lines).encode()))) == {"E2006"}


def test_marks_count_characters_and_every_kind_of_line_break() -> None:
    """Lines end at CR, LF and CRLF, columns count characters and not bytes; the excerpt shows that very line."""
    for line_break in (b"\n", b"\r\n", b"\r"):
        data = line_break.join(("# 이중화".encode(), "cluster: shop # 한".encode(), "'é': {ä: 1}".encode()))
        problems = refused(data)
        unknown = next(problem for problem in problems.problems if problem.code == "E2101")
        assert (unknown.line, unknown.column) == (3, 1)
        assert problems.excerpt(unknown)[0].endswith("'é': {ä: 1}")


def test_scalars_are_text_until_a_model_reads_them() -> None:
    """What YAML 1.1 would turn into booleans, octal or sexagesimal numbers, dates and infinities stays what it is."""
    words = ["no", "010", "1:30", "2026-01-01", ".inf", "0o17", "1e3", "'null'", "'~'"]
    source = read_source(f"[{', '.join(words)}]".encode())
    assert source.root.plain() == [word.strip("'") for word in words]
    assert read_source(b"[~, null, Null]").root.plain() == [None, None, None]


def test_the_excerpt_cannot_steer_a_terminal() -> None:
    """Escapes that YAML spells out come back as the replacement character, in messages and in excerpts."""
    said = str(refused(b'cluster: "\\e[2J"\n"\\e]0;x": {}\n'))
    assert "\x1b" not in said


fragments = st.sampled_from(
    [line + b"\n" for line in PAIR.splitlines()]
    + [b"\t", b"  ", b"- ", b": ", b"{", b"}", b"[", b"]", b"'", b'"', b"&a ", b"*a ", b"? ", b"| ", b"<<: ", b"---\n"]
    + [b"\xff", b"\xef\xbb\xbf", b"\x00", b"\xc2\x85", b"!!int ", b"~", b"%YAML 1.1\n", b"0x1f", "한".encode(), b"#"]
)


def answer(data: bytes) -> Problems | None:
    """What the loader says; any other exception than Problems ends the test. A plan can tell each node its settings."""
    try:
        plan = load_plan(data)
    except Problems as problems:
        return problems
    for node in plan.nodes:
        assert plan.settings(node.name).config_digest == plan.digest
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=200), st.lists(fragments, max_size=40).map(b"".join)))
@example(PAIR)
@example(b"(:\n(")
@example(b"---")
def test_any_bytes_give_a_plan_or_problems_and_nothing_else(data: bytes) -> None:
    """The loader raises Problems or nothing; every problem has a place inside the text and can be shown."""
    problems = answer(data)
    assert problems is None or str(problems)
    for problem in problems.problems if problems else ():
        assert 0 <= problem.line <= len(problems.lines if problems else ())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(PAIR)), st.integers(0, 12), st.one_of(st.binary(max_size=4), fragments))
def test_any_small_damage_to_the_pair_gives_a_plan_or_problems(start: int, length: int, patch: bytes) -> None:
    """The same, near a good file, where the rules have something to judge."""
    problems = answer(PAIR[:start] + patch + PAIR[start + length :])
    assert problems is None or str(problems)


JUNK: list[Any] = [
    None,
    "",
    "x",
    "web1",
    "gw1",
    "inside",
    "10.9.0.1",
    "10.9.0.254",
    "fd00::1",
    "fd00::/64",
    "0.0.0.0/0",
]
JUNK += [
    "::/0",
    "1ms",
    "web1:80",
    "[::1]:80",
    "none",
    "true",
    "active-active",
    0,
    -1,
    7,
    1e300,
    True,
    "{}",
    "{message}",
]
JUNK += [
    [],
    {},
    ["10.9.0.1", "fd00::1"],
    ["gw1", "gw2", "web1"],
    {"inside": "10.9.0.9"},
    {"http": "/", "none": True},
    [[[]]],
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with every key or index in it."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(EXAMPLES), st.lists(st.tuples(st.integers(0, 200), st.sampled_from(JUNK)), min_size=1, max_size=3)
)
def test_any_wrong_value_in_a_good_file_gives_a_plan_or_problems(text: str, changes: list[tuple[int, Any]]) -> None:
    """Values of every wrong kind at every place: what one check refuses must not trip the next."""
    document = yaml.safe_load(text)
    for number, junk in changes:
        found = places(document)
        container, key = found[number % len(found)]
        container[key] = copy.deepcopy(junk)
    problems = answer(yaml.safe_dump(document, allow_unicode=True).encode())
    assert problems is None or str(problems)
