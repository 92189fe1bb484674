"""Planned: on command, before maintenance, when the agent ends, and when the higher priority asks for the group."""

from dataclasses import replace

from core_pair import INTERVAL, KERNEL, LATE, SKEW, Pair, priorities

from understudy.config import load_plan
from understudy.core.effects import Announce, Finish, Moved, Persist, Quieten, RevokeLease, SendVrrp, SetRole
from understudy.core.events import MaintenanceCommanded, SwitchoverCommanded
from understudy.core.holding import LINGER
from understudy.core.settings import NodeSettings
from understudy.units import MILLISECOND, SECOND, Instant


def test_a_switchover_makes_before_it_breaks() -> None:
    """The successor's addresses are up before it advertises; the old Active is quiet then, and goes on forwarding a
    while.
    """
    pair = Pair()
    pair.break_now("switchover", target="edge")
    pair.run_for(SECOND)
    order = [type(done.effect).__name__ for done in pair.effects("gw2", Moved, SendVrrp, SetRole, Announce)]
    assert order[:5] == ["SetRole", "Moved", "SendVrrp", "SendVrrp", "Announce"]
    taken = next(done.at for done in pair.effects("gw2", Moved))
    revoked = next(done.at for done in pair.effects("gw1", RevokeLease))
    quiet = next(done.at for done in pair.effects("gw1", Quieten) if done.effect.on)  # type: ignore[union-attr]
    stopped = next(done.at for done in pair.effects("gw1", Moved))
    assert taken < quiet < taken + LATE
    assert quiet < stopped < quiet + KERNEL
    assert stopped + LINGER <= revoked < stopped + LINGER + LATE
    assert pair.gaps() == []
    assert 0 < pair.world.checker.overlaps.planned_max <= KERNEL
    assert (pair.role_changes("gw1"), pair.role_changes("gw2")) == (1, 1)


def test_nothing_leaves_the_old_actives_virtual_mac_after_the_successor_was_heard() -> None:
    """At 50 ms before the repeat of an announcement, which must not turn the switch's port back."""
    for seed in range(1, 9):
        pair = Pair(seed)
        pair.break_now("switchover", target="edge")
        pair.run_for(SECOND)
        pair.break_now("switchover", target="edge")  # back again, while gw2 still repeats its announcements
        pair.run_for(SECOND)
        heard = next(done.at for done in pair.effects("gw1", SendVrrp) if done.at > pair.begin + SECOND)
        late = [done for done in pair.effects("gw2", SendVrrp, Announce) if heard + LATE < done.at]
        assert late == []


def test_a_switchover_is_refused_with_the_reason() -> None:
    """On the wrong node, without a peer, with a resting peer, and in the middle of another."""
    pair = Pair()
    now, command = Instant(pair.world.now), SwitchoverCommanded(pair.group)
    active, standby = pair.core("gw1"), pair.core("gw2")
    standby.handle(now, command)
    assert standby.refusal == "gw2 is not Active for edge: ask the Active node"
    pair.break_now("maintenance", "gw2", lasts=5 * SECOND)
    pair.run_for(SECOND)
    active.handle(Instant(pair.world.now), command)
    assert active.refusal == "gw2 is in maintenance or stopping"
    pair.run_for(10 * SECOND)
    active.handle(Instant(pair.world.now), command)
    assert active.refusal == ""
    active.handle(Instant(pair.world.now), command)
    assert active.refusal == "a promotion or hand-over is under way"
    alone = Pair()
    alone.break_now("node-power-loss", "gw2", lasts=60 * SECOND)
    alone.run_for(SECOND)
    alone.core("gw1").handle(Instant(alone.world.now), command)
    assert alone.core("gw1").refusal == "no standby is heard over the channel"


def test_maintenance_hands_over_and_stays_away() -> None:
    """It is persisted first; afterwards not even the other's death makes the node Active."""
    pair = Pair()
    pair.break_now("maintenance", "gw1", lasts=20 * SECOND)
    pair.run_for(SECOND)
    assert pair.active() == ["gw2"]
    assert pair.gaps() == []
    assert pair.effects("gw1", Persist)[0].effect == Persist(maintenance=True)
    pair.break_now("node-power-loss", "gw2", lasts=5 * SECOND)
    pair.run_for(4 * SECOND)
    assert pair.active() == []
    pair.run_for(30 * SECOND)
    assert len(pair.active()) == 1


