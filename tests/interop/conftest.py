"""The daemons must be here: scripts/setup fetches them."""

import os

import foreign
import pytest


@pytest.fixture(scope="session", autouse=True)
def daemons() -> None:
    """Fetched if need be. Only an ordinary user on a machine without a package mirror may go without them."""
    reason = foreign.missing()
    if reason and os.geteuid() != 0:
        pytest.skip(reason)
    assert not reason, reason
