"""Which servers of rotaries are well: the health checks of services, asked of every server at the port of the file.

They run in a thread of their own, and results come through a socket like those of the process that checks services.
"""

import socket
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address

from understudy.agent import checks
from understudy.agent.messages import pair, receive
from understudy.config.plan import Check
from understudy.core.effects import Noted, SetServers
from understudy.core.events import CheckFinished
from understudy.core.health import Health
from understudy.core.settings import ServerSettings
from understudy.units import ServiceName

SERVERS_MAX = 256
"""Of a node's rotaries: those beyond are never left out."""


class TurnChecks:
    def __init__(self, servers: Sequence[int], check: Check) -> None:
        self._servers = tuple(servers[:SERVERS_MAX])
        self._health = Health(
            ServerSettings(number, ServiceName("rotary"), str(IPv4Address(server)), check.rise, check.fall)
            for number, server in enumerate(self._servers)
        )
        targets = [
            checks.Target(number, IPv4Address(server), check.port or 0, check)
            for number, server in enumerate(self._servers)
        ]
        self.socket, theirs = pair()
        self._thread = threading.Thread(target=checks.watch, args=(targets, theirs), daemon=True)
        self._thread.start()

    def read(self) -> tuple[frozenset[int] | None, list[str]]:
        """Servers that are not well, None if that did not change; and why."""
        changed: frozenset[int] | None = None
        reasons: list[str] = []
        while (message := receive(self.socket)) is not None:
            result = CheckFinished(int(message["binding"]), bool(message["ok"]), str(message["reason"]))
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
        """The thread ends with its next result."""
        self.socket.close()


def waited_for(checks_: TurnChecks | None) -> tuple[socket.socket, ...]:
    return (checks_.socket,) if checks_ is not None else ()
