"""What may change while a node runs: every row of the table, and that nothing changes unsaid."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from understudy.agent import reload
from understudy.agent.loading import packed, receive_order
from understudy.agent.reload import TABLE, added_addresses, compare, compare_keys, surviving
from understudy.agent.running import Running
from understudy.agent.trial import Take
from understudy.cli.reload import in_order
from understudy.config import load_plan
from understudy.config.plan import Group, Plan
from understudy.units import SECOND, NodeName

TEXT = """\
cluster: shop
networks:
  outside: 203.0.113.0/24
  inside: 10.9.0.0/24
  sync: 192.168.250.0/29
  far: 10.77.0.0/24
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1, sync: 192.168.250.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}
  web1: {inside: 10.9.0.11}
  web2: {inside: 10.9.0.12}
  fw1: {outside: 203.0.113.3, inside: 10.9.0.3, far: 10.77.0.1}
  fw2: {outside: 203.0.113.4, inside: 10.9.0.4, far: 10.77.0.2}
redundancy:
  edge:
    nodes: [gw1, gw2]
    addresses: {outside: 203.0.113.10, inside: 10.9.0.254}
    advertise: 100ms
    vrid: 7
  other: {nodes: [fw1, fw2], addresses: {far: 10.77.0.254}, vrid: 8}
services:
  web:
    listen: 203.0.113.10:80
    servers: [web1:8080, web2:8080]
    check: {http: /healthz, every: 1s}
nat:
  - {source: inside, to: outside}
objectives:
  web: {outage: 500ms}
"""
NODE = NodeName("gw1")
COLLIDING = "  s87: {listen: '203.0.113.10:81', servers: [web1:889], check: {tcp: true}}\n"
"""A service whose server falls on the number of TEXT's first, and comes before it."""
SPARE = "  spare: {nodes: [gw1, gw2], addresses: {%s}, vrid: 9}\nservices:"
Edit = Callable[[], Plan]


def plan_of(text: str) -> Plan:
    return load_plan(text.encode())


def edited(old: str, new: str) -> Plan:
    """The plan of the file with other words in it."""
    assert old in TEXT
    return plan_of(TEXT.replace(old, new))


def with_group(**changes: Any) -> Plan:
    """The plan with group `edge` changed as no single edit could."""
    plan = plan_of(TEXT)
    return replace(plan, groups=(replace(plan.groups[0], **changes), *plan.groups[1:]))


@dataclass(frozen=True, slots=True)
class Later(Group):
    """A group as the language may have it one day."""

    more: int = 1


def with_later_group() -> Plan:
    plan = plan_of(TEXT)
    edge = plan.groups[0]
    return replace(plan, groups=(Later(**{f.name: getattr(edge, f.name) for f in fields(edge)}), *plan.groups[1:]))


def with_plain_group() -> Plan:
    """Beside a router that knows version 2 only."""
    return with_group(plain=True, version=2)


