"""The peer's heartbeats: which of them count, what they say that is new, and when it has said nothing for too long.

A heartbeat counts when it is the peer's, and newer than what is known: by its core's epoch, then by its number. Copies
over other paths prove those paths and say nothing.

A node that overslept finds old news in its queue, and a peer that may have given it up: for a while it trusts neither
(`doubt`), until the peer has said something that is younger than the waking.
"""

from understudy.core.effects import Effect, Noted
from understudy.core.events import HeartbeatReceived
from understudy.core.peer import PeerView
from understudy.core.settings import NodeSettings
from understudy.core.timers import LONG_AGO, NEVER
from understudy.errors import DecodeError
from understudy.units import Instant
from understudy.wire.heartbeat import Body, Heartbeat, decode


class Heartbeats:
    """What is learned is kept in `peer`."""

    def __init__(self, settings: NodeSettings, peer: PeerView) -> None:
        self._peer = peer
        self._interval = settings.heartbeat
        self.fresh_for = settings.heartbeat * 11 // 4
        """So long a peer may be silent without being given up."""
        self._doubt_for = settings.lease_long
        self._config_digest = settings.config_digest
        self._seen: bytes | None = None
        """The latest one: the next, over another path, is probably equal to it."""
        self._woke_at: int = LONG_AGO

    @property
    def due(self) -> int:
        """When the peer will have been silent for too long; only while it is heard."""
        return self._peer.heard_at + self.fresh_for if self._peer.fresh else NEVER

    def hear(self, now: Instant, event: HeartbeatReceived, out: list[Effect]) -> Body | None:
        """One arrived. Returns what the peer says if it is new. Raises DecodeError if it is not the peer's."""
        peer, news = self._peer, None
        if event.node != peer.number:
            raise DecodeError("heartbeat-stranger")
        if event.payload != self._seen:
            heartbeat = decode(event.payload)
            if heartbeat.node != event.node:
                raise DecodeError("heartbeat-stranger")
            if heartbeat.epoch < peer.epoch:
                raise DecodeError("heartbeat-old-epoch")
            news = self._take(now, heartbeat, out)
            self._seen = event.payload
        peer.path_heard_at[event.network] = now
        return news

    def doubt(self, now: Instant) -> None:
        """This node overslept."""
        self._peer.doubted_until = now + self._doubt_for
        self._woke_at = now

    def lose(self, out: list[Effect]) -> None:
        """The peer has been silent for too long."""
        self._peer.fresh = False
        out.append(Noted("peer", self._peer.name, "no longer heard over the channel"))

    def _take(self, now: Instant, heartbeat: Heartbeat, out: list[Effect]) -> Body | None:
        peer, body = self._peer, heartbeat.body
        if heartbeat.epoch == peer.epoch and heartbeat.sequence <= peer.sequence:
            return None
        peer.epoch, peer.sequence = heartbeat.epoch, heartbeat.sequence
        peer.heard_at = now
        if peer.doubted_until and now - self._woke_at > 2 * self._interval:
            peer.doubted_until = 0  # said after we woke: no old news from the queue
        if body is peer.body and peer.fresh:
            return None
        if not peer.fresh:
            out.append(Noted("peer", peer.name, "heard over the channel"))
        known = peer.body.config_digest if peer.body is not None else self._config_digest
        if body.config_digest not in (self._config_digest, known):
            out.append(Noted("config-differs", peer.name, "the peer runs another configuration"))
        peer.body, peer.fresh, peer.ever = body, True, True
        return body
