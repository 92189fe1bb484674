"""Stories that a real kernel takes part in, each in a private world of namespaces."""

import subprocess
from collections.abc import Callable
from typing import TypeVar

from understudy.lab import sandbox

T = TypeVar("T")


def in_sandbox(story: Callable[[], T]) -> T:
    """Run `story` as root of its own network; what it returns or raises comes back."""
    return sandbox.run(story)


def shell(text: str) -> str:
    """Carry out each line; the output of the last."""
    output = ""
    for line in text.strip().splitlines():
        done = subprocess.run(line.split(), check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{line.strip()}: {done.stderr}"
        output = done.stdout
    return output
