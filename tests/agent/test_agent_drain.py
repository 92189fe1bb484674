"""Translations removed from a running pair: their flows go on, or for so long, or not at all; and their addresses."""

import contextlib
import functools
import socket
import time
from collections.abc import Iterator
from typing import Any

from agent_commands import apply, command
from agent_sockets import INSIDE, OUTSIDE, SOCKET_S, connected, listening, own, talks
from agent_worlds import COMPLETE_S, NODES, ROOT, Story, Test, World, in_lab, other

from understudy.adapters.conntrack import FlowTable
from understudy.agent import client
from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.units import SECOND
from understudy.wire.conntrack import decode

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
STATIC_LINE = "    - ip nat inside source static 10.9.0.11 203.0.113.21\n"
WITHOUT_STATIC = TEXT.replace(STATIC_LINE, "")
WITHOUT_NAT = TEXT[: TEXT.index("nat:")]
STATIC = "203.0.113.21"
LOOK_S = 75
"""Until nodes have looked at what drains: looks make way for all else, and may be a minute apart."""
QUIET_S = 0.5
"""Who has been cut off hears nothing for so long."""
BOUNDS_S = (10, 40)
"""For a restart and a hand-over to come before the bound; on a busy machine they may not before the first."""
CASE = """\
cases:
- id: shop
  packets:
  - dir: out>in
    proto: tcp
    in: {src: 198.51.100.9, sport: 4000, dst: 203.0.113.21, dport: 80}
    expect: {verdict: translated, src: 198.51.100.9, sport: 4000, dst: 10.9.0.11, dport: 80}
"""


def restore(world: World) -> None:
    """The first file, and nothing that drains."""
    if {world.status(node)["digest"] for node in NODES} != {load_plan(TEXT.encode()).digest.hex()}:
        apply(world, TEXT, "--now")
    drained(world)


def draining(world: World, node: str) -> list[dict[str, Any]]:
    with contextlib.suppress(OperatorError):
        reply = client.order(world.lab.run_dir(node), "inspect", "new.yaml", TEXT.encode(), flows=False)
        found: list[dict[str, Any]] = reply["draining"]["draining"] if "draining" in reply else [reply]
        return found
    return [{"left": None}]


def drained(world: World, patience_s: float = LOOK_S) -> None:
    """Waits until nothing drains on either node."""
    try:
        world.until(lambda: all(not draining(world, node) for node in NODES), patience_s)
    except AssertionError:
        raise AssertionError({node: draining(world, node) for node in NODES}) from None


def lefts(world: World, node: str) -> list[int | None]:
    return [each.get("left") for each in draining(world, node)]


@contextlib.contextmanager
def connection(world: World, host: str, address: str, server: str, port: int) -> Iterator[tuple[socket.socket, ...]]:
    """From `host` to `address`, where `server` takes it; it is in both kernels."""
    with (
        listening(world, server, port) as listener,
        connected(world, host, address, port) as asking,
        listener.accept()[0] as asked,
    ):
        assert talks((asking, asked))
        world.until(lambda: all(entries(world, node, port) for node in NODES), COMPLETE_S)
        yield asking, asked


def reaches(world: World, address: str, port: int, patience_s: float = SOCKET_S) -> bool:
    with world.lab.namespaces[OUTSIDE].socket(socket.AF_INET, socket.SOCK_STREAM) as asking:
        asking.settimeout(patience_s)
        try:
            asking.connect((address, port))
        except OSError:
            return False
        return True


def entries(world: World, node: str, port: int) -> list[bytes]:
    """Of the group's flows to a port."""

    def listed() -> list[bytes]:
        table = FlowTable()
        try:
            return [raw for part in table.list({1}) for raw in part if decode(raw).original.there == port]
        finally:
            table.close()

    return world.lab.namespaces[node].run(listed)


