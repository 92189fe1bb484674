"""From the file to the plan, and from the plan to what one node is told."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.config.election import allocate_vrids
from understudy.config.plan import Plan
from understudy.config.problems import Problems
from understudy.units import MILLISECOND, SECOND, NetworkName, NodeName

EXAMPLES = Path(__file__).parents[3] / "examples"
GW1, GW2, WEB1 = NodeName("gw1"), NodeName("gw2"), NodeName("web1")


@pytest.fixture
def pair() -> Plan:
    """The demo's pair."""
    return load_plan(EXAMPLES / "pair.yaml")


@pytest.fixture
def dual() -> Plan:
    """The pair with IPv6."""
    return load_plan(EXAMPLES / "dual-stack.yaml")


def test_addresses_carry_the_length_of_their_network(pair: Plan) -> None:
    """A node's and a group's addresses know the prefix that the network gives them."""
    assert pair.networks[2].prefixes == (ip_network("192.168.250.0/29"),)
    assert pair.nodes[0].attachments[2].addresses == (ip_interface("192.168.250.1/29"),)
    assert pair.groups[0].routers[0].addresses == (ip_interface("203.0.113.10/24"),)


def test_priorities_follow_the_order_of_the_group(pair: Plan) -> None:
    """250 for the preferred node, 240 for the next."""
    assert pair.groups[0].priorities == {"gw1": 250, "gw2": 240}


def test_a_group_has_one_vrid_on_all_its_lans_and_macs_that_follow(dual: Plan) -> None:
    """The VRID is the file's, the MAC addresses are those of RFC 9568, section 7.3, one a family."""
    routers = dual.groups[0].routers
    assert {router.vrid for router in routers} == {51}
    assert [(router.network, router.family, router.mac) for router in routers] == [
        ("outside", 4, "00:00:5e:00:01:33"),
        ("outside", 6, "00:00:5e:00:02:33"),
        ("inside", 4, "00:00:5e:00:01:33"),
        ("inside", 6, "00:00:5e:00:02:33"),
    ]


def test_an_ipv6_router_advertises_its_link_local_address_first(dual: Plan) -> None:
    """RFC 9568, section 5.2.9; the address is the modified EUI-64 of the virtual MAC."""
    router = dual.settings(GW1).groups[0].routers[1]
    assert router.addresses == (ip_address("fe80::200:5eff:fe00:233"), ip_address("2001:db8:1::10"))
    assert dual.groups[0].routers[0].link_local is None


def test_defaults_are_filled_in() -> None:
    """The smallest file: one second, no preemption, one LAN."""
    plan = load_plan(EXAMPLES / "one-network.yaml")
    group = plan.groups[0]
    assert (group.advertise, group.preempt, len(group.routers)) == (SECOND, False, 1)
    check = load_plan(EXAMPLES / "services.yaml").services[2].check
    assert (check.kind, check.every, check.timeout, check.rise, check.fall) == ("tcp", 5 * SECOND, SECOND, 1, 3)


def test_bindings_name_pairs_of_service_and_server() -> None:
    """The same server in two services has two. The figures are fixed for ever: flows outlive a version."""
    plan = load_plan(EXAMPLES / "services.yaml")
    named = [(server.binding, service.name, server.name) for service in plan.services for server in service.servers]
    assert named == [
        (234110, "web", "web1:8080"),
        (220364, "web", "web2:8080"),
        (69076, "web", "web3:8080"),
        (176527, "web-old", "web1:8080"),
        (26005, "web-old", "web2:8080"),
        (44667, "mail", "web3:25"),
        (140251, "metrics", "10.9.0.11:9100"),
        (193390, "metrics", "10.9.0.12:9100"),
    ]


def test_a_server_has_one_address_for_each_family_of_its_service(dual: Plan) -> None:
    """On a network where the group holds an address of that family, which is its gateway."""
    assert dual.services[0].servers[0].addresses == (ip_address("10.9.0.11"), ip_address("2001:db8:9::11"))


def test_source_nat_uses_the_addresses_of_the_group(dual: Plan) -> None:
    """Not those of a node, or no connection could survive it."""
    (nat,) = dual.source_nat
    assert nat.addresses == (ip_address("203.0.113.10"), ip_address("2001:db8:1::10"))
    assert nat.prefixes == (ip_network("10.9.0.0/24"), ip_network("2001:db8:9::/64"))


def test_a_node_hears_its_peer_on_every_shared_network(pair: Plan) -> None:
    """Paths in the order of the file, with the peer's own address on each."""
    told = pair.settings(GW1)
    assert told.paths == ("outside", "inside", "sync")
    assert told.networks == ("outside", "inside", "sync")
    (peer,) = told.peers
    assert (peer.name, peer.number) == ("gw2", 2)
    assert peer.paths[NetworkName("sync")] == ip_address("192.168.250.2")
    assert told.heartbeat == 100 * MILLISECOND


