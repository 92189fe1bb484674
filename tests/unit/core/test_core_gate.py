"""The state gate: when a promotion goes past it, how long it waits, and what is said of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.config import load_plan
from understudy.core.effects import AskFlows, Effect, Finish, Noted, OwnFlows, SetRole, Step
from understudy.core.events import (
    Event,
    FlowsReady,
    GateWaived,
    MaintenanceCommanded,
    StopCommanded,
    SwitchoverCommanded,
    SyncChanged,
)
from understudy.core.gate import ANSWER_MAX, DRAIN_MAX, HANDOVER_MAX, WAIVER, Gate, Passage
from understudy.core.handover import OFFER_BACKOFF, OFFER_DEADLINE
from understudy.core.node import Node
from understudy.core.peer import PeerView, Standing
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.sim.stage import Stage
from understudy.units import MILLISECOND, SECOND, GroupName, Instant
from understudy.wire.heartbeat import Phase, Role, Sync

FILE = Path(__file__).parents[3] / "examples" / "stateful.yaml"
EDGE = GroupName("edge")


class Asked(Stage):
    """gw1 is Active, gw2 stands by with a complete replica, and the test itself answers the gate."""

    def __init__(self, change: Callable[[GroupSettings], GroupSettings] = lambda group: group, **options: Any) -> None:
        done: list[tuple[int, str, Effect]] = []

        class Recorder(Node):
            def handle(self, now: Instant, event: Event) -> list[Effect]:
                effects = super().handle(now, event)
                done.extend((now, self.settings.name, effect) for effect in effects)
                return effects

        def changed(settings: NodeSettings) -> NodeSettings:
            return replace(settings, groups=tuple(change(replace(g, preempt=False)) for g in settings.groups))

        super().__init__(load_plan(FILE), make_node=Recorder, settings=changed, **options)
        for kind in (AskFlows, OwnFlows):
            self.world._carry_out[kind] = lambda machine, effect: None
        for machine in self.world.machines.values():
            self.world.flows.end(machine)  # what is said of the flows, the test says
        self.world.flows.groups.clear()  # and the tables are nobody's
        self._done = done

    def effects(self, node: str, *kinds: type) -> list[Any]:
        return [
            effect for at, name, effect in self._done if at >= self.begin and name == node and isinstance(effect, kinds)
        ]

    def at(self, node: str, kind: type) -> list[int]:
        return [at for at, name, effect in self._done if at >= self.begin and name == node and isinstance(effect, kind)]

    def steps(self, node: str, step: str) -> list[str]:
        return [effect.phase for effect in self.effects(node, Step) if effect.step == step]

    def feed(self, node: str, event: Event) -> None:
        self.world.handle(self.machine(node), event)

    def core(self, node: str) -> Node:
        core = self.machine(node).core
        assert core is not None
        return core

    def answer(self, node: str, complete: bool, *, token: int = 0, final: bool = False) -> None:
        token = token or self.effects(node, AskFlows)[-1].token
        self.feed(node, FlowsReady(EDGE, token, complete, "all of it" if complete else "half of it", final))

    def kill_active(self) -> None:
        """And wait until gw2 stands at the gate."""
        self.break_now("node-power-loss", "gw1", lasts=60 * SECOND)
        self.run_for(4 * self.advertise)
        assert self.steps("gw2", "gate") == ["started"]


def requiring(group: GroupSettings) -> GroupSettings:
    return replace(group, require_sync=True)


# --- a take-over


def test_an_answer_that_all_is_here_opens_the_gate_at_once() -> None:
    """Nothing advertised, no address up before it; then the kernel is the original, and nothing is picked up in the
    middle.
    """
    pair = Asked()
    pair.kill_active()
    assert pair.effects("gw2", SetRole) == []
    assert pair.active() == []
    assert pair.effects("gw2", AskFlows)[-1].drain is False  # the peer is dead: it has nothing more to send
    pair.answer("gw2", True)
    pair.run_for(20 * MILLISECOND)
    assert pair.answering() == ["gw2"]
    assert pair.steps("gw2", "gate") == ["started", "done"]
    assert pair.effects("gw2", OwnFlows) == [OwnFlows(EDGE, True, True)]
    order = [type(effect) for effect in pair.effects("gw2", OwnFlows, SetRole)]
    assert order == [OwnFlows, SetRole]


def test_the_gate_waits_for_a_replica_that_becomes_complete() -> None:
    """An answer that something is missing is asked about again, at once when the replicator has news."""
    pair = Asked()
    pair.feed("gw2", SyncChanged(EDGE, False, "half of it"))
    pair.kill_active()
    pair.answer("gw2", False)
    pair.run_for(50 * MILLISECOND)
    assert pair.active() == []
    assert len(pair.effects("gw2", AskFlows)) == 1
    pair.feed("gw2", SyncChanged(EDGE, True, "all of it"))
    assert len(pair.effects("gw2", AskFlows)) == 2
    pair.answer("gw2", True)
    assert pair.active() == ["gw2"]
    assert pair.effects("gw2", Noted)[-1].kind != "gate-waived"


def test_a_gate_without_an_answer_is_waived_at_its_deadline_with_the_reason() -> None:
    """The question is repeated under the same token; who takes over without the state picks flows up."""
    pair = Asked()
    pair.kill_active()
    begun = pair.at("gw2", AskFlows)[0]
    pair.run_for(3 * SECOND)
    asked = pair.effects("gw2", AskFlows)
    assert len({question.token for question in asked}) == 1
    assert len(asked) == 2 * SECOND // ANSWER_MAX
    waived = next(at for at, name, e in pair._done if isinstance(e, Noted) and e.kind == "gate-waived")
    assert 2 * SECOND <= waived - begun < 2 * SECOND + MILLISECOND
    assert pair.answering() == ["gw2"]
    assert pair.steps("gw2", "gate") == ["started", "waived"]
    (noted,) = [e for e in pair.effects("gw2", Noted) if e.kind == "gate-waived"]
    assert (noted.subject, noted.detail) == ("edge", "the replicator has not answered")
    assert pair.effects("gw2", OwnFlows) == [OwnFlows(EDGE, True, False)]


def test_waiting_ends_where_nothing_more_can_come() -> None:
    """The replicator says that what is missing is on a node that is not heard, and the channel says so too."""
    pair = Asked()
    pair.kill_active()
    pair.answer("gw2", False, final=True)
    assert pair.steps("gw2", "gate") == ["started", "waived"]


def test_a_required_state_is_not_waived_but_by_an_operator() -> None:
    """Refused, held down, tried again; the operator's word lets it pass at once."""
    pair = Asked(requiring)
    pair.kill_active()
    pair.run_for(2 * SECOND)
    assert pair.steps("gw2", "gate") == ["started", "failed"]
    assert [e.detail for e in pair.effects("gw2", Noted) if e.kind == "gate-refused"] == [
        "the replicator has not answered; the file requires the state"
    ]
    assert pair.core("gw2").groups[EDGE].record.row == "rests"
    pair.run_for(10 * SECOND)  # the hold-down
    assert pair.steps("gw2", "gate")[2:] == ["started"]
    assert pair.active() == []
    pair.feed("gw2", GateWaived(EDGE))
    assert pair.core("gw2").refusal == ""
    assert pair.active() == ["gw2"]
    assert pair.steps("gw2", "gate")[2:] == ["started", "waived"]
    assert pair.effects("gw2", Noted)[-1].detail == "an operator waived it"


