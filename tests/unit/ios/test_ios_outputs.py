"""Outputs as people paste them: other releases, other commands, pagers, documents; read without loss and misreading."""

from typing import Any

import pytest

from understudy.errors import OperatorError
from understudy.ios.show import as_json, read_show

HEAD = "Pro Inside global      Inside local       Outside local      Outside global\n"
ROW = "tcp 203.0.113.1:22     10.0.0.9:22        ---                ---\n"


def shown(text: str | bytes) -> dict[str, Any]:
    return as_json(read_show(text if isinstance(text, bytes) else text.encode()))


def fields(text: str) -> list[dict[str, str]]:
    return [{k: v for k, v in each.items() if k != "under"} for each in shown(text)["fields"]]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ROW + " --More-- \x08\x08\x08\x08        \x08\x08\x08\x08" + ROW,
        HEAD + ROW + "<--- More --->\r" + ROW,
        HEAD.upper() + ROW.upper() + ROW.replace("tcp", "  tcp"),
        f"```\nR1# sh ip nat tr\n{HEAD}{ROW}{ROW}R1#\n```\n",
        (HEAD + ROW + ROW).replace("\n", "\r\n"),
        (HEAD + ROW + ROW).encode("utf-16"),
        b"\xef\xbb\xbf" + (HEAD + ROW + ROW).encode(),
    ],
    ids=["pager", "other-pager", "capitals", "document", "windows", "utf-16", "bom"],
)
def test_what_a_terminal_leaves_is_no_part_of_a_row(text: str | bytes) -> None:
    found = shown(text)
    assert (found["unread"], len(found["rows"])) == ([], 2)
    assert found["rows"][1]["inside_global"] == {"address": "203.0.113.1", "port": 22}


def test_an_index_of_esp_is_hexadecimal_and_a_prefix_stays_with_its_address() -> None:
    found = shown(
        HEAD + "esp 203.0.113.1:0      10.0.0.9:0         198.51.100.7:0     198.51.100.7:B5A3C1F2\n"
        "--- 203.0.113.0/24     10.0.0.0/24        ---                ---\n"
    )
    assert found["unread"] == []
    assert found["rows"][0]["outside_global"] == {"address": "198.51.100.7", "port": 0xB5A3C1F2}
    assert found["rows"][1]["inside_local"] == {"address": "10.0.0.0/24", "port": None}


def test_an_empty_table_is_a_table_and_prose_is_none() -> None:
    found = shown("R1#show ip nat translations\nR1#\n")
    assert (found["show"], found["rows"], found["unread"]) == ("translations", [], [])
    with pytest.raises(OperatorError, match=r"E7104.*line 1: 'nothing here'"):
        shown("nothing here\n")


def test_details_that_later_releases_add_are_kept() -> None:
    """In a line of their own, or behind what is known."""
    found = shown(
        HEAD + ROW + "  create: 04/21/24 16:53:25, use: 04/21/24 16:53:25, timeout: 00:05:00\n"
        "  entry-id: 0xe8, use_count:1, gatein: no\n  VRF: RED\n  nat_id: 0x1, vrfid: 2\n"
    )
    assert found["unread"] == []
    assert found["rows"][0]["details"].items() >= {
        "use_count": "1", "gatein": "no", "VRF": "RED", "nat_id": "0x1", "vrfid": "2",
    }.items()  # fmt: skip


