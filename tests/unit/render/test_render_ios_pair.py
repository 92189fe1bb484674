"""Lines of IOS fitted into the pair's table: what they may not touch, and what they are gated by."""

import inspect
import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.ios.model import Configuration, Interface, Role
from understudy.ios.reader import read_text
from understudy.render import NodeConfig, render_node
from understudy.render.ios_first import AGAIN_MASK, KEPT
from understudy.render.ios_nat import render_ios_nat
from understudy.render.ios_pair import HELD_MAX, PairNat, StillHeld, render_pair
from understudy.render.ios_vrf import ZONES, found_vrfs
from understudy.render.text import TURN_CHAIN
from understudy.units import GroupName, NetworkName, NodeName
from understudy.wire.marks import GROUP_MASK

ROOT = Path(__file__).parents[3]
GW1, GW2 = NodeName("gw1"), NodeName("gw2")


def config(text: str = "", node: NodeName = GW1) -> NodeConfig:
    return render_node(plan(text), node)


def ports_of(made: Plan) -> dict[NetworkName, str]:
    return {network.name: str(network.name) for network in made.networks}


def pair_of(made: Plan) -> PairNat:
    pair = render_pair(made, made.groups, ports_of(made))
    assert pair is not None
    return pair


def configuration_of(text: str) -> Configuration:
    return read_text(inspect.cleandoc(text)).configuration


def plan(more: str = "") -> Plan:
    text = (ROOT / "examples" / "cisco.yaml").read_text()
    return load_plan((text + more).encode())


def chains(ruleset: str) -> dict[str, str]:
    return {
        found[1]: found[2] for found in re.finditer(r"^\tchain (\S+) \{\n(.*?)^\t\}", ruleset, re.DOTALL | re.MULTILINE)
    }


def test_the_allocators_maps_are_never_flushed() -> None:
    ruleset = config().ruleset
    flushed = set(re.findall(r"^flush (?:map|set) inet understudy (\S+)$", ruleset, re.MULTILINE))
    kept = {name for name in re.findall(r"^\tmap (\S+) \{", ruleset, re.MULTILINE) if KEPT.fullmatch(name)}
    assert {"ios_entry_in", "ios_entry_out"} <= kept
    assert not kept & flushed
    assert "ios_in_host" in flushed


def test_every_translation_sets_the_groups_bits_and_no_other() -> None:
    """Before the chains of the lines, of forwarded packets only."""
    post = chains(config().ruleset)["ios_post"].split("\n")
    marks = [line for line in post if "ct mark set" in line]
    assert len(marks) == 2
    assert all(f"ct mark and {~GROUP_MASK & 0xFFFFFFFF:#x} or 0x400" in line for line in marks)
    assert post.index(marks[0]) < next(at for at, line in enumerate(post) if "jump ios_out" in line)


def test_what_the_node_says_in_its_own_name_is_passed_over_first() -> None:
    """But for what it sends from the group's address: there it is the router that the lines mean."""
    post = chains(config().ruleset)["ios_post"].split("\n")
    own = "meta iif 0 fib saddr type local"
    assert post[0].strip() == f"{own} ip saddr != {{ 203.0.113.10, 10.9.0.254 }} return"


def test_services_come_before_lines_and_rules_after_them() -> None:
    text = (ROOT / "examples" / "cisco.yaml").read_text().replace("nat:\n", "nat: []\n", 1)
    text = text[: text.index("nat: []")] + (
        "services:\n  web: {listen: '203.0.113.10:80', servers: ['web1:80'], check: none}\n"
        "nat:\n  - {source: inside, to: outside}\n  - ip nat inside source static 10.9.0.11 203.0.113.21\n"
    )
    found = chains(render_node(load_plan(text.encode()), GW1).ruleset)
    assert found["prerouting"].index("@services4") < found["prerouting"].index("jump ios_in")
    assert found["postrouting"].index("jump ios_post") < found["postrouting"].index("ip saddr 10.9.0.0/24 ip daddr !=")


