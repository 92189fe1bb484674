"""How a text is taken apart: modes, prompts, `no`, abbreviations, broken input, bounds."""

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import OperatorError
from understudy.ios import lists, reader
from understudy.ios.check import as_json, check
from understudy.ios.lines import Kind, Reading
from understudy.ios.model import Role, Side
from understudy.ios.names import interface_name
from understudy.ios.printer import print_configuration
from understudy.ios.profiles import PROFILES
from understudy.ios.reader import read_bytes, read_text
from understudy.ios.slots import is_placeholder

WORDS = [
    *("ip", "nat", "inside", "source", "static", "list", "pool", "route-map", "tcp", "interface", "overload", "vrf"),
    *("no", "1", "10.0.0.1", "255.255.255.0", "/24", "type", "rotary", "netmask", "prefix-length", "address", "permit"),
    *("deny", "any", "host", "access-list", "standard", "object-group", "match", "crypto", "map", "banner", "motd"),
    *("^C", "Gi0/1", "range", "-", ",", "R1(config)#", "R1#", "+", "!", "<", ">", "[", "]", "translation", "timeout"),
    *("never", "max-entries", "stateful", "id"),
]


def only(reading: Reading) -> str:
    return print_configuration(reading.configuration)


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("ip nat in so st 10.0.0.1 203.0.113.1 ext", "ip nat inside source static 10.0.0.1 203.0.113.1 extendable"),
        ("IP NAT INSIDE SOURCE STATIC 10.0.0.1 203.0.113.1", "ip nat inside source static 10.0.0.1 203.0.113.1"),
        ("ip nat i s s n 10.0.0.0 203.0.113.0 /24",
         "ip nat inside source static network 10.0.0.0 203.0.113.0 255.255.255.0"),
        ("ip nat i s l 1 i g0/1 ov", "ip nat inside source list 1 interface GigabitEthernet0/1 overload"),
        ("ip nat inside source list 1 pool P overload vrf R", "ip nat inside source list 1 pool P vrf R overload"),
        ("ip nat poo P 10.0.0.1 10.0.0.9 ty ro pref 24",
         "ip nat pool P 10.0.0.1 10.0.0.9 prefix-length 24 type rotary"),
        ("ip nat tr tcp-t 60", "ip nat translation tcp-timeout 60"),
        ("ip nat inside source static tcp 10.0.0.1 www 203.0.113.1 telnet",
         "ip nat inside source static tcp 10.0.0.1 80 203.0.113.1 23"),
    ],
)  # fmt: skip
def test_words_may_be_cut_to_what_is_unambiguous(short: str, whole: str) -> None:
    """At every place, options in any order, letters large or small."""
    assert only(read_text(short)) == f"!\n{whole}\n"


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("e0/3", "Ethernet0/3"), ("G0/1", "GigabitEthernet0/1"), ("fa0/0.10", "FastEthernet0/0.10"),
        ("te1/1/1", "TenGigabitEthernet1/1/1"), ("Vl10", "Vlan10"), ("lo0", "Loopback0"), ("po1", "Port-channel1"),
        ("di1", "Dialer1"), ("s0/0/0:1", "Serial0/0/0:1"), ("BD-VIF5448", "BD-VIF5448"), ("BDI4501", "BDI4501"),
        ("gigabitethernet1", "GigabitEthernet1"), ("outside", "outside"), ("Cell0/1/0", "Cellular0/1/0"),
        ("1.1.1.1", None),
    ],
)  # fmt: skip
def test_interface_names_become_whole(short: str, whole: str | None) -> None:
    """A type that stands in no table is taken as it is written."""
    assert interface_name(short) == whole


def test_an_interface_and_its_number_may_stand_apart() -> None:
    """As people write it in teaching material; a range names several."""
    reading = read_text("interface serial 0/1/0\nip nat inside\nint range fa0/0 - 1, g0/2\nip nat outside\n")
    names = {each.name: each.roles for each in reading.configuration.interfaces}
    assert names == {
        "Serial0/1/0": (Role.INSIDE,),
        "FastEthernet0/0": (Role.OUTSIDE,),
        "FastEthernet0/1": (Role.OUTSIDE,),
        "GigabitEthernet0/2": (Role.OUTSIDE,),
    }


