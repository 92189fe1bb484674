"""The shared networks to one peer: how quick each is, what it lost, and which is used.

A datagram goes out on the best path; what is sent again goes out on another one. So the loss of a path costs a round
trip, never the stream. Round-trip times are smoothed as in RFC 6298 and told by the beacons' echoes as well, so that
an idle path is known too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.units import MILLISECOND, SECOND, Duration, Instant, NetworkName

TIMEOUT_MIN: Duration = 20 * MILLISECOND
"""Before something is sent again, and before the first sample: an acknowledgement waits for the peer's delay (pair.
ACK_DELAY) and for what its kernel takes in one turn, and here until news has gathered. With less than all that together
a busy stream sends a sixth of itself twice.
"""
TIMEOUT_MAX: Duration = 200 * MILLISECOND
_STRIKES = 3
"""Losses in a row that make another path the better one."""
_STALE: Duration = SECOND
"""A path on which nothing was heard for so long is the last choice."""


_NEVER = Instant(0)


@dataclass(slots=True)
class Path:
    network: NetworkName
    smoothed: Duration = 0
    variation: Duration = 0
    sent: int = 0
    lost: int = 0
    """Sent, not acknowledged in time, and sent again."""
    strikes: int = 0
    heard: Instant | None = None
    echo: int = 0
    """The last beacon's count, and when it left."""
    echo_at: Instant = _NEVER

    @property
    def timeout(self) -> Duration:
        return min(max(self.smoothed + 4 * self.variation, TIMEOUT_MIN), TIMEOUT_MAX)

    def sample(self, duration: Duration) -> None:
        """A round trip took this long."""
        self.strikes = 0
        if not self.smoothed:
            self.smoothed, self.variation = max(duration, 1), duration // 2
            return
        self.variation += (abs(duration - self.smoothed) - self.variation) // 4
        self.smoothed = max(self.smoothed + (duration - self.smoothed) // 8, 1)


class Paths:
    """`networks` in the order of the file, which decides between equals."""

    def __init__(self, networks: Sequence[NetworkName]) -> None:
        self.all = [Path(network) for network in networks]
        self._by_name = {path.network: path for path in self.all}
        self.best = self.all[0] if self.all else None

    def heard(self, now: Instant, network: NetworkName) -> Path | None:
        """Something arrived there; None for a network that is none of ours."""
        path = self._by_name.get(network)
        if path is not None:
            path.heard = now
        return path

    def choose(self, now: Instant) -> None:
        """Find the best path; called at every beacon and after losses, not for every datagram."""
        self.best = min(self.all, key=lambda path: self._cost(now, path), default=None)

    def lost(self, now: Instant, path: Path) -> Path:
        """What was sent there last was not acknowledged: where to send it again."""
        path.lost += 1
        path.strikes += 1
        others = [other for other in self.all if other is not path]
        if path.strikes >= _STRIKES and path is self.best:
            self.choose(now)
        return min(others, key=lambda other: self._cost(now, other), default=path)

    def beacon(self, now: Instant, path: Path, count: int) -> None:
        path.echo, path.echo_at = count, now

    def echoed(self, now: Instant, path: Path, count: int) -> None:
        if count and count == path.echo:
            path.sample(now - path.echo_at)
            path.echo = 0

    def status(self, now: Instant) -> dict[str, Any]:
        return {
            path.network: {
                "rtt_ms": round(path.smoothed / MILLISECOND, 3),
                "sent": path.sent,
                "lost": path.lost,
                "heard_ms": None if path.heard is None else round((now - path.heard) / MILLISECOND),
                "used": path is self.best,
            }
            for path in self.all
        }

    def _cost(self, now: Instant, path: Path) -> tuple[bool, bool, Duration]:
        stale = path.heard is None or now - path.heard > _STALE
        # Rounded up to 2 ms: equals stay where they are.
        return path.strikes >= _STRIKES, stale, (path.smoothed or SECOND) // (2 * MILLISECOND)
