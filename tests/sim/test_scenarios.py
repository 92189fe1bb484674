"""Stories that once went wrong, or that the product promises, replayed from their files."""

from pathlib import Path

import pytest

from understudy.sim.scenario import play

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "tests" / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_story_goes_as_its_file_tells(path: Path) -> None:
    """Every expectation of the file holds, and no invariant is violated on the way."""
    wrong = list(play(path, ROOT / "examples" / "pair.yaml"))
    assert not wrong, "\n".join(wrong)


def test_there_are_stories() -> None:
    """The glob finds them: an empty parametrisation would pass silently."""
    assert len(SCENARIOS) >= 12
