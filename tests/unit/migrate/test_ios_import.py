"""A router's running configuration becomes our file: networks, a pair, its group, the lines of NAT, a word a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.config.problems import Problems
from understudy.errors import OperatorError
from understudy.ios.check import check
from understudy.ios.model import Role
from understudy.ios.profiles import profile_named
from understudy.ios.reader import read_text
from understudy.migrate.ios_draft import Draft, Wishes, draft, quoted_line
from understudy.migrate.words import Fate
from understudy.units import MILLISECOND

OVERLOAD = """\
hostname R7
interface GigabitEthernet0/0
 ip address 203.0.113.2 255.255.255.0
 ip nat outside
interface GigabitEthernet0/1
 ip address 10.7.0.1 255.255.255.0
 ip nat inside
ip route 0.0.0.0 0.0.0.0 203.0.113.1
ip nat inside source list 7 interface GigabitEthernet0/0 overload
access-list 7 permit 10.7.0.0 0.0.0.255
"""
HSRP = """\
hostname West
interface Vlan10
 ip address 10.7.0.3 255.255.255.0
 ip nat inside
 standby version 2
 standby 10 ip 10.7.0.1
 standby 10 priority 90
 standby 10 preempt delay minimum 30
 standby 10 timers msec 250 msec 750
interface Vlan20
 ip address 203.0.113.3 255.255.255.0
 ip nat outside
 standby 20 ip 203.0.113.2
 standby 20 ip 203.0.113.9 secondary
ip nat inside source static tcp 10.7.0.10 80 interface Vlan20 80
"""
DHCP = OVERLOAD.replace("ip address 203.0.113.2 255.255.255.0", "ip address dhcp")
NARROW = OVERLOAD.replace("203.0.113.2 255.255.255.0", "203.0.113.2 255.255.255.252")
NVI = """\
interface FastEthernet0
 ip address 203.0.113.2 255.255.255.0
 ip nat enable
interface FastEthernet1
 ip address 10.7.0.1 255.255.255.0
 ip nat enable
ip nat source list 7 interface FastEthernet0 overload
ip nat source static 10.7.0.10 203.0.113.10
access-list 7 permit 10.7.0.0 0.0.0.255
"""
LOOPBACK = OVERLOAD.replace("source list 7 interface GigabitEthernet0/0", "source list 7 interface Loopback0").replace(
    "ip route 0", "interface Loopback0\n ip address 198.51.100.7 255.255.255.255\nip route 0"
)
VRFS = """\
vrf definition RED
vrf definition BLUE
interface GigabitEthernet1
 vrf forwarding RED
 ip address 10.7.0.1 255.255.255.0
 ip nat inside
interface GigabitEthernet2
 vrf forwarding BLUE
 ip address 10.7.0.1 255.255.255.0
 ip nat inside
interface GigabitEthernet3
 ip address 203.0.113.2 255.255.255.0
 ip nat outside
ip nat inside source static 10.7.0.10 203.0.113.10 vrf RED match-in-vrf
ip nat inside source static 10.7.0.11 203.0.113.11 vrf RED
ip nat inside source static 10.7.0.10 203.0.113.20 vrf BLUE
ip route vrf RED 0.0.0.0 0.0.0.0 GigabitEthernet3 203.0.113.1 global
ip route vrf BLUE 10.70.0.0 255.255.0.0 10.7.0.2
"""
FRAGMENT = "Router(config)# ip nat inside source static 10.7.0.10 203.0.113.10\n"
TENANT = """\
interface BDI4501
 vrf forwarding tenant
 ip nat outside
 ip address 203.0.113.2 255.255.255.0
 redundancy rii 10
