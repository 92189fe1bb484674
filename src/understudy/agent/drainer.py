"""When a node looks at what drains: the supervisor's part, which never waits.

A look is a process (agent.drain_look) that says in shared memory what has ended. Then the node takes the same file
without it, as any other file. No look while a file is on trial: that may still go back. And none goes on once the node
takes a file: it would end flows by one that no longer counts.
"""

import mmap
import signal
import struct
import time
from collections.abc import Callable
from typing import Final

from understudy.agent.children import Children
from understudy.agent.drain_look import look, tell
from understudy.agent.draining import FORMERS_MAX, Draining, clock
from understudy.agent.journal import JournalSender
from understudy.agent.running import Running
from understudy.units import Instant

ROLE: Final = "drain"
LOOK_EVERY_MIN_S, LOOK_EVERY_MAX_S = 1.0, 60.0
SHARE: Final = 20
"""A look that took so many milliseconds of a CPU is followed by a pause of so many times that."""
_COST: Final = struct.Struct("d")
LOOK_PATIENCE_S = 120.0
"""A look that lasts longer hangs, and is ended."""


class Drainer:
    def __init__(self, children: Children, lines: JournalSender, running: Callable[[], Running]) -> None:
        self._children, self._lines, self._running = children, lines, running
        self._told = mmap.mmap(-1, 1 + FORMERS_MAX + _COST.size)
        """Whether the look is done; then by former file, whether that is over; then the seconds of a CPU it took: a
        busy machine makes it last, and has it wait for its turn, without its costing more.
        """
        self._begun = self._due = 0.0
        self._looking = False
        self._over: tuple[bool, ...] = ()
        self._seen: Draining = ()

    def tick(self) -> tuple[bool, ...]:
        """Time has passed, and nothing is on trial or under way. By former file, which are over and shall be left out;
        nothing if none is.
        """
        draining = self._running().options.draining
        over, self._over = self._over, ()
        if any(over) and draining is self._seen:
            return over
        if draining is not self._seen:
            self._seen, self._due = draining, 0.0
        now = time.monotonic()
        if self._looking and now > self._begun + LOOK_PATIENCE_S:
            self._children.signal(ROLE, signal.SIGKILL)
        late = any(each.until is not None and each.until <= clock() for each in draining)
        soon = self._begun + LOOK_EVERY_MIN_S
        if not draining or self._looking or now < (min(self._due, soon) if late else self._due):
            return ()
        self._begin(now)
        return ()

    def _begin(self, now: float) -> None:
        options, told, lines = self._running().options, self._told, self._lines

        def body() -> None:
            seen = look(options)
            tell(options, seen)
            for former, ended in zip(options.draining, seen.ended, strict=True):
                if ended:
                    detail = f"{ended} flows ended at their bound: {'; '.join(former.lines[:3])}"
                    lines.write(Instant(time.monotonic_ns()), {"kind": "drained", "subject": "flows", "detail": detail})
            told[1 : 1 + len(seen.left)] = bytes(seen.over())
            _COST.pack_into(told, 1 + FORMERS_MAX, time.process_time())
            told[0] = True

        told[0] = False
        self._begun, self._looking = now, True
        self._due = now + LOOK_EVERY_MAX_S  # Should it fail: it says why, and is tried again.
        try:
            self._children.spawn(ROLE, body)
        except OSError:
            self._looking = False

    def ended(self) -> None:
        """The process that looked."""
        if self._looking and self._told[0]:
            (cost_s,) = _COST.unpack_from(self._told, 1 + FORMERS_MAX)
            pause = min(LOOK_EVERY_MAX_S, max(LOOK_EVERY_MIN_S, SHARE * cost_s))
            self._due = time.monotonic() + pause
            self._over = tuple(map(bool, self._told[1 : 1 + len(self._seen)]))
        self._looking = False

    def stop(self) -> None:
        """End a look that is under way, with what it would say; the next one is due in its time."""
        self._children.kill(ROLE)
        self._looking, self._over = False, ()
