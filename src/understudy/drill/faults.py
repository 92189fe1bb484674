"""What can be done to a pair, and what physics and protocol then allow.

Faults act on the switch's side of a cable or on processes, never on a gateway's own egress: the gateway must not be
told. With the advertisement interval I and the standby's skew time (256 - priority) / 256 x I (RFC 9568, section
6.1):

* A crash falls somewhere after the last advertisement, so the take-over comes [2 I + skew, 3 I + skew] after it.
  SLACK is for the promotion itself, the switch and the scheduler.
* A frozen or killed agent's kernel carries traffic until the lease lapses, so its outage only has the upper bound.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from understudy.config.plan import Group
from understudy.drill import control
from understudy.drill.evaluate import HAND_OVER_MAX
from understudy.drill.gapcontrol import INJECTED, TOLERANCE, GapControl
from understudy.drill.judge import Bound
from understudy.drill.stage import routes
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NetworkName, NodeName

SLACK: Duration = 25 * MILLISECOND
MEASURING_ERROR: Duration = 5 * MILLISECOND
LINK_DOWN_MAX: Duration = 50 * MILLISECOND
SWITCHOVER_LOST_MAX = 20
_DARK_MIN: Duration = 2 * SECOND
_START: Duration = 2 * SECOND
"""What a cold start of an agent may take, over its protocol's own timers."""
UNKNOWN_FAULT = "E6402"


@dataclass(frozen=True, slots=True)
class Timing:
    """The group's timers, for bounds."""

    interval: Duration
    skew: Duration
    """Of the standby."""

    @property
    def takeover_min(self) -> Duration:
        return 2 * self.interval + self.skew

    @property
    def takeover_max(self) -> Duration:
        return 3 * self.interval + self.skew