ip nat inside source static 10.7.0.10 203.0.113.10 vrf tenant redundancy 1 mapping-id 112 match-in-vrf
"""
FILES = {
    "overload": OVERLOAD, "hsrp": HSRP, "dhcp": DHCP, "narrow": NARROW, "nvi": NVI, "loopback": LOOPBACK, "vrfs": VRFS,
    "fragment": FRAGMENT,
}  # fmt: skip
WHOLE = {"overload", "hsrp", "nvi", "loopback", "vrfs"}
"""Those that say all that a file needs."""


def drafted(text: str, **wishes: Any) -> Draft:
    return draft(check(read_text(text), profile_named("classic")), "router.cfg", Wishes(**wishes))


def planned(text: str, **wishes: Any) -> Plan:
    return load_plan(drafted(text, **wishes).text.encode())


def told(text: str, **wishes: Any) -> dict[str, tuple[Fate, str]]:
    return {each.text: (each.verdict.fate, each.verdict.reason) for each in drafted(text, **wishes).findings}


def held(plan: Plan) -> dict[str, list[str]]:
    """Addresses of the group, by network."""
    return {str(r.network): [str(i.ip) for i in r.addresses] for r in plan.groups[0].routers}


def own(plan: Plan) -> dict[str, dict[str, str]]:
    return {str(n.name): {str(a.network): str(a.addresses[0].ip) for a in n.attachments} for n in plan.nodes}


def lines(plan: Plan) -> list[str]:
    assert plan.ios is not None
    return [each.text for each in plan.ios.said]


def run(tmp_path: Path, text: str, *options: str) -> Any:
    file = tmp_path / "router.cfg"
    file.write_text(text)
    return CliRunner().invoke(app, ["nat", "import", str(file), *options])


@pytest.mark.parametrize("name", FILES)
def test_every_configuration_ends_with_a_file_that_passes_or_says_what_is_missing(name: str, tmp_path: Path) -> None:
    """As the command does it; where something is missing the file says FILL-IN and the hint names the option."""
    out = tmp_path / "pair.yaml"
    result = run(tmp_path, FILES[name], "-o", str(out))
    checked = CliRunner().invoke(app, ["check", str(out)])
    if name in WHOLE:
        assert (result.exit_code, checked.exit_code) == (0, 0), result.output + checked.output
        assert "FILL-IN" not in out.read_text()
    else:
        assert (result.exit_code, checked.exit_code) == (2, 1), result.output
        assert "FILL-IN" in out.read_text()
        assert "--outside" in result.output


def test_the_routers_addresses_become_the_groups_and_the_nodes_get_free_ones() -> None:
    """Free ones, near it, and marked: neither the next router's nor anything else that the text names."""
    text = (
        OVERLOAD
        + "ip nat inside source static 10.7.0.2 203.0.113.4\nip nat pool P 203.0.113.5 203.0.113.6 netm 255.255.255.0\n"
    )
    plan = planned(text)
    assert held(plan) == {"outside": ["203.0.113.2"], "inside": ["10.7.0.1"]}
    assert own(plan) == {
        "r7-1": {"outside": "203.0.113.3", "inside": "10.7.0.3"},
        "r7-2": {"outside": "203.0.113.7", "inside": "10.7.0.4"},
    }
    assert [str(a) for n in plan.networks for a in n.gateway] == ["203.0.113.1"]
    assert drafted(text).text.count("to be checked") == 4


def test_what_dhcp_leaves_out_comes_first() -> None:
    plan = planned("ip dhcp excluded-address 10.7.0.240 10.7.0.249\n" + OVERLOAD)
    assert {ports["inside"] for ports in own(plan).values()} == {"10.7.0.240", "10.7.0.241"}


def test_a_router_of_a_pair_keeps_its_own_address_and_its_place() -> None:
    """HSRP's virtual addresses are the group's; a low priority makes it the second node."""
    plan = planned(HSRP)
    group = plan.groups[0]
    assert held(plan) == {"outside": ["203.0.113.2", "203.0.113.9"], "inside": ["10.7.0.1"]}
    assert own(plan)["west"] == {"outside": "203.0.113.3", "inside": "10.7.0.3"}
    assert list(group.nodes) == ["west-peer", "west"]
    assert (group.advertise, group.preempt) == (250 * MILLISECOND, True)
    assert "ip nat inside source static tcp 10.7.0.10 80 interface outside 80" in lines(plan)


@pytest.mark.parametrize(
    "spelling",
    [
        " vrrp 10 ip 10.7.0.9",
        " glbp 10 ip 10.7.0.9",
        " standby ip 10.7.0.9",
        " redundancy group 1 ip 10.7.0.9 exclusive decrement 50",
        " vrrp 10 address-family ipv4\n  address 10.7.0.9 primary",
    ],
)
def test_virtual_addresses_are_read_in_every_spelling(spelling: str) -> None:
    plan = planned(OVERLOAD.replace(" ip nat inside\n", f" ip nat inside\n{spelling}\n", 1))
    assert held(plan)["inside"] == ["10.7.0.9"]


