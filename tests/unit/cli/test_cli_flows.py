"""What is said of replicated flows: by `status` a line a node, by `flows` the outcome of a comparison."""

from typing import Any

import pytest

from understudy.cli import flows_lines
from understudy.cli.flows import _choose, _document, _lines
from understudy.cli.korean import sentence
from understudy.cli.status import judge


def kept(**changes: Any) -> dict[str, Any]:
    """A group's flows as the replicator tells them."""
    told = {
        "running": True,
        "peer": "gw1",
        "original": "gw1",
        "replicated": True,
        "complete": True,
        "detail": "2000 flows agree",
        "entries_here": 2000,
        "entries_there": 2000,
        "proven_at": 1,
        "proven_ms_ago": 12_300,
        "copied_ms_ago": None,
        "lag_ms": 1.25,
        "lag_entries": 3,
    }
    return {**told, **changes}


def node(name: str, role: str, flows: dict[str, Any] | None) -> dict[str, Any]:
    peers = [{"name": "gw1" if name == "gw2" else "gw2", "heard": True, "eligible": True, "role": "x"}]
    work = {"rounds": 4, "repaired": 1, "overruns": 0}
    return {
        "node": name,
        "cluster": "shop",
        "groups": [{"name": "edge", "role": role, "peers": [{**peers[0], "same_config": True}], "flows": flows}],
        "flows": None if flows is None else {"running": flows["running"], "peers": {flows["peer"]: work}},
    }


ORIGINAL = kept(peer="gw2", original="here", detail="")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            node("gw2", "backup", kept()),
            "edge flows, gw2: 2000 here, 2000 on gw1, 1.25 ms (3) behind, complete, proven 12.3 s ago; "
            "rounds: 4, repaired: 1, overruns: 0",
        ),
        (
            node("gw2", "backup", kept(complete=False)),
            "edge flows, gw2: 2000 here, 2000 on gw1, 1.25 ms (3) behind, not complete; "
            "rounds: 4, repaired: 1, overruns: 0",
        ),
        (
            node("gw1", "active", ORIGINAL),
            "edge flows, gw1: original; gw2 is 1.25 ms (3) behind, complete there; rounds: 4, repaired: 1, overruns: 0",
        ),
        (
            node("gw1", "active", {**ORIGINAL, "complete": False}),
            "edge flows, gw1: original; gw2 is 1.25 ms (3) behind, not complete there; "
            "rounds: 4, repaired: 1, overruns: 0",
        ),
    ],
)
def test_status_says_how_far_the_copies_are(status: dict[str, Any], expected: str) -> None:
    """In English, and in Korean with the same figures."""
    assert flows_lines.lines(status) == [expected]
    korean = sentence(expected)
    assert korean != expected
    assert all(figure in korean for figure in ("1.25", "4", "1", "0"))


def test_copied_flows_say_when() -> None:
    """They are complete as of then, which nobody proves."""
    copied = kept(replicated=False, complete=False, copied_ms_ago=4000)
    assert "copied 4.0 s ago" in flows_lines.lines(node("gw2", "backup", copied))[0]
    assert flows_lines.troubles(node("gw2", "backup", copied)) == []


def test_nothing_is_said_where_no_flow_is_kept() -> None:
    """Nor before the replicator has said anything."""
    for flows in (None, {"running": True, "peer": "gw1"}):
        status = node("gw2", "backup", flows)
        assert flows_lines.lines(status) == flows_lines.troubles(status) == []


@pytest.mark.parametrize(
    ("role", "flows", "trouble"),
    [
        ("backup", kept(), ""),
        ("backup", kept(complete=False, detail="2 of 5 rounds"), "gw2: edge: not all flows are here: 2 of 5 rounds"),
        ("active", kept(complete=False), ""),
        ("backup", kept(running=False), "gw2: the process that replicates flows says nothing"),
    ],
)
def test_a_standby_that_could_not_take_over_without_loss_is_a_trouble(
    role: str, flows: dict[str, Any], trouble: str
) -> None:
    """Exit code 2 for it; an Active's kernel is the original."""
    status = node("gw2", role, flows)
    status["servers"] = []
    found = [each for each in judge([status]) if "flows" in each]
    assert found == ([trouble] if trouble else [])
    assert all(sentence(each) != each for each in found)


def test_a_table_that_is_nearly_full_is_a_trouble() -> None:
    """Before connections are refused; the control is one that has room."""
    for entries, said in ((99, 1), (50, 0)):
        status = node("gw1", "active", ORIGINAL)
        status["flows"]["table"] = {"entries": entries, "limit": 100}
        found = flows_lines.troubles(status)
        assert len(found) == said
        assert all(sentence(each) != each for each in found)


def test_a_drills_controls_are_never_silent() -> None:
    """A gate that is off and writes that are held back are said, in both languages; the control says nothing."""
    said = flows_lines.controls([{"gate_enabled": False, "sync_delay_ms": 200.0}])
    assert len(said) == 2
    assert all(sentence(each) != each for each in said)
    assert flows_lines.controls([{"gate_enabled": True, "sync_delay_ms": 0.0}]) == []


def test_the_command_asks_the_standby_and_tells_the_outcome() -> None:
    """Counts, mismatches with examples, and what is not known to be complete."""
    active, standby = node("gw1", "active", ORIGINAL), node("gw2", "backup", kept(complete=False, detail="a gap"))
    paths: Any = [("a", active), ("b", standby)]
    assert _choose(paths)[1] is standby
    assert _choose(paths[:1])[1] is active
    reply = {"here": 10, "there": 11, "mismatched": 1, "examples": ["tcp 1.2.3.4:5 -> ..."]}
    document = _document(standby, reply)
    assert (document["count"], document["peer_count"], document["mismatches"]) == (10, 11, 1)
    assert (document["complete"], document["missing"]) == (False, {"edge": "a gap"})
    first, example, missing = _lines(document)
    assert first == "gw2: 10 flows here, 11 on gw1, 1 differ"
    assert sentence(first) != first
    assert "1.2.3.4" in example
    assert missing == "! edge: a gap"
    assert _document(active, reply)["complete"]
