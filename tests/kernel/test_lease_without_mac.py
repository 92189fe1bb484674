"""The lease where the port's own MAC stands in for the virtual one: what it gates, and that nothing else meets it."""

import socket
import struct
import subprocess
import time
from ipaddress import IPv6Address, ip_address

import pytest
from nft_bed import (
    INSIDE_CLIENT,
    OUTSIDE_CLIENT,
    PAIR,
    WITHOUT_MAC,
    Bed,
    Gateway,
    Machine,
    bed,
    gratuitous,
    icmpv6,
    in_sandbox,
    ipv4,
    link_address,
    mac_bytes,
)
from test_flows import ALL_ALIVE, World
from test_lease import VIP, VIP6, active, ask_arp, ask_neighbour, ever

from understudy.adapters.links import Links
from understudy.render import (
    farewell_mark,
    grant_lease,
    lease_long_mark,
    lease_short_mark,
    quieten,
    render_node,
    revoke_lease,
    unquieten,
)
from understudy.units import SECOND

WAIT_S = 0.3
TWO_GROUPS = (
    PAIR.partition(b"redundancy:")[0]
    + b"""
redundancy:
  one: {nodes: [gw1, gw2], vrrp: {virtual_mac: false}, addresses: {outside: [203.0.113.10, "2001:db8:1::10"]}, vrid: 9}
  two: {nodes: [gw1, gw2], vrrp: {virtual_mac: false}, addresses: {inside: [10.9.0.254, "2001:db8:9::254"]}, vrid: 9}
"""
)


def from_port(gateway: Gateway, protocol: int, *, destination: str, mac: str = "") -> bytes:
    """A packet of this node's own from its port, such as an advertisement."""
    own = mac_bytes(mac or link_address(gateway.machine, "outside"))
    if ":" in destination:
        head = struct.pack("!IHBB", 0x60000000, 8, protocol, 255)
        packed = ip_address("2001:db8:1::1").packed + ip_address(destination).packed
        return bytes.fromhex("333300000012") + own + b"\x86\xdd" + head + packed + bytes(8)
    return bytes.fromhex("01005e000012") + own + b"\x08\0" + ipv4("203.0.113.1", destination, protocol, bytes(8))


def refreshed(gateway: Gateway, frame: bytes, mark: int) -> tuple[bool, list[int]]:
    """Whether the frame left, and whose lease lives then. No lease lived before."""
    gateway.nft.run(revoke_lease(1))
    return gateway.send("outside", frame, mark), sorted(gateway.nft.leases())


def test_an_advertisement_is_known_by_its_mark_whatever_its_mac_and_destination() -> None:
    """Multicast or unicast, IPv4 or IPv6; not a farewell, another group's, another protocol or somebody else's."""

    def story() -> list[tuple[bool, list[int]]]:
        gateway = bed(WITHOUT_MAC).gateways["gw1"]
        to_all, to_all6, to_peer = ("224.0.0.18", "ff02::12", "203.0.113.2")
        return [
            refreshed(gateway, from_port(gateway, protocol, destination=destination), mark)
            for protocol, destination, mark in (
                (112, to_all, lease_short_mark(1)),
                (112, to_peer, lease_long_mark(1)),
                (112, to_all6, lease_long_mark(1)),
                (112, to_all, farewell_mark(1)),
                (112, to_all, lease_short_mark(2)),
                (17, to_all, lease_short_mark(1)),
                (112, to_all, 0),
            )
        ]

    assert in_sandbox(story) == [(True, [1])] * 3 + [(True, [])] * 4


@pytest.mark.parametrize("sender", ["virtual", "port"])
def test_a_unicast_advertisement_refreshes_the_lease_of_a_virtual_mac(sender: str) -> None:
    """From either MAC, once the file says `unicast`; without that word the port's MAC refreshes nothing."""

    def story() -> list[list[int]]:
        seen = []
        for file in (PAIR.replace(b"advertise: 50ms", b"advertise: 50ms\n    vrrp: {unicast: true}"), PAIR):
            gateway = bed(file).gateways["gw1"]
            mac = gateway.config.links[0].mac if sender == "virtual" else ""
            frame = from_port(gateway, 112, destination="203.0.113.2", mac=mac)
            seen.append(refreshed(gateway, frame, lease_long_mark(1))[1])
        return seen

    assert in_sandbox(story) == [[1], [1] if sender == "virtual" else []]


def of_group(world: Bed) -> list[bool]:
    """What of the group is answered and forwarded."""
    gateway = world.gateways["gw1"]
    own = link_address(gateway.machine, "outside")
    link_local = next(each for link in gateway.config.links for each in link.addresses if each.ip.is_link_local)
    return [
        ask_arp(world.client, "outside", VIP) == own,
        ask_neighbour(world.client, "outside", VIP6) == own,
        ask_neighbour(world.client, "outside", str(link_local.ip)) == own,
        *answered(world.client, VIP, VIP6),
        *answered(world.office, OUTSIDE_CLIENT, VIP),  # through the gateway, and to its other port's address
    ]