EDITS: dict[str, Edit] = {
    "cluster": lambda: edited("cluster: shop", "cluster: shops"),
    "node-gone": lambda: with_group(nodes=(NodeName("gw2"), NodeName("fw2"))),
    "node-number": lambda: edited("nodes:\n", "nodes:\n  web0: {inside: 10.9.0.10}\n"),
    "node-ports": lambda: edited("inside: 10.9.0.2,", "inside: 10.9.0.22,"),
    "network-place": lambda: edited("networks:\n", "networks:\n  first: 10.1.0.0/24\n"),
    "network-prefix": lambda: edited("10.9.0.0/24", "10.9.0.0/23"),
    "group-gone": lambda: with_group(name="brink"),
    "group-number": lambda: with_group(number=3),
    "group-nodes": lambda: with_group(nodes=(NodeName("gw1"), NodeName("fw2"))),
    "group-networks": lambda: with_group(routers=plan_of(TEXT).groups[0].routers[:1]),
    "group-vrid": lambda: edited("vrid: 7", "vrid: 70"),
    "group-vrrp": lambda: edited("vrid: 7", "vrid: 7\n    vrrp: {peer: vrrp}"),
    "group-other": with_later_group,
    "group-ports": lambda: edited("services:", SPARE % "sync: 192.168.250.5"),
    "group": lambda: edited("services:", SPARE % "outside: 203.0.113.20"),
    "group-elsewhere": lambda: edited("addresses: {far: 10.77.0.254}", "addresses: {far: 10.77.0.253}"),
    "address": lambda: edited("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.20],"),
    "advertise": lambda: edited("advertise: 100ms", "advertise: 50ms"),
    "advertise-v2": lambda: with_group(advertise=2 * SECOND, plain=True, version=2),
    "preempt": lambda: edited("vrid: 7", "vrid: 7\n    preempt: true"),
    "priority": lambda: edited("nodes: [gw1, gw2]", "nodes: [gw2, gw1]"),
    "checksum": lambda: edited("vrid: 7", "vrid: 7\n    vrrp: {checksum: rfc5798}"),
    "network": lambda: edited("far: 10.77.0.0/24\n", "far: 10.77.0.0/24\n  new: 10.78.0.0/24\n"),
    "gateway": lambda: edited("far: 10.77.0.0/24", "far: {prefixes: [10.77.0.0/24], gateway: 10.77.0.9}"),
    "node": lambda: edited("redundancy:\n", "  web3: {inside: 10.9.0.13}\nredundancy:\n"),
    "service": lambda: edited(
        "services:\n", "services:\n  api: {listen: '203.0.113.10:81', servers: [web1:8080], check: {tcp: true}}\n"
    ),
    "servers": lambda: edited("[web1:8080, web2:8080]", "[web2:8080, web1:8080]"),
    "binding": lambda: edited("services:\n", "services:\n" + COLLIDING),
    "check": lambda: edited("every: 1s", "every: 2s"),
    "nat": lambda: edited("nat:\n  - {source: inside, to: outside}\n", ""),
    "objective": lambda: edited("outage: 500ms", "outage: 600ms"),
    "state": lambda: edited("servers: [web1:8080, web2:8080]", "servers: [web1:8080, web2:8080]\n    state: replicate"),
    "gate": lambda: edited("vrid: 7", "vrid: 7\n    gate_deadline: 3s"),
}
"""For every kind of change a file, or a plan, that differs so from TEXT's."""


@pytest.mark.parametrize("kind", EDITS)
def test_every_kind_of_change_is_recognized_and_judged(kind: str) -> None:
    """By an example; what is refused says why."""
    old = with_plain_group() if kind == "advertise-v2" else plan_of(TEXT)
    changes = compare(old, EDITS[kind](), NODE)
    assert kind in {change.kind for change in changes}, changes
    (verdict,) = (each for each in TABLE if each.kind == kind)
    for change in changes:
        if change.kind == kind:
            assert change.verdict == verdict
            assert (verdict.because in str(change)) is not verdict.live


def test_every_row_of_the_table_has_an_example() -> None:
    """And every kind one row."""
    assert sorted(verdict.kind for verdict in TABLE) == sorted([*EDITS, "key"])


def test_another_key_file_is_a_live_change() -> None:
    """Said with the number of keys, and whether the first was known: else the peer may not open what it seals."""
    old, new = bytes(32), bytes(range(32))
    assert compare_keys((old,), (old,)) == ()
    said = [compare_keys(*each)[0] for each in (((old,), (old, new)), ((old, new), (new, old)), ((old,), (new,)))]
    assert all(change.verdict.live for change in said)
    assert [change.words for change in said] == [
        "cluster key: 2 keys, sealing with the same",
        "cluster key: 2 keys, sealing with another one",
        "cluster key: 1 key, sealing with another one that this node did not open before: does the peer?",
    ]


def test_the_same_file_changes_nothing() -> None:
    """Nor do comments and order where order means nothing."""
    assert compare(plan_of(TEXT), plan_of("# a comment\n" + TEXT), NODE) == ()


def test_every_field_of_a_group_that_differs_is_said() -> None:
    """Also one that the language learns later: then it is refused until somebody has decided."""
    plan = plan_of(TEXT)
    (edge, other) = plan.groups
    for field in fields(edge):
        if field.name in ("name", "number", "nodes", "routers", "priorities"):
            continue
        value = getattr(edge, field.name)
        changed = (not value) if isinstance(value, bool) else value + 10_000_000
        other_value: dict[str, Any] = {field.name: changed}
        new = replace(plan, groups=(replace(edge, **other_value), other))
        assert compare(plan, new, NODE), field.name


def test_a_group_added_beside_a_plain_one_has_no_channel_to_its_partner() -> None:
    """The agent opened none on any network; another plain group needs none."""
    spare = edited("services:", SPARE % "outside: 203.0.113.20").groups[-1]
    old = with_plain_group()
    kinds = {
        plain: [change.kind for change in compare(old, replace(old, groups=(*old.groups, group)), NODE)]
        for plain in (False, True)
        for group in (replace(spare, plain=plain),)
    }
    assert kinds == {False: ["group-nodes"], True: ["group"]}


