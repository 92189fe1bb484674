"""Random faults of all kinds: no invariant is violated while they last, and everything works after they healed."""

from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.sim.simulate import simulate
from understudy.units import MILLISECOND, SECOND, Duration

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "examples" / "pair.yaml"
TWO_GROUPS = b"""\
cluster: twins
networks:
  outside: [203.0.113.0/24, 2001:db8:1::/64]
  inside: [10.9.0.0/24, 2001:db8:2::/64]
nodes:
  gw1: {outside: [203.0.113.1, "2001:db8:1::1"], inside: [10.9.0.1, "2001:db8:2::1"]}
  gw2: {outside: [203.0.113.2, "2001:db8:1::2"], inside: [10.9.0.2, "2001:db8:2::2"]}
redundancy:
  edge:
    mode: active-standby
    nodes: [gw1, gw2]
    addresses: {outside: [203.0.113.10, "2001:db8:1::a"], inside: [10.9.0.254, "2001:db8:2::a"]}
    advertise: 100ms
  mail:
    mode: active-standby
    nodes: [gw2, gw1]
    addresses: {outside: 203.0.113.20}
    advertise: 200ms
    preempt: true
"""


def run_seeds(file: Path | bytes, advertise: Duration | None, seeds: range, seconds: float) -> None:
    plan = load_plan(file, advertise)
    for seed in seeds:
        outcome = simulate(plan, seed, seconds)
        broken = outcome.broken
        assert broken is None, f"seed {seed}: {broken.invariant}: {broken.message}\n" + "\n".join(broken.trace)
        assert outcome.simulated_ns == seconds * SECOND


@pytest.mark.parametrize("seeds", [range(first, first + 10) for first in range(0, 40, 10)], ids=str)
def test_the_example_pair_survives_ten_minutes_of_faults(seeds: range) -> None:
    """Forty seeds of 600 s at 100 ms, an hour and more of faults each ten seeds."""
    run_seeds(PAIR, None, seeds, 600)


def test_the_pair_survives_at_the_slowest_usual_interval() -> None:
    """At 1 s every fixed time of the design (deadlines, hold-down) lies differently between the intervals."""
    run_seeds(PAIR, SECOND, range(20), 600)


def test_the_pair_survives_at_the_fastest_interval_of_the_bench() -> None:
    """At 50 ms a kernel's tick and a hand-over are no longer small beside an interval."""
    run_seeds(PAIR, 50 * MILLISECOND, range(4), 300)


def test_two_groups_of_both_families_with_preemption_survive() -> None:
    """Four virtual routers a group, opposite priorities, one group that goes home by itself."""
    run_seeds(TWO_GROUPS, None, range(8), 300)


def test_a_pair_that_goes_home_survives() -> None:
    """Preemption, with hold-down between the windows: the node of the higher priority may come back minutes later."""
    file = PAIR.read_text().replace("advertise: 100ms", "advertise: 100ms\n    preempt: true").encode()
    run_seeds(file, None, range(6), 300)


def test_the_smallest_pair_survives() -> None:
    """One LAN: whoever loses its port loses the channel with it."""
    run_seeds(ROOT / "examples" / "one-network.yaml", None, range(12), 600)
