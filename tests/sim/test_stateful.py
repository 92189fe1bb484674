"""Replicated flows in the simulated world: no address before the state, and controls that would show one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.config import load_plan
from understudy.core.effects import AskFlows, Effect, Moved, OwnFlows, Step
from understudy.core.events import Event
from understudy.core.gate import Gate, Passage
from understudy.core.handover import Handover
from understudy.core.node import Node
from understudy.core.settings import NodeSettings
from understudy.sim.checker import Violation, settle_time
from understudy.sim.simulate import simulate
from understudy.sim.stage import Stage
from understudy.units import MILLISECOND, SECOND, Duration, Instant

STATEFUL = Path(__file__).parents[2] / "examples" / "stateful.yaml"
PLAIN = STATEFUL.read_text().replace("    preempt: true\n", "").encode()


def stage(seed: int = 1, **options: Any) -> Stage:
    return Stage(load_plan(PLAIN), seed, **options)


def requiring(settings: NodeSettings) -> NodeSettings:
    return replace(settings, groups=tuple(replace(group, require_sync=True) for group in settings.groups))


def violated(story: Callable[[], object]) -> str:
    with pytest.raises(Violation) as caught:
        story()
    return caught.value.invariant


def steps(pair: Stage, node: str) -> list[tuple[str, str]]:
    """Of a node since all was at rest."""
    lines = [what for at, where, _, what in pair.world.trace if where == node and at >= pair.begin]
    return [(what.step, what.phase) for what in lines if isinstance(what, Step)]


# --- promises


@pytest.mark.parametrize("advertise", [50 * MILLISECOND, None, SECOND], ids=str)
def test_a_stateful_pair_survives_faults_of_every_kind(advertise: Duration | None) -> None:
    """Replication loss, reordering, overruns, slow and stale standbys among them; preemption is on."""
    plan = load_plan(STATEFUL, advertise)
    for seed in range(6):
        outcome = simulate(plan, seed, 200)
        broken = outcome.broken
        assert broken is None, f"seed {seed}: {broken.invariant}: {broken.message}\n" + "\n".join(broken.trace)


def test_a_group_that_requires_the_state_survives_faults() -> None:
    """Refused promotions are tried again, and the state comes back with the node that has it."""
    plan = load_plan(STATEFUL)
    for seed in range(6):
        outcome = simulate(plan, seed, 200, settings=requiring)
        broken = outcome.broken
        assert broken is None, f"seed {seed}: {broken.invariant}: {broken.message}\n" + "\n".join(broken.trace)


def test_a_take_over_with_everything_written_is_not_delayed() -> None:
    """The gate costs an answer of the replicator, and the promotion is judged by the tables."""
    pair = stage()
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(SECOND)
    (gap,) = pair.gaps()
    assert gap.lasted <= 3 * pair.advertise + 7 * MILLISECOND + 10 * MILLISECOND
    assert ("gate", "done") in steps(pair, "gw2")
    assert (pair.world.checker.stateful.judged, pair.world.checker.stateful.waived) == (1, 0)


def test_slow_writing_delays_the_address_and_not_the_state() -> None:
    """The standby needs up to 700 ms for a batch: the address waits for what it had received."""
    for seed in range(1, 6):
        pair = stage(seed)
        pair.break_now("slow-standby", "gw2", lasts=20 * SECOND, amount=700 * MILLISECOND)
        pair.run_for(SECOND)
        pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
        pair.run_for(3 * SECOND)
        assert pair.answering() == ["gw2"]
        assert pair.world.checker.stateful.judged == 1


def test_a_switchover_drains_what_the_old_active_still_has() -> None:
    """Half of the datagrams are lost on the way: nothing of the old table is missing in the new one."""
    pair = stage()
    pair.break_now("replication-loss", lasts=20 * SECOND, amount=0.5)
    pair.run_for(SECOND)
    pair.break_now("switchover", target="edge")
    pair.run_for(MILLISECOND)
    old = dict(pair.world.flows.tables["gw1"][pair.group].items())
    pair.run_for(3 * SECOND)
    assert pair.active() == ["gw2"]
    assert pair.gaps() == []
    new = pair.world.flows.tables["gw2"][pair.group]
    assert {flow for flow, version in old.items() if new.get(flow, -1) < version} == set()
    assert [step for step in steps(pair, "gw2") if step[1] == "done"][:4] == [
        ("gate", "done"),
        ("addresses", "done"),
        ("drain", "done"),
        ("advertise", "done"),
    ]


def test_a_switchover_without_agreement_is_rolled_back() -> None:
    """The replicators lose each other while the successor makes itself ready: gw1 goes on."""
    pair = stage()
    pair.break_now("switchover", target="edge")
    pair.break_now("replication-loss", lasts=10 * SECOND, amount=1.0)
    pair.run_for(5 * SECOND)
    assert pair.active() == ["gw1"]
    assert pair.moves() == []
    assert pair.gaps() == []
    assert ("gate", "failed") in steps(pair, "gw2") or ("drain", "failed") in steps(pair, "gw2")
    assert ("handover", "failed") in steps(pair, "gw1")


def test_a_stale_standby_waits_for_its_deadline_and_says_so() -> None:
    """Its replica was never agreed on lately: after two seconds at most the gate is waived, with the reason."""
    pair = stage()
    pair.break_now("event-overrun", "gw1", lasts=20 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("agent-kill", "gw1", lasts=20 * SECOND)
    pair.run_for(4 * SECOND)
    assert pair.answering() == ["gw2"]
    assert ("gate", "waived") in steps(pair, "gw2")
    assert pair.world.checker.stateful.waived == 1


def test_a_stale_standby_of_a_group_that_requires_the_state_does_not_serve() -> None:
    """Nobody answers until the node with the state is back."""
    pair = stage(settings=requiring)
    pair.break_now("event-overrun", "gw1", lasts=8 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("agent-kill", "gw1", lasts=7 * SECOND)
    pair.run_for(6 * SECOND)
    assert pair.answering() == []
    assert ("gate", "failed") in steps(pair, "gw2")
    pair.run_for(20 * SECOND)
    assert pair.answering() == ["gw1"]


def test_two_nodes_that_start_do_not_wait_for_a_state_that_nobody_had() -> None:
    """The first is Active as soon as without replication."""
    pair = stage()
    first = next(at for at, _, kind, what in pair.world.trace if kind == "moved" and what.new.name == "ACTIVE")
    assert first < 4 * pair.advertise + 100 * MILLISECOND
    assert pair.world.checker.stateful.judged == 0


def test_a_returning_node_takes_nothing_before_it_has_the_state() -> None:
    """With preemption it goes home, by a hand-over, when its replica is complete; not one flow is missing then."""
    pair = Stage(load_plan(STATEFUL))
    pair.break_now("node-power-loss", "gw1", lasts=3 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("slow-standby", "gw1", lasts=9 * SECOND, amount=1500 * MILLISECOND)
    pair.run_for(20 * SECOND)
    assert pair.active() == ["gw1"]
    assert len(pair.gaps()) == 1
    assert (pair.world.checker.stateful.judged, pair.world.checker.stateful.waived) == (2, 0)


def test_a_core_that_is_forked_anew_beside_a_living_replicator_goes_on() -> None:
    """On either node: the replicator tells the new core what it holds."""
    for node in ("gw1", "gw2"):
        pair = stage()
        pair.break_now("agent-restart", node)
        pair.run_for(500 * MILLISECOND)
        assert pair.moves(node)[-1].reason == ("adopted" if node == "gw1" else "started")
        pair.break_now("node-power-loss", "gw1", lasts=20 * SECOND)
        pair.run_for(SECOND)
        assert pair.answering() == ["gw2"]
        assert (pair.world.checker.stateful.judged, pair.world.checker.stateful.waived) == (1, 0)


def test_an_old_active_says_that_it_stopped_when_its_kernel_is_quiet() -> None:
    """And nothing is offered by a node whose hands hang: they could not stop answering."""
    pair = stage()
    gw1 = pair.machine("gw1").kernel
    gw1.busy_until = pair.world.now + 4 * SECOND
    pair.break_now("switchover", target="edge")
    pair.run_for(2 * SECOND)
    assert pair.active() == ["gw1"]
    assert pair.answering() == ["gw1"]
    assert pair.moves() == []
    assert ("handover", "failed") in steps(pair, "gw1")
    assert ("promotion", "started") not in steps(pair, "gw2")


# --- controls: each would be seen


def test_a_gate_that_is_always_open_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing is slow: the address answers before what had been received is in the kernel."""

    def begin(self: Gate, now: Instant, **_: Any) -> Passage:
        self.why = "always open"
        return Passage.OPEN

    monkeypatch.setattr(Gate, "begin", begin)

    def story() -> None:
        for seed in range(1, 9):
            pair = stage(seed)
            pair.break_now("slow-standby", "gw2", lasts=20 * SECOND, amount=900 * MILLISECOND)
            pair.run_for(SECOND)
            pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
            pair.run_for(3 * SECOND)

    assert violated(story) == "state-first"