def test_statistics_of_other_releases() -> None:
    """A VRF in the rule, a reserved port, names without ids, NVI's list of interfaces."""
    found = shown(
        "Total active translations: 3 (1 static, 2 dynamic; 2 extended)\nNAT Enabled interfaces:\n  Gi0/0, Gi0/1\n"
        "Hits: 8  Misses: 1\nReserved port setting disabled provisioned no\nExpired translations: 4\n"
        "Dynamic mappings:\n-- Inside Source\n[Id: 3] access-list NAT vrf RED pool P refcount 1\n"
        " pool P: id 1, netmask 255.255.255.0\n\tstart 203.0.113.1 end 203.0.113.1\n"
        "\ttype generic, total addresses 1, allocated 1 (100%), misses 0\n"
        "[Id: 4] route-map RM interface GigabitEthernet0/0 vrf BLUE match-in-vrf refcount 4294967294\n"
        "number_of_session                      1\n"
    )
    assert found["unread"] == []
    assert found["enabled"] == ["Gi0/0", "Gi0/1"]
    assert found["settings"] == {"reserved_port_setting": "disabled provisioned no"}
    assert found["numbers"]["number_of_session"] == 1
    first, second = found["mappings"]
    assert (first["access_list"], first["vrf"], first["pool"], first["refcount"]) == ("NAT", "RED", "P", 1)
    assert (second["vrf"], second["words"], second["refcount"]) == ("BLUE", ["match-in-vrf"], 4294967294)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Timeouts: 0(tcp), 0(udp), 60(dns)\n", {"Timeouts": "0(tcp), 0(udp), 60(dns)"}),
        ("Nat bpa: not configured; pap: on\n", {"Nat bpa": "not configured", "pap": "on"}),
        ("Nat active mapping inside:0 outside:2\n", {"Nat active mapping inside": "0", "outside": "2"}),
        ("def mode Size 8192, Hits 19, Miss 3, Aged 1 Added 9\n",
         {"def mode Size": "8192", "Hits": "19", "Miss": "3", "Aged": "1", "Added": "9"}),
        ("laddr 10.0.0.1 lport 0 map 0xdec942c0 refcnt 0\n",
         {"laddr": "10.0.0.1", "lport": "0", "map": "0xdec942c0", "refcnt": "0"}),
        ("Pool name my-pool, id 1\n", {"Pool name": "my-pool", "id": "1"}),
        ("SNAT:\n      : Local NAT id 100\n", {"Local NAT id": "100"}),
        ("ID: 3, Name: abc, Type: Generic\n", {"ID": "3", "Name": "abc", "Type": "Generic"}),
    ],
)  # fmt: skip
def test_names_and_values_come_apart(text: str, expected: dict[str, str]) -> None:
    assert fields(text)[-1] == expected


def test_a_heading_with_nothing_under_it_is_not_lost() -> None:
    found = shown("Paired Address Pooling\n Limit: 7\nBulk Port Allocation\n Not Configured\n")
    assert (found["title"], found["notes"]) == ("Paired Address Pooling", ["Bulk Port Allocation", "Not Configured"])


def test_tables_keep_their_columns() -> None:
    """Told by blanks where there are some, else by the number of words."""
    found = shown(
        "NAT Pool Statistics\nPool name mypool, id 1\n                      Assigned         Available\n"
        "  UDP Low Ports              0                 5\n(Low ports are less than 1024.)\n"
    )
    assert found["rows"] == [["Assigned", "Available"], ["UDP Low Ports", "0", "5"]]
    found = shown("IP       Redundancy-Name    ID\n192.0.2.1 NONE         0\n10.1.1.1 two words    7\n")
    assert found["rows"] == [["IP", "Redundancy-Name", "ID"], ["192.0.2.1", "NONE", "0"], ["10.1.1.1 two words", "7"]]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (b"\x7fELF\x02\x01\x00", "E7102", "line 1 is not text"),
        ("interface g0/1\r\n".encode("utf-16-le"), "E7102", "line 1 is not text"),
        (b"set security nat source rule-set R from zone trust\n", "E7104", "line 1"),
        (b"#config-version\nconfig system global\n    set hostname x\nend\n", "E7104", "line 2"),
        (b"ASA Version 9.8(2)\nhostname: asa\n", "E7104", "line 1"),
        (b'{"a": 1}\n', "E7104", "line 1"),
        (b"hostname x\ninterface GigabitEthernet0/1\n ip address: 1\n", "E7104", "line 2"),
        (b"", "E7104", "it is empty"),
        (b"\n" * 500_001, "E7101", "lines"),
    ],
)
def test_what_is_no_output_says_where_and_what_was_expected(text: bytes, code: str, said: str) -> None:
    with pytest.raises(OperatorError, match=code) as caught:
        read_show(text)
    assert said in caught.value.message
    assert code == "E7101" or "show ip nat" in caught.value.hint
