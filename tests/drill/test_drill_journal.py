"""The agents' accounts are read as they are, also when a node died while writing."""

from pathlib import Path

from understudy.drill.journal import Event, merge, parse, read, role_changes
from understudy.drill.narrate import narrate
from understudy.units import Instant

LINE = (
    '{"t": 5, "node": "gw1", "kind": "moved", "group": "edge", "old": "backup", "new": "active", "reason": "silence"}'
)


def test_half_a_line_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    """A node that lost its power stops in the middle of a line."""
    path = tmp_path / "events.jsonl"
    path.write_text(LINE + "\n" + LINE[:40])
    assert [event.kind for event in read(path, Instant(0))] == ["moved"]


def test_no_journal_means_no_events(tmp_path: Path) -> None:
    """An agent that never started wrote none."""
    assert read(tmp_path / "events.jsonl", Instant(0)) == []


def test_journals_merge_by_time() -> None:
    """One clock for all nodes."""
    first, second = Event(Instant(2), "gw1", "a", {}), Event(Instant(1), "gw2", "b", {})
    assert merge([[first], [second]]) == [second, first]


def test_a_node_that_starts_anew_and_stands_by_has_lost_its_role() -> None:
    """Active before; killed; Initialize -> Backup after its start. Initialize itself is no role."""
    moves = [
        Event(Instant(1), "gw1", "moved", {"group": "edge", "old": "active", "new": "initialize"}),
        Event(Instant(2), "gw1", "moved", {"group": "edge", "old": "initialize", "new": "backup"}),
    ]
    assert [active for _, active in role_changes(moves, "edge", "gw1", was_active=True)] == [False]
    assert role_changes(moves, "other", "gw1", was_active=True) == []


def test_events_read_as_sentences() -> None:
    """Known kinds have a template; an unknown one shows what it holds."""
    event = parse(LINE)
    assert event is not None
    assert narrate(event) == "backup → active: silence"
    assert narrate(Event(Instant(1), "gw1", "strange_thing", {"a": 1})) == "strange thing: a 1"
    assert narrate(Event(Instant(1), "gw1", "peer", {"subject": "gw2", "detail": "heard"})) == "peer: gw2 heard"


def test_what_is_no_event_is_refused() -> None:
    """JSON of another shape, and no JSON at all."""
    assert parse("[]") is None
    assert parse('{"t": 1}') is None
    assert parse('{"t": 1e999, "node": "gw1", "kind": "moved"}') is None
    assert parse('{"t": 1, "node": "gw1", "kind": ' + "[" * 100_000) is None
    assert parse("") is None
