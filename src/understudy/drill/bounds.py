"""What each fault may cost, in figures and in words.

SLACK is for the promotion itself, the switch and the scheduler.
"""

from understudy.drill.evaluate import HAND_OVER_MAX
from understudy.drill.fault import Timing
from understudy.drill.gapcontrol import INJECTED, TOLERANCE
from understudy.drill.judge import Bound
from understudy.units import MILLISECOND, SECOND, Duration

SLACK: Duration = 25 * MILLISECOND
MEASURING_ERROR: Duration = 5 * MILLISECOND
LINK_DOWN_MAX: Duration = 50 * MILLISECOND
REPAIR_MAX: Duration = 100 * MILLISECOND
"""From a change behind our back to its repair."""
SWITCHOVER_LOST_MAX = 20
AGENT_START: Duration = 2 * SECOND
"""What a cold start of an agent may take, over its protocol's own timers."""
UNTIMED: Duration = 50 * MILLISECOND
"""Probes may be so late where packets and roles are counted but no time is judged to the millisecond. The start of an
agent alone can hold up a whole virtual machine for ten and more: the kernel patches its own code for new hooks.
"""
_DARK_MIN: Duration = 2 * SECOND


def crash(timing: Timing) -> Bound:
    return Bound(
        "2 I + skew to 3 I + skew, and 25 ms",
        outage_min=timing.takeover_min - MEASURING_ERROR,
        outage_max=timing.takeover_max + SLACK,
        role_changes_max=1,
    )


def silenced(timing: Timing) -> Bound:
    return Bound(
        "at most 3 I + skew and 25 ms; never two nodes answering",
        outage_max=timing.takeover_max + SLACK,
        role_changes_max=2,
    )


def waived(timing: Timing) -> Bound:
    return Bound(
        "at most 3 I + skew, the gate's deadline and 25 ms; the waiver recorded with its reason",
        outage_max=timing.takeover_max + timing.gate + SLACK,
        role_changes_max=1,
        late_max=UNTIMED,
    )


def dark_time(timing: Timing) -> Duration:
    """How long `both-agents-kill` leaves the pair without any agent: the last lease must have lapsed by far."""
    return max(_DARK_MIN, 4 * timing.interval + SECOND)


def both_dead(timing: Timing) -> Bound:
    return Bound(
        "no agent, no answers after one lease of 3 I; back 3 I + skew after a first agent has started",
        outage_max=dark_time(timing) + AGENT_START + timing.takeover_max,
        late_max=UNTIMED,
        silent_max=3 * timing.interval + SLACK,
    )


def untouched(_: Timing) -> Bound:
    return Bound("nothing lost, no role changes", packets_lost_max=0, role_changes_max=0, late_max=UNTIMED)


def unmoved(_: Timing) -> Bound:
    return Bound("no role changes; what is lost is counted", role_changes_max=0, late_max=UNTIMED)


def link_down(_: Timing) -> Bound:
    return Bound(
        "50 ms, one role change a node", outage_max=LINK_DOWN_MAX, overlap_max=HAND_OVER_MAX, role_changes_max=1
    )


def flapping(_: Timing) -> Bound:
    return Bound(
        "50 ms, at most two role changes a node however often the link flaps",
        outage_max=LINK_DOWN_MAX,
        overlap_max=HAND_OVER_MAX,
        role_changes_max=2,
    )


def link_silent(timing: Timing) -> Bound:
    return Bound(
        "4 I, one role change a node", outage_max=4 * timing.interval, overlap_max=HAND_OVER_MAX, role_changes_max=1
    )


def handed_over(_: Timing) -> Bound:
    return Bound(
        "median 0, worst 20 packets lost; both answer for at most 20 ms",
        packets_lost_max=SWITCHOVER_LOST_MAX,
        packets_lost_median=0,
        overlap_max=HAND_OVER_MAX,
        role_changes_max=1,
    )


def taken_back(_: Timing) -> Bound:
    return Bound(
        "one role change a node, by hand-over: worst 20 packets lost, both answer for at most 20 ms",
        packets_lost_max=SWITCHOVER_LOST_MAX,
        overlap_max=HAND_OVER_MAX,
        role_changes_min=1,
        role_changes_max=1,
        late_max=UNTIMED,
    )


def parted(timing: Timing, duration: Duration) -> Bound:
    """Two nodes and no path between them: neither can know that the other lives."""
    return Bound(
        "both serve until the heal and both answer meanwhile, which is allowed; one is left within 2 I of it",
        outage_max=duration + timing.takeover_max + SLACK,
        dual_answer_min=max(0, duration - timing.takeover_max - 10 * SLACK),
        dual_answer_max=duration + 2 * timing.interval + SLACK,
        role_changes_min=1,
        role_changes_max=2,
        late_max=UNTIMED,
    )


def repaired(_: Timing) -> Bound:
    return Bound(
        "repaired within 100 ms, no connection reset, no role changes",
        outage_max=REPAIR_MAX + SLACK,
        tcp_reset_max=0,
        role_changes_max=0,
    )


def believed(timing: Timing, duration: Duration) -> Bound:
    """VRRP knows nobody: who says that it ranks first may be let in front."""
    return Bound(
        "nobody need serve while it lasts; back 3 I + skew after it; never two nodes answering",
        outage_max=duration + timing.takeover_max + 10 * SLACK,
        role_changes_max=2,
    )


def quiet(_: Timing) -> Bound:
    return Bound("nothing happens", outage_max=MEASURING_ERROR, packets_lost_max=0, role_changes_max=0)


def injected(_: Timing) -> Bound:
    return Bound(
        f"{INJECTED // MILLISECOND} ms, measured within {TOLERANCE // MILLISECOND} ms",
        outage_min=INJECTED - TOLERANCE,
        outage_max=INJECTED + TOLERANCE,
        role_changes_max=0,
    )
