"""What answers in the lab: a small real HTTP/1.1 server and a TCP echo, in one process and one epoll loop a host.

Lean on purpose: a thousand connections that exchange a request every 100 ms must not become the bottleneck of what is
measured through them. One exchange costs about 10 us here; asyncio's streams cost 32 us.

HTTP: `GET /healthz` answers `ok`, `GET /echo?TEXT` answers TEXT as it came, every other path names the server.
Connections are kept alive, requests may be pipelined, headers are limited. Echo: every byte comes back, with back
pressure.
"""

import os
import resource
import select
import socket
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

ECHO_PORT: Final = 7007
HEADER_BYTES_MAX: Final = 8192
_PENDING_BYTES_MAX: Final = 1 << 18
_BACKLOG: Final = 4096
_END: Final = b"\r\n\r\n"


class _Connection:
    __slots__ = ("answer", "closing", "pending", "received", "socket")

    def __init__(self, peer: socket.socket, answer: "Answer") -> None:
        self.socket = peer
        self.answer = answer
        self.received = b""
        self.pending = b""
        """Answered but not taken by the kernel yet: until it is, nothing more is read."""
        self.closing = False


Answer = Callable[[_Connection, bytes], bytes]
"""What a server sends for the bytes that came."""


def serve(name: str, http_ports: Sequence[int], ready: int, echo_port: int = ECHO_PORT) -> NoReturn:
    """Serve for ever in the caller's network namespace; one byte goes to descriptor `ready` once all ports listen.

    Raises OSError if a port is in use.
    """
    _allow_many_files()
    epoll = select.epoll()
    listeners: dict[int, tuple[socket.socket, Answer]] = {}
    answer = _http_answer(name)
    for port, reply in [*((port, answer) for port in http_ports), (echo_port, _echo)]:
        listener = _listen(port)
        listeners[listener.fileno()] = (listener, reply)
        epoll.register(listener, select.EPOLLIN)
    os.write(ready, b"+")
    os.close(ready)
    _loop(epoll, listeners)


def _loop(epoll: select.epoll, listeners: dict[int, tuple[socket.socket, Answer]]) -> NoReturn:
    connections: dict[int, _Connection] = {}
    while True:
        for fd, events in epoll.poll():
            connection = connections.get(fd)
            if connection is None:
                _accept(epoll, connections, *listeners[fd])
            elif not (_flush(epoll, connection) if events & select.EPOLLOUT else _exchange(epoll, connection)):
                del connections[fd]
                connection.socket.close()


def _accept(epoll: select.epoll, connections: dict[int, _Connection], listener: socket.socket, answer: Answer) -> None:
    for _ in range(_BACKLOG):
        try:
            peer, _ = listener.accept()
        except OSError:
            return  # nobody left, or out of descriptors: the rest wait in the backlog
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[peer.fileno()] = _Connection(peer, answer)
        epoll.register(peer, select.EPOLLIN)


def _exchange(epoll: select.epoll, connection: _Connection) -> bool:
    """Read once and answer; False when the connection is over."""
    try:
        data = connection.socket.recv(65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if not data:
        return False
    output = connection.answer(connection, data)
    if not output:
        return not connection.closing
    try:
        sent = connection.socket.send(output)
    except BlockingIOError:
        sent = 0
    except OSError:
        return False
    if sent < len(output):
        connection.pending = output[sent:]
        epoll.modify(connection.socket, select.EPOLLOUT)
        return True
    return not connection.closing


def _flush(epoll: select.epoll, connection: _Connection) -> bool:
    try:
        sent = connection.socket.send(connection.pending)
    except BlockingIOError:
        return True
    except OSError:
        return False
    connection.pending = connection.pending[sent:]
    if not connection.pending:
        epoll.modify(connection.socket, select.EPOLLIN)
        return not connection.closing
    return True


def _echo(_: _Connection, data: bytes) -> bytes:
    return data


def _http_answer(name: str) -> Answer:
    greeting = _response(b"200 OK", f"{name}\n".encode())
    healthy = _response(b"200 OK", b"ok\n")

    def answer(connection: _Connection, data: bytes) -> bytes:
        received = connection.received + data
        output = b""
        while True:
            head, end, rest = received.partition(_END)
            if not end or len(head) > HEADER_BYTES_MAX or len(output) > _PENDING_BYTES_MAX:
                break
            received = rest
            if head.startswith(b"GET /healthz "):
                output += healthy
            elif head.startswith(b"GET /echo?"):
                output += _response(b"200 OK", head[10 : head.find(b" ", 10)])
            elif head.startswith(b"GET "):
                output += greeting
            else:
                # A body may follow, which nobody reads here: the connection cannot go on.
                connection.closing = True
                return output + _response(b"405 Method Not Allowed", b"", b"Allow: GET\r\nConnection: close\r\n")
            if b"\nconnection: close" in head.lower():
                connection.closing = True
                return output
        if len(head) > HEADER_BYTES_MAX:
            connection.closing = True
            output += _response(b"431 Request Header Fields Too Large", b"", b"Connection: close\r\n")
        elif len(output) > _PENDING_BYTES_MAX:
            connection.closing = True  # pipelines without reading
        connection.received = received
        return output

    return answer


def _response(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, headers, len(body), body)


def _listen(port: int) -> socket.socket:
    """One listener for both families."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(_BACKLOG)
    return listener


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
