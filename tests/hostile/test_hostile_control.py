"""The control socket's bounds: clients a second, pieces a request, and a name for every refusal."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.agent.control import BACKLOG, CLIENTS_A_SECOND, CLIENTS_MAX, PATIENCE, READS_MAX, Control
from understudy.agent.door import Door
from understudy.units import Instant


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    door = Door(tmp_path / "control.sock")
    door.open(BACKLOG)
    made = Control(door.listener, lambda request, answer: answer({"ok": True}))
    yield made
    made.close()
    door.close()


def turn(control: Control) -> None:
    while ready := select.select(control.readers(), control.writers(), [], 0)[0]:
        for which in ready:
            control.ready(which, Instant(0))


def client(control: Control, text: bytes = b"") -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.connect(control.listener.getsockname())
    end.sendall(text)
    return end


def test_a_second_has_room_for_so_many_clients_and_the_next_one_for_as_many_again(control: Control) -> None:
    """Later ones wait in the kernel and take nothing of the loop's time; they are served in the next second."""
    for _ in range(CLIENTS_A_SECOND):
        with client(control, b"{}\n"):
            turn(control)
    assert control.listener not in control.readers()
    with client(control, b'{"command": "status"}\n') as waiting:
        turn(control)
        control.expire(Instant(1))
        turn(control)
        assert waiting.recv(100) == b'{"ok":true}\n'


def test_a_request_that_comes_byte_by_byte_is_cut_off(control: Control) -> None:
    """Each piece wakes the process that advertises."""
    with client(control) as end:
        for _ in range(READS_MAX):
            end.sendall(b" ")
            turn(control)
    assert control.refused == {"control-oversized": 1}


def test_every_refusal_has_its_name(control: Control) -> None:
    """The words that `status` shows."""
    ends = [client(control, text) for text in (b"x\n", b"{}\n", b"x" * 5000)]
    turn(control)
    ends += [client(control) for _ in range(CLIENTS_MAX + 1)]
    turn(control)
    ends.pop().close()
    turn(control)
    control.expire(Instant(PATIENCE + 1))
    for end in ends:
        end.close()
    assert control.refused == {
        "control-json": 1,
        "control-request": 1,
        "control-oversized": 1,
        "control-displaced": 1,
        "control-torn": 1,
        "control-slow": CLIENTS_MAX - 1,
    }