def test_maintenance_survives_a_restart() -> None:
    """The store tells the next core."""
    pair = Pair()
    pair.break_now("maintenance", "gw2", lasts=20 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("node-power-loss", "gw2", lasts=SECOND)
    pair.run_for(2 * SECOND)
    assert pair.core("gw2").standing.maintenance
    pair.break_now("node-power-loss", "gw1", lasts=5 * SECOND)
    pair.run_for(4 * SECOND)
    assert pair.active() == []


def test_a_lonely_node_in_maintenance_goes_on_serving() -> None:
    """It never *becomes* Active; but nobody is served by its standing down when nobody else can serve."""
    pair = Pair()
    pair.break_now("node-power-loss", "gw2", lasts=30 * SECOND)
    pair.run_for(2 * SECOND)
    pair.core("gw1").handle(Instant(pair.world.now), MaintenanceCommanded(on=True))
    pair.run_for(5 * SECOND)
    assert pair.answering() == ["gw1"]


def test_a_stopping_agent_hands_over_and_ends() -> None:
    """SIGTERM: nothing is lost, and the agent finishes once its kernel is silent."""
    pair = Pair()
    pair.break_now("agent-stop", "gw1", lasts=5 * SECOND)
    pair.run_for(SECOND)
    assert pair.gaps() == []
    assert pair.active() == ["gw2"]
    assert len(pair.effects("gw1", Finish)) == 1
    assert pair.moves("gw1")[-1].reason == "handed over to gw2"


def test_without_a_successor_the_farewell_follows_when_the_addresses_are_down() -> None:
    """Priority 0 leaves only when this kernel can no longer answer, since the peer then waits its skew only."""
    pair = Pair()
    pair.break_now("maintenance", "gw2", lasts=30 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("agent-stop", "gw1", lasts=5 * SECOND)
    pair.run_for(SECOND)
    assert pair.moves("gw1")[-1].reason == "stopped"
    assert list(priorities(pair.effects("gw1")))[-2:] == [0, 0]
    farewell = pair.effects("gw1", SendVrrp)[-1].at
    silent = next(at for at, node, kind, what in pair.world.trace if kind == "kernel" and at > pair.begin)
    assert silent < farewell
    assert pair.answering() == []


def test_an_active_that_loses_every_port_tells_the_peer() -> None:
    """It cannot serve; what is left of the channel hands the group over."""
    pair = Pair()
    for network in ("outside", "inside"):
        pair.break_now("link-down", "gw1", network=network, lasts=20 * SECOND)
    pair.run_for(30 * MILLISECOND)
    assert pair.answering() == ["gw2"]


def test_a_peer_that_stood_down_is_succeeded_after_the_skew_alone() -> None:
    """It says over the channel that it is Backup and its kernel silent: its advertisements need not be waited for."""
    pair = Pair(advertise=SECOND)
    pair.break_now("kernel-refuses", "gw1", lasts=SECOND)
    core = pair.core("gw1")
    out = []  # type: ignore[var-annotated]
    pair.run_for(SECOND)
    core.groups[pair.group].tenure.give_up(Instant(pair.world.now), "test", "test", "on purpose", out)
    for effect in out:
        pair.world._carry_out.get(type(effect), lambda machine, effect: None)(pair.machine("gw1"), effect)
    pair.run_for(10 * SKEW + KERNEL + 100 * MILLISECOND)
    assert pair.active() == ["gw2"]


def test_the_higher_priority_asks_for_the_group_when_told_to_preempt() -> None:
    """After its delay, by a hand-over: nothing is lost. Without preemption nothing moves back."""

    def preempting(settings: NodeSettings) -> NodeSettings:
        return replace(settings, groups=tuple(replace(group, preempt=True) for group in settings.groups))

    for change, expected in ((preempting, ["gw1"]), (lambda settings: settings, ["gw2"])):
        pair = Pair(settings=change)
        pair.break_now("node-power-loss", "gw1", lasts=2 * SECOND)
        pair.run_for(3 * SECOND)
        assert pair.active() == ["gw2"]
        pair.run_for(10 * SECOND)
        assert pair.active() == expected
        assert len(pair.gaps()) == 1


def test_the_operators_choice_outlasts_preemption() -> None:
    """A group that was moved away by command is not asked back."""

    def preempting(settings: NodeSettings) -> NodeSettings:
        return replace(settings, groups=tuple(replace(group, preempt=True) for group in settings.groups))

    pair = Pair(settings=preempting)
    pair.break_now("switchover", target="edge")
    pair.run_for(20 * SECOND)
    assert pair.active() == ["gw2"]
    assert pair.role_changes("gw1") == 1


def test_a_successor_whose_kernel_refuses_leaves_the_group_where_it_is() -> None:
    """The old Active never stopped."""
    pair = Pair()
    pair.break_now("kernel-refuses", "gw2", lasts=2 * SECOND)
    pair.break_now("switchover", target="edge")
    pair.run_for(15 * SECOND)
    assert pair.active() == ["gw1"]
    assert pair.moves() == []
    assert pair.gaps() == []


def test_an_active_that_dies_while_it_hands_over_is_succeeded() -> None:
    """The successor goes on with what was offered."""
    pair = Pair()
    pair.break_now("slow-kernel", "gw2", amount=300 * MILLISECOND, lasts=2 * SECOND)
    pair.break_now("switchover", target="edge")
    pair.run_for(MILLISECOND)
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(3 * INTERVAL + 400 * MILLISECOND)
    assert pair.answering() == ["gw2"]


def test_the_example_file_is_the_pair_of_these_stories() -> None:
    """gw1 ranks first and nobody preempts: what the stories above take for granted."""
    from core_pair import PAIR_FILE

    group = load_plan(PAIR_FILE).groups[0]
    assert (group.nodes, group.preempt, group.advertise) == (("gw1", "gw2"), False, INTERVAL)
    assert list(group.priorities.values()) == [250, 240]
