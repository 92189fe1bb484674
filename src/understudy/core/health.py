"""Servers up or down: so many checks in a row decide (rise, fall), and nothing else does.

A server counts as up until its checks say otherwise, so that a node which has just started balances as its peer does.
"""

from collections.abc import Iterable

from understudy.core.effects import Effect, Noted, SetServers
from understudy.core.events import CheckFinished
from understudy.core.settings import ServerSettings


class Health:
    """The checks' verdict on every server of the node."""

    def __init__(self, servers: Iterable[ServerSettings]) -> None:
        self._servers = {server.binding: server for server in servers}
        self._streak = dict.fromkeys(self._servers, 0)
        """Checks in a row that contradict the present verdict."""
        self._results = dict.fromkeys(self._servers, 0)
        self._up = dict.fromkeys(self._servers, True)
        self.reason = dict.fromkeys(self._servers, "not checked yet")

    @property
    def up(self) -> frozenset[int]:
        return frozenset(binding for binding, up in self._up.items() if up)

    @property
    def checked(self) -> frozenset[int]:
        """Those of which so many results have come in that a dead one would be down."""
        return frozenset(binding for binding, each in self._servers.items() if self._results[binding] >= each.fall)

    def handle(self, event: CheckFinished) -> list[Effect]:
        server = self._servers.get(event.binding)
        if server is None:
            return []
        self.reason[event.binding] = event.reason
        self._results[event.binding] += 1
        if event.ok == self._up[event.binding]:
            self._streak[event.binding] = 0
            return []
        self._streak[event.binding] += 1
        if self._streak[event.binding] < (server.rise if event.ok else server.fall):
            return []
        self._streak[event.binding] = 0
        self._up[event.binding] = event.ok
        state = "up" if event.ok else "down"
        return [SetServers(self.up), Noted("server", f"{server.service}/{server.name}", f"{state}: {event.reason}")]
