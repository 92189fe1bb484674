"""What a node remembers of translations that its file lost: whose flows, which addresses, how long, and on disk."""

import json
import re
import time
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest

from understudy.agent.draining import (
    ENDED_TOLD_S,
    FORMERS_MAX,
    Draining,
    clock,
    described,
    joined,
    load,
    save,
    still_held,
    told,
    translations,
    write_progress,
)
from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.render import render_node
from understudy.units import NodeName
from understudy.wire.conntrack.flow import Flow
from understudy.wire.conntrack.flow import Tuple as Direction

TEXT = (Path(__file__).parents[3] / "examples" / "cisco.yaml").read_text()
STATIC = "    - ip nat inside source static 10.9.0.11 203.0.113.21\n"
POOL = "203.0.113.193 203.0.113.222"
WITHOUT_NAT = TEXT[: TEXT.index("nat:")]
NODE = NodeName("gw1")
STATIC_FLOW = Flow(
    Direction(ip_address("198.51.100.9"), ip_address("203.0.113.21"), 6, 5000, 80),
    Direction(ip_address("10.9.0.11"), ip_address("198.51.100.9"), 6, 80, 5000),
)


def plan(*edits: tuple[str, str], text: str = TEXT) -> Plan:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return load_plan(text.encode())


def held(draining: Draining) -> set[str]:
    still = still_held(draining)
    return {str(net) for nets in still.held.values() for net in nets} if still is not None else set()


def test_a_static_that_goes_leaves_its_address_and_how_to_tell_its_flows() -> None:
    """And nothing else: what the new file answers for is not held besides."""
    (former,) = joined((), plan(), plan((STATIC, "")), NODE, None)
    assert (former.lines, former.until) == ((STATIC.strip(" -\n"),), None)
    assert held((former,)) == {"203.0.113.21/32"}
    judged = former.standing().judge(STATIC_FLOW)
    assert judged is not None
    assert judged.stands


def test_what_ends_no_flow_leaves_nothing() -> None:
    """A timeout, a rule more, and the same file."""
    timeout = "    - ip nat translation tcp-timeout 3600\n"
    for new in (
        plan(),
        plan((timeout, "")),
        plan((timeout, timeout + STATIC.replace(".11 ", ".19 ").replace("21", "29"))),
    ):
        assert joined((), plan(), new, NODE, None) == ()


def test_a_pool_that_shrinks_leaves_the_rest_of_its_addresses() -> None:
    (former,) = joined((), plan(), plan((POOL, "203.0.113.200 203.0.113.222")), NODE, None)
    gone = sorted(address for net in held((former,)) for address in IPv4Network(net))
    assert list(map(str, gone)) == [f"203.0.113.{number}" for number in range(193, 200)]


def test_an_address_that_the_new_file_gives_away_is_not_kept() -> None:
    """To a machine of the file, or to the group."""
    web = plan((STATIC, ""), ("web1: {inside: 10.9.0.11}", "web1: {inside: 10.9.0.11, outside: 203.0.113.21}"))
    group = plan((STATIC, ""), ("outside: 203.0.113.10,", "outside: [203.0.113.10, 203.0.113.21],"))
    for new in (web, group):
        (former,) = joined((), plan(), new, NODE, None)
        assert held((former,)) == set()


def test_what_comes_back_is_forgotten_and_what_goes_later_is_remembered_too() -> None:
    first = joined((), plan(), plan((STATIC, "")), NODE, None)
    assert joined(first, plan((STATIC, "")), plan(), NODE, None) == ()
    both = joined(first, plan((STATIC, "")), plan(text=WITHOUT_NAT), NODE, None)
    assert both[0] == first[0]
    assert {"203.0.113.21/32", "203.0.113.30/32"} <= held(both)
    many = first
    for number in range(2 * FORMERS_MAX):
        one, other = (
            plan((STATIC, ""), (POOL, f"203.0.113.193 203.0.113.{200 + n}")) for n in (number % 20, (number + 1) % 20)
        )
        many = joined(many, one, other, NODE, None)
    assert len(many) <= FORMERS_MAX


