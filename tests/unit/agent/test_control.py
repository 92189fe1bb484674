"""The control socket under clients that mean no good: it never waits, and honest ones are served beside them."""

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.agent.control import ANSWER_PATIENCE, BACKLOG, CLIENTS_MAX, PATIENCE, REQUEST_MAX, Control, Reply
from understudy.agent.door import Door
from understudy.cli.flows import TIMEOUT_S
from understudy.core.replication.agenda import COMMAND_DEADLINE
from understudy.errors import OperatorError
from understudy.units import SECOND, Instant

BIG = "x" * (4 << 20)


class World:
    """A Control with a handler that knows three commands, and a loop that runs while there is anything to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[dict[str, Any]] = []
        self.later: list[Callable[[Reply], None]] = []
        self.door = Door(path)
        self.door.open(BACKLOG)
        self.control = Control(self.door.listener, self._handle)
        self.clients: list[socket.socket] = []

    def _handle(self, request: dict[str, Any], answer: Callable[[Reply], None]) -> None:
        self.asked.append(request)
        if request["command"] == "later":
            self.later.append(answer)
        else:
            answer({"text": BIG} if request["command"] == "big" else {"ok": True})

    def client(self, text: bytes = b"") -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(2)
        end.connect(str(self.path))
        self.clients.append(end)
        end.sendall(text)
        return end

    def turn(self, now: int = 0) -> None:
        """Handle what is ready, until nothing is."""
        while True:
            readable, writable, _ = select.select(self.control.readers(), self.control.writers(), [], 0)
            if not readable and not writable:
                return
            for which in (*readable, *writable):
                self.control.ready(which, Instant(now))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "control.sock")
    yield made
    made.control.close()
    made.door.close()
    for client in made.clients:
        client.close()


def reply(client: socket.socket) -> Any:
    data = b""
    while piece := client.recv(1 << 16):
        data += piece
    return json.loads(data)


def is_closed(client: socket.socket) -> bool:
    client.settimeout(0)
    with contextlib.suppress(ConnectionResetError):
        try:
            return client.recv(1) == b""
        except BlockingIOError:
            return False
    return True


def test_one_line_asks_and_one_line_answers(world: World) -> None:
    """And the connection is closed after it."""
    client = world.client(b'{"command": "status"}\n')
    world.turn()
    assert reply(client) == {"ok": True}


def test_the_socket_is_the_owners_alone(world: World) -> None:
    """Whoever may open it may move addresses."""
    assert world.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00\xff\xfe",
        b"{",
        b"[]",
        b"7",
        b'"status"',
        b'{"command": 7}',
        b'{"comand": "status"}',
        b"[" * (REQUEST_MAX - 8),
        b'{"command": ' + b"9" * 4000 + b"}",
    ],
)
def test_garbage_is_answered_with_an_error_and_reaches_no_handler(world: World, line: bytes) -> None:
    """Also JSON so deep that a parser gives up on it."""
    client = world.client(line + b"\n")
    world.turn()
    assert "error" in reply(client)
    assert world.asked == []


def test_a_request_without_end_is_cut_off_at_its_bound(world: World) -> None:
    """No newline within the bound: closed, nothing kept."""
    client = world.client(b"x" * REQUEST_MAX)
    world.turn()
    assert is_closed(client)


def test_a_client_that_drips_bytes_is_let_go_in_time_and_delays_nobody(world: World) -> None:
    """The slow one is closed after the patience, counted from its connection; another is answered meanwhile."""
    slow = world.client(b'{"comm')
    world.turn()
    slow.sendall(b"a")
    quick = world.client(b'{"command": "status"}\n')
    world.turn()
    assert reply(quick) == {"ok": True}
    world.control.expire(Instant(PATIENCE))
    assert not is_closed(slow)
    world.control.expire(Instant(PATIENCE + 1))
    assert is_closed(slow)


def test_a_client_that_waits_for_its_answer_is_kept_as_long_as_a_comparison_takes(world: World) -> None:
    """Core, control socket and command are patient in this order, or the operator would never read why."""
    waiting = world.client(b'{"command": "later"}\n')
    world.turn()
    world.control.expire(Instant(PATIENCE + 1))
    assert not is_closed(waiting)
    world.control.expire(Instant(ANSWER_PATIENCE))
    assert COMMAND_DEADLINE < TIMEOUT_S * SECOND < ANSWER_PATIENCE
    assert not is_closed(waiting)
    world.control.expire(Instant(ANSWER_PATIENCE + 1))
    assert is_closed(waiting)


def test_a_client_that_never_reads_its_answer_costs_no_waiting(world: World) -> None:
    """Its answer stays behind; other clients are answered; in the end it is let go."""
    deaf = world.client(b'{"command": "big"}\n')
    world.control.ready(world.control.listener, Instant(0))
    begun = time.process_time()
    world.turn()
    assert len(world.control.writers()) == 1
    quick = world.client(b'{"command": "status"}\n')
    world.turn()
    assert reply(quick) == {"ok": True}
    assert time.process_time() - begun < 5  # it does not spin on the deaf one either: turn() returned
    world.control.expire(Instant(PATIENCE + 1))
    assert world.control.writers() == []
    deaf.close()


def test_an_answer_larger_than_the_sockets_buffer_arrives_whole(world: World) -> None:
    """Sent on as the client takes it."""
    client = world.client(b'{"command": "big"}\n')
    client.settimeout(0)
    data = b""
    for _ in range(100_000):
        world.turn()
        try:
            piece = client.recv(1 << 16)
        except BlockingIOError:
            continue
        if not piece:
            break
        data += piece
    assert json.loads(data) == {"text": BIG}


def test_a_hundred_connections_do_not_keep_the_next_one_out(world: World) -> None:
    """At most the bound is held; the oldest idle ones go; one that waits for its answer stays."""
    waiting = world.client(b'{"command": "later"}\n')
    world.turn()
    for _ in range(100):
        world.client()
        world.turn()
    client = world.client(b'{"command": "status"}\n')
    world.turn()
    assert reply(client) == {"ok": True}
    assert len(world.control.readers()) <= CLIENTS_MAX + 1
    world.later[0]({"ok": "at last"})
    assert reply(waiting) == {"ok": "at last"}


def test_an_answer_for_a_client_that_has_gone_is_dropped(world: World) -> None:
    """It closed, and its descriptor's number belongs to somebody else by now."""
    gone = world.client(b'{"command": "later"}\n')
    world.turn()
    gone.close()
    other = world.client(b'{"command": "later"}\n')
    world.turn()
    world.later[0]({"for": "the one that went"})
    world.later[1]({"for": "the other"})
    assert reply(other) == {"for": "the other"}
    world.later[1]({"for": "the other, twice"})