def delete(world: World, node: str, port: int) -> None:
    raws = entries(world, node, port)

    def ended() -> None:
        table = FlowTable()
        try:
            assert all(table.delete(raw) for raw in raws)
        finally:
            table.close()

    assert raws
    world.lab.namespaces[node].run(ended)


def says(world: World, node: str, kind: str, words: str, since: int) -> bool:
    """Whether the journal says so: it does a moment after what it tells of."""
    return any(words in event["detail"] for event in world.events(node, kind, since))


def story(of: Story) -> Test:
    """`in_lab`, between the first file and the first file: whatever became of the story before."""

    @functools.wraps(of)
    def between(world: World) -> None:
        restore(world)
        of(world)
        restore(world)

    return in_lab(between)


@story
def test_without_a_word_the_flows_of_a_removed_static_go_on_and_no_new_one_begins(world: World) -> None:
    """Its address is answered for until the last of them has ended, through a fail-over; then by nobody."""
    world.settle()
    with connection(world, OUTSIDE, STATIC, "web1", 8301) as ends:
        told = apply(world, WITHOUT_STATIC, "--dry-run", code=2)
        for node in told["nodes"]:
            (row,) = [each for each in node["flows"]["by"] if each["flows"]]
            assert (row["what"], row["flows"], row["ends"]) == (STATIC_LINE.strip(" -\n"), 1, False), row
        live = command(world, "plan", str(world.lab.state / "new.yaml"), "--live")
        assert [node["flows"]["drains"] for node in live["nodes"]] == [1, 1]
        assert apply(world, WITHOUT_STATIC)["result"] == "done"
        active = world.settle()
        assert talks(ends)
        assert not reaches(world, STATIC, 8301, QUIET_S)
        world.until(lambda: [lefts(world, node) for node in NODES] == [[1], [1]], LOOK_S)
        assert world.status(active)["draining"]["draining"][0]["left"] == 1
        assert len(world.answers(STATIC)) == 1
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        assert talks(ends)
        world.until(lambda: len(world.answers(STATIC)) == 1)
        world.misconfigure(active, plan=load_plan(WITHOUT_STATIC.encode()))
        active = world.settle()
        assert talks(ends)
        assert [each["lines"] for each in draining(world, other(active))] == [[STATIC_LINE.strip(" -\n")]]
        delete(world, active, 8301)
        assert not talks(ends, QUIET_S)
    drained(world)
    assert not world.answers(STATIC)


@story
def test_the_last_rules_removal_cuts_nothing(world: World) -> None:
    """Overload and a static entry; each flow dies when its entry goes, so that it is the entry that it lived by."""
    world.settle()
    with (
        connection(world, OUTSIDE, STATIC, "web1", 8311) as inwards,
        connection(world, INSIDE, own(world, OUTSIDE), OUTSIDE, 8312) as outwards,
    ):
        assert apply(world, WITHOUT_NAT)["result"] == "done"
        active = settle_without_flows(world)
        assert talks(inwards)
        assert talks(outwards)
        delete(world, active, 8311)
        assert not talks(inwards, QUIET_S)
        assert talks(outwards)
        delete(world, active, 8312)
        assert not talks(outwards, QUIET_S)
    drained(world)
    assert not world.answers(STATIC)


def settle_without_flows(world: World) -> str:
    world.until(lambda: sorted(world.roles().values()) == ["active", "backup"])
    return world.active()


@story
def test_now_ends_the_flows_of_what_was_removed_on_both_nodes_and_no_other(world: World) -> None:
    world.settle()
    with (
        connection(world, OUTSIDE, STATIC, "web1", 8321) as removed,
        connection(world, INSIDE, own(world, OUTSIDE), OUTSIDE, 8322) as kept,
    ):
        since = time.monotonic_ns()
        told = apply(world, WITHOUT_STATIC, "--now")
        assert sum(one["flows"] for node in NODES for one in told["draining"][node]["ended"]) >= 1, told["draining"]
        assert not talks(removed, QUIET_S)
        assert talks(kept)
        world.until(lambda: not any(entries(world, node, 8321) for node in NODES))
        world.until(lambda: all(entries(world, node, 8322) for node in NODES))
        drained(world)
        assert not world.answers(STATIC)
        world.until(lambda: any(world.events(node, "drained", since) for node in NODES))


