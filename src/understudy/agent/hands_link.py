"""The core's end of the line to the process that changes the kernel (`agent.hands`). Nothing here waits.

Commands are carried out in order, and each is answered under its own name. An answer that names another generation was
for the core before this one. In between the hands tell what they found and did unasked (`agent.drift`).

Hands that end, take no more commands or leave one unanswered must be replaced, and this core with them: neither may
believe that the other knows what the kernel holds (HandsStuckError).
"""

import socket
import time
from collections.abc import Callable
from typing import Any

from understudy.agent.journal import JournalSender
from understudy.agent.messages import Message, receive, send
from understudy.errors import EnvironmentFailure
from understudy.units import Instant

PATIENCE = 3
"""Rounds of housekeeping that a command may take. Rounds, not seconds: if we were frozen, so were the hands."""


class HandsStuckError(EnvironmentFailure):
    """The process that changes the kernel does not answer: it must be replaced, and this core with it."""

    def __init__(self, reason: str) -> None:
        super().__init__("wait for", "the process that changes the kernel", reason)


class HandsLink:
    """`repaired` is called when the hands have restored what others took of this kernel's objects."""

    def __init__(
        self, end: socket.socket, generation: int, journal: JournalSender, repaired: Callable[[], None]
    ) -> None:
        self.socket = end
        self.drift: dict[str, Any] = {"count": 0, "last": None, "alarms": []}
        """What others changed in this kernel, as the hands tell it (`agent.drift`)."""
        self._generation = generation
        self._journal = journal
        self._repaired = repaired
        self._waiting: dict[str, list[Callable[[Message], None]]] = {}
        self._asked = self._answered = self._answered_before = 0
        self._unanswered_rounds = 0

    def ask(self, message: Message, then: Callable[[Message], None] | None = None) -> None:
        """A command; `then` gets its answer. Raises HandsStuckError."""
        self._waiting.setdefault(message["op"], []).append(then or (lambda answer: None))
        self._asked += 1
        if not send(self.socket, {**message, "generation": self._generation}):
            raise HandsStuckError("it takes no more commands")

    def read(self) -> None:
        """Everything that has been said. Raises HandsStuckError."""
        while (answer := self._next()) is not None:
            if "drift" in answer:
                self.drift = answer["drift"]
            if answer["op"] == "drift":
                self._take_drift(answer)
                continue
            if answer.get("generation") != self._generation:
                continue  # to the core before this one
            self._answered += 1
            waiting = self._waiting.get(answer["op"])
            if waiting:
                waiting.pop(0)(answer)
            if "error" in answer:
                self._tell({"kind": "error", "subject": answer["op"], "detail": answer["error"]})

    def housekeep(self) -> None:
        """Once a round. Raises HandsStuckError."""
        stuck = self._asked > self._answered == self._answered_before
        self._unanswered_rounds = self._unanswered_rounds + 1 if stuck else 0
        self._answered_before = self._answered
        if self._unanswered_rounds > PATIENCE:
            raise HandsStuckError(f"no answer for {PATIENCE} s")

    def _next(self) -> Message | None:
        try:
            return receive(self.socket)
        except EOFError:
            raise HandsStuckError("it ended") from None

    def _take_drift(self, told: Message) -> None:
        """Whichever core reads it first, it is said once."""
        for line in told["lines"]:
            self._tell(line)
        if told["restored"]:
            self._repaired()

    def _tell(self, line: dict[str, Any]) -> None:
        self._journal.write(Instant(time.monotonic_ns()), line)