def test_no_takes_away_what_stands_above_it_only() -> None:
    """The order of lines counts: a static, a rule by its list, a pool, a name, a role, an entry of a list."""
    text = (
        "interface g0/0\nip nat inside\nno ip nat inside\n"
        "ip nat inside source static 10.0.0.1 203.0.113.1 extendable\n"
        "no ip nat inside source static 10.0.0.1 203.0.113.1\n"
        "ip nat inside source static 10.0.0.1 203.0.113.1\n"
        "ip nat name WEB inside source static 10.0.0.2 203.0.113.2\nno ip nat name WEB\n"
        "ip nat pool P 203.0.113.3 203.0.113.4 prefix-length 24\nno ip nat pool P\n"
        "ip nat inside source list 1 pool P\nno ip nat inside source list 1\n"
        "ip nat inside source list 2 pool P overload\nno ip nat inside source list 2 pool P overload\n"
        "ip nat translation timeout 60\nno ip nat translation timeout\n"
        "ip nat inside source list 3 interface g0/1 overload\nno ip nat inside source list 3 interface g0/1 forced\n"
        "no ip nat service sip udp port 5060\n"
    )
    reading = read_text(text)
    assert not reading.refused
    assert [line.note for line in reading.lines if line.note] == []
    assert (
        only(reading) == "!\nip nat inside source static 10.0.0.1 203.0.113.1\n!\nno ip nat service sip udp port 5060\n"
    )


def test_a_similar_static_is_not_entered_and_a_dynamic_rule_is_replaced() -> None:
    """As a router does it: the first static stays, the later rule for a list counts."""
    reading = read_text(
        "ip nat inside source static 10.0.0.1 203.0.113.1\nip nat inside source static 10.0.0.2 203.0.113.1\n"
        "ip nat inside source list 1 pool A\nip nat inside source list 1 pool B overload\n"
    )
    assert [static.local for static in reading.configuration.statics] == [IPv4Address("10.0.0.1")]
    assert [(rule.pool, rule.overload) for rule in reading.configuration.dynamics] == [("B", True)]


def test_a_list_that_stands_after_its_rule_is_nat_and_any_other_is_passed_over() -> None:
    """Right or wrong: what no rule reaches is nobody's concern."""
    reading = read_text(
        "ip nat inside source list LATER interface g0/1 overload\n"
        "ip access-list standard LATER\n permit 10.0.0.0 0.0.0.255\n"
        "ip access-list standard OTHER\n permit 10.0.0.256\n evaluate X\n"
    )
    assert [line.kind for line in reading.lines] == [Kind.NAT] * 3 + [Kind.PASSED_OVER] * 3
    assert [each.name for each in reading.configuration.access_lists] == ["LATER"]


def test_an_entry_that_is_wrong_is_refused_where_a_rule_reaches_its_list() -> None:
    """And two entries at one sequence number are, as on a router."""
    reading = read_text(
        "ip access-list standard L\n 10 permit 10.0.0.0 0.0.0.255\n 10 permit 10.0.1.0 0.0.0.255\n permit 10.0.0.256\n"
        "ip nat inside source list L interface g0/1 overload\n"
    )
    refused = {line.number: line.refusal for line in reading.refused}
    assert set(refused) == {3, 4}
    assert refused[3]
    assert refused[3].message == "% Duplicate sequence number"
    assert refused[4]
    assert refused[4].column == 9


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        # The name is another's by then.
        ("ip nat name X inside source static 10.0.0.1 203.0.113.1\nno ip nat name X\n"
         "ip nat inside source static 10.0.0.2 203.0.113.1\nno ip nat inside source static 10.0.0.1 203.0.113.1\n",
         "ip nat inside source static 10.0.0.2 203.0.113.1\n"),
        ("ip nat name X inside source static 10.0.0.1 203.0.113.1\n"
         "no ip nat inside source static 10.0.0.1 203.0.113.1\n"
         "ip nat inside source static 10.0.0.2 203.0.113.1\nno ip nat name X\n",
         "ip nat inside source static 10.0.0.2 203.0.113.1\n"),
        # A rule that replaced one without a name, or of another, goes by its own.
        ("ip nat name A inside source list 1 pool P overload\nip nat name B inside source list 1 pool Q overload\n"
         "no ip nat name B\n", ""),
        ("ip nat name A inside source list 1 pool P overload\nip nat name B inside source list 1 pool Q overload\n"
         "no ip nat name A\n", "ip nat name B inside source list 1 pool Q overload\n"),
    ],
)  # fmt: skip
def test_no_takes_what_it_names_and_nothing_that_came_in_its_place(lines: str, left: str) -> None:
    assert only(read_text(lines)).removeprefix("!\n") == left


