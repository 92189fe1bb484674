"""Waiting until every server of the lab answers a neighbour over the switch, with no gateway in between."""

import select
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from understudy.errors import OperatorError
from understudy.lab.namespace import Namespace
from understudy.lab.topology import Host, Kind, Topology
from understudy.units import Address

NOT_ANSWERING = "E5122"
_REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
_PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address, and the host that asks it."""

    prober: str
    server: str
    address: Address
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.server} at {address}:{self.port} (asked by {self.prober})"


def targets(topology: Topology) -> Iterator[Target]:
    """Every address and port on which a server serves HTTP, with the best host to ask it from."""
    ranks = {Kind.CLIENT: 0, Kind.ROUTER: 1, Kind.SERVER: 2, Kind.GATEWAY: 3}
    for host in topology.hosts:
        for port in host.ports if host.http else ():
            neighbours = [h for h in topology.hosts if h is not host and _on(h, port.network)]
            # A host alone on its network can ask only itself.
            prober = min(neighbours, key=lambda neighbour: ranks[neighbour.kind], default=host)
            for address in port.addresses:
                families = {a.version for p in prober.ports if p.network == port.network for a in p.addresses}
                asking = prober if address.version in families else host
                yield from (Target(asking.name, host.name, address.ip, number) for number in host.http)


def wait_until_serving(topology: Topology, namespaces: Mapping[str, Namespace], timeout_s: float) -> None:
    """Ask all at once, again and again, until each has answered 200. Raises OperatorError E5122 naming who did not."""
    deadline = time.monotonic() + timeout_s
    left = list(targets(topology))
    while left:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            names = ", ".join(str(target) for target in left[:5]) + (" and others" if len(left) > 5 else "")
            raise OperatorError(
                NOT_ANSWERING, f"no answer within {timeout_s:g} s from {names}", "see server.log of the lab"
            )
        left = _ask(left, namespaces, min(remaining, 1.0))
        if left:
            time.sleep(_PAUSE_S)


def _on(host: Host, network: str) -> bool:
    return any(port.network == network for port in host.ports)


def _ask(asked: list[Target], namespaces: Mapping[str, Namespace], timeout_s: float) -> list[Target]:
    """One round; returns those that did not answer."""
    waiting: dict[int, tuple[Target, socket.socket]] = {}
    failed: list[Target] = []
    epoll = select.epoll()
    try:
        for prober in dict.fromkeys(target.prober for target in asked):
            mine = [target for target in asked if target.prober == prober]
            for target, connection in zip(mine, namespaces[prober].run(_connect, mine), strict=True):
                waiting[connection.fileno()] = (target, connection)
                epoll.register(connection, select.EPOLLOUT)
        deadline = time.monotonic() + timeout_s
        while waiting and (remaining := deadline - time.monotonic()) > 0:
            for fd, events in epoll.poll(remaining):
                target, connection = waiting[fd]
                verdict = _step(epoll, connection, events)
                if verdict is None:
                    continue
                if not verdict:
                    failed.append(target)
                del waiting[fd]
                connection.close()
        return failed + [target for target, _ in waiting.values()]
    finally:
        epoll.close()
        for _, connection in waiting.values():
            connection.close()


def _connect(asked: list[Target]) -> list[socket.socket]:
    connections = []
    for target in asked:
        family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connection.connect_ex((str(target.address), target.port))
        connections.append(connection)
    return connections


def _step(epoll: select.epoll, connection: socket.socket, events: int) -> bool | None:
    """Ask when connected, judge the answer when it came; None while neither."""
    try:
        if events & select.EPOLLOUT and not events & (select.EPOLLERR | select.EPOLLHUP):
            connection.send(_REQUEST)
            epoll.modify(connection, select.EPOLLIN)
            return None
        return connection.recv(256).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
