"""Which live flows the lines of another file would not make, and which line decides that; pure, on decoded entries."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from understudy.agent.at_stake import STAKES_MAX, Tuples, count, translated
from understudy.agent.nat_standing import Standing
from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.wire.conntrack.flow import TCP_STATES, Flow, Tcp
from understudy.wire.conntrack.flow import Tuple as Direction
from understudy.wire.marks import BINDING_SHIFT

TEXT = (Path(__file__).parents[3] / "examples" / "cisco.yaml").read_text()
STATIC = "ip nat inside source static 10.9.0.11 203.0.113.21"
FAR = "198.51.100.9"


def plan(*edits: tuple[str, str], text: str = TEXT) -> Plan:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return load_plan(text.encode())


def entry(there: tuple[str, int, str, int], back: tuple[str, int, str, int], protocol: int = 6, **fields: int) -> Flow:
    def direction(source: str, here: int, target: str, port: int) -> Direction:
        return Direction(ip_address(source), ip_address(target), protocol, here, port)

    return Flow(direction(*there), direction(*back), **fields)


FLOWS = {
    "static, outwards": entry(("10.9.0.11", 5000, FAR, 80), (FAR, 80, "203.0.113.21", 5000)),
    "static, inwards": entry((FAR, 5000, "203.0.113.21", 80), ("10.9.0.11", 80, FAR, 5000)),
    "static port": entry((FAR, 5000, "203.0.113.10", 8080), ("10.9.0.12", 8080, FAR, 5000)),
    "overload": entry(("10.9.0.50", 5000, FAR, 80), (FAR, 80, "203.0.113.10", 1024)),
    "pool": entry(("10.9.0.170", 5000, FAR, 80), (FAR, 80, "203.0.113.195", 5000)),
    "rotary": entry((FAR, 5000, "203.0.113.30", 80), ("10.9.0.12", 80, FAR, 5000)),
    "ping": entry(("10.9.0.50", 7, FAR, 0), (FAR, 7, "203.0.113.10", 0), 1),
}
NOT_OURS = {
    "routed": entry(("10.9.0.50", 5000, FAR, 80), (FAR, 80, "10.9.0.50", 5000)),
    "a routed ping": entry(("10.9.0.50", 7, FAR, 0), (FAR, 7, "10.9.0.50", 0), 1),
    "balanced": entry((FAR, 5000, "203.0.113.10", 80), ("10.9.0.12", 80, FAR, 5000), mark=3 << BINDING_SHIFT),
    "over": replace(FLOWS["static, inwards"], tcp=Tcp(TCP_STATES.index("time-wait"))),
    "expected": entry((FAR, 20, "203.0.113.10", 5001), ("10.9.0.50", 5001, FAR, 20), status=1),
}


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_of_the_file_stands(name: str) -> None:
    judged = Standing.of(plan()).judge(FLOWS[name])
    assert judged is not None
    assert judged.stands
    assert judged.line.startswith("ip nat inside")


@pytest.mark.parametrize("name", NOT_OURS)
def test_flows_that_no_rule_made_are_nobodys(name: str) -> None:
    assert Standing.of(plan()).judge(NOT_OURS[name]) is None


CHANGES = {
    "a static goes": (((f"    - {STATIC}\n", ""),), {STATIC: {"static, outwards", "static, inwards"}}),
    "a static moves": ((("113.21\n", "113.22\n"),), {STATIC: {"static, outwards", "static, inwards"}}),
    "a list loses a prefix": (
        (("permit 10.9.0.160 0.0.0.31", "permit 10.9.0.192 0.0.0.31"),),
        {"ip access-list standard 1: 10 permit 10.9.0.160 0.0.0.31": {"pool"}},
    ),
    "a pool shrinks": (
        (("203.0.113.193 ", "203.0.113.200 "),),
        {"ip nat pool STAFF 203.0.113.193 203.0.113.222 prefix-length 27": {"pool"}},
    ),
    "a rotary loses a server": (
        (("FARM 10.9.0.11 10.9.0.12", "FARM 10.9.0.11 10.9.0.11"),),
        {"ip nat pool FARM 10.9.0.11 10.9.0.12 prefix-length 24 type rotary": {"rotary"}},
    ),
    "overload to a pool": (
        (("list 2 interface outside overload", "list 2 pool STAFF overload"),),
        {"ip nat inside source list 2 interface outside overload": {"overload", "ping"}},
    ),
    "a rule comes before": (
        (("    - access-list 2 permit", "    - access-list 2 deny host 10.9.0.50\n    - access-list 2 permit"),),
        {"ip access-list standard 2: 10 permit 10.9.0.0 0.0.0.255": {"overload", "ping"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_touches_its_flows_and_no_others(name: str) -> None:
    edits, wanted = CHANGES[name]
    assert touched(plan(), plan(*edits)) == wanted


def touched(old: Plan, new: Plan) -> dict[str, set[str]]:
    found = translated(old, new)
    assert found is not None
    count([], (tuples(name, flow) for name, flow in {**FLOWS, **NOT_OURS}.items()), found)
    return {stake.what: set(stake.examples) for stake in found.found.values()}


def tuples(words: str, flow: Flow) -> Tuples:
    there, back = flow.original, flow.reply
    ends = ((there.destination, there.there), (back.source, back.here), (back.destination, back.there))
    return Tuples(lambda: words, *ends, flow)


def test_without_lines_every_translated_flow_is_touched_and_none_besides() -> None:
    found = touched(plan(), plan(text=TEXT[: TEXT.index("nat:")]))
    assert set().union(*found.values()) == set(FLOWS)


def test_files_that_translate_alike_touch_nothing() -> None:
    """The control: flows are not even looked at."""
    assert translated(plan(), plan(("advertise: 100ms", "advertise: 200ms"))) is None


def test_flows_of_a_file_before_are_not_touched_again() -> None:
    """They drain already."""
    assert touched(plan((f"    - {STATIC}\n", "")), plan((f"    - {STATIC}\n", ""), ("113.193", "113.194"))) == {}


def test_lines_beyond_a_number_are_counted_together() -> None:
    """Many statics that go at once."""
    many = "".join(
        f"    - ip nat inside source static 10.9.0.{n} 203.0.113.{n}\n" for n in range(40, 40 + STAKES_MAX + 9)
    )
    text = TEXT.replace(f"    - {STATIC}\n", many)
    found = translated(plan(text=text), plan((f"    - {STATIC}\n", "")))
    assert found is not None
    flows = (
        entry((FAR, 5000, f"203.0.113.{n}", 80), (f"10.9.0.{n}", 80, FAR, 5000)) for n in range(40, 49 + STAKES_MAX)
    )
    count([], (tuples("", flow) for flow in flows), found)
    assert len(found.found) == STAKES_MAX + 1
    assert sum(stake.flows for stake in found.found.values()) == STAKES_MAX + 9


def test_a_flow_with_a_routing_rule_of_its_own_ends_with_the_line() -> None:
    """An outside address that exists inside as well; one that does not goes on as any other."""
    here, elsewhere = (
        f"    - ip nat outside source static {a} 203.0.113.150\n" for a in ("10.9.0.50", "198.51.100.50")
    )
    for line, far, ends in ((here, "10.9.0.50", True), (elsewhere, "198.51.100.50", False)):
        found = translated(plan(text=TEXT + line), plan())
        assert found is not None
        flow = entry(("10.9.0.11", 5000, "203.0.113.150", 80), (far, 80, "203.0.113.21", 5000))
        count([], [tuples("", flow)], found)
        (stake,) = found.found.values()
        assert (stake.what, stake.ends, stake.drains) == (line.strip(" -\n"), ends, not ends)