def test_a_setting_with_one_value_is_said_once() -> None:
    """The last stays; others stand side by side."""
    reading = read_text(
        "ip nat settings gatekeeper-size 100\nip nat settings gatekeeper-size 200\n"
        "ip nat settings mode cgn\nip nat settings mode default\n"
        "ip nat settings interface-overload port range 2000 3000\n"
        "ip nat settings interface-overload port range 4000 5000\n"
        "ip nat settings interface-overload block port tcp 80\n"
        "ip nat settings interface-overload block port tcp 81\n"
    )
    assert only(reading).removeprefix("!\n").splitlines() == [
        "ip nat settings gatekeeper-size 200",
        "ip nat settings mode default",
        "ip nat settings interface-overload port range 4000 5000",
        "ip nat settings interface-overload block port tcp 80",
        "ip nat settings interface-overload block port tcp 81",
    ]
    assert [line.note.code for line in reading.lines if line.note is not None] == ["replaced"] * 3


def test_a_setting_is_switched_off_whatever_its_value() -> None:
    text = "ip nat settings gatekeeper-size 100\nip nat settings mode cgn\nip nat settings scale bind\n"
    off = "no ip nat settings gatekeeper-size\nno ip nat settings mode cgn\n"
    assert only(read_text(text + off)) == "!\nip nat settings scale bind\n"


GROUP = "ip nat inside source list 101 pool P\naccess-list 101 permit ip object-group G any\nobject-group network G\n"


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (" host nonsense", 7), (" host", 6), (" 10.0.0.0 /99", 11), (" 10.0.0.0", 10), (" 10.0.0.0 0.0.0.255", 11),
        (" range 10.0.0.9 10.0.0.1", 17), (" range 10.0.0.9", 16), (" any thing", 6), (" group-object", 14),
        (" nonsense", 2), ("host nonsense", 6), ("R1(config-network-group)#nonsense", 26), (" 10.0.0.300 /24", 2),
    ],
)  # fmt: skip
def test_a_line_of_a_group_that_names_no_addresses_is_refused(line: str, column: int) -> None:
    (refused,) = read_text(f"{GROUP}{line}\n").refused
    assert refused.refusal is not None
    assert (refused.number, refused.refusal.column) == (4, column)


def test_lines_of_a_group_have_one_form() -> None:
    said = " HOST 10.0.0.1\n 10.0.1.9 /24\n 10.0.2.0 255.255.255.0\n range 10.0.3.1 10.0.3.9\n any\n"
    reading = read_text(f"{GROUP}{said} group-object H\n description of them\nhostname R1\n")
    assert reading.refused == ()
    assert reading.configuration.object_groups[0].lines == (
        "host 10.0.0.1", "10.0.1.0 255.255.255.0", "10.0.2.0 255.255.255.0", "range 10.0.3.1 10.0.3.9", "any",
        "group-object H",
    )  # fmt: skip


def test_a_command_at_the_margin_ends_a_group() -> None:
    """Whatever it is: only what stands deeper, or behind the group's prompt, is of the group."""
    reading = read_text(f"{GROUP} any\nsnmp-server community x\n host nonsense\n")
    assert reading.refused == ()
    assert reading.configuration.object_groups[0].lines == ("any",)


