"""What lines become in nftables, beside what is said of one packet: both read the same entries in the same way."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.config.problems import Problems
from understudy.ios.explain import explain
from understudy.ios.lookups import Lookups
from understudy.ios.matching import Masked, group_addresses
from understudy.ios.model import Entry, Host, ObjectGroup
from understudy.ios.reader import read_text
from understudy.ios.selecting import Packet, fits
from understudy.ios.translations import Flow, Half, Kind, addresses_of, table_of
from understudy.render import render_node
from understudy.render.ios_match import entry_matches
from understudy.render.ios_nat import IosNat, render_ios_nat
from understudy.units import NodeName

ROOT = Path(__file__).parents[3]
TWO_EXITS = """\
interface g0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
interface g0/2
 ip address 192.0.2.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat pool P 203.0.113.20 203.0.113.20 prefix-length 24
ip nat inside source list 1 pool P overload egress-interface g0/1
"""
PORTS = {"GigabitEthernet0/0": "lan", "GigabitEthernet0/1": "wan1", "GigabitEthernet0/2": "wan2"}
FAR = IPv4Address("198.51.100.66")


def compiled(text: str) -> IosNat:
    return render_ios_nat(read_text(text).configuration, PORTS, {})


def chain(nat: IosNat, name: str) -> tuple[str, ...]:
    return next(each.rules for each in nat.chains if each.name == name)


def elements(nat: IosNat, name: str) -> tuple[str, ...]:
    return next((each.elements for each in nat.declared if each.name == name), ())


def host(number: int, protocol: int = 6) -> Packet:
    return Packet(protocol, IPv4Address(f"10.9.0.{number}"), FAR, 4000, 80)


@pytest.mark.parametrize(("leaving", "verdict"), [("g0/1", "translated"), ("g0/2", "untranslated")])
def test_a_rule_with_an_egress_interface_counts_for_what_leaves_there(leaving: str, verdict: str) -> None:
    nat = compiled(TWO_EXITS)
    assert chain(nat, "ios_source0x")[0] == 'oifname != "wan1" goto ios_source1x'
    assert explain(read_text(TWO_EXITS), "in", "g0/0", host(1), leaving=leaving).verdict == verdict


def test_a_rule_for_an_interface_that_is_not_there_takes_nothing() -> None:
    nat = compiled(TWO_EXITS.replace("egress-interface g0/1", "egress-interface g0/9"))
    assert chain(nat, "ios_source0x")[0] == "goto ios_source1x"


def test_a_rule_without_egress_interface_counts_everywhere() -> None:
    nat = compiled(TWO_EXITS.replace(" egress-interface g0/1", ""))
    assert not any("oifname" in rule for rule in chain(nat, "ios_source0x"))


@pytest.mark.parametrize(
    ("words", "match", "permitted"),
    [
        ("icmp any any echo", "icmp type 8", True),
        ("icmp any any", "", True),
        ("1 any any echo", "icmp type 8", True),
        ("1 any any echo-reply", "icmp type 0", False),
        ("icmp any any 8", "icmp type 8", True),
        ("icmp any any 8 0", "icmp type 8 icmp code 0", True),
        ("icmp any any 8 1", "icmp type 8 icmp code 1", False),
        ("icmp any any 13", "icmp type 13", False),
        ("icmp any any packet-too-big", "icmp type 3 icmp code 4", False),
        ("icmp any any ttl-exceeded", "icmp type 11 icmp code 0", False),
        ("icmp any any echo log", "icmp type 8", True),
        ("icmp any any log", "", True),
        ("ip any any", None, True),
    ],
)
def test_both_readers_of_a_list_ask_for_the_same_icmp_messages(words: str, match: str | None, permitted: bool) -> None:
    text = f"access-list 101 permit {words}\nip nat inside source list 101 interface g0/1 overload\n"
    entry = read_text(text).configuration.access_lists[0].entries[0]
    said = "" if match is None else f"meta l4proto 1 {match}".strip()
    assert entry_matches(entry, {}) == [said]
    assert fits(entry, Packet(1, IPv4Address("10.9.0.1"), FAR, 7, 0), {}) is permitted


ESP = """\
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
interface g0/0
 ip nat inside
