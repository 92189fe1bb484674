"""Configurations of NAT and packets by chance, the same for the same seed: material for `nat explain` against traffic.

Every kind of rule, list and pool comes by, also where they meet: a static within a pool, a host in two lists, a list
that nobody wrote. Addresses are few, so that packets meet the rules; what begins a flow is never repeated, so that
every packet is the first of its flow. VRFs are left out: a packet of theirs needs more than an interface.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

INSIDE = {"GigabitEthernet0/0": "10.1.0", "GigabitEthernet0/1": "10.2.0"}
OUTSIDE = {"GigabitEthernet0/2": "203.0.113", "GigabitEthernet0/3": "192.0.2"}
NEITHER = {"GigabitEthernet0/4": "10.7.0"}
BEHIND = {"GigabitEthernet0/0": "10.50.0", "GigabitEthernet0/2": "198.51.100", "GigabitEthernet0/3": "198.51.101"}
"""A network behind a router on that interface's network."""
OWN = 254
HOP = 9
HOSTS = range(1, 9)
PORTS = (22, 53, 80, 443, 500, 2222, 4500, 8080)
_PORTED = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Shot:
    """One packet: from which side, by which interface, and what it says."""

    side: str
    """in, out or local."""
    interface: str | None
    protocol: str
    source: str
    destination: str
    source_port: int
    """Or the identifier of ICMP."""
    destination_port: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration, and packets in the order of sending."""

    seed: int
    text: str
    profile: str
    shots: tuple[Shot, ...]


def trial(seed: int, packets: int) -> Trial:
    """The configuration and the packets of a seed."""
    generator = random.Random(f"nat explain {seed}")
    made = _Configuration(generator)
    text = made.text()
    return Trial(seed, text, made.profile, tuple(_Packets(generator, made).shots(packets)))


@dataclass(slots=True)
class _Configuration:
    generator: random.Random
    lines: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    globals_: list[str] = field(default_factory=list)
    """Inside global addresses that some line names."""
    locals_: list[str] = field(default_factory=list)
    """Inside local addresses that some line names."""
    far_local: list[str] = field(default_factory=list)
    far_global: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=lambda: list(PORTS))
    virtual: list[str] = field(default_factory=list)
    profile: str = "classic"
    outside: tuple[str, ...] = ()
    _lists: int = 0
    _pools: int = 0

    def text(self) -> str:
        self.profile = self.generator.choices(("classic", "ios-xe-15.5", "ios-xe-modern"), (8, 1, 1))[0]
        self.outside = tuple(OUTSIDE)[: self.generator.choice((1, 2))]
        self._interfaces()
        makers: tuple[tuple[Callable[[], None], int], ...] = (
            (self._static_host, 4),
            (self._static_port, 4),
            (self._static_network, 1),
            (self._static_interface, 1),
            (self._static_condition, 2),
            (self._outside_static, 2),
            (self._overload_interface, 3),
            (self._overload_pool, 2),
            (self._plain_pool, 3),
            (self._map_pool, 2),
            (self._outside_pool, 1),
            (self._rotary, 2),
            (self._missing, 1),
            (self._limit, 1),
            (self._timeout, 1),
        )
        for _ in range(self.generator.randint(2, 8)):
            self.generator.choices([make for make, _ in makers], [weight for _, weight in makers])[0]()
        self.generator.shuffle(self.rules)  # lists and pools may stand behind the rule that names them
        return "\n".join((*self.lines, *self.rules)) + "\n"

    # --- the router

    def _interfaces(self) -> None:
        for role, named in (("inside", INSIDE), ("outside", OUTSIDE), ("", NEITHER)):
            for name, net in named.items():
                if role == "outside" and name not in self.outside:
                    continue
                self.lines += [f"interface {name}", f" ip address {net}.{OWN} 255.255.255.0"]
                self.lines += [f" ip nat {role}"] if role else []
        self.lines.append(f"ip route 0.0.0.0 0.0.0.0 {OUTSIDE['GigabitEthernet0/2']}.{HOP}")
        for name, net in BEHIND.items():
            hop = {**INSIDE, **OUTSIDE}[name]
            if name in INSIDE or name in self.outside:
                self.lines.append(f"ip route {net}.0 255.255.255.0 {hop}.{HOP}")

    # --- addresses

    def inside_host(self) -> str:
        net = self.generator.choices((*INSIDE.values(), BEHIND["GigabitEthernet0/0"]), (4, 2, 1))[0]
        return f"{net}.{self.generator.choice(HOSTS)}"

    def outside_host(self) -> str:
        nets = [net for name, net in (*OUTSIDE.items(), *BEHIND.items()) if name in self.outside]
        return f"{self.generator.choice(nets)}.{200 + self.generator.choice(HOSTS)}"

    def _global(self) -> str:
        """On the outside network, or routed to the router."""
        net = self.generator.choices((OUTSIDE["GigabitEthernet0/2"], "198.18.0"), (3, 1))[0]
        address = f"{net}.{self.generator.randint(20, 40)}"
        self.globals_.append(address)
        return address

    def _local(self) -> str:
        self.locals_.append(self.inside_host())
        return self.locals_[-1]

    def _port(self) -> int:
        return self.generator.choice(PORTS)

    # --- lists and route-maps

    def _list(self, *, extended: bool | None = None) -> str:
        self._lists += 1
        extended = self.generator.random() < 0.5 if extended is None else extended
        number = (100 if extended else 1) + self._lists
        named = self.generator.random() < 0.3
        name = f"L{self._lists}" if named else str(number)
        block = [f"ip access-list {'extended' if extended else 'standard'} {name}"] if named else []
        for _ in range(self.generator.randint(1, 4)):
            entry = self._extended_entry() if extended else f"{self._action()} {self._from()}"
            block.append(f" {entry}" if named else f"access-list {name} {entry}")
        self.rules.append("\n".join(block))
        return name

    def _action(self) -> str:
        return self.generator.choices(("permit", "deny"), (4, 1))[0]

    def _from(self) -> str:
        net = self.generator.choice((*INSIDE.values(), BEHIND["GigabitEthernet0/0"]))
        return self.generator.choice(
            (f"{net}.0 0.0.0.255", f"host {self._local()}", f"{net}.0 0.0.0.3", f"{net}.1 0.0.0.254", "any")
        )

    def _to(self) -> str:
        nets = (BEHIND["GigabitEthernet0/2"], OUTSIDE["GigabitEthernet0/2"], NEITHER["GigabitEthernet0/4"])
        net = self.generator.choice(nets)
        return self.generator.choice((f"{net}.0 0.0.0.255", f"host {self.outside_host()}", "any", "any"))

    def _extended_entry(self) -> str:
        protocol = self.generator.choices(("ip", "tcp", "udp", "icmp", "gre"), (5, 3, 3, 1, 1))[0]
        ports = ("", "")
        if protocol in _PORTED:
            ports = (self._ports() if self.generator.random() < 0.2 else "", self._ports())
        return f"{self._action()} {protocol} {self._from()}{ports[0]} {self._to()}{ports[1]}"

    def _ports(self) -> str:
        one, other = sorted((self._port(), self._port()))
        return self.generator.choice(
            (
                "",
                f" eq {one}",
                f" range {one} {other}",
                f" gt {one}",
                f" lt {other}",
                f" neq {one}",
                f" eq {one} {other}",
            )
        )

    def _route_map(self) -> str:
        name = f"M{self.generator.randint(0, 9)}{self._lists}"
        for sequence in range(10, 10 * self.generator.randint(2, 3), 10):
            block = [f"route-map {name} {self._action()} {sequence}"]
            if self.generator.random() < 0.8:
                lists = " ".join(self._list() for _ in range(self.generator.randint(1, 2)))
                block.append(f" match ip address {lists}")
            if self.generator.random() < 0.4:
                block.append(f" match interface {self.generator.choice(self.outside)}")
            self.rules.append("\n".join(block))
        return name

    # --- rules

    def _static_host(self) -> None:
        self.rules.append(f"ip nat inside source static {self._local()} {self._global()}")

    def _static_port(self) -> None:
        protocol = self.generator.choice(_PORTED)
        here, there = self._port(), self._port()
        self.rules.append(f"ip nat inside source static {protocol} {self._local()} {here} {self._global()} {there}")

    def _static_network(self) -> None:
        net = self.generator.choice((*INSIDE.values(), BEHIND["GigabitEthernet0/0"]))
        seen = self.generator.choice(("198.18.7", "198.18.8"))
        self.globals_ += [f"{seen}.{n}" for n in HOSTS]
        self.rules.append(f"ip nat inside source static network {net}.0 {seen}.0 /24")

    def _static_interface(self) -> None:
        name, protocol = self.outside[0], self.generator.choice(_PORTED)
        self.globals_.append(f"{OUTSIDE[name]}.{OWN}")
        self.rules.append(
            f"ip nat inside source static {protocol} {self._local()} {self._port()} interface {name} {self._port()}"
        )

    def _static_condition(self) -> None:
        self.rules.append(f"ip nat inside source static {self._local()} {self._global()} route-map {self._route_map()}")

    def _outside_static(self) -> None:
        # Also an outside global address that exists inside: overlapping networks.
        far = self.inside_host() if self.generator.random() < 0.25 else self.outside_host()
        near = f"10.77.0.{self.generator.choice(HOSTS)}"
        self.far_global.append(far)
        self.far_local.append(near)
        if self.generator.random() < 0.3:
            port, other = self._port(), self._port()
            self.rules.append(f"ip nat outside source static tcp {far} {port} {near} {other}")
        else:
            self.rules.append(f"ip nat outside source static {far} {near}")

    def _overload_interface(self) -> None:
        name = self.generator.choice(self.outside)
        self.globals_.append(f"{OUTSIDE[name]}.{OWN}")
        self.rules.append(f"ip nat inside source {self._selected()} interface {name} overload")

    def _selected(self) -> str:
        return f"route-map {self._route_map()}" if self.generator.random() < 0.3 else f"list {self._list()}"

    def _pool(self, kind: str = "") -> str:
        self._pools += 1
        first = 64 + 8 * self._pools
        net = OUTSIDE["GigabitEthernet0/2"]
        last = first + self.generator.choice((0, 1, 3, 7))
        self.globals_ += [f"{net}.{n}" for n in range(first, last + 1)]
        length = self.generator.choice((24, 29))
        name = f"P{self._pools}"
        self.rules.append(f"ip nat pool {name} {net}.{first} {net}.{last} prefix-length {length}{kind}")
        return name

    def _overload_pool(self) -> None:
        pap = " pap" if self.generator.random() < 0.2 else ""
        self.rules.append(f"ip nat inside source {self._selected()} pool {self._pool()} overload{pap}")

    def _plain_pool(self) -> None:
        kind = " type match-host" if self.generator.random() < 0.2 else ""
        self.rules.append(f"ip nat inside source list {self._list()} pool {self._pool(kind)}")

    def _map_pool(self) -> None:
        reversible = self.generator.choice(("", " reversible"))
        self.rules.append(f"ip nat inside source route-map {self._route_map()} pool {self._pool()}{reversible}")

    def _outside_pool(self) -> None:
        self._pools += 1
        self._lists += 1
        self.far_local += [f"10.78.{self._pools}.{n}" for n in (1, 2)]
        net = BEHIND["GigabitEthernet0/2"]
        self.rules += [
            f"access-list {self._lists} permit {net}.0 0.0.0.255",
            f"ip nat pool P{self._pools} 10.78.{self._pools}.1 10.78.{self._pools}.4 prefix-length 24",
            f"ip nat outside source list {self._lists} pool P{self._pools}",
        ]

    def _rotary(self) -> None:
        self._pools += 1
        self._lists += 1
        virtual = f"203.0.113.{self.generator.randint(50, 55)}"
        self.virtual.append(virtual)
        net, first = INSIDE["GigabitEthernet0/0"], self.generator.choice(HOSTS)
        last = first + self.generator.choice((0, 1, 3))
        self.rules += [
            f"access-list {self._lists} permit {virtual}",
            f"ip nat pool P{self._pools} {net}.{first} {net}.{last} prefix-length 24 type rotary",
            f"ip nat inside destination list {self._lists} pool P{self._pools}",
        ]

    def _missing(self) -> None:
        """A list that stands nowhere, or a pool."""
        self.rules.append(
            self.generator.choice(
                (
                    f"ip nat inside source list 99 interface {self.outside[0]} overload",
                    f"ip nat inside source list {self._list()} pool NOWHERE overload",
                    f"ip nat inside source route-map NOWHERE interface {self.outside[0]} overload",
                )
            )
        )

    def _limit(self) -> None:
        scope = self.generator.choice((f"host {self._local()} 2", "all-host 4", "30"))
        self.rules.append(f"ip nat translation max-entries {scope}")

    def _timeout(self) -> None:
        which = self.generator.choice(("timeout", "tcp-timeout", "udp-timeout", "icmp-timeout", "dns-timeout"))
        self.rules.append(f"ip nat translation {which} {self.generator.choice((60, 300, 7200))}")


class _Packets:
    """First packets of flows, mostly to where the lines point."""

    def __init__(self, generator: random.Random, made: _Configuration) -> None:
        self._generator, self._made = generator, made
        self._begun: set[frozenset[str]] = set()
        self._number = 0

    def shots(self, count: int) -> list[Shot]:
        found: list[Shot] = []
        while len(found) < count:
            side = self._generator.choices(("in", "out", "local"), (10, 8, 1))[0]
            shot = {"in": self._inner, "out": self._outer, "local": self._own}[side]()
            if self._fresh(shot):
                found.append(shot)
        return found

    def _fresh(self, shot: Shot) -> bool:
        """Protocols without ports have one flow between two hosts, whatever names these go by."""
        if shot.protocol not in ("gre", "esp"):
            ends = (shot.protocol, shot.source, shot.source_port, shot.destination, shot.destination_port)
            flow = frozenset(map(str, ends))
            known = flow in self._begun
            self._begun.add(flow)
            return not known
        hosts = {frozenset((shot.protocol, shot.source)), frozenset((shot.protocol, shot.destination))}
        if hosts & self._begun:
            return False
        self._begun |= hosts
        return True

    def _inner(self) -> Shot:
        source = self._one_of((self._made.locals_, 3), (self._made.inside_host(), 2))
        interface = next(name for name, net in INSIDE.items() if self._net(source, "GigabitEthernet0/0") == net)
        own = {**INSIDE, **OUTSIDE, **NEITHER}[self._generator.choice((*INSIDE, self._made.outside[0]))]
        target = self._one_of(
            (self._made.outside_host(), 8), (self._made.far_local, 4), (self._made.globals_, 1),
            (self._made.inside_host(), 1), (f"{own}.{OWN}", 1), (f"{NEITHER['GigabitEthernet0/4']}.5", 1),
        )  # fmt: skip
        return self._shot("in", interface, source, target)

    def _outer(self) -> Shot:
        far = [each for each in self._made.far_global if each.partition(".")[0] != "10"]
        source = self._one_of((self._made.outside_host(), 4), (far, 3))
        interface = self._arrival(source)
        target = self._one_of(
            (self._made.globals_, 8), (self._made.virtual, 5), (self._made.inside_host(), 2),
            (f"{OUTSIDE[interface]}.{OWN}", 1), (f"{NEITHER['GigabitEthernet0/4']}.5", 1),
        )  # fmt: skip
        return self._shot("out", interface, source, target)

    def _own(self) -> Shot:
        source = f"{OUTSIDE['GigabitEthernet0/2']}.{OWN}"
        return self._shot("local", None, source, self._made.outside_host())

    def _shot(self, side: str, interface: str | None, source: str, target: str) -> Shot:
        protocols = ("tcp", "udp", "icmp") if side == "local" else ("tcp", "udp", "icmp", "gre", "esp")
        protocol = self._generator.choices(protocols, (8, 4, 3, 1, 1)[: len(protocols)])[0]
        self._number += 1
        # The other end's port is each packet's own, so that no packet answers another one.
        apart = 20_000 + self._number
        known = self._generator.choice(PORTS)
        near, far = (known if self._generator.random() < 0.3 else apart, self._generator.choice(PORTS))
        if side == "out":
            near, far = apart, known
        if protocol == "icmp":
            near, far = apart, 0
        elif protocol not in _PORTED:
            near = far = 0
        return Shot(side, interface, protocol, source, target, near, far)

    def _one_of(self, *choices: tuple[list[str] | str, int]) -> str:
        able = [(what, weight) for what, weight in choices if what]
        what = self._generator.choices([what for what, _ in able], [weight for _, weight in able])[0]
        return what if isinstance(what, str) else self._generator.choice(what)

    def _net(self, address: str, behind: str) -> str:
        net = address.rpartition(".")[0]
        return INSIDE[behind] if net == BEHIND[behind] else net

    def _arrival(self, source: str) -> str:
        net = source.rpartition(".")[0]
        return next(name for name, n in (*OUTSIDE.items(), *BEHIND.items()) if n == net)