def test_matches_of_one_kind_in_a_clause_add_up() -> None:
    """Any of the lists, any of the interfaces; `no` takes single ones away."""
    text = (
        "ip nat inside source route-map R interface g0/1 overload\nroute-map R permit 10\n match ip address 1\n"
        " match interface g0/1\n match ip address 2 3\n match interface g0/2\n no match ip address 1\n"
    )
    clause = read_text(text).configuration.route_maps[0].clauses[0]
    assert clause.matches == (("interface", "GigabitEthernet0/1", "GigabitEthernet0/2"), ("ip", "address", "2", "3"))


def test_a_role_belongs_to_the_interface_that_is_open() -> None:
    """Without indentation too; after a global command none is open any more, and the router's message says so."""
    reading = read_text(
        "interface g0/0\nip nat inside\nip nat inside source static 10.0.0.1 203.0.113.1\nip nat inside\n"
    )
    assert [line.number for line in reading.refused] == [4]
    refusal = reading.refused[0].refusal
    assert refusal
    assert refusal.message == "% Incomplete command."
    assert reading.configuration.interfaces[0].roles == (Role.INSIDE,)


@pytest.mark.parametrize(
    "line",
    [
        "Router(config)# ip nat inside source static 10.0.0.1 203.0.113.1",
        "R1-EDGE.lab(config-if)#ip nat inside source static 10.0.0.1 203.0.113.1",
        "(config)# ip nat inside source static 10.0.0.1 203.0.113.1",
        "R1#ip nat inside source static 10.0.0.1 203.0.113.1",
        "+ip nat inside source static 10.0.0.1 203.0.113.1",
        "     7 : ip nat inside source static 10.0.0.1 203.0.113.1",
        " --More-- \x08\x08\x08ip nat inside source static 10.0.0.1 203.0.113.1",
        "\tip nat inside source static 10.0.0.1 203.0.113.1   ! the printer",
        "ip nat inside source static 10.0.0.1 203.0.113.1 <-- the printer",
        "ip nat inside source static 010.0.0.1 203.0.113.1 // the printer",
    ],
)
def test_what_stands_around_a_command_is_taken_off(line: str) -> None:
    """Prompts, diff marks, line numbers, a pager's rest, comments."""
    assert only(read_text(line)) == "!\nip nat inside source static 10.0.0.1 203.0.113.1\n"


def test_the_later_of_inside_and_outside_counts() -> None:
    """An interface is one or the other, and the line that is lost is named."""
    reading = read_text("interface g0/0\n ip nat inside\n ip nat outside\n")
    assert reading.configuration.interfaces[0].roles == (Role.OUTSIDE,)
    note = reading.lines[-1].note
    assert note
    assert (note.code, note.said) == ("replaced", {"line": 2})


def test_outside_gives_the_global_address_first() -> None:
    """The order of the two addresses is the other way round than inside."""
    static = read_text("ip nat outside source static 198.51.100.1 10.0.9.1").configuration.statics[0]
    assert (static.side, static.global_, static.local) == (
        Side.OUTSIDE,
        IPv4Address("198.51.100.1"),
        IPv4Address("10.0.9.1"),
    )


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\r\r\n"])
def test_line_ends_of_every_kind_are_the_same(end: str) -> None:
    """Windows, old terminals, and both at once."""
    text = "interface g0/0\n ip nat inside\nip nat inside source static 10.0.0.1 203.0.113.1\n"
    reading = read_bytes(text.replace("\n", end).encode())
    assert reading.configuration == read_text(text).configuration
    assert reading.lines[-1].number == 3


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x7fELF\0\0\0", "E7102"),
        (b"hello world\nthis is prose\n", "E7103"),
        (b"a" * 100 + b"\n", "E7103"),
    ],
)
def test_what_is_no_configuration_is_refused_as_a_whole(data: bytes, code: str) -> None:
    """With the line and what was expected."""
    with pytest.raises(OperatorError, match=code) as caught:
        read_bytes(data)
    assert "line 1" in str(caught.value)
    assert "expected" in caught.value.hint


