"""What `apply` and `plan --live` say of live flows, in both languages."""

from typing import Any

import pytest

from understudy.cli.apply_words import flow_lines
from understudy.cli.drain_lines import drain_lines
from understudy.cli.korean import sentence

RULE = "ip nat inside source static 10.9.0.11 203.0.113.21"
HOURS_2 = 7200.0


def stake(*, ends: bool = False, drains: bool = False, decides: bool = False, flows: int | None = 3) -> dict[str, Any]:
    return {"what": RULE, "ends": ends, "drains": drains, "decides": decides, "flows": flows, "examples": ["one"]}


@pytest.mark.parametrize(
    ("row", "drain_s", "said"),
    [
        (stake(drains=True), None, f"3 flows go on until they end: {RULE} is removed"),
        (stake(drains=True), 30.0, f"3 flows go on for at most 30s: {RULE} is removed"),
        (stake(drains=True), 0.0, f"3 flows end: {RULE} is removed"),
        (stake(drains=True, decides=True), None, f"3 flows go on until they end: {RULE} decides now"),
        (stake(drains=True, decides=True), 0.0, f"3 flows end: {RULE} decides now"),
        (stake(drains=True, decides=True), HOURS_2, f"3 flows go on for at most 7200s: {RULE} decides now"),
        (stake(), 0.0, f"3 flows go on: {RULE} is removed"),
        (stake(ends=True), None, f"3 flows end: {RULE} is removed"),
        (stake(flows=1), 0.0, f"1 flow goes on: {RULE} is removed"),
        (stake(flows=1, drains=True), None, f"1 flow goes on until it ends: {RULE} is removed"),
        (stake(flows=1, drains=True), 30.0, f"1 flow goes on for at most 30s: {RULE} is removed"),
        (stake(flows=1, ends=True), None, f"1 flow ends: {RULE} is removed"),
        (stake(flows=11), None, f"11 flows go on: {RULE} is removed"),
        (stake(flows=None), None, f"? flows go on: {RULE} is removed"),
    ],
)
def test_the_fate_of_flows_is_said_and_translated(row: dict[str, Any], drain_s: float | None, said: str) -> None:
    assert flow_lines({"by": [row]}, drain_s, str) == [said, "  one"]
    (korean, _) = flow_lines({"by": [row]}, drain_s, sentence)
    assert korean != said
    assert RULE in korean


@pytest.mark.parametrize(("ends_in_s", "until"), [(None, "until it ends"), (90.0, "for 90s")])
def test_one_flow_drains(ends_in_s: float | None, until: str) -> None:
    draining = {"draining": [{"lines": [RULE], "left": 1, "ends_in_s": ends_in_s}], "ended": []}
    assert drain_lines(draining, str) == [f"1 flow drains {until}: {RULE}"]


def test_what_no_flow_lives_by_is_not_told() -> None:
    assert flow_lines({"by": [stake(flows=0)]}, None, str) == []


@pytest.mark.parametrize(("left", "ends_in_s"), [(4, None), (None, None), (4, 90.0)])
def test_what_drains_is_said_and_translated(left: int | None, ends_in_s: float | None) -> None:
    draining = {"draining": [{"lines": [RULE, "another"], "left": left, "ends_in_s": ends_in_s}], "ended": []}
    (said,) = drain_lines(draining, str)
    assert said.startswith("? flows" if left is None else "4 flows")
    assert f"{RULE} (+1)" in said
    (korean,) = drain_lines(draining, sentence)
    assert korean != said
    assert RULE in korean