def test_a_gate_that_takes_any_answer_for_yes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replica is not agreed on, and the promotion goes on as if it were."""
    answered = Gate.answered
    monkeypatch.setattr(Gate, "answered", lambda self, now, event: answered(self, now, replace(event, complete=True)))
    pair = stage()
    pair.break_now("event-overrun", "gw1", lasts=20 * SECOND)
    pair.run_for(SECOND)
    pair.break_now("node-power-loss", "gw1", lasts=20 * SECOND)
    assert violated(lambda: pair.run_for(5 * SECOND)) == "state-first"


def test_two_originals_are_seen() -> None:
    """The old Active hands over and goes on writing its own flows as the original's."""

    class Keeps(Node):
        def handle(self, now: Instant, event: Event) -> list[Effect]:
            return [e for e in super().handle(now, event) if not (isinstance(e, OwnFlows) and not e.own)]

    pair = stage(make_node=Keeps)
    pair.break_now("switchover", target="edge")
    assert violated(lambda: pair.run_for(20 * SECOND)) == "one-original"


def test_a_replica_that_differs_is_seen() -> None:
    """An entry of the replica is lost, and nobody has noticed yet."""
    pair = stage()
    pair.run_for(5 * SECOND)
    pair.world.flows.tables["gw2"][pair.group].clear()
    settle = settle_time(pair.advertise)
    assert violated(lambda: pair.world.checker.converged(faults_over_for=settle)) == "replica"


def test_an_old_active_that_speaks_before_its_kernel_is_quiet_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its word that it stopped overtakes its hands: the successor announces while the old kernel still answers."""
    monkeypatch.setattr(Handover, "commit", lambda self, now, out: True)

    def story() -> None:
        for seed in range(1, 9):
            pair = stage(seed)
            pair.machine("gw1").kernel.slow = 5 * MILLISECOND
            pair.break_now("switchover", target="edge")
            pair.run_for(SECOND)

    assert violated(story) == "handed-over"


def test_without_replication_nothing_of_it_happens() -> None:
    """A stateless pair asks nobody, owns nothing, and its world has no traffic."""
    done: list[Effect] = []

    class Recorder(Node):
        def handle(self, now: Instant, event: Event) -> list[Effect]:
            effects = super().handle(now, event)
            done.extend(effects)
            return effects

    pair = Stage(load_plan(STATEFUL.parent / "pair.yaml"), make_node=Recorder)
    pair.break_now("node-power-loss", "gw1", lasts=3 * SECOND)
    pair.run_for(SECOND)
    assert pair.world.flows.groups == set()
    assert any(isinstance(effect, Moved) for effect in done)
    assert not [effect for effect in done if isinstance(effect, AskFlows | OwnFlows)]
