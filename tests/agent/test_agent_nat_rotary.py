"""Rotaries on a pair of real agents: exactly in turn, over a reload, a switchover and a death."""

import contextlib
import select
import signal
import socket
import time
from collections.abc import Iterator
from itertools import pairwise

from agent_sockets import OUTSIDE, SOCKET_S, listening
from agent_worlds import ROOT, World, in_lab, other

from understudy.agent import client
from understudy.render.ios_turns import Rotary, parse_turn

TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
TEXT = TEXT.replace("web2: {inside: 10.9.0.12}", "web2: {inside: 10.9.0.12}\n  web3: {inside: 10.9.0.13}")
TEXT = TEXT.replace("FARM 10.9.0.11 10.9.0.12", "FARM 10.9.0.11 10.9.0.13")
TEXT = TEXT.replace("  lines:\n", "  rotary_udp: true\n  lines:\n")
VIRTUAL, PORT = "203.0.113.30", 9000
SERVERS = {"10.9.0.11": "web1", "10.9.0.12": "web2", "10.9.0.13": "web3"}
HOSTS = tuple(SERVERS.values())
CHAIN = Rotary("3/FARM", "tcp", ()).chain


class Farm:
    """The servers, and a client that comes again and again."""

    def __init__(self, world: World, held: contextlib.ExitStack) -> None:
        self.world, self.held = world, held
        self.servers = {held.enter_context(listening(world, host, PORT)): host for host in HOSTS}
        self.found: list[str] = []
        """The hosts that connections reached, in order."""

    def serve(self, count: int) -> None:
        """So many new connections."""
        for _ in range(count):
            asking = self.world.lab.namespaces[OUTSIDE].socket(socket.AF_INET, socket.SOCK_STREAM)
            self.held.enter_context(asking)
            asking.settimeout(SOCKET_S)
            asking.connect((VIRTUAL, PORT))
            (server, *_), _, _ = select.select([*self.servers], [], [], SOCKET_S)
            self.held.enter_context(server.accept()[0])
            self.found.append(self.servers[server])

    def await_told(self, node: str) -> None:
        """Until a node's kernel would go on behind the last connection."""
        after = HOSTS[(HOSTS.index(self.found[-1]) + 1) % len(HOSTS)]
        self.world.until(lambda: whose_turn(self.world, node) == after)


@contextlib.contextmanager
def farm(world: World) -> Iterator[Farm]:
    with contextlib.ExitStack() as held:
        yield Farm(world, held)


def whose_turn(world: World, node: str) -> str:
    turn = parse_turn(world.run(node, f"nft list chain inet understudy {CHAIN}"))
    assert turn is not None
    servers, count = turn
    return SERVERS[str(servers[count % len(servers)])]


def in_turn(found: list[str]) -> bool:
    """Each the one behind the one before it."""
    places = [HOSTS.index(each) for each in found]
    return all((here + 1) % len(HOSTS) == there for here, there in pairwise(places))


@in_lab
def test_turns_are_exact_and_stay_so_over_a_reload(world: World) -> None:
    active, since = world.active(), time.monotonic_ns()
    with farm(world) as made:
        made.serve(4)
        more = "    - ip nat translation udp-timeout 200\n"
        for text in (TEXT + more, TEXT):
            for node in (other(active), active):
                reply = client.reload(world.lab.run_dir(node), "new.yaml", text.encode())
                assert reply["ok"], reply
                assert "udp-timeout 200" in " ".join(map(str, reply["changed"]))
            made.serve(2)
        assert in_turn(made.found), made.found
        assert len(set(made.found)) == len(HOSTS)
    assert not world.events(active, "drift", since), world.events(active, "drift", since)
    world.settle()


@in_lab
def test_a_restarted_process_and_mended_drift_leave_the_turn(world: World) -> None:
    """Somebody else's rule in our table is taken out, and another process tends the turns."""
    active = world.active()
    with farm(world) as made:
        made.serve(2)
        since = time.monotonic_ns()
        world.run_nft(active, "add rule inet understudy ios_nothing counter\n")
        world.until(lambda: world.events(active, "drift", since))
        made.serve(2)
        before = world.signal(active, "pools", signal.SIGKILL)
        world.until(lambda: world.pid(active, "pools") not in (0, before))
        made.serve(3)
        assert in_turn(made.found), made.found


@in_lab
def test_the_turn_moves_in_a_switchover(world: World) -> None:
    with farm(world) as made:
        made.serve(4)
        for count in (2, 3):
            world.switch_over()
            made.await_told(world.active())
            made.serve(count)
        assert in_turn(made.found), made.found


@in_lab
def test_the_turn_outlives_the_active(world: World) -> None:
    """Once the standby has heard of it, which it does 20 times a second."""
    active = world.active()
    with farm(world) as made:
        made.serve(5)
        made.await_told(other(active))
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        made.serve(3)
        assert in_turn(made.found), made.found


@in_lab
def test_udp_goes_round_where_it_is_wished(world: World) -> None:
    """In turns of its own."""
    with contextlib.ExitStack() as held:
        servers = {}
        for host in HOSTS:
            end = held.enter_context(world.lab.namespaces[host].socket(socket.AF_INET, socket.SOCK_DGRAM))
            end.bind(("0.0.0.0", PORT))
            servers[end] = host
        found = []
        for _ in range(4):
            asking = world.lab.namespaces[OUTSIDE].socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.enter_context(asking)
            asking.settimeout(SOCKET_S)
            asking.sendto(b"word", (VIRTUAL, PORT))
            (server, *_), _, _ = select.select([*servers], [], [], SOCKET_S)
            data, client_address = server.recvfrom(64)
            server.sendto(data, client_address)
            assert asking.recvfrom(64) == (b"word", (VIRTUAL, PORT))
            found.append(servers[server])
        assert in_turn(found), found
