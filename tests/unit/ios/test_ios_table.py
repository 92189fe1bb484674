"""The table of translations: the four addresses whichever side began, half entries, and the router's layouts."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import OperatorError
from understudy.ios.asking import read_asked, read_clearing
from understudy.ios.counted import Counters, print_pool, print_statistics, totals
from understudy.ios.layout import LAYOUTS, age, clock, date, print_total, print_translations, words_of
from understudy.ios.model import Configuration
from understudy.ios.reader import read_text
from understudy.ios.rows import packed, unpacked
from understudy.ios.show import Endpoint, Translations, read_show
from understudy.ios.statistics import Statistics
from understudy.ios.translations import ICMP, TCP, UDP, Began, Flow, Given, Half, Kind, Translation, table_of

GATEWAY = """
interface g0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat pool P 203.0.113.20 203.0.113.29 prefix-length 24
"""


def lines(*more: str) -> Configuration:
    return read_text(GATEWAY + "\n".join(more) + "\n").configuration


def half(text: str) -> Half:
    """`10.9.0.5:4000 198.51.100.9:80`."""
    (one, port), (other, target) = (each.split(":") for each in text.split())
    return Half(IPv4Address(one), IPv4Address(other), int(port), int(target))


def flow(original: str, reply: str, protocol: int = TCP, began: Began | None = None) -> Flow:
    return Flow(protocol, half(original), half(reply), began)


def shown(configuration: Configuration, *flows: Flow, held: tuple[Given, ...] = ()) -> list[str]:
    return [" ".join(words_of(row)) for row in table_of(configuration, flows, held)]


OUTSIDE = "ip nat outside source static 198.51.100.9 10.77.0.9"
STATIC = "ip nat inside source static 10.9.0.5 203.0.113.5"
TWICE = "tcp 203.0.113.5:4000 10.9.0.5:4000 10.77.0.9:80 198.51.100.9:80"


@pytest.mark.parametrize(
    ("config", "seen", "row"),
    [
        (
            ("ip nat inside source list 1 interface g0/1 overload",),
            flow("10.9.0.5:4000 192.0.2.1:80", "192.0.2.1:80 203.0.113.10:4001"),
            "tcp 203.0.113.10:4001 10.9.0.5:4000 192.0.2.1:80 192.0.2.1:80",
        ),
        (
            (STATIC,),
            flow("192.0.2.1:4000 203.0.113.5:80", "10.9.0.5:80 192.0.2.1:4000"),
            "tcp 203.0.113.5:80 10.9.0.5:80 192.0.2.1:4000 192.0.2.1:4000",
        ),
        ((STATIC, OUTSIDE), flow("10.9.0.5:4000 10.77.0.9:80", "198.51.100.9:80 203.0.113.5:4000"), TWICE),
        (
            (STATIC, OUTSIDE),
            flow("198.51.100.9:4000 203.0.113.5:80", "10.9.0.5:80 10.77.0.9:4000"),
            "tcp 203.0.113.5:80 10.9.0.5:80 10.77.0.9:4000 198.51.100.9:4000",
        ),
        (
            (OUTSIDE,),
            flow("10.9.0.5:4000 10.77.0.9:80", "198.51.100.9:80 10.9.0.5:4000"),
            "tcp 10.9.0.5:4000 10.9.0.5:4000 10.77.0.9:80 198.51.100.9:80",
        ),
        (
            (OUTSIDE,),
            flow("198.51.100.9:4000 10.9.0.5:80", "10.9.0.5:80 10.77.0.9:4000"),
            "tcp 10.9.0.5:80 10.9.0.5:80 10.77.0.9:4000 198.51.100.9:4000",
        ),
        (  # The source made room for another flow by its port: that is no outside translation.
            (STATIC,),
            flow("192.0.2.1:4000 203.0.113.5:80", "10.9.0.5:80 192.0.2.1:5123"),
            "tcp 203.0.113.5:80 10.9.0.5:80 192.0.2.1:5123 192.0.2.1:4000",
        ),
        (  # Nothing of the text explains it any more; its mark does.
            (),
            flow("192.0.2.1:4000 203.0.113.5:80", "10.9.0.5:80 10.1.1.1:4000", began=Began.OUTSIDE),
            "tcp 203.0.113.5:80 10.9.0.5:80 10.1.1.1:4000 192.0.2.1:4000",
        ),
        (
            ("ip nat inside source list 1 interface g0/1 overload",),
            flow("10.9.0.5:17 192.0.2.1:17", "192.0.2.1:1024 203.0.113.10:1024", ICMP),
            "icmp 203.0.113.10:1024 10.9.0.5:17 192.0.2.1:17 192.0.2.1:1024",
        ),
        ((STATIC,), flow("10.9.0.5:0 192.0.2.1:0", "192.0.2.1:0 203.0.113.5:0", 50),
         "esp 203.0.113.5 10.9.0.5 192.0.2.1 192.0.2.1"),
    ],
)  # fmt: skip
def test_the_four_addresses(config: tuple[str, ...], seen: Flow, row: str) -> None:
    assert row in shown(lines(*config), seen)


def test_who_began_is_the_marks_to_say() -> None:
    """Control: without its mark the flow of above is read by what its tuples carry, the other way round."""
    seen = flow("192.0.2.1:4000 203.0.113.5:80", "10.9.0.5:80 10.1.1.1:4000")
    assert shown(lines(), seen) == ["tcp 10.1.1.1:4000 192.0.2.1:4000 203.0.113.5:80 10.9.0.5:80"]


def test_half_entries_come_from_the_text_and_the_allocator() -> None:
    """None of them needs a flow; a flow's entry (a route-map's pool) has no half."""
    held = (
        Given("P", IPv4Address("10.9.0.7"), IPv4Address("203.0.113.20")),
        Given("P", IPv4Address("10.9.0.8"), IPv4Address("203.0.113.21"), extended=True),
        Given("Q", IPv4Address("192.0.2.7"), IPv4Address("10.66.0.1"), outside=True),
    )
    configuration = lines(
        STATIC, "ip nat inside source static udp 10.9.0.6 53 interface g0/1 5353", OUTSIDE,
        "ip nat inside source static network 10.8.0.0 203.0.114.0 /24",
    )  # fmt: skip
    assert shown(configuration, held=held) == [
        "--- --- --- 10.66.0.1 192.0.2.7",
        "--- --- --- 10.77.0.9 198.51.100.9",
        "--- 203.0.113.5 10.9.0.5 --- ---",
        "udp 203.0.113.10:5353 10.9.0.6:53 --- ---",
        "--- 203.0.113.20 10.9.0.7 --- ---",
        "--- 203.0.114.0 10.8.0.0 --- ---",
    ]


def test_flows_stand_above_their_half_entry() -> None:
    configuration = lines(STATIC, "ip nat inside source static tcp 10.9.0.6 22 203.0.113.5 2222")
    flows = (
        flow("192.0.2.1:4000 203.0.113.5:2222", "10.9.0.6:22 192.0.2.1:4000"),
        flow("10.9.0.5:9000 192.0.2.1:80", "192.0.2.1:80 203.0.113.5:9000"),
    )
    assert shown(configuration, *flows) == [
        "tcp 203.0.113.5:2222 10.9.0.6:22 192.0.2.1:4000 192.0.2.1:4000",
        "tcp 203.0.113.5:2222 10.9.0.6:22 --- ---",
        "tcp 203.0.113.5:9000 10.9.0.5:9000 192.0.2.1:80 192.0.2.1:80",
        "--- 203.0.113.5 10.9.0.5 --- ---",
    ]


def test_a_host_of_a_static_network_has_its_entry_with_the_first_flow() -> None:
    configuration = lines("ip nat inside source static network 10.8.0.0 203.0.114.0 /24")
    seen = flow("10.8.0.7:1 192.0.2.1:2", "192.0.2.1:2 203.0.114.7:1", UDP)
    assert "--- 203.0.114.7 10.8.0.7 --- ---" in shown(configuration, seen, seen)
    assert shown(configuration, seen, seen).count("--- 203.0.114.7 10.8.0.7 --- ---") == 1
    assert "--- 203.0.114.7 10.8.0.7 --- ---" not in shown(configuration)


def test_what_is_not_translated_has_no_row() -> None:
    same = flow("10.9.0.5:1 192.0.2.1:2", "192.0.2.1:2 10.9.0.5:1")
    assert shown(lines(), same) == []


# --- layouts

NEAR, LOCAL, FAR_END = (Endpoint(each, 7) for each in ("203.0.113.5", "10.9.0.5", "192.0.2.1"))
ENDS = (
    Endpoint("203.100.113.105", 40123),
    Endpoint("10.9.0.5", 80),
    Endpoint("192.0.2.1", 1),
    Endpoint("192.0.2.1", 1),
)
TWO = (
    Translation("icmp", NEAR, LOCAL, FAR_END, FAR_END, Kind.FLOW, None, 65, 5, 55, ("extended",), 0, "Gi0/0"),
    Translation("tcp", *ENDS, kind=Kind.FLOW, flags=("extended", "outside", "timing out"), rule=3),
    Translation(None, Endpoint("203.0.113.5"), Endpoint("10.9.0.5"), None, None, Kind.STATIC, flags=("static",)),
)  # fmt: skip


def test_layout_a() -> None:
    """Fields start at 4 (icmp: 5), 23, 42 and 61; a long one pushes only itself."""
    assert print_translations(TWO, "A") == (
        "Pro Inside global      Inside local       Outside local      Outside global\n"
        "icmp 203.0.113.5:7     10.9.0.5:7         192.0.2.1:7        192.0.2.1:7\n"
        "tcp 203.100.113.105:40123 10.9.0.5:80     192.0.2.1:1        192.0.2.1:1\n"
        "--- 203.0.113.5        10.9.0.5           ---                ---\n"
    )


def test_layout_c() -> None:
    """Fields start at 5, 27, 49 and 71, and the last line counts."""
    assert print_translations(TWO, "C") == (
        "Pro  Inside global         Inside local          Outside local         Outside global\n"
        "icmp 203.0.113.5:7         10.9.0.5:7            192.0.2.1:7           192.0.2.1:7\n"
        "tcp  203.100.113.105:40123 10.9.0.5:80           192.0.2.1:1           192.0.2.1:1\n"
        "---  203.0.113.5           10.9.0.5              ---                   ---\n"
        "Total number of translations: 3\n"
    )


def test_verbose_a() -> None:
    assert print_translations(TWO[::2], "A", verbose=True).splitlines()[1:] == [
        "icmp 203.0.113.5:7     10.9.0.5:7         192.0.2.1:7        192.0.2.1:7",
        "    create 00:01:05, use 00:00:05, left 00:00:55, Map-Id(In): 0,",
        "    flags:",
        "extended, use_count: 0, entry-id: 1, lc_entries: 0",
        "--- 203.0.113.5        10.9.0.5           ---                ---",
        "    create --:--:--, use --:--:-- timeout:0,",
        "    flags:",
        "static, use_count: 1, entry-id: 2, lc_entries: 0",
    ]


def test_verbose_c() -> None:
    """1 700 000 000 is 14 November 2023, 22:13:20."""
    assert print_translations(TWO[:1], "C", verbose=True, now_s=1_700_000_000).splitlines()[2:] == [
        "  create: 11/14/23 22:12:15, use: 11/14/23 22:13:15, timeout: 00:00:55",
        "  Map-Id(In): 0",
        "  Mac-Address: 0000.0000.0000    Input-IDB: Gi0/0",
        "  entry-id: 0x1, use_count:1",
        "",
        "Total number of translations: 1",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (86_399, "23:59:59"),
        (86_400, "1d00h"),
        (604_799, "6d23h"),
        (604_800, "1w0d"),
        (None, "--:--:--"),
    ],
)
def test_durations(seconds: int | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("now", "text"),
    [(0, "01/01/70 00:00:00"), (951_782_400, "02/29/00 00:00:00"), (1_709_164_800, "02/29/24 00:00:00"),
     (1_735_689_599, "12/31/24 23:59:59"), (4_107_542_399, "02/28/00 23:59:59")],
)  # fmt: skip
def test_dates_with_leap_years(now: int, text: str) -> None:
    assert date(now, 0) == text


def test_hours_may_be_many() -> None:
    assert clock(360_000) == "100:00:00"


def test_another_layout_is_refused() -> None:
    with pytest.raises(OperatorError, match="E7121"):
        print_translations((), "B")


addresses = st.integers(0, 0xFFFFFFFF).map(lambda number: str(IPv4Address(number)))
ported = st.builds(Endpoint, addresses, st.integers(0, 65_535))
plain = st.builds(Endpoint, addresses)
seconds = st.none() | st.integers(0, 10_000_000)
names = st.sampled_from(("extended", "static", "destination", "outside", "timing out"))
tail = {
    "age_s": seconds, "idle_s": seconds, "left_s": seconds,
    "flags": st.lists(names, min_size=1, max_size=3, unique=True).map(tuple), "rule": st.integers(0, 99),
    "interface": st.none() | st.sampled_from(("GigabitEthernet0/0", "Vlan10")),
}  # fmt: skip
flow_rows = st.builds(
    Translation, st.sampled_from(("tcp", "udp", "icmp", "gre", "esp", "99")), ported, ported, ported, ported,
    st.just(Kind.FLOW), **tail,
)  # fmt: skip
inside_halves = st.builds(Translation, st.none(), plain, plain, st.none(), st.none(), st.just(Kind.STATIC), **tail)
outside_halves = st.builds(Translation, st.none(), st.none(), st.none(), plain, plain, st.just(Kind.SIMPLE), **tail)
port_halves = st.builds(Translation, st.sampled_from(("tcp", "udp")), ported, ported, st.none(), st.none(),
                        st.just(Kind.STATIC), **tail)  # fmt: skip
tables = st.lists(flow_rows | inside_halves | outside_halves | port_halves, max_size=8)


@given(tables, st.sampled_from(LAYOUTS), st.booleans())
def test_what_is_printed_reads_back(rows: list[Translation], layout: str, verbose: bool) -> None:
    """Every row with its addresses and ports, the layout, the total; no line is left unread."""
    if not rows:
        return  # a header alone is an output without rows
    read = read_show(print_translations(rows, layout, verbose=verbose, now_s=1_700_000_000).encode())
    assert isinstance(read, Translations)
    assert [(each.protocol, each.inside_global, each.inside_local, each.outside_local, each.outside_global)
            for each in read.rows] == [
        (each.protocol, each.inside_global, each.inside_local, each.outside_local, each.outside_global)
        for each in rows]  # fmt: skip
    assert read.layout == layout
    assert read.total == (len(rows) if layout == "C" else None)
    assert not read.unread


@given(tables)
def test_rows_travel(rows: list[Translation]) -> None:
    import json

    assert [unpacked(each) for each in json.loads(json.dumps([packed(row) for row in rows]))] == rows


@pytest.mark.parametrize("values", [[], [1], ["tcp", 1, 2, 3, 4, "flow", None, 1, 2, 3, [], 0, None, None], None])
def test_what_is_no_row_is_told(values: object) -> None:
    with pytest.raises(ValueError):
        unpacked(values)  # type: ignore[arg-type]  # that is the point


# --- filters


def fitting(words: str) -> list[str]:
    configuration = lines(STATIC, OUTSIDE)
    flows = (
        flow("10.9.0.5:4000 10.77.0.9:80", "198.51.100.9:80 203.0.113.5:4000"),
        flow("10.9.0.5:7 192.0.2.1:7", "192.0.2.1:7 203.0.113.5:7", ICMP),
    )
    return [" ".join(words_of(row)) for row in read_asked(words.split()).among(table_of(configuration, flows))]


ICMP_ROW = "icmp 203.0.113.5:7 10.9.0.5:7 192.0.2.1:7 192.0.2.1:7"
HALF = "--- 203.0.113.5 10.9.0.5 --- ---"
FAR = "--- --- --- 10.77.0.9 198.51.100.9"


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("", [FAR, ICMP_ROW, TWICE, HALF]),
        ("tcp", [TWICE]),
        ("icmp", [ICMP_ROW]),
        ("udp", []),
        ("inside", [ICMP_ROW, TWICE, HALF]),
        ("inside 10.9.0.5", [ICMP_ROW, TWICE, HALF]),
        ("inside 10.9.0.6", []),
        ("outside", [FAR, ICMP_ROW, TWICE]),
        ("outside 198.51.100.9", [FAR, TWICE]),
        ("verb tcp outs 198.51.100.9", [TWICE]),
        ("filter range 203.0.113.1 203.0.113.9", [ICMP_ROW, TWICE, HALF]),
        ("filter range 203.0.113.6 203.0.113.9", []),
        ("vrf RED", []),
        ("total", [FAR, ICMP_ROW, TWICE, HALF]),
    ],
)
def test_a_table_is_narrowed(words: str, rows: list[str]) -> None:
    assert fitting(words) == rows


@pytest.mark.parametrize("words", ["nonsense", "vrf", "filter range 1.2.3.4", "inside 1.2.3", "filter 1 2"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(OperatorError, match="E7123"):
        read_asked(words.split())


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("*", [ICMP_ROW, TWICE]),
        ("forced", [ICMP_ROW, TWICE]),
        ("inside 203.0.113.5 10.9.0.5", [ICMP_ROW, TWICE]),
        ("tcp inside 203.0.113.5 4000 10.9.0.5 4000", [TWICE]),
        ("tcp inside 203.0.113.5 4000 10.9.0.5 4000 outside 10.77.0.9 80 198.51.100.9 80", [TWICE]),
        ("tcp inside 203.0.113.5 4001 10.9.0.5 4000", []),
        ("outside 10.77.0.9 198.51.100.9", [TWICE]),
        ("vrf RED", []),
    ],
)
def test_what_is_cleared(words: str, gone: list[str]) -> None:
    """What the configuration says is never among it."""
    which = read_clearing(words.split())
    rows = table_of(
        lines(STATIC, OUTSIDE),
        (
            flow("10.9.0.5:4000 10.77.0.9:80", "198.51.100.9:80 203.0.113.5:4000"),
            flow("10.9.0.5:7 192.0.2.1:7", "192.0.2.1:7 203.0.113.5:7", ICMP),
        ),
    )
    assert [" ".join(words_of(row)) for row in rows if which.fits(row)] == gone


@pytest.mark.parametrize("words", ["", "tcp", "inside 1.2.3.4", "everything", "inside a b"])
def test_nothing_is_cleared_by_mistake(words: str) -> None:
    with pytest.raises(OperatorError, match="E7123"):
        read_clearing(words.split())


# --- counts

POOLS = (
    "ip nat inside source list 1 pool P", STATIC,
    "access-list 2 permit 203.0.113.80", "ip nat pool WEB 10.9.0.11 10.9.0.12 prefix-length 24 type rotary",
    "ip nat inside destination list 2 pool WEB",
)  # fmt: skip
HELD = (Given("P", IPv4Address("10.9.0.7"), IPv4Address("203.0.113.20")),)
BUSY = (
    flow("10.9.0.7:1 192.0.2.1:2", "192.0.2.1:2 203.0.113.20:1", UDP),
    flow("192.0.2.1:4000 203.0.113.80:80", "10.9.0.11:80 192.0.2.1:4000"),
)


def test_statistics_stand_in_the_routers_order() -> None:
    configuration = lines(*POOLS)
    rows = table_of(configuration, BUSY, HELD)
    assert totals(rows) == (4, 1, 3, 2)
    counters = Counters(hits=9, misses=4, expired=2, peak=7, peak_age_s=90, fast=8, asked=1, pool_misses={"P": 3})
    assert print_statistics(configuration, rows, HELD, counters).splitlines() == [
        "Total active translations: 4 (1 static, 3 dynamic; 2 extended)",
        "Peak translations: 7, occurred 00:01:30 ago",
        "Outside interfaces:",
        "  GigabitEthernet0/1",
        "Inside interfaces: ",
        "  GigabitEthernet0/0",
        "Hits: 9  Misses: 4",
        "CEF Translated packets: 8, CEF Punted packets: 1",
        "Expired translations: 2",
        "Dynamic mappings:",
        "-- Inside Source",
        "[Id: 1] access-list 1 pool P refcount 2",
        " pool P: netmask 255.255.255.0",
        "    start 203.0.113.20 end 203.0.113.29",
        "    type generic, total addresses 10, allocated 1 (10%), misses 3",
        "-- Inside Destination",
        "[Id: 2] access-list 2 pool WEB refcount 1",
        " pool WEB: netmask 255.255.255.0",
        "    start 10.9.0.11 end 10.9.0.12",
        "    type rotary, total addresses 2, allocated 1 (50%), misses 0",
        "",
        "Total doors: 0",
        "Appl doors: 0",
        "Normal doors: 0",
        "Queued Packets: 0",
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_read_back(layout: str) -> None:
    configuration = lines(*POOLS)
    text = print_statistics(configuration, table_of(configuration, BUSY, HELD), HELD, layout=layout)
    read = read_show(text.encode())
    assert isinstance(read, Statistics)
    assert not read.unread
    assert {name: read.numbers[name] for name in ("active", "static", "dynamic", "extended")} == {
        "active": 4, "static": 1, "dynamic": 3, "extended": 2,
    }  # fmt: skip
    assert (read.inside, read.outside) == (["GigabitEthernet0/0"], ["GigabitEthernet0/1"])
    assert [(each.section, each.pool, each.refcount) for each in read.mappings] == [
        ("Inside Source", "P", 2), ("Inside Destination", "WEB", 1),
    ]  # fmt: skip
    assert [(each.name, each.total, each.allocated) for each in read.pools] == [("P", 10, 1), ("WEB", 2, 1)]


def test_a_pool_by_its_addresses_and_ports() -> None:
    configuration = lines(*POOLS)
    rows = table_of(configuration, (*BUSY, flow("10.9.0.7:9000 192.0.2.1:2", "192.0.2.1:2 203.0.113.20:9000")), HELD)
    table = [line.split()[-2:] for line in print_pool(configuration, "P", rows, HELD).splitlines()[3:8]]
    assert table == [["1", "9"], ["1", "5119"], ["0", "5120"], ["0", "645120"], ["1", "645119"]]
    with pytest.raises(OperatorError, match="E7122"):
        print_pool(configuration, "NONE", rows, HELD)


def test_a_total_is_a_line() -> None:
    assert print_total(3) == "Total number of translations: 3"
