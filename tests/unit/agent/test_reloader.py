"""A reload where there is no room for another process, and what stopped hands still do for a core that is gone."""

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from understudy.agent import hands_orders, messages
from understudy.agent.children import Children
from understudy.agent.journal import JournalSender
from understudy.agent.reload_phase import Phase
from understudy.agent.reloader import Reloader
from understudy.agent.running import Running
from understudy.units import NodeName

Orders = list[messages.Message]


@pytest.fixture
def journal() -> Iterator[tuple[socket.socket, socket.socket]]:
    read, write = messages.pair()
    with read, write:
        yield read, write


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Every socket and pidfd is one too many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def nothing() -> Running:
    """A node's file that nobody reads."""
    made = object.__new__(Running)
    for field in fields(Running):
        object.__setattr__(made, field.name, None)
    return made


def children(journal_out: socket.socket) -> Children:
    return Children(journal_out, JournalSender(journal_out, NodeName("gw1")))


def reloader(directory: Path, journal_out: socket.socket, orders: Orders) -> Reloader:
    lines = JournalSender(journal_out, NodeName("gw1"))

    def adopt(running: Running, hands_end: socket.socket) -> None:
        raise AssertionError("nothing was applied")

    return Reloader(directory / "reload.sock", children(journal_out), lines, nothing, orders.append, adopt)


def test_without_room_for_another_process_a_reload_is_refused(
    tmp_path: Path, journal: tuple[socket.socket, socket.socket]
) -> None:
    """And the node goes on: the next one may find room."""
    each = reloader(tmp_path, journal[1], [])
    with no_more_descriptors():
        each.read_again()
    assert not each.busy
    line = json.loads(journal[0].recv(1 << 16))
    assert (line["kind"], line["subject"]) == ("reload-refused", "E5234")
    assert "Too many open files" in line["detail"]
    each.close()


def test_without_room_for_new_hands_the_old_ones_go_on(
    tmp_path: Path, journal: tuple[socket.socket, socket.socket]
) -> None:
    """Neither the new file nor the old one can be applied: the old hands do it, and the loader is told."""
    orders: Orders = []
    each = reloader(tmp_path, journal[1], orders)
    ours, theirs = socket.socketpair()
    each._child, each._fresh = ours, (nothing(), [])
    with no_more_descriptors():
        each._apply(Phase.APPLYING, nothing())
    assert not each.busy
    assert orders == [{"op": "apply"}]
    assert "Too many open files" in json.loads(theirs.recv(1 << 16))["error"]
    theirs.close()
    each.close()


def test_a_child_that_cannot_be_watched_does_not_run(
    journal: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended and waited for, and whoever wanted it hears of it."""
    forked, fork = children(journal[1]), os.fork
    pids: list[int] = []

    def recorded() -> int:
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", recorded)
    with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
        forked.spawn("reload-1", signal.pause)
    assert "reload-1" not in forked
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], os.WNOHANG)


def serve(end: socket.socket, journal_out: socket.socket) -> Callable[[], None]:
    """Hands that answer, and say on the journal what they do."""

    def body() -> None:
        end.setblocking(True)
        while (message := messages.receive(end)) is not None:
            journal_out.send(message["op"].encode())
            messages.send(end, message)

    return body


def test_stopped_hands_do_first_what_the_dead_core_had_ordered(journal: tuple[socket.socket, socket.socket]) -> None:
    """A role that it gave up must be given up when the next core looks."""
    forked = children(journal[1])
    ours, theirs = messages.pair()
    forked.spawn("hands", serve(theirs, journal[1]), theirs)
    pid = forked._alive["hands"][0]
    forked.signal("hands", signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    ordered: list[dict[str, Any]] = [{"op": op, "group": "edge"} for op in ("quiet", "revoke", "role")]
    for message in ordered:
        messages.send(ours, message)
    hands_orders.SETTLE_S, patience = 10, hands_orders.SETTLE_S
    try:
        hands_orders.settle(forked, ours)
    finally:
        hands_orders.SETTLE_S = patience
    assert [journal[0].recv(64) for _ in range(4)] == [b"quiet", b"revoke", b"role", b"rest"]
    forked.kill("hands")
    for end in (ours, theirs):
        end.close()


def test_hands_that_are_gone_or_silent_hold_nobody_up(journal: tuple[socket.socket, socket.socket]) -> None:
    """Settling is bounded, and a closed end is none to wait for."""
    forked = children(journal[1])
    ours, theirs = messages.pair()
    hands_orders.settle(forked, ours)  # nobody reads
    theirs.close()
    hands_orders.settle(forked, ours)
    ours.close()
