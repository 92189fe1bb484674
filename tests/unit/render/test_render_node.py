"""What a file becomes in the kernel, as text to read, and the properties that the text must have.

`UNDERSTUDY_GOLDEN_UPDATE=1 pytest tests/unit/render` writes the expected texts anew: read the difference before keeping
it.
"""

import os
import re
from hashlib import blake2b
from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.render import NodeConfig, lease_long_mark, lease_ns, lease_short_mark, pair_changes, render_node
from understudy.render.diff import canonical, listing_difference
from understudy.render.rules import PORT_LAST, merge
from understudy.render.text import chain_name
from understudy.units import MILLISECOND, SECOND, NetworkName, NodeName
from understudy.wire.marks import BINDING_MAX, flow_mark

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "render"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
GW1, WEB1 = NodeName("gw1"), NodeName("web1")

DUAL = b"""
cluster: dual
networks:
  outside: [203.0.113.0/24, "2001:db8:1::/64"]
  inside: [10.9.0.0/24, "2001:db8:9::/64"]
nodes:
  gw1: {outside: {addresses: [203.0.113.1, "2001:db8:1::1"], interface: eth0.7}, inside: [10.9.0.1, "2001:db8:9::1"]}
  gw2: {outside: [203.0.113.2, "2001:db8:1::2"], inside: [10.9.0.2, "2001:db8:9::2"]}
  web1: {inside: [10.9.0.11, "2001:db8:9::11"]}
  web2: {inside: [10.9.0.12, "2001:db8:9::12"]}
redundancy:
  edge:
    mode: active-standby
    nodes: [gw1, gw2]
    addresses: {outside: [203.0.113.10, "2001:db8:1::10"], inside: [10.9.0.254, "2001:db8:9::254"]}
    advertise: 1s
services:
  web:
    listen: [203.0.113.10:80, "[2001:db8:1::10]:80"]
    servers: [web1:8080, web2:8080]
    check: tcp
  one:
    listen: 203.0.113.10:443
    servers: [web1:8443]
    check: tcp
nat:
  - {source: inside, to: outside}
"""


def dual() -> Plan:
    return load_plan(DUAL)


def readable(config: NodeConfig) -> str:
    """All of a node's kernel objects; a slot table is too long to read and stands as its size and digest."""
    ruleset = re.sub(
        r"(map slots_\d+ \{\n\t\t[^\n]*\n\t\telements = )\{ (.*?) \}",
        lambda found: f"{found[1]}{found[2].count(':')} slots, {blake2b(found[2].encode(), digest_size=8).hexdigest()}",
        config.ruleset,
        flags=re.DOTALL,
    )
    lines = [ruleset]
    lines += [f"sysctl {path} = {value}" for path, value in config.sysctls]
    lines += [f"ip -{rule.family} rule add {' '.join(rule.arguments)}" for rule in config.rules]
    for link in config.links:
        made = f"ip link add {link.name} link {link.parent} address {link.mac} type macvlan mode {link.mode}"
        lines.append(made if link.is_macvlan else f"port {link.name}")
        lines += [f"  sysctl {path} = {value}" for path, value in link.sysctls]
        lines += [f"  address {address}" for address in link.addresses]
    return "\n".join(lines) + "\n"


def without_mac() -> Plan:
    """The same on the ports' own MACs."""
    return load_plan(DUAL.replace(b"advertise: 1s", b"advertise: 1s\n    vrrp: {virtual_mac: false}"))


WRITTEN = {"dual": dual, "dual-without-mac": without_mac}


@pytest.mark.parametrize("name", [*(path.stem for path in EXAMPLES), *WRITTEN])
def test_a_gateways_kernel_holds_exactly_this(name: str) -> None:
    """Every object of the first gateway of each example, and of files with both families and a named interface."""
    plan = WRITTEN[name]() if name in WRITTEN else load_plan(ROOT / "examples" / f"{name}.yaml")
    said = readable(render_node(plan, plan.groups[0].nodes[0]))
    expected = GOLDEN / f"{name}.txt"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_a_node_without_a_group_gets_nothing() -> None:
    """Servers are left as they are."""
    config = render_node(dual(), WEB1)
    assert config == NodeConfig(WEB1, "", (), (), (), ())


def test_an_unknown_node_is_refused() -> None:
    """A wrong name is a KeyError, not an empty answer."""
    with pytest.raises(KeyError):
        render_node(dual(), NodeName("gw9"))


def test_both_gateways_balance_alike() -> None:
    """Slots, pairs and servers are the same text on both: only ports and own addresses differ between nodes."""
    plan = dual()
    first, second = (render_node(plan, NodeName(name), {NetworkName("outside"): "wan"}) for name in ("gw1", "gw2"))
    assert first.ruleset == second.ruleset


def test_given_ports_take_precedence_over_those_of_the_file() -> None:
    """What the caller found is used; the file's `interface:` and the network's name stand in for the rest."""
    plan = dual()
    assert {link.parent for link in render_node(plan, GW1).links} == {"eth0.7", "inside"}
    found = render_node(plan, GW1, {NetworkName("inside"): "enp3s0"})
    assert {link.parent for link in found.links} == {"eth0.7", "enp3s0"}


def test_names_of_links_fit_the_kernel_and_are_distinct() -> None:
    """At most 15 characters, one for each group, network and family."""
    names = [link.name for link in render_node(dual(), GW1).links]
    assert len(set(names)) == len(names) == 4
    assert max(map(len, names)) <= 15


