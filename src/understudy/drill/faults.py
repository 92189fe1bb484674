"""The table of faults: by name, as the file and the command line set them."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace

from understudy.config import drills
from understudy.config.drills import Value, Values
from understudy.config.plan import Group
from understudy.drill import agents, bounds, cables, flood, flowfaults, meddling, misconfigured, tablefaults
from understudy.drill.bounds import SLACK, dark_time
from understudy.drill.fault import Fault, Strike, Timing, now, timing_of
from understudy.drill.gapcontrol import INJECTED, GapControl
from understudy.drill.stage import routes
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.units import MILLISECOND, SECOND, Duration, Instant

__all__ = [
    "FAULTS",
    "SLACK",
    "Fault",
    "Strike",
    "Timing",
    "by_name",
    "configure",
    "dark_time",
    "settle_time",
    "timing_of",
]

UNKNOWN_FAULT = "E6402"


def _kill_core(strike: Strike) -> Instant:
    path = strike.run_dir / "core.pid"
    try:
        core = int(path.read_text())
        before = now()
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


def _gap_control(strike: Strike) -> GapControl:
    """The control ready to strike: at the ports of the hosts that datagrams enter the switches from."""
    ports = [
        port.switch_port
        for route in routes(strike.lab, strike.group)
        for host in (route.outside, route.inside)
        for port in host.ports
    ]
    return GapControl(strike.lab.switch, list(dict.fromkeys(ports)))


def _inject_gap(strike: Strike) -> Instant:
    assert isinstance(strike.tool, GapControl)
    before = now()
    strike.tool.inject(INJECTED)
    return before


_FIXED = (
    Fault(
        "node-power-loss",
        "The active node loses its power: all its links fall silent and all its processes are gone in one instant.",
        inject=lambda s: s.lab.power_off(s.active),
        heal=lambda s: s.lab.power_on(s.active),
        downs="off",
        bound=bounds.crash,
        crash=True,
    ),
    Fault(
        "agent-kill",
        "All processes of the active node's agent are killed and stay dead; its kernel and its links live on.",
        inject=lambda s: s.lab.kill_agent(s.active),
        heal=lambda s: s.lab.start_agent(s.active),
        downs="killed",
        bound=bounds.silenced,
        crash=True,
    ),
    Fault(
        "agent-freeze",
        "All processes of the active node's agent stop, as on a starved or paused machine; its kernel lives on.",
        inject=lambda s: s.lab.freeze_agent(s.active),
        heal=lambda s: s.lab.thaw_agent(s.active),
        downs="frozen",
        bound=bounds.silenced,
        crash=True,
    ),
    Fault(
        "agent-restart",
        "The core of the active node's agent is killed; its supervisor forks it anew, which adopts the kernel's state.",
        inject=_kill_core,
        bound=bounds.untouched,
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
        bound=bounds.both_dead,
        crash=True,
    ),
    Fault(
        "link-down",
        "The active node's cable to one LAN is pulled: its port loses the carrier.",
        inject=lambda s: s.lab.link_down(s.active, s.network),
        heal=lambda s: s.lab.link_up(s.active, s.network),
        bound=bounds.link_down,
        on_lan=True,
    ),
    Fault(
        "link-silent",
        "The active node's cable to one LAN carries nothing any more, both ways, while the carrier stays.",
        inject=lambda s: s.lab.cut(s.active, s.network),
        heal=lambda s: s.lab.heal(s.active, s.network),
        bound=bounds.link_silent,
        crash=True,
        on_lan=True,
    ),
    Fault(
        "switchover",
        "The operator moves the group to the other node; nothing is broken.",
        inject=agents.switch_over,
        heal=agents.move_back,
        bound=bounds.handed_over,
    ),
    Fault(
        "none",
        "Control: nothing is done, so nothing may be measured.",
        inject=lambda _: now(),
        bound=bounds.quiet,
        control=True,
    ),
    Fault(
        "injected-gap",
        f"Control: the switch drops all datagrams for {INJECTED // MILLISECOND} ms, which must be what is measured.",
        prepare=_gap_control,
        inject=_inject_gap,
        bound=bounds.injected,
        control=True,
    ),
)
"""Those about which nothing can be set."""

_MADE: Mapping[str, Callable[[Values], Fault]] = {
    "agent-pause": agents.agent_pause,
    "cpu-starve": agents.cpu_starve,
    "slow-kernel": agents.slow_kernel,
    "clock-step": agents.clock_step,
    "disk-full": agents.disk_full,
    "node-return": agents.node_return,
    "one-way-loss": cables.one_way_loss,
    "packet-loss": cables.packet_loss,
    "packet-corrupt": cables.packet_corrupt,
    "partition": cables.partition,
    "flap": cables.flap,
    "rules-flushed": meddling.rules_flushed,
    "address-deleted": meddling.address_deleted,
    "peer-misconfigured": misconfigured.peer_misconfigured,
    "hostile-flood": flood.hostile_flood,
    "sync-loss": flowfaults.sync_loss,
    "sync-path-flap": flowfaults.sync_path_flap,
    "flows-kill": flowfaults.flows_kill,
    "flows-freeze": flowfaults.flows_freeze,
    "standby-stale": flowfaults.standby_stale,
    "event-overrun": tablefaults.event_overrun,
    "conntrack-full": tablefaults.conntrack_full,
}

_BY_NAME = {fault.name: fault for fault in _FIXED}


def configure(name: str, values: Values, group: Group | None = None) -> Fault:
    """The fault with these values in place of its defaults. Raises OperatorError E6402 with all names.

    With the group that it is to strike, `as-is` becomes what the file says.
    """
    if name not in drills.DRILLS:
        raise OperatorError(UNKNOWN_FAULT, f"there is no fault {name!r}", f"one of {', '.join(drills.DRILLS)}")
    whole: dict[str, Value] = {**drills.defaults(name), **values}
    if group is not None and whole.get("preempt") == "as-is":
        whole["preempt"] = "on" if group.preempt else "off"
    if name in _BY_NAME:
        return _BY_NAME[name]
    return replace(_MADE[name](whole), parameters=whole)


FAULTS = {name: configure(name, {}) for name in drills.DRILLS}


def by_name(name: str) -> Fault:
    """The row of the table, with its defaults. Raises OperatorError E6402 with all names."""
    return configure(name, {}) if name not in FAULTS else FAULTS[name]


def settle_time(fault: Fault, timing: Timing) -> Duration:
    """How long after the fault its effects may still begin: a lease lapses and timers run out within this."""
    if fault.control:
        return INJECTED + SECOND // 2
    longest = 4 * timing.interval + timing.skew + 100 * MILLISECOND
    healed = fault.heal_after(timing) if fault.heal_after else 0
    return longest + healed + (fault.lasts(timing) if fault.lasts else 0)
