"""Translations removed from a running pair: their flows go on, or for so long, or not at all; and their addresses."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

from agent_worlds import NODES, ROOT, World, in_lab, other
from typer.testing import CliRunner

from understudy.adapters.conntrack import FlowTable
from understudy.agent import client
from understudy.cli.app import app
from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.wire.conntrack import decode

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
STATIC_LINE = "    - ip nat inside source static 10.9.0.11 203.0.113.21\n"
WITHOUT_STATIC = TEXT.replace(STATIC_LINE, "")
WITHOUT_NAT = TEXT[: TEXT.index("nat:")]
STATIC = "203.0.113.21"
OUTSIDE, INSIDE = "client-outside", "client-inside"
COMPLETE_S = 8.0
CASE = """\
cases:
- id: shop
  packets:
  - dir: out>in
    proto: tcp
    in: {src: 198.51.100.9, sport: 4000, dst: 203.0.113.21, dport: 80}
    expect: {verdict: translated, src: 198.51.100.9, sport: 4000, dst: 10.9.0.11, dport: 80}
"""


def command(world: World, words: list[str], code: int) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--run-dir", str(world.lab.state), "--json"])
    assert done.exit_code == code, done.output[-2500:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def apply(world: World, text: str, *options: str, code: int = 0) -> dict[str, Any]:
    file = world.lab.state / "new.yaml"
    file.write_text(text)
    return command(world, ["apply", str(file), "--yes", "--no-probes", *options], code)


def restore(world: World) -> None:
    """What the next story begins with: the first file, and nothing that drains."""
    if {world.status(node)["digest"] for node in NODES} != {load_plan(TEXT.encode()).digest.hex()}:
        apply(world, TEXT, "--now")
    drained(world)


def draining(world: World, node: str) -> list[dict[str, Any]]:
    with contextlib.suppress(OperatorError):
        reply = client.order(world.lab.run_dir(node), "inspect", "new.yaml", TEXT.encode(), flows=False)
        found: list[dict[str, Any]] = reply["draining"]["draining"] if "draining" in reply else [reply]
        return found
    return [{"left": None}]


def drained(world: World) -> None:
    """Waits until nothing drains on either node."""
    try:
        world.until(lambda: all(not draining(world, node) for node in NODES), 25)
    except AssertionError:
        raise AssertionError({node: draining(world, node) for node in NODES}) from None


def lefts(world: World, node: str) -> list[int | None]:
    return [each.get("left") for each in draining(world, node)]


def own(world: World, host: str) -> str:
    return str(world.lab.topology.host(host).ports[0].addresses[0].ip)


@contextlib.contextmanager
def connection(world: World, host: str, address: str, server: str, port: int) -> Iterator[tuple[socket.socket, ...]]:
    """From `host` to `address`, where `server` takes it; it is in both kernels."""
    spaces = world.lab.namespaces
    with (
        spaces[server].socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        spaces[host].socket(socket.AF_INET, socket.SOCK_STREAM) as asking,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(3)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        asking.settimeout(3)
        asking.connect((address, port))
        with listener.accept()[0] as asked:
            assert talks((asking, asked))
            world.until(lambda: all(entries(world, node, port) for node in NODES), COMPLETE_S)
            yield asking, asked


def talks(ends: tuple[socket.socket, ...], patience_s: float = 4.0) -> bool:
    """Bytes both ways."""
    one, another = ends
    try:
        for here, there in ((one, another), (another, one)):
            there.settimeout(patience_s)
            here.sendall(b"word")
            if not there.recv(64):
                return False
    except OSError:
        return False
    return True


def reaches(world: World, address: str, port: int) -> bool:
    with world.lab.namespaces[OUTSIDE].socket(socket.AF_INET, socket.SOCK_STREAM) as asking:
        asking.settimeout(0.7)
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


def settle(world: World) -> str:
    """The Active, once its standby holds everything."""

    def complete() -> bool:
        with contextlib.suppress(OperatorError):
            return bool((world.group(other(active))["flows"] or {}).get("complete"))
        return False

    active = world.active()
    world.until(complete, COMPLETE_S)
    return active


@in_lab
def test_without_a_word_the_flows_of_a_removed_static_go_on_and_no_new_one_begins(world: World) -> None:
    """Its address is answered for until the last of them has ended, through a fail-over; then by nobody."""
    settle(world)
    with connection(world, OUTSIDE, STATIC, "web1", 8301) as ends:
        told = apply(world, WITHOUT_STATIC, "--dry-run", code=2)
        for node in told["nodes"]:
            (row,) = [each for each in node["flows"]["by"] if each["flows"]]
            assert (row["what"], row["flows"], row["ends"]) == (STATIC_LINE.strip(" -\n"), 1, False), row
        live = command(world, ["plan", str(world.lab.state / "new.yaml"), "--live"], 0)
        assert [node["flows"]["drains"] for node in live["nodes"]] == [1, 1]
        assert apply(world, WITHOUT_STATIC)["result"] == "done"
        active = settle(world)
        assert talks(ends)
        assert not reaches(world, STATIC, 8301)
        world.until(lambda: [lefts(world, node) for node in NODES] == [[1], [1]], 15)
        assert world.status(active)["draining"]["draining"][0]["left"] == 1
        assert len(world.answers(STATIC)) == 1
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        assert talks(ends)
        assert len(world.answers(STATIC)) == 1
        world.misconfigure(active, plan=load_plan(WITHOUT_STATIC.encode()))
        active = settle(world)
        assert talks(ends)
        assert [each["lines"] for each in draining(world, other(active))] == [[STATIC_LINE.strip(" -\n")]]
        delete(world, active, 8301)
        assert not talks(ends, 1)
    drained(world)
    assert not world.answers(STATIC)
    restore(world)


@in_lab
def test_the_last_rules_removal_cuts_nothing(world: World) -> None:
    """Overload and a static entry; each flow dies when its entry goes, so that it is the entry that it lived by."""
    settle(world)
    with (
        connection(world, OUTSIDE, STATIC, "web1", 8311) as inwards,
        connection(world, INSIDE, own(world, OUTSIDE), OUTSIDE, 8312) as outwards,
    ):
        assert apply(world, WITHOUT_NAT)["result"] == "done"
        active = settle_without_flows(world)
        assert talks(inwards)
        assert talks(outwards)
        delete(world, active, 8311)
        assert not talks(inwards, 1)
        assert talks(outwards)
        delete(world, active, 8312)
        assert not talks(outwards, 1)
    drained(world)
    assert not world.answers(STATIC)
    restore(world)


def settle_without_flows(world: World) -> str:
    world.until(lambda: sorted(world.roles().values()) == ["active", "backup"])
    return world.active()


@in_lab
def test_now_ends_the_flows_of_what_was_removed_on_both_nodes_and_no_other(world: World) -> None:
    settle(world)
    with (
        connection(world, OUTSIDE, STATIC, "web1", 8321) as removed,
        connection(world, INSIDE, own(world, OUTSIDE), OUTSIDE, 8322) as kept,
    ):
        told = apply(world, WITHOUT_STATIC, "--now")
        assert sum(one["flows"] for node in NODES for one in told["draining"][node]["ended"]) >= 1, told["draining"]
        assert not talks(removed, 1)
        assert talks(kept)
        world.until(lambda: not any(entries(world, node, 8321) for node in NODES))
        assert all(entries(world, node, 8322) for node in NODES)
        drained(world)
        assert not world.answers(STATIC)
        assert [e["subject"] for n in NODES for e in world.events(n, "drained")]
    restore(world)


@in_lab
def test_a_bound_holds_through_a_restart_and_a_fail_over(world: World) -> None:
    """The flow lives until then, and is ended by whoever serves by that time."""
    settle(world)
    with connection(world, OUTSIDE, STATIC, "web1", 8331) as ends:
        apply(world, WITHOUT_STATIC, "--drain", "12s")
        world.misconfigure(world.standby(), plan=load_plan(WITHOUT_STATIC.encode()))
        settle(world)
        world.switch_over()
        assert talks(ends)
        drained(world)
        assert not talks(ends, 1)
        assert not any(entries(world, node, 8331) for node in NODES)
        ended = [e["detail"] for n in NODES for e in world.events(n, "drained")]
        assert any("1 flows ended" in each for each in ended), ended
    restore(world)


@in_lab
def test_a_change_that_goes_back_has_ended_nothing(world: World) -> None:
    """Taken to end the flows at once, and never confirmed: the file before is back, and nothing drains."""
    active = settle(world)
    with connection(world, OUTSIDE, STATIC, "web1", 8341) as ends:
        order = {"trial_s": 2.0, "drain_s": 0.0}
        reply = client.order(world.lab.run_dir(active), "reload", "a", WITHOUT_STATIC.encode(), **order)
        assert reply["ok"], reply
        assert not reaches(world, STATIC, 8341)
        world.until(lambda: world.events(active, "trial")[-1]["subject"] == "went back", 10)
        settle(world)
        assert talks(ends)
        assert reaches(world, STATIC, 8341)
        assert draining(world, active) == []
    restore(world)


@in_lab
def test_a_failed_case_refuses_the_change_and_nothing_is_applied(world: World) -> None:
    """Unless it is said that it shall be all the same: then the nodes' journals say so."""
    cases = world.lab.state / "cases.yaml"
    cases.write_text(CASE)
    before = {node: world.status(node)["epoch"] for node in NODES}
    refused = apply(world, WITHOUT_STATIC, "--cases", str(cases), code=1)
    assert refused["error"]["code"] == "E5242"
    assert "shop" in refused["error"]["message"]
    assert {node: world.status(node)["epoch"] for node in NODES} == before
    forced = apply(world, WITHOUT_STATIC, "--cases", str(cases), "--despite-cases")
    assert (forced["result"], forced["cases"]["overridden"]) == ("done", True)
    assert all("shop" in world.events(node, "remark")[-1]["detail"] for node in NODES)
    assert apply(world, TEXT, "--cases", str(cases), "--now")["cases"]["failed"] == []
    restore(world)


@in_lab
def test_words_that_do_not_fit_are_refused(world: World) -> None:
    for options in (("--now", "--drain", "3s"), ("--drain", "soon"), ("--drain", "8d")):
        assert apply(world, WITHOUT_STATIC, *options, code=1)["error"]["code"] == "E5243"
    for drain_s in (-1.0, 1e9, "soon"):
        reply = client.order(world.lab.run_dir("gw1"), "reload", "a", WITHOUT_STATIC.encode(), drain_s=drain_s)
        assert reply["error"]["code"] == "E5233", drain_s