def test_an_address_that_is_learnt_is_told_with_what_to_write_instead() -> None:
    """And with it the file is complete."""
    fate, reason = told(DHCP)["ip nat outside"]
    assert fate is Fate.LEFT_OUT
    assert "--outside GigabitEthernet0/0=ADDRESS/LENGTH" in reason
    with pytest.raises(OperatorError):
        planned(DHCP)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (DHCP, ("--outside", "203.0.113.2/24")),
        (DHCP, ("--outside", "g0/0=203.0.113.2/24")),
        (NARROW, ("--outside", "GigabitEthernet0/0=203.0.113.2/29")),
        (FRAGMENT, ("--outside", "203.0.113.2/24", "--inside", "10.7.0.1/24")),
        (TENANT, ("--inside", "10.7.0.1/24")),
    ],
)
def test_what_is_missing_can_be_said(text: str, options: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "pair.yaml"
    assert run(tmp_path, text, "-o", str(out), *options).exit_code == 0
    assert held(load_plan(out)) == {"outside": ["203.0.113.2"], "inside": ["10.7.0.1"]}


def test_rules_without_sides_get_sides() -> None:
    """NVI's: the interface that a rule names is outside, the others inside; each line says how it is written."""
    plan = planned(NVI)
    assert plan.ios is not None
    assert {each.name: each.roles for each in plan.ios.configuration.interfaces} == {
        "outside": (Role.OUTSIDE,), "inside": (Role.INSIDE,)
    }  # fmt: skip
    assert "ip nat inside source list 7 interface outside overload" in lines(plan)
    fate, reason = told(NVI)["ip nat source static 10.7.0.10 203.0.113.10"]
    assert fate is Fate.DIFFERS
    assert "`ip nat inside source static 10.7.0.10 203.0.113.10`" in reason


def test_an_address_lent_by_a_loopback_is_written_itself() -> None:
    found = lines(planned(LOOPBACK))
    assert "ip nat pool LOOPBACK0 198.51.100.7 198.51.100.7 prefix-length 32" in found
    assert "ip nat inside source list 7 pool LOOPBACK0 overload" in found
    assert any("198.51.100.7" in english for english, _ in drafted(LOOPBACK).remarks)


EXITS = OVERLOAD.replace(
    "ip route 0",
    """interface GigabitEthernet0/2
 ip address 192.0.2.2 255.255.255.0
 ip nat outside
interface Dialer1
 ip nat outside
interface Tunnel1
 ip address 10.255.0.1 255.255.255.252
ip route 0""",
)


def test_an_egress_interface_becomes_its_network() -> None:
    """That of a dynamic rule, of one for a loopback's address, and of a static entry."""
    text = EXITS.replace("Dialer1\n", "Dialer1\n ip address 192.0.9.2 255.255.255.0\n").replace(
        "ip route 0", "interface Loopback0\n ip address 198.51.100.7 255.255.255.255\nip route 0"
    )
    text += (
        "access-list 8 permit 10.7.8.0 0.0.0.255\n"
        "ip nat inside source list 8 interface Loopback0 overload egress-interface GigabitEthernet0/2\n"
        "ip nat inside source static 10.7.0.9 203.0.113.9 egress-interface GigabitEthernet0/2\n"
        "ip nat pool P 203.0.113.20 203.0.113.29 prefix-length 24\n"
        "access-list 9 permit 10.7.9.0 0.0.0.255\n"
        "ip nat inside source list 9 pool P egress-interface GigabitEthernet0/0\n"
    )
    found = lines(planned(text))
    for line in (
        "ip nat inside source list 8 pool LOOPBACK0 overload egress-interface outside-gi0-2",
        "ip nat inside source static 10.7.0.9 203.0.113.9 egress-interface outside-gi0-2",
        "ip nat inside source list 9 pool P egress-interface outside-gi0-0",
    ):
        assert line in found


def test_a_rule_for_what_leaves_by_no_network_is_left_out() -> None:
    """Without its restriction it would take all other flows too. A static entry counts everywhere in any case."""
    dynamic = "ip nat inside source list 8 interface GigabitEthernet0/2 overload egress-interface Tunnel1"
    static = "ip nat inside source static 10.7.0.9 203.0.113.9 egress-interface Tunnel1"
    text = f"{EXITS}access-list 8 permit 10.7.8.0 0.0.0.255\n{dynamic}\n{static}\n"
    said = told(text)
    assert said[dynamic][0] is Fate.LEFT_OUT
    assert said[static][0] is Fate.DIFFERS
    written = drafted(text).text
    assert "list 8" not in written
    assert "ip nat inside source static 10.7.0.9 203.0.113.9\n" in written
    assert "10.255.0.1" not in written


def test_esp_for_the_address_of_a_loopback_is_left_out() -> None:
    """It would be all protocols otherwise: no line says ESP with an address."""
    line = "ip nat inside source static esp 10.7.0.9 interface Loopback0"
    text = f"{LOOPBACK}{line}\n"
    assert told(text)[line][0] is Fate.LEFT_OUT
    assert "10.7.0.9" not in drafted(text).text


def test_a_route_map_that_asks_for_an_interface_that_is_no_network_is_told() -> None:
    text = EXITS + (
        "route-map R permit 10\n match interface Tunnel1\n"
        "route-map R permit 20\n match interface GigabitEthernet0/2\n"
        "ip nat inside source route-map R interface GigabitEthernet0/2 overload\n"
    )
    said = told(text)
    assert said["match interface Tunnel1"][0] is Fate.LEFT_OUT
    assert said["match interface GigabitEthernet0/2"][0] is Fate.KEPT


def test_the_global_table_is_read_where_it_has_rules_however_many_a_vrf_has() -> None:
    text = VRFS + "ip nat inside source static 10.9.0.10 203.0.113.40\n"
    assert "203.0.113.40" in drafted(text).text
    assert "203.0.113.11" not in drafted(text).text
    fate, reason = told(text, vrf="RED")["ip nat inside source static 10.9.0.10 203.0.113.40"]
    assert (fate, "without `--vrf`" in reason) == (Fate.LEFT_OUT, True)


@pytest.mark.parametrize("line", ["ip route vrf", "ip route vrf RED", "ip route"])
def test_half_a_route_is_no_reason_to_stop(line: str) -> None:
    assert drafted(f"{OVERLOAD}{line}\n").text == drafted(OVERLOAD).text


def test_numbers_that_are_none_are_passed_over() -> None:
    """A superscript two is a digit and no number."""
    more = " standby 1 priority \u00b2\n encapsulation dot1q \u00b2\n"
    text = OVERLOAD.replace(" ip nat inside\n", f" ip nat inside\n{more}")
    assert drafted(text).text == drafted(OVERLOAD).text


def test_one_vrf_is_read_and_the_others_are_told() -> None:
    """The one with the most rules, or the one that is asked for; its name is dropped."""
    red = planned(VRFS)
    assert [line for line in lines(red) if "static" in line] == [
        "ip nat inside source static 10.7.0.10 203.0.113.10",
        "ip nat inside source static 10.7.0.11 203.0.113.11",
    ]
    assert [str(a) for n in red.networks for a in n.gateway] == ["203.0.113.1"]
    fate, reason = told(VRFS)["ip nat inside source static 10.7.0.10 203.0.113.20 vrf BLUE"]
    assert (fate, "`--vrf BLUE`" in reason) == (Fate.LEFT_OUT, True)
    blue = planned(VRFS, vrf="BLUE")
    assert [line for line in lines(blue) if "static" in line] == ["ip nat inside source static 10.7.0.10 203.0.113.20"]
    with pytest.raises(OperatorError, match="GREEN") as error:
        drafted(VRFS, vrf="GREEN")
    assert (error.value.code, "BLUE, RED" in error.value.hint) == ("E7142", True)


def test_lines_that_the_pair_does_not_take_over_are_told_and_the_rest_is_counted() -> None:
    more = OVERLOAD.replace(
        " ip nat outside\n",
        " ip nat outside\n ip access-group IN in\n ip address 192.0.2.1 255.255.255.0 secondary\n crypto map VPN\n",
    )
    more += "router bgp 65001\nip route 10.70.0.0 255.255.0.0 10.7.0.2\nsnmp-server community x\n"
    found = told(more)
    for text, word in (
        ("ip access-group IN in", "nftables"),
        ("ip address 192.0.2.1 255.255.255.0 secondary", "192.0.2.0/24"),
        ("crypto map VPN", "VPN"),
        ("router bgp 65001", "routing"),
        ("ip route 10.70.0.0 255.255.0.0 10.7.0.2", "routing"),
    ):
        assert found[text][0] is Fate.LEFT_OUT, text
        assert word in found[text][1], text
    assert found["ip route 0.0.0.0 0.0.0.0 203.0.113.1"][0] is Fate.KEPT
    assert "snmp-server community x" not in found
    assert drafted(more).passed_over == drafted(OVERLOAD).passed_over + 1


def test_a_refused_line_says_what_ios_says() -> None:
    fate, reason = told(OVERLOAD + "ip nat pool P 203.0.113.9 203.0.113.5 netmask 255.255.255.0\n")[
        "ip nat pool P 203.0.113.9 203.0.113.5 netmask 255.255.255.0"
    ]
    assert fate is Fate.LEFT_OUT
    assert "%End address less than start address" in reason


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hostname R1\nno ip nat inside source static 10.7.0.1 203.0.113.1\n", "no rule of NAT"),
        ("ip nat inside source static <inside> <global>\n", "line 1"),
        ("interface Gi0/0\n ip address 10.7.0.1 255.255.255.0\n ip nat inside\n", "no rule of NAT"),
    ],
)
def test_where_nothing_is_to_be_taken_over_the_reason_is_said(text: str, why: str) -> None:
    with pytest.raises(OperatorError, match=why) as error:
        drafted(text)
    assert error.value.code == "E7141"


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "pair.yaml"
    out.write_text("mine")
    refused = run(tmp_path, OVERLOAD, "-o", str(out))
    assert (refused.exit_code, "E7144" in refused.output, out.read_text()) == (1, True, "mine")
    out.chmod(0o640)
    (tmp_path / "link.yaml").symlink_to(out)
    assert run(tmp_path, OVERLOAD, "-o", str(tmp_path / "link.yaml"), "--force").exit_code == 0
    assert ("cluster: r7" in out.read_text(), out.stat().st_mode & 0o777) == (True, 0o640)
    (tmp_path / "link.yaml").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair.yaml", "router.cfg"]


