"""Outputs of `show ip nat ...` are read back: rows, columns, layouts, statistics, and the rest without loss."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import OperatorError
from understudy.ios.show import as_json, read_show

COLUMNS = {"A": (4, 23, 42, 61), "B": (4, 26, 48, 70), "C": (5, 27, 49, 71)}
HEADS = ("Inside global", "Inside local", "Outside local", "Outside global")


def laid_out(layout: str, *rows: tuple[str, ...]) -> str:
    """Rows as a router of that layout prints them: a long field pushes only itself."""
    lines = []
    for row in (("Pro", *HEADS), *rows):
        line = row[0]
        for column, text in zip(COLUMNS[layout], row[1:], strict=True):
            line = line.ljust(column) if len(line) < column else f"{line} "
            line += text
        lines.append(line)
    return "\n".join(lines) + "\n"


def shown(text: str) -> dict[str, Any]:
    return as_json(read_show(text.encode()))


ROWS = (
    ("tcp", "203.0.113.1:1024", "10.9.0.5:40000", "198.51.100.1:80", "198.51.100.1:80"),
    ("icmp", "203.0.113.1:1024", "10.9.0.5:17", "198.51.100.1:17", "198.51.100.1:1024"),
    ("tcp", "203.0.113.5:8080", "10.9.0.5:80", "---", "---"),
    ("---", "203.0.113.6", "10.9.0.6", "---", "---"),
    ("---", "---", "---", "10.9.9.1", "198.51.100.9"),
)


@pytest.mark.parametrize("layout", sorted(COLUMNS))
def test_the_rows_of_every_layout_are_read(layout: str) -> None:
    """Flow, ICMP, static port, both half entries; what is not known is null; the layout is told by its header."""
    found = shown("Router#show ip nat translations\n" + laid_out(layout, *ROWS) + "Total number of translations: 5\n")
    assert (found["show"], found["layout"], found["total"], found["unread"]) == ("translations", layout, 5, [])
    assert [row["protocol"] for row in found["rows"]] == ["tcp", "icmp", "tcp", None, None]
    assert found["rows"][1]["outside_global"] == {"address": "198.51.100.1", "port": 1024}
    assert found["rows"][2]["outside_local"] is None
    assert found["rows"][3]["inside_global"] == {"address": "203.0.113.6", "port": None}
    assert found["rows"][4]["inside_local"] is None
    assert found["rows"][4]["outside_local"] == {"address": "10.9.9.1", "port": None}


def test_reflowed_rows_are_read_by_their_words() -> None:
    """One blank between fields, two dashes for three, blanks before a row."""
    found = shown(
        "Pro Inside global Inside local Outside local Outside global\n   udp 203.0.113.1:5 10.9.0.1:5 --- --\n"
    )
    assert (found["layout"], len(found["rows"])) == (None, 1)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            "    create 00:00:07, use 00:00:02, left 00:00:57, Map-Id(In): 1, \n    flags: \n"
            "extended, use_count: 0, entry-id: 5, lc_entries: 0\n",
            {"create": "00:00:07", "left": "00:00:57", "Map-Id(In)": "1", "Flags": "extended", "entry-id": "5"},
        ),
        (
            "  create: 12/18/25 07:40:45, use: 12/18/25 07:41:03, timeout: 00:00:59\n  RuleID : 3\n  Flags: static\n"
            "  Mac-Address: 0000.0000.0000    Input-IDB: GigabitEthernet4\n  entry-id: 0xe8, use_count:3\n"
            "  In_pkts: 5 In_bytes: 400, Out_pkts: 4 Out_bytes: 320\n  Output-IDB:\n",
            {"create": "12/18/25 07:40:45", "RuleID": "3", "Flags": "static", "Input-IDB": "GigabitEthernet4",
             "In_bytes": "400", "Output-IDB": ""},
        ),
    ],
)  # fmt: skip
def test_verbose_lines_belong_to_the_row_above(details: str, expected: dict[str, str]) -> None:
    """Classic and IOS XE, each with its own words."""
    found = shown(laid_out("C", ROWS[0]) + details + "\n" + laid_out("C", ROWS[3]))
    assert found["unread"] == []
    assert len(found["rows"]) == 2
    assert found["rows"][0]["details"].items() >= expected.items()
    assert found["rows"][1]["details"] == {}


STATISTICS = """
r1#show ip nat statistics
Total active translations: 5 (1 static, 4 dynamic; 3 extended)
Peak translations: 9, occurred 00:02:11 ago
Outside interfaces:
  GigabitEthernet0/1, Dialer1
Inside interfaces:
  GigabitEthernet0/0.10
Hits: 24  Misses: 2
CEF Translated packets: 24, CEF Punted packets: 6
Expired translations: 7
Dynamic mappings:
-- Inside Source
[Id: 1] access-list ACL-NAT interface GigabitEthernet0/1 refcount 1
[Id: 2] route-map RM pool P refcount 3
 pool P: netmask 255.255.255.0
    start 203.0.113.1 end 203.0.113.4
    start 203.0.113.9 end 203.0.113.9
    type generic, total addresses 5, allocated 1 (20%), misses 96
