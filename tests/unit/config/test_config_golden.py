"""Bad files and what the operator reads about them; good files that have to stay good.

`UNDERSTUDY_GOLDEN_UPDATE=1 pytest tests/unit/config` writes the expected messages anew: read the difference before
keeping it.
"""

import os
from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.config.codes import CODES
from understudy.config.problems import Problems

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "config"
BAD_FILES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
GOOD_FILES = sorted((ROOT / "examples").glob("*.yaml"))

ELSEWHERE = {
    "E2001": "test_config_load: a file that is not there",
    "E2002": "test_config_load: a file of more than 4 MiB",
    "E2008": "test_config_load: a file of too many values",
    "E2307": "test_config_rules: a long file",
    "E2410": "test_config_rules: a long file",
    "E2701": "test_config_key",
    "E2702": "test_config_key",
    "E2703": "test_config_key",
    "E2704": "test_config_key",
    "E2705": "test_config_commands",
    "E2706": "test_config_key",
}
"""Codes whose bad file would be too large to keep, or is no file of this language."""


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_answered_with_exactly_these_messages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem of the file, in the order of its lines, with code, place, sentence, hint and the line itself."""
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(Problems) as caught:
        load_plan(Path(f"{name}.yaml"))
    said = f"{caught.value}\n"
    expected = GOLDEN / f"{name}.txt"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_there_are_enough_bad_files_and_no_orphans() -> None:
    """At least 60 bad files, each with its messages and no messages without a file."""
    assert len(BAD_FILES) >= 60
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == BAD_FILES


def test_every_code_has_a_bad_file() -> None:
    """No code is in the table that no test shows, and none is shown that is not in the table."""
    shown = {
        line.split()[0]
        for path in GOLDEN.glob("*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("E2")
    }
    assert shown | ELSEWHERE.keys() == CODES.keys()
    assert not shown & ELSEWHERE.keys()


@pytest.mark.parametrize("path", GOOD_FILES, ids=lambda path: path.stem)
def test_an_example_passes_every_check(path: Path) -> None:
    """The examples are right."""
    assert load_plan(path).nodes


def test_the_pair_fits_in_forty_lines() -> None:
    """The demo's pair is described in at most 40 lines."""
    assert len((ROOT / "examples" / "pair.yaml").read_text(encoding="utf-8").splitlines()) <= 40
