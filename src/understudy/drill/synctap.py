"""The replication's stream as the wire shows it: datagrams captured on the switch, opened with the cluster's key.

The lab made the key, so the harness may read what only the nodes can otherwise. Nothing is asked of an agent.
"""

import ctypes
import hashlib
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from understudy.adapters.channel import FLOWS_PORT, PURPOSES
from understudy.core.replication.events import Kind
from understudy.drill import flowtable
from understudy.drill.sockets import stamp
from understudy.drill.staterecord import Carried
from understudy.errors import DecodeError
from understudy.units import Instant
from understudy.wire import flowsync

_SO_ATTACH_FILTER: Final = 26
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_ETH_P_ALL, _PACKET_OUTGOING = 3, 4
_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17
_HEADER = struct.Struct("!4s4sBBxxIQ8s8s")
"""As documented in adapters.channel; a test seals with that one and opens with this."""
_ALIKE: Final = 16
"""Of the header: what all datagrams of one sender to one receiver have in common."""
_CIPHERS_MAX = 64


def open_tap(sock: socket.socket, interface: str, *, leaving: bool) -> None:
    """Make an unbound packet socket hear the replication's datagrams at one port of the switch: those that its node
    sends, or (`leaving`) those that leave the switch for it.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _filter(leaving))
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    )
    if not leaving:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    stamp(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    sock.bind((interface, _ETH_P_ALL))


def _filter(leaving: bool) -> list[tuple[int, int, int, int]]:
    """Classic BPF: whole UDP datagrams to the replication's port, in one direction at this port of the switch."""
    load_word, load_half, load_byte, load_half_at, header_length = 0x20, 0x28, 0x30, 0x48, 0xB1
    equal, any_bit, give = 0x15, 0x45, 0x06
    packet_type = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
    accept, drop = 0x40000, 0
    return [
        (load_word, 0, 0, packet_type),
        (equal, 0, 15, _PACKET_OUTGOING) if leaving else (equal, 15, 0, _PACKET_OUTGOING),
        (load_half, 0, 0, 12),
        (equal, 0, 7, _IPV4),
        (load_byte, 0, 0, 23),
        (equal, 0, 11, _UDP),
        (load_half, 0, 0, 20),
        (any_bit, 9, 0, 0x1FFF),  # a later fragment has no ports
        (header_length, 0, 0, 14),
        (load_half_at, 0, 0, 16),
        (equal, 5, 6, FLOWS_PORT),
        (equal, 0, 5, _IPV6),
        (load_byte, 0, 0, 20),
        (equal, 0, 3, _UDP),
        (load_half, 0, 0, 56),
        (equal, 0, 1, FLOWS_PORT),
        (give, 0, 0, accept),
        (give, 0, 0, drop),
    ]


def payload_of(frame: bytes) -> bytes:
    """Of the UDP datagram in a frame that passed the filter; empty if it is cut short."""
    ethertype = int.from_bytes(frame[12:14])
    start = 14 + ((frame[14] & 0x0F) * 4 if ethertype == _IPV4 else 40)
    size = int.from_bytes(frame[start + 4 : start + 6])
    return frame[start + 8 : start + size] if len(frame) >= start + size >= start + 8 else b""


def datagrams_of(frame: bytes) -> list[bytes]:
    """All that travel in it: a train of segments passes the switch as one. Each begins like the first, up to the
    sender's counter, which 16 bytes of what is sealed never do by chance.
    """
    payload = payload_of(frame)
    begins = [0]
    while (at := payload.find(payload[:_ALIKE], begins[-1] + _HEADER.size)) > 0:
        begins.append(at)
    return [payload[begin:end] for begin, end in zip(begins, [*begins[1:], len(payload)], strict=True)]


class Opener:
    """Opens what any node of the cluster sealed. Keeps no window: what was captured was on the wire."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {hashlib.blake2b(key, digest_size=4, person=b"understudy-id").digest(): key for key in keys}
        self._ciphers: dict[tuple[bytes, int, bytes], ChaCha20Poly1305] = {}

    def open(self, datagram: bytes) -> tuple[int, bytes]:
        """The sender's number and the payload. Raises DecodeError."""
        if len(datagram) < _HEADER.size:
            raise DecodeError("tap-length")
        _, named, sender, _, epoch, counter, nonce, _ = _HEADER.unpack_from(datagram)
        cipher = self._cipher(named, sender, nonce)
        try:
            return sender, cipher.decrypt(
                struct.pack("!IQ", epoch, counter), datagram[_HEADER.size :], datagram[: _HEADER.size]
            )
        except InvalidTag:
            raise DecodeError("tap-forged") from None

    def _cipher(self, named: bytes, sender: int, nonce: bytes) -> ChaCha20Poly1305:
        known = self._ciphers.get((named, sender, nonce))
        if known is None:
            if named not in self._keys or len(self._ciphers) >= _CIPHERS_MAX:
                raise DecodeError("tap-key")
            material = hashlib.blake2b(
                bytes([sender]) + nonce, key=self._keys[named], digest_size=32, person=PURPOSES[FLOWS_PORT]
            )
            known = self._ciphers[named, sender, nonce] = ChaCha20Poly1305(material.digest())
        return known


def carried(instant: Instant, payload: bytes) -> Iterator[Carried]:
    """What one opened payload says of flows; nothing if it is no part of a stream. Raises DecodeError."""
    message = flowsync.decode(payload)
    if not isinstance(message, flowsync.Data):
        return
    place = message.stream, message.sequence
    for kind, content in message.records:
        if kind == flowsync.Word.SNAPSHOT:
            yield Carried(instant, place, flowtable.decode(flowsync.read_snapshot(content)[1]), gone=False)
        elif kind in (Kind.CHANGED, Kind.GONE):
            yield Carried(instant, place, flowtable.decode(content), gone=kind == Kind.GONE)