def test_a_text_without_end_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many bytes and too many lines, each by its bound."""
    monkeypatch.setattr(reader, "TEXT_MAX", 100)
    with pytest.raises(OperatorError, match="E7101"):
        read_bytes(b"!" * 101)
    monkeypatch.setattr(reader, "LINES_MAX", 10)
    with pytest.raises(OperatorError, match="E7101"):
        read_text("!\n" * 11)


def test_long_lines_and_long_blocks_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NAT line beyond the bound is refused, any other passed over; so is a block's line beyond its bound."""
    reading = read_text("ip nat inside source static " + "9" * 5000 + "\ndescription " + "x" * 5000 + "\n")
    assert [line.kind for line in reading.lines] == [Kind.REFUSED, Kind.PASSED_OVER]
    monkeypatch.setattr(lists, "GROUP_MAX", 2)
    text = (
        "ip nat inside source list L interface g0/1 overload\nip access-list extended L\n"
        " permit ip object-group G any\nobject-group network G\n host 10.0.0.1\n host 10.0.0.2\n host 10.0.0.3\n"
    )
    assert [line.number for line in read_text(text).refused] == [7]


def test_an_unfinished_banner_swallows_one_line_only() -> None:
    """Half a file: what follows is read."""
    reading = read_text("banner motd ^C\nip nat inside source static 10.0.0.1 203.0.113.1\n")
    assert len(reading.configuration.statics) == 1


@pytest.mark.parametrize(
    "word",
    ["<ip>", "{{ip}}", "[ip]", "x.x.x.x", "A.B.C.D", "10.x.x.x", "START_IP", "inside-local", "YOUR_IP", "$IP", "%IP%"],
)
def test_a_word_to_be_filled_in_is_a_placeholder(word: str) -> None:
    """Where an address belongs."""
    assert is_placeholder(word)


@pytest.mark.parametrize("word", ["10.0.0.1", "10.0.0.300", "10.0.0", "sorce", "255.255.255.0", "80", "/24"])
def test_a_word_that_is_only_wrong_is_no_placeholder(word: str) -> None:
    """A broken octet is a mistake, not a template."""
    assert not is_placeholder(word)


lines = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
noise = (
    st.text(max_size=30)
    | lines
    | st.sampled_from(WORDS).flatmap(lambda word: st.text(max_size=9).map(lambda more: word + more))
)


@given(st.lists(noise, max_size=12).map("\n".join))
def test_any_text_is_answered_and_what_was_understood_reads_back(text: str) -> None:
    """No exception but the declared ones; the canonical form is a fixed point whatever came in."""
    try:
        reading = read_text(text)
    except OperatorError:
        return
    as_json(check(reading, PROFILES["classic"]), "ko")
    printed = only(reading)
    if printed:
        again = read_text(printed)
        assert not again.refused
        assert again.configuration == reading.configuration


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    """No exception but the declared ones."""
    with contextlib.suppress(OperatorError):
        read_bytes(data)


SECOND, THIRD = " ip address 192.0.2.1 255.255.255.0 secondary\n", " ip address 192.0.2.5 255.255.255.0 secondary\n"
FIRST, OTHER = " ip address 203.0.113.2 255.255.255.0\n", " ip address 203.0.113.7 255.255.255.0\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (FIRST + SECOND, ["203.0.113.2", "192.0.2.1"]),
        (SECOND + FIRST, ["203.0.113.2", "192.0.2.1"]),
        (SECOND + THIRD + FIRST, ["203.0.113.2", "192.0.2.1", "192.0.2.5"]),
        (SECOND + FIRST + OTHER, ["203.0.113.7", "192.0.2.1"]),
        (FIRST + SECOND + OTHER, ["203.0.113.7", "192.0.2.1"]),
        (FIRST + SECOND + SECOND.replace(" secondary", ""), ["192.0.2.1"]),
        (SECOND + " ip address dhcp\n" + FIRST + OTHER, ["203.0.113.7"]),
    ],
)
def test_the_primary_address_comes_first_wherever_its_line_stands(lines: str, expected: list[str]) -> None:
    """A router prints the secondary ones before it; a further primary one replaces the primary one alone."""
    (interface,) = read_text(f"interface Gi0/0\n{lines} ip nat outside\n").configuration.interfaces
    assert [str(each.ip) for each in interface.addresses] == expected
