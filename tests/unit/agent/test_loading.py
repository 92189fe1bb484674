"""What a process that loads a file waits for before that is taken: a hand-over under way, a heartbeat of the peer."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from understudy.agent import loading
from understudy.agent.client import SOCKET


class Core:
    """A control socket: each question finds the next of `phases`, and the last one ever after."""

    def __init__(self, path: Path, phases: Sequence[str]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._phases = list(phases)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            with end:
                self.asked.append(json.loads(end.recv(4096)))
                phase = self._phases.pop(0) if len(self._phases) > 1 else self._phases[0]
                group = {"name": "edge", "role": "active", "phase": phase, "peers": []}
                end.sendall(json.dumps({"node": "gw1", "groups": [group]}).encode() + b"\n")


@pytest.fixture
def cores(tmp_path: Path) -> Iterator[Any]:
    made: list[Core] = []

    def make(*phases: str) -> Core:
        made.append(Core(tmp_path / SOCKET, phases))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_file_is_taken_after_a_hand_over_that_is_under_way(cores: Any, tmp_path: Path) -> None:
    """The core that ends with the change is half of it: the operator's order would be lost with it."""
    core = cores("offering", "offering", "")
    assert loading._at_rest(tmp_path / SOCKET)["groups"][0]["phase"] == ""
    assert len(core.asked) == 3


def test_a_hand_over_that_does_not_end_is_not_waited_for(
    cores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "HAND_OVER_PATIENCE_S", 0.05)
    cores("requesting")
    assert loading._at_rest(tmp_path / SOCKET)["groups"][0]["phase"] == "requesting"


def test_whether_anybody_could_take_over_is_asked_of_a_core_that_could_know(cores: Any, tmp_path: Path) -> None:
    core = cores("")
    loading._of_peer(tmp_path / SOCKET)
    assert core.asked == [{"command": "status", "heard": True}]
