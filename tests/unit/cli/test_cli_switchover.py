"""`understudy switchover` waits for what refuses it for a moment only, and fails at once where waiting is of no use."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from understudy.agent.client import SOCKET
from understudy.cli.app import app

LACKS = "gw2 does not hold the state of the flows yet, connections would be lost"


class Node:
    """A control socket that refuses as often as it is told to, then hands over. Before that `ends` cores end in the
    middle of it; `torn`: and before they answer.
    """

    def __init__(
        self,
        path: Path,
        refusals: Sequence[str],
        *,
        ends: int = 0,
        torn: bool = False,
        moves: bool = False,
        stays: bool = False,
        **peer: Any,
    ) -> None:
        self.orders = 0
        self._ends, self._torn, self._moves, self._epoch = ends, torn, moves, 1
        self._last_role = "active" if stays else "backup"
        self._refusals = list(refusals)
        self._peer = {"name": "gw2", "heard": True, "eligible": True, "role": "backup", **peer}
        self._role = "active"
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
                asked = json.loads(end.recv(4096))
                reply = self._answer(asked["command"])
                end.sendall(json.dumps(reply).encode() + b"\n" if reply else b"")

    def _answer(self, command: str) -> dict[str, Any]:
        if command == "status":
            group = {"name": "edge", "role": self._role, "phase": "", "peers": [self._peer]}
            return {"node": "gw1", "cluster": "shop", "epoch": self._epoch, "groups": [group]}
        self.orders += 1
        if self._ends:
            self._ends, self._epoch = self._ends - 1, self._epoch + 1
            self._role = "backup" if self._moves else "active"
            return {} if self._torn else {"ok": True}
        if self._refusals:
            return {"ok": False, "error": self._refusals.pop(0)}
        self._role = self._last_role
        return {"ok": True}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    made: list[Node] = []

    def make(refusals: Sequence[str], **more: Any) -> Node:
        made.append(Node(tmp_path / SOCKET, refusals, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def run(path: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["switchover", "--run-dir", str(path), *options])


@pytest.mark.parametrize("why", [LACKS, "a promotion or hand-over is under way", "gw2 is active, not a standby"])
def test_what_passes_by_itself_is_waited_for(why: str, nodes: Any, tmp_path: Path) -> None:
    node = nodes([why, why])
    result = run(tmp_path)
    assert (result.exit_code, node.orders) == (0, 3), result.output
    assert "edge is served by gw2" in result.output


def test_where_it_does_not_pass_in_time_the_wait_is_told(nodes: Any, tmp_path: Path) -> None:
    node = nodes([LACKS] * 100)
    result = run(tmp_path, "--timeout", "2")
    assert (result.exit_code, "E5310" in result.output, "for 2 s" in result.output) == (1, True, True), result.output
    assert 1 < node.orders <= 20


@pytest.mark.parametrize("peer", [{"heard": False}, {"eligible": False}])
def test_without_a_standby_it_is_refused_at_once(peer: dict[str, bool], nodes: Any, tmp_path: Path) -> None:
    node = nodes(["no standby is heard over the channel"] * 100, **peer)
    result = run(tmp_path)
    assert (result.exit_code, node.orders) == (1, 1), result.output
    assert "no standby is heard" in result.output


def test_the_outcome_is_looked_at_however_short_the_patience(nodes: Any, tmp_path: Path) -> None:
    nodes([])
    result = run(tmp_path, "--timeout", "0")
    assert (result.exit_code, "edge is served by gw2" in result.output) == (0, True), result.output


@pytest.mark.parametrize("torn", [False, True])
def test_a_core_that_ends_in_the_middle_of_it_is_followed_by_one_that_is_asked_again(
    torn: bool, nodes: Any, tmp_path: Path
) -> None:
    """A live change that nobody asked for may end it. It goes on as Active, and knows of no order."""
    node = nodes([LACKS], ends=2, torn=torn)
    result = run(tmp_path)
    assert (result.exit_code, node.orders) == (0, 4), result.output
    assert "edge is served by gw2" in result.output


def test_what_a_core_began_before_it_ended_counts(nodes: Any, tmp_path: Path) -> None:
    """Nobody is asked again."""
    node = nodes([], ends=1, torn=True, moves=True)
    result = run(tmp_path)
    assert (result.exit_code, node.orders) == (0, 1), result.output


def test_a_standby_that_does_not_take_it_is_not_asked_again(nodes: Any, tmp_path: Path) -> None:
    """The same core goes on: the outcome is told."""
    node = nodes([], stays=True)
    result = run(tmp_path)
    assert (result.exit_code, node.orders) == (2, 1), result.output
    assert "stayed where it was" in result.output
