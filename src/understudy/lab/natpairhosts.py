"""The hosts around a pair on which a case of NAT is tried: who sends its packets, and sees what comes out.

A client stands for everybody on its network: it sends whole frames to the virtual MAC address, and whatever leaves by
that network comes to it, because the nodes' kernels know no other neighbour there. What is delivered to a node itself
is logged by a table of ours in its kernel, behind the translation and before its own rules judge it.
"""

import contextlib
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from understudy.adapters.packetlog import PacketLog, drain
from understudy.errors import DecodeError, EnvironmentFailure, OperatorError
from understudy.ios.model import Configuration, Interface, Role
from understudy.lab.build import Lab
from understudy.lab.natbed import VRF_TABLE
from understudy.lab.natcases import Case, Seen, Step
from understudy.lab.natpairfile import PairFile, Place
from understudy.lab.natwire import NUMBERS, fields_of, payload, sides
from understudy.render.ios_vrf import MARK_MASK, found_vrfs
from understudy.units import MILLISECOND, SECOND, Duration
from understudy.wire import arp
from understudy.wire.frame import ETHERTYPE_IPV4, ethernet_frame, ip_packet

_ANY = ("any", None)
_OUTGOING = 4
_ARP, _REPLY = b"\x08\x06", b"\0\2"
_ETH_P_ALL = 3
"""Whoever listens for one protocol alone is asked after the ingress hook, which drops it here."""
_DEAF = """table netdev case {
    chain deaf {
        type filter hook ingress device eth0 priority 0; policy accept;
        ether type ip drop
    }
}
"""
_LOG_GROUP = 0x4350
_LOGGED_MAX = 64
_TELLING = f"""table inet case
delete table inet case
table inet case {{
    chain telling {{
        type filter hook prerouting priority dstnat + 50; policy accept;
        meta nfproto ipv4 fib daddr type local log group {_LOG_GROUP} snaplen 65535
    }}
}}
"""


