"""The lab that a module's stories share: of the file that the module names, with agents of its own if it has any."""

from collections.abc import Iterator

import pytest
from agent_worlds import LabOfModule, lab_of

from understudy.lab.build import run_agent


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[LabOfModule]:
    with lab_of(request.module.TEXT, getattr(request.module, "agent_main", run_agent)) as made:
        yield made
