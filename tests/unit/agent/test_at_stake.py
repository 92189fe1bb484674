"""Which flows a change touches: by the addresses and ports that go, each flow counted once."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from understudy.agent import at_stake
from understudy.agent.at_stake import EXAMPLES_MAX, Tuples, count, stakes
from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.units import NodeName

TEXT = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2}
  web1: {inside: 10.9.0.11}
  web2: {inside: 10.9.0.12}
redundancy:
  edge: {nodes: [gw1, gw2], addresses: {outside: [203.0.113.10, 203.0.113.20], inside: 10.9.0.254}}
services:
  api: {listen: '203.0.113.10:81', servers: [web1:8080, web2:8080], check: {tcp: true}}
  web: {listen: '203.0.113.20:80', servers: [web1:8080, web2:8080], check: {tcp: true}}
nat:
  - {source: inside, to: outside}
"""
NODE = NodeName("gw1")


def plan(*edits: tuple[str, str]) -> Plan:
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return load_plan(text.encode())


def flow(destination: str, port: int, server: str = "10.9.0.11", client: str = "198.51.100.7") -> Tuples:
    """From `client` to a service."""
    words = f"{client} to {destination}:{port}"
    return Tuples(
        lambda: words, (ip_address(destination), port), (ip_address(server), 8080), (ip_address(client), 4711)
    )


OUTWARD = Tuples(
    lambda: "out", (ip_address("198.51.100.9"), 443), (ip_address("198.51.100.9"), 443), (ip_address("203.0.113.10"), 5)
)
"""From inside, translated to the group's first address."""
FLOWS = (flow("203.0.113.10", 81), flow("203.0.113.20", 80), flow("203.0.113.20", 80, "10.9.0.12"), OUTWARD)


def touched(new: Plan, flows: tuple[Tuples, ...] = FLOWS) -> dict[str, tuple[bool, int]]:
    found = stakes(plan(), new, NODE)
    count(found, flows)
    return {stake.what: (stake.ends, stake.flows) for stake in found}


def test_the_same_file_touches_nothing() -> None:
    """Control of all that follows."""
    assert stakes(plan(), plan(), NODE) == []


def test_a_removed_address_ends_its_flows() -> None:
    """To it, and translated to it."""
    new = plan(("[203.0.113.10, 203.0.113.20]", "203.0.113.20"), ("203.0.113.10:81", "203.0.113.20:81"))
    assert touched(new) == {
        "address 203.0.113.10 of edge": (True, 1),
        "translations to 203.0.113.10 of edge": (True, 1),
        "service api at 203.0.113.10 port 81": (False, 0),
    }


def test_a_removed_service_and_a_removed_server_leave_their_flows_alone() -> None:
    """They are told all the same."""
    new = plan(("  web: {listen: '203.0.113.20:80', servers: [web1:8080, web2:8080], check: {tcp: true}}\n", ""))
    assert touched(new) == {"service web at 203.0.113.20 port 80": (False, 2)}
    new = plan(("20:80', servers: [web1:8080, web2:8080]", "20:80', servers: [web1:8080]"))
    assert touched(new) == {"server web2:8080 of web": (False, 1)}


def test_an_address_that_moves_to_another_group_of_the_node_is_not_gone() -> None:
    """This node answers for it as before."""
    less = ("[203.0.113.10, 203.0.113.20]", "203.0.113.10")
    more = "  more: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.20, inside: 10.9.0.253}}\nservices:"
    moved = plan(less, ("services:", more), ("nat:\n  - {source: inside, to: outside}\n", ""))
    gone = "address 203.0.113.20 of edge"
    assert gone not in touched(moved)
    assert gone in touched(plan(less, ("203.0.113.20:80", "203.0.113.10:80")))


def test_a_few_examples_are_kept_and_no_other_flow_is_put_into_words() -> None:
    """Of many: words cost more than all the rest."""
    new = plan(("  web: {listen: '203.0.113.20:80', servers: [web1:8080, web2:8080], check: {tcp: true}}\n", ""))
    found = stakes(plan(), new, NODE)
    told: list[int] = []

    def numbered(number: int) -> Tuples:
        each = flow("203.0.113.20", 80, client=f"198.51.100.{number}")
        return replace(each, words=lambda: told.append(number) or str(number))

    count(found, map(numbered, range(1, 20)))
    assert (found[0].flows, found[0].examples, told) == (19, ["1", "2", "3"], [1, 2, 3])
    assert len(told) == EXAMPLES_MAX


def test_of_a_table_that_takes_too_long_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks gets the rest in time. The control is the same table with time enough."""

    class Table:
        def list(self, groups: object) -> Iterator[list[bytes]]:
            yield from [[]] * 3

        def close(self) -> None:
            pass

    monkeypatch.setattr(at_stake, "FlowTable", Table)
    new = plan(("  web: {listen: '203.0.113.20:80', servers: [web1:8080, web2:8080], check: {tcp: true}}\n", ""))
    for seconds, ends, flows in ((60.0, 0, 0), (-1.0, None, None)):
        monkeypatch.setattr(at_stake, "COUNT_S_MAX", seconds)
        found = at_stake.at_stake(plan(), new, NODE)
        assert (found["ends"], found["goes_on"], found["by"][0]["flows"]) == (ends, ends, flows)
