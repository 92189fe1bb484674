"""What tests of several folders need of this machine."""

import os
import subprocess
from pathlib import Path

import pytest

_FETCH = Path(__file__).resolve().parents[1] / "scripts/peers"
_FETCH_S = 150


@pytest.fixture(scope="session")
def peers() -> None:
    """Other people's programs below `.peers/`, fetched if need be: the daemons we are tried against, ssh, ftp.

    Only an ordinary user on a machine without a package mirror may go without them; as root it fails and says the way.
    """
    done = subprocess.run([_FETCH], capture_output=True, text=True, check=False, timeout=_FETCH_S)
    if done.returncode == 0:
        return
    said = done.stderr.strip() or f"scripts/peers ended with {done.returncode}"
    if os.geteuid() != 0:
        pytest.skip(said)
    pytest.fail(
        f"{said}\nto mend: give this machine a Debian 12 mirror (apt-get update) and run scripts/peers", pytrace=False
    )
