"""What is held against a step, and what was so before it."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from understudy.rollout.judge import Expected, Sight, problems

EXPECTED = Expected({"gw1": "new", "gw2": "new"}, {"edge": "gw1"})


def status(node: str, role: str, peer: str) -> dict[str, Any]:
    return {
        "node": node,
        "digest": "new",
        "groups": [{"name": "edge", "role": role, "peers": [{"name": peer, "heard": True, "eligible": True}]}],
        "servers": [{"service": "web", "name": "web1:80", "up": True}],
        "drift": {"alarms": []},
    }


def pair() -> Sight:
    """All is well."""
    statuses = {"gw1": status("gw1", "active", "gw2"), "gw2": status("gw2", "backup", "gw1")}
    return Sight(statuses, {"gw1": (), "gw2": ()}, {"203.0.113.10 port 80": True})


def broken(how: str) -> Sight:
    sight = pair()
    statuses: Any = deepcopy(sight.statuses)
    standby = statuses["gw2"]
    match how:
        case "gw2 does not answer":
            del statuses["gw2"]
            statuses["gw1"]["groups"][0]["peers"][0]["heard"] = True
        case "gw2 runs another file than it should":
            standby["digest"] = "old"
        case "edge: gw1 and gw2 are both Active":
            standby["groups"][0]["role"] = "active"
        case "edge is served by nobody, not by gw1":
            statuses["gw1"]["groups"][0]["role"] = "backup"
        case "edge is served by gw2, not by gw1":
            statuses["gw1"]["groups"][0]["role"] = "backup"
            standby["groups"][0]["role"] = "active"
        case "203.0.113.10 port 80 does not answer":
            return replace(sight, answers={"203.0.113.10 port 80": False})
        case "gw2: gw1 is not heard":
            standby["groups"][0]["peers"][0]["heard"] = False
        case "gw1: gw2 could not take over":
            statuses["gw1"]["groups"][0]["peers"][0]["eligible"] = False
        case "gw2 does not hold the state of edge yet":
            standby["groups"][0]["flows"] = {"running": True, "replicated": True, "complete": False}
        case "gw2: server web1:80 of web is down":
            standby["servers"][0]["up"] = False
        case "gw2: the kernel is not as the file says: + address 203.0.113.10/32":
            return replace(sight, missing={"gw2": ("+ address 203.0.113.10/32",)})
        case "gw2: links: somebody takes them away":
            standby["drift"]["alarms"].append({"object": "links", "reason": "somebody takes them away"})
        case _:
            raise AssertionError(how)
    return replace(sight, statuses=statuses)


WRONG = (
    "gw2 does not answer",
    "gw2 runs another file than it should",
    "edge: gw1 and gw2 are both Active",
    "edge is served by nobody, not by gw1",
    "edge is served by gw2, not by gw1",
    "203.0.113.10 port 80 does not answer",
    "gw2: gw1 is not heard",
    "gw1: gw2 could not take over",
    "gw2 does not hold the state of edge yet",
    "gw2: server web1:80 of web is down",
    "gw2: the kernel is not as the file says: + address 203.0.113.10/32",
    "gw2: links: somebody takes them away",
)
BEFORE_TOO = WRONG[5:6] + WRONG[8:]
"""What a step is not blamed for, if it was so before."""


def test_a_healthy_pair_has_no_problems() -> None:
    """Control of all that follows."""
    assert problems(pair(), pair(), EXPECTED) == []


@pytest.mark.parametrize("how", WRONG)
def test_each_thing_that_may_be_wrong_is_said(how: str) -> None:
    """In a sentence with the node's name, and nothing else is."""
    assert problems(pair(), broken(how), EXPECTED) == [how]


@pytest.mark.parametrize("how", BEFORE_TOO)
def test_what_was_wrong_before_is_not_held_against_a_step(how: str) -> None:
    """A change may be what mends it."""
    assert problems(broken(how), broken(how), EXPECTED) == []


def test_a_group_that_moves_by_itself_may_be_served_by_either() -> None:
    """But by one."""
    free = Expected(EXPECTED.digests, {})
    assert problems(pair(), broken("edge is served by gw2, not by gw1"), free) == []
    assert problems(pair(), broken("edge: gw1 and gw2 are both Active"), free)