def test_a_client_that_shuts_its_end_after_asking_still_gets_its_answer(world: World) -> None:
    """As `echo ... | nc -U` does."""
    client = world.client(b'{"command": "later"}\n')
    client.shutdown(socket.SHUT_WR)
    world.turn()
    world.turn()
    world.later[0]({"ok": True})
    assert reply(client) == {"ok": True}


def test_a_place_where_no_socket_can_be_is_said_by_name(tmp_path: Path) -> None:
    """The operator's mistake: code, path, hint."""
    with pytest.raises(OperatorError, match="cannot listen at") as refused:
        Door(tmp_path / "missing" / "control.sock")
    assert refused.value.code == "E5206"
    assert "--run-dir" in refused.value.hint


def test_an_answer_that_comes_late_may_be_taken_as_slowly_as_any(world: World) -> None:
    """It was the other side's turn: the time for taking it begins with the answer, and ends."""
    waiting = world.client(b'{"command": "later"}\n')
    world.turn()
    late = PATIENCE + SECOND
    world.control.expire(Instant(late))
    world.later[0]({"text": BIG})
    world.control.expire(Instant(late + PATIENCE))
    assert not hung_up(waiting)
    world.control.expire(Instant(late + PATIENCE + 1))
    assert hung_up(waiting)


def hung_up(client: socket.socket) -> bool:
    """Closed by the other side, whatever of its answer is still to be read."""
    poll = select.poll()
    poll.register(client, select.POLLHUP)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