class Hosts:
    """Of a lab that is up. `configuration` is what its lines say."""

    def __init__(self, lab: Lab, file: PairFile, case: Case, configuration: Configuration) -> None:
        self._lab, self._file, self._case, self._configuration = lab, file, case, configuration
        self._wires: dict[str, socket.socket] = {}
        self._inputs: list[PacketLog] = []
        self._words = 0
        for place in file.places:
            self._open(place)

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()
        for log in self._inputs:
            log.close()

    def _open(self, place: Place) -> None:
        namespace = self._lab.namespaces[place.client]
        wire = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("eth0", _ETH_P_ALL))
        self._wires[place.network] = wire
        # Its kernel would answer for it: connections that it knows nothing of would be reset.
        namespace.run(_nft, _DEAF)

    def furnish(self, node: str) -> None:
        """A node's kernel learns where everybody is: all that is on a network is its client."""
        lines = []
        hosts = self._hosts()
        hops = [each.next_hop for each in self._configuration.routes if each.next_hop is not None]
        for place in self._file.places:
            port = self._lab.topology.port(node, place.network).interface
            mac = self._lab.topology.port(place.client, place.network).mac.hex(":")
            # Of overlapping networks a host may be meant on the other side, too.
            lines += [f"neigh replace {host} lladdr {mac} dev {port} nud permanent" for host in {*hosts, *hops}]
        for host, place in hosts.items():
            port = self._lab.topology.port(node, place.network).interface
            lines.append(f"route replace {host}/32 dev {port}")
        lines += self._vrf_routes(node)
        namespace = self._lab.namespaces[node]
        namespace.run(_batch, lines)
        self._inputs.append(namespace.run(PacketLog, _LOG_GROUP))
        namespace.run(_nft, _TELLING)

    def _vrf_routes(self, node: str) -> Iterator[str]:
        """A table with what is inside a VRF, as an operator adds one; for the rest the main one is asked."""
        interfaces = {each.name: each.name for each in self._configuration.interfaces}
        of = {place.interface: place for place in self._file.places}
        for vrf in found_vrfs(self._configuration, interfaces, {}).values():
            place = next((of[each] for each in vrf.inside if each in of), None)
            if place is None:
                continue
            port = self._lab.topology.port(node, place.network).interface
            table = VRF_TABLE + vrf.zone
            yield f"rule add fwmark {vrf.mark:#x}/{MARK_MASK:#x} lookup {table} pref {1000 + vrf.zone}"
            for host in self._inside(vrf.name):
                yield f"route replace {host}/32 dev {port} table {table}"

    def _inside(self, vrf: str) -> Iterator[IPv4Address]:
        """Whom the packets of a VRF come from or go to, but for those on networks of their own."""
        connected = [i.network for each in self._configuration.interfaces for i in each.addresses]
        for step in self._case.steps:
            coming, going = sides(step.direction) if not step.lines else (None, None)
            told = {coming: step.sent.get("src"), going: step.expected.get("dst")}.get(Role.INSIDE)
            if step.vrf == vrf and isinstance(told, str) and told not in _ANY:
                host = IPv4Address(told)
                if not any(host in each for each in connected):
                    yield host

    def _hosts(self) -> dict[IPv4Address, Place]:
        """Whoever sends or is sent to, and on whose side."""
        own = {i.ip for each in self._configuration.interfaces for i in each.addresses}
        found: dict[IPv4Address, Place] = {}
        for step in self._case.steps:
            if step.lines:
                continue
            coming, going = sides(step.direction)
            told = step.expected.get("dst", "any")
            target = told if isinstance(told, str) and told not in _ANY else step.sent["dst"]
            for text, role, named in ((step.sent["src"], coming, None), (target, going, step.egress)):
                host = IPv4Address(str(text))
                place = self._place_of(host, role, named)
                # Of a host in several VRFs the first way will do: they have tables, and rp_filter wants any way at all.
                if host not in own and place is not None:
                    found.setdefault(host, place)
        # Whom a rotary may choose.
        for pool in self._configuration.pools:
            for part in pool.segments if pool.kind == "rotary" else ():
                for number in range(int(part.first), min(int(part.last), int(part.first) + 255) + 1):
                    place = self._place_of(IPv4Address(number), Role.INSIDE, None)
                    if place is not None:
                        found.setdefault(IPv4Address(number), place)
        return found

    def _place_of(self, host: IPv4Address, role: Role | None, named: str | None) -> Place | None:
        """Of a host: by the interface's own network, by the routes of the lines, else the first of the role."""
        interfaces = {each.name: each for each in self._configuration.interfaces if each.addresses}
        chosen: Interface | None = interfaces.get(named or "")
        if chosen is None:
            chosen = next((e for e in interfaces.values() if any(host in i.network for i in e.addresses)), None)
        if chosen is None:
            for route in sorted(self._configuration.routes, key=lambda each: -each.prefix.prefixlen):
                if host in route.prefix and route.prefix.prefixlen and chosen is None:
                    chosen = next((e for e in interfaces.values() if _leads(route.next_hop, route.interface, e)), None)
        if chosen is None and role is not None:
            chosen = next((each for each in interfaces.values() if role in each.roles), None)
        return next((place for place in self._file.places if chosen and place.interface == chosen.name), None)

    def answers(self, place: Place) -> bool:
        """Whether the group's address answers ARP on a network: a packet that comes before that is merely lost."""
        port = self._lab.topology.port(place.client, place.network)
        routers = (router for group in self._lab.plan.groups for router in group.routers)
        target = next(r.addresses[0].ip for r in routers if r.network == place.network and r.family == 4)
        assert isinstance(target, IPv4Address)
        own = port.addresses[0].ip
        wire = self._wires[place.network]
        _empty(wire)
        wire.send(arp.request_frame(target, IPv4Address(str(own)), port.mac))
        until = time.monotonic_ns() + 20 * MILLISECOND
        while (left := until - time.monotonic_ns()) > 0 and select.select([wire], [], [], left / SECOND)[0]:
            frame = wire.recv(2048)
            if frame[12:14] != _ARP or frame[20:22] != _REPLY:
                continue
            with contextlib.suppress(DecodeError):
                if arp.decode(frame).sender == target:
                    return True
        return False

    def arrival(self, source: IPv4Address, step: Step) -> str:
        role, _ = sides(step.direction)
        of = [each for each in self._configuration.interfaces if role in each.roles and each.addresses]
        of = [each for each in of if each.vrf == step.vrf] or (of if role is Role.OUTSIDE or step.vrf is None else [])
        if not of:
            raise OperatorError("E7112", f"no interface is {role} in this configuration", "ip nat inside | outside")
        place = self._place_of(source, role, None)
        names = [each.name for each in of]
        if place is None or place.interface not in names:
            place = next(each for each in self._file.places if each.interface == names[0])
        return place.network

    def carry(self, fields: Mapping[str, Any], protocol: str, stage: str, network: str, wait: Duration) -> Seen:
        """One packet in, by a network or from the node of that name; what comes out. `interface` is the network."""
        self._words += 1
        word = struct.pack("!4sI", b"Pkt!", self._words)
        source, target = IPv4Address(str(fields["src"])), IPv4Address(str(fields["dst"]))
        packet = ip_packet(source, target, NUMBERS[protocol], payload(protocol, fields, source, target, word, stage))
        for wire in self._wires.values():
            _empty(wire)
        for log in self._inputs:
            drain(log)
        if network not in self._wires:
            sender = self._lab.namespaces[network].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            with sender, contextlib.suppress(PermissionError):
                sender.sendto(packet, (str(target), 0))
        else:
            mac = bytes.fromhex(self._router_mac(network).replace(":", ""))
            own = self._lab.topology.port(f"client-{network}", network).mac
            self._wires[network].send(ethernet_frame(mac, own, ETHERTYPE_IPV4, packet))
        return self._look(word, fields, protocol, time.monotonic_ns() + wait)

    def _router_mac(self, network: str) -> str:
        routers = (router for group in self._lab.plan.groups for router in group.routers)
        return next(router.mac for router in routers if router.network == network and router.family == 4)

    def _look(self, word: bytes, sent: Mapping[str, Any], protocol: str, deadline: int) -> Seen:
        names = {wire: name for name, wire in self._wires.items()}
        logs = {log.socket: log for log in self._inputs}
        while (left := deadline - time.monotonic_ns()) > 0:
            ready, _, _ = select.select([*names, *logs], [], [], left / SECOND)
            for each in ready:
                for frame in _frames(each, logs):
                    found = fields_of(frame, protocol) if word in frame else None
                    if found is not None:
                        changed = any(str(found.get(name)) != str(sent[name]) for name in found)
                        return Seen("translated" if changed else "untranslated", found, names.get(each, ""))
        return Seen("dropped")


def _frames(ready: socket.socket, logs: Mapping[socket.socket, PacketLog]) -> list[bytes]:
    """What came by a cable, or was delivered; not what we sent."""
    if ready in logs:
        return [bytes(12) + b"\x08\x00" + each.packet for each in logs[ready].read(_LOGGED_MAX)]
    frame, address = ready.recvfrom(4096)
    return [] if address[2] == _OUTGOING else [frame]


def _leads(hop: IPv4Address | None, name: str | None, interface: Interface) -> bool:
    return name == interface.name or (hop is not None and any(hop in i.network for i in interface.addresses))


def _batch(lines: Sequence[str]) -> None:
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailure("ip", "-batch", done.stderr.strip()[:300])


def _nft(text: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailure("nft", "-f", done.stderr.strip()[:300])


def _empty(each: socket.socket) -> None:
    while select.select([each], [], [], 0)[0]:
        each.recv(65536)
