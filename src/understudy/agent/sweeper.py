"""When a node ends copies that its file keeps no more (agent.unkept): the supervisor's part, which never waits.

Not before nothing can bring more of them: where the node stands by, the one that serves has the same file, as its
heartbeat says. And not while the file is on trial, which may still go back.
"""

import mmap
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from understudy.agent import client
from understudy.agent.children import Children
from understudy.agent.running import Running
from understudy.agent.unkept import let_go
from understudy.core.settings import FlowSettings
from understudy.errors import EnvironmentFailure, OperatorError

ROLE: Final = "sweep"
AGAIN_MIN_S, AGAIN_MAX_S = 1.0, 60.0
"""Between two looks at whether the other node has the file: longer each time."""
ON_THE_WAY_S = 1.0
"""Within which what the other node sent last is written here."""
PATIENCE_S = 120.0
"""Whoever takes longer hangs, and is ended."""


class Sweeper:
    def __init__(self, children: Children, running: Callable[[], Running]) -> None:
        self._children, self._running = children, running
        self._done = mmap.mmap(-1, 1)
        """Shared with the process that does it: by the file that runs nothing is left to do."""
        self._flows: FlowSettings | None = None
        self._begun = self._due = 0.0
        self._pause = AGAIN_MIN_S
        self._busy = False

    def tick(self) -> None:
        """Time has passed, and nothing is on trial or under way."""
        flows, now = self._running().settings.flows, time.monotonic()
        if flows is not self._flows:
            self._take(flows)
        if self._busy and now > self._begun + PATIENCE_S:
            self._children.signal(ROLE, signal.SIGKILL)
        if not self._busy and not self._done[0] and now >= self._due:
            self._begin(now)

    def ended(self) -> None:
        """The process."""
        self._busy = False

    def stop(self) -> None:
        """End it, if it is under way: the node takes a file that may keep what it is ending."""
        self._children.kill(ROLE)
        self._busy = False

    def _take(self, flows: FlowSettings) -> None:
        seen, self._flows = self._flows, flows
        if seen is None or (seen, seen.before) != (flows, flows.before):
            self._done[0] = flows.before is None or flows.before == flows or not flows.before.kept
            self._due, self._pause = 0.0, AGAIN_MIN_S

    def _begin(self, now: float) -> None:
        running, done = self._running(), self._done
        self._begun, self._busy = now, True
        self._due, self._pause = now + self._pause, min(AGAIN_MAX_S, 2 * self._pause)

        def body() -> None:
            done[0] = swept(running)

        try:
            self._children.spawn(ROLE, body)
        except OSError:
            self._busy = False


def swept(running: Running) -> bool:
    """End the copies, if it is time; whether it is done. What fails is tried again."""
    flows = running.settings.flows
    try:
        if flows.before is None or not _settled(_groups(running)):
            return flows.before is None
        time.sleep(ON_THE_WAY_S)
        roles = {each["name"]: each["role"] for each in _groups(running)}
        served = {group.number for group in running.settings.groups if roles.get(group.name) == "active"}
        let_go(flows.before, flows, served)
    except (EnvironmentFailure, OperatorError, OSError):
        return False
    return True


def _groups(running: Running) -> list[dict[str, Any]]:
    """Raises OperatorError."""
    found: list[dict[str, Any]] = client.ask(running.options.control_path, "status")["groups"]
    return found


def _settled(groups: list[dict[str, Any]]) -> bool:
    """Whether each is served here, or by a node that keeps the same."""
    return all(
        group["role"] == "active" or all(peer["heard"] and peer["same_config"] for peer in group["peers"])
        for group in groups
    )
