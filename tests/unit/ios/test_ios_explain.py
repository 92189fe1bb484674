"""What is said of a packet: the line that decides, the reason, and what it becomes. Traffic agrees in tests/lab."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli.nat import register
from understudy.ios import explain as explain_module
from understudy.ios.explain import Explanation, explain
from understudy.ios.explain_texts import REASONS
from understudy.ios.layout import words_of
from understudy.ios.model import Configuration, Dynamic, Static
from understudy.ios.reader import read_text
from understudy.ios.selecting import Decision, Packet, decide
from understudy.ios.show import Endpoint
from understudy.ios.translations import Given, Kind, Translation, table_of

LINES = """\
interface g0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
interface g0/2
 ip address 10.7.0.254 255.255.255.0
access-list 101 deny ip 10.9.0.0 0.0.0.255 10.50.0.0 0.0.255.255
access-list 101 permit ip 10.9.0.0 0.0.0.127 any
ip nat inside source list 101 interface g0/1 overload
ip nat inside source static tcp 10.9.0.12 22 203.0.113.11 2222
ip nat inside source static 10.9.0.5 203.0.113.5
ip nat outside source static 198.51.100.9 10.77.0.9
"""
POOL = """\
access-list 2 permit 10.9.0.0 0.0.0.255
ip nat pool P 203.0.113.20 203.0.113.21 prefix-length 24
ip nat inside source list 2 pool P
"""
ROTARY = """\
access-list 3 permit 203.0.113.80
ip nat pool WEB 10.9.0.31 10.9.0.32 prefix-length 24 type rotary
ip nat inside destination list 3 pool WEB
"""
OTHER = "198.51.100.66"


def packet(source: str, target: str, protocol: int = 6) -> Packet:
    (here, port), (there, other) = (each.split(":") for each in (source, target))
    return Packet(protocol, IPv4Address(here), IPv4Address(there), int(port), int(other))


def told(
    direction: str, source: str, target: str, *, text: str = LINES, given: tuple[Given, ...] = (), protocol: int = 6,
    strict: bool = False, interface: str | None = None, rotary_udp: bool = False,
) -> Explanation:  # fmt: skip
    name = interface or {"in": "g0/0", "out": "g0/1"}.get(direction)
    asked = packet(source, target, protocol)
    return explain(read_text(text), direction, name, asked, given=given, strict=strict, rotary_udp=rotary_udp)


@pytest.mark.parametrize(
    ("direction", "source", "target", "verdict", "reason", "line", "after"),
    [
        ("in", "10.9.0.6:4000", f"{OTHER}:80", "translated", "overload-interface", 11, f"203.0.113.10:4000 {OTHER}:80"),
        ("in", "10.9.0.6:4000", "10.50.1.1:80", "untranslated", "denied", 9, "10.9.0.6:4000 10.50.1.1:80"),
        ("in", "10.9.0.200:4000", f"{OTHER}:80", "untranslated", "no-rule", None, f"10.9.0.200:4000 {OTHER}:80"),
        ("in", "10.9.0.5:4000", f"{OTHER}:80", "translated", "static-out", 13, f"203.0.113.5:4000 {OTHER}:80"),
        ("in", "10.9.0.12:22", f"{OTHER}:80", "translated", "static-out", 12, f"203.0.113.11:2222 {OTHER}:80"),
        ("in", "10.9.0.12:23", f"{OTHER}:80", "translated", "overload-interface", 11, f"203.0.113.10:23 {OTHER}:80"),
        ("in", "10.9.0.5:4000", "10.77.0.9:80", "translated", "static-out", 13, "203.0.113.5:4000 198.51.100.9:80"),
        ("in", "10.9.0.200:4000", "10.77.0.9:80", "translated", "static-local", 14, "10.9.0.200:4000 198.51.100.9:80"),
        ("in", "10.9.0.6:4000", "10.7.0.9:80", "untranslated", "one-side", None, "10.9.0.6:4000 10.7.0.9:80"),
        ("in", "10.9.0.6:4000", "10.9.0.254:80", "untranslated", "to-router", None, "10.9.0.6:4000 10.9.0.254:80"),
        ("in", "10.9.0.6:4000", "10.9.0.7:80", "untranslated", "one-side", None, "10.9.0.6:4000 10.9.0.7:80"),
        ("out", f"{OTHER}:80", "203.0.113.5:443", "translated", "static-in", 13, f"{OTHER}:80 10.9.0.5:443"),
        ("out", f"{OTHER}:80", "203.0.113.11:2222", "translated", "static-in", 12, f"{OTHER}:80 10.9.0.12:22"),
        ("out", "198.51.100.9:80", "203.0.113.5:443", "translated", "static-in", 13, "10.77.0.9:80 10.9.0.5:443"),
        ("out", f"{OTHER}:80", "203.0.113.10:443", "untranslated", "to-router", None, f"{OTHER}:80 203.0.113.10:443"),
        ("local", "203.0.113.10:4000", f"{OTHER}:80", "untranslated", "no-rule", None, f"203.0.113.10:4000 {OTHER}:80"),
    ],
)
def test_the_line_that_decides(
    direction: str, source: str, target: str, verdict: str, reason: str, line: int | None, after: str
) -> None:
    found = told(direction, source, target)
    assert (found.verdict, found.reason, found.line) == (verdict, reason, line)
    assert found.seen is not None
    seen = found.seen
    assert f"{seen.source}:{seen.source_port} {seen.destination}:{seen.destination_port}" == after
    assert found.text == ("" if line is None else LINES.splitlines()[line - 1])
    assert bool(found.rows) is (verdict == "translated")


def test_each_hook_says_what_it_changed() -> None:
    found = told("in", "10.9.0.5:4000", "10.77.0.9:80")
    assert [(hook.name, hook.before, hook.after, hook.line) for hook in found.hooks] == [
        ("prerouting", "10.77.0.9:80", "198.51.100.9:80", 14),
        ("routing", "", "", None),
        ("postrouting", "10.9.0.5:4000", "203.0.113.5:4000", 13),
    ]
    assert [" ".join(words_of(row)) for row in found.rows] == [
        "tcp 203.0.113.5:4000 10.9.0.5:4000 10.77.0.9:80 198.51.100.9:80",
        "--- --- --- 10.77.0.9 198.51.100.9",
        "--- 203.0.113.5 10.9.0.5 --- ---",
    ]


def held(host: str, given: str) -> Given:
    return Given("P", IPv4Address(host), IPv4Address(given))


def test_a_pool_gives_the_next_address_until_it_is_dry() -> None:
    text = LINES.replace("ip nat inside source list 101 interface g0/1 overload\n", "") + POOL
    first, second = held("10.9.0.61", "203.0.113.20"), held("10.9.0.62", "203.0.113.21")

    def given(*entries: Given) -> Explanation:
        return told("in", "10.9.0.63:4000", f"{OTHER}:80", text=text, given=entries)

    fresh = given()
    assert (fresh.reason, str(fresh.seen.source if fresh.seen else "")) == ("allocated", "203.0.113.20")
    assert "--- 203.0.113.20 10.9.0.63 --- ---" in [" ".join(words_of(row)) for row in fresh.rows]
    assert str(given(first).hooks[2].after) == "203.0.113.21:4000"
    dry = given(first, second)
    assert (dry.verdict, dry.reason, dry.seen, dry.rows) == ("dropped", "pool-dry", None, ())
    mine = given(held("10.9.0.63", "203.0.113.21"))
    assert (mine.verdict, mine.reason) == ("translated", "entry")


def test_an_allocated_address_is_reached_from_outside_only_once_it_is_given() -> None:
    text = LINES + POOL
    before = told("out", f"{OTHER}:80", "203.0.113.20:22", text=text)
    after = told("out", f"{OTHER}:80", "203.0.113.20:22", text=text, given=(held("10.9.0.61", "203.0.113.20"),))
    assert (before.verdict, after.verdict, after.reason) == ("untranslated", "translated", "entry")


def test_the_turn_of_a_rotary_is_not_in_the_lines() -> None:
    found = told("out", f"{OTHER}:80", "203.0.113.80:443", text=LINES + ROTARY)
    assert (found.reason, found.chosen) == ("rotary", frozenset({"turn"}))
    other = told("out", f"{OTHER}:80", "203.0.113.80:443", text=LINES + ROTARY, protocol=17)
    assert (other.verdict, other.reason) == ("untranslated", "rotary-tcp")


@pytest.mark.parametrize(
    ("protocol", "verdict", "reason"),
    [(6, "translated", "rotary"), (17, "translated", "rotary"), (132, "untranslated", "rotary-tcp-udp")],
)
def test_a_rotary_takes_udp_where_it_is_wished(protocol: int, verdict: str, reason: str) -> None:
    asked = f"{OTHER}:80", "203.0.113.80:443"
    found = told("out", *asked, text=LINES + ROTARY, protocol=protocol, rotary_udp=True)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert all(found.said(language) for language in ("en", "ko"))


def test_a_port_that_is_in_use_is_the_kernels_to_choose() -> None:
    reading = read_text(LINES)
    first = told("in", "10.9.0.6:4000", f"{OTHER}:80")
    table = table_of(reading.configuration, ()) + first.rows
    again = explain(reading, "in", "g0/0", packet("10.9.0.7:4000", f"{OTHER}:80"), table=table)
    elsewhere = explain(reading, "in", "g0/0", packet("10.9.0.7:4000", f"{OTHER}:81"), table=table)
    assert [sorted(each.chosen) for each in (first, again, elsewhere)] == [[], ["port"], []]


def test_a_rule_without_an_address_drops() -> None:
    text = LINES.replace("interface g0/1 overload", "interface g0/2 overload").replace(
        " ip address 10.7.0.254 255.255.255.0\n", ""
    )
    assert told("in", "10.9.0.6:4000", f"{OTHER}:80", text=text).reason == "no-address"


def test_strict_lets_nothing_leave_untranslated() -> None:
    assert told("in", "10.9.0.200:4000", f"{OTHER}:80", strict=True).reason == "strict"
    assert told("in", "10.9.0.6:4000", f"{OTHER}:80", strict=True).verdict == "translated"


def test_an_interface_without_a_role_translates_nothing() -> None:
    assert told("in", "10.7.0.9:4000", f"{OTHER}:80", interface="g0/2").reason == "no-role"


def test_every_reason_is_told_in_both_languages() -> None:
    for english, korean in REASONS.values():
        assert any("가" <= character <= "힣" for character in korean)
        assert english.count("{") == korean.count("{")


@pytest.fixture
def app() -> object:
    import typer

    made = typer.Typer()
    register(made)
    return made


def run(app: object, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["nat", "explain", *words])  # type: ignore[arg-type]  # a typer application
    return result.exit_code, result.output


def test_the_command(app: object, tmp_path: Path) -> None:
    file = tmp_path / "edge.ios"
    file.write_text(LINES)
    code, said = run(app, "in", "Gi0/0", "tcp", "10.9.0.6:4000", f"{OTHER}:80", "--config", str(file))
    assert (code, said.splitlines()[:2]) == (
        0,
        [
            "translated: it shares the address of GigabitEthernet0/1, 203.0.113.10",
            "  line 11: ip nat inside source list 101 interface g0/1 overload",
        ],
    )
    code, said = run(
        app, "in", "g0/0", "tcp", "10.9.0.200:1", f"{OTHER}:80", "--config", str(file), "--strict", "--json"
    )
    assert code == 2
    assert '"verdict": "dropped"' in said


@pytest.mark.parametrize(
    "words",
    [
        ("by", "g0/0", "tcp", "1.2.3.4:1", "1.2.3.5:1"),
        ("in", "g0/9", "tcp", "1.2.3.4:1", "1.2.3.5:1"),
        ("in", "g0/1", "tcp", "1.2.3.4:1", "1.2.3.5:1"),
        ("in", "g0/0", "tpc", "1.2.3.4:1", "1.2.3.5:1"),
        ("in", "g0/0", "tcp", "1.2.3.4", "1.2.3.5:1"),
        ("in", "g0/0", "tcp", "1.2.3.4:99999", "1.2.3.5:1"),
        ("in", "g0/0", "udp", "1.2.3:1", "1.2.3.5:1"),
    ],
)
def test_what_is_not_well_formed_is_told(app: object, tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "edge.ios"
    file.write_text(LINES)
    code, _ = run(app, *words, "--config", str(file))
    assert code == 1


WAYS = """\
interface g0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
interface g0/2
 ip address 192.0.2.10 255.255.255.0
 ip nat outside
