"""Which flows are kept: from `state:` in the file to what a node is told, by the numbers in a flow's mark."""

from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.config.problems import Problems
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import SECOND, NodeName
from understudy.wire.marks import flow_mark

EXAMPLES = Path(__file__).parents[3] / "examples"
GW1, GW2, WEB1 = NodeName("gw1"), NodeName("gw2"), NodeName("web1")
TWO_GROUPS = b"""
cluster: two
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24, office: 10.8.0.0/24}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1, office: 10.8.0.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2, office: 10.8.0.2}
  web1: {inside: 10.9.0.11}
  web2: {inside: 10.9.0.12}
redundancy:
  edge: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.10, inside: 10.9.0.254, office: 10.8.0.254}, copy_every: 7s}
  spare: {nodes: [gw2, gw1], addresses: {outside: 203.0.113.20, inside: 10.9.0.253}, copy_every: 3s}
services:
  web: {listen: 203.0.113.10:80, servers: [web1:80, web2:80], state: replicate}
  old: {listen: 203.0.113.20:80, servers: [web1:80]}
nat:
  - {source: office, to: outside}
"""


def two(*changes: tuple[bytes, bytes]) -> Plan:
    text = TWO_GROUPS
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return load_plan(text)


def test_a_file_without_state_keeps_nothing() -> None:
    """The defaults: no flow is kept, no gate stands, ten seconds and two stand by."""
    settings = load_plan(EXAMPLES / "pair.yaml").settings(GW1)
    assert settings.flows == FlowSettings()
    assert not settings.flows.kept
    group = settings.groups[0]
    assert (group.stateful, group.require_sync, group.gate_deadline) == (False, False, 2 * SECOND)


def bindings(plan: Plan) -> list[int]:
    """In the order of the file."""
    return [server.binding for service in plan.services for server in service.servers]


def test_both_nodes_keep_the_same_flows_and_a_server_none() -> None:
    """What the two compare must be one thing; who is in no group has nothing to keep."""
    plan = load_plan(EXAMPLES / "stateful.yaml")
    first, second = (plan.settings(node) for node in (GW1, GW2))
    assert first.flows == second.flows
    assert first.flows.bindings == dict.fromkeys(bindings(plan), Keeping.REPLICATE)
    assert len(first.flows.bindings) == 2
    assert first.flows.groups == {1: Keeping.REPLICATE}
    assert first.groups[0].stateful
    assert not plan.settings(WEB1).flows.kept


def test_a_flow_is_kept_as_its_service_says_or_its_group() -> None:
    """By binding where it has one, by group where it has none, and never without a group."""
    plan = two((b"to: outside}", b"to: outside, state: copy}"))
    flows = plan.settings(GW1).flows
    _, second, third = bindings(plan)
    web, old = flow_mark(second, 1), flow_mark(third, 2)
    assert [flows.keeping(mark) for mark in (web, old)] == [Keeping.REPLICATE, Keeping.NONE]
    assert [flows.keeping(flow_mark(0, group)) for group in (0, 1, 2)] == [Keeping.NONE, Keeping.COPY, Keeping.NONE]


def test_only_a_group_that_replicates_has_a_gate() -> None:
    """Copies are no state to wait for, and another group's are none of this one's."""
    stateful = [group.stateful for group in two().settings(GW2).groups]
    copying = [group.stateful for group in two((b"state: replicate", b"state: copy")).settings(GW2).groups]
    assert (stateful, copying) == ([True, False], [False, False])


def test_the_greatest_state_of_a_groups_translations_counts_for_all() -> None:
    """Marks tell groups apart and not rules: the plan says what happens, not what stands there."""
    plan = two(
        (
            b"to: outside}",
            b"to: outside, state: replicate}\n  - {source: office, to: inside, state: copy}",
        )
    )
    assert [rule.state for rule in plan.source_nat] == ["replicate", "replicate"]
    assert plan.settings(GW1).flows.groups == {1: Keeping.REPLICATE}


def test_copies_are_made_as_often_as_the_most_impatient_copying_group_asks() -> None:
    """A group that copies nothing has no say."""
    copying = (b"state: replicate", b"state: copy")
    assert two(copying).settings(GW1).flows.copy_every == 7 * SECOND
    both = two(copying, (b"servers: [web1:80]}", b"servers: [web1:80], state: copy}"))
    assert both.settings(GW1).flows.copy_every == 3 * SECOND
    assert two().settings(GW1).flows.copy_every == 10 * SECOND


@pytest.mark.parametrize(
    "change",
    [
        (b"state: replicate", b"state: copy"),
        (b"to: outside}", b"to: outside, state: copy}"),
        (b"to: outside}", b"to: outside, helpers: ftp}"),
        (b"copy_every: 7s", b"copy_every: 8s"),
        (b"copy_every: 7s", b"copy_every: 7s, gate_deadline: 1s"),
        (b"copy_every: 7s", b"copy_every: 7s, require_sync: true"),
    ],
    ids=str,
)
def test_the_nodes_must_agree_on_all_of_it(change: tuple[bytes, bytes]) -> None:
    """Each key is in the digest that heartbeats compare."""
    assert two(change).digest != two().digest


def test_a_state_may_be_given_from_outside() -> None:
    """As by `drill --state`: for every service and translation, and for nothing beside plain VRRP."""
    plan = load_plan(TWO_GROUPS, state="copy")
    kept = plan.settings(GW1)
    assert kept.flows.bindings == dict.fromkeys(bindings(plan), Keeping.COPY)
    assert kept.flows.groups == {1: Keeping.COPY}
    none = load_plan(EXAMPLES / "stateful.yaml", state="none")
    assert not none.settings(GW1).flows.kept
    assert none.digest != load_plan(EXAMPLES / "stateful.yaml").digest
    plain = TWO_GROUPS.replace(b"state: replicate", b"check: tcp").replace(
        b"copy_every: ", b"vrrp: {peer: vrrp}, copy_every: "
    )
    assert not load_plan(plain, state="replicate").settings(GW1).flows.kept


def test_a_broken_state_breeds_no_second_problem() -> None:
    """What the word should have been is not known: `require_sync` may be right."""
    with pytest.raises(Problems) as caught:
        two((b"state: replicate", b"state: replicated"), (b"copy_every: 7s", b"copy_every: 7s, require_sync: true"))
    assert [problem.code for problem in caught.value.problems] == ["E2116"]


def test_state_needs_a_network_that_both_nodes_share() -> None:
    """Nodes that cannot hear each other cannot keep each other's flows: refused with their group, once."""
    apart = TWO_GROUPS.replace(
        b"gw2: {outside: 203.0.113.2, inside: 10.9.0.2, office: 10.8.0.2}", b"gw2: {far: 10.7.0.2}"
    ).replace(b"office: 10.8.0.0/24}", b"office: 10.8.0.0/24, far: 10.7.0.0/24}")
    with pytest.raises(Problems) as caught:
        load_plan(apart)
    assert {problem.code for problem in caught.value.problems} == {"E2306"}
