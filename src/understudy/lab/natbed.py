"""A router in a scratch namespace, on which cases of NAT are tried with real packets.

One cable for each interface of the configuration; whoever is behind it is this module: it sends whole frames and looks
at what comes out of all cables. Every packet carries a word of its own, so that nothing else is taken for it. Links
resolve no neighbours: a frame that leaves is seen, wherever it would have gone.
"""

import contextlib
import fcntl
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from itertools import count
from typing import Any, TypeVar

from understudy.adapters.nftables import Nft
from understudy.agent.allocator import AllocatorLoop
from understudy.agent.nat_view import Cleared, View, clear, given_of, view
from understudy.agent.turns import TurnKeeper
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.ios.asking import Clearing
from understudy.ios.model import Configuration, Role
from understudy.ios.profiles import DEFAULT
from understudy.ios.reader import read_text
from understudy.ios.translations import Given
from understudy.lab.namespace import Namespace, write_sysctl
from understudy.lab.natcases import Seen, Step
from understudy.lab.natrules import ruleset
from understudy.lab.natwire import NUMBERS, fields_of, payload, resolved, sides
from understudy.render.ios_first import AGAIN_MASK, allocation
from understudy.render.ios_nat import IosNat, render_ios_nat
from understudy.render.ios_scene import Wishes
from understudy.render.ios_vrf import MARK_MASK, Vrf
from understudy.units import MILLISECOND
from understudy.wire.frame import ETHERTYPE_IPV4, ethernet_frame, ip_packet

T = TypeVar("T")

WAIT = 1_000 * MILLISECOND
"""For a packet that is expected to come out."""
WAIT_NOTHING = 60 * MILLISECOND
LINKS_PATIENCE = 5_000 * MILLISECOND
INTERFACES_MAX = 64
DETOUR_TABLE = 20_000
VRF_TABLE = 30_000
_ETH_P_IP = socket.htons(ETHERTYPE_IPV4)
_OUTGOING = 4
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_BEDS = count()


