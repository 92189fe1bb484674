"""A change carried out over a pair in memory: what is asked of whom, and that every failure leads back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from understudy.errors import OperatorError
from understudy.rollout import carry
from understudy.rollout.carry import Outcome, Rollout, Timing
from understudy.rollout.plan import Seen, Step, steps

OLD, NEW = "old", "new"
QUICK, SLOW = Timing(trial_s=30, step_s=0.2), Timing(trial_s=30, step_s=10)


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
    checked: bool = True


@dataclass
class Pair:
    """Two nodes that obey, but for what `breaks` names: `WORD NODE` is refused, `after WORD NODE` leaves it broken,
    `torn WORD NODE` does it and gives no answer.
    """

    breaks: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=lambda: {"gw1": Node("gw1", True), "gw2": Node("gw2", False)})
    silent: dict[str, int] = field(default_factory=dict)
    """By node: so many questions go unanswered."""
    offers_lost: int = 0
    """So many are not taken."""
    took: Callable[[Node], None] = lambda node: None
    """A node runs the file."""

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
        if self.silent.get(node, 0):
            self.silent[node] -= 1
            raise OperatorError("E5303", f"{node} did not answer")
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
            "servers": [{"service": "web", "name": "web1:80", "up": True, "checked": each.checked}],
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
            self.took(each)
        return self._tear(word, name, reply)

    def _tear(self, word: str, name: str, reply: dict[str, Any]) -> dict[str, Any]:
        if f"torn {word} {name}" in self.breaks:
            raise OperatorError("E5303", f"{name} ended before it answered")
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
        return self._tear(word, node, reply)

    def switchover(self, node: str, group: str) -> dict[str, Any]:
        reply = self._do("switchover", node)
        if self.offers_lost:
            self.offers_lost -= 1
        elif not reply:
            self.nodes[node].active, self._other(node).active = False, True
        return self._tear("switchover", node, reply)


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


@pytest.mark.parametrize("lost", [0, 2])
def test_an_offer_that_nobody_took_in_time_is_made_again(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """A standby that stalled for a moment is no reason to go back."""
    monkeypatch.setattr(carry, "AGAIN_S", 0.0)
    pair = Pair(offers_lost=lost)
    assert carried(pair, RESTART, SLOW).error == ""
    assert pair.asked.count("switchover gw1") == 1 + lost


def test_offers_are_made_no_faster_than_a_node_makes_them_itself() -> None:
    """And not for ever."""
    pair = Pair(offers_lost=100)
    assert carried(pair, RESTART).error == "gw1: switchover edge: nobody takes edge over"
    assert pair.asked.count("switchover gw1") == 1


@pytest.mark.parametrize("word", ["restart gw2", "switchover gw1", "restart gw1"])
def test_an_order_whose_answer_was_lost_may_have_been_taken(word: str) -> None:
    """What the node does tells."""
    pair = Pair(frozenset({f"torn {word}"}))
    assert carried(pair, RESTART).error == ""
    assert pair.asked.count(word) == 1


def test_a_way_back_whose_answer_was_lost_may_have_been_gone() -> None:
    pair = Pair(frozenset({"after restart gw2", "torn back gw2"}))
    outcome = carried(pair, RESTART)
    assert (outcome.stuck, pair.nodes["gw2"].digest) == ([], OLD)


def test_a_node_that_gives_no_answer_for_a_moment_does_not_run_another_file() -> None:
    """When it has begun anew, and before anything was asked of it."""

    def begin(node: Node) -> None:
        answers[:] = [True, False, False]

    answers: list[bool] = []

    class Stalling(Pair):
        def status(self, node: str) -> dict[str, Any]:
            if node == "gw2" and answers and not answers.pop(0):
                raise OperatorError("E5303", f"{node} did not answer")
            return super().status(node)

    assert carried(Stalling(took=begin), RESTART, SLOW).error == ""
    pair = Pair(silent={"gw2": 2})
    assert carried(pair, RESTART, SLOW).error == ""
    pair = Pair(silent={"gw2": 10**6})
    outcome = carried(pair, RESTART)
    assert (outcome.error, outcome.steps, pair.asked) == ("gw2 does not answer", [], [])


def test_late_checks_are_waited_for_before_the_active_takes_the_file() -> None:
    """However long ago the standby took it: the checks of a stalled process have told nothing yet."""

    def uncheck(node: Node) -> None:
        node.checked = False

    observed = Timing(trial_s=30, step_s=0.2, observe_s=0.01, services=frozenset({"web"}))
    pair = Pair(took=uncheck)
    outcome = carried(pair, LIVE, observed)
    assert outcome.error == "gw2: reload: gw2: server web1:80 of web is not checked yet"
    assert pair.asked == ["reload gw2", "back gw2"]
    begun = time.monotonic()
    pair = Pair(took=uncheck)

    def answers() -> dict[str, bool]:
        """Looked at with every look at the nodes."""
        for node in pair.nodes.values():
            node.checked |= time.monotonic() > begun + 0.3
        return {}

    observed = Timing(trial_s=30, step_s=10, observe_s=0.01, services=frozenset({"web"}))
    outcome = carried(pair, LIVE, observed, answers=answers)
    assert outcome.error == ""
    assert time.monotonic() > begun + 0.3
