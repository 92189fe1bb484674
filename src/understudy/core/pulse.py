"""What this node says over the channel, and when: everything it is, at regular intervals, at once when it is another
than before, and beside its own advertisements.

A node that follows (it serves nothing and hears the peer) says it in the peer's time: with the peer's heartbeat, a
little before its own is due, or a little later where the peer's does not come. A node at rest costs its wake-ups, and
so it has one for both, and the peer its answer while it is still awake.
"""

from understudy.core.effects import Effect, SendHeartbeat, SendVrrp
from understudy.core.lease import long_after
from understudy.core.settings import NodeSettings
from understudy.core.timers import LONG_AGO
from understudy.units import MILLISECOND, Duration, Instant
from understudy.wire.heartbeat import Body, encode, encode_body

HURRY: Duration = 10 * MILLISECOND
"""Between heartbeats while a hand-over is under way."""
EARLY = 8
"""Whoever follows speaks with the peer's heartbeat within so small a part of an interval before its own is due."""
LATE = 16
"""And waits for the peer's so small a part of one longer: one heartbeat that is lost is one still, not two."""


class Pulse:
    """`hurries`: a hand-over is under way. `epoch` orders heartbeats across restarts of the core."""

    def __init__(self, settings: NodeSettings, epoch: int) -> None:
        self.sequence = 0
        """Of the latest heartbeat; they only grow."""
        self.sent_at: int = LONG_AGO
        self._number = settings.number
        self._epoch = epoch
        self._interval = settings.heartbeat
        self._patient = settings.heartbeat + settings.heartbeat // LATE
        self._early = settings.heartbeat - settings.heartbeat // EARLY
        self._hurried = min(HURRY, settings.heartbeat)
        self._overslept_after = long_after(settings.heartbeat) // 2
        self._body = b""

    def start(self, now: Instant) -> None:
        """The first heartbeat is due at once."""
        self.sent_at = now - self._interval

    def due(self, hurries: bool, *, follows: bool = False) -> int:
        return self.sent_at + (self._hurried if hurries else self._patient if follows else self._interval)

    def soon(self, now: Instant) -> bool:
        """Whoever follows may speak now, as the peer has just spoken."""
        return now - self.sent_at >= self._early

    def overslept(self, now: Instant) -> bool:
        """Nothing was said for so long that the peer may have given us up."""
        return now - self.sent_at > self._overslept_after

    def speak(
        self, now: Instant, body: Body | None, out: list[Effect], *, hurries: bool, answers: bool = False
    ) -> None:
        """Send a heartbeat if there is a reason to. `body`: where what is said may have changed. `answers`: the peer
        has spoken, and ours is due `soon`.
        """
        news = False
        if body is not None:
            encoded = encode_body(body)
            news = encoded != self._body
            self._body = encoded
        since = now - self.sent_at
        interval = self._hurried if hurries else self._interval
        # Beside our own advertisements, unless the last one was a moment ago: one that is sent apart makes a crash look
        # younger over the channel than on the LAN, and the standby wait for it.
        if (
            news
            or answers
            or since >= interval
            or (10 * since >= interval and any(type(effect) is SendVrrp for effect in out))
        ):
            self.sequence += 1
            self.sent_at = now
            out.append(SendHeartbeat(encode(self._number, self._epoch, self.sequence, self._body)))
