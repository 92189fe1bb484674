"""The channel's UDP socket on one network: bound to our address and port there, and deaf to most of a flood.

A firewall cannot tell a forged datagram from a genuine one, but the socket's filter can tell what could be genuine: the
peer's address and port, our layout and our key's number. The rest has a small budget, enough to
count it (`adapters.sieve`).
"""

import socket
from collections.abc import Mapping
from functools import partial

from understudy.adapters.channel import MAGIC, PORT
from understudy.adapters.sieve import JEQ, LDH, LDW, Kind, Sieve, Step, assemble, thinned
from understudy.units import Address

SHED_AT_ONCE = 64
QUEUE = 1 << 18
"""Bytes of the socket's queue: some 200 heartbeats."""
_KINDS = (Kind.PEER_DATAGRAM, Kind.OTHER_DATAGRAM)
_IP_HEADER = 0xFFF00000
"""SKF_NET_OFF."""
_UDP_HEADER = 8


class ChannelSocket(socket.socket):
    """Receives what `recv` of a plain socket would, but for what is shed. Raises OSError if it cannot be bound."""

    def __init__(self, source: Address, interface: str, peer: Address, key_id: bytes) -> None:
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6
        super().__init__(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
            self.setblocking(False)
            self._peer, self._opening = str(peer), MAGIC + key_id
            # Before it is bound: nothing comes in unsifted.
            self.sieve = Sieve(self, _KINDS, partial(_program, peer, self._opening))
            self.bind((str(source), PORT))
        except OSError:
            self.close()
            raise

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """The next datagram that is not shed. Raises BlockingIOError if there is none for now."""
        for _ in range(SHED_AT_ONCE):
            datagram, source = self.recvfrom(bufsize, flags)
            genuine = datagram[:8] == self._opening and source[1] == PORT and source[0] == self._peer
            if self.sieve.admits(Kind.PEER_DATAGRAM if genuine else Kind.OTHER_DATAGRAM):
                return datagram
        raise BlockingIOError


def _program(peer: Address, opening: bytes, shifts: Mapping[Kind, int]) -> bytes:
    """The filter of a UDP socket: offsets count from the UDP header, those of the IP header are marked."""
    at = _IP_HEADER + (12 if peer.version == 4 else 8)
    wanted = [(at + i, peer.packed[i : i + 4]) for i in range(0, len(peer.packed), 4)]
    wanted += [(_UDP_HEADER + i, opening[i : i + 4]) for i in (0, 4)]
    steps: list[Step] = [(LDH, 0), (JEQ, PORT, "", Kind.OTHER_DATAGRAM)]
    for offset, word in wanted:
        steps += [(LDW, offset), (JEQ, int.from_bytes(word, "big"), "", Kind.OTHER_DATAGRAM)]
    return assemble([*steps, (JEQ, int.from_bytes(opening[4:], "big"), Kind.PEER_DATAGRAM, "drop"), *thinned(shifts)])
