"""The channel between nodes: UDP datagrams on every shared network, authenticated, encrypted and fresh.

What arrives here decides who holds the addresses and what stands in the peer's kernel: a forged or replayed datagram
must change nothing. Each start of a sender seals under a key of its own, derived from the cluster's key, its number and
its boot nonce, so that nonces never meet, not even when a store is lost and a clock is set back.

Heartbeats and flows have a channel each, on a port of its own and with ciphers of its own: what was sealed for one
opens on no other. A cluster may have several keys while one is replaced (config.key): the first seals, any opens.

    0   4   "US1" and the version of this layout
    4   4   key id: which cluster key was used (rotation)
    8   1   sender's node number
    9   1   network number: a copy carried over to another path does not count there
    10  2   reserved, zero
    12  4   epoch: grows with every start of the sender's core
    16  8   counter within the epoch and network
    24  8   the sender's boot nonce
    32  8   the boot nonce that the sender last heard from us
    40  ..  ChaCha20-Poly1305 of the payload; everything before is authenticated with it (RFC 8439)

Freshness: a datagram counts only if it repeats our own boot nonce, which nobody could know before we started; the first
one of a conversation carries no payload that is believed, only the nonce to answer with. Within a conversation a window
of 1024 counters per path refuses what was seen before. Epochs order the starts of a peer: what an earlier start sealed
counts no more once a later one was heard, even if it repeats our nonce. A recording cannot stand in for a later start:
as long as none repeated our nonce, the first that does is the peer. Nothing is learned before the tag is checked:
without the key a datagram changes nothing, and a recorded one nothing that the peer's next does not set right.
"""

import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from understudy.errors import DecodeError

PORT = 4112
"""UDP; not registered to anyone."""
FLOWS_PORT = 4113
POOLS_PORT = 4114
PURPOSES = {PORT: b"understudy-seal", FLOWS_PORT: b"understudy-flows", POOLS_PORT: b"understudy-pools"}
"""Goes into the derivation of each channel's ciphers (BLAKE2b's personalization, 16 bytes at most)."""
MAGIC = b"US1\x01"
DATAGRAM_MAX = 1400
WINDOW = 1024
_HEADER = struct.Struct("!4s4sBBxxIQ8s8s")
_NONCE = struct.Struct("!IQ")
_TAG = 16


@dataclass(slots=True)
class _Path:
    highest: int = -1
    seen: int = 0


@dataclass(slots=True)
class _Conversation:
    """What we know of a peer's present start."""

    epoch: int = -1
    nonce: bytes = bytes(8)
    verified: bool = False
    """It repeated our nonce: it is alive now."""
    cipher: tuple[bytes, bytes, ChaCha20Poly1305] | None = None
    """For the key and the boot nonce that were heard last, as making one costs more than opening a datagram."""
    paths: dict[int, _Path] = field(default_factory=dict)


def key_id(key: bytes) -> bytes:
    """Names a cluster key without giving it away: 4 bytes, in clear in every datagram."""
    return hashlib.blake2b(key, digest_size=4, person=b"understudy-id").digest()


class Channel:
    """Seals and opens datagrams; holds no socket. `peers` are the node numbers that may speak, `more_keys` open but do
    not seal, `port` tells channels apart.
    """

    def __init__(
        self,
        key: bytes,
        number: int,
        epoch: int,
        peers: frozenset[int],
        *,
        more_keys: Sequence[bytes] = (),
        port: int = PORT,
    ) -> None:
        assert all(len(each) == 32 for each in (key, *more_keys))
        self._number = number
        self._epoch = epoch
        self._port = port
        self._key_id = key_id(key)
        self._keys = {key_id(each): each for each in (*more_keys, key)}
        self._nonce = os.urandom(8)
        self._seal = self._cipher(key, number, self._nonce)
        self._counter = 0
        self._conversations: Mapping[int, _Conversation] = {peer: _Conversation() for peer in peers}

    def seal(self, payload: bytes, peer: int, network: int) -> bytes:
        """A datagram for `peer` on the path `network`."""
        self._counter += 1
        header = _HEADER.pack(
            MAGIC,
            self._key_id,
            self._number,
            network,
            self._epoch,
            self._counter,
            self._nonce,
            self._conversations[peer].nonce,
        )
        return header + self._seal.encrypt(_NONCE.pack(self._epoch, self._counter), payload, header)

    def open(self, datagram: bytes, network: int) -> tuple[int, bytes]:
        """The sender and the payload of a datagram that arrived on `network`. Raises DecodeError for anything to be
        dropped.
        """
        if not _HEADER.size + _TAG <= len(datagram) <= DATAGRAM_MAX:
            raise DecodeError("channel-length")
        magic, named, sender, path, epoch, counter, theirs, ours = _HEADER.unpack_from(datagram)
        if magic != MAGIC:
            raise DecodeError("channel-magic")
        key = self._keys.get(named)
        if key is None:
            raise DecodeError("channel-key")
        conversation = self._conversations.get(sender)
        if conversation is None:
            raise DecodeError("channel-stranger")
        if path != network:
            raise DecodeError("channel-path")
        seen = conversation.paths.get(path)
        if seen is not None and epoch == conversation.epoch and _replayed(seen, counter):
            raise DecodeError("channel-replay")
        known = conversation.cipher
        if known is not None and known[:2] == (named, theirs):
            cipher = known[2]
        else:
            cipher = self._cipher(key, sender, theirs)
        try:
            payload = cipher.decrypt(_NONCE.pack(epoch, counter), datagram[_HEADER.size :], datagram[: _HEADER.size])
        except InvalidTag:
            raise DecodeError("channel-forged") from None
        fresh = ours == self._nonce
        if epoch < conversation.epoch and (conversation.verified or not fresh):
            raise DecodeError("channel-old-epoch")
        conversation.cipher = (named, theirs, cipher)
        if epoch != conversation.epoch:  # a lower one that is alive, where the higher never proved to be
            if not fresh and conversation.verified and conversation.epoch >= 0:
                # The peer's core started anew and does not know our nonce yet: learn its nonce, believe nothing.
                conversation.nonce = theirs
                raise DecodeError("channel-greeting")
            conversation.epoch, conversation.nonce, conversation.verified = epoch, theirs, fresh
            conversation.paths.clear()
        if not fresh:
            if not conversation.verified:
                conversation.nonce = theirs
            raise DecodeError("channel-greeting")
        conversation.nonce, conversation.verified = theirs, True
        seen = conversation.paths.setdefault(path, _Path())
        _remember(seen, counter)
        return sender, payload

    def _cipher(self, key: bytes, number: int, nonce: bytes) -> ChaCha20Poly1305:
        purpose = PURPOSES[self._port]
        material = hashlib.blake2b(bytes([number]) + nonce, key=key, digest_size=32, person=purpose)
        return ChaCha20Poly1305(material.digest())


def _replayed(path: _Path, counter: int) -> bool:
    behind = path.highest - counter
    return behind >= WINDOW or (behind >= 0 and bool(path.seen >> behind & 1))


def _remember(path: _Path, counter: int) -> None:
    if counter > path.highest:
        path.seen = (path.seen << min(counter - path.highest, WINDOW) | 1) & ((1 << WINDOW) - 1)
        path.highest = counter
    else:
        path.seen |= 1 << path.highest - counter
