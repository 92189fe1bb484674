"""The core's end of the line to the process that changes the kernel."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from understudy.agent import messages
from understudy.agent.hands_link import PATIENCE, HandsLink, HandsStuckError
from understudy.agent.journal import LINE_MAX, JournalSender
from understudy.units import NodeName


class Line:
    """Both ends, and the journal."""

    def __init__(self) -> None:
        self.core_end, self.hands_end = messages.pair()
        self.journal_in, self.journal_out = messages.pair()
        self.repaired = 0
        self.link = self.another_core(1)

    def another_core(self, generation: int) -> HandsLink:
        self.link = HandsLink(self.core_end, generation, JournalSender(self.journal_out, NodeName("gw1")), self._repair)
        return self.link

    def _repair(self) -> None:
        self.repaired += 1

    def carry_out(self, **more: Any) -> None:
        """The hands answer everything that waits."""
        while (command := messages.receive(self.hands_end)) is not None:
            messages.send(self.hands_end, {"op": command["op"], "generation": command["generation"], **more})

    def lines(self) -> list[dict[str, Any]]:
        lines = []
        while True:
            try:
                lines.append(json.loads(self.journal_in.recv(LINE_MAX)))
            except BlockingIOError:
                return lines

    def ends(self) -> tuple[socket.socket, ...]:
        return self.core_end, self.hands_end, self.journal_in, self.journal_out


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    for end in line.ends():
        end.close()


def test_answers_go_to_whoever_asked_in_the_order_of_the_questions(line: Line) -> None:
    """Each kind of command has its own row of waiting ones."""
    got: list[str] = []
    line.link.ask({"op": "role", "group": "a"}, lambda answer: got.append("first role"))
    line.link.ask({"op": "quiet"}, lambda answer: got.append("quiet"))
    line.link.ask({"op": "role", "group": "b"}, lambda answer: got.append("second role"))
    line.carry_out()
    line.link.read()
    assert got == ["first role", "quiet", "second role"]


def test_an_answer_to_the_core_before_is_nobodys(line: Line) -> None:
    """It would confirm what this core has not ordered."""
    line.link.ask({"op": "role"})
    got: list[object] = []
    line.another_core(2).ask({"op": "role"}, got.append)
    messages.send(line.hands_end, {"op": "role", "generation": 1})
    line.link.read()
    assert got == []
    messages.send(line.hands_end, {"op": "role", "generation": 2})
    line.link.read()
    assert len(got) == 1


def test_an_error_is_written_down_and_still_an_answer(line: Line) -> None:
    """Whoever asked decides what it means."""
    got: list[dict[str, Any]] = []
    line.link.ask({"op": "role"}, got.append)
    line.carry_out(error="refused")
    line.link.read()
    assert [answer["error"] for answer in got] == ["refused"]
    assert [(each["kind"], each["subject"], each["detail"]) for each in line.lines()] == [("error", "role", "refused")]


@pytest.mark.parametrize("restored", [True, False])
def test_what_the_hands_found_unasked_is_told_once_and_acted_upon_if_it_was_restored(
    line: Line, restored: bool
) -> None:
    """Whichever core reads it first: it names no generation."""
    drift = {"count": 1, "last": None, "alarms": []}
    told = {"op": "drift", "lines": [{"kind": "drift"}], "restored": restored, "drift": drift}
    messages.send(line.hands_end, told)
    line.link.read()
    line.link.read()
    assert line.link.drift == drift
    assert [each["kind"] for each in line.lines()] == ["drift"]
    assert line.repaired == restored


def test_hands_that_leave_a_command_unanswered_are_given_up(line: Line) -> None:
    """After some rounds; an answer, or nothing to answer, is patience enough."""
    for _ in range(3 * PATIENCE):
        line.link.housekeep()
    line.link.ask({"op": "role"})
    for _ in range(PATIENCE):
        line.link.housekeep()
    line.carry_out()
    line.link.read()
    line.link.housekeep()
    line.link.ask({"op": "role"})
    for _ in range(PATIENCE):
        line.link.housekeep()
    with pytest.raises(HandsStuckError):
        line.link.housekeep()


def test_hands_that_are_gone_are_noticed_by_whoever_reads_or_asks(line: Line) -> None:
    """Neither waits for anything."""
    line.hands_end.close()
    with pytest.raises(HandsStuckError):
        line.link.read()
    with pytest.raises(HandsStuckError):
        line.link.ask({"op": "role"})
