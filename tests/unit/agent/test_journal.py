"""The journal: every line is one JSON object, a flood costs nothing, a full disk neither."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.agent import journal as module
from understudy.agent.journal import (
    ALIVE,
    LINE_MAX,
    LINES_MAX,
    MISMATCH_WINDOW,
    MISMATCHES_MAX,
    JournalFile,
    JournalSender,
)
from understudy.agent.messages import pair
from understudy.units import SECOND, Instant, NodeName

Ends = tuple[JournalSender, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    reader, writer = pair()
    yield JournalSender(writer, NodeName("gw1")), reader
    reader.close()
    writer.close()


def lines(reader: socket.socket) -> list[dict[str, Any]]:
    found = []
    while True:
        try:
            found.append(json.loads(reader.recv(LINE_MAX)))
        except BlockingIOError:
            return found


def test_a_line_tells_when_who_and_what(ends: Ends) -> None:
    """The monotonic clock's nanoseconds, the node, the kind."""
    sender, reader = ends
    sender.write(Instant(17), {"kind": "moved", "reason": "이중화"})
    assert lines(reader) == [{"t": 17, "node": "gw1", "kind": "moved", "reason": "이중화"}]


def test_a_line_that_is_too_long_is_shortened_and_still_json(ends: Ends) -> None:
    """A traceback, or whatever a kernel says; also when its characters take many bytes."""
    sender, reader = ends
    for detail in ("x" * 100_000, "\N{ROLLING ON THE FLOOR LAUGHING}" * 100_000):
        sender.write(Instant(1), {"kind": "error", "subject": "core", "detail": detail})
    assert [(line["kind"], line["subject"], line["shortened"]) for line in lines(reader)] == [
        ("error", "core", True)
    ] * 2


def test_what_the_lan_can_cause_is_limited_and_what_we_decide_is_not(ends: Ends) -> None:
    """A flood of decisions is cut and counted; moves between them all arrive."""
    sender, reader = ends
    for _ in range(1000):
        sender.write(Instant(SECOND), {"kind": "decided"})
        sender.write(Instant(SECOND), {"kind": "moved"})
        if len(found := lines(reader)) > 100:
            break
        seen = [line["kind"] for line in found]
        assert "moved" in seen
    sender.write(Instant(2 * SECOND), {"kind": "decided"})
    kinds = [line["kind"] for line in lines(reader)]
    assert kinds.count("decided") == 1


def test_a_flood_is_counted_in_the_line_that_follows(ends: Ends) -> None:
    """Nothing is lost without being said."""
    sender, reader = ends
    for _ in range(LINES_MAX + 7):
        sender.write(Instant(SECOND), {"kind": "decided"})
    sender.write(Instant(SECOND), {"kind": "moved"})
    found = lines(reader)
    assert found[-2:] == [
        {"t": SECOND, "node": "gw1", "kind": "lines-lost", "count": 7},
        {"t": SECOND, "node": "gw1", "kind": "moved"},
    ]


def test_mismatches_of_one_group_are_told_a_few_times_in_ten_seconds(ends: Ends) -> None:
    """Another source with every packet does not push the history out of the file; another group has its own words."""
    sender, reader = ends
    for number in range(600):
        sender.write(Instant(number * SECOND // 20), {"kind": "mismatch", "subject": "edge", "detail": str(number)})
    sender.write(Instant(30 * SECOND - 1), {"kind": "mismatch", "subject": "mail"})
    told = [line["subject"] for line in lines(reader) if line["kind"] == "mismatch"]
    assert told == ["edge"] * (30 * SECOND // MISMATCH_WINDOW * MISMATCHES_MAX) + ["mail"]


def test_a_reader_that_does_not_read_delays_no_writer(ends: Ends) -> None:
    """The supervisor hangs on its disk: lines are lost and counted, and the core goes on."""
    sender, reader = ends
    for number in range(20_000):
        sender.write(Instant(number), {"kind": "moved", "detail": "x" * 500})
    assert lines(reader)
    sender.write(Instant(1), {"kind": "moved"})
    assert lines(reader)[0]["kind"] == "lines-lost"


def test_a_sign_of_life_is_no_line(ends: Ends) -> None:
    """The supervisor tells it apart from JSON."""
    sender, reader = ends
    sender.alive()
    assert reader.recv(LINE_MAX) == ALIVE


def test_a_full_file_makes_room_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two files of bounded size, and no line between them is lost."""
    monkeypatch.setattr(module, "FILE_MAX", 1000)
    journal = JournalFile(tmp_path / "events.jsonl")
    for number in range(30):
        journal.append(json.dumps({"number": number, "detail": "x" * 50}).encode())
    old, new = (tmp_path / "events.jsonl.1").read_text(), (tmp_path / "events.jsonl").read_text()
    numbers = [json.loads(line)["number"] for line in (old + new).splitlines()]
    assert numbers == list(range(numbers[0], 30))
    assert len(old) < 1100
    assert len(new) < 1100


def test_a_file_that_cannot_be_replaced_goes_on_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory has become unwritable, or has gone: no exception, no foreign descriptor."""
    monkeypatch.setattr(module, "FILE_MAX", 10)
    directory = tmp_path / "run"
    directory.mkdir()
    journal = JournalFile(directory / "events.jsonl")
    (directory / "events.jsonl.1").mkdir()
    (directory / "events.jsonl.1" / "in the way").touch()
    for _ in range(3):
        journal.append(b"a line that is longer than the bound")
    assert len((directory / "events.jsonl").read_text().splitlines()) == 3
