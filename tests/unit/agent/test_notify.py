"""What the service manager hears, on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.agent.notify import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_ready_roles_and_stopping_are_told(manager: socket.socket) -> None:
    """A change of role becomes the line that `systemctl status` shows; other lines of the journal say nothing."""
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    service.ready()
    service.take(b'{"t":1,"kind":"moved","group":"edge","new":"active","reason":"adopted"}')
    service.take(b'{"t":2,"kind":"moved","group":"lan","new":"backup","reason":"started"}')
    service.take(b'{"t":3,"kind":"advertised","group":"edge"}')
    service.take(b'{"t":4,"kind":"moved", broken')
    service.alive()
    service.stopping()
    assert heard(manager) == [
        "READY=1",
        "STATUS=edge: active (adopted)",
        "STATUS=edge: active (adopted); lan: backup (started)",
        "STOPPING=1\nSTATUS=handing over",
    ]


@pytest.mark.parametrize(
    ("environment", "fed"),
    [
        ({"WATCHDOG_USEC": "10000000"}, True),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({}, False),
    ],
)
def test_the_watchdog_is_fed_where_it_watches_us(
    manager: socket.socket, environment: dict[str, str], fed: bool
) -> None:
    """sd_watchdog_enabled(3): set, not zero, and meant for this process."""
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), **environment})
    service.alive()
    assert heard(manager) == (["WATCHDOG=1"] if fed else [])


def test_an_abstract_socket_is_found() -> None:
    """Its name begins with @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0understudy-test-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@understudy-test-{os.getpid()}"}).ready()
        assert end.recv(100) == b"READY=1"


@pytest.mark.parametrize("path", ["", "/nowhere/notify"])
def test_no_service_manager_is_no_trouble(path: str) -> None:
    """None at all, or one that has gone."""
    ServiceManager({"NOTIFY_SOCKET": path}).ready()
