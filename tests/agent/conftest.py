"""The lab that a module's stories share: of the file that the module names."""

from collections.abc import Iterator

import pytest
from agent_worlds import LabOfModule, lab_of


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[LabOfModule]:
    with lab_of(request.module.TEXT) as made:
        yield made
