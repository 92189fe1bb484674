"""Which node takes a file when and how: the standby first, handed over before an agent restarts, or refused."""

from dataclasses import replace

import pytest

from understudy.agent.reload import TABLE
from understudy.config import load_plan
from understudy.rollout.plan import (
    CHECKED,
    NEVER,
    OBSERVING_MAX,
    RESTARTS,
    Change,
    Observing,
    Seen,
    Step,
    Way,
    elsewhere,
    objections,
    observing,
    steps,
    way,
)
from understudy.units import MILLISECOND

LIVE = Change("servers", "service web: server web3:8080 added", True, "")
RESTART = Change("group-vrid", "group edge: vrid 7 -> 8", False, "")
REFUSED = Change("cluster", "cluster shop -> shops", False, "")
TEXT = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2}
  web1: {inside: 10.9.0.11}
redundancy:
  edge: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.10, inside: 10.9.0.254}}
services:
  web: {listen: '203.0.113.10:80', servers: [web1:8080], check: {tcp: true, every: 200ms, timeout: 100ms, fall: 2}}
"""


def node(name: str, active: str = "", *changes: Change, here: bool = True, way_back: bool = True) -> Seen:
    """`active`: the groups that it serves, of `edge` and `brim`; its partner is the other one."""
    partner = {"gw1": "gw2", "gw2": "gw1"}[name]
    partners = {"edge": partner, "brim": partner}
    return Seen(name, frozenset(active.split()), partners, changes, not changes, way_back, here)


def words(found: tuple[Step, ...]) -> list[str]:
    return [" ".join(filter(None, (step.action, step.node, step.group, step.to))) for step in found]


def test_a_live_change_goes_to_the_standby_first_and_is_confirmed_when_all_have_it() -> None:
    """Nobody is handed over."""
    pair = [node("gw1", "edge", LIVE), node("gw2", "", LIVE)]
    assert words(steps(pair)) == ["reload gw2", "reload gw1", "confirm gw2", "confirm gw1"]


def test_a_shorter_interval_goes_to_the_active_first() -> None:
    """Unless agents restart: then the one that serves has to be relieved before."""
    pair = [node("gw1", "edge", LIVE), node("gw2", "", LIVE)]
    assert words(steps(pair, shorter=True))[:2] == ["reload gw1", "reload gw2"]
    both = [node("gw1", "edge", LIVE, RESTART), node("gw2", "", LIVE, RESTART)]
    assert words(steps(both, shorter=True))[0] == "restart gw2"


def test_an_agent_that_serves_is_relieved_before_it_restarts() -> None:
    """Of every group that it serves by then, also of those that were handed to it on the way."""
    pair = [node("gw1", "edge", RESTART), node("gw2", "", RESTART)]
    assert words(steps(pair)) == [
        "restart gw2", "switchover gw1 edge gw2", "restart gw1", "confirm gw2", "confirm gw1",
    ]  # fmt: skip
    crossed = [node("gw1", "edge", RESTART), node("gw2", "brim", RESTART)]
    assert words(steps(crossed)) == [
        "switchover gw1 edge gw2", "restart gw1",
        "switchover gw2 brim gw1", "switchover gw2 edge gw1", "restart gw2",
        "confirm gw1", "confirm gw2",
    ]  # fmt: skip


def test_a_group_beside_a_plain_router_is_not_handed_over() -> None:
    """There is no channel to its peer; the farewell of the agent that ends must do."""
    alone = Seen("gw1", frozenset({"edge"}), {}, (RESTART,), False, True)
    assert words(steps([alone])) == ["restart gw1", "confirm gw1"]


def test_an_upgrade_restarts_every_agent_and_has_nothing_to_confirm() -> None:
    """The file is the same."""
    pair = [node("gw1", "edge"), node("gw2")]
    assert words(steps(pair, restart=True)) == ["restart gw2", "switchover gw1 edge gw2", "restart gw1"]
    assert steps(pair) == ()


def test_a_live_change_that_cannot_be_undone_live_needs_a_restart() -> None:
    """Or the node could not go back by itself."""
    added = Change("group", "group more added", True, "")
    assert way(node("gw1", "", added)) is Way.LIVE
    assert way(node("gw1", "", added, way_back=False)) is Way.RESTART


def test_nodes_that_do_not_answer_here_get_words_and_no_steps() -> None:
    """What to run on them."""
    pair = [node("gw1", "edge", RESTART), node("gw2", here=False)]
    assert words(steps(pair)) == ["switchover gw1 edge gw2", "restart gw1", "confirm gw1"]
    assert elsewhere(pair, "new.yaml") == ("first, since this node serves: on gw2: understudy apply new.yaml",)
    standby = [node("gw1", "", RESTART), node("gw2", here=False)]
    assert elsewhere(standby, "new.yaml", restart=True) == ("then: on gw2: understudy apply new.yaml --restart",)


def test_what_no_pair_can_be_led_through_is_refused_with_its_reason() -> None:
    """Once, though both nodes say it; a kind that nobody has judged is refused too."""
    assert objections([node("gw1", "edge", LIVE, RESTART)]) == []
    refused = objections([node("gw1", "edge", REFUSED), node("gw2", "", REFUSED)])
    assert refused == [f"cluster shop -> shops: {NEVER['cluster']}"]
    assert objections([node("gw1", "", Change("new-kind", "something", False, "unjudged"))]) == ["something: unjudged"]


@pytest.mark.parametrize("kind", [verdict.kind for verdict in TABLE if not verdict.live])
def test_every_change_that_a_running_node_refuses_is_judged(kind: str) -> None:
    """In exactly one of the two tables."""
    assert (kind in RESTARTS) != (kind in NEVER)


def test_no_change_that_is_live_is_in_a_table_of_refusals() -> None:
    """Control: the tables hold nothing but refusals."""
    live = {verdict.kind for verdict in TABLE if verdict.live}
    assert not live & (RESTARTS.keys() | NEVER.keys())
    assert live >= CHECKED


def test_nodes_are_observed_until_their_checks_would_have_told() -> None:
    """Only where servers are concerned, and not for ever."""
    plan = load_plan(TEXT.encode())
    assert observing([node("gw1", "", LIVE)], plan) == Observing(500 * MILLISECOND, frozenset({"web"}))
    assert observing([node("gw1", "", RESTART)], plan) == Observing()
    slow = load_plan(TEXT.replace("every: 200ms", "every: 1m").encode())
    assert observing([node("gw1", "", LIVE)], slow) == Observing(OBSERVING_MAX)


def test_a_group_that_the_file_does_not_have_is_handed_to_nobody() -> None:
    """Who has taken the file does not know it; the others are handed over as ever."""
    removed = Change("group-gone", "group brim removed", False, "")
    pair = [
        replace(each, gone=frozenset({"brim"}))
        for each in (node("gw1", "edge brim", removed), node("gw2", "", removed))
    ]
    assert words(steps(pair))[:3] == ["restart gw2", "switchover gw1 edge gw2", "restart gw1"]
    kept = [replace(each, gone=frozenset()) for each in pair]
    assert "switchover gw1 brim gw2" in words(steps(kept))
