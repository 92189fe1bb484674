"""Hostile stories are told in the lab of the agents' stories: one for the modules that name a file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "agent"))

from agent_worlds import LabOfModule, lab_of


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[LabOfModule]:
    with lab_of(request.module.TEXT) as made:
        yield made
