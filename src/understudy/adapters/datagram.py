"""A channel's UDP socket on one network: bound to our address and port there, and deaf to most of a flood.

A firewall cannot tell a forged datagram from a genuine one, but the socket's filter can tell what could be genuine: the
peer's address and port, our layout and the number of one of our keys. The rest has a small budget, enough to count it
(`adapters.sieve`).
"""

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from understudy.adapters.channel import FLOWS_PORT, MAGIC, POOLS_PORT, PORT
from understudy.adapters.sieve import JEQ, LDH, LDW, Kind, Sieve, Step, assemble, thinned
from understudy.units import Address

SHED_AT_ONCE = 64
QUEUES = {PORT: 1 << 18, FLOWS_PORT: 1 << 22, POOLS_PORT: 1 << 20}
"""Bytes of a socket's queue: some 200 heartbeats, and the flows of a tenth of a second."""
_KINDS = {
    PORT: (Kind.PEER_DATAGRAM, Kind.OTHER_DATAGRAM),
    FLOWS_PORT: (Kind.PEER_FLOWS, Kind.OTHER_FLOWS),
    POOLS_PORT: (Kind.PEER_POOLS, Kind.OTHER_POOLS),
}
"""What could be genuine, and the rest."""
_SO_RCVBUFFORCE = 33
_UDP_SEGMENT, _UDP_GRO = 103, 104
"""linux/udp.h: one send of many datagrams of one size, the last one shorter; and likewise one receive."""
_TOGETHER_MAX = 40
"""Datagrams in one send: 64 at most, and 64 KB."""
_ROOM = 1 << 16
_CANNOT = frozenset({errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EMSGSIZE, errno.EOPNOTSUPP})
_IP_HEADER = 0xFFF00000
"""SKF_NET_OFF."""
_UDP_HEADER = 8


class ChannelSocket(socket.socket):
    """Receives what `recv` of a plain socket would, but for what is shed. Raises OSError if it cannot be bound.

    The socket for flows sends and receives many datagrams at once: the way through a kernel costs each the same, and a
    train of them hardly more than one. It is read by `receive` only.
    """

    def __init__(self, source: Address, interface: str, peer: Address, *key_ids: bytes, port: int = PORT) -> None:
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6
        super().__init__(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            self._enlarge(QUEUES[port])
            self.setblocking(False)
            self._port, self._to = port, peer
            self._together = port == FLOWS_PORT
            if self._together:
                self._room = memoryview(bytearray(_ROOM))
                with contextlib.suppress(OSError):
                    self.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
            # Before it is bound: nothing comes in unsifted.
            self.know(key_ids)
            self.bind((str(source), port))
        except OSError:
            self.close()
            raise

    def know(self, key_ids: Sequence[bytes]) -> None:
        """From here on, what names one of these keys could be genuine."""
        self._peer, self._openings = str(self._to), frozenset(MAGIC + key_id for key_id in key_ids)
        self.sieve = Sieve(self, _KINDS[self._port], partial(_program, self._to, self._port, tuple(key_ids)))

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """The next datagram that is not shed. Raises BlockingIOError if there is none for now."""
        peers, others = _KINDS[self._port]
        for _ in range(SHED_AT_ONCE):
            datagram, source = self.recvfrom(bufsize, flags)
            genuine = datagram[:8] in self._openings and source[1] == self._port and source[0] == self._peer
            if self.sieve.admits(peers if genuine else others):
                return datagram
        raise BlockingIOError

    def receive(self) -> list[bytes]:
        """The datagrams of one train, those that are shed left out. Raises BlockingIOError if there is none for now."""
        size, control, _, source = self.recvmsg_into([self._room], socket.CMSG_SPACE(4))
        data = bytes(self._room[:size])
        each = max(size, 1)
        for level, kind, value in control:
            if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
                each = max(int.from_bytes(value, sys.byteorder), 1)
        known = source[1] == self._port and source[0] == self._peer
        (peers, others), openings, admits = _KINDS[self._port], self._openings, self.sieve.admits
        train = [data[at : at + each] for at in range(0, size, each)]
        return [one for one in train if admits(peers if known and one[:8] in openings else others)]

    def send_all(self, datagrams: Sequence[bytes], to: str) -> None:
        """In order, as few sends as can be. Raises OSError; what is behind it was not sent."""
        address = (to, self._port)
        at = 0
        while at < len(datagrams):
            train = _train(datagrams, at) if self._together else 1
            if train > 1:
                segment = (socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", len(datagrams[at])))
                try:
                    self.sendmsg(datagrams[at : at + train], [segment], 0, address)
                except OSError as error:
                    if error.errno not in _CANNOT:
                        raise
                    self._together = False  # this path cannot: one at a time from here on
                    continue
            else:
                self.sendto(datagrams[at], address)
            at += train

    def _enlarge(self, size: int) -> None:
        try:
            self.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:  # in a user namespace: what net.core.rmem_max allows
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _train(datagrams: Sequence[bytes], at: int) -> int:
    """How many from `at` on are of one size, or the last of them shorter."""
    size = len(datagrams[at])
    end = min(len(datagrams), at + _TOGETHER_MAX)
    for position in range(at + 1, end):
        if len(datagrams[position]) != size:
            return position - at + (len(datagrams[position]) < size)
    return end - at


def _program(peer: Address, port: int, key_ids: Sequence[bytes], shifts: Mapping[Kind, int]) -> bytes:
    """The filter of a UDP socket: offsets count from the UDP header, those of the IP header are marked."""
    peers, others = _KINDS[port]
    at = _IP_HEADER + (12 if peer.version == 4 else 8)
    wanted = [(at + i, peer.packed[i : i + 4]) for i in range(0, len(peer.packed), 4)]
    wanted.append((_UDP_HEADER, MAGIC))
    steps: list[Step] = [(LDH, 0), (JEQ, port, "", others)]
    for offset, word in wanted:
        steps += [(LDW, offset), (JEQ, int.from_bytes(word, "big"), "", others)]
    steps.append((LDW, _UDP_HEADER + 4))
    steps += [(JEQ, int.from_bytes(key_id, "big"), peers, "") for key_id in key_ids]
    steps += [(JEQ, 0, others, others)]
    return assemble([*steps, *thinned(shifts)])
