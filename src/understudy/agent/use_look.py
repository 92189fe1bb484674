"""Which of the addresses that were given take part in flows: looked for by a child.

Listing a table of flows takes some 8 us for each of them, and first packets wait for this process.
"""

import os
import socket
import time
from functools import partial
from typing import Final

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.flowuse import addresses_in_use
from understudy.agent.beside import Beside
from understudy.agent.children import Children
from understudy.agent.messages import send
from understudy.core.allocation.events import UseSeen
from understudy.errors import EnvironmentFailure

PATIENCE_S = 120.0
"""A look that lasts longer hangs, and is ended."""
TOGETHER_MAX: Final = 16_000
"""Addresses in one message."""
_ROLE: Final = "uses"


class UseLook:
    """Belongs to the network namespace in which it is made."""

    def __init__(self, children: Children) -> None:
        self._child = Beside(children, _ROLE)
        self._began = 0.0
        self._used: set[int] = set()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Readable when there may be something to hear."""
        return self._child.sockets

    def begin(self, given: frozenset[int]) -> None:
        """Look, unless a look is under way that does not hang. Raises OSError if there is no room for a process."""
        now = time.monotonic()
        if not self._child.busy or now >= self._began + PATIENCE_S:
            self._began, self._used = now, set()
            self._child.begin(partial(_say_used, given))

    def heard(self) -> UseSeen | None:
        """What was found, once it is all there."""
        try:
            while (message := self._child.hear()) is not None:
                self._used.update(map(int, message.get("used", ())))
                if message.get("last"):
                    self._child.end()
                    return UseSeen(frozenset(self._used))
        except EOFError:
            return UseSeen(None)
        return None

    def end(self) -> None:
        self._child.end()


def _say_used(given: frozenset[int], end: socket.socket) -> None:
    os.nice(10)
    end.setblocking(True)
    try:
        table = FlowTable()
        try:
            found = addresses_in_use(table)
        finally:
            table.close()
    except (EnvironmentFailure, OSError):
        return
    if found is not None:
        used = sorted(found & given)
        for at in range(0, len(used), TOGETHER_MAX):
            send(end, {"used": used[at : at + TOGETHER_MAX]})
        send(end, {"last": True})