def test_each_node_sees_its_own_priority_and_its_peers(pair: Plan) -> None:
    """The routers carry this node's priority and leave preemption to the group."""
    group = pair.settings(GW2).groups[0]
    assert {router.priority for router in group.routers} == {240}
    assert group.peer_priority == {"gw1": 250}
    assert not any(router.preempt_mode for router in group.routers)
    assert {router.advertisement_interval_cs for router in group.routers} == {10}


def test_witnesses_are_gateways_and_nodes_that_are_no_peers(dual: Plan) -> None:
    """The declared router first, then one address of each other node; never the peer, never ourselves."""
    witnesses = dual.settings(GW1).witnesses
    assert witnesses[NetworkName("outside")] == (ip_address("203.0.113.254"), ip_address("2001:db8:1::fe"))
    assert witnesses[NetworkName("inside")] == (ip_address("10.9.0.11"), ip_address("10.9.0.12"))
    assert NetworkName("sync") not in witnesses


def test_a_node_outside_all_groups_decides_nothing(pair: Plan) -> None:
    """A server has settings, too, without groups, peers and servers."""
    told = pair.settings(WEB1)
    assert (told.groups, told.peers, told.servers, told.paths) == ((), (), (), ())
    with pytest.raises(KeyError):
        pair.settings(NodeName("nobody"))


def test_the_digest_tells_what_nodes_must_agree_on() -> None:
    """Comments and objectives leave it alone; an address, a check or the interval change it."""
    text = (EXAMPLES / "pair.yaml").read_bytes()
    digest = load_plan(text).digest
    assert len(digest) == 16
    assert load_plan(text + b"# later\n").digest == digest
    assert load_plan(text.replace(b"500ms", b"600ms")).digest == digest
    changes = [(b"113.10", b"113.11"), (b"/healthz", b"/health"), (b"100ms", b"110ms"), (b"shop", b"shops")]
    assert len({digest, *(load_plan(text.replace(*change)).digest for change in changes)}) == 5


def test_the_seed_depends_on_the_name_of_the_cluster_alone() -> None:
    """So that a changed file balances as before."""
    text = (EXAMPLES / "pair.yaml").read_bytes()
    assert load_plan(text).seed == load_plan(text.replace(b"100ms", b"50ms")).seed
    assert load_plan(text).seed != load_plan(text.replace(b"shop", b"shops")).seed


def test_the_interval_can_be_given_from_outside() -> None:
    """For every group, even where the file's objective cannot be met: the drill is to show that."""
    plan = load_plan(EXAMPLES / "pair.yaml", advertise=SECOND)
    assert plan.groups[0].advertise == SECOND
    assert plan.settings(GW1).heartbeat == SECOND
    assert plan.digest != load_plan(EXAMPLES / "pair.yaml").digest


@pytest.mark.parametrize("advertise", [0, 5 * MILLISECOND, 105 * MILLISECOND, 41 * SECOND, -SECOND])
def test_an_interval_from_outside_keeps_the_limits_of_the_file(advertise: int) -> None:
    """10 ms to 40.95 s in steps of 10 ms, refused with the code that the file would get."""
    with pytest.raises(Problems) as caught:
        load_plan(EXAMPLES / "pair.yaml", advertise=advertise)
    assert caught.value.code == "E2113"


class Claim:
    """A group as the allocation sees it."""

    def __init__(self, vrid: int | None, *networks: str) -> None:
        self.vrid = vrid
        self.addresses = dict.fromkeys(networks)


def test_allocated_vrids_collide_with_nobody_on_a_lan() -> None:
    """Neither with numbers from the file, wherever they stand in it, nor with each other; other LANs do not matter."""
    free = allocate_vrids("shop", {"a": Claim(None, "x")})["a"]
    taken = {"a": Claim(None, "x"), "b": Claim(free, "x"), "c": Claim(free + 1, "y", "x"), "d": Claim(free, "z")}
    assert allocate_vrids("shop", taken)["a"] == free + 2
    many = {f"g{i}": Claim(None, "x") for i in range(15)}
    assert len(set(allocate_vrids("shop", many).values())) == 15


def test_an_allocated_vrid_survives_edits_elsewhere() -> None:
    """It follows from the names, so a group that is added before another does not move it."""
    alone = allocate_vrids("shop", {"edge": Claim(None, "x")})["edge"]
    assert allocate_vrids("shop", {"other": Claim(None, "y"), "edge": Claim(None, "x")})["edge"] == alone
    assert allocate_vrids("farm", {"edge": Claim(None, "x")})["edge"] != alone
