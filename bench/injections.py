"""The faults of the comparison: the drill's own, done to whoever's pair, and what each needs before and after."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from contenders import Contender

from understudy.config.plan import Plan
from understudy.drill.faults import Timing, timing_of
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NodeName


@dataclass(frozen=True, slots=True)
class Scene:
    """Whom a fault strikes."""

    lab: Lab
    contender: Contender
    plan: Plan
    active: NodeName
    standby: NodeName
    network: str


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    inject: Callable[[Scene], Instant]
    """Returns the instant just before the fault came into force."""
    watch: Callable[[Timing], Duration]
    """How long after the fault its effects may still begin."""
    phase_matters: bool = False
    on_lan: bool = False
    strikes_standby: bool = False
    prepare: Callable[[Scene], Scene | None] = lambda _: None
    """Before the probes begin. May change whom the strike is about."""
    restart: bool = True
    """Whether the struck node gets a fresh kernel afterwards."""


def _switch_over(scene: Scene) -> Instant:
    assert scene.contender.switch_over is not None, "the plan leaves these runs out"
    before = Instant(time.monotonic_ns())
    scene.contender.switch_over(scene.lab, scene.plan.groups[0], scene.active)
    return before


def _return(scene: Scene) -> Instant:
    before = Instant(time.monotonic_ns())
    for port in scene.lab.topology.host(scene.standby).ports:
        scene.lab.heal(scene.standby, port.network)
    scene.lab.start_agent(scene.standby)
    return before


def _lose_standby(scene: Scene) -> None:
    """A node that failed long enough ago for the other to know that it is alone, with a fresh kernel behind dead cables.

    The kernel is made here already: taking down an old network namespace holds up the probes for 5 to 20 ms, which would
    void the runs of a fault that starts with it.
    """
    scene.lab.power_off(scene.standby)
    scene.lab.power_on(scene.standby, agent=False)
    for port in scene.lab.topology.host(scene.standby).ports:
        scene.lab.cut(scene.standby, port.network)
    timing = timing_of(scene.plan.groups[0])
    time.sleep((timing.takeover_max + 100 * MILLISECOND) / SECOND)


_BACK_S = 30


def _active_returns_late(scene: Scene) -> Scene:
    """The node that would be Active has failed, the other serves; the roles of the strike are theirs from then on."""
    lost, other = scene.active, scene.standby
    scene.lab.power_off(lost)
    group = scene.plan.groups[0]
    deadline = time.monotonic() + _BACK_S
    while scene.contender.role(scene.lab, group, other) != "active" and time.monotonic() < deadline:
        time.sleep(0.02)
    scene.lab.power_on(lost, agent=False)
    for port in scene.lab.topology.host(lost).ports:
        scene.lab.cut(lost, port.network)
    return replace(scene, active=other, standby=lost)


def _take_back(scene: Scene) -> Instant:
    """The node is there again and, as the file wants it, Active before long."""
    before = _return(scene)
    deadline = time.monotonic() + _BACK_S
    group = scene.plan.groups[0]
    while scene.contender.role(scene.lab, group, scene.standby) != "active" and time.monotonic() < deadline:
        time.sleep(0.02)
    return before


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("none", lambda _: Instant(time.monotonic_ns()), lambda _: SECOND // 2, restart=False),
        Fault("node-power-loss", lambda s: s.lab.power_off(s.active), lambda t: t.takeover_min, phase_matters=True),
        Fault(
            "agent-kill",
            lambda s: s.lab.kill_agent(s.active),
            lambda t: t.takeover_max + 200 * MILLISECOND,
            phase_matters=True,
        ),
        Fault(
            "agent-freeze",
            lambda s: s.lab.freeze_agent(s.active),
            lambda t: t.takeover_max + 200 * MILLISECOND,
            phase_matters=True,
        ),
        Fault(
            "link-down",
            lambda s: s.lab.link_down(s.active, s.network),
            lambda t: t.takeover_max + 100 * MILLISECOND,
            on_lan=True,
        ),
        Fault(
            "link-silent",
            lambda s: s.lab.cut(s.active, s.network),
            lambda t: 4 * t.interval + 100 * MILLISECOND,
            phase_matters=True,
            on_lan=True,
        ),
        Fault("switchover", _switch_over, lambda t: t.takeover_max + 100 * MILLISECOND, restart=False),
        Fault(
            "node-return",
            _return,
            lambda t: t.takeover_max + SECOND,
            strikes_standby=True,
            prepare=_lose_standby,
            restart=False,
        ),
        Fault(
            "node-takes-back",
            _take_back,
            lambda t: t.takeover_max + 12 * SECOND,
            strikes_standby=True,
            prepare=_active_returns_late,
            restart=False,
        ),
    )
}
