"""What the chains at a port's ingress keep from the kernel, and what not from the agent."""

import os
import select
import socket
import subprocess
from ipaddress import IPv4Address

from agent_worlds import ROOT
from hostile_frames import Scene, message, multicast

from understudy.adapters.packet import Port
from understudy.config import load_plan
from understudy.lab import sandbox
from understudy.render.flood import STRANGERS_A_SECOND, with_flood
from understudy.units import NodeName
from understudy.wire.checksum import checksum, pseudo_header_sum
from understudy.wire.frame import ETHERTYPE_IPV4, ethernet_frame, ip_packet

PLAN = load_plan(ROOT / "examples" / "pair.yaml")
OWN, PEER, STRANGER = (IPv4Address(f"203.0.113.{n}") for n in (1, 2, 100))
PORT = 4112
MANY = 5000
LATE_S = 5.0
"""Who comes does so within it."""
SHED_S = 0.3
"""The same, where some never come."""


def table() -> str:
    lease = "add table netdev understudy\ntable netdev understudy {\n\tset lease { type mark; flags timeout; }\n}\n"
    ports = {network.name: "near" for network in PLAN.networks}
    return with_flood(lease, PLAN, NodeName("gw1"), PLAN.groups, ports)


def datagram(port: Port, target: bytes, source: IPv4Address, source_port: int) -> bytes:
    head = source_port.to_bytes(2, "big") + PORT.to_bytes(2, "big") + (13).to_bytes(2, "big")
    covered = pseudo_header_sum(source, OWN, 17, 13)
    body = head + checksum(head + b"\0\0hello", covered).to_bytes(2, "big") + b"hello"
    return ethernet_frame(target, port.mac, ETHERTYPE_IPV4, ip_packet(source, OWN, 17, body))


def arrived(sock: socket.socket) -> int:
    number = 0
    while True:
        try:
            sock.recv(2048)
        except BlockingIOError:
            return number
        number += 1


def late(sock: socket.socket, missing: int, patience_s: float = LATE_S) -> int:
    """What still comes, if some are missing: a busy kernel delivers a little after the sender's call."""
    number = 0
    while number < missing and select.select([sock], [], [], patience_s)[0]:
        number += arrived(sock)
    return number


def story(loaded: bool) -> dict[str, int]:
    """How many of `MANY` came to whom."""
    os.system("ip link add near type veth peer name far && ip addr add 203.0.113.1/24 dev near")
    os.system("ip link set near up && ip link set far up")
    if loaded:
        subprocess.run(["nft", "-f", "-"], input=table(), text=True, check=True)
    near, far = Port("near", frozenset({4})), Port("far", frozenset())
    scene = Scene(STRANGER, far.mac, OWN, near.mac, 1, bytes(32))
    kernel = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
    membership = socket.inet_aton("224.0.0.18") + OWN.packed
    kernel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((str(OWN), PORT))
    for each in (kernel, channel):
        each.setblocking(False)
    found = {"agent": 0, "kernel": 0, "peer": 0, "peer, other port": 0, "stranger": 0}
    for _ in range(MANY // 20):
        for _ in range(20):
            far.send(multicast(scene, message()))
        select.select([near.socket], [], [], LATE_S)
        found["agent"] += near.receive() is not None
        found["kernel"] += arrived(kernel)
    found["kernel"] += late(kernel, 0 if loaded else MANY - found["kernel"])
    for name, source, port in (
        ("peer", PEER, PORT),
        ("peer, other port", PEER, 40000),
        ("stranger", STRANGER, PORT),
    ):
        for _ in range(MANY // 20):
            for _ in range(20):
                far.send(datagram(far, near.mac, source, port))
            found[name] += arrived(channel)
        found[name] += late(channel, MANY - found[name], SHED_S if loaded and name != "peer" else LATE_S)
    return found


def test_a_flood_ends_at_the_ports_ingress_and_the_peer_passes() -> None:
    """VRRP reaches the agent and not the kernel; strangers share a budget; of the peer's datagrams none is missing."""
    found = sandbox.run(lambda: story(True))
    assert found["agent"] == MANY // 20
    assert found["kernel"] == 0
    assert found["peer"] == MANY
    assert found["peer, other port"] + found["stranger"] < 8 * STRANGERS_A_SECOND


def test_without_the_chains_all_of_it_reaches_the_kernel() -> None:
    """The control of the test above."""
    found = sandbox.run(lambda: story(False))
    assert found == {"agent": MANY // 20, "kernel": MANY, "peer": MANY, "peer, other port": MANY, "stranger": MANY}


def tagged(text: str) -> int:
    """How many of ten advertisements on a VLAN of the port come past these chains."""
    os.system("ip link add near type veth peer name far && ip link set near up && ip link set far up")
    watch = (
        'table netdev watch {\n chain seen {\n  type filter hook ingress device "near" priority 0;\n'
        "  ether type vlan counter\n }\n}\n"
    )
    subprocess.run(["nft", "-f", "-"], input=text + watch, text=True, check=True)
    far = Port("far", frozenset())
    scene = Scene(STRANGER, far.mac, OWN, far.mac, 1, bytes(32))
    whole = multicast(scene, message())
    for _ in range(10):
        far.send(whole[:12] + b"\x81\x00\x00\x14" + whole[12:])
    listed = subprocess.run(["nft", "list", "table", "netdev", "watch"], capture_output=True, text=True, check=True)
    return int(listed.stdout.split("packets ")[1].split()[0])


def test_a_vlan_of_the_port_keeps_its_own_virtual_routers() -> None:
    """The same VRID under a tag is another LAN's business: it passes; without `ether type` it would not."""
    assert sandbox.run(lambda: tagged(table())) == 10
    assert sandbox.run(lambda: tagged(table().replace("ether type ip ", ""))) == 0