def test_held_addresses_are_the_actives_and_no_machines() -> None:
    """Local by a route of the macvlan, gated by the lease, and never one that a node has on a port."""
    more = "    - ip nat pool WIDE 203.0.113.1 203.0.113.14 prefix-length 28\n    - access-list 9 permit any\n"
    made = config(more + "    - ip nat inside source list 9 pool WIDE overload\n")
    (outside,) = [link for link in made.links if link.network == "outside"]
    assert IPv4Network("203.0.113.21/32") in outside.held
    for own in ("203.0.113.1", "203.0.113.2", "203.0.113.10"):
        assert not any(IPv4Network(own).subnet_of(net) for net in outside.held), own
    assert any(IPv4Network("203.0.113.3").subnet_of(net) for net in outside.held)
    assert not next(link for link in made.links if link.network == "inside").held
    ingress = chains(made.ruleset)["ingress_outside"]
    assert all(
        re.search(rf"arp operation request .*{re.escape(str(net))}.* jump gate_1", ingress) for net in outside.held
    )
    assert "arp operation reply arp saddr ip !=" in chains(made.ruleset)["leave4"].split("\n")[0]
    assert dict(outside.sysctls)[f"net/ipv4/conf/{outside.name}/arp_ignore"] == "0"


def test_prefixes_that_nobody_answers_for_are_told() -> None:
    """There are at most so many, those of former files included, and the present file's come first."""
    hosts = [IPv4Address("203.0.0.1") + 2 * n for n in range(HELD_MAX + 4)]
    statics = "".join(
        f"    - ip nat inside source static 10.9.{n >> 8}.{n & 255} {host}\n" for n, host in enumerate(hosts)
    )
    text = (ROOT / "examples" / "cisco.yaml").read_text().replace("10.9.0.0/24", "10.9.0.0/16", 1)
    text = text.replace("203.0.113.0/24", "203.0.0.0/16", 1)
    pair = pair_of(load_plan((text + statics).encode()))
    asked = sum(len(nets) for nets in pair.held.values())
    (said,) = pair.nat.left_out
    assert asked == HELD_MAX
    assert re.fullmatch(r"\d+ prefixes on outside are not answered for: 4096 are", said)
    assert not pair_of(plan()).nat.left_out
    former = {
        NetworkName("outside"): tuple(IPv4Network(f"203.0.{n >> 7}.{2 * (n & 127)}") for n in range(HELD_MAX + 4))
    }
    made = plan()
    still = render_pair(made, made.groups, ports_of(made), StillHeld(GroupName("edge"), former))
    assert still is not None
    both = still.held[NetworkName("outside")]
    assert len(both) <= HELD_MAX
    own = pair_of(made).held[NetworkName("outside")]
    assert all(any(net.subnet_of(each) for each in both) for net in own)


def test_limits_are_not_asked_where_nothing_leaves() -> None:
    """Without an interface outside there is no chain of limits, and nothing leads to it."""
    found = configuration_of(
        """
        interface g0/0
         ip address 10.9.0.254 255.255.255.0
         ip nat inside
        access-list 1 permit 10.9.0.0 0.0.0.255
        ip nat pool P 203.0.113.20 203.0.113.29 netmask 255.255.255.0
        ip nat inside source list 1 pool P
        ip nat translation max-entries 10
        """
    )
    made = render_ios_nat(found, {"GigabitEthernet0/0": "inside"}, {})
    names = {chain.name for chain in made.chains}
    led = {word for chain in made.chains for rule in chain.rules for word in re.findall(r"(?:jump|goto) (\w+)", rule)}
    assert led <= names


def test_both_nodes_hold_the_same_and_have_the_same_pools() -> None:
    first, second = config(), config(node=GW2)
    assert chains(first.ruleset) == chains(second.ruleset)
    assert first.pools == second.pools
    assert first.pools is not None


def test_without_pools_nobody_has_to_hand_out() -> None:
    text = (ROOT / "examples" / "cisco.yaml").read_text()
    text = text.replace("    - ip nat inside source list 1 pool STAFF\n", "")
    made = render_node(load_plan(text.encode()), GW1)
    assert made.pools is not None, "somebody tends the rotary"
    assert not made.pools.allocated
    assert "ios_again" not in chains(made.ruleset)
    made = render_node(load_plan(text.replace("    - ip nat inside destination list 3 pool FARM\n", "").encode()), GW1)
    assert made.pools is None


def test_a_pool_of_overload_with_several_addresses_is_a_ladder() -> None:
    text = (ROOT / "examples" / "cisco.yaml").read_text().replace("pool STAFF\n", "pool STAFF overload\n")
    made = render_node(load_plan(text.encode()), GW1)
    assert made.pools is not None
    ((ladder),) = made.pools.ladders
    assert len(ladder.addresses) == 30
    assert KEPT.fullmatch(ladder.map)
    source = chains(made.ruleset)["ios_source0_do"]
    assert source.index(f"map @{ladder.map}") < source.index("snat ip to 203.0.113.193\n")
    assert f"flush map inet understudy {ladder.map}" not in made.ruleset


