"""A checker that never complains proves nothing: each invariant has a node or a kernel that breaks it on purpose."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.config import load_plan
from understudy.core import routers as routers_module
from understudy.core.disbelief import Disbelief, Verdict
from understudy.core.effects import Effect, Finish, Moved, SendHeartbeat, SendVrrp, SetRole
from understudy.core.events import Event, HeartbeatReceived, Tick
from understudy.core.evidence import Evidence
from understudy.core.group import Group
from understudy.core.handover import Handover
from understudy.core.node import Node
from understudy.core.reach import LanReach
from understudy.core.settings import NodeSettings
from understudy.sim.checker import Violation, settle_time
from understudy.sim.stage import Stage
from understudy.sim.world import World
from understudy.units import MILLISECOND, SECOND, Instant
from understudy.wire.heartbeat import Phase

PAIR = Path(__file__).parents[2] / "examples" / "pair.yaml"


def stage(**options: Any) -> Stage:
    return Stage(load_plan(PAIR), **options)


def violated(story: Callable[[], object]) -> str:
    with pytest.raises(Violation) as caught:
        story()
    return caught.value.invariant


def test_without_the_resume_guard_a_late_advertisement_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was frozen for two seconds goes on advertising as if nothing had been."""
    monkeypatch.setattr(Group, "guard", lambda self, now, out: None)
    pair = stage()
    pair.break_now("agent-freeze", "gw1", lasts=2 * SECOND)
    assert violated(lambda: pair.run_for(3 * SECOND)) == "resume-guard"


def test_a_kernel_lease_that_outlives_the_standbys_patience_is_seen() -> None:
    """5 intervals instead of less than 3: the standby speaks while the frozen node's kernel still answers."""
    pair = stage()
    lengths = pair.machine("gw1").lease_lengths
    for key in lengths:
        lengths[key] = 500 * MILLISECOND
    pair.run_for(SECOND)
    pair.break_now("agent-freeze", "gw1", lasts=2 * SECOND)
    assert violated(lambda: pair.run_for(SECOND)) == "one-answers"


def test_a_standby_that_does_not_ask_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Active has a long lease and is frozen; a standby that starts takes over without a question."""
    monkeypatch.setattr(Evidence, "peer_may_answer", lambda self, now: False)
    pair = stage()
    pair.break_now("node-power-loss", "gw2", lasts=3 * SECOND)
    pair.run_for(2 * SECOND)
    pair.break_now("agent-freeze", "gw1", lasts=20 * SECOND)
    assert violated(lambda: pair.run_for(5 * SECOND)) == "one-answers"


class DeafToHeartbeats(Node):
    """Believes nothing that comes over the channel."""

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        return super().handle(now, Tick() if isinstance(event, HeartbeatReceived) else event)


def test_a_pair_that_ignores_heartbeats_does_not_move_away_from_a_silent_port() -> None:
    """Without the channel nobody learns that the other reaches more: the promise of 4 intervals is missed."""
    for make_node, expected in ((Node, ["gw2"]), (DeafToHeartbeats, ["gw1"])):
        pair = stage(make_node=make_node)
        pair.break_now("link-silent", "gw1", network="outside", lasts=20 * SECOND)
        pair.run_for(4 * pair.advertise + 20 * MILLISECOND)
        assert pair.active() == expected


def test_an_active_that_trusts_what_it_hears_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears it on one LAN, and the peer's word of that counts for nothing."""
    monkeypatch.setattr(LanReach, "hear_word", lambda self, now, hears, out: False)
    pair = stage()
    pair.break_now("link-mute", "gw1", network="outside", lasts=20 * SECOND)
    assert violated(lambda: pair.run_for(20 * SECOND)) == "better"


@pytest.mark.parametrize("kind", ["link-down", "link-silent", "link-deaf", "link-mute"])
def test_a_port_that_serves_nobody_is_looked_at(kind: str) -> None:
    """Each way in which a port of either node can fail is judged, and the pair does what is wanted."""
    for node in ("gw1", "gw2"):
        for network in ("outside", "inside"):
            pair = stage()
            pair.break_now(kind, node, network=network, lasts=20 * SECOND)
            pair.run_for(30 * SECOND)
            assert pair.world.checker.better.judged == 1, (node, network)


