"""keepalived.conf becomes our file: what is kept, what differs, what is left out, and nothing invented."""

import contextlib
import os
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config import load_plan
from understudy.config.problems import Problems
from understudy.errors import OperatorError
from understudy.migrate.blocks import DEPTH_MAX, ENTRIES_MAX, parse_text, read_entries
from understudy.migrate.keepalived import Configuration, count_fates, read_configuration
from understudy.migrate.translate import HOLE, Draft, Wishes, translate
from understudy.units import MILLISECOND

GOLDEN = Path(__file__).parents[2] / "golden" / "migrate"
INSTANCE = """
vrrp_instance VI_1 {{
    state MASTER
    interface eth0
    virtual_router_id 7
    priority {priority}
    {more}
    virtual_ipaddress {{
        192.0.2.10/24
    }}
}}
"""


def read(text: str, file: str = "keepalived.conf") -> Configuration:
    return read_configuration(file, parse_text(text))


def drafted(*texts: str, wishes: Wishes | None = None) -> Draft:
    configurations = [read(text, f"gw{number}.conf") for number, text in enumerate(texts, start=1)]
    return translate(configurations, wishes or Wishes())


OWN = Wishes(addresses={("gw1", "eth0"): ip_address("192.0.2.1"), ("peer", "eth0"): ip_address("192.0.2.2")})


def test_a_pair_becomes_the_expected_file_and_passes_every_check() -> None:
    """Sync group, definitions, comments, braces anywhere, balancing: one text, read the difference before a commit."""
    configurations = [read_configuration(str(p), read_entries(p)) for p in (GOLDEN / "gw1.conf", GOLDEN / "gw2.conf")]
    draft = translate(configurations, Wishes(cluster="shop"))
    expected = GOLDEN / "pair.yaml"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        expected.write_text(draft.text)
    assert draft.text == expected.read_text()
    plan = load_plan(draft.text.encode())
    assert plan.groups[0].advertise == 100 * MILLISECOND
    assert not draft.holes


def test_every_line_has_a_fate() -> None:
    """Nothing is passed over in silence: each line within a block is told, and what nobody knows is unknown."""
    configuration = read_configuration("gw1", read_entries(GOLDEN / "gw1.conf"))
    told = {(finding.line, finding.verdict.fate.value) for finding in configuration.findings}
    assert (70, "unknown") in told
    assert (66, "left-out") in told
    assert count_fates(configuration.findings) == {"kept": 23, "differs": 2, "left-out": 9, "unknown": 1}


def test_what_the_configuration_does_not_say_is_left_to_fill_in() -> None:
    """A node's own address is not in keepalived.conf: the text says so, and the check names the line."""
    draft = drafted(INSTANCE.format(priority=150, more=""))
    assert HOLE in draft.text
    assert len(draft.holes) == 2
    with pytest.raises(Problems) as problems:
        load_plan(draft.text.encode())
    assert {problem.code for problem in problems.value.problems} == {"E2109"}
    load_plan(drafted(INSTANCE.format(priority=150, more=""), wishes=OWN).text.encode())


def test_the_higher_priority_comes_first_whichever_file_is_named_first() -> None:
    """The order of the nodes is the order of keepalived's priorities."""
    low, high = (INSTANCE.format(priority=priority, more="") for priority in (90, 110))
    assert "nodes: [gw2, gw1]" in drafted(low, high).text
    assert "nodes: [gw1, gw2]" in drafted(high, low).text


@pytest.mark.parametrize(("more", "preempts"), [("", True), ("nopreempt", False)])
def test_preemption_is_keepalived_s_default_and_can_be_off(more: str, preempts: bool) -> None:
    """`nopreempt` is our default."""
    assert ("preempt: true" in drafted(INSTANCE.format(priority=1, more=more)).text) is preempts


def test_unicast_names_both_nodes_addresses() -> None:
    """One file is enough where it names its own address and its peer's."""
    more = "unicast_src_ip 192.0.2.1\n unicast_peer {\n 192.0.2.2\n }"
    draft = drafted(INSTANCE.format(priority=150, more=more))
    plan = load_plan(draft.text.encode())
    assert plan.groups[0].unicast
    assert not plan.groups[0].virtual_mac


def test_beside_keepalived_the_group_speaks_as_it_does() -> None:
    """Version 2 unless the file says 3, and then the checksum with the pseudo-header."""
    text = INSTANCE.format(priority=150, more="")
    beside = Wishes(addresses=OWN.addresses, beside=True)
    two, three = (
        load_plan(drafted(t, wishes=beside).text.encode()) for t in (text, "global_defs {\nvrrp_version 3\n}\n" + text)
    )
    assert (two.groups[0].version, two.groups[0].plain) == (2, True)
    assert (three.groups[0].version, three.groups[0].pseudo_header) == (3, True)


def test_a_lan_without_a_prefix_is_asked_for_and_can_be_given() -> None:
    """keepalived takes an address without a length for a single one; ours needs the LAN's prefix."""
    text = INSTANCE.format(priority=1, more="").replace("192.0.2.10/24", "192.0.2.10")
    assert any("--network eth0=" in hole for hole in drafted(text).holes)
    wishes = Wishes(networks={"eth0": ip_network("192.0.2.0/24")}, addresses=OWN.addresses)
    load_plan(drafted(text, wishes=wishes).text.encode())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("vrrp_instance a {\n", "E7002"),
        ("}\n", "E7002"),
        ("a {\n" * (DEPTH_MAX + 1), "E7003"),
        ("a\n" * (ENTRIES_MAX + 1), "E7003"),
        ("global_defs {\n}\n", "E7004"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, code: str) -> None:
    """Bounded and told: open blocks, depth, size, and a file without any instance."""
    with pytest.raises(OperatorError) as refused:
        drafted(text)
    assert refused.value.code == code


def test_files_that_include_each_other_come_to_an_end(tmp_path: Path) -> None:
    """`include` is followed, with a limit."""
    (tmp_path / "a.conf").write_text("include b.conf\n")
    (tmp_path / "b.conf").write_text("include a.conf\n")
    with pytest.raises(OperatorError, match="include"):
        read_entries(tmp_path / "a.conf")
    (tmp_path / "c.conf").write_text("include d/*.conf\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "one.conf").write_text("first 1\n")
    assert [entry.words for entry in read_entries(tmp_path / "c.conf")] == [("first", "1")]


@given(st.text(alphabet=st.sampled_from("vrp_instace {}\n\"'!#$=1.:/\\ab"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text ends in anything but a configuration or an error that says why."""
    with contextlib.suppress(OperatorError):
        drafted(text)


def test_the_command_writes_the_file_and_tells_what_is_left(tmp_path: Path) -> None:
    """Exit code 2 while something is to be filled in; an existing file is not overwritten."""
    conf, out = tmp_path / "keepalived.conf", tmp_path / "pair.yaml"
    conf.write_text(INSTANCE.format(priority=150, more="auth_x 1"))
    command = [str(Path(sys.executable).with_name("understudy")), "import", str(conf), "-o", str(out)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 2
    assert "to fill in" in first.stderr
    assert "auth_x 1" in first.stderr
    assert HOLE in out.read_text()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "E7007" in second.stderr
