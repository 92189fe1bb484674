"""Packets and configurations by chance: `nat explain` says beforehand what the kernel does."""

import pytest
from nattraffic import agreed

from understudy.lab import sandbox

PACKETS = 10


@pytest.mark.parametrize("seeds", [range(1000, 1004), range(1004, 1008)], ids=str)
def test_what_is_explained_is_what_the_kernel_does(seeds: range) -> None:
    for seed in seeds:
        fine, wrong = sandbox.run(lambda seed=seed: agreed(seed, PACKETS))  # type: ignore[misc]  # bound at once
        assert (fine, wrong) == (PACKETS, []), wrong


def test_a_router_that_has_other_lines_is_found_out() -> None:
    """Control: one more static entry, for whoever the packets come from, and the explanation is wrong."""
    more = "ip nat inside source static network 10.1.0.0 198.18.40.0 /24\n"
    fine, wrong = sandbox.run(lambda: agreed(1000, PACKETS, more))
    assert fine < PACKETS
    assert wrong
