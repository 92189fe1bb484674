"""NAT of IOS in nftables: statics as map elements, dynamic rules as chains in IOS's order, nothing per flow.

    in -> out   prerouting   outside local  -> outside global    maps, `outside source`
                postrouting  inside local   -> inside global     static maps, then dynamic rules
    out -> in   prerouting   inside global  -> inside local      static maps, allocated addresses, rotaries
                postrouting  outside global -> outside local     maps, `outside source`

A map holds all statics of its kind, so the cost of a packet does not grow with their number. A static beats every
dynamic rule; of those, lists come before route-maps, numbered ones by number (docs/reference/nat.md).

What the router itself sends has no incoming interface: it counts as coming from the inside, as on IOS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from understudy.ios.model import Configuration, Dynamic, Pool, Role, Side, Static
from understudy.render.ios_match import Uncompiled, selection
from understudy.render.text import Chain, Elements

ROTARY_MAX = 4096
DETOUR_MARK = 0x7573_1000
"""Packet mark, plus the number of an outside interface: routed by its table, whatever the main one says."""
_PORTED = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Allocated:
    """A pool without overload: addresses that only an allocator can hand out, one a host, in ascending order."""

    number: int
    pool: Pool
    side: Side
    extended: bool
    """An entry for each flow (a route-map's rule), not for each host."""


@dataclass(frozen=True, slots=True)
class Detour:
    """Destinations that must leave by an outside interface although the same addresses exist inside."""

    mark: int
    interface: str
    destinations: tuple[IPv4Address | IPv4Network, ...]
    """Outside local."""
    via: IPv4Address | None


@dataclass(frozen=True, slots=True)
class IosNat:
    """What a configuration's NAT is in a kernel: parts of table `inet understudy`, and what is needed around it."""

    declared: tuple[Elements, ...]
    chains: tuple[Chain, ...]
    prerouting: tuple[str, ...]
    """Rules for the nat chain at `dstnat`."""
    postrouting: tuple[str, ...]
    """Rules for the nat chain at `srcnat`."""
    marking: tuple[str, ...]
    """Rules for a chain before `dstnat` that choose the detours."""
    held: tuple[IPv4Address | IPv4Network, ...]
    """Addresses that the Active must be asked for on the outside: translated ones that are no interface's own."""
    allocated: tuple[Allocated, ...]
    detours: tuple[Detour, ...]
    left_out: tuple[str, ...]
    """What has no counterpart, a sentence each."""


@dataclass(slots=True)
class _Maps:
    """Elements by map, in the order of the configuration; of two with one key the first stays, as on IOS."""

    contents: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, name: str, key: str, value: str) -> None:
        self.contents.setdefault(name, {}).setdefault(key, value)

    def elements(self, name: str, declaration: str) -> Elements:
        return Elements("map", name, declaration, tuple(f"{k} : {v}" for k, v in self.contents.get(name, {}).items()))


_HOST = "type ipv4_addr : ipv4_addr;"
_NET = "type ipv4_addr : interval ipv4_addr; flags interval;"
_PORT = "type ipv4_addr . inet_service : ipv4_addr . inet_service;"


def render_ios_nat(configuration: Configuration, ports: Mapping[str, str], shared: Mapping[str, IPv4Address]) -> IosNat:
    """`ports` names the kernel's interface for each of the configuration; `shared` the address that an interface's name
    stands for in a rule: the group's on that network, or else the interface's own.
    """
    return _Compiler(configuration, ports, shared).result()


