"""Users' connections at a fail-over without replication, on the real kernel: translated again, never reset."""

import socket
import time
from ipaddress import ip_address

import pytest
from nft_bed import INSIDE_CLIENT, OUTSIDE_CLIENT, PAIR, Bed, Flow, bed, connect, exchange, in_sandbox, listen

from understudy.config import load_plan
from understudy.render import pair_changes, pick

VIP, VIP6 = "203.0.113.10", "2001:db8:1::10"
COUNT = 50
Outcome = tuple[int, int]
"""Flows that were answered, flows that were reset."""


class World:
    """The bed with gw1 Active, connections balanced to the servers and connections from inside through source NAT."""

    def __init__(self, file: bytes = PAIR, **options: bool) -> None:
        self.bed: Bed = bed(file, **options)
        self.servers = [listen(self.bed.machines[name], "0.0.0.0", 8080) for name in ("web1", "web2", "web3")]
        self.outside = listen(self.bed.client, "0.0.0.0", 9000)
        self.bed.gateways["gw1"].activate()
        time.sleep(0.05)
        self.balanced = self.connect(COUNT)
        self.translated = connect(self.bed.office, (OUTSIDE_CLIENT, 9000), [self.outside], COUNT)
        assert {flow.server.getpeername()[0] for flow in self.translated} == {VIP}
        assert self.exchange() == ((COUNT, 0), (COUNT, 0))

    def connect(self, count: int) -> list[Flow]:
        return connect(self.bed.client, (VIP, 80), self.servers, count)

    def exchange(self, *, server_first: bool = False, timeout_s: float = 5) -> tuple[Outcome, Outcome]:
        return (
            exchange(self.balanced, server_first=server_first, timeout_s=timeout_s),
            exchange(self.translated, server_first=server_first, timeout_s=timeout_s),
        )

    def move(self, old: str, new: str) -> None:
        self.bed.gateways[new].activate()
        self.bed.gateways[old].deactivate()
        self.bed.gateways[new].activate()


ALL_ALIVE = ((COUNT, 0), (COUNT, 0))


def test_established_connections_go_on_through_the_other_gateway_and_back() -> None:
    """Balanced and translated flows move to a gateway that knows nothing of them, speak both ways, and come back."""

    def story() -> list[tuple[Outcome, Outcome]]:
        world = World()
        seen = []
        for old, new in (("gw1", "gw2"), ("gw2", "gw1"), ("gw1", "gw2")):
            world.move(old, new)
            seen += [world.exchange(), world.exchange(server_first=True)]
        return seen

    assert in_sandbox(story) == [ALL_ALIVE] * 6


def test_a_gateway_is_silent_about_flows_whose_far_side_speaks_first() -> None:
    """Answers that reach the new gateway before the client has spoken are dropped: no reset, no wrong translation."""

    def story() -> list[tuple[Outcome, Outcome]]:
        world = World()
        world.move("gw1", "gw2")
        return [world.exchange(server_first=True, timeout_s=0.5), world.exchange()]

    assert in_sandbox(story) == [((0, 0), (0, 0)), ALL_ALIVE]


def test_datagrams_keep_their_port_when_the_answer_comes_first() -> None:
    """An outside host's datagram meets the new gateway before the inside one's: the translation is the same."""

    def story() -> tuple[str, int, bool]:
        world = World()
        with (
            world.bed.office.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside,
            world.bed.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside,
        ):
            inside.bind((INSIDE_CLIENT, 40123))
            outside.bind((OUTSIDE_CLIENT, 7000))
            for end in (inside, outside):
                end.settimeout(5)
            inside.sendto(b"?", (OUTSIDE_CLIENT, 7000))
            outside.recvfrom(16)
            world.move("gw1", "gw2")
            outside.sendto(b"early", (VIP, 40123))
            time.sleep(0.05)
            inside.sendto(b"again", (OUTSIDE_CLIENT, 7000))
            _, (address, port) = outside.recvfrom(16)
            outside.sendto(b"!", (address, port))
            return address, port, inside.recv(16) == b"!"

    assert in_sandbox(story) == (VIP, 40123, True)