def test_a_partner_that_is_elsewhere_and_was_not_heard_is_not_waited_for() -> None:
    """One node of the pair is changed while the other one is off."""
    alone = {"gw1": deepcopy(pair().statuses["gw1"])}
    peers: Any = alone["gw1"]["groups"][0]["peers"]
    peers[0]["heard"] = False
    sight = Sight(alone)
    assert problems(sight, sight, Expected({"gw1": "new"}, {"edge": "gw1"})) == []
    assert problems(pair(), sight, Expected({"gw1": "new"}, {"edge": "gw1"})) == ["gw1: gw2 is not heard"]


def test_a_partner_that_is_elsewhere_may_be_the_one_who_serves() -> None:
    """All that can be said here is that this node does not."""
    expected = Expected({"gw2": "new"}, {"edge": "gw1"})
    here = Sight({"gw2": pair().statuses["gw2"]})
    assert problems(here, here, expected) == []
    serving = Sight({"gw2": status("gw2", "active", "gw1")})
    assert problems(serving, serving, expected) == ["edge is served by gw2, not by gw1"]


def test_a_new_server_that_is_down_is_held_against_the_step() -> None:
    """Users would be sent to it until the checks have found it out."""
    statuses: Any = deepcopy(pair().statuses)
    statuses["gw2"]["servers"].append({"service": "web", "name": "web9:80", "up": False})
    assert problems(pair(), replace(pair(), statuses=statuses), EXPECTED) == ["gw2: server web9:80 of web is down"]


def test_a_server_that_is_not_checked_yet_is_waited_for_where_its_checks_count() -> None:
    """On the node that took the file, and of the services whose checks tell in time; one that is down is said to be."""
    statuses: Any = deepcopy(pair().statuses)
    new = {"service": "web", "name": "web9:80", "up": True, "checked": False}
    for each in statuses.values():
        each["servers"].append(new)
    unchecked = replace(pair(), statuses=statuses)
    waiting = replace(EXPECTED, checked={"gw2": frozenset({"web"})})
    assert problems(pair(), unchecked, waiting) == ["gw2: server web9:80 of web is not checked yet"]
    assert problems(pair(), unchecked, EXPECTED) == []
    assert problems(pair(), unchecked, replace(EXPECTED, checked={"gw2": frozenset({"mail"})})) == []
    assert problems(pair(), pair(), waiting) == []  # An agent from before does not say.
    new["up"] = False
    assert problems(pair(), unchecked, waiting)[-1] == "gw2: server web9:80 of web is down"
    new["up"] = new["checked"] = True
    assert problems(pair(), unchecked, waiting) == []


def test_state_is_asked_for_where_it_could_be_there() -> None:
    """Always before a hand-over; otherwise once both nodes run the same file. A group that keeps none has none."""
    lacking = broken("gw2 does not hold the state of edge yet")
    mixed = replace(EXPECTED, digests={"gw1": "new", "gw2": "old"})
    statuses: Any = deepcopy(lacking.statuses)
    statuses["gw2"]["digest"] = "old"
    between = replace(lacking, statuses=statuses)
    assert problems(pair(), between, mixed) == []
    assert problems(pair(), between, replace(mixed, sync=True)) == ["gw2 does not hold the state of edge yet"]
    assert problems(lacking, lacking, replace(EXPECTED, sync=True)) == ["gw2 does not hold the state of edge yet"]
    statuses["gw2"]["groups"][0]["flows"] = {"running": False}
    assert problems(pair(), between, replace(mixed, sync=True)) == ["gw2 does not hold the state of edge yet"]
    for said in ({"running": True}, {"running": True, "replicated": True}):  # It has just begun.
        statuses["gw2"]["groups"][0]["flows"] = said
        assert problems(pair(), between, replace(mixed, sync=True)) == ["gw2 does not hold the state of edge yet"]
    statuses["gw2"]["groups"][0]["flows"] = {"running": True, "replicated": False, "complete": False}
    assert problems(pair(), between, replace(mixed, sync=True)) == []
