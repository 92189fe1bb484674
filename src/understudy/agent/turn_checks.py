"""Which servers of rotaries are well: the health checks of services, asked of every server at the port of the file.

They run in a child without privileges, as the servers' answers are read there (agent.checks), and results come through
a socket like those of the process that checks services. A child that died is followed by another.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address

from understudy.agent import checks
from understudy.agent.beside import Beside
from understudy.agent.children import Children, die_with
from understudy.config.plan import Check
from understudy.core.effects import Noted, SetServers
from understudy.core.events import CheckFinished
from understudy.core.health import Health
from understudy.core.settings import ServerSettings
from understudy.units import ServiceName

SERVERS_MAX = 256
"""Of a node's rotaries: those beyond are never left out."""
AGAIN_S = 1.0
"""After a child died; a second is a few checks."""


class TurnChecks:
    def __init__(
        self, servers: Sequence[int], check: Check, children: Children, drop_privileges: Callable[[], None]
    ) -> None:
        self._servers = tuple(servers[:SERVERS_MAX])
        self._drop_privileges = drop_privileges
        self._health = Health(
            ServerSettings(number, ServiceName("rotary"), str(IPv4Address(server)), check.rise, check.fall)
            for number, server in enumerate(self._servers)
        )
        self._targets = [
            checks.Target(number, IPv4Address(server), check.port or 0, check)
            for number, server in enumerate(self._servers)
        ]
        self._child = Beside(children, "rotary-checks")
        self._again_at = 0.0

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Readable when there is something to `read`."""
        return self._child.sockets

    def tend(self) -> None:
        """Have a child that checks, if it is time for one."""
        now = time.monotonic()
        if self._child.busy or now < self._again_at:
            return
        self._again_at = now + AGAIN_S
        parent = os.getpid()

        def work(end: socket.socket) -> None:
            self._drop_privileges()
            die_with(parent)  # The kernel forgets it with every change of credentials.
            checks.watch(self._targets, end)

        with contextlib.suppress(OSError):  # no room for a process: the next time
            self._child.begin(work)

    def read(self) -> tuple[frozenset[int] | None, list[str]]:
        """Servers that are not well, None if that did not change; and why."""
        changed: frozenset[int] | None = None
        reasons: list[str] = []
        for result in self._results():
            for effect in self._health.handle(result):
                match effect:
                    case SetServers(up):
                        changed = frozenset(self._servers[n] for n in range(len(self._servers)) if n not in up)
                    case Noted(_, subject, detail):
                        reasons.append(f"{subject} {detail}")
                    case _:
                        pass
        return changed, reasons

    def close(self) -> None:
        self._child.end()

    def _results(self) -> Iterator[CheckFinished]:
        with contextlib.suppress(EOFError):  # another one follows
            while (said := self._child.hear()) is not None:
                yield CheckFinished(int(said.get("binding", -1)), bool(said.get("ok")), str(said.get("reason")))