def test_two_actives_that_never_settle_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither rank nor the channel makes anybody stand down after a partition."""
    monkeypatch.setattr(Evidence, "has_rival", lambda self, role, phase: False)
    monkeypatch.setattr(routers_module, "Outranked", type("Nothing", (), {"__match_args__": ("source", "priority")}))
    pair = stage()
    pair.break_now("partition", "gw1", target="gw2", lasts=2 * SECOND)
    assert violated(lambda: pair.run_for(20 * SECOND)) == "one-answers"


def test_an_old_active_that_turns_the_switch_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers the successor's advertisement, as RFC 9568 has it outside of a hand-over."""
    monkeypatch.setattr(Handover, "yields_port", property(lambda self: False))

    def story() -> None:
        for seed in range(1, 9):  # its word may overtake its advertisement; then there is nothing to answer
            pair = stage(seed=seed)
            pair.break_now("switchover", target="edge")
            pair.run_for(SECOND)

    assert violated(story) == "yields-port"


class Restless(Node):
    """Does not know that it rests."""

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        effects = super().handle(now, event)
        self.standing.maintenance = False
        return effects


def test_a_node_that_becomes_active_in_maintenance_is_seen() -> None:
    """The store says maintenance; the core takes over all the same when the other dies."""
    pair = stage(make_node=Restless)
    pair.break_now("maintenance", "gw2", lasts=60 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    assert violated(lambda: pair.run_for(5 * SECOND)) == "rests"


def rewriting(change: Callable[[Node, Instant, list[Effect]], list[Effect]]) -> type[Node]:
    """A node whose effects are tampered with."""

    class Tampered(Node):
        def handle(self, now: Instant, event: Event) -> list[Effect]:
            return change(self, now, super().handle(now, event))

    return Tampered


def test_a_move_without_a_reason_is_seen() -> None:
    """Every change of role explains itself."""
    silent = rewriting(lambda node, now, out: [replace(e, cause="") if isinstance(e, Moved) else e for e in out])
    assert violated(lambda: stage(make_node=silent)) == "says-why"


def test_a_repeated_heartbeat_number_is_seen() -> None:
    """Numbers only grow, or the peer would take old words for new ones."""
    twice = rewriting(lambda node, now, out: [e for e in out for _ in range(1 + isinstance(e, SendHeartbeat))])
    assert violated(lambda: stage(make_node=twice)) == "sequence"


def test_a_backup_that_advertises_is_seen() -> None:
    """The frame of the Active, sent once more after standing down."""

    class Echo(Node):
        kept: SendVrrp | None = None

        def handle(self, now: Instant, event: Event) -> list[Effect]:
            out = super().handle(now, event)
            self.kept = next((e for e in out if isinstance(e, SendVrrp)), self.kept)
            down = any(isinstance(e, Moved) and e.reason.startswith("handed over to") for e in out)
            return [*out, self.kept] if down and self.kept is not None else out

    pair = stage(make_node=Echo)
    pair.break_now("switchover", target="edge")
    assert violated(lambda: pair.run_for(SECOND)) == "sends-as-active"


def test_a_kernel_that_answers_for_a_backup_is_seen() -> None:
    """The hands lose the order to end the lease and to take the links down."""
    pair = stage()
    pair.machine("gw1").lease_lengths.update(dict.fromkeys(pair.machine("gw1").lease_lengths, 5 * SECOND))
    pair.run_for(SECOND)
    for kind in ("RevokeLease", "SetRole"):
        effect = next(cls for cls in pair.world._carry_out if cls.__name__ == kind)
        pair.world._carry_out[effect] = lambda machine, effect: None
    pair.break_now("link-down", "gw1", network="sync", lasts=9 * SECOND)
    core = pair.machine("gw1").core
    assert core is not None
    out: list[Effect] = []
    core.groups[pair.group].tenure.give_up(Instant(pair.world.now), "test", "test", "on purpose", out)
    for effect in out:
        if isinstance(effect, Moved):
            pair.world._moved(pair.machine("gw1"), effect)
    assert violated(lambda: pair.run_for(SECOND)) in ("answers-as-active", "one-answers")


def test_a_role_change_with_nothing_wrong_is_seen() -> None:
    """A node that hands over out of boredom."""
    pair = stage()
    pair.world.checker.moves.calm_from = pair.world.now
    core = pair.machine("gw1").core
    assert core is not None
    out: list[Effect] = []
    core.groups[pair.group].switchover(Instant(pair.world.now), out)
    for order in out:
        pair.world._carry_out[type(order)](pair.machine("gw1"), order)
    assert violated(lambda: pair.run_for(SECOND)) == "calm"


def test_a_node_that_believes_everybody_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An advertisement of priority 254, forged once: the Active stands down though the channel says better."""
    monkeypatch.setattr(Disbelief, "judge", lambda self, *situation: Verdict.BELIEVE)
    pair = stage()
    pair.break_now("forged-advertisements", network="outside", lasts=SECOND, amount=SECOND, target="higher")
    assert violated(lambda: pair.run_for(SECOND)) == "forgery"


def test_a_node_that_takes_what_it_left_is_seen() -> None:
    """Preemption that the file does not ask for: the node of the higher priority returns and asks for the group."""
    pair = stage()
    pair.machine("gw1").settings = replace(
        pair.machine("gw1").settings, groups=(replace(pair.machine("gw1").settings.groups[0], preempt=True),)
    )
    pair.run_for(9 * SECOND)
    pair.break_now("node-return", "gw1", lasts=9 * SECOND)
    assert violated(lambda: pair.run_for(15 * SECOND)) == "node-return"


def test_a_return_that_interrupts_the_service_is_seen() -> None:
    """The Active stops answering for a moment because the other is back."""
    pair = stage()
    pair.run_for(9 * SECOND)
    pair.break_now("node-return", "gw1", lasts=9 * SECOND)
    pair.run_for(10 * SECOND)
    other = pair.machine("gw2")
    assert violated(lambda: pair.world.hands.flush(other)) == "node-return"


def test_endless_role_changes_are_seen() -> None:
    """Back and forth on command, of which the checker is not told."""
    pair = stage()

    def story() -> None:
        for _ in range(20):
            pair.break_now("switchover", target="edge")
            pair.world.checker.moves.disturbances = 0
            pair.run_for(2 * SECOND)

    assert violated(story) == "flap"


def test_a_deadline_that_does_not_move_is_seen() -> None:
    """A node that asks for the same Tick again would keep a real agent spinning."""

    class Stuck(Node):
        def next_deadline(self) -> Instant | None:
            due = super().next_deadline()
            return due if due is None or self.pulse.sequence < 20 else Instant(self.pulse.sent_at)

    assert violated(lambda: stage(make_node=Stuck)) == "clock"


def test_an_agent_that_never_ends_is_seen() -> None:
    """Finish gets lost."""
    pair = stage(make_node=rewriting(lambda node, now, out: [e for e in out if not isinstance(e, Finish)]))
    pair.break_now("agent-stop", "gw2", lasts=SECOND)
    assert violated(lambda: pair.run_for(10 * SECOND)) == "stops"


def test_an_assertion_in_the_core_is_seen() -> None:
    """Whatever is raised counts."""

    class Fragile(Node):
        def handle(self, now: Instant, event: Event) -> list[Effect]:
            assert self.pulse.sequence < 50
            return super().handle(now, event)

    assert violated(lambda: stage(make_node=Fragile)) == "no-exception"


def test_a_pair_that_does_not_recover_is_seen() -> None:
    """The kernel's answers to roles are lost: after everything healed nobody holds the addresses."""
    pair = stage(
        make_node=rewriting(lambda node, now, out: [e for e in out if not (isinstance(e, SetRole) and e.active)])
    )
    settle = settle_time(pair.advertise)
    assert violated(lambda: pair.world.checker.converged(faults_over_for=settle)) == "converges"


def test_a_phase_that_never_ends_is_seen() -> None:
    """A hand-over that hangs is not a settled state."""
    pair = stage()
    core = pair.machine("gw1").core
    assert core is not None
    core.groups[pair.group].handover.phase = Phase.REQUESTING
    assert violated(lambda: pair.world.checker.converged(faults_over_for=SECOND)) == "converges"


def test_a_missed_change_is_seen_when_everything_is_looked_at() -> None:
    """Links that go down without anybody looking: what the proof of the flags would report."""
    pair = stage(check_all=True)
    pair.machine("gw1").kernel.links_up[pair.group] = False
    assert violated(lambda: pair.run_for(SECOND)) == "flags"


def test_equal_priorities_do_not_stop_a_pair() -> None:
    """The file refuses them, and still ties fall to the greater address, as RFC 9568 has it."""

    def same(settings: NodeSettings) -> NodeSettings:
        groups = tuple(
            replace(
                group,
                routers=tuple(replace(router, priority=100) for router in group.routers),  # type: ignore[arg-type]
                peer_priority=dict.fromkeys(group.peer_priority, 100),  # type: ignore[arg-type]
            )
            for group in settings.groups
        )
        return replace(settings, groups=groups)

    world = World(load_plan(PAIR), 1, settings=same)
    for machine in world.machines.values():
        world.at(0, world.processes.boot, machine)
    world.run(30 * SECOND)
    world.checker.converged(faults_over_for=30 * SECOND)