def test_a_unicast_group_needs_ports_that_were_opened_for_one() -> None:
    """And a multicast group others, though network and family are the same."""
    spare = edited("services:", SPARE % "outside: 203.0.113.20").groups[-1]
    kinds = {}
    for before in (False, True):
        old = with_group(unicast=before)
        for added in (False, True):
            new = replace(old, groups=(*old.groups, replace(spare, unicast=added)))
            kinds[before, added] = [change.kind for change in compare(old, new, NODE)]
    assert {pair: found[0] for pair, found in kinds.items()} == {
        (before, added): "group" if before == added else "group-ports"
        for before in (False, True)
        for added in (False, True)
    }


def test_a_change_says_what_was_and_what_will_be() -> None:
    """In the operator's words."""
    words = [change.words for change in compare(plan_of(TEXT), edited("advertise: 100ms", "advertise: 50ms"), NODE)]
    assert words == ["group edge: advertise 100ms -> 50ms"]
    longer = edited("[web1:8080, web2:8080]", "[web1:8080, web2:8080, web2:8081]")
    assert [change.words for change in compare(plan_of(TEXT), longer, NODE)] == [
        "service web: server web2:8081 (10.9.0.12) added"
    ]


def test_a_server_that_is_down_stays_down_in_whatever_order() -> None:
    """A server inserted before it takes nothing from it; the new server counts as up."""
    old = plan_of(TEXT)
    new = edited("[web1:8080, web2:8080]", "[web2:8081, web2:8080, web1:8080]")
    web1, web2 = (server.binding for server in old.services[0].servers)
    bindings = {server.name: server.binding for server in new.services[0].servers}
    assert surviving(old, new, frozenset({web1})) == {bindings["web1:8080"], bindings["web2:8081"]}
    assert surviving(old, new, frozenset({web1, web2})) == set(bindings.values())


def test_a_server_that_is_no_longer_checked_is_up() -> None:
    """Nobody would ever find out that it is back."""
    new = edited("check: {http: /healthz, every: 1s}", "check: none")
    assert surviving(plan_of(TEXT), new, frozenset()) == {server.binding for server in new.services[0].servers}


def test_only_added_addresses_are_told_to_the_lans() -> None:
    """Those that went, and other changes, are not."""
    more = edited("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.20],")
    assert added_addresses(plan_of(TEXT), more)
    assert not added_addresses(more, plan_of(TEXT))
    assert not added_addresses(plan_of(TEXT), edited("every: 1s", "every: 2s"))


def test_the_standby_goes_first_but_for_a_shorter_interval() -> None:
    """One that counts by the short interval would hear the long one as silence."""
    statuses = {
        "gw1": {"groups": [{"name": "edge", "role": "active", "advertise_ms": 100.0}]},
        "gw2": {"groups": [{"name": "edge", "role": "backup", "advertise_ms": 100.0}]},
    }
    assert in_order(statuses, plan_of(TEXT)) == ["gw2", "gw1"]
    assert in_order(statuses, edited("advertise: 100ms", "advertise: 120ms")) == ["gw2", "gw1"]
    assert in_order(statuses, edited("advertise: 100ms", "advertise: 50ms")) == ["gw1", "gw2"]


def test_a_result_is_taken_only_whole() -> None:
    """However the bytes of the process that loads arrive."""
    made = object.__new__(Running)
    for field in fields(Running):
        object.__setattr__(made, field.name, None)
    data = packed(Take(made, ["a change"]))
    assert [receive_order(bytearray(data[:length])) for length in (0, 7, 8, len(data) - 1)] == [None] * 4
    assert receive_order(bytearray(data)) == Take(made, ["a change"])


class Counted(str):
    """Text that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


class Walked(dict[str, int]):
    """Counts how often all of its keys are gone through."""

    walks = 0

    def __iter__(self) -> Iterator[str]:
        self.walks += 1
        return super().__iter__()


def test_a_long_file_is_compared_line_by_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each line with every other, nor each server: no reload of a large file would ever be in time."""
    lines = 400
    both = [tuple(Counted(f"line {number + more}") for number in range(lines)) for more in (0, 1)]
    sides = iter(both)
    monkeypatch.setattr(reload, "_nat", lambda plan: next(sides))
    servers = Walked((f"server {number}", number) for number in range(lines))
    monkeypatch.setattr(reload, "_numbers", lambda plan: servers)
    Counted.compared = 0
    changes = compare(plan_of(TEXT), plan_of(TEXT), NODE)
    assert [change.words for change in changes] == [f"nat line {lines} added", "nat line 0 removed"]
    assert Counted.compared < 10 * lines
    assert servers.walks < 10
