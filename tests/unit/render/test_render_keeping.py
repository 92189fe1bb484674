"""What a file that keeps flows adds to the rule set, and that it adds nothing to any other file's."""

import re

import pytest
from test_render_node import DUAL, GW1

from understudy.adapters import channel
from understudy.config import load_plan
from understudy.render import render_node
from understudy.render.flood import CHANNEL_PORT, FLOWS_PORT
from understudy.units import NodeName
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

NAT = b"to: outside}"
EVENTS = ("net/netfilter/nf_conntrack_events", "1")


def dual(*changes: tuple[bytes, bytes]) -> str:
    text = DUAL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return render_node(load_plan(text), GW1).ruleset


def numbering(ruleset: str) -> list[tuple[set[str], int]]:
    """For each rule that numbers what is merely routed: where it came in, and the mark."""
    found = re.findall(
        r"ct state new ct mark and (\S+) == 0x0 iifname \{ (.*?) \} ct mark set ct mark or (\S+)", ruleset
    )
    assert all(int(mask, 16) == GROUP_MASK for mask, _, _ in found)
    return [(set(re.findall(r'"(\S+)"', names)), int(mark, 16)) for _, names, mark in found]


@pytest.mark.parametrize(
    "change",
    [
        (NAT, b"to: outside, state: none}"),
        (b"advertise: 1s", b"advertise: 1s\n    gate_deadline: 3s\n    copy_every: 5s"),
    ],
    ids=["none", "deadlines"],
)
def test_a_file_that_keeps_nothing_has_the_text_that_it_always_had(change: tuple[bytes, bytes]) -> None:
    """Not a rule more, for a pair that was there before flows could be kept."""
    assert dual(change) == dual()


@pytest.mark.parametrize("state", [b"copy", b"replicate"])
def test_what_is_routed_for_a_group_is_numbered_where_it_comes_in(state: bytes) -> None:
    """On the group's macvlans of both families; without virtual MAC on its ports."""
    kept = (NAT, b"to: outside, state: " + state + b"}")
    assert numbering(dual(kept)) == [({"us1n1v4", "us1n1v6", "us1n2v4", "us1n2v6"}, 1 << GROUP_SHIFT)]
    without_mac = (b"advertise: 1s", b"advertise: 1s\n    vrrp: {virtual_mac: false}")
    assert numbering(dual(kept, without_mac)) == [({"eth0.7", "inside"}, 1 << GROUP_SHIFT)]


def test_a_kept_service_alone_numbers_nothing_more() -> None:
    """Balanced flows have their number; what is routed beside them is not kept."""
    ruleset = dual((b"check: tcp\n  one", b"check: tcp\n    state: replicate\n  one"))
    assert numbering(ruleset) == []
    assert f"udp dport {{ {CHANNEL_PORT}, {FLOWS_PORT} }}" in ruleset


def test_the_nodes_own_talk_is_untracked_both_ways_and_between_members_only() -> None:
    """Each rule names who sends and who is meant; nothing is untracked for others."""
    rules = [line.strip() for line in dual((NAT, b"to: outside, state: copy}")).splitlines() if "notrack" in line]
    vrrp = [rule for rule in rules if rule == "meta l4proto 112 notrack"]
    datagrams = [rule for rule in rules if rule.startswith("udp dport")]
    assert (len(vrrp), len(datagrams), len(rules)) == (2, 4, 6)
    assert all(" saddr { " in rule and " daddr { " in rule for rule in datagrams)
    assert not any(address in rule for rule in datagrams for address in ("10.9.0.254", "10.9.0.11", "203.0.113.10"))


def test_the_stream_has_a_budget_of_its_own_on_every_port_of_the_channel() -> None:
    """As many rules as the channel has, and none where nothing is kept."""
    kept, plain = dual((NAT, b"to: outside, state: copy}")), dual()
    assert kept.count(f"udp dport {FLOWS_PORT}") == kept.count(f"udp dport {CHANNEL_PORT} ") > 0
    assert str(FLOWS_PORT) not in plain


def test_the_ports_are_those_on_which_the_nodes_speak() -> None:
    """The rule set and the sockets name them apart, since neither may import the other."""
    assert (CHANNEL_PORT, FLOWS_PORT) == (channel.PORT, channel.FLOWS_PORT)


def test_helpers_read_only_the_clients_and_protocols_that_are_named() -> None:
    """One object a protocol, one rule a prefix; also where nothing is kept."""
    ruleset = dual((NAT, b"to: outside, helpers: [tftp]}"))
    assert re.findall(r"ct helper (\S+) \{\n\t\ttype (\S+) protocol (\S+);", ruleset) == [("tftp", '"tftp"', "udp")]
    rules = re.findall(r'(ip6? saddr \S+) .* (\S+ dport \d+) ct state new ct helper set "tftp"', ruleset)
    assert rules == [("ip saddr 10.9.0.0/24", "udp dport 69"), ("ip6 saddr 2001:db8:9::/64", "udp dport 69")]
    assert "ct helper" not in dual()
    assert "notrack" not in ruleset


def test_changes_of_flows_are_told_where_they_are_kept() -> None:
    """The default of newer kernels forgets entries that were made while nobody listened."""
    kept, plain = (
        render_node(load_plan(DUAL.replace(NAT, change)), GW1).sysctls for change in (b"to: outside, state: copy}", NAT)
    )
    assert EVENTS in kept
    assert set(kept) - {EVENTS} == set(plain)


def test_both_nodes_keep_alike() -> None:
    """The text that both hold is one, ports of their own apart."""
    plan = load_plan(
        DUAL.replace(NAT, b"to: outside, state: replicate, helpers: ftp}").replace(b", interface: eth0.7", b"")
    )
    first, second = (render_node(plan, NodeName(name)).ruleset for name in ("gw1", "gw2"))
    assert first == second
