"""`understudy explain FILE --table` as a person and a script use it."""

import json
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from understudy.cli import explain as command
from understudy.cli.table import CONDITIONS, TOGETHER, when
from understudy.core.decision import TABLE
from understudy.core.forced import FORCED

PAIR = str(Path(__file__).parents[2] / "examples" / "pair.yaml")


def run(*arguments: str) -> Any:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_a_script_reads_every_row_with_the_figures_of_the_file() -> None:
    """`rows[]`: the names, who holds, within how many milliseconds, and both languages."""
    result = run(PAIR, "--table", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["groups"] == [{"group": "edge", "advertise_ms": 100.0, "skew_ms": 6.25}]
    rows = {row["name"]: row for row in document["rows"]}
    assert list(rows) == [row.name for row in (*TABLE, *FORCED)]
    assert rows["takes-over"]["bound_ms"] == 306.25
    assert rows["takes-over-asking"]["bound_ms"] == 356.25
    assert rows["takes-over"]["conditions"] == {}
    assert rows["peer-reaches-more"]["conditions"] == {
        "peer": ["ready", "asking", "unsynced"],
        "reaches": ["less"],
        "settled": [True],
    }
    for row in document["rows"]:
        assert {"holds", "answers_meanwhile", "sentence", "sentence_ko", "lab", "group", "kind"} <= set(row)


def test_without_a_file_the_table_has_bounds_but_no_milliseconds() -> None:
    """The table is the same for everybody; the figures are a file's."""
    document = json.loads(run("--table", "--json").stdout)
    assert {row["bound_ms"] for row in document["rows"]} == {None}
    assert "3 intervals + skew" in {row["bound"] for row in document["rows"]}


def test_a_person_reads_it_in_either_language() -> None:
    """Every row's name and sentence, with the bound of this file."""
    english, korean = run(PAIR, "--table"), run(PAIR, "--table", "--lang", "ko")
    for row in (*TABLE, *FORCED):
        assert row.name in english.stdout
        assert row.sentence in english.stdout
        assert row.korean in korean.stdout
    assert "within 3 intervals + skew = 306.25 ms" in english.stdout
    assert "3 간격 + skew = 306.25 ms 안에" in korean.stdout


def test_every_condition_has_words() -> None:
    """A new value of a situation that a row wants is not printed as code."""
    for row in TABLE:
        assert when(row, "en")
        assert when(row, "ko")
    wanted = {(name, value) for row in TABLE for name, values in row.wants.items() for value in values}
    assert {pair for pair in wanted if pair not in CONDITIONS} == set()
    assert {tuple(values) for values in TOGETHER} <= {values for row in TABLE for values in row.wants.values()}


def test_what_cannot_be_shown_ends_with_1() -> None:
    """With a code and a sentence."""
    for arguments in (("/nowhere.yaml", "--table"), (PAIR, "--table", "--lang", "fr")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "Traceback" not in result.output
