"""Orders that need a standby, put to a core that has just begun: they wait until it has heard its peer, or could have.

Every live change and every crash has one core follow another, and the new one knows nothing of the other node until
that speaks next: up to a whole interval. Whoever asks then would be told that nobody could take over, beside a standby
that is well. So the few requests that depend on it are kept, here and for all who ask, for as long as a peer may be
silent without being given up; `HEARD_MAX` at most.
"""

import time
from typing import TYPE_CHECKING, Any, Final

from understudy.agent.control import Handler, Reply
from understudy.units import SECOND, Duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.agent.driver import Driver

HEARD_MAX: Final[Duration] = 5 * SECOND
"""Longer than at any usual interval; less than clients wait."""
KEPT_MAX: Final = 32
"""Requests at the same time; the next ones are answered by what is known."""


def patient(driver: "Driver", handler: Handler) -> Handler:
    """The same, for a core that begins at this moment."""
    node = driver.node
    until = time.monotonic_ns() + min(HEARD_MAX, node.heartbeats.fresh_for)

    def knows() -> bool:
        return node.peer.ever or not node.settings.peers or time.monotonic_ns() >= until

    def handle(request: dict[str, Any], answer: "Callable[[Reply], None]") -> None:
        def goes_on() -> bool:
            if not knows():
                return False
            handler(request, answer)
            return True

        if knows() or not _needs_peer(request) or len(driver.kept) >= KEPT_MAX:
            handler(request, answer)
        else:
            driver.kept.append(goes_on)

    return handle


def _needs_peer(request: dict[str, Any]) -> bool:
    match request["command"]:
        case "switchover":
            return True
        case "maintenance":
            return bool(request.get("on"))
        case "status":
            return bool(request.get("heard"))
    return False