class _Compiler:
    def __init__(
        self, configuration: Configuration, ports: Mapping[str, str], shared: Mapping[str, IPv4Address]
    ) -> None:
        self._configuration = configuration
        self._ports = ports
        self._own = {each.name: each.addresses[0].ip for each in configuration.interfaces if each.addresses}
        self._own.update(shared)
        self._pools = {pool.name: pool for pool in configuration.pools}
        self._maps = _Maps()
        self._chains: list[Chain] = []
        self._allocated: list[Allocated] = []
        self._left_out: list[str] = []
        self._held: dict[IPv4Address | IPv4Network, None] = {}

    def result(self) -> IosNat:
        static_chains = [name for s in self._configuration.statics if (name := self._static(s)) is not None]
        rules = self._in_order()
        source = [rule for rule in rules if rule.side is Side.INSIDE]
        outside = [rule for rule in rules if rule.side is Side.OUTSIDE]
        rotary = [rule for rule in rules if rule.side is Side.DESTINATION]
        into, out = self._interfaces(Role.OUTSIDE), self._interfaces(Role.INSIDE)
        self._chains += [
            Chain("ios_in", (*self._lookups("in", "dnat", "daddr", "dport"), *self._enter(rotary, "ios_rotary"))),
            Chain("ios_local", ("dnat ip to ip daddr map @ios_local_host", *self._network("local", "dnat", "daddr"))),
            Chain(
                "ios_out",
                (
                    *self._lookups("out", "snat", "saddr", "sport"),
                    *static_chains,
                    *self._enter(source, "ios_source"),
                ),
            ),
            Chain(
                "ios_global",
                (
                    "snat ip to ip saddr map @ios_global_host",
                    *self._network("global", "snat", "saddr"),
                    *self._enter(outside, "ios_outside"),
                ),
            ),
            Chain("ios_nothing", ()),
        ]
        detours = self._detours()
        return IosNat(
            declared=self._declared(),
            chains=tuple(self._chains),
            prerouting=(f"iifname {into} jump ios_in", f"iifname {out} jump ios_local") if into and out else (),
            postrouting=(
                # A packet of the router's own has no incoming interface, and counts as from inside.
                f"oifname {into} meta iif != 0 iifname != {out} return",
                f"oifname {into} jump ios_out",
                f"oifname {out} iifname {into} jump ios_global",
            )
            if into and out
            else (),
            marking=tuple(
                f"iifname {out} ip daddr {{ {', '.join(map(str, each.destinations))} }} meta mark set {each.mark:#x}"
                for each in detours
            ),
            held=tuple(self._held),
            allocated=tuple(self._allocated),
            detours=detours,
            left_out=tuple(self._left_out),
        )

    # --- statics

    def _static(self, static: Static) -> str | None:
        """Its elements in the maps; or, under a condition, a rule of its own."""
        if static.vrf is not None:
            self._left_out.append(f"static of {static.local} in VRF {static.vrf}: needs VRF devices")
            return None
        other = static.global_ if static.interface is None else self._own.get(static.interface)
        if other is None:
            self._left_out.append(f"static of {static.local}: {static.interface} has no address")
            return None
        if static.interface is None and not static.no_alias and static.side is not Side.OUTSIDE:
            self._hold(other, static.length)
        if static.side is Side.OUTSIDE:
            # Here `local` is the outside local address and `global_` the outside global one.
            self._pair(static, "local", static.local, other, static.local_port, static.global_port)
            self._pair(static, "global", other, static.local, static.global_port, static.local_port)
            return None
        self._pair(static, "in", other, static.local, static.global_port, static.local_port)
        if static.route_map is None:
            self._pair(static, "out", static.local, other, static.local_port, static.global_port)
            return None
        return self._conditional(static, other)

    def _pair(
        self,
        static: Static,
        way: str,
        key: IPv4Address,
        value: IPv4Address,
        key_port: int | None,
        value_port: int | None,
    ) -> None:
        if static.length is not None:
            length = static.length
            self._maps.put(f"ios_{way}_net", str(_net(key, length)), str(_net(value, length)))
        elif static.protocol in _PORTED and key_port is not None:
            self._maps.put(f"ios_{way}_{static.protocol}", f"{key} . {key_port}", f"{value} . {value_port}")
        else:
            self._maps.put(f"ios_{way}_host", str(key), str(value))

    def _conditional(self, static: Static, other: IPv4Address) -> str | None:
        number = sum(chain.name.startswith("ios_when") for chain in self._chains)
        name, then = f"ios_when{number}x", f"ios_then{number}"
        port = f":{static.global_port}" if static.global_port is not None else ""
        condition = f"ip saddr {static.local}"
        if static.protocol in _PORTED and static.local_port is not None:
            condition += f" {static.protocol} sport {static.local_port}"
        protocol = f"meta l4proto {static.protocol} " if port else ""
        try:
            self._chains += selection(self._configuration, static, name, then, "ios_nothing", self._ports)
        except Uncompiled as error:
            self._left_out.append(f"static of {static.local}: {error.what}")
            return None
        self._chains.append(Chain(then, (f"{protocol}snat ip to {other}{port}",)))
        return f"{condition} jump {name}"

    # --- dynamic rules

    def _in_order(self) -> tuple[Dynamic, ...]:
        """Lists before route-maps, numbers before names, the lower first; route-maps by name."""

        def rank(rule: Dynamic) -> tuple[int, int, str]:
            if rule.access_list is not None:
                number = rule.access_list.isdecimal()
                return (0, int(rule.access_list), "") if number else (1, 0, rule.access_list)
            return (2, 0, rule.route_map or "")

        return tuple(sorted(self._configuration.dynamics, key=rank))

    def _enter(self, rules: Sequence[Dynamic], name: str) -> tuple[str, ...]:
        """Chains for the rules, each leading to the next; the rule that enters the first."""
        made = []
        for rule in rules:
            try:
                action = self._action(rule)
                if action is not None:
                    made.append((rule, action))
            except Uncompiled as error:
                self._left_out.append(f"{rule.access_list or rule.route_map}: {error.what}")
        entered: list[str] = []
        for rule, action in made:
            number = len(entered)
            here, then = f"{name}{number}x", f"{name}{number}_do"
            following = f"{name}{number + 1}x"
            try:
                chains = selection(self._configuration, rule, here, then, following, self._ports)
            except Uncompiled as error:
                self._left_out.append(f"{rule.access_list or rule.route_map}: {error.what}")
                continue
            self._chains += [*chains, Chain(then, action)]
            entered.append(here)
        if not entered:
            return ()
        self._chains.append(Chain(f"{name}{len(entered)}x", ()))
        return (f"jump {entered[0]}",)

    def _action(self, rule: Dynamic) -> tuple[str, ...] | None:
        """What becomes of a flow that the rule selects."""
        if rule.vrf is not None:
            raise Uncompiled(f"VRF {rule.vrf} needs VRF devices")
        if rule.side is Side.DESTINATION:
            return self._rotary(rule)
        if rule.interface is not None:
            # An interface that is down or has no address still takes the flow, and it goes nowhere.
            address = self._own.get(rule.interface)
            return (f"snat ip to {address}" if address is not None else "drop",)
        pool = self._pools.get(rule.pool or "")
        if pool is None:
            return None
        if pool.kind == "match-host" and pool.segments:
            mask = 0xFFFFFFFF << (32 - pool.length) & 0xFFFFFFFF
            network = _net(pool.segments[0].first, pool.length)
            self._held[network] = None
            return (f"snat ip to ip saddr & {IPv4Address(~mask & 0xFFFFFFFF)} | {network.network_address}",)
        if not rule.overload:
            return self._allocate(rule, pool)
        usable = spans(pool)
        for first, last in usable:
            for address in (first, last):
                self._hold(address, pool.length, span=True)
        if len(usable) == 1:
            first, last = usable[0]
            return (f"snat ip to {first}" if first == last else f"snat ip to {first}-{last} persistent",)
        listed = [str(address) for first, last in usable for address in _each(first, last)][:ROTARY_MAX]
        choices = ", ".join(f"{n} : {address}" for n, address in enumerate(listed))
        return (f"snat ip to jhash ip saddr mod {len(listed)} map {{ {choices} }}",)

    def _allocate(self, rule: Dynamic, pool: Pool) -> tuple[str, ...]:
        number = len(self._allocated)
        self._allocated.append(Allocated(number, pool, rule.side, rule.route_map is not None))
        self._hold(pool.segments[0].first, pool.length, span=True) if pool.segments else None
        return (f"snat ip to ip saddr map @ios_pool{number}_out", "drop")

    def _rotary(self, rule: Dynamic) -> tuple[str, ...] | None:
        pool = self._pools.get(rule.pool or "")
        if pool is None or not pool.segments:
            return None
        listed = [address for first, last in spans(pool) for address in _each(first, last)][:ROTARY_MAX]
        choices = ", ".join(f"{n} : {address}" for n, address in enumerate(listed))
        return (f"meta l4proto tcp dnat ip to numgen inc mod {len(listed)} map {{ {choices} }}",)

    # --- maps and what is around

    def _lookups(self, way: str, verb: str, address: str, port: str) -> tuple[str, ...]:
        ported = tuple(
            f"meta l4proto {each} {verb} ip to ip {address} . {each} {port} map @ios_{way}_{each}" for each in _PORTED
        )
        hosts = f"{verb} ip to ip {address} map @ios_{way}_host"
        pools = [each for each in self._allocated if each.side is Side.INSIDE and not each.extended]
        back = tuple(f"dnat ip to ip daddr map @ios_pool{each.number}_in" for each in pools) if way == "in" else ()
        return (*ported, hosts, *self._network(way, verb, address), *back)

    def _network(self, way: str, verb: str, address: str) -> tuple[str, ...]:
        name = f"ios_{way}_net"
        return (f"{verb} ip prefix to ip {address} map @{name}",) if name in self._maps.contents else ()

    def _declared(self) -> tuple[Elements, ...]:
        made = [self._maps.elements(f"ios_{way}_{each}", _PORT) for way in ("in", "out") for each in _PORTED]
        for way in ("in", "out", "local", "global"):
            made.append(self._maps.elements(f"ios_{way}_host", _HOST))
            if f"ios_{way}_net" in self._maps.contents:
                made.append(self._maps.elements(f"ios_{way}_net", _NET))
        for each in self._allocated:
            made += [Elements("map", f"ios_pool{each.number}_{way}", _HOST, ()) for way in ("out", "in")]
        return tuple(made)

    def _interfaces(self, role: Role) -> str:
        names = [self._ports[each.name] for each in self._configuration.interfaces if role in each.roles]
        quoted = ", ".join(f'"{name}"' for name in names)
        return f"{{ {quoted} }}" if names else ""

    def _hold(self, address: IPv4Address, length: int | None, *, span: bool = False) -> None:
        own = [i for each in self._configuration.interfaces for i in each.addresses]
        if any(address == each.ip for each in own):
            return
        if length is not None and not span:
            self._held[_net(address, length)] = None
        else:
            self._held[address] = None

    def _detours(self) -> tuple[Detour, ...]:
        """Where an outside global address exists inside as well, its outside local one needs a way of its own."""
        inside = [
            i.network for each in self._configuration.interfaces if Role.INSIDE in each.roles for i in each.addresses
        ]
        outside = [each for each in self._configuration.interfaces if Role.OUTSIDE in each.roles]
        wanted: list[IPv4Address | IPv4Network] = []
        for static in self._configuration.statics:
            if static.side is Side.OUTSIDE and static.global_ is not None:
                net = _net(static.global_, static.length if static.length is not None else 32)
                if any(net.overlaps(each) for each in inside):
                    wanted.append(_net(static.local, static.length) if static.length is not None else static.local)
        if not wanted or not outside:
            return ()
        leaving = outside[0]
        via = next((r.next_hop for r in self._configuration.routes if r.next_hop is not None and r.vrf is None), None)
        return (Detour(DETOUR_MARK, self._ports[leaving.name], tuple(wanted), via),)


def spans(pool: Pool) -> list[tuple[IPv4Address, IPv4Address]]:
    """First and last usable address of each segment: neither the network's own nor its broadcast is handed out."""
    found = []
    for segment in pool.segments:
        first, last = segment.first, segment.last
        if pool.length < 31:
            first = first + 1 if first == _net(first, pool.length).network_address else first
            last = last - 1 if last == _net(last, pool.length).broadcast_address else last
        if first <= last:
            found.append((first, last))
    return found


def _each(first: IPv4Address, last: IPv4Address) -> list[IPv4Address]:
    return [IPv4Address(number) for number in range(int(first), min(int(last), int(first) + ROTARY_MAX) + 1)]


def _net(address: IPv4Address, length: int) -> IPv4Network:
    return IPv4Network((address, length), strict=False)
