"""Cross-checks whose bad files would be too long to keep, and figures that have to be exact."""

import pytest

from understudy.config import load_plan
from understudy.config.problems import Problems
from understudy.config.rules import services as service_rules
from understudy.config.rules.objectives import MARGIN, interval_max, outage_max
from understudy.units import CENTISECOND, MILLISECOND, SECOND

PAIR = """cluster: shop
networks: {lan: 10.0.0.0/16}
nodes:
  a: {lan: 10.0.0.1}
  b: {lan: 10.0.0.2}
  web: {lan: 10.0.0.3}
redundancy: {edge: {nodes: [a, b], addresses: {lan: 10.0.0.10}}}
services: {web: {listen: '10.0.0.10:80', servers: [web:80]}}
"""


def codes(text: str) -> set[str]:
    """The codes of all problems of a file; none if it is right."""
    try:
        load_plan(text.encode())
    except Problems as problems:
        return {problem.code for problem in problems.problems}
    return set()


def test_a_node_of_a_group_stands_among_the_first_255() -> None:
    """One byte names it on the channel; a node that is in no group may stand anywhere."""
    others = "".join(f"  n{i}: {{lan: 10.0.{i // 200 + 1}.{i % 200 + 1}}}\n" for i in range(253))
    assert codes(PAIR.replace("nodes:\n", "nodes:\n" + others, 1)) == set()
    assert codes(PAIR.replace("nodes:\n", "nodes:\n  one: {lan: 10.0.0.9}\n" + others, 1)) == {"E2307"}


def test_all_services_together_reach_no_more_servers_than_marks_can_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service that exceeds the limit is named, once; the limit itself is allowed."""
    second = PAIR.replace("[web:80]}", "[web:80, web:81]}, more: {listen: '10.0.0.10:81', servers: [web:80, web:81]}")
    monkeypatch.setattr(service_rules, "BINDINGS_MAX", 4)
    assert codes(second) == set()
    monkeypatch.setattr(service_rules, "BINDINGS_MAX", 3)
    assert codes(second) == {"E2410"}
    monkeypatch.setattr(service_rules, "BINDINGS_MAX", 1)
    assert codes(second) == {"E2410"}


@pytest.mark.parametrize("nodes", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("outage", [60 * MILLISECOND, 180 * MILLISECOND, 500 * MILLISECOND, SECOND, 60 * SECOND])
def test_the_largest_interval_is_the_largest(outage: int, nodes: tuple[str, ...]) -> None:
    """It keeps the objective, and one step more does not."""
    interval = interval_max(outage, nodes)
    assert outage_max(interval, nodes) <= outage < outage_max(interval + CENTISECOND, nodes)


def test_the_longest_outage_is_three_intervals_skew_and_margin() -> None:
    """The standby of a pair has priority 240, its skew is 16/256 of an interval (RFC 9568, section 6.1)."""
    assert outage_max(SECOND, ("a", "b")) == 3 * SECOND + SECOND // 16 + MARGIN


def test_a_gateway_may_be_a_node_of_the_file() -> None:
    """The router of a LAN may be declared as a node, its address is then named twice for good."""
    routed = PAIR.replace("{lan: 10.0.0.0/16}", "{lan: {prefixes: 10.0.0.0/16, gateway: 10.0.0.254}}")
    assert codes(routed.replace("nodes:\n", "nodes:\n  isp: {lan: 10.0.0.254}\n", 1)) == set()


def test_the_ends_of_a_point_to_point_prefix_are_addresses() -> None:
    """RFC 3021 and RFC 6164: a /31 and a /127 have neither a network nor a broadcast address."""
    linked = PAIR.replace("{lan: 10.0.0.0/16}", "{lan: 10.0.0.0/16, link: [192.0.2.0/31, fd00::/127]}")
    linked = linked.replace("a: {lan: 10.0.0.1}", "a: {lan: 10.0.0.1, link: [192.0.2.0, 'fd00::']}")
    linked = linked.replace("b: {lan: 10.0.0.2}", "b: {lan: 10.0.0.2, link: [192.0.2.1, 'fd00::1']}")
    assert codes(linked) == set()


def test_one_broken_value_breeds_no_false_problems() -> None:
    """What a broken entry would have provided is not missed a second time."""
    assert codes(PAIR.replace("b: {lan: 10.0.0.2}", "b: {lan: 10.0.0}")) == {"E2109"}
    assert codes(PAIR.replace("lan: 10.0.0.0/16", "lan: 10.0.0.0")) == {"E2110"}
    assert codes(PAIR.replace("addresses: {lan: 10.0.0.10}", "addresses: {lan: 10.0.0}")) == {"E2109"}
    assert codes(PAIR.replace("redundancy:", "redundancies:")) == {"E2101"}
    assert codes(PAIR.replace("services:", "service:") + "objectives: {web: {outage: 9s}}\n") == {"E2101"}


def test_one_broken_value_hides_no_other_problem() -> None:
    """Problems between values are found beside a broken value, also in the same entry."""
    broken = PAIR.replace("{nodes: [a, b]", "{vrid: 300, nodes: [a, c]").replace("web:80]", "web:80], state: hot")
    assert codes(broken.replace("listen: '10.0.0.10:80'", "listen: '10.0.0.11:80'")) == {
        "E2104",
        "E2116",
        "E2302",
        "E2401",
    }