def test_a_refused_promotion_is_tried_at_once_when_the_state_has_come() -> None:
    """Not after the hold-down, which would only leave the group unserved."""
    pair = Asked(requiring)
    pair.feed("gw2", SyncChanged(EDGE, False, "half of it"))
    pair.kill_active()
    pair.run_for(3 * SECOND)
    assert pair.steps("gw2", "gate") == ["started", "failed"]
    pair.feed("gw2", SyncChanged(EDGE, True, "all of it"))
    pair.run_for(200 * MILLISECOND)  # the fence asks first: the Active has been silent for long
    assert pair.steps("gw2", "gate") == ["started", "failed", "started"]


def test_a_waiver_that_comes_before_the_promotion_holds_for_a_minute() -> None:
    """No longer: nobody remembers it then."""
    for wait, expected in ((WAIVER - 5 * SECOND, ["waived"]), (WAIVER + SECOND, ["started"])):
        pair = Asked(requiring)
        pair.feed("gw2", GateWaived(EDGE))
        pair.run_for(wait)
        pair.break_now("node-power-loss", "gw1", lasts=60 * SECOND)
        pair.run_for(4 * pair.advertise)
        assert pair.steps("gw2", "gate") == expected


def test_a_waiver_is_refused_where_it_means_nothing() -> None:
    """On the Active, and for a group that is not there."""
    pair = Asked()
    pair.feed("gw1", GateWaived(EDGE))
    assert pair.core("gw1").refusal == "gw1 is active for edge: ask the standby"
    pair.feed("gw1", GateWaived(GroupName("other")))
    assert pair.core("gw1").refusal == "there is no group other"