@story
def test_a_bound_holds_through_a_restart_and_a_fail_over(world: World) -> None:
    """The flow lives until then, and is ended by whoever serves by that time."""
    for bound_s in BOUNDS_S:
        if bound_held(world, bound_s):
            return
        restore(world)
    raise AssertionError(f"a restart and a hand-over took longer than {BOUNDS_S[-1]} s")


def bound_held(world: World, bound_s: int) -> bool:
    """False: it was over before the hand-over was."""
    world.settle()
    with connection(world, OUTSIDE, STATIC, "web1", 8331) as ends:
        since = time.monotonic_ns()
        apply(world, WITHOUT_STATIC, "--drain", f"{bound_s}s")
        world.misconfigure(world.standby(), plan=load_plan(WITHOUT_STATIC.encode()))
        world.settle()
        world.switch_over()
        if not talks(ends):
            assert time.monotonic_ns() > since + bound_s * SECOND
            return False
        drained(world)
        assert not talks(ends, QUIET_S)
        world.until(lambda: not any(entries(world, node, 8331) for node in NODES))
        world.until(lambda: any(says(world, node, "drained", "1 flows ended", since) for node in NODES))
    return True


@story
def test_a_change_that_goes_back_has_ended_nothing(world: World) -> None:
    """Taken to end the flows at once, and never confirmed: the file before is back, and nothing drains."""
    active = world.settle()
    with connection(world, OUTSIDE, STATIC, "web1", 8341) as ends:
        order = {"trial_s": 60.0, "drain_s": 0.0}
        since = time.monotonic_ns()
        reply = client.order(world.lab.run_dir(active), "reload", "a", WITHOUT_STATIC.encode(), **order)
        assert reply["ok"], reply
        assert not reaches(world, STATIC, 8341, QUIET_S)
        assert client.order(world.lab.run_dir(active), "extend", trial_s=0.5)["ok"]  # nearly over
        world.until(lambda: "went back" in [each["subject"] for each in world.events(active, "trial", since)], 20)
        world.settle()
        assert talks(ends)
        assert reaches(world, STATIC, 8341)
        assert draining(world, active) == []


@story
def test_a_failed_case_refuses_the_change_and_nothing_is_applied(world: World) -> None:
    """Unless it is said that it shall be all the same: then the nodes' journals say so."""
    cases = world.lab.state / "cases.yaml"
    cases.write_text(CASE)
    before = {node: world.status(node)["epoch"] for node in NODES}
    refused = apply(world, WITHOUT_STATIC, "--cases", str(cases), code=1)
    assert refused["error"]["code"] == "E5242"
    assert "shop" in refused["error"]["message"]
    assert {node: world.status(node)["epoch"] for node in NODES} == before
    since = time.monotonic_ns()
    forced = apply(world, WITHOUT_STATIC, "--cases", str(cases), "--despite-cases")
    assert (forced["result"], forced["cases"]["overridden"]) == ("done", True)
    for node in NODES:
        world.until(lambda node=node: says(world, node, "remark", "shop", since))  # type: ignore[misc]
    assert apply(world, TEXT, "--cases", str(cases), "--now")["cases"]["failed"] == []


@story
def test_words_that_do_not_fit_are_refused(world: World) -> None:
    for options in (("--now", "--drain", "3s"), ("--drain", "soon"), ("--drain", "8d")):
        assert apply(world, WITHOUT_STATIC, *options, code=1)["error"]["code"] == "E5243"
    for drain_s in (-1.0, 1e9, "soon"):
        reply = client.order(world.lab.run_dir("gw1"), "reload", "a", WITHOUT_STATIC.encode(), drain_s=drain_s)
        assert reply["error"]["code"] == "E5233", drain_s
