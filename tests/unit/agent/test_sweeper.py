"""When a node ends copies that its file keeps no more: once no other node can bring them again, and once."""

import json
import select
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from understudy.agent import client, messages, sweeper
from understudy.agent.children import Children
from understudy.agent.journal import JournalSender
from understudy.agent.options import AgentOptions
from understudy.agent.running import Running
from understudy.agent.sweeper import ROLE, Sweeper, swept
from understudy.core.settings import FlowSettings, GroupSettings, Keeping, NodeSettings
from understudy.units import GroupName, NodeName

WAIT_S = 10.0
KEPT, LESS = FlowSettings(groups={1: Keeping.REPLICATE, 2: Keeping.COPY}), FlowSettings(groups={2: Keeping.COPY})
CHANGED = replace(LESS, before=KEPT)


def made(kind: type, **values: object) -> Any:
    """Of a frozen class, with nothing but these (Any: the kind is the caller's)."""
    blank = object.__new__(kind)
    for each in fields(kind):
        object.__setattr__(blank, each.name, values.get(each.name))
    return blank


def running(flows: FlowSettings, directory: Path = Path("/nowhere")) -> Running:
    group = made(GroupSettings, name=GroupName("edge"), number=1)
    found: Running = made(
        Running,
        options=made(AgentOptions, run_dir=directory),
        settings=made(NodeSettings, flows=flows, groups=(group,)),
    )
    return found


@dataclass
class World:
    children: Children
    runs: Running
    does: Callable[[Running], bool] = field(default=lambda running: True)

    def wait(self, each: Sweeper) -> None:
        """Until the process has ended."""
        (pidfd,) = self.children.descriptors()
        assert select.select([pidfd], [], [], WAIT_S)[0]
        assert self.children.reap(pidfd)[0] == ROLE
        each.ended()

    def begins(self, each: Sweeper) -> bool:
        """Whether a process is under way, if any is due."""
        each._due = 0.0
        each.tick()
        return ROLE in self.children


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    read, write = messages.pair()
    with read, write:
        each = World(Children(write, JournalSender(write, NodeName("gw1"))), running(CHANGED))
        monkeypatch.setattr(sweeper, "swept", lambda running: each.does(running))  # noqa: PLW0108 (as it is by then)
        yield each
        each.children.finish(0)


@pytest.mark.parametrize("flows", [KEPT, replace(KEPT, before=KEPT), replace(KEPT, before=FlowSettings())])
def test_a_file_that_keeps_all_that_the_one_before_kept_leaves_nothing_to_do(world: World, flows: FlowSettings) -> None:
    world.runs = running(flows)
    assert not world.begins(Sweeper(world.children, lambda: world.runs))


def test_it_is_tried_until_it_is_done_and_then_no_more(world: World) -> None:
    """Ever later, as the other node may get the file tomorrow. The same file in another life changes nothing of it."""
    each = Sweeper(world.children, lambda: world.runs)
    world.does = lambda running: False
    pauses = []
    for _ in range(9):
        assert world.begins(each)
        world.wait(each)
        pauses.append(round(each._due - each._begun))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    world.does = lambda running: True
    assert world.begins(each)
    world.wait(each)
    assert not world.begins(each)
    world.runs = running(replace(LESS, before=replace(KEPT)))
    assert not world.begins(each)
    world.runs = running(replace(FlowSettings(), before=LESS))
    assert world.begins(each)


def test_it_ends_once_the_node_takes_another_file_and_is_done_anew(world: World) -> None:
    """The file may keep what is being ended."""
    each = Sweeper(world.children, lambda: world.runs)
    world.does = lambda running: signal.pause() is None
    assert world.begins(each)
    each.stop()
    assert ROLE not in world.children
    assert world.begins(each)


GROUP = {"name": "edge", "role": "backup", "peers": [{"heard": True, "same_config": True}]}


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, frozenset()),
        ({"peers": [{"heard": True, "same_config": False}]}, None),
        ({"peers": [{"heard": False, "same_config": True}]}, None),
        ({"role": "active", "peers": [{"heard": False, "same_config": False}]}, {1}),
    ],
    ids=["both have it", "the other has not", "not heard", "it serves"],
)
def test_copies_go_once_whoever_serves_has_the_file(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], served: object
) -> None:
    """What it would send of them otherwise would be written here again."""
    status = {"groups": [{**GROUP, **change}]}
    gone: list[object] = []
    monkeypatch.setattr(client, "ask", lambda path, command: json.loads(json.dumps(status)))
    monkeypatch.setattr(sweeper, "let_go", lambda before, after, served: gone.append((before, after, served)))
    monkeypatch.setattr(sweeper, "ON_THE_WAY_S", 0.0)
    assert swept(running(CHANGED)) is (served is not None)
    assert gone == ([] if served is None else [(KEPT, CHANGED, served)])


def test_a_node_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    """Nobody listens, and nothing is done."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "control.sock"))
        assert not swept(running(CHANGED, tmp_path))