@pytest.mark.parametrize("rules", [True, False])
def test_a_missing_rule_set_resets_nothing_thanks_to_the_routing_rules(rules: bool) -> None:
    """Our table is gone for a second under traffic: flows wait and go on. Without the routing rules, they are reset."""

    def story() -> list[Outcome]:
        world = World(rules=rules)
        # What leaves untranslated meanwhile finds no way back, as on any network that does not route inside addresses.
        world.bed.client.sh("ip route del 10.9.0.0/24")
        gateway = world.bed.gateways["gw1"]
        gateway.nft.run("delete table inet understudy\n")
        if not rules:
            return [exchange(world.balanced)]
        meanwhile = world.exchange(timeout_s=0.5)
        gateway.nft.apply(gateway.config.ruleset)
        return [*meanwhile, *world.exchange()]

    assert in_sandbox(story) == ([(0, 0), (0, 0), *ALL_ALIVE] if rules else [(0, COUNT)])


@pytest.mark.parametrize(("target", "any_address"), [(VIP, "0.0.0.0"), (VIP6, "::")])
def test_pick_names_the_server_that_the_kernel_chooses(target: str, any_address: str) -> None:
    """For 200 connections with all servers up, and 100 more with one server down, in both families."""

    def story() -> tuple[int, int]:
        world = bed()
        gateway = world.gateways["gw1"]
        service = world.plan.services[0]
        listeners = [listen(world.machines[name], any_address, 8080) for name in ("web1", "web2", "web3")]
        gateway.activate()
        time.sleep(0.05)
        everyone = frozenset(server.binding for server in service.servers)
        rest = everyone - {service.servers[1].binding}
        right, used = 0, set()
        for up, count in ((everyone, 200), (rest, 100)):
            gateway.nft.run(pair_changes(world.plan, service, everyone, up))
            used = set()
            for flow in connect(world.client, (target, 80), listeners, count):
                source, port = flow.client.getsockname()[:2]
                server = pick(world.plan, service, ip_address(source), port, up)
                assert server is not None
                actual = ip_address(flow.server.getsockname()[0])
                used.add(str(actual))
                right += actual in server.addresses
                flow.close()
        return right, len(used)

    assert in_sandbox(story) == (300, 2)


def test_a_service_without_any_server_up_is_silent() -> None:
    """New connections are neither accepted nor refused, and succeed by themselves once a server is back."""

    def story() -> tuple[list[str], int]:
        world = World()
        gateway, service = world.bed.gateways["gw1"], world.bed.plan.services[0]
        everyone = frozenset(server.binding for server in service.servers)
        gateway.nft.run(pair_changes(world.bed.plan, service, everyone, frozenset()))
        outcomes = []
        with world.bed.client.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
            attempt.settimeout(0.3)
            try:
                attempt.connect((VIP, 80))
                outcomes.append("accepted")
            except TimeoutError:
                outcomes.append("silence")
            except ConnectionRefusedError:
                outcomes.append("refused")
        gateway.nft.run(pair_changes(world.bed.plan, service, frozenset(), everyone))
        return outcomes, len(world.connect(5))

    assert in_sandbox(story) == (["silence"], 5)


def test_a_client_on_the_servers_own_network_is_served() -> None:
    """Its connection is translated both ways, or the server would answer it directly from an address it did not ask."""

    def story() -> tuple[Outcome, set[str]]:
        world = World()
        flows = connect(world.bed.office, (VIP, 80), world.servers, 20)
        return exchange(flows), {flow.server.getpeername()[0] for flow in flows}

    assert in_sandbox(story) == ((20, 0), {"10.9.0.254"})


def test_a_node_reaches_its_peers_service_in_spite_of_the_routing_rules() -> None:
    """The rules drop what arrives, not what the Backup itself sends to the address that its peer holds."""

    def story() -> int:
        world = World()
        return len(connect(world.bed.machines["gw2"], (VIP, 80), world.servers, 3))

    assert in_sandbox(story) == 3


def test_one_server_needs_no_slots() -> None:
    """`mod 1` is no modulus: a service with one server loads and serves."""

    def story() -> Outcome:
        world = Bed(load_plan(PAIR.replace(b"web1:8080, web2:8080, web3:8080", b"web2:8080")))
        for gateway in world.gateways.values():
            gateway.configure()
        world.gateways["gw1"].activate()
        time.sleep(0.05)
        listener = listen(world.machines["web2"], "0.0.0.0", 8080)
        return exchange(connect(world.client, (VIP, 80), [listener], 5))

    assert in_sandbox(story) == (5, 0)