@pytest.mark.parametrize(
    "options",
    [("--inside", "x"), ("--outside", "g0/0=10.0.0.1"), ("--inside", "?=10.0.0.1/24"), ("--node", "a", "--node", "a")],
)
def test_an_option_that_is_not_well_formed_is_told(options: tuple[str, ...], tmp_path: Path) -> None:
    result = run(tmp_path, OVERLOAD, *options)
    assert (result.exit_code, "E7143" in result.output) == (1, True)


def test_json_lists_every_line_that_is_told(tmp_path: Path) -> None:
    result = json.loads(run(tmp_path, DHCP, "--json").stdout)
    assert result["schema"] == "understudy.nat.import/1"
    fates = {each["text"]: each["fate"] for each in result["lines"]}
    assert fates["ip nat outside"] == "left-out"
    assert fates["ip nat inside source list 7 interface GigabitEthernet0/0 overload"] == "kept"
    assert result["counts"]["left-out"] == sum(fate == "left-out" for fate in fates.values())
    assert result["fill_in"]
    korean = json.loads(run(tmp_path, DHCP, "--json", "--lang", "ko").stdout)
    assert korean["fill_in"] != result["fill_in"]


@pytest.mark.parametrize("line", ["remark a: b", "remark # c", "10 permit any", "match 'x'", 'remark "y"', "remark \\"])
def test_a_line_of_the_file_reads_back_as_it_was(line: str) -> None:
    """Whatever YAML would make of it."""
    import yaml

    assert yaml.safe_load(f"- {quoted_line(line)}") == [line]