ip nat inside source static esp 10.9.0.5 interface g0/1
"""


def test_a_static_entry_of_esp_takes_esp_and_nothing_else() -> None:
    """Else all that is sent to the router's own address would go inside."""
    nat = compiled(ESP)
    assert elements(nat, "ios_in_esp") == ("203.0.113.10 : 10.9.0.5",)
    assert elements(nat, "ios_in_host") == ()
    assert "meta l4proto esp dnat ip to ip daddr map @ios_in_esp" in chain(nat, "ios_in")
    configuration = read_text(ESP).configuration
    table = Lookups(configuration, addresses_of(configuration, {})).tables["in"]
    found = [table.find(protocol, IPv4Address("203.0.113.10"), 0) for protocol in (50, 6)]
    assert [each.address if each else None for each in found] == [IPv4Address("10.9.0.5"), None]


def test_a_map_for_esp_is_there_only_where_an_entry_asks_for_it() -> None:
    nat = compiled(ESP.replace("static esp", "static"))
    assert elements(nat, "ios_in_host") == ("203.0.113.10 : 10.9.0.5",)
    assert not any(each.name.endswith("_esp") for each in nat.declared)


def test_groups_within_groups_are_unfolded_once_each() -> None:
    """Nine groups that each name the next one nine times, and one that names itself."""
    groups = {
        f"G{n}": ObjectGroup("network", f"G{n}", (*(f"group-object G{n + 1}",) * 9, f"host 10.0.0.{n}"))
        for n in range(60)
    }
    groups["G60"] = ObjectGroup("network", "G60", ("group-object G0", "any", "10.1.0.0 255.255.0.0"))
    found = list(group_addresses(groups, "G0"))
    assert len(found) == 62
    assert Masked(0, 0) in found
    assert list(group_addresses(groups, "NONE")) == []
    entry = Entry(10, True, Host(IPv4Address(0), IPv4Address(0), "G0"), "ip", destination=Host())
    assert len(entry_matches(entry, groups)) == 62


def test_a_static_entry_of_esp_under_a_condition_asks_for_esp() -> None:
    nat = compiled(f"{ESP.rstrip()} route-map R\nroute-map R permit 10\n")
    assert "ip saddr 10.9.0.5 meta l4proto esp jump ios_when0x" in chain(nat, "ios_out")


@pytest.mark.parametrize(("protocol", "rule"), [(6, 1), (50, 0)])
def test_another_protocols_flow_is_not_that_entrys(protocol: int, rule: int) -> None:
    text = f"{ESP}access-list 1 permit any\nip nat inside source list 1 interface g0/1 overload\n"
    near, shared = IPv4Address("10.9.0.5"), IPv4Address("203.0.113.10")
    flow = Flow(protocol, Half(near, FAR), Half(FAR, shared))
    (row,) = (each for each in table_of(read_text(text).configuration, [flow]) if each.kind is Kind.FLOW)
    assert row.rule == rule


def test_a_clause_asks_both_readers_the_same() -> None:
    """Interfaces of one line by any, lists by any; a clause without a list takes all that leaves there."""
    text = (
        TWO_EXITS.replace("list 1 pool P overload egress-interface g0/1", "route-map R pool P overload")
        + "access-list 2 permit 10.9.0.7\n"
        "route-map R deny 5\n match ip address 2\nroute-map R permit 10\n match interface g0/1 g0/9\n"
    )
    nat = compiled(text)
    assert chain(nat, "ios_source0x")[0] == "ct original ip saddr 10.9.0.7/32 goto ios_source1x"
    assert chain(nat, "ios_source0x_1")[0] == 'oifname { "wan1", "GigabitEthernet0/9" } goto ios_source0_do'
    for leaving, number, translated in (("g0/1", 1, True), ("g0/1", 7, False), ("g0/2", 1, False)):
        told = explain(read_text(text), "in", "g0/0", host(number), leaving=leaving)
        assert (told.verdict == "translated") is translated


def test_on_a_pair_an_egress_interface_is_one_of_its_networks() -> None:
    """By its name alone, also where no line gives roles; any other is refused on its line."""
    text = (
        (ROOT / "examples" / "cisco.yaml").read_text().replace("pool STAFF\n", "pool STAFF egress-interface outside\n")
    )
    ruleset = render_node(load_plan(text.encode()), NodeName("gw1")).ruleset
    assert 'oifname != "outside" goto ios_source1x' in ruleset
    with pytest.raises(Problems, match="GigabitEthernet0/9"):
        load_plan(text.replace("egress-interface outside", "egress-interface g0/9").encode())
