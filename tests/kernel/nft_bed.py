"""Two gateways, servers and a client on each side, in namespaces: kernels as `render_node` wants them, and no agent."""

import contextlib
import errno
import os
import selectors
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import TypeVar

from understudy.adapters.links import Links
from understudy.adapters.nftables import Nft
from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace, write_sysctl
from understudy.render import NodeConfig, grant_lease, lease_short_mark, render_node, revoke_lease
from understudy.units import SECOND, NodeName

T = TypeVar("T")

PAIR = b"""
cluster: bed
networks:
  outside: [203.0.113.0/24, "2001:db8:1::/64"]
  inside: [10.9.0.0/24, "2001:db8:9::/64"]
nodes:
  gw1: {outside: [203.0.113.1, "2001:db8:1::1"], inside: [10.9.0.1, "2001:db8:9::1"]}
  gw2: {outside: [203.0.113.2, "2001:db8:1::2"], inside: [10.9.0.2, "2001:db8:9::2"]}
  web1: {inside: [10.9.0.11, "2001:db8:9::11"]}
  web2: {inside: [10.9.0.12, "2001:db8:9::12"]}
  web3: {inside: [10.9.0.13, "2001:db8:9::13"]}
redundancy:
  edge:
    mode: active-standby
    nodes: [gw1, gw2]
    addresses: {outside: [203.0.113.10, "2001:db8:1::10"], inside: [10.9.0.254, "2001:db8:9::254"]}
    advertise: 50ms
services:
  web:
    listen: [203.0.113.10:80, "[2001:db8:1::10]:80"]
    servers: [web1:8080, web2:8080, web3:8080]
    check: tcp
nat:
  - {source: inside, to: outside}
"""
WITHOUT_MAC = PAIR.replace(b"advertise: 50ms", b"advertise: 50ms\n    vrrp: {virtual_mac: false}")
OUTSIDE_CLIENT = "203.0.113.100"
INSIDE_CLIENT = "10.9.0.50"


def in_sandbox(story: Callable[[], T]) -> T:
    """Run a test's story in a private world, rootless or not; what it returns or raises comes back."""
    return sandbox.run(story)