def test_an_answer_to_an_earlier_question_opens_nothing() -> None:
    """A promotion was cancelled at the gate; its answer comes when the next one stands there."""
    pair = Asked()
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    pair.run_for(10 * MILLISECOND)
    (old,) = pair.effects("gw2", AskFlows)
    assert old.drain
    pair.break_now("node-power-loss", "gw1", lasts=60 * SECOND)
    pair.run_for(SECOND)
    new = pair.effects("gw2", AskFlows)[-1]
    assert new.token > old.token
    assert not new.drain
    pair.answer("gw2", True, token=old.token)
    assert pair.active() == []
    pair.answer("gw2", True)
    assert pair.active() == ["gw2"]


def test_whoever_hears_an_active_at_the_gate_lets_the_promotion_be() -> None:
    """The other node served all the time, or does again: only its words were lost."""
    pair = Asked()
    pair.break_now("partition", "gw1", target="gw2", lasts=SECOND)
    pair.run_for(SECOND - MILLISECOND)
    assert pair.steps("gw2", "gate") == ["started"]
    pair.run_for(3 * SECOND)
    pair.answer("gw2", True)
    assert pair.active() == ["gw1"]
    assert "cancelled" in pair.steps("gw2", "promotion")
    assert pair.gaps() == []


def test_a_node_that_is_asked_to_end_at_the_gate_ends() -> None:
    """The promotion is cancelled, and nothing is left to wait for."""
    pair = Asked()
    pair.kill_active()
    pair.feed("gw2", StopCommanded())
    assert pair.steps("gw2", "promotion") == ["started", "cancelled"]
    assert len(pair.effects("gw2", Finish)) == 1


# --- who has a state at all


def test_nobody_waits_for_a_state_that_nobody_had() -> None:
    """Both nodes have just started, or the other has not served since this one did."""
    pair = Asked()
    for name in ("gw1", "gw2"):
        pair.break_now("node-power-loss", name, lasts=SECOND)
    pair.run_for(SECOND + 5 * pair.advertise)
    assert pair.answering() == ["gw1"]
    details = [e.detail for e in pair.effects("gw1", Step) if e.step == "gate"]
    assert details == ["no other node has served lately: there is no state but what is here"]
    assert pair.effects("gw1", AskFlows) == []


@pytest.mark.parametrize("heard", [True, False], ids=["the replicator heard", "nobody heard"])
def test_a_core_that_heard_no_original_believes_the_replicator_that_did(heard: bool) -> None:
    """The standby's core is forked anew, and the Active dies before it is heard: the transfer was not complete, so a
    required state is missing. Where nobody ever heard of another original, there is none.
    """
    pair = Asked(requiring)
    pair.break_now("node-power-loss", "gw1", lasts=60 * SECOND)
    assert pair.world.processes.kill_core(pair.machine("gw2"))
    pair.run_for(200 * MILLISECOND)
    pair.feed("gw2", SyncChanged(EDGE, False, "the first transfer is under way", elsewhere=heard))
    pair.run_for(8 * pair.advertise)
    if heard:
        pair.answer("gw2", False, final=True)
    pair.run_for(4 * pair.advertise)
    assert pair.active() == ([] if heard else ["gw2"])


def test_an_adopted_kernel_stays_the_original_as_it_is() -> None:
    """Whether flows may be picked up was said by the core before."""
    pair = Asked()
    pair.break_now("agent-restart", "gw1")
    pair.run_for(SECOND)
    assert pair.moves("gw1")[-1].reason == "adopted"
    assert pair.effects("gw1", OwnFlows) == [OwnFlows(EDGE, True, None)]
    assert pair.effects("gw1", AskFlows) == []


def test_whoever_stands_down_is_no_original_any_more() -> None:
    """And a core that begins says so for its kernel."""
    pair = Asked()
    pair.break_now("agent-freeze", "gw1", lasts=2 * SECOND)
    pair.run_for(3 * SECOND)
    assert pair.effects("gw1", OwnFlows) == [OwnFlows(EDGE, False, False)]
    pair.break_now("agent-restart", "gw2")
    pair.run_for(SECOND)
    assert pair.effects("gw2", OwnFlows)[-1] in (OwnFlows(EDGE, False, False), OwnFlows(EDGE, True, None))


# --- a hand-over


