"""Hostile stories are told in the lab of the agents' stories: one for each module that names a file, with agents of its
own if it has any.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "agent"))

from agent_worlds import LabOfModule, lab_of

from understudy.lab.build import run_agent


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[LabOfModule]:
    with lab_of(request.module.TEXT, getattr(request.module, "agent_main", run_agent)) as made:
        yield made
