"""Lines of Cisco IOS on a pair of real agents, used by real sockets: every kind, and through a fail-over."""

import contextlib
import os
import select
import signal
import time
from functools import partial

from agent_sockets import INSIDE, OUTSIDE, SOCKET_S, connected, listening, own, talk
from agent_worlds import ROOT, World, in_lab, other

from understudy.adapters.conntrack import FlowTable
from understudy.agent import client
from understudy.wire.conntrack import decode

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
# web2 is in the pool, the lab's client inside shares the group's address.
TEXT = TEXT.replace("access-list 1 permit 10.9.0.160 0.0.0.31", "access-list 1 permit host 10.9.0.12")
VIRTUAL, STATIC, ROTARY = "203.0.113.10", "203.0.113.21", "203.0.113.30"


@in_lab
def test_a_static_entry_translates_both_ways(world: World) -> None:
    """Who asks for the global address gets the host; what the host opens comes from the global address."""
    with (
        listening(world, "web1", 8181) as server,
        connected(world, OUTSIDE, STATIC, 8181) as asking,
        server.accept()[0] as asked,
    ):
        assert asked.getpeername()[0] == own(world, OUTSIDE)
        talk(asking, asked)
    with listening(world, OUTSIDE, 8182) as server, connected(world, "web1", own(world, OUTSIDE), 8182) as asking:
        end, (seen, _) = server.accept()
        with end:
            assert seen == STATIC
            talk(asking, end)


@in_lab
def test_a_static_port_of_the_interface_is_the_groups(world: World) -> None:
    with (
        listening(world, "web2", 8080) as server,
        connected(world, OUTSIDE, VIRTUAL, 8080) as asking,
        server.accept()[0] as asked,
    ):
        talk(asking, asked)


@in_lab
def test_overload_on_an_interface_shares_the_groups_address(world: World) -> None:
    """Neither of the nodes'."""
    with listening(world, OUTSIDE, 8183) as server, connected(world, INSIDE, own(world, OUTSIDE), 8183) as asking:
        end, (seen, _) = server.accept()
        with end:
            assert seen == VIRTUAL
            talk(asking, end)


@in_lab
def test_a_rotary_serves_new_connections_in_turn(world: World) -> None:
    with listening(world, "web1", 8184) as one, listening(world, "web2", 8184) as two, contextlib.ExitStack() as held:
        for _ in range(4):
            held.enter_context(connected(world, OUTSIDE, ROTARY, 8184))
        for server in (one, two):
            for _ in range(2):
                server.accept()[0].close()
            server.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                raise AssertionError(server.accept())


@in_lab
def test_the_active_alone_answers_for_translated_addresses(world: World) -> None:
    """By the virtual MAC, whoever is Active; and for the nodes' own addresses by the nodes' own."""
    virtual = world.answers(VIRTUAL)
    assert len(virtual) == 1
    for _ in range(2):
        for address in (STATIC, ROTARY, "203.0.113.200"):
            world.until(lambda address=address: world.answers(address) == virtual)  # type: ignore[misc]
        assert not world.answers("203.0.113.40")
        for address in ("203.0.113.1", "203.0.113.2"):
            assert len(world.answers(address)) == 1
            assert not world.answers(address) & virtual
        standby = world.standby()
        world.until(lambda standby=standby: not world.run(standby, "ip route show table local proto 117").strip())  # type: ignore[misc]
        world.switch_over()


@in_lab
def test_connections_survive_the_death_of_the_active(world: World) -> None:
    """Of every kind, both ways, and nobody hears of it."""
    world.settle()
    with contextlib.ExitStack() as held:
        pairs = []
        for host, address, port in (("web1", STATIC, 8185), ("web2", VIRTUAL, 8080), ("web1", ROTARY, 8185)):
            server = held.enter_context(listening(world, host, port)) if address != ROTARY else pairs[0][2]
            if address == ROTARY:
                second = held.enter_context(listening(world, "web2", 8185))
                asking = held.enter_context(connected(world, OUTSIDE, address, port))
                (server, *_), _, _ = select.select([server, second], [], [], SOCKET_S)
                end = held.enter_context(server.accept()[0])
            else:
                asking = held.enter_context(connected(world, OUTSIDE, address, port))
                end = held.enter_context(server.accept()[0])
            pairs.append((asking, end, server))
        server = held.enter_context(listening(world, OUTSIDE, 8186))
        asking = held.enter_context(connected(world, INSIDE, own(world, OUTSIDE), 8186))
        pairs.append((asking, held.enter_context(server.accept()[0]), server))
        for one, another, _ in pairs:
            talk(one, another)
        active = world.settle()
        ports = {one.getsockname()[1] for one, _, _ in pairs}
        world.until(lambda: ports <= world.lab.namespaces[other(active)].run(_ports_of_group))
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        for one, another, _ in pairs:
            talk(one, another)


def _ports_of_group() -> set[int]:
    table = FlowTable()
    found = {decode(raw).original.here for part in table.list({1}) for raw in part}
    table.close()
    return found