def test_without_virtual_mac_the_ports_carry_the_same_addresses() -> None:
    """No macvlan and no virtual MAC anywhere; addresses, balancer, NAT and routing rules do not change."""
    with_mac, without = render_node(dual(), GW1), render_node(without_mac(), GW1)
    assert not [link for link in without.links if link.is_macvlan or link.mac or link.sysctls]
    assert {link.name for link in without.links} == {"eth0.7", "inside"}
    assert "00:00:5e" not in without.ruleset
    assert [link.addresses for link in without.links] == [link.addresses for link in with_mac.links]
    assert without.ruleset.partition("table inet")[2] == with_mac.ruleset.partition("table inet")[2]
    assert (without.rules, without.sysctls) == (with_mac.rules, with_mac.sysctls)


def test_unicast_adds_the_mark_and_changes_nothing_else() -> None:
    """With a virtual MAC and `unicast`, the table knows advertisements by their mark besides."""
    plan = load_plan(DUAL.replace(b"advertise: 1s", b"advertise: 1s\n    vrrp: {unicast: true}"))
    plain, unicast = (render_node(each, GW1).ruleset.splitlines() for each in (dual(), plan))
    assert not [line for line in plain if line not in unicast]
    new = {line.strip().split(" vmap ")[0] for line in unicast if line not in plain and "vmap" in line}
    assert new == {"ip protocol 112 meta mark", "ip6 nexthdr 112 meta mark"}


def test_an_open_gate_is_a_drills_control_and_differs_in_the_gate_alone() -> None:
    """`lease_enabled=False` takes the lookup of the lease away and nothing else."""
    closed = render_node(dual(), GW1).ruleset.splitlines()
    opened = render_node(dual(), GW1, lease_enabled=False).ruleset.splitlines()
    gone = [line.strip() for line in closed if line not in opened]
    assert gone == ["meta mark and 0x0 or 0x1 @lease return"]


def test_a_lease_ends_before_the_standby_would_take_over() -> None:
    """Two jiffies less than three intervals: below every Active_Down_Interval (RFC 9568, section 6.1)."""
    assert lease_ns(50 * MILLISECOND) == 142 * MILLISECOND
    assert lease_ns(SECOND, 10 * MILLISECOND) == 2980 * MILLISECOND


def test_marks_are_distinct_for_every_group_and_length() -> None:
    """No two leases share a mark, and none is the mark of a farewell, 0."""
    marks = [mark(group) for group in range(1, 16) for mark in (lease_short_mark, lease_long_mark)]
    assert len({*marks, 0}) == 31
    with pytest.raises(ValueError):
        lease_short_mark(16)


def test_a_flow_mark_leaves_the_users_bits_alone() -> None:
    """Binding and group fill the upper bits; the lower ten are direction, owner and the user's five."""
    assert flow_mark(BINDING_MAX, 15) == 0xFFFF_FC00
    with pytest.raises(ValueError):
        flow_mark(BINDING_MAX + 1, 1)


def test_nothing_moves_when_nothing_changes_and_a_return_undoes_a_death() -> None:
    """`pair_changes` is empty for equal sets, and symmetric otherwise; both families change together."""
    plan = dual()
    service = plan.services[0]
    everyone = frozenset(server.binding for server in service.servers)
    rest = everyone - {service.servers[0].binding}
    assert pair_changes(plan, service, everyone, everyone) == ""
    death, back = pair_changes(plan, service, everyone, rest), pair_changes(plan, service, rest, everyone)
    assert "pairs4" in death
    assert "pairs6" in death
    assert death.count("delete element") == back.count("delete element") == 2
    assert "add element" not in pair_changes(plan, service, rest, frozenset())


@pytest.mark.parametrize(
    ("ranges", "merged"),
    [
        ([(80, 80), (81, 81), (443, 443)], ((80, 81), (443, 443))),
        ([(32768, 65535), (40000, 40000)], ((32768, PORT_LAST),)),
        ([(65535, 65535)], ()),
        ([(port, port) for port in range(1000, 1040, 2)], ((1, PORT_LAST),)),
    ],
)
def test_routing_rules_are_few(ranges: list[tuple[int, int]], merged: tuple[tuple[int, int], ...]) -> None:
    """Neighbouring ports are one rule, many are one for all, and 65535 cannot be had from the kernel."""
    assert merge(ranges) == merged


def test_an_interfaces_name_becomes_part_of_an_identifier() -> None:
    """Characters that nft does not take in a name are written as numbers, so that two names stay two."""
    assert chain_name("eth0.7") == "eth0.7"
    assert chain_name("br@0") != chain_name("br_0")


def test_listings_are_compared_by_meaning() -> None:
    """The order of elements does not count, nor does whose lease lives; a missing element does."""
    held = "table inet x {\n\tset a {\n\t\ttype mark\n\t\telements = { 0x2,\n\t\t\t     0x1 }\n\t}\n}\n"
    same = held.replace("{ 0x2,\n\t\t\t     0x1 }", "{ 0x1, 0x2 }")
    assert canonical(held) == canonical(same)
    assert listing_difference(same, held) == ""
    assert "-\t\t\t0x1\n" in listing_difference(held.replace(",\n\t\t\t     0x1", ""), held)
    lease = held.replace("set a", "set lease")
    assert listing_difference(lease.replace("0x2,\n\t\t\t     0x1", "0x3 expires 5s"), lease) == ""
