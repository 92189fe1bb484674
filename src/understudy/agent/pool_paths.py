"""The ways of the process that hands out addresses to the other node: a socket for each network that both are on.

One that cannot be bound, as its address or its port is not there yet, is tried again once a second: the others carry
the table meanwhile. What is not believed is counted, what floods is shed (adapters.sieve), and both are told.
"""

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from understudy.adapters.channel import POOLS_PORT, Channel, key_id
from understudy.adapters.datagram import ChannelSocket
from understudy.errors import DecodeError
from understudy.units import Address, NetworkName

DATAGRAMS_MAX = 256
"""Of one socket in one turn."""
_DATAGRAM_MAX = 2048


@dataclass(frozen=True, slots=True)
class Path:
    """One way to one peer."""

    number: int
    """Of the network."""
    network: NetworkName
    peer: int
    peer_address: Address
    source: Address
    interface: str


class PoolPaths:
    def __init__(self, paths: Sequence[Path], keys: Sequence[bytes], channel: Channel) -> None:
        self._paths, self._channel = tuple(paths), channel
        self._key_ids = tuple(map(key_id, keys))
        self._open: dict[Path, ChannelSocket] = {}
        self.dropped: Counter[str] = Counter()
        """Datagrams that nobody looked at or believed, by reason."""

    def complete(self) -> dict[NetworkName, str]:
        """Open what is not: why it cannot be, by network, and nothing where it could."""
        failures: dict[NetworkName, str] = {}
        for path in self._paths:
            if path in self._open:
                continue
            try:
                self._open[path] = ChannelSocket(
                    path.source, path.interface, path.peer_address, *self._key_ids, port=POOLS_PORT
                )
                failures[path.network] = ""
            except OSError as error:
                where = f"UDP {POOLS_PORT} on {path.source}"
                failures[path.network] = f"{path.network}: {where} cannot be bound: {error.strerror or error}"
        return failures

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return tuple(self._open.values())

    def send(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            for path, end in self._open.items():
                # A path that does not carry it now is no loss of the table: gaps are found and mended.
                with contextlib.suppress(OSError):
                    end.send_all([self._channel.seal(payload, path.peer, path.number)], str(path.peer_address))

    def read(self, ready: Sequence[object]) -> Iterator[bytes]:
        """Payloads of those sockets that are ready, a bounded number of each."""
        for path, end in self._open.items():
            for _ in range(DATAGRAMS_MAX if end in ready else 0):
                try:
                    datagram = end.recv(_DATAGRAM_MAX)
                except OSError:
                    break
                try:
                    yield self._channel.open(datagram, path.number)[1]
                except DecodeError as error:
                    self.dropped[error.reason] += 1

    def news(self) -> list[tuple[str, str]]:
        """Floods that began or ended, as subject and detail; filters open again here. To be called once a second."""
        found = []
        for path, end in self._open.items():
            for kind, begins in end.sieve.news():
                found.append((f"{kind} on {path.network}", "only a share is looked at" if begins else "over"))
            self.dropped.update(end.sieve.shed)
            end.sieve.shed.clear()
        return found

    def close(self) -> None:
        for end in self._open.values():
            end.close()


def paths_to(
    own: Mapping[NetworkName, Sequence[Address]],
    networks: Sequence[NetworkName],
    interfaces: Mapping[NetworkName, str],
    peers: Mapping[int, Mapping[NetworkName, Address]],
) -> list[Path]:
    """One for each network that is shared with a peer."""
    paths = []
    for number, addresses in peers.items():
        for network, address in addresses.items():
            source = next((each for each in own.get(network, ()) if each.version == address.version), None)
            if source is not None and network in interfaces:
                paths.append(Path(networks.index(network), network, number, address, source, interfaces[network]))
    return paths