@in_lab
def test_a_pool_gives_a_host_one_address_and_the_peer_knows_it(world: World) -> None:
    """The first packet is not lost; the same address again, after a reload's worth of time and after a fail-over."""
    world.settle()
    since = time.monotonic_ns()
    with listening(world, OUTSIDE, 8187) as server, contextlib.ExitStack() as held:
        given = []
        for _ in range(2):
            asking = held.enter_context(connected(world, "web2", own(world, OUTSIDE), 8187))
            end, (seen, _) = server.accept()
            held.enter_context(end)
            given.append(seen)
            talk(asking, end)
        assert given == ["203.0.113.193"] * 2
        active = world.active()
        entry = "10.9.0.12 : 203.0.113.193"
        world.until(lambda: entry in world.run(other(active), "nft list map inet understudy ios_entry_out"))
        assert not world.events(active, "drift", since)
        assert not world.events(other(active), "drift", since)
        world.settle()
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        talk(asking, end)
        again = held.enter_context(connected(world, "web2", own(world, OUTSIDE), 8187))
        end, (seen, _) = server.accept()
        held.enter_context(end)
        assert seen == "203.0.113.193"
        talk(again, end)
        # An outside host reaches whoever has an address.
        with listening(world, "web2", 8188) as inner, connected(world, OUTSIDE, "203.0.113.193", 8188) as outer:
            inside, _ = inner.accept()
            with inside:
                talk(outer, inside)


@in_lab
def test_a_reload_keeps_what_was_handed_out_and_takes_new_lines(world: World) -> None:
    """A static entry and a detour more: both are in force, entries and connections stay, and all of it goes again."""
    active, since = world.settle(), time.monotonic_ns()
    more = (
        "    - ip nat inside source static tcp 10.9.0.11 8190 203.0.113.22 8190\n"
        "    - ip nat outside source static 10.9.0.50 203.0.113.150\n"
    )
    with listening(world, OUTSIDE, 8191) as server, connected(world, "web2", own(world, OUTSIDE), 8191) as asking:
        end, (seen, _) = server.accept()
        with end:
            for text in (TEXT + more, TEXT):
                for node in (other(active), active):
                    reply = client.reload(world.lab.run_dir(node), "new.yaml", text.encode())
                    assert reply["ok"], reply
                    changes = " ".join(map(str, reply["changed"]))
                    assert "8190" in changes, changes
                held = f"10.9.0.12 : {seen}"
                assert held in world.run(active, "nft list map inet understudy ios_entry_out")
                # What no line translates any more is answered for until its last flow has ended.
                world.until(partial(_in_force, world, active, wanted=text != TEXT))
                if text != TEXT:
                    with (
                        listening(world, "web1", 8190) as inner,
                        connected(world, OUTSIDE, "203.0.113.22", 8190) as outer,
                        inner.accept()[0] as inside,
                    ):
                        talk(outer, inside)
                talk(asking, end)
            with connected(world, "web2", own(world, OUTSIDE), 8191) as again:
                other_end, (same, _) = server.accept()
                with other_end:
                    assert same == seen
                    talk(again, other_end)
        assert not world.events(active, "drift", since), world.events(active, "drift", since)
    assert world.active() == active


def _in_force(world: World, active: str, *, wanted: bool) -> bool:
    """Both further lines, or neither: the address is answered for, and the detour has its rule and its route."""
    found = (
        bool(world.answers("203.0.113.22")),
        "11700" in world.run(active, "ip rule"),
        "via 203.0.113.254" in world.run(active, "ip route show table all proto 117"),
    )
    return found == (wanted,) * 3


@in_lab
def test_the_table_is_found_by_its_flows_where_nobody_told_of_it(world: World) -> None:
    """The standby's process was gone all the time: what it takes over with is what the replicated flows say."""
    active = world.settle()
    standby = other(active)
    with listening(world, OUTSIDE, 8189) as server, connected(world, "web2", own(world, OUTSIDE), 8189) as asking:
        end, (seen, _) = server.accept()
        with end:
            talk(asking, end)
            world.settle()
            port = asking.getsockname()[1]
            world.until(lambda: port in world.lab.namespaces[standby].run(_ports_of_group))
            pools = world.signal(standby, "pools", signal.SIGSTOP)
            # A hand of its own takes what the standby was told out of its kernel.
            world.run_nft(standby, "flush map inet understudy ios_entry_out\nflush map inet understudy ios_entry_in\n")
            since = time.monotonic_ns()
            world.lab.kill_agent(active)
            world.until(lambda: world.role(standby) == "active")
            with contextlib.suppress(ProcessLookupError):  # replaced, for it hung
                os.kill(pools, signal.SIGKILL)
            entry = f"10.9.0.12 : {seen}"
            world.until(lambda: entry in world.run(standby, "nft list map inet understudy ios_entry_out"))
            talk(asking, end)
            found = "1 more found by their flows"
            world.until(lambda: any(found in event["detail"] for event in world.events(standby, "pools-taken", since)))
