"""The lab's server speaks enough HTTP/1.1 to be a fair target, and its echo keeps every byte."""

import os
import socket
from collections.abc import Callable

import pytest

from understudy.lab import netlink, sandbox
from understudy.lab.namespace import Namespace
from understudy.lab.server import ECHO_PORT, HEADER_BYTES_MAX, serve

HTTP_PORT = 8080
Connect = Callable[[int], socket.socket]


def with_server(story: Callable[[Connect], None]) -> None:
    """Start a server in a namespace of its own and give the story a way to connect to it."""

    def main() -> None:
        namespace = Namespace.create("server")
        namespace.run(loopback_up)
        ready, write = os.pipe()
        namespace.spawn(serve, "web9", [HTTP_PORT], write)
        assert os.read(ready, 1) == b"+"

        def connect(port: int) -> socket.socket:
            connection = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            return connection

        story(connect)

    sandbox.run(main)


def loopback_up() -> None:
    links = netlink.RouteSocket()
    links.commit([netlink.set_up(1, up=True, subject="lo")])
    links.close()


def response(connection: socket.socket, *, at_least: int = 1) -> bytes:
    """Bytes until `at_least` came or the server closed."""
    data = b""
    while len(data) < at_least and (more := connection.recv(65536)):
        data += more
    return data


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: web9\r\n\r\n".encode()


def test_paths_answer_health_name_and_echo_on_one_connection() -> None:
    """Three requests, one connection: alive after each."""

    def story(connect: Connect) -> None:
        with connect(HTTP_PORT) as connection:
            for path, body in (
                ("/healthz", b"ok\n"),
                ("/", b"web9\n"),
                ("/echo?a=%20b", b"a=%20b"),
                ("/else", b"web9\n"),
            ):
                connection.sendall(get(path))
                head, _, answer = response(connection).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert f"Content-Length: {len(body)}".encode() in head
                assert answer == body

    with_server(story)


def test_requests_in_pieces_and_in_one_piece_are_all_answered() -> None:
    """A request split over segments is answered once whole; a pipeline is answered in order."""

    def story(connect: Connect) -> None:
        with connect(HTTP_PORT) as connection:
            for byte in get("/echo?slow"):
                connection.sendall(bytes([byte]))
            assert response(connection).endswith(b"slow")
            connection.sendall(b"".join(get(f"/echo?{number:03}") for number in range(100)))
            size = len(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n000")
            answers = response(connection, at_least=100 * size)
            assert [answers[size * n : size * (n + 1)][-3:] for n in range(100)] == [b"%03d" % n for n in range(100)]

    with_server(story)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEADER_BYTES_MAX, b"431"),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"200"),
    ],
    ids=["body", "nonsense", "header too long", "close"],
)
def test_what_cannot_go_on_is_answered_and_closed(request_bytes: bytes, status: bytes) -> None:
    """Methods with a body, noise, endless headers and a wish to close end the connection after one answer."""

    def story(connect: Connect) -> None:
        with connect(HTTP_PORT) as connection:
            connection.sendall(request_bytes)
            answer = response(connection, at_least=1 << 20)
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert answer.count(b"HTTP/1.1 ") == 1

    with_server(story)


def test_echo_keeps_every_byte_under_back_pressure() -> None:
    """What is sent before a single byte is read comes back whole, while another connection is served."""

    def story(connect: Connect) -> None:
        blob = os.urandom(1 << 16) * 1024
        with connect(ECHO_PORT) as connection, connect(HTTP_PORT) as other:
            connection.setblocking(False)
            sent = 0
            while sent < len(blob):
                try:
                    sent += connection.send(blob[sent:])
                except BlockingIOError:
                    break
            assert sent < len(blob), "the kernel's buffers took it all: nothing was pressed back"
            other.sendall(get("/healthz"))
            assert response(other).endswith(b"ok\n")
            connection.settimeout(5)
            assert response(connection, at_least=sent) == blob[:sent]

    with_server(story)


def test_a_reset_connection_ends_alone() -> None:
    """A client that vanishes with a reset takes no other connection along."""

    def story(connect: Connect) -> None:
        with connect(HTTP_PORT) as stays:
            for _ in range(10):
                with connect(HTTP_PORT) as rude:
                    rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    rude.sendall(get("/"))
            stays.sendall(get("/healthz"))
            assert response(stays).endswith(b"ok\n")

    with_server(story)
