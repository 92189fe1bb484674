"""A change carried out over a pair in memory: what is asked of whom, and that every failure leads back."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from understudy.errors import OperatorError
from understudy.rollout import carry
from understudy.rollout.carry import Outcome, Rollout, Timing
from understudy.rollout.plan import Seen, Step, steps

OLD, NEW = "old", "new"
QUICK = Timing(trial_s=30, step_s=0.2)


@dataclass
class Node:
    """What a node answers by. `trial` is the file that it would go back to."""

    name: str
    active: bool
    digest: str = OLD
    trial: str = ""
    epoch: int = 1
    alive: bool = True
    missing: tuple[str, ...] = ()


@dataclass
class Pair:
    """Two nodes that obey, but for what `breaks` names: `WORD NODE` is refused, `after WORD NODE` leaves it broken."""

    breaks: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=lambda: {"gw1": Node("gw1", True), "gw2": Node("gw2", False)})

    def _do(self, word: str, name: str) -> dict[str, Any]:
        self.asked.append(f"{word} {name}")
        if f"{word} {name}" in self.breaks:
            return {"error": {"code": "E5234", "message": f"{name} would not {word}"}}
        return {}

    def _other(self, name: str) -> Node:
        return self.nodes["gw2" if name == "gw1" else "gw1"]

    def status(self, node: str) -> dict[str, Any]:
        each, other = self.nodes[node], self._other(node)
        if not each.alive:
            raise OperatorError("E5301", f"no agent of {node}")
        return {
            "node": node,
            "digest": each.digest,
            "epoch": each.epoch,
            "groups": [
                {
                    "name": "edge",
                    "role": "active" if each.active else "backup",
                    "peers": [{"name": other.name, "heard": other.alive, "eligible": other.alive}],
                }
            ],
            "servers": [],
        }

    def inspect(self, node: str, *, flows: bool = True) -> dict[str, Any]:
        return {"missing": self.nodes[node].missing, "trial_s": 1.0 if self.nodes[node].trial else None}

    def _take(self, word: str, name: str, trial_s: float) -> dict[str, Any]:
        reply = self._do(word, name)
        if not reply:
            each = self.nodes[name]
            if trial_s:
                each.trial = each.trial or each.digest
            each.digest = NEW
            each.epoch += 1
            if f"after {word} {name}" in self.breaks:
                each.missing = ("+ address 203.0.113.10",)
            if f"no life after {word} {name}" in self.breaks:
                each.alive = False
        return reply

    def reload(self, node: str, trial_s: float) -> dict[str, Any]:
        return self._take("reload", node, trial_s)

    def restart(self, node: str, trial_s: float) -> dict[str, Any]:
        return self._take("restart", node, trial_s)

    def say(self, node: str, word: str, trial_s: float = 0.0) -> dict[str, Any]:
        reply = self._do(word, node)
        each = self.nodes[node]
        if not reply and word == "confirm":
            each.trial = ""
        elif not reply and word == "back":
            each.digest, each.trial, each.missing, each.epoch = each.trial, "", (), each.epoch + 1
        return reply

    def switchover(self, node: str, group: str) -> dict[str, Any]:
        reply = self._do("switchover", node)
        if not reply:
            self.nodes[node].active, self._other(node).active = False, True
        return reply


def nodes(*, live: bool) -> list[Seen]:
    return [
        Seen("gw1", frozenset({"edge"}), {"edge": "gw2"}, (), False, live),
        Seen("gw2", frozenset(), {"edge": "gw1"}, (), False, live),
    ]


LIVE, RESTART = steps(nodes(live=True)), steps(nodes(live=False))


def carried(pair: Pair, todo: tuple[Step, ...], timing: Timing = QUICK, **more: Any) -> Outcome:
    return Rollout(pair, ["gw1", "gw2"], NEW, timing, **more).run(todo)


def results(outcome: Outcome) -> list[str]:
    return [f"{done.action} {done.node} {done.result}" for done in outcome.steps]


def test_a_live_change_is_taken_by_both_and_confirmed_at_the_end() -> None:
    """Nothing else is asked of them."""
    pair = Pair()
    outcome = carried(pair, LIVE)
    assert (outcome.error, outcome.stuck) == ("", [])
    assert pair.asked == ["reload gw2", "reload gw1", "confirm gw2", "confirm gw1"]
    assert [(node.digest, node.trial) for node in pair.nodes.values()] == [(NEW, "")] * 2


def test_a_restart_hands_over_in_between() -> None:
    """And ends with the roles exchanged."""
    pair = Pair()
    assert carried(pair, RESTART).error == ""
    assert pair.asked == ["restart gw2", "switchover gw1", "restart gw1", "confirm gw2", "confirm gw1"]
    assert pair.nodes["gw2"].active


FAILURES: dict[str, tuple[tuple[Step, ...], list[str]]] = {
    "reload gw2": (LIVE, ["reload gw2"]),
    "after reload gw2": (LIVE, ["reload gw2", "back gw2"]),
    "reload gw1": (LIVE, ["reload gw2", "reload gw1", "back gw2"]),
    "after reload gw1": (LIVE, ["reload gw2", "reload gw1", "back gw1", "back gw2"]),
    "restart gw2": (RESTART, ["restart gw2"]),
    "after restart gw2": (RESTART, ["restart gw2", "back gw2"]),
    "switchover gw1": (RESTART, ["restart gw2", "switchover gw1", "back gw2"]),
    "restart gw1": (RESTART, ["restart gw2", "switchover gw1", "restart gw1", "switchover gw2", "back gw2"]),
    "after restart gw1": (
        RESTART,
        ["restart gw2", "switchover gw1", "restart gw1", "back gw1", "switchover gw2", "back gw2"],
    ),
}
"""For everything that may fail: what is asked of the nodes then."""


@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_fails_every_node_ends_with_its_old_file(failure: str) -> None:
    """The last one first, none without somebody who serves meanwhile, and the roles are as before."""
    todo, asked = FAILURES[failure]
    pair = Pair(frozenset({failure}))
    outcome = carried(pair, todo)
    assert outcome.error
    assert outcome.stuck == []
    assert pair.asked == asked
    assert [(node.digest, node.trial, node.active) for node in pair.nodes.values()] == [
        (OLD, "", True),
        (OLD, "", False),
    ]


def test_a_node_that_does_not_come_back_is_told_and_the_other_goes_on_serving() -> None:
    """The standby dies with the new file: the Active is never touched."""
    pair = Pair(frozenset({"no life after restart gw2"}))
    outcome = carried(pair, RESTART)
    assert outcome.stuck == ["gw2"]  # it cannot be asked; its own trial leads it back, if it lives
    assert "gw2" in outcome.error
    assert (pair.nodes["gw1"].digest, pair.nodes["gw1"].active) == (OLD, True)


def test_a_node_that_refuses_to_go_back_does_not_keep_the_other_from_it() -> None:
    """It is named, and the others are led back."""
    pair = Pair(frozenset({"after reload gw1", "back gw1"}))
    outcome = carried(pair, LIVE)
    assert outcome.stuck == ["gw1"]
    assert pair.nodes["gw2"].digest == OLD


def test_a_change_that_was_confirmed_by_one_node_only_is_stuck() -> None:
    """The confirmed one keeps no way back; the other goes back."""
    pair = Pair(frozenset({"confirm gw1"}))
    outcome = carried(pair, LIVE)
    assert outcome.stuck == ["gw2"]
    assert [pair.nodes[name].digest for name in ("gw1", "gw2")] == [OLD, NEW]


def test_an_upgrade_that_fails_after_the_hand_over_is_handed_back() -> None:
    """The same file: nothing is on trial, but the node that was not upgraded serves again."""
    same = [
        Seen("gw1", frozenset({"edge"}), {"edge": "gw2"}, (), True, True),
        Seen("gw2", frozenset(), {}, (), True, True),
    ]
    pair = Pair(frozenset({"restart gw1"}))
    for node in pair.nodes.values():
        node.digest = NEW
    outcome = carried(pair, steps(same, restart=True))
    assert outcome.error
    assert pair.asked == ["restart gw2", "switchover gw1", "restart gw1", "switchover gw2"]
    assert pair.nodes["gw1"].active


def test_whoever_asks_to_stop_is_heeded_between_steps_and_while_one_waits() -> None:
    """And not on the way back."""
    for broken, error in ((), "gw1: reload: interrupted"), (("after reload gw2",), "gw2: reload: interrupted"):
        pair = Pair(frozenset(broken))
        outcome = carried(pair, LIVE, stop=lambda pair=pair: "reload gw2" in pair.asked)
        assert outcome.error == error
        assert pair.asked == ["reload gw2", "back gw2"]
    assert carried(Pair(), LIVE, stop=lambda: True).error == "gw2: reload: interrupted"


def test_more_time_is_asked_for_while_a_step_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every node on trial: none goes back while the change goes on."""
    monkeypatch.setattr(carry, "EXTEND_SHARE", 1e9)  # always due
    pair = Pair()
    carried(pair, LIVE)
    first = pair.asked.index("reload gw1")
    assert "extend gw2" in pair.asked[:first]
    assert {"extend gw1", "extend gw2"} <= set(pair.asked[first:])


def test_what_stops_answering_fails_the_step() -> None:
    """Only what answered before."""
    pair = Pair()
    outcome = carried(pair, LIVE, answers=lambda: {"a": pair.nodes["gw2"].digest == OLD, "b": False})
    assert outcome.error == "gw2: reload: a does not answer"
    assert pair.asked == ["reload gw2", "back gw2"]