def of_node(world: Bed) -> list[bool]:
    """What of the node itself passes."""
    gateway = world.gateways["gw1"]
    return [
        ask_arp(world.client, "outside", "203.0.113.1") == link_address(gateway.machine, "outside"),
        # The last two: the operator's, unknown to the file, and another port's.
        *answered(world.client, "203.0.113.1", "2001:db8:1::1", "203.0.113.77", "10.9.0.1"),
        *answered(gateway.machine, OUTSIDE_CLIENT, "2001:db8:1::100"),
        heard(gateway, world.gateways["gw2"]),
    ]


def answered(asker: Machine, *targets: str) -> list[bool]:
    """Which of the targets answer a ping, all asked at once."""

    def ask() -> list[subprocess.Popen[bytes]]:
        return [subprocess.Popen(["ping", "-c1", f"-W{WAIT_S}", each], stdout=subprocess.DEVNULL) for each in targets]

    return [each.wait() == 0 for each in asker.run(ask)]


def heard(gateway: Gateway, peer: Gateway) -> bool:
    """A datagram of the peer's to the heartbeat's port."""
    with (
        gateway.machine.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        peer.machine.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("203.0.113.1", 4112))
        receiver.settimeout(0.5)
        sender.sendto(b"beat", ("203.0.113.1", 4112))
        try:
            return receiver.recv(16) == b"beat"
        except TimeoutError:
            return False


def test_without_lease_nothing_of_the_group_is_answered_or_forwarded() -> None:
    """While all that is the node's own passes, the operator's address included; with the lease everything is back."""

    def story() -> dict[str, tuple[list[bool], list[bool]]]:
        world = bed(WITHOUT_MAC)
        world.machines["gw1"].sh("ip addr add 203.0.113.77/32 dev outside")
        world.client.sh("ip route add 10.9.0.1 via 203.0.113.1")
        gateway = active(world)

        def look(answers: bool) -> tuple[list[bool], list[bool]]:
            return ever(lambda: of_group(world), [answers] * 7), ever(lambda: of_node(world), [True] * 8)

        seen = {"alive": look(True)}
        gateway.nft.run(revoke_lease(1))
        seen["revoked"] = look(False)
        gateway.nft.run(grant_lease(1, SECOND * 60))
        seen["granted"] = look(True)
        gateway.nft.run(revoke_lease(1))
        gateway.nft.apply(render_node(world.plan, gateway.node, lease_enabled=False).ruleset)
        seen["control"] = look(True)
        return seen

    for moment, (group, node) in in_sandbox(story).items():
        assert group == [moment != "revoked"] * 7, moment
        assert node == [True] * 8, moment


def serve(gateway: Gateway, group: str) -> None:
    number = {"one": 1, "two": 2}[group]
    gateway.nft.run(grant_lease(number, 60 * SECOND))
    gateway.machine.run(lambda: Links().take([link for link in gateway.config.links if link.group == group]))


def test_each_group_answers_under_its_own_lease_whichever_port_a_packet_comes_by() -> None:
    """Another group's address is forwarded to where it is held; held here, it needs its own group's lease."""

    wanted = {
        "apart": [True, True, True, True, False],
        "the other frozen": [False, False, True, True, False],
        "here, without its lease": [False, False, True, True, False],
        "here": [True, True, True, True, True],
        "only the other lease": [True, True, False, False, False],
    }

    def story() -> dict[str, list[bool]]:
        world = bed(TWO_GROUPS)
        gw1, gw2 = world.gateways.values()
        world.client.sh("ip -6 route add 2001:db8:9::/64 via 2001:db8:1::10")

        def look(moment: str) -> list[bool]:
            targets = ("10.9.0.254", "2001:db8:9::254", VIP, VIP6, INSIDE_CLIENT)
            return ever(lambda: answered(world.client, *targets), wanted[moment])

        world.office.sh("ip route replace default via 10.9.0.1")  # or it would answer by the other group's address
        seen = {}
        serve(gw1, "one")
        serve(gw2, "two")
        seen["apart"] = look("apart")
        gw2.nft.run(revoke_lease(2))
        seen["the other frozen"] = look("the other frozen")
        serve(gw1, "two")
        gw1.nft.run(revoke_lease(2))
        seen["here, without its lease"] = look("here, without its lease")
        serve(gw1, "two")
        seen["here"] = look("here")
        gw1.nft.run(revoke_lease(1))
        seen["only the other lease"] = look("only the other lease")
        return seen

    assert in_sandbox(story) == wanted