interface g0/3
 ip address 192.0.3.10 255.255.255.0
access-list 1 permit any
ip nat inside source list 1 interface g0/1 overload
"""


@pytest.mark.parametrize(
    ("routes", "leaving"),
    [
        ("0.0.0.0 0.0.0.0 192.0.2.1 250\nip route 0.0.0.0 0.0.0.0 203.0.113.1", "GigabitEthernet0/1"),
        ("0.0.0.0 0.0.0.0 203.0.113.1\nip route 0.0.0.0 0.0.0.0 192.0.2.1 250", "GigabitEthernet0/1"),
        ("0.0.0.0 0.0.0.0 203.0.113.1\nip route 198.51.100.0 255.255.255.0 192.0.2.1 250", "GigabitEthernet0/2"),
        ("vrf RED 198.51.100.0 255.255.255.0 192.0.2.1\nip route 0.0.0.0 0.0.0.0 203.0.113.1", "GigabitEthernet0/1"),
    ],
)
def test_the_way_is_the_longest_prefix_then_the_least_distance_of_the_packets_own_table(
    routes: str, leaving: str
) -> None:
    text = f"{WAYS}ip route {routes}\n"
    assert told("in", "10.9.0.6:4000", f"{OTHER}:80", text=text).leaving == leaving


def test_a_vrfs_own_route_goes_before_the_common_one() -> None:
    text = WAYS.replace("interface g0/0\n", "interface g0/0\n vrf forwarding RED\n")
    text += "ip route 0.0.0.0 0.0.0.0 203.0.113.1\nip route vrf RED 0.0.0.0 0.0.0.0 192.0.2.1 200\n"
    assert told("in", "10.9.0.6:4000", f"{OTHER}:80", text=text).leaving == "GigabitEthernet0/2"


def test_a_lists_limit_asks_for_each_host_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of its flows, which may be many."""
    asked: list[IPv4Address] = []

    def counted(configuration: Configuration, rule: Dynamic | Static, one: Packet, leaving: str) -> Decision:
        asked.append(one.source)
        return decide(configuration, rule, one, leaving)

    monkeypatch.setattr(explain_module, "decide", counted)
    text = f"{LINES}access-list 9 permit 10.9.0.6\nip nat translation max-entries list 9 200\n"
    far = Endpoint(OTHER, 80)
    table = [
        Translation(
            "tcp", Endpoint("203.0.113.10", port), Endpoint(f"10.9.0.{6 + port % 2}", port), far, far, Kind.FLOW
        )
        for port in range(1000, 1400)
    ]
    sent = packet("10.9.0.6:4000", f"{OTHER}:80")
    assert explain(read_text(text), "in", "g0/0", sent, table=table).reason == "limit"
    assert sorted(map(str, asked)) == ["10.9.0.6", "10.9.0.7"]
    assert explain(read_text(text), "in", "g0/0", sent, table=table[2:]).verdict == "translated"
