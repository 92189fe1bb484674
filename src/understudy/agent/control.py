"""The control socket: one JSON line asks, one JSON line answers. Bounded in clients, in bytes and in time, and never
trusted.

The socket is the owner's only (mode 0600): whoever may open it may move addresses.
"""

import contextlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.errors import OperatorError
from understudy.units import SECOND, Instant

REQUEST_MAX = 4096
CLIENTS_MAX = 32
PATIENCE = 10 * SECOND
Reply = dict[str, Any]
Handler = Callable[[dict[str, Any], Callable[[Reply], None]], None]


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    since: int
    received: bytes = b""


class Control:
    """Listens at `path`; `handler` gets each request with a function that answers it, now or later."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._clients: dict[int, _Client] = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        mask = os.umask(0o177)
        try:
            self.listener.bind(str(path))
        except OSError as error:
            raise OperatorError(
                "E5206", f"cannot listen at {path}: {error.strerror}", "choose another directory with --run-dir"
            ) from error
        finally:
            os.umask(mask)
        self.listener.listen(CLIENTS_MAX)
        self.listener.setblocking(False)

    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        return [self.listener, *(client.connection for client in self._clients.values())]

    def ready(self, which: socket.socket, now: Instant) -> None:
        """Accept a client, or read from one."""
        if which is self.listener:
            self._accept(now)
            return
        client = self._clients.get(which.fileno())
        if client is not None:
            self._read(client)

    def expire(self, now: Instant) -> None:
        """Close clients that connected and then said nothing."""
        for client in [client for client in self._clients.values() if now - client.since > PATIENCE]:
            self._forget(client)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._forget(client)
        self.listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self, now: Instant) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS_MAX:
            oldest = min(self._clients.values(), key=lambda client: client.since)
            self._forget(oldest)
        self._clients[connection.fileno()] = _Client(connection, now)

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(REQUEST_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        client.received += data
        if b"\n" in client.received:
            line, _, client.received = client.received.partition(b"\n")
            self._ask(client, line)
        elif not data or len(client.received) >= REQUEST_MAX:
            self._forget(client)

    def _ask(self, client: _Client, line: bytes) -> None:
        def answer(reply: Reply) -> None:
            with contextlib.suppress(OSError):
                client.connection.setblocking(True)
                client.connection.settimeout(0.2)
                client.connection.sendall(json.dumps(reply, separators=(",", ":"), default=str).encode() + b"\n")
            self._forget(client)

        try:
            request = json.loads(line)
        except ValueError:
            answer({"error": "the request is no JSON"})
            return
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            answer({"error": 'a request is an object with a "command"'})
            return
        self._handler(request, answer)

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()
