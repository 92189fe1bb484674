"""When a node looks at what drains, what comes of a look, and that none goes on once the node takes a file."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from understudy.agent import drainer, loading, messages, sweeper
from understudy.agent.children import Children
from understudy.agent.drain_look import Look
from understudy.agent.drainer import ROLE, Drainer
from understudy.agent.draining import Former
from understudy.agent.journal import JournalSender
from understudy.agent.loading import Why, packed
from understudy.agent.options import AgentOptions
from understudy.agent.reload_phase import Phase
from understudy.agent.reloader import Reloader
from understudy.agent.running import Running
from understudy.agent.trial import Take
from understudy.core.settings import FlowSettings, NodeSettings
from understudy.units import NodeName

WAIT_S = 10.0
FORMERS = tuple(Former((f"line {number}",), "", (), (), "", "classic", None) for number in range(3))


def made(kind: type, **values: object) -> object:
    """Of a frozen class, with nothing but these."""
    blank = object.__new__(kind)
    for each in fields(kind):
        object.__setattr__(blank, each.name, values.get(each.name))
    return blank


def running(directory: Path) -> Running:
    options = made(AgentOptions, node=NodeName("gw1"), run_dir=directory, draining=FORMERS)
    found = made(Running, options=options, settings=made(NodeSettings, flows=FlowSettings()))
    assert isinstance(found, Running)
    return found


@dataclass
class World:
    """A node's supervisor, as far as it looks at what drains: real processes, which find what the test says."""

    directory: Path
    lines: JournalSender
    children: Children
    runs: Running
    found: Callable[[AgentOptions], Look] = field(default=lambda options: Look((), ()))

    def wait(self, drainer: Drainer) -> None:
        """Until the process that looks has ended."""
        (pidfd,) = self.children.descriptors()
        assert select.select([pidfd], [], [], WAIT_S)[0]
        assert self.children.reap(pidfd)[0] == ROLE
        drainer.ended()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    read, write = messages.pair()
    with read, write:
        lines = JournalSender(write, NodeName("gw1"))
        each = World(tmp_path, lines, Children(write, lines), running(tmp_path))
        monkeypatch.setattr(drainer, "look", lambda options: each.found(options))  # noqa: PLW0108 (as it is by then)
        yield each
        each.children.finish(0)


def hangs(options: AgentOptions) -> Look:
    signal.pause()
    raise AssertionError("it was ended before")


def test_a_look_says_of_each_former_file_whether_it_is_over(world: World) -> None:
    """Once; nobody looks a second time for it."""
    each = Drainer(world.children, world.lines, lambda: world.runs)
    world.found = lambda options: Look((4, 0, None), (0, 0, 0))
    assert each.tick() == ()
    assert ROLE in world.children
    world.wait(each)
    assert each.tick() == (False, True, False)
    assert each.tick() == ()


def test_a_look_that_finds_nothing_over_changes_nothing(world: World) -> None:
    each = Drainer(world.children, world.lines, lambda: world.runs)
    world.found = lambda options: Look((4, 1, None), (0, 0, 0))
    each.tick()
    world.wait(each)
    assert each.tick() == ()


def test_what_was_seen_of_other_former_files_does_not_count(world: World) -> None:
    """They changed between the look and its word: another look is due."""
    each = Drainer(world.children, world.lines, lambda: world.runs)
    world.found = lambda options: Look((0, 0, 0), (0, 0, 0))
    each.tick()
    world.wait(each)
    world.runs = replace(world.runs, options=replace(world.runs.options, draining=FORMERS[1:]))
    assert each.tick() == ()
    assert ROLE in world.children


@pytest.mark.parametrize(("work_s", "pauses"), [(0.0, (1, 10)), (0.3, (6, 60))])
def test_the_next_look_waits_for_what_one_costs_not_for_how_long_it_lasts(
    world: World, monkeypatch: pytest.MonkeyPatch, work_s: float, pauses: tuple[float, float]
) -> None:
    """A busy machine makes any look last: a hundred seconds here. What it costs is paid for."""

    def works(options: AgentOptions) -> Look:
        while time.process_time() < work_s:
            pass
        return Look((4, 1, None), (0, 0, 0))

    hour = iter((1000.0, 1100.0))
    clock = SimpleNamespace(monotonic=lambda: next(hour), process_time=time.process_time)
    monkeypatch.setattr(drainer, "time", clock)
    each = Drainer(world.children, world.lines, lambda: world.runs)
    world.found = works
    each.tick()
    world.wait(each)
    least, most = pauses
    assert least <= each._due - 1100 <= most


def test_a_look_that_fails_says_nothing(world: World) -> None:
    """Neither does what the look before it said count again."""
    each = Drainer(world.children, world.lines, lambda: world.runs)
    world.found = lambda options: Look((0, 0, 0), (0, 0, 0))
    each.tick()
    world.wait(each)
    assert each.tick() == (True, True, True)
    each._due = 0.0
    world.found = lambda options: os._exit(1)
    each.tick()
    world.wait(each)
    assert each.tick() == ()


def reloader(world: World) -> Reloader:
    def adopt(fresh: Running, hands_end: socket.socket) -> None:
        raise AssertionError("nothing was applied")

    return Reloader(
        world.directory / "reload.sock", world.children, world.lines, lambda: world.runs, lambda order: None, adopt
    )


def test_a_look_ends_once_the_node_takes_a_file(world: World) -> None:
    """It would go on ending flows by the old one, perhaps with their line back."""
    each = reloader(world)
    world.found = hangs
    each.tick()
    world.children.spawn(sweeper.ROLE, signal.pause)
    assert ROLE in world.children
    each._child, theirs = socket.socketpair()
    each._phase, each._deadline = Phase.PREPARING, float("inf")
    with theirs:
        theirs.sendall(packed(Take(running(world.directory), [])))
        each._hear_child()
        assert ROLE not in world.children
        assert sweeper.ROLE not in world.children
        each.abort("the test is over")
    each.close()


def test_a_look_ends_with_the_node(world: World) -> None:
    """And holds its end up for no moment."""
    each = reloader(world)
    world.found = hangs
    each.tick()
    world.children.spawn(sweeper.ROLE, signal.pause)
    assert ROLE in world.children
    each.close()
    assert ROLE not in world.children
    assert sweeper.ROLE not in world.children


@pytest.mark.parametrize(("why", "open_door"), [(Why.DRAINED, False), (Why.ASKED, True)])
def test_clients_wait_at_the_door_while_a_node_drops_what_has_drained(
    world: World, monkeypatch: pytest.MonkeyPatch, why: Why, open_door: bool
) -> None:
    """Whom another one's reload is in the way is told so; nobody asked for this one. Afterwards they are let in."""
    each = reloader(world)
    monkeypatch.setattr(loading, "serve", lambda *arguments: signal.pause())
    each._begin(None, why, (True, False, False))
    assert (each._door.listener in each.sockets()) is open_door
    each.abort("the test is over")
    assert each._door.listener in each.sockets()
    each.close()
