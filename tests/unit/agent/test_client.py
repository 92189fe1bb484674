"""A client while one core follows another: the socket stays, and a question that tears is asked again."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from understudy.agent import client
from understudy.agent.door import Door
from understudy.agent.patience import HEARD_MAX
from understudy.errors import OperatorError
from understudy.units import SECOND


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "control.sock")
    yield made
    made.close()


def served(door: Door, *answers: bytes) -> Callable[[], list[bytes]]:
    """One client after the other gets its answer and is hung up on; what they asked."""
    asked: list[bytes] = []

    def serve() -> None:
        door.listener.settimeout(5)
        for answer in answers:
            with door.listener.accept()[0] as connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> list[bytes]:
        thread.join()
        return asked

    return end


@pytest.mark.parametrize("torn", [b"", b'{"node": "gw'])
def test_a_question_is_asked_again_if_who_took_it_ends(door: Door, tmp_path: Path, torn: bytes) -> None:
    """The next one answers it. An order that means the same twice is one."""
    door.open(4)
    for command in ("status", "maintenance"):
        end = served(door, torn, torn, b'{"node": "gw1"}\n')
        assert client.ask(tmp_path / "control.sock", command) == {"node": "gw1"}
        assert [json.loads(each) for each in end()] == [{"command": command}] * 3


def test_an_order_is_given_once(door: Door, tmp_path: Path) -> None:
    """It may have been carried out before its answer tore."""
    door.open(4)
    end = served(door, b"")
    with pytest.raises(OperatorError, match="ended before it answered") as refused:
        client.ask(tmp_path / "control.sock", "switchover")
    assert refused.value.code == "E5303"
    assert len(end()) == 1


def test_torn_answers_are_not_asked_for_for_ever(door: Door, tmp_path: Path) -> None:
    door.open(4)
    closing = threading.Event()

    def serve() -> None:
        door.listener.settimeout(0.01)
        while not closing.is_set():
            try:
                door.listener.accept()[0].close()
            except TimeoutError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(OperatorError, match=r"ended before it answered|did not answer"):
            client.ask(tmp_path / "control.sock", "status", timeout_s=0.1)
    finally:
        closing.set()
        thread.join()


@pytest.mark.parametrize("command", ["switchover", "maintenance"])
def test_an_order_that_may_wait_for_the_peer_is_waited_for(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Longer than a question that needs nobody, and longer than a node keeps it."""
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
    door.open(4)
    path, asked = tmp_path / "control.sock", threading.Event()

    def serve() -> None:
        with door.listener.accept()[0] as connection:
            connection.recv(4096)
            asked.wait(0.3)
            connection.sendall(b'{"ok": true}\n')

    door.listener.settimeout(5)
    thread = threading.Thread(target=serve)
    thread.start()
    assert client.ask(path, command) == {"ok": True}
    thread.join()
    assert client.PATIENT_S * SECOND > HEARD_MAX
    with pytest.raises(OperatorError, match="did not answer within"):
        client.ask(path, "status")


def test_who_comes_between_two_cores_waits_and_is_not_refused(door: Door, tmp_path: Path) -> None:
    """Before the first one nobody is let in; afterwards whoever comes is kept for the one that follows."""
    path = tmp_path / "control.sock"
    with pytest.raises(OperatorError, match="is gone") as refused:
        client.ask(path, "status")
    assert refused.value.code == "E5301"
    door.open(4)
    with socket.socket(socket.AF_UNIX) as early:
        early.settimeout(5)
        early.connect(str(path))
        early.sendall(b'{"command": "status"}\n')
        end = served(door, b'{"node": "gw1"}\n')
        assert early.recv(4096) == b'{"node": "gw1"}\n'
        end()
    door.close()
    with pytest.raises(OperatorError, match="no agent listens"):
        client.ask(path, "status")