class Bed:
    """A router that holds a configuration. Raises OperatorError for lines that are refused."""

    def __init__(
        self, config: str, steps: Sequence[Step], profile: str = DEFAULT, *, wishes: Wishes | None = None
    ) -> None:
        self._wishes = wishes or Wishes(profile=profile)
        self._text = config
        self._configuration = _read(config)
        self._interfaces = self._configuration.interfaces[:INTERFACES_MAX]
        self._ports = {each.name: f"e{number}" for number, each in enumerate(self._interfaces)}
        self._router = Namespace.create("router", _forwarding)
        self._nft = self._router.run(Nft)
        self._allocator = self._router.run(AllocatorLoop)
        self._turns: TurnKeeper | None = None
        self._wires: dict[str, socket.socket] = {}
        self._inputs: list[socket.socket] = []
        self._macs: dict[str, bytes] = {}
        self._words = 0
        self._answered: set[int] = set()
        self.left_out: tuple[str, ...] = ()
        self._nat: IosNat
        try:
            self._plug()
            self._address(steps)
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for each in (*self._wires.values(), *self._inputs):
            each.close()
        self._allocator.close()
        if self._turns is not None:
            self._turns.close()
        self._nft.close()
        self._router.close()

    def enter(self, lines: Sequence[str]) -> None:
        """More lines of configuration, on the running router."""
        self._text += "\n" + "\n".join(lines) + "\n"
        self._configuration = _read(self._text)
        self._load()

    def run(self, body: Callable[..., T], *arguments: Any) -> T:
        """Carry out something in the router's namespace."""
        return self._router.run(body, *arguments)

    @property
    def nft(self) -> Nft:
        return self._nft

    @property
    def nat(self) -> IosNat:
        """What the router holds now."""
        return self._nat

    # --- the table

    def given(self) -> tuple[Given, ...]:
        """The allocator's entries, in the order of giving."""
        pools = {each.number: each for each in self._nat.allocated}
        entries = self._allocator.machine.entries()
        return tuple(given_of(pools[e.pool], e.host, e.given) for e in entries if e.pool in pools)

    def view(self) -> View:
        """The table of translations."""
        return self._router.run(view, self._configuration, self._nat, self.given())

    def clear(self, which: Clearing) -> Cleared:
        """Take entries away, from the kernel and from the allocator."""
        seen = self.view()

        def release(entries: Sequence[Given], everything: bool) -> list[Given]:
            return [each for each in entries if self._allocator.clear(int(each.given))]

        return self._router.run(clear, seen, which, release)

    # --- the router

    def _plug(self) -> None:
        for number, name in enumerate(self._ports.values()):
            outer = f"w{next(_BEDS)}"  # the last one's may still be going
            self._macs[name] = bytes((2, 0, 0, 0, 1, number))
            mac = self._macs[name].hex(":")
            there = f"/proc/self/fd/{self._router.fd}"
            _ip(f"link add {outer} type veth peer name {name} address {mac} netns {there}", keep=self._router.fd)
            _ip(f"link set {outer} up arp off")
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            wire.bind((outer, ETHERTYPE_IPV4))
            self._wires[name] = wire
        self._inputs = [self._router.socket(socket.AF_INET, socket.SOCK_RAW, each) for each in NUMBERS.values()]

    def _address(self, steps: Sequence[Step]) -> None:
        lines = []
        for each in self._interfaces:
            port = self._ports[each.name]
            lines.append(f"link set {port} up arp off")
            lines += [f"address add {address} dev {port}" for address in each.addresses]
        self._router.run(batch, lines)
        self._await_links()
        # The kernel is done with a link's coming up when the next request is answered.
        lines = ["link set lo up"]
        lines += [f"route replace {host}/32 dev {port}" for host, port in self._hosts(steps)]
        nat = self._rendered()
        lines += [line for vrf in nat.vrfs for line in self._vrf_routes(vrf, steps)]
        self._router.run(batch, lines)
        for port in self._ports.values():
            self._router.run(write_sysctl, f"net/ipv4/conf/{port}/rp_filter", 0)
            self._router.run(write_sysctl, f"net/ipv4/conf/{port}/accept_local", 1)

    def _vrf_routes(self, vrf: Vrf, steps: Sequence[Step]) -> Iterator[str]:
        """A table with what is inside the VRF; for the rest the main one is asked, as after `global`."""
        table = VRF_TABLE + vrf.zone
        yield f"rule add fwmark {vrf.mark:#x}/{MARK_MASK:#x} lookup {table} pref {1000 + vrf.zone}"
        for each in self._interfaces:
            if self._ports[each.name] in vrf.inside:
                yield from (
                    f"route replace {i.network} dev {self._ports[each.name]} table {table}" for i in each.addresses
                )
        for step in steps:
            coming, going = sides(step.direction) if not step.lines else (None, None)
            told = step.expected.get("dst") if step.direction == "out>in" else step.sent.get("src")
            if step.vrf == vrf.name and Role.INSIDE in (coming, going) and isinstance(told, str):
                yield f"route replace {told}/32 dev {vrf.inside[0]} table {table}"

    def _await_links(self) -> None:
        """A link that was just set up drops what is sent until the kernel has found its carrier."""
        deadline = time.monotonic_ns() + LINKS_PATIENCE
        ends = [(wire, wire.getsockname()[0]) for wire in self._wires.values()]
        ends += [(self._inputs[0], port) for port in self._wires]
        while not all(_running(*end) for end in ends):
            if time.monotonic_ns() > deadline:
                raise EnvironmentFailure("set up", "links", "no carrier")
            time.sleep(0.002)

    def _hosts(self, steps: Sequence[Step]) -> Iterator[tuple[IPv4Address, str]]:
        """Where whoever is not on a connected network is: on the side that the packet says."""
        own = {i.ip for each in self._interfaces for i in each.addresses}
        known: set[IPv4Address] = set()
        for step in steps:
            if step.lines:
                continue
            coming, going = sides(step.direction)
            told = step.expected.get("dst", "any")
            dst = told if isinstance(told, str) and told != "any" else step.sent["dst"]
            for text, role, named in ((step.sent["src"], coming, None), (dst, going, step.egress)):
                host = IPv4Address(str(text))
                if host in own or host in known or role is None or (step.vrf and role is Role.INSIDE):
                    continue
                if named is None and any(host in i.network for each in self._interfaces for i in each.addresses):
                    continue
                port = self._port_towards(host, role, named)
                if port is not None:
                    known.add(host)
                    yield host, port

    def _port_towards(self, host: IPv4Address, role: Role, named: str | None) -> str | None:
        if named is not None:
            return self._ports.get(named)
        for route in sorted(self._configuration.routes, key=lambda each: -each.prefix.prefixlen):
            if host in route.prefix and route.prefix.prefixlen:
                hop = route.next_hop
                for each in self._interfaces:
                    if route.interface == each.name or (
                        hop is not None and any(hop in i.network for i in each.addresses)
                    ):
                        return self._ports[each.name]
        return next((self._ports[each.name] for each in self._interfaces if role in each.roles), None)

    def _load(self) -> None:
        self._nat = nat = self._rendered()
        self.left_out = nat.left_out
        self._nft.apply(ruleset(nat))
        if self._turns is not None:
            self._turns.close()
        self._turns = self._router.run(TurnKeeper, nat.rotaries)
        for path, value in nat.sysctls:
            self._router.run(write_sysctl, path, value)
        self._allocator.configure(nat.allocated, allocation(nat.allocated, nat.reserved, self._configuration.timeouts))
        lines = []
        kept = 0xFFFF_FFFF & ~AGAIN_MASK
        for number, each in enumerate(nat.detours):
            lines += [
                f"route replace default dev {each.interface} table {DETOUR_TABLE + number}",
                f"rule add fwmark {each.mark:#x}/{kept:#x} lookup {DETOUR_TABLE + number} pref {100 + number}",
            ]
        self._router.run(batch, lines)

    def _rendered(self) -> IosNat:
        wishes = self._wishes
        return render_ios_nat(self._configuration, self._ports, {}, wishes.profile, wishes=wishes)

    # --- packets

    def send(self, step: Step, before: Sequence[Seen | None]) -> Seen:
        """Send a step's packet in, and see what becomes of it."""
        self._words += 1
        word = struct.pack("!4sI", b"Pkt!", self._words)
        fields = resolved(step, before)
        number = NUMBERS.get(step.protocol)
        if number is None:
            return Seen("dropped")  # a payload that would have to be rewritten
        source, target = IPv4Address(str(fields["src"])), IPv4Address(str(fields["dst"]))
        # Of a flow that nobody answered yet more than its first packet again would be a lie.
        established = step.same_flow_as is not None and step.same_flow_as in self._answered
        stage = "answer" if step.reply_to is not None else "forth" if established else "begin"
        if step.reply_to is not None:
            self._answered.add(step.reply_to)
        packet = ip_packet(source, target, number, payload(step.protocol, fields, source, target, word, stage))
        for socket_ in (*self._wires.values(), *self._inputs):
            _empty(socket_)
        if step.direction == "local>out":
            sender = self._router.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            # Who sends a packet that is dropped after routing is told so, also if it goes on by another way.
            with sender, contextlib.suppress(PermissionError):
                sender.sendto(packet, (str(target), 0))
        else:
            port = self._arrival(source, step)
            self._wires[port].send(ethernet_frame(self._macs[port], b"\x02" + bytes(5), ETHERTYPE_IPV4, packet))
        return self._look(word, fields, step)

    def _arrival(self, source: IPv4Address, step: Step) -> str:
        role, _ = sides(step.direction)
        of = [each for each in self._interfaces if role in each.roles]
        # A VRF may share the outside with others.
        of = [each for each in of if each.vrf == step.vrf] or (of if role is Role.OUTSIDE or step.vrf is None else [])
        for each in of:
            if any(source in i.network for i in each.addresses):
                return self._ports[each.name]
        if not of:
            raise OperatorError("E7112", f"no interface is {role} in this configuration", "ip nat inside | outside")
        port = self._port_towards(source, of[0].roles[0], None) if role is not None else None
        return port if port in [self._ports[each.name] for each in of] else self._ports[of[0].name]

    def _look(self, word: bytes, sent: dict[str, str | int], step: Step) -> Seen:
        wait = WAIT_NOTHING if step.expected["verdict"] == "dropped" else WAIT
        deadline = time.monotonic_ns() + wait
        names = {wire: name for name, wire in self._wires.items()}
        while (left := deadline - time.monotonic_ns()) > 0:
            asking = self._allocator.sockets
            ready, _, _ = select.select([*names, *self._inputs, *asking], [], [], left / 1e9)
            for each in ready:
                if each in asking:
                    self._allocator.turn()
                    continue
                frame, address = each.recvfrom(4096)
                if word not in frame or (each in names and address[2] == _OUTGOING):
                    continue
                if each not in names:
                    frame = bytes(12) + b"\x08\x00" + frame
                found = fields_of(frame, step.protocol)
                if found is not None:
                    changed = any(str(found.get(name)) != str(sent[name]) for name in found)
                    return Seen("translated" if changed else "untranslated", found, names.get(each, ""))
        return Seen("dropped")


