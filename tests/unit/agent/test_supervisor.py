"""What the supervisor was told stays told: whatever is under way, and to whichever core follows."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from understudy.agent import messages
from understudy.agent import supervisor as supervisor_module
from understudy.agent.children import Children
from understudy.agent.journal import JournalSender
from understudy.agent.supervisor import Supervisor
from understudy.units import NodeName

WAIT_S = 10.0


@pytest.fixture
def children() -> Iterator[Children]:
    read, write = messages.pair()
    with read, write:
        made = Children(write, JournalSender(write, NodeName("gw1")))
        yield made
        made.finish(0)


def test_a_hang_up_during_a_reload_is_heard_after_it() -> None:
    """The node's own file may have changed since that one was read."""
    heard: list[str] = []

    @dataclass
    class Busy:
        busy: bool = True

        def read_again(self) -> None:
            heard.append("again")

        def tick(self) -> None:
            pass

    supervisor, busy = object.__new__(Supervisor), Busy()
    supervisor._reloader, supervisor._stopping_since = busy, 0  # type: ignore[assignment]
    supervisor._read_again(signal.SIGHUP, None)
    supervisor._attend_reload()
    assert heard == []
    busy.busy = False
    for _ in range(2):
        supervisor._attend_reload()
    assert heard == ["again"]


def test_a_core_just_forked_hears_a_signal_to_end_once_it_can(children: Children) -> None:
    """One that came before it has anything to hand over must not end it."""
    ours, theirs = socket.socketpair()

    def core() -> None:
        theirs.recv(1)
        signal.signal(signal.SIGTERM, lambda number, frame: theirs.send(b"heard") and None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    with ours, theirs:
        ours.settimeout(WAIT_S)
        children.spawn("core", core, theirs)
        children.signal("core", signal.SIGTERM)
        theirs.close()
        ours.send(b"g")
        assert ours.recv(16) == b"heard"


@dataclass
class Watched:
    """Children that are counted, and do not live."""

    done: list[tuple[str, object]] = field(default_factory=list)

    def spawn(self, role: str, body: Callable[[], None], *keep: socket.socket) -> int:
        self.done.append((role, "spawned"))
        return 1

    def signal(self, role: str, number: int) -> None:
        self.done.append((role, number))


@pytest.mark.parametrize("told", [False, True])
def test_a_core_that_follows_hears_what_was_said_to_the_one_before(tmp_path: Path, *, told: bool) -> None:
    """And has as long for it. Otherwise it would serve until it is killed, and hand nothing over."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        supervisor, watched = object.__new__(Supervisor), Watched()
        supervisor.__dict__.update(
            _generation=0,
            _running=SimpleNamespace(options=SimpleNamespace(core_pid_path=tmp_path / "core.pid")),
            _lans={},
            _hands_end=ours,
            _flows=SimpleNamespace(core_end=theirs),
            _door=SimpleNamespace(listener=ours),
            _children=watched,
            _silence=SimpleNamespace(heard=lambda: None),
            _stopping_since=int(told),
        )
        supervisor._start_core()
        for end in (supervisor._checks_in, supervisor._checks_out):
            end.close()
        assert watched.done == [("core", "spawned"), *([("core", signal.SIGTERM)] if told else [])]
        assert (supervisor._stopping_since > 1) is told


def test_a_process_that_still_answers_its_client_may_do_so_on_a_busy_machine(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for the restart would take it for refused, though the node begins anew."""
    ours, theirs = socket.socketpair()

    def answers() -> None:
        time.sleep(1)  # for want of a CPU
        theirs.send(b"taken")

    with ours, theirs:
        monkeypatch.setattr(supervisor_module, "ask", lambda *question: "")
        supervisor = object.__new__(Supervisor)
        closing = SimpleNamespace(close=lambda: None)
        supervisor.__dict__.update(
            _door=closing,
            _reloader=closing,
            _children=children,
            _hands_end=ours,
            _write_journal=lambda: None,
            _running=SimpleNamespace(options=SimpleNamespace(core_pid_path=tmp_path / "core.pid")),
        )
        children.spawn("hands", signal.pause)
        children.spawn("reload-1", answers, theirs)
        theirs.close()
        supervisor._end()
        assert ours.recv(16) == b"taken"