def test_overload_leaves_the_ports_of_others_alone() -> None:
    """Of a static entry and of a service on that address: the widest gap of the group is left."""
    more = "    - ip nat inside source static tcp 10.9.0.12 200 interface outside 200\nservices:\n"
    more += "  web: {listen: '203.0.113.10:40000', servers: ['web1:80'], check: none}\n"
    source = chains(config(more).ruleset)["ios_source1_do"].split("\n")
    assert [line.strip() for line in source[:3]] == [
        "tcp sport { 200 } snat ip to 203.0.113.10:201-511",
        "tcp sport { 8080, 40000 } snat ip to 203.0.113.10:8081-39999",
        "snat ip to 203.0.113.10",
    ]


def test_strict_is_the_last_word() -> None:
    """After all that translates, of packets from inside to outside alone; without the wish it is not there."""
    text = (ROOT / "examples" / "cisco.yaml").read_text()
    strict = chains(render_node(load_plan((text + "  strict: true\n").encode()), GW1).ruleset)["postrouting"]
    last = [line.strip() for line in strict.splitlines() if line.strip()][-1]
    assert re.fullmatch(
        r'meta nfproto ipv4 oifname \{ "outside", .*\} iifname \{ "inside", .*\} ct status ! dnat counter drop', last
    )
    assert "drop" not in chains(config().ruleset)["postrouting"]


def test_a_chain_of_turns_has_the_name_that_the_text_gives_its_rotary() -> None:
    """Whatever its servers are: the kernel's goes on."""
    text = (ROOT / "examples" / "cisco.yaml").read_text()
    other = text.replace("FARM 10.9.0.11 10.9.0.12", "FARM 10.9.0.11 10.9.0.15")
    names = [
        [name for name in chains(render_node(load_plan(each.encode()), GW1).ruleset) if name.startswith(TURN_CHAIN)]
        for each in (text, other, text + "  rotary_udp: true\n")
    ]
    assert names[0] == names[1] == names[2][:1]
    assert len(names[2]) == 2


def test_overlapping_networks_leave_by_a_table_of_their_own() -> None:
    """The rule's mask leaves out the allocator's bits of the packet mark."""
    made = config("    - ip nat outside source static 10.9.0.50 203.0.113.150\n")
    (rule,) = [each for each in made.rules if each.action == "lookup"]
    assert rule.mark is not None
    assert rule.mark[1] == 0xFFFF_FFFF & ~AGAIN_MASK
    (outside,) = [link for link in made.links if link.network == "outside"]
    assert [(table, str(via)) for table, via in outside.detours] == [(rule.target, "203.0.113.254")]


def test_a_vrf_is_left_out_and_said() -> None:
    pair = pair_of(plan("    - ip nat inside source static 10.9.0.77 203.0.113.77 vrf RED\n"))
    assert any("VRF RED" in what for what in pair.nat.left_out)


@pytest.mark.parametrize("name", ["pair", "stateful", "services"])
def test_a_file_without_lines_has_nothing_of_them(name: str) -> None:
    made = render_node(load_plan(ROOT / "examples" / f"{name}.yaml"), GW1)
    assert "ios_" not in made.ruleset
    assert made.pools is None


def test_a_vrf_keeps_its_zone_whatever_else_there_is() -> None:
    """Live flows are in it; of two names for the same zone one takes the next."""
    first = next(name for name in (f"V{n}" for n in range(20_000)) if zone_of(name) == zone_of("RED"))
    assert zone_of("RED") == zone_of("RED", "BLUE", "A", "Z")
    both = found_vrfs(lines_of("RED", first), {name: name for name in ("RED", first)}, {})
    assert {each.zone for each in both.values()} == {zone_of("RED"), zone_of("RED") % ZONES + 1}


def zone_of(name: str, *others: str) -> int:
    names = (name, *others)
    return found_vrfs(lines_of(*names), {each: each for each in names}, {})[name].zone


def lines_of(*vrfs: str) -> Configuration:
    """An inside interface each."""
    return Configuration(interfaces=tuple(Interface(each, (Role.INSIDE,), (), vrf=each) for each in vrfs))
