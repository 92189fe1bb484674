"""The control socket: one JSON line asks, one JSON line answers. Bounded in clients, in bytes and in time, and never
trusted.

The socket is the supervisor's (agent.door), and outlives the core. Nothing here waits, since the process that
advertises does this beside: an answer that does not fit the client's socket at once is kept and sent on when there is
room, until the client's time is over. A second has room for so many clients; later ones wait their turn in the kernel's
queue, or a program that asks in a loop would take the time of the advertisements.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from understudy.units import SECOND, Instant

REQUEST_MAX = 4096
CLIENTS_MAX = 32
CLIENTS_A_SECOND = 400
"""Each costs 0.2 ms."""
BACKLOG = 128
"""Clients that wait in the kernel's queue."""
READS_MAX = 32
"""Pieces in which a request may come: it fits one."""
PATIENCE = 10 * SECOND
"""For asking, and for taking the answer once there is one."""
ANSWER_PATIENCE = 25 * SECOND
"""For a client that has asked and waits: longer than any answer takes (a comparison of all flows)."""
Reply = dict[str, Any]
Handler = Callable[[dict[str, Any], Callable[[Reply], None]], None]


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    since: int
    """It is its turn, or ours, since then."""
    received: bytes = b""
    reads: int = 0
    asked: bool = False
    """It has had its question: nothing more is read from it."""
    answer: bytes = b""
    """What is still to be sent."""


class Control:
    """Lets clients of `listener` in; `handler` gets each request with a function that answers it, now or later."""

    def __init__(self, listener: socket.socket, handler: Handler) -> None:
        self.listener = listener
        self._handler = handler
        self._clients: dict[socket.socket, _Client] = {}
        self._room = CLIENTS_A_SECOND
        self._now = 0
        self.refused: dict[str, int] = {}
        """Clients that were not served, by reason."""
        self._listening = [self.listener]

    def readers(self) -> list[socket.socket]:
        """What to wait for until it can be read."""
        if not self._clients:
            return self._listening if self._room > 0 else []
        asking = [client.connection for client in self._clients.values() if not client.asked]
        return [self.listener, *asking] if self._room > 0 else asking

    def writers(self) -> list[socket.socket]:
        """Clients that took only a part of their answer."""
        return [client.connection for client in self._clients.values() if client.answer] if self._clients else []

    def ready(self, which: socket.socket, now: Instant) -> None:
        """Accept a client, read from one, or go on answering one."""
        self._now = now
        if which is self.listener:
            self._accept(now)
            return
        client = self._clients.get(which)
        if client is None:
            return  # forgotten a moment ago
        if client.answer:
            self._send(client)
        elif not client.asked:
            self._read(client)

    def expire(self, now: Instant) -> None:
        """Let go of clients that said nothing, or do not take their answer. To be called once a second."""
        self._room, self._now = CLIENTS_A_SECOND, now
        for client in list(self._clients.values()):
            waiting = client.asked and not client.answer
            if now - client.since > (ANSWER_PATIENCE if waiting else PATIENCE):
                self._refuse(client, "control-slow")

    def close(self) -> None:
        """Of those that were let in nobody is answered any more; the others wait at the door."""
        for client in list(self._clients.values()):
            self._forget(client)

    def _accept(self, now: Instant) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        self._room -= 1
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS_MAX:
            oldest = min(self._clients.values(), key=lambda client: (client.asked, client.since))
            self._refuse(oldest, "control-displaced")
        self._clients[connection] = _Client(connection, now)

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(REQUEST_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        client.received += data
        client.reads += 1
        line, newline, _ = client.received.partition(b"\n")
        if newline:
            self._ask(client, line)
        elif not data:
            self._refuse(client, "control-torn")
        elif len(client.received) >= REQUEST_MAX or client.reads >= READS_MAX:
            self._refuse(client, "control-oversized")

    def _ask(self, client: _Client, line: bytes) -> None:
        client.asked = True

        def answer(reply: Reply) -> None:
            if client.connection in self._clients:
                client.answer = json.dumps(reply, separators=(",", ":"), default=str).encode() + b"\n"
                client.since = self._now  # It has not waited with taking what was not there.
                self._send(client)

        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            self._count("control-json")
            answer({"error": "the request is no JSON"})
            return
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            self._count("control-request")
            answer({"error": 'a request is an object with a "command"'})
            return
        self._handler(request, answer)

    def _send(self, client: _Client) -> None:
        try:
            client.answer = client.answer[client.connection.send(client.answer) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            client.answer = b""
        if not client.answer:
            self._forget(client)

    def _refuse(self, client: _Client, reason: str) -> None:
        self._count(reason)
        self._forget(client)

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client.connection, None)
        client.connection.close()