def test_a_hand_over_asks_before_the_addresses_and_once_more_before_it_answers() -> None:
    """With `drain` both times: the old Active serves meanwhile, and has flows that are a moment old."""
    pair = Asked()
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    pair.run_for(300 * MILLISECOND)
    assert pair.effects("gw2", SetRole) == []
    assert pair.answering() == ["gw1"]
    pair.answer("gw2", True)
    pair.run_for(20 * MILLISECOND)
    assert len(pair.effects("gw2", SetRole)) == 1
    assert pair.answering() == ["gw1"]
    pair.answer("gw2", True)
    pair.run_for(20 * MILLISECOND)
    assert pair.answering() == ["gw2"]
    assert [(e.drain, e.token) for e in pair.effects("gw2", AskFlows)] == [(True, 1), (True, 2)]
    assert pair.gaps() == []


def test_a_hand_over_that_can_wait_is_rolled_back_at_a_shut_gate() -> None:
    """The successor refuses, the old Active hears of it and has never stopped serving."""
    pair = Asked()
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    pair.run_for(10 * MILLISECOND)
    pair.answer("gw2", False)
    pair.run_for(HANDOVER_MAX + 100 * MILLISECOND)
    assert pair.steps("gw2", "gate") == ["started", "failed"]
    assert pair.steps("gw2", "promotion") == ["started", "cancelled"]
    failed = [e.detail for e in pair.effects("gw1", Step) if (e.step, e.phase) == ("handover", "failed")]
    assert failed == ["gw2 gave it back"]
    pair.run_for(OFFER_BACKOFF + SECOND)
    assert pair.answering() == ["gw1"]
    assert pair.moves() == []
    assert pair.gaps() == []


def test_a_second_gate_that_stays_shut_takes_the_addresses_down_again() -> None:
    """They were up and silent; the offer is given back."""
    pair = Asked()
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    pair.run_for(10 * MILLISECOND)
    pair.answer("gw2", True)
    pair.run_for(HANDOVER_MAX)
    assert pair.steps("gw2", "drain") == ["started", "failed"]
    assert [order.active for order in pair.effects("gw2", SetRole)] == [True, False]
    assert not pair.machine("gw2").kernel.links_up[EDGE]
    assert pair.answering() == ["gw1"]
    assert pair.gaps() == []


def test_an_offer_is_taken_up_in_time_or_withdrawn() -> None:
    """A successor that says nothing does not get the gate's time."""
    pair = Asked()
    pair.break_now("agent-freeze", "gw2", lasts=5 * SECOND)
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    pair.run_for(OFFER_DEADLINE + 20 * MILLISECOND)
    assert pair.steps("gw1", "handover") == ["offered", "failed"]


def test_an_active_that_dies_at_the_gate_of_its_successor_is_taken_over_from() -> None:
    """The hand-over gives way to a take-over, which drains nobody."""
    pair = Asked()
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    pair.run_for(10 * MILLISECOND)
    pair.break_now("node-power-loss", "gw1", lasts=60 * SECOND)
    pair.run_for(4 * pair.advertise)
    assert [e.drain for e in pair.effects("gw2", AskFlows)] == [True, False]
    pair.answer("gw2", True)
    pair.run_for(20 * MILLISECOND)
    assert pair.answering() == ["gw2"]


# --- what can wait for the state, and what cannot


def test_a_switchover_to_a_node_without_the_state_is_refused_unless_forced() -> None:
    """With the reason; forced, its gate is waived, and the record says so."""
    pair = Asked()
    pair.feed("gw2", SyncChanged(EDGE, False, "half of it"))
    pair.run_for(200 * MILLISECOND)
    pair.feed("gw1", SwitchoverCommanded(EDGE))
    assert pair.core("gw1").refusal.startswith("gw2 does not hold the state of the flows yet")
    pair.feed("gw1", SwitchoverCommanded(EDGE, force=True))
    assert pair.core("gw1").refusal == ""
    pair.run_for(10 * MILLISECOND)
    pair.answer("gw2", False)
    pair.run_for(HANDOVER_MAX + 100 * MILLISECOND)
    assert pair.answering() == ["gw2"]
    assert pair.steps("gw2", "gate") == ["started", "waived"]
    assert pair.gaps() == []


def test_maintenance_waits_for_the_state_unless_forced() -> None:
    """The node goes on serving, and hands over as soon as the other is complete."""
    pair = Asked()
    pair.feed("gw2", SyncChanged(EDGE, False, "half of it"))
    pair.run_for(200 * MILLISECOND)
    pair.feed("gw1", MaintenanceCommanded(on=True))
    pair.run_for(2 * SECOND)
    assert pair.core("gw1").groups[EDGE].record.row == "rest-waits-for-state"
    assert pair.steps("gw1", "handover") == []
    pair.feed("gw1", MaintenanceCommanded(on=True, force=True))
    pair.run_for(20 * MILLISECOND)
    assert pair.core("gw1").groups[EDGE].record.row == "rest-hand-over-without-state"
    assert pair.steps("gw2", "gate") == ["started"]


