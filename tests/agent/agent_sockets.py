"""Ordinary programs' ends in a lab: who listens, who connects, and bytes both ways between them."""

import contextlib
import socket
from collections.abc import Iterator

from agent_worlds import World

OUTSIDE, INSIDE = "client-outside", "client-inside"
SOCKET_S = 5.0
"""How long a connection, an accepted one or a word may take: a lost packet is sent again after one second."""
BACKLOG = 1024
"""A check that connects twenty times a second to somebody who never accepts fills a short one in a while."""


def own(world: World, host: str) -> str:
    """The host's first address."""
    (port, *_) = world.lab.topology.host(host).ports
    return str(port.addresses[0].ip)


@contextlib.contextmanager
def listening(world: World, host: str, port: int) -> Iterator[socket.socket]:
    with world.lab.namespaces[host].socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.settimeout(SOCKET_S)
        end.bind(("0.0.0.0", port))
        end.listen(BACKLOG)
        yield end


@contextlib.contextmanager
def connected(world: World, host: str, address: str, port: int) -> Iterator[socket.socket]:
    with world.lab.namespaces[host].socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(SOCKET_S)
        end.connect((address, port))
        yield end


def talk(one: socket.socket, another: socket.socket) -> None:
    """Bytes both ways."""
    assert talks((one, another))


def talks(ends: tuple[socket.socket, ...], patience_s: float = SOCKET_S) -> bool:
    """Whether bytes come both ways."""
    one, another = ends
    try:
        for here, there in ((one, another), (another, one)):
            there.settimeout(patience_s)
            here.sendall(b"word")
            if there.recv(64) != b"word":
                return False
    except OSError:
        return False
    return True
