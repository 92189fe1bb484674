"""Every test here speaks with other people's daemons."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def daemons(peers: None) -> None:
    """They are there, or nothing of this folder is tried."""
