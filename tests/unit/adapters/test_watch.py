"""Who changed something, as far as the kernel tells."""

import os
from pathlib import Path

from understudy.adapters import watch


def test_a_process_whose_name_is_cut_within_a_character_has_one_nevertheless() -> None:
    """The kernel keeps 15 bytes of a name: five Korean characters and nothing of a sixth, or part of it."""
    comm = Path("/proc/self/comm")
    before = comm.read_bytes()
    comm.write_bytes(b"x" + "방화벽관리".encode()[:14])
    try:
        assert watch._process(os.getpid()) == f"x방화벽관\N{REPLACEMENT CHARACTER} (pid {os.getpid()})"
    finally:
        comm.write_bytes(before)
