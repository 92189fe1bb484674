"""Every line of NAT rests on a rule, and every rule stands in the reference."""

import re
from pathlib import Path

import pytest

from understudy.errors import OperatorError
from understudy.ios.check import check
from understudy.ios.lines import Kind
from understudy.ios.profiles import PROFILES, profile_named
from understudy.ios.reader import read_bytes, read_text
from understudy.ios.rules import RULES, Fidelity
from understudy.ios.texts import WARNINGS

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "nat.md").read_text(encoding="utf-8")
EVERYTHING = (ROOT / "tests" / "golden" / "ios" / "everything.ios").read_bytes()


def fidelity(line: str, profile: str = "classic") -> tuple[str, str]:
    """The word for one line, and the rule that decides."""
    report = check(read_text(line + "\n"), PROFILES[profile])
    verdict = report.lines[-1].verdict
    assert verdict is not None
    return verdict.fidelity.word, verdict.rules[0].name


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_line_of_nat_has_a_word_and_a_rule(profile: str) -> None:
    """In a text that holds every form of command, and for no other line."""
    for each in check(read_bytes(EVERYTHING), PROFILES[profile]).lines:
        assert (each.verdict is not None) == (each.line.kind is Kind.NAT)
        assert each.reason("en")
        assert each.reason("ko")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ip nat inside source static 10.0.0.1 203.0.113.1", ("same", "static")),
        ("ip nat inside source static tcp 10.0.0.1 80 203.0.113.1 80", ("same", "static-port")),
        ("ip nat inside source static network 10.0.0.0 203.0.113.0 /24", ("same", "static-network")),
        ("ip nat inside source static 10.0.0.1 203.0.113.1 vrf RED", ("differs", "vrf")),
        ("ip nat inside source static 10.0.0.1 203.0.113.1 redundancy HSRP", ("differs", "redundancy")),
        ("ip nat outside source static 198.51.100.1 10.0.9.1 add-route", ("same", "outside-static")),
        ("ip nat inside source list 1 pool P", ("same", "pool")),
        ("ip nat inside source list 1 pool P overload", ("same-within-profile", "overload-classic")),
        ("ip nat inside source route-map R pool P reversible", ("differs", "reversible")),
        ("ip nat inside destination list 1 pool P", ("same", "rotary")),
        ("ip nat source static 10.0.0.1 203.0.113.1", ("differs", "nvi")),
        ("ip nat translation tcp-timeout 60", ("same", "timeout")),
        ("ip nat translation tcp-timeout never", ("differs", "timeout-never")),
        ("ip nat translation max-entries 10", ("differs", "limit")),
        ("ip nat service ftp", ("same", "helper")),
        ("ip nat service skinny tcp port 2000", ("refused", "helper-none")),
        ("no ip nat service skinny tcp port 2000", ("same", "service-off")),
        ("no ip nat create flow-entries", ("refused", "no-flow-entries")),
        ("ip nat inside source static 10.0.0.1 203.0.113.1 egress-interface g0/1", ("differs", "static-egress")),
        ("ip nat inside source list 1 pool P egress-interface g0/1", ("same", "egress")),
        ("no ip nat inside source static 10.0.0.1 203.0.113.1", ("same", "removed")),
    ],
)
def test_a_line_is_as_close_as_linux_comes(line: str, expected: tuple[str, str]) -> None:
    """One line of each family."""
    assert fidelity(line) == expected


def test_only_the_classic_way_of_choosing_ports_is_the_kernels_own() -> None:
    """The others count ports up, by an allocator: the same line, within another profile."""
    said = {name: fidelity("ip nat inside source list 1 interface g0/1 overload", name) for name in PROFILES}
    assert {word for word, _ in said.values()} == {"same-within-profile"}
    assert {name: rule for name, (_, rule) in said.items()} == {
        "classic": "overload-classic", "ios-xe-15.5": "overload-counted", "ios-xe-modern": "overload-counted",
    }  # fmt: skip


def test_a_profile_that_nobody_knows_is_refused() -> None:
    """With the names that there are."""
    with pytest.raises(OperatorError, match="E7105"):
        profile_named("ios-xr")


def test_the_worst_rule_decides_and_stands_first() -> None:
    """A line with several options is as close as its worst one, and the reason tells all that counts against it."""
    report = check(read_text("ip nat inside source list 1 pool P overload vrf RED oer\n"), PROFILES["classic"])
    verdict = report.lines[0].verdict
    assert verdict is not None
    assert verdict.fidelity is Fidelity.DIFFERS
    assert {rule.name for rule in verdict.rules} == {"vrf", "oer", "overload-classic"}
    assert RULES["vrf"].reason in verdict.reason()
    assert RULES["overload-classic"].reason in verdict.reason()


def test_every_rule_profile_and_warning_stands_in_the_reference() -> None:
    """And the reference names no rule that is not there."""
    told = dict(re.findall(r"^\| `([a-z-]+)` \| (same|profile|differs|refused) \|", REFERENCE, re.MULTILINE))
    assert told == {name: rule.fidelity.name.lower() for name, rule in RULES.items()}
    assert {name for name in WARNINGS if f"`{name}`" not in REFERENCE} == set()
    assert {name for name in PROFILES if f"`{name}`" not in REFERENCE} == set()


def test_every_rule_has_its_reason_in_korean() -> None:
    """Each reason is there in both languages."""
    assert all(any("가" <= character <= "힣" for character in rule.korean) for rule in RULES.values())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("icmp any any echo", "list"),
        ("icmp any any packet-too-big", "list"),
        ("icmp any any 8", "list"),
        ("icmp any any 3 4", "list"),
        ("icmp any any 3 log", "list-log"),
        ("1 any any ttl-exceeded", "list"),
        ("igmp any any host-query", "list-words"),
        ("icmp any any host-query", "list-words"),
        ("ip any any dscp 10", "list-words"),
        ("ip any any fragments", "list-words"),
        ("tcp any any established", "list-flags"),
        ("ip any any time-range 8", "list-time"),
    ],
)
def test_what_stands_behind_an_entry_is_asked_or_told(words: str, expected: str) -> None:
    lines = f"ip nat inside source list 101 pool P\naccess-list 101 permit {words}"
    word, rule = fidelity(lines)
    assert rule == expected
    assert (word == "same") == (expected == "list")


def test_a_route_map_that_asks_for_the_next_hop_cannot_be() -> None:
    """As the compiler says: nothing of such a rule is written."""
    text = "ip nat inside source route-map R pool P\nroute-map R permit 10\n match ip next-hop 1"
    assert fidelity(text) == ("refused", "route-map-match")