def test_a_bound_is_a_time_of_the_boots_clock() -> None:
    for drain_s in (0.0, 30.0):
        before = clock()
        (former,) = joined((), plan(), plan((STATIC, "")), NODE, drain_s)
        assert former.until is not None
        assert before + drain_s <= former.until <= clock() + drain_s


def test_after_a_reboot_what_was_left_of_it_begins_anew(tmp_path: Path) -> None:
    """The file of an hour ago, of this boot and of another one."""
    path = tmp_path / "draining.json"
    save(path, joined((), plan(), plan((STATIC, "")), NODE, 30.0))
    values = json.loads(path.read_text())
    values["at"] -= 3600
    values["formers"][0]["until"] -= 3600
    for boot, passed in ((values["boot"], True), ("another", False)):
        path.write_text(json.dumps({**values, "boot": boot}))
        (former,) = load(path)
        assert former.until is not None
        assert (former.until < clock()) is passed
        assert former.until < clock() + 31


def test_it_is_on_disk_as_it_was(tmp_path: Path) -> None:
    """Of lines of IOS and of translations between networks; with damage there is nothing, and no error."""
    path = tmp_path / "draining.json"
    own = WITHOUT_NAT + "nat:\n  - {source: inside, to: outside}\n"
    draining = (
        *joined((), plan(), plan(text=WITHOUT_NAT), NODE, 5.0),
        *joined((), plan(text=own), plan(text=WITHOUT_NAT), NODE, None),
    )
    assert load(path) == ()
    save(path, draining)
    assert load(path) == draining
    for damage in ("", "{}", "[", '{"formers": [1]}', '{"formers": [{"lines": 3}]}', "[" * 100_000):
        path.write_text(damage)
        assert load(path) == ()
    save(path, ())
    assert load(path) == ()


@pytest.mark.parametrize("text", [TEXT.replace(STATIC, ""), WITHOUT_NAT], ids=["lines left", "the last ones gone"])
def test_the_node_goes_on_answering_for_what_drains(text: str) -> None:
    """By route, by lease and never by its own stack; without it, by nothing. The control is the file alone."""
    new = plan(text=text)
    draining = joined((), plan(), new, NODE, None)
    with_it = render_node(new, NODE, still=still_held(draining))
    without = render_node(new, NODE)
    for config, wanted in ((with_it, True), (without, False)):
        nets = [net for link in config.links for net in link.held]
        assert any(ip_address("203.0.113.21") in net for net in nets) is wanted
        assert bool(re.search(r"203\.0\.113\.21(?!\d)", config.ruleset)) is wanted
    assert "ip daddr @held4 drop" in with_it.ruleset
    base = "type nat hook postrouting priority srcnat; policy accept;"
    assert base in without.ruleset


def test_two_files_that_translate_alike_say_the_same() -> None:
    assert translations(plan()) == translations(plan(("advertise: 100ms", "advertise: 200ms")))
    assert translations(plan()) != translations(plan((STATIC, "")))


def test_what_was_ended_is_told_for_a_while_also_once_nothing_drains(tmp_path: Path) -> None:
    """And of what drains, its flows as they were last seen; what does not drain any more is told no longer."""
    path, now = tmp_path / "progress.json", time.time()
    first = joined((), plan(), plan((STATIC, "")), NODE, None)
    ended = [{"lines": ["a"], "flows": 3, "at": now - age} for age in (ENDED_TOLD_S + 60, 60)]
    assert told(path, ()) == {"draining": [], "ended": []}
    assert [each["left"] for each in told(path, first)["draining"]] == [None]
    write_progress(path, {"draining": described(first, [7]), "ended": ended})
    assert [each["left"] for each in told(path, first)["draining"]] == [7]
    assert told(path, ()) == {"draining": [], "ended": ended[1:]}
    for damage in ("", "{", "[]", "7", '{"draining": 3, "ended": []}', '{"draining": [], "ended": [3]}', "[" * 100_000):
        path.write_text(damage)
        assert told(path, ()) == {"draining": [], "ended": []}