def _read(text: str) -> Configuration:
    reading = read_text(text)
    for line in reading.refused:
        reason = line.refusal.reason if line.refusal is not None else ""
        raise OperatorError("E7113", f"line {line.number} is refused: {reason}", line.text.strip()[:120])
    return reading.configuration


def _forwarding() -> None:
    for path, value in (
        ("net/ipv4/ip_forward", 1),
        ("net/ipv4/conf/all/rp_filter", 0),
        ("net/ipv4/conf/all/send_redirects", 0),
        ("net/ipv4/conf/default/send_redirects", 0),
    ):
        write_sysctl(path, value)
    _ip("link set lo up")


def _ip(words: str, keep: int | None = None) -> None:
    kept = () if keep is None else (keep,)
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False, pass_fds=kept)
    if done.returncode:
        raise EnvironmentFailure("ip", words, done.stderr.strip()[:300])


def batch(lines: Sequence[str]) -> None:
    """What `ip` is told, in the network namespace of the calling thread."""
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailure("ip", "-batch", done.stderr.strip()[:300])


def _running(there: socket.socket, name: str) -> bool:
    """Whether an interface of the socket's namespace is up and has a carrier."""
    answer = fcntl.ioctl(there, _SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_RUNNING)


def _empty(each: socket.socket) -> None:
    while select.select([each], [], [], 0)[0]:
        each.recv(65536)
