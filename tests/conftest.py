"""What tests of several folders need of this machine."""

import contextlib
import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

_FETCH = Path(__file__).resolve().parents[1] / "scripts/peers"
_FETCH_S = 100
"""Below pytest's own limit of a test, which would not say the way to mend it."""
_MODULES = ("nf_nat_ftp", "nf_nat_tftp")


@pytest.fixture(scope="session")
def peers() -> None:
    """Other people's programs below `.peers/`, fetched if need be: the daemons we are tried against, ssh, ftp.

    Only an ordinary user on a machine without a package mirror may go without them; as root it fails and says the way.
    """
    try:
        done = subprocess.run([_FETCH], capture_output=True, text=True, check=False, timeout=_FETCH_S)
    except subprocess.TimeoutExpired:
        said = f"scripts/peers took longer than {_FETCH_S} s"
    else:
        if done.returncode == 0:
            return
        said = done.stderr.strip() or f"scripts/peers ended with {done.returncode}"
    _missing(said, "give this machine a Debian 12 mirror (apt-get update) and run scripts/peers")


@pytest.fixture(scope="session")
def helpers() -> None:
    """The kernel's helpers of FTP and TFTP with their translation; root has them loaded, an ordinary user cannot."""
    if os.geteuid() == 0 and _not_loaded():
        with contextlib.suppress(OSError):  # no modprobe here: what counts is what the kernel has
            subprocess.run(["modprobe", "-a", *_MODULES], capture_output=True, check=False, timeout=_FETCH_S)
    if missing := _not_loaded():
        _missing(f"this kernel has no {' and no '.join(missing)}", f"modprobe -a {' '.join(_MODULES)}")


def _not_loaded() -> list[str]:
    """Built in or loaded, a module's own functions are among the kernel's symbols."""
    symbols = Path("/proc/kallsyms").read_text()
    return [name for name in _MODULES if name not in symbols]


def _missing(said: str, way: str) -> NoReturn:
    if os.geteuid() != 0:
        pytest.skip(said)
    pytest.fail(f"{said}\nto mend: {way}", pytrace=False)