def test_an_agent_that_ends_hands_over_what_it_can() -> None:
    """It does not wait for the state, its successor waits at the gate, and nobody is left unserved."""
    pair = Asked()
    pair.feed("gw2", SyncChanged(EDGE, False, "half of it"))
    pair.run_for(200 * MILLISECOND)
    pair.feed("gw1", StopCommanded())
    pair.run_for(10 * MILLISECOND)
    pair.answer("gw2", False)
    pair.run_for(HANDOVER_MAX + 200 * MILLISECOND)
    assert pair.answering() == ["gw2"]
    assert pair.gaps() == []
    assert pair.steps("gw2", "gate") == ["started", "waived"]


def test_a_required_state_refuses_even_an_agent_that_ends() -> None:
    """It ends all the same, and nobody serves: that is what the file asks for."""
    pair = Asked(requiring)
    pair.feed("gw2", SyncChanged(EDGE, False, "half of it"))
    pair.run_for(200 * MILLISECOND)
    pair.feed("gw1", StopCommanded())
    pair.run_for(3 * SECOND)
    assert pair.steps("gw2", "gate")[:2] == ["started", "failed"]
    assert pair.answering() == []


# --- the machine by itself


def gate(peer: PeerView, **changes: Any) -> Gate:
    settings = load_plan(FILE).settings(load_plan(FILE).nodes[1].name)
    machine = Gate(replace(settings.groups[0], **changes), settings, peer, Standing())
    machine.served_elsewhere(Phase.NONE)
    return machine


def test_a_take_over_drains_a_peer_that_lives_and_not_for_long() -> None:
    """Its agent stood down and still speaks; if its replicator does not, what is here has to do."""
    out: list[Effect] = []
    machine = gate(PeerView(fresh=True))
    assert machine.begin(Instant(0), handover=False, urgent=False, out=out) is Passage.WAITS
    assert machine.due == DRAIN_MAX
    machine.tick(Instant(machine.due), out)
    assert [e.drain for e in out if isinstance(e, AskFlows)] == [True, False]


@pytest.mark.parametrize("mute", [True, False])
def test_nobody_waits_for_a_replicator_that_says_nothing_even_if_the_peer_is_heard(mute: bool) -> None:
    """A peer that is heard may still send what is missing, but not to a frozen replicator."""
    machine = gate(PeerView(fresh=True))
    machine.begin(Instant(0), handover=False, urgent=False, out=[])
    answer = FlowsReady(EDGE, 1, False, "it says nothing", final=True, mute=mute)
    assert machine.answered(Instant(1), answer) is (Passage.WAIVED if mute else Passage.WAITS)


def test_a_peer_that_dies_while_it_drains_is_not_waited_for() -> None:
    """The question is put anew, under the same token, for what is here."""
    out: list[Effect] = []
    peer = PeerView(fresh=True)
    machine = gate(peer)
    machine.begin(Instant(0), handover=False, urgent=False, out=out)
    peer.fresh = False
    machine.peer_lost(Instant(1), out)
    machine.peer_lost(Instant(2), out)
    assert out == [AskFlows(EDGE, 1, True), AskFlows(EDGE, 1, False)]


@pytest.mark.parametrize(
    ("changes", "switched_on", "sync"),
    [
        ({"stateful": False}, True, Sync.NOT_NEEDED),
        ({"plain": True}, True, Sync.NOT_NEEDED),
        ({}, False, Sync.INCOMPLETE),
    ],
    ids=["stateless", "plain", "off"],
)
def test_a_gate_that_does_not_apply_asks_nobody(changes: dict[str, Any], switched_on: bool, sync: Sync) -> None:
    """Stateless groups, plain VRRP peers, and a drill's control."""
    settings = replace(load_plan(FILE).settings(load_plan(FILE).nodes[1].name), gate=switched_on)
    machine = Gate(replace(settings.groups[0], **changes), settings, PeerView(), Standing())
    machine.served_elsewhere(Phase.NONE)
    out: list[Effect] = []
    assert machine.begin(Instant(0), handover=False, urgent=False, out=out) is Passage.OPEN
    assert out == []
    assert not machine.strict
    assert machine.has_state(Role.BACKUP)
    assert machine.sync(Role.BACKUP) is sync