-- Inside Destination
access-list 2 pool REAL refcount 0
nat-limit statistics:
 max entry: max allowed 0, used 5, missed 1
In-to-out drops: 3  Out-to-in drops: 4
"""


def test_statistics_are_read_whole() -> None:
    """Counters under one name each, interfaces, rules with their section, pools with every segment."""
    found = shown(STATISTICS)
    assert (found["show"], found["unread"]) == ("statistics", [])
    assert found["numbers"] == {
        "active": 5, "static": 1, "dynamic": 4, "extended": 3, "peak": 9, "hits": 24, "misses": 2, "expired": 7,
        "cef_translated_packets": 24, "cef_punted_packets": 6, "max_entry_allowed": 0, "max_entry_used": 5,
        "max_entry_missed": 1, "in_to_out_drops": 3, "out_to_in_drops": 4,
    }  # fmt: skip
    assert found["outside"] == ["GigabitEthernet0/1", "Dialer1"]
    assert found["inside"] == ["GigabitEthernet0/0.10"]
    assert [(each["section"], each["pool"], each["refcount"]) for each in found["mappings"]] == [
        ("Inside Source", None, 1),
        ("Inside Source", "P", 3),
        ("Inside Destination", "REAL", 0),
    ]
    pool = found["pools"][0]
    assert (len(pool["segments"]), pool["total"], pool["allocated"], pool["misses"]) == (2, 5, 1, 96)


def test_any_other_output_is_read_as_pairs_and_rows() -> None:
    """Under their headings; a count that follows another belongs to the same subject."""
    found = shown("Dump NAT stats\n\npool add: 2, del: 1, err: 0\n")
    assert (found["show"], found["title"]) == ("other", "Dump NAT stats")
    assert found["fields"] == [{"under": "Dump NAT stats", "pool add": "2", "pool del": "1", "pool err": "0"}]
    table = shown("IP       Redundancy-Name    ID     Use-count\n192.0.2.1 NONE         0         1\n")
    assert table["rows"][1] == ["192.0.2.1", "NONE", "0", "1"]


@pytest.mark.parametrize(
    "text", ["", "hello\n", "interface g0/0\n ip nat inside\n", "ip nat inside source static 1.1.1.1 2.2.2.2\n"]
)
def test_what_is_no_output_is_refused(text: str) -> None:
    """Nothing, prose, and a configuration."""
    with pytest.raises(OperatorError, match="E7104"):
        shown(text)


words = st.sampled_from(
    ("Pro", "---", "tcp", "203.0.113.1:5", "create:", "flags:", "pool", "start", "Total", "|", ":", ",", "\n", "  ")
)


@given(
    st.lists(words | st.text(max_size=5), max_size=40).map(" ".join)
    | st.binary(max_size=100).map(lambda data: data.decode("latin-1"))
)
def test_any_output_is_answered(text: str) -> None:
    """No exception but the declared one."""
    with contextlib.suppress(OperatorError):
        shown(text)


@pytest.mark.parametrize("field", ["1.2.3.4.5", "10.9.0.5/24", "..1.2", "10.9.0.", "1.2.3.4:99"])
def test_what_looks_like_an_address_is_a_field(field: str) -> None:
    (row,) = shown(laid_out("A", ("tcp", field, "10.9.0.5:80", "---", "---")))["rows"]
    assert row["inside_global"]["address"] == field.partition(":")[0]


@pytest.mark.parametrize("field", ["12", ".", "1", "1a.2", "...", "1.2.3.4:"])
def test_what_does_not_is_none(field: str) -> None:
    assert len(shown(laid_out("A", ROWS[0], ("tcp", field, "10.9.0.5:80", "---", "---")))["rows"]) == 1


def test_a_line_that_no_router_prints_is_no_row() -> None:
    """Two rows of one length above and one below the limit."""
    long = "tcp " + " ".join(("203.0.113.1:1024", "10.9.0.5:40000", "198.51.100.1:80", "198.51.100.1:80"))
    found = shown(laid_out("A", ROWS[0]) + long + " " * 2000 + "\n" + long.replace(" ", " " * 300) + "\n")
    assert (len(found["rows"]), len(found["unread"])) == (2, 1)


@pytest.mark.parametrize(
    "line",
    [
        "tcp " + "1" * 1_000_000 + " - - -",
        "tcp " + "." * 1_000_000 + " 1 2 3",
        " " * 500_000 + "- More",
        "\t" * 500_000,
    ],
)
def test_a_long_line_costs_no_more_than_its_length(line: str) -> None:
    """A pattern that began anew at each of its characters would not come to an end here."""
    found = shown(laid_out("A", *ROWS) + line + "\n more\n")
    assert len(found["rows"]) == len(ROWS)


def test_a_pagers_mark_is_left_out_with_the_blanks_around_it() -> None:
    text = laid_out("A", *ROWS).replace("\ntcp", "\n \t --More-- \x08\x08 tcp", 1)
    assert len(shown(text)["rows"]) == len(ROWS)