def timing_of(group: Group) -> Timing:
    """The timers after the worst standby's priority."""
    lowest = min(group.priorities.values())
    return Timing(group.advertise, (256 - lowest) * group.advertise // 256)


@dataclass(frozen=True, slots=True)
class Strike:
    """One occasion: the lab and whom the fault hits."""

    lab: Lab
    group: Group
    active: NodeName
    standby: NodeName
    network: NetworkName
    """The LAN that a link fault strikes: the runs take turns."""
    gap: GapControl | None = None

    @property
    def run_dir(self) -> Path:
        """Of the active."""
        return self.lab.run_dir(self.active)


def _nothing(_: Strike) -> None:
    """Nothing to heal."""


def _now() -> Instant:
    return Instant(time.monotonic_ns())


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `inject` returns the instant just before the fault came into force."""

    name: str
    sentence: str
    inject: Callable[[Strike], Instant]
    bound: Callable[[Timing], Bound]
    heal: Callable[[Strike], object] = _nothing
    heal_after: Callable[[Timing], Duration] | None = None
    """The pair cannot recover by itself: heal this long after the fault, within the measurement."""
    double: bool = False
    """Two failures at once: objectives are promised for one, so they are shown but not part of the verdict."""
    downs: str = ""
    """What it makes of the struck agent, for the timeline: `off`, `killed` or `frozen`."""
    downs_both: bool = False
    crash: bool = False
    """The struck agent cannot know, so the phase of the advertisement interval matters."""
    on_lan: bool = False
    """Strikes one LAN."""
    control: bool = False
    """Checks the measurement, not the pair."""


def _crash(timing: Timing) -> Bound:
    return Bound(
        "2 I + skew to 3 I + skew, and 25 ms",
        outage_min=timing.takeover_min - MEASURING_ERROR,
        outage_max=timing.takeover_max + SLACK,
        role_changes_max=1,
    )


def _silenced(timing: Timing) -> Bound:
    return Bound(
        "at most 3 I + skew and 25 ms; never two nodes answering",
        outage_max=timing.takeover_max + SLACK,
        role_changes_max=2,
    )


def dark_time(timing: Timing) -> Duration:
    """How long `both-agents-kill` leaves the pair without any agent: the last lease must have lapsed by far."""
    return max(_DARK_MIN, 4 * timing.interval + SECOND)


def _both(timing: Timing) -> Bound:
    return Bound(
        "no agent, no answers after one lease of 3 I; back 3 I + skew after a first agent has started",
        outage_max=dark_time(timing) + _START + timing.takeover_max,
        silent_max=3 * timing.interval + SLACK,
    )


def _restart(_: Timing) -> Bound:
    return Bound("nothing lost, no role changes", packets_lost_max=0, role_changes_max=0)


def _link_down(_: Timing) -> Bound:
    return Bound(
        "50 ms, one role change a node", outage_max=LINK_DOWN_MAX, overlap_max=HAND_OVER_MAX, role_changes_max=1
    )


def _link_silent(timing: Timing) -> Bound:
    return Bound(
        "4 I, one role change a node", outage_max=4 * timing.interval, overlap_max=HAND_OVER_MAX, role_changes_max=1
    )


def _switchover(_: Timing) -> Bound:
    return Bound(
        "median 0, worst 20 packets lost; both answer for at most 20 ms",
        packets_lost_max=SWITCHOVER_LOST_MAX,
        packets_lost_median=0,
        overlap_max=HAND_OVER_MAX,
        role_changes_max=1,
    )


def _quiet(_: Timing) -> Bound:
    return Bound("nothing happens", outage_max=MEASURING_ERROR, packets_lost_max=0, role_changes_max=0)


def _injected(_: Timing) -> Bound:
    return Bound(
        f"{INJECTED // MILLISECOND} ms, measured within {TOLERANCE // MILLISECOND} ms",
        outage_min=INJECTED - TOLERANCE,
        outage_max=INJECTED + TOLERANCE,
        role_changes_max=0,
    )


def _kill_core(strike: Strike) -> Instant:
    path = strike.run_dir / "core.pid"
    try:
        core = int(path.read_text())
        before = _now()
        os.kill(core, signal.SIGKILL)
    except (OSError, ValueError) as error:
        raise EnvironmentFailure("kill", f"the core named in {path}", str(error)) from error
    return before


def _kill_both(strike: Strike) -> Instant:
    before = strike.lab.kill_agent(strike.active)
    strike.lab.kill_agent(strike.standby)
    return before


def _start_both(strike: Strike) -> None:
    strike.lab.start_agent(strike.active)
    strike.lab.start_agent(strike.standby)


def _switch_over(strike: Strike) -> Instant:
    before = _now()
    reply = control.ask(strike.run_dir, {"command": "switchover", "group": strike.group.name})
    if reply.get("error"):
        raise EnvironmentFailure("switch over", strike.group.name, str(reply["error"]))
    return before


def _inject_gap(strike: Strike) -> Instant:
    assert strike.gap is not None, "the run prepares the control before it strikes"
    before = _now()
    strike.gap.inject(INJECTED)
    return before


def gap_control(lab: Lab, group: Group) -> GapControl:
    """The control ready to strike: at the ports of the hosts that datagrams enter the switches from."""
    ports = [
        port.switch_port
        for route in routes(lab, group)
        for host in (route.outside, route.inside)
        for port in host.ports
    ]
    return GapControl(lab.switch, list(dict.fromkeys(ports)))


_FAULTS = (
    Fault(
        "node-power-loss",
        "The active node loses its power: all its links fall silent and all its processes are gone in one instant.",
        inject=lambda s: s.lab.power_off(s.active),
        heal=lambda s: s.lab.power_on(s.active),
        downs="off",
        bound=_crash,
        crash=True,
    ),
    Fault(
        "agent-kill",
        "All processes of the active node's agent are killed and stay dead; its kernel and its links live on.",
        inject=lambda s: s.lab.kill_agent(s.active),
        heal=lambda s: s.lab.start_agent(s.active),
        downs="killed",
        bound=_silenced,
        crash=True,
    ),
    Fault(
        "agent-freeze",
        "All processes of the active node's agent stop, as on a starved or paused machine; its kernel lives on.",
        inject=lambda s: s.lab.freeze_agent(s.active),
        heal=lambda s: s.lab.thaw_agent(s.active),
        downs="frozen",
        bound=_silenced,
        crash=True,
    ),
    Fault(
        "agent-restart",
        "The core of the active node's agent is killed; its supervisor forks it anew, which adopts the kernel's state.",
        inject=_kill_core,
        bound=_restart,
        crash=True,
    ),
    Fault(
        "both-agents-kill",
        "The agents of both nodes are killed for good; an operator starts them again seconds later.",
        inject=_kill_both,
        heal=_start_both,
        heal_after=dark_time,
        downs="killed",
        downs_both=True,
        double=True,
        bound=_both,
        crash=True,
    ),
    Fault(
        "link-down",
        "The active node's cable to one LAN is pulled: its port loses the carrier.",
        inject=lambda s: s.lab.link_down(s.active, s.network),
        heal=lambda s: s.lab.link_up(s.active, s.network),
        bound=_link_down,
        on_lan=True,
    ),
    Fault(
        "link-silent",
        "The active node's cable to one LAN carries nothing any more, both ways, while the carrier stays.",
        inject=lambda s: s.lab.cut(s.active, s.network),
        heal=lambda s: s.lab.heal(s.active, s.network),
        bound=_link_silent,
        crash=True,
        on_lan=True,
    ),
    Fault(
        "switchover",
        "The operator moves the group to the other node; nothing is broken.",
        inject=_switch_over,
        bound=_switchover,
    ),
    Fault(
        "none",
        "Control: nothing is done, so nothing may be measured.",
        inject=lambda _: _now(),
        bound=_quiet,
        control=True,
    ),
    Fault(
        "injected-gap",
        f"Control: the switch drops all datagrams for {INJECTED // MILLISECOND} ms, which must be what is measured.",
        inject=_inject_gap,
        bound=_injected,
        control=True,
    ),
)

FAULTS = {fault.name: fault for fault in _FAULTS}


def by_name(name: str) -> Fault:
    """The row of the table. Raises OperatorError E6402 with all names."""
    if name not in FAULTS:
        raise OperatorError(UNKNOWN_FAULT, f"there is no fault {name!r}", f"one of {', '.join(FAULTS)}")
    return FAULTS[name]


def settle_time(fault: Fault, timing: Timing) -> Duration:
    """How long after the fault its effects may still begin: a lease lapses and timers run out within this."""
    if fault.control:
        return INJECTED + SECOND // 2
    longest = 4 * timing.interval + timing.skew + 100 * MILLISECOND
    return longest + (fault.heal_after(timing) if fault.heal_after else 0)
