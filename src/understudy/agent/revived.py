"""Children of the supervisor beside core and hands, without which the node goes on: another follows one that died, a
little later, and one that hangs is ended.

    flows      keeps flows in two kernels (agent.replicator); twice as long is waited with each death within a minute,
               since what kills one may kill every one
    pools      hands out addresses of NAT pools (agent.pools), with waits likewise; who has one keeps it, the kernel
               holds the table
"""

import signal
import socket
import time
from collections.abc import Mapping

from understudy.agent import app, messages
from understudy.agent.children import Children
from understudy.agent.journal import JournalSender
from understudy.agent.lans import Lan
from understudy.agent.running import Running
from understudy.units import SECOND, Instant, NetworkName

FLOWS_LATER_S, FLOWS_LATER_MAX_S = 0.02, 10.0
POOLS_LATER_S, POOLS_LATER_MAX_S = 0.5, 10.0
"""With waits that grow it uses up fewer epochs (agent.store) than seconds pass."""
CORE_SILENCE_MAX = 5
"""Rounds of our loop without a word of the core, which speaks every second. Rounds: if we were frozen, so was it."""
FLOWS_SILENCE_MAX = 10
"""Likewise of the process that replicates flows. It has no address to lose: better late than a healthy one ended."""

POOLS_SILENCE_MAX = 30
"""Likewise of the process that hands out addresses: a look at a million flows takes it ten seconds."""


class Silence:
    """For how many rounds of the supervisor's loop a child has said nothing. One that runs in circles keeps nobody
    waiting: a core's lease has lapsed and another starts as Backup, of the flows another finds what it missed.
    """

    def __init__(self, role: str, rounds_max: int) -> None:
        self._role = role
        self._rounds_max = rounds_max
        self._rounds = 0

    def heard(self) -> None:
        """It spoke, or another begins."""
        self._rounds = 0

    def pass_round(self, children: Children, lines: JournalSender) -> None:
        """One more without a word: end the child if that is too many."""
        self._rounds += 1
        if self._rounds > self._rounds_max and self._role in children:
            self._rounds = 0
            detail = f"silent for {self._rounds_max} s: ended"
            lines.write(Instant(time.monotonic_ns()), {"kind": "stuck", "subject": self._role, "detail": detail})
            children.signal(self._role, signal.SIGKILL)


class Backoff:
    """How long to wait before another follows: twice as long with each death within a minute, up to a limit."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._died: list[Instant] = []

    def later_s(self, died: Instant) -> float:
        """One has died."""
        self._died = [at for at in self._died if died - at < 60 * SECOND] + [died]
        wait_s: float = self._first_s * 2 ** (len(self._died) - 1)
        return min(wait_s, self._max_s)


class _Revived:
    """One that is begun anew when its time has come."""

    def __init__(self, children: Children, lines: JournalSender) -> None:
        self._children = children
        self._lines = lines
        self._started = 0
        self._due_s = 0.0

    @property
    def awaited(self) -> bool:
        """Another is to follow."""
        return self._due_s > 0

    @property
    def due(self) -> bool:
        return 0 < self._due_s <= time.monotonic()

    def _follow(self, noticed: Instant, role: str, why: str, later_s: float) -> None:
        self._due_s = time.monotonic() + later_s
        detail = f"{why}; another in {later_s:g} s"
        self._lines.write(noticed, {"kind": "process-ended", "subject": role, "detail": detail})


class FlowsChild(_Revived):
    """The line between the core and what replicates flows is kept here, whichever processes they are."""

    def __init__(
        self,
        children: Children,
        lines: JournalSender,
        journal_out: socket.socket,
        lans: Mapping[NetworkName, Lan],
        epoch: int,
    ) -> None:
        super().__init__(children, lines)
        self.core_end, self._end = messages.pair()
        self.silence = Silence("flows", FLOWS_SILENCE_MAX)
        self._journal_out = journal_out
        self._lans = lans
        self._epoch = epoch
        self._backoff = Backoff(FLOWS_LATER_S, FLOWS_LATER_MAX_S)

    def start(self, running: Running) -> None:
        """Also while the node is ending: a hand-over asks for what was not sent yet."""
        self._due_s = 0.0
        if not keeps_flows(running):
            return
        self._started += 1
        self.silence.heard()
        stream = self._epoch + self._started

        def body() -> None:
            app.run_flows(running.options, running.settings, self._lans, stream, self._end, self._journal_out)

        sockets = [lan.flows for lan in self._lans.values() if lan.flows is not None]
        try:
            self._children.spawn("flows", body, self._end, *sockets)
        except OSError as error:  # The node goes on without, and whoever took another file took it.
            self._due_s = time.monotonic() + FLOWS_LATER_MAX_S
            detail = f"no process for it: {error.strerror or error}; tried again in {FLOWS_LATER_MAX_S:g} s"
            self._lines.write(Instant(time.monotonic_ns()), {"kind": "error", "subject": "flows", "detail": detail})

    def ended(self, noticed: Instant, status: int) -> None:
        self._follow(noticed, "flows", f"status {status:#x}", self._backoff.later_s(noticed))


class PoolsChild(_Revived):
    def __init__(self, children: Children, lines: JournalSender, journal_out: socket.socket, epoch: int) -> None:
        super().__init__(children, lines)
        self.silence = Silence("pools", POOLS_SILENCE_MAX)
        self._journal_out = journal_out
        self._epoch = epoch
        self._backoff = Backoff(POOLS_LATER_S, POOLS_LATER_MAX_S)

    def start(self, running: Running) -> None:
        self._due_s = 0.0
        if running.config.pools is None:
            return
        self._started += 1
        self.silence.heard()
        epoch = self._epoch + self._started

        def body() -> None:
            app.run_pools(running, epoch, self._journal_out)

        try:
            self._children.spawn("pools", body)
        except OSError as error:
            noticed = Instant(time.monotonic_ns())
            why = f"no process for it: {error.strerror or error}"
            self._follow(noticed, "pools", why, self._backoff.later_s(noticed))

    def ended(self, noticed: Instant, status: int) -> None:
        self._follow(noticed, "pools", f"status {status:#x}", self._backoff.later_s(noticed))


def keeps_flows(running: Running) -> bool:
    return running.settings.flows.kept and bool(running.settings.paths)