def test_what_is_imported_twice_is_the_same() -> None:
    """The lines of the file are a configuration: reading them again changes nothing."""
    for name in sorted(WHOLE):
        first = planned(FILES[name])
        assert first.ios is not None
        again = load_plan(drafted(FILES[name]).text.encode())
        assert again.digest == first.digest


_NUMBERS = st.integers(0, 300)
_ADDRESSES = st.builds(lambda a, b: f"10.{a}.0.{b}", st.integers(0, 3), _NUMBERS)
_MASKS = st.sampled_from(
    ["255.255.255.0", "255.255.255.252", "255.255.255.255", "255.0.0.0", "0.0.0.255", "255.255.0.255"]
)
_PORTS = st.sampled_from(["Gi0/0", "Vlan10", "Loopback0", "Dialer1", "Tunnel7", "GigabitEthernet0/1.5", "Null0"])
_LINES = st.one_of(
    st.builds("interface {}".format, _PORTS),
    st.builds(" ip address {} {}".format, _ADDRESSES, _MASKS),
    st.builds(" ip address {} {} secondary".format, _ADDRESSES, _MASKS),
    st.builds(" standby {} ip {}".format, _NUMBERS, _ADDRESSES),
    st.builds(" vrrp {} priority {}".format, _NUMBERS, _NUMBERS),
    st.builds(" standby 1 timers msec {} msec {}".format, _NUMBERS, _NUMBERS),
    st.builds(" vrf forwarding {}".format, st.sampled_from(["A", "B"])),
    st.sampled_from([" ip nat inside", " ip nat outside", " ip nat enable", " ip nat stick", " shutdown", "!", "exit",
                     " ip address dhcp", " encapsulation dot1Q 7", "hostname \u00e9", "hostname no", "redundancy"]),
    st.builds("ip nat inside source static {} {}".format, _ADDRESSES, _ADDRESSES),
    st.builds("ip nat inside source static {} {} vrf A".format, _ADDRESSES, _ADDRESSES),
    st.builds("ip nat source static {} {}".format, _ADDRESSES, _ADDRESSES),
    st.builds("ip nat inside source static network {} {} {}".format, _ADDRESSES, _ADDRESSES, _MASKS),
    st.builds("ip nat inside source list 1 interface {} overload".format, _PORTS),
    st.builds("ip nat pool P {} {} netmask {}".format, _ADDRESSES, _ADDRESSES, _MASKS),
    st.builds("ip route 0.0.0.0 0.0.0.0 {}".format, _ADDRESSES | _PORTS),
    st.builds("ip dhcp excluded-address {} {}".format, _ADDRESSES, _ADDRESSES),
    st.text(max_size=20),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_LINES, max_size=25))
