"""The replicator's end of the line to the core (see agent.flows_link). Bounded, and never waits for the core."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from understudy.agent.messages import Message, receive, send
from understudy.core.replication.effects import Compared, Elsewhere, Ready, Synced
from understudy.core.replication.events import Asked, CompareCommanded, Event, Owned
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant

READ_MAX = 64
STATUS_EVERY: Duration = 100 * MILLISECOND
"""At most so often, when it changed."""
ALIVE_EVERY: Duration = SECOND
"""At least so often, for the core to know that we run."""
WAITING_MAX = 64
"""Questions whose answers are due; the oldest is forgotten."""

NOTHING_YET = "no agreement with the original yet"


class CoreLine:
    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._owned: set[GroupName] = set()
        self._synced: dict[GroupName, Synced] = {}
        """The last word on each group: for a core that is forked anew, or that could not be told."""
        self._elsewhere: set[GroupName] = set()
        self._untold: set[GroupName] = set()
        self._asked: dict[tuple[str, int], int] = {}
        """Which core asked what: generation by group and token."""
        self._said: dict[str, Any] = {}
        self._said_at = self._looked_at = 0
        self._stirred = True

    def hello(self, stream: int) -> None:
        send(self.socket, {"op": "hello", "stream": stream})

    def read(self) -> list[Event]:
        """What the core wants, for the machine."""
        events: list[Event] = []
        with contextlib.suppress(EOFError):
            for _ in range(READ_MAX):
                message = receive(self.socket)
                if message is None:
                    break
                events += self._understand(message)
        return events

    def ready(self, now: Instant, effect: Ready) -> None:
        generation = self._asked.get((effect.group, effect.token))
        answer = {"op": "ready", "group": effect.group, "token": effect.token, "generation": generation}
        final = not effect.complete and not effect.waiting
        send(self.socket, {**answer, "complete": effect.complete, "detail": effect.detail, "final": final})

    def synced(self, now: Instant, effect: Synced) -> None:
        self._synced[effect.group] = effect
        self._tell(effect)

    def elsewhere(self, now: Instant, effect: Elsewhere) -> None:
        (self._elsewhere.add if effect.elsewhere else self._elsewhere.discard)(effect.group)
        self._tell(self._synced.setdefault(effect.group, Synced(effect.group, False, NOTHING_YET)))

    def compared(self, now: Instant, effect: Compared) -> None:
        answer = {
            "op": "compared",
            "token": effect.token,
            "generation": self._asked.pop(("", effect.token), None),
            "here": effect.here,
            "there": effect.there,
            "mismatched": effect.mismatched,
            "examples": list(effect.examples),
        }
        send(self.socket, {**answer, "error": effect.error} if effect.error else answer)

    def due(self) -> int:
        """When `tell_status` has something to do at the latest."""
        if self._stirred or self._untold:
            return self._looked_at + STATUS_EVERY
        return self._said_at + ALIVE_EVERY

    def stir(self) -> None:
        """Something happened: the status may be another."""
        self._stirred = True

    def tell_status(self, now: int, status: Callable[[], dict[str, Any]]) -> None:
        """If it is time. What only time has changed is no reason: the ages in it differ with every look. That we run is
        told a little early, together with what woke us for another reason.
        """
        alive = now >= self._said_at + ALIVE_EVERY - STATUS_EVERY
        if now < (self._looked_at + STATUS_EVERY if alive else self.due()):
            return
        self._looked_at, self._stirred = now, False
        for group in sorted(self._untold):
            self._tell(self._synced[group])
        said = status()
        if said == self._said and not alive:
            return
        self._said, self._said_at = said, now
        send(self.socket, {"op": "status", "flows": said})

    def _understand(self, message: Message) -> list[Event]:
        match message.get("op"):
            case "hello":
                self._untold.update(self._synced)
                self._said, self._stirred = {}, True
                for effect in self._synced.values():
                    self._tell(effect)
                return []
            case "own":
                return self._own({GroupName(name) for name in message["owned"]})
            case "ask":
                group, token = GroupName(message["group"]), int(message["token"])
                self._expect(group, token, int(message["generation"]))
                return [Asked(group, token, bool(message["drain"]))]
            case "compare":
                self._expect("", int(message["token"]), int(message["generation"]))
                return [CompareCommanded(int(message["token"]))]
        return []

    def _own(self, owned: set[GroupName]) -> list[Event]:
        """The core tells all of it; the machine wants what changed, what is given up first."""
        before, self._owned = self._owned, owned
        lost, won = sorted(before - owned), sorted(owned - before)
        return [*(Owned(group, False) for group in lost), *(Owned(group, True) for group in won)]

    def _expect(self, group: str, token: int, generation: int) -> None:
        self._asked.pop((group, token), None)
        self._asked[group, token] = generation
        while len(self._asked) > WAITING_MAX:
            del self._asked[next(iter(self._asked))]

    def _tell(self, effect: Synced) -> None:
        told = {"op": "synced", "group": effect.group, "complete": effect.complete, "detail": effect.detail}
        if send(self.socket, {**told, "elsewhere": effect.group in self._elsewhere}):
            self._untold.discard(effect.group)
        else:
            self._untold.add(effect.group)