def test_a_group_with_virtual_mac_and_one_without_share_a_node() -> None:
    """On a network each, in one table: either is silent without its own lease, and only then."""

    wanted = {
        ("one", "two"): [True] * 4,
        ("one",): [True, True, False, False],
        ("two",): [False, False, True, True],
    }

    def story() -> dict[tuple[str, ...], list[bool]]:
        world = bed(
            TWO_GROUPS.replace(b"two: {nodes: [gw1, gw2], vrrp: {virtual_mac: false}", b"two: {nodes: [gw1, gw2]")
        )
        gateway = world.gateways["gw1"]

        def look() -> list[bool]:
            return [*answered(world.client, VIP, VIP6), *answered(world.office, "10.9.0.254", "2001:db8:9::254")]

        seen = {}
        for alive, expected in wanted.items():
            gateway.nft.run(revoke_lease(1) + revoke_lease(2))
            for group in alive:
                serve(gateway, group)
            seen[alive] = ever(look, expected)
        return seen

    assert in_sandbox(story) == wanted


def test_what_speaks_for_a_virtual_address_leaves_with_lease_only_and_not_while_quiet() -> None:
    """ARP and ND are held back at the end of a hand-over, packets are not; the node's own frames never are."""

    def story() -> tuple[dict[str, list[bool]], dict[str, list[bool]]]:
        gateway = bed(WITHOUT_MAC).gateways["gw1"]
        mac = link_address(gateway.machine, "outside")
        own, to_client, to_client6 = mac_bytes(mac), b"\2\0\0\0\0\7", bytes.fromhex("333300000001")
        group = ip_address("ff02::1").packed
        solicitation = bytes(4) + IPv6Address("2001:db8:1::100").packed + b"\1\1" + own

        def frames(address: str, address6: str) -> list[bytes]:
            packed = ip_address(address6).packed
            ping = icmpv6(128, packed, group, bytes(4))
            return [
                gratuitous(mac, address),
                gratuitous(mac, address6),
                to_client6 + own + b"\x86\xdd" + icmpv6(135, packed, group, solicitation),
                to_client + own + b"\x08\0" + ipv4(address, OUTSIDE_CLIENT, 17, bytes(8)),
                to_client6 + own + b"\x86\xdd" + ping,
            ]

        virtual, nodes_own = {}, {}
        for moment, text in (
            ("no lease", revoke_lease(1)),
            ("lease", grant_lease(1, 60 * SECOND)),
            ("quiet", quieten(1)),
            ("over", unquieten(1)),
        ):
            gateway.nft.run(text)
            virtual[moment] = [gateway.send("outside", frame, 0) for frame in frames(VIP, VIP6)]
            nodes_own[moment] = [gateway.send("outside", frame, 0) for frame in frames("203.0.113.1", "2001:db8:1::1")]
        return virtual, nodes_own

    virtual, nodes_own = in_sandbox(story)
    assert virtual == {
        "no lease": [False] * 5,
        "lease": [True] * 5,
        "quiet": [False, False, False, True, True],
        "over": [True] * 5,
    }
    assert all(all(left) for left in nodes_own.values())


def test_tagged_frames_and_answers_of_dhcp_never_meet_the_gate() -> None:
    """Without lease a VLAN's frame gets past it, whatever becomes of it then, and so does an offer; no others do."""

    def story() -> list[bool]:
        world = bed(WITHOUT_MAC)
        gateway = world.gateways["gw1"]
        behind = 'add chain netdev behind every { type filter hook ingress device "outside" priority 0; }'
        gateway.nft.run(f"add table netdev behind\n{behind}\nadd set netdev behind seen {{ type ipv4_addr; }}\n")
        gateway.nft.run("add rule netdev behind every udp sport 7000 add @seen { ip daddr }\n")
        macs = [mac_bytes(link_address(machine, "outside")) for machine in (gateway.machine, world.client)]
        seen = []
        for tag, port, target in (
            (b"\x81\0\0\7", 7000, "10.9.0.51"),
            (b"", 68, "203.0.113.52"),
            (b"", 7000, "10.9.0.53"),
        ):
            datagram = ipv4(OUTSIDE_CLIENT, target, 17, struct.pack("!HHHH", 7000, port, 8, 0))
            with world.client.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind(("outside", 0))
                sender.send(b"".join(macs) + tag + b"\x08\0" + datagram)
            seen.append(target in gateway.nft.run("list set netdev behind seen\n"))
        return seen

    assert in_sandbox(story) == [True, True, False]


def test_established_connections_go_on_through_the_other_port_and_back() -> None:
    """Balanced and translated flows follow the address from MAC to MAC, while the old node is frozen with it."""

    def story() -> list[object]:
        world = World(WITHOUT_MAC)
        seen: list[object] = []
        for old, new in (("gw1", "gw2"), ("gw2", "gw1")):
            # Frozen: its lease ends, its addresses stay.
            world.bed.gateways[old].nft.run(revoke_lease(1))
            world.bed.gateways[new].activate()
            time.sleep(0.05)
            seen += [world.exchange(), world.exchange(server_first=True)]
            answers = ask_arp(world.bed.client, "outside", VIP)
            seen.append(answers == link_address(world.bed.machines[new], "outside"))
            world.bed.gateways[old].deactivate()
        return seen

    assert in_sandbox(story) == [ALL_ALIVE, ALL_ALIVE, True] * 2