def shell(text: str) -> None:
    for line in text.strip().splitlines():
        done = subprocess.run(line.split(), check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{line.strip()}: {done.stderr}"


class Machine(Namespace):
    """A namespace that is driven by `ip` commands."""

    @classmethod
    def new(cls, name: str) -> "Machine":
        fresh = Namespace.create(name)
        machine = cls(name, fresh.fd)
        machine.sh("ip link set lo up")
        return machine

    def sh(self, text: str) -> None:
        self.run(shell, text)

    def cable(self, other: "Machine", here: str, there: str) -> None:
        self.sh(f"ip link add {here} type veth peer name {there} netns /proc/{os.getpid()}/fd/{other.fd}")

    def output(self, text: str) -> str:
        return self.run(subprocess.run, text.split(), check=True, capture_output=True, text=True).stdout


class Gateway:
    """A gateway whose kernel holds a `NodeConfig`; becoming Active is done by hand."""

    def __init__(self, machine: Machine, plan: Plan, node: str) -> None:
        self.machine = machine
        self.plan = plan
        self.node = NodeName(node)
        self.config: NodeConfig = render_node(plan, self.node)
        self.nft: Nft = machine.run(Nft)

    def configure(self, *, rules: bool = True) -> None:
        self.nft.apply(self.config.ruleset)
        for path, value in self.config.sysctls:
            self.machine.sysctl(path, value)
        if rules:
            for rule in self.config.rules:
                self.machine.sh(f"ip -{rule.family} rule add {' '.join(rule.arguments)}")
            for family in {rule.family for rule in self.config.rules}:
                self.machine.sh(f"ip -{family} rule del pref 0")
        for link in self.config.links:
            if not link.is_macvlan:
                continue
            self.machine.sh(
                f"ip link add {link.name} link {link.parent} address {link.mac} type macvlan mode {link.mode}"
            )
            for path, value in link.sysctls:
                self.machine.sysctl(path, value)

    def activate(self) -> None:
        self.nft.run(grant_lease(1, 60 * SECOND))
        self.take()
        for address in self.config.addresses:
            mac = address.mac or link_address(self.machine, address.parent)
            self.send(address.parent, gratuitous(mac, str(address.address.ip)), 0)

    def take(self) -> None:
        self.machine.run(lambda: Links().take(self.config.links))

    def deactivate(self) -> None:
        self.nft.run(revoke_lease(1))
        self.machine.run(lambda: Links().release(self.config.links))

    def send(self, port: str, frame: bytes, mark: int) -> bool:
        """Whether the frame left: a packet socket is told ENOBUFS if the egress gate dropped it."""
        with self.machine.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((port, 0))
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            try:
                sender.send(frame)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return False
            return True

    def advertise(self, port: str = "outside", mark: int = lease_short_mark(1)) -> None:
        mac = next(each.mac for each in self.config.addresses if each.parent == port and each.address.version == 4)
        self.send(port, advertisement(mac), mark)


class Bed:
    """The whole topology: a bridge for each network, everyone plugged in."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.switch = Machine.new("switch")
        self.machines: dict[str, Machine] = {}
        for network in plan.networks:
            self.switch.sh(f"ip link add br-{network.name} type bridge mcast_snooping 0 forward_delay 0")
            self.switch.sh(f"ip link set br-{network.name} up")
        for node in plan.nodes:
            machine = self.add(str(node.name))
            for attachment in node.attachments:
                self.plug(machine, str(attachment.network), *(str(each) for each in attachment.addresses))
        self.client = self.add("client")
        self.plug(self.client, "outside", f"{OUTSIDE_CLIENT}/24", "2001:db8:1::100/64")
        # The worst case for a leak: the outside knows the way back to an inside address.
        self.client.sh("ip route add 10.9.0.0/24 via 203.0.113.10")
        self.office = self.add("office")
        self.plug(self.office, "inside", f"{INSIDE_CLIENT}/24", "2001:db8:9::50/64")
        for name in ("web1", "web2", "web3", "office"):
            self.machines[name].sh("ip route add default via 10.9.0.254\nip -6 route add default via 2001:db8:9::254")
        self.gateways = {name: Gateway(self.machines[name], plan, name) for name in ("gw1", "gw2")}

    def add(self, name: str) -> Machine:
        self.machines[name] = Machine.new(name)
        return self.machines[name]

    def plug(self, machine: Machine, network: str, *addresses: str) -> None:
        there = f"{network[:3]}-{machine.name}"
        machine.run(write_sysctl, "net/ipv6/conf/default/accept_dad", 0)
        machine.cable(self.switch, network, there)
        self.switch.sh(f"ip link set {there} master br-{network} up")
        machine.sh(f"ip link set {network} up")
        for address in addresses:
            machine.sh(f"ip addr add {address} dev {network}{' nodad' if ':' in address else ''}")


def bed(file: bytes = PAIR, **gateway_options: bool) -> Bed:
    built = Bed(load_plan(file))
    for gateway in built.gateways.values():
        gateway.configure(**gateway_options)
    return built


def link_address(machine: Machine, port: str) -> str:
    return machine.output(f"ip -br link show {port}").split()[2]


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def gratuitous(mac: str, address: str) -> bytes:
    """A gratuitous ARP or an unsolicited neighbour advertisement from the virtual MAC."""
    packed, hardware = ip_address(address).packed, mac_bytes(mac)
    if len(packed) == 4:
        return (
            b"\xff" * 6
            + hardware
            + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
            + (hardware + packed + b"\0" * 6 + packed)
        )
    return neighbour_advertisement(hardware, packed)


def neighbour_advertisement(hardware: bytes, target: bytes) -> bytes:
    destination = ip_address("ff02::1").packed
    body = struct.pack("!I", 0xA0000000) + target + b"\x02\x01" + hardware
    return bytes.fromhex("333300000001") + hardware + b"\x86\xdd" + icmpv6(136, target, destination, body)


def icmpv6(kind: int, source: bytes, destination: bytes, body: bytes, hop_limit: int = 255) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = source + destination + struct.pack("!II", len(message), 58)
    message = struct.pack("!BBH", kind, 0, internet_checksum(pseudo + message)) + body
    return struct.pack("!IHBB", 0x60000000, len(message), 58, hop_limit) + source + destination + message


def internet_checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    addresses = ip_address(source).packed + ip_address(destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 255, protocol, 0) + addresses
    return head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:] + payload


def advertisement(mac: str) -> bytes:
    payload = bytes.fromhex("310a64010005") + b"\0\0"
    return bytes.fromhex("01005e000012") + mac_bytes(mac) + b"\x08\0" + ipv4("203.0.113.1", "224.0.0.18", 112, payload)


class Flow:
    """One TCP connection with both ends in this process."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.reset = False

    def close(self) -> None:
        for end in (self.client, self.server):
            end.close()


def listen(machine: Machine, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = machine.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(512)
    listener.setblocking(False)
    return listener


def connect(
    machine: Machine, target: tuple[str, int], listeners: Sequence[socket.socket], count: int, timeout_s: float = 5
) -> list[Flow]:
    """Open connections at once and pair both ends by the client's port, which neither DNAT nor SNAT changes."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    clients: dict[int, socket.socket] = {}
    for _ in range(count):
        client = machine.socket(family, socket.SOCK_STREAM)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(target)
        clients[client.getsockname()[1]] = client
    flows: list[Flow] = []
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while len(flows) < count and time.monotonic() < deadline:
            for key, _ in selector.select(0.2):
                assert isinstance(key.fileobj, socket.socket)
                server, peer = key.fileobj.accept()
                server.setblocking(False)
                flows.append(Flow(clients.pop(peer[1]), server))
    return flows


def exchange(flows: Iterable[Flow], *, server_first: bool = False, timeout_s: float = 5) -> tuple[int, int]:
    """One message and its answer on every flow; returns how many were answered and how many were reset."""
    waiting: dict[socket.socket, tuple[Flow, bool]] = {}
    answered = 0
    with selectors.DefaultSelector() as selector:
        for flow in flows:
            asker, answerer = (flow.server, flow.client) if server_first else (flow.client, flow.server)
            waiting[asker], waiting[answerer] = (flow, True), (flow, False)
            for end in (asker, answerer):
                selector.register(end, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                asker.send(b"?")
        pending = len(waiting) // 2
        deadline = time.monotonic() + timeout_s
        while pending and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                flow, asks = waiting[key.fileobj]
                try:
                    data = key.fileobj.recv(64)
                    if data and not asks:
                        key.fileobj.send(b"!")
                        continue
                except OSError:
                    data = b""
                if data and asks:
                    answered += 1
                elif flow.reset:
                    continue
                else:
                    flow.reset = True
                pending -= 1
                selector.unregister(key.fileobj)
    return answered, sum(flow.reset for flow in waiting_flows(waiting))


def waiting_flows(waiting: dict[socket.socket, tuple[Flow, bool]]) -> list[Flow]:
    return [flow for flow, asks in waiting.values() if asks]