def test_any_lines_end_with_a_file_or_a_reason(lines: list[str]) -> None:
    """Never with another error; and what has no hole and no conflict of its own is a whole plan."""
    try:
        report = check(read_text("\n".join(["interface Gi0/9", *lines])), profile_named("classic"))
        made = draft(report, "router.cfg", Wishes())
    except OperatorError:
        return
    try:
        load_plan(made.text.encode())
    except Problems as found:
        codes = {problem.code for problem in found.problems}
        allowed = {"E2110", "E2109"} if made.missing else set()
        assert codes <= allowed | CONFLICTS, (codes, made.text)


CONFLICTS = {"E2201", "E2203", "E2204", "E2508", "E2510"}
"""Two interfaces in one prefix, an address used twice: a router refuses it too, or the operator must sort it out."""


def test_a_line_of_another_table_stays_away_although_it_replaces_one() -> None:
    """It is in no file, so that it cannot only differ."""
    more = VRFS + "ip nat pool Q 203.0.113.30 203.0.113.31 prefix-length 24\n"
    again = "ip nat inside source list 9 pool Q vrf BLUE"
    fates = told(f"{more}{again}\n{again} overload\naccess-list 9 permit any\n", vrf="RED")
    for line in (again, f"{again} overload"):
        assert (fates[line][0], "`--vrf BLUE`" in fates[line][1]) == (Fate.LEFT_OUT, True), line


def test_addresses_that_the_next_router_must_route_are_named_whole_and_once() -> None:
    """Pools from end to end, what a rotary answers for, a static network; nothing that lies in a network."""
    more = OVERLOAD + (
        "ip nat inside source static tcp 10.7.0.5 80 198.51.100.1 80\n"
        "ip nat inside source static tcp 10.7.0.5 443 198.51.100.1 443\n"
        "ip nat inside source static network 10.7.0.16 198.51.100.16 /28\n"
        "ip nat inside source static 10.7.0.6 203.0.113.6\n"
        "ip nat pool OUT 198.51.100.65 198.51.100.90 prefix-length 24\n"
        "ip nat pool WEB 10.7.0.11 10.7.0.12 prefix-length 24 type rotary\n"
        "ip nat inside source list 8 pool OUT overload\n"
        "ip nat inside destination list 9 pool WEB\n"
        "access-list 8 permit 10.7.0.128 0.0.0.127\naccess-list 9 permit 198.51.100.2\n"
    )
    (note,) = (english for english, _ in drafted(more).remarks if "must route" in english)
    named = note.rpartition(": ")[2].split(", ")
    expected = ["198.51.100.1", "198.51.100.16-198.51.100.31", "198.51.100.65-198.51.100.90", "198.51.100.2"]
    assert sorted(named) == sorted(expected)
    assert not any("must route" in english for english, _ in drafted(OVERLOAD).remarks)


def test_a_line_that_is_too_long_to_be_told_ends_with_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "router.cfg"
    long = "interface Tunnel0\n" + OVERLOAD.replace(
        " ip nat outside\n", f" ip nat outside\n ip access-group {'X' * 120} in\n"
    )
    file.write_text(long)
    told_lines = CliRunner().invoke(app, ["nat", "import", str(file)]).stderr.splitlines()
    assert [line.endswith("X ...") for line in told_lines if "access-group" in line] == [True]
