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
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from types import MappingProxyType

from understudy.ios.model import Configuration, Dynamic, Pool, Role, Side, Static
from understudy.render.ios_first import (
    AGAIN_INSIDE,
    AGAIN_MASK,
    AGAIN_OUTSIDE,
    Allocated,
    ask,
    count_ports,
    keep_aside,
    kept_maps,
)
from understudy.render.ios_limits import (
    limits,
    overload_rules,
    timeout_chain,
    timeout_objects,
    timeout_sysctls,
    timeouts,
)
from understudy.render.ios_match import Uncompiled, selection
from understudy.render.ios_vrf import MARK_MASK, VRFS_MAX, Vrf
from understudy.render.text import Chain, Elements

ROTARY_MAX = 4096
DETOUR_MARK = 0x7573_1000
"""Packet mark, plus the number of an outside interface: routed by its table, whatever the main one says."""
_PORTED = ("tcp", "udp")
_VRF_LIMIT = "in a VRF with inside interfaces of its own, static hosts and ports and overload are done, nothing else"
_ENTRANCES = ((Side.INSIDE, "ios_source"), (Side.OUTSIDE, "ios_outside"), (Side.DESTINATION, "ios_rotary"))
_WAYS = ("in", "out", "local", "global")


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

    objects: str
    """Declarations of `ct timeout` objects, before everything that names them."""
    declared: tuple[Elements, ...]
    kept: tuple[Elements, ...]
    """Maps of the allocator: made if they are missing, and never flushed."""
    chains: tuple[Chain, ...]
    prerouting: tuple[str, ...]
    """Rules for the nat chain at `dstnat`."""
    postrouting: tuple[str, ...]
    """Rules for the nat chain at `srcnat`."""
    output: tuple[str, ...]
    """Rules for a nat chain at the output hook: first packets that the allocator sends again."""
    marking: tuple[str, ...]
    """Rules for a chain before `dstnat` that choose the detours."""
    held: tuple[IPv4Address | IPv4Network, ...]
    """Addresses that the Active must be asked for on the outside: translated ones that are no interface's own."""
    allocated: tuple[Allocated, ...]
    reserved: tuple[tuple[IPv4Address, IPv4Address], ...]
    """First and last of each range that no pool may hand out: of interfaces and statics."""
    detours: tuple[Detour, ...]
    sysctls: tuple[tuple[str, int], ...]
    vrfs: tuple[Vrf, ...]
    """Each has a routing table, chosen by its mark, before the main one."""
    zoning: tuple[str, ...]
    """Rules for a filter chain at prerouting before conntrack."""
    zoning_again: tuple[str, ...]
    """The same at the output hook."""
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


def render_ios_nat(
    configuration: Configuration,
    ports: Mapping[str, str],
    shared: Mapping[str, IPv4Address],
    profile: str = "classic",
    arrivals: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> IosNat:
    """`ports` names the kernel's interface for each of the configuration; `shared` the address that an interface's name
    stands for in a rule: the group's on that network, or else the interface's own. `profile` says how `overload`
    chooses ports (ios.profiles): the kernel's way costs nothing, the others ask the allocator. `arrivals` names further
    interfaces of the kernel by which packets of one of the configuration come in.
    """
    return _Compiler(configuration, ports, shared, profile, arrivals).result()


class _Compiler:
    def __init__(
        self,
        configuration: Configuration,
        ports: Mapping[str, str],
        shared: Mapping[str, IPv4Address],
        profile: str,
        arrivals: Mapping[str, Sequence[str]],
    ) -> None:
        self._profile = profile
        self._arrivals = arrivals
        self._configuration = configuration
        self._ports = ports
        self._own = {each.name: each.addresses[0].ip for each in configuration.interfaces if each.addresses}
        self._own.update(shared)
        self._vrfs = self._found_vrfs()
        self._pools = {pool.name: pool for pool in configuration.pools}
        self._maps = _Maps()
        self._chains: list[Chain] = []
        self._allocated: dict[str, Allocated] = {}
        self._left_out: list[str] = []
        self._held: dict[IPv4Address | IPv4Network, None] = {}

    def result(self) -> IosNat:
        static_chains = [name for s in self._configuration.statics if (name := self._static(s)) is not None]
        rules = self._in_order()
        source, outside, rotary = (
            self._enter([rule for rule in rules if rule.side is side], name) for side, name in _ENTRANCES
        )
        capped = limits(self._configuration, self._ports)
        self._left_out += capped.left_out
        policies = timeouts(self._configuration)
        into, out = self._interfaces(Role.OUTSIDE), self._interfaces(Role.INSIDE)
        self._chains += [
            *capped.chains,
            Chain("ios_limits", capped.rules),
            timeout_chain(policies),
            Chain("ios_in", ("jump ios_timeouts", *self._lookups("in", "dnat", "daddr", "dport"), *rotary)),
            Chain(
                "ios_local",
                (
                    *self._lookups("local", "dnat", "daddr", "dport"),
                    "dnat ip to ip daddr map @ios_far_in",
                ),
            ),
            Chain(
                "ios_out",
                (
                    # What is sent again was counted when it came.
                    *((f"meta mark & {AGAIN_MASK:#x} == 0 jump ios_limits",) if capped.rules else ()),
                    "jump ios_timeouts",
                    *self._lookups("out", "snat", "saddr", "sport"),
                    *static_chains,
                    # Who has an entry keeps it for all flows: lists are asked to make one, and not again.
                    "snat ip to ip saddr map @ios_entry_out",
                    *source,
                ),
            ),
            Chain(
                "ios_global",
                (
                    *self._lookups("global", "snat", "saddr", "sport"),
                    "snat ip to ip saddr map @ios_far_out",
                    *outside,
                ),
            ),
            Chain("ios_nothing", ()),
        ]
        detours = self._detours()
        return IosNat(
            objects=timeout_objects(policies),
            declared=(*self._declared(), *capped.declared),
            kept=kept_maps(tuple(self._allocated.values())),
            chains=tuple(self._chains),
            prerouting=(
                f"meta nfproto ipv4 iifname {into} jump ios_in",
                f"meta nfproto ipv4 iifname {out} jump ios_local",
            )
            if into and out
            else (),
            postrouting=(
                # A list's `any` must not mean IPv6.
                "meta nfproto != ipv4 return",
                # A packet of the router's own has no incoming interface, and counts as from inside.
                f"oifname {into} meta iif != 0 iifname != {out} return",
                f"oifname {into} jump ios_out",
                f"oifname {out} iifname {into} jump ios_global",
                f"oifname {out} meta mark & {AGAIN_MASK:#x} == {AGAIN_OUTSIDE:#x} jump ios_global",
            )
            if into and out
            else (),
            output=(
                f"meta nfproto ipv4 meta mark & {AGAIN_MASK:#x} == {AGAIN_INSIDE:#x} jump ios_local",
                f"meta nfproto ipv4 meta mark & {AGAIN_MASK:#x} == {AGAIN_OUTSIDE:#x} jump ios_in",
            ),
            marking=self._vrf_marking(into)
            + tuple(
                f"iifname {out} ip daddr {{ {', '.join(map(str, each.destinations))} }} meta mark set {each.mark:#x}"
                for each in detours
            ),
            held=tuple(self._held),
            allocated=tuple(self._allocated.values()),
            reserved=self._reserved(),
            detours=detours,
            sysctls=timeout_sysctls(self._configuration),
            vrfs=tuple(self._vrfs.values()),
            zoning=tuple(each.zoning for each in self._vrfs.values()),
            zoning_again=tuple(each.zoning_again for each in self._vrfs.values()),
            left_out=tuple(self._left_out),
        )

    # --- statics

    def _static(self, static: Static) -> str | None:
        """Its elements in the maps; or, under a condition, a rule of its own."""
        if static.vrf is not None and not self._in_vrf(static):
            self._left_out.append(f"static of {static.local} in VRF {static.vrf}: {_VRF_LIMIT}")
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
        if static.vrf is not None:
            return self._vrfs[static.vrf].translation(static)
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

    # --- VRFs

    def _found_vrfs(self) -> dict[str, Vrf]:
        inside: dict[str, list[str]] = {}
        for each in self._configuration.interfaces:
            if each.vrf is not None and Role.INSIDE in each.roles:
                inside.setdefault(each.vrf, []).append(self._ports[each.name])
        named = list(inside.items())[:VRFS_MAX]
        return {name: Vrf(name, zone, tuple(ports)) for zone, (name, ports) in enumerate(named, start=1)}

    def _in_vrf(self, static: Static) -> bool:
        """Whether an entry in a VRF is a plain one, of an inside host or its port."""
        plain = static.side is Side.INSIDE and static.length is None and static.interface is None
        return plain and static.vrf in self._vrfs and static.route_map is None

    def _where(self, rule: Dynamic, following: str) -> tuple[str, ...]:
        """A rule speaks of the flows of its VRF, or of those in none."""
        if not self._vrfs or rule.side is not Side.INSIDE:
            return ()
        if rule.vrf is None:
            marks = ", ".join(f"{each.mark:#x}" for each in self._vrfs.values())
            return (f"meta mark & {MARK_MASK:#x} {{ {marks} }} goto {following}",)
        return (f"meta mark & {MARK_MASK:#x} != {self._vrfs[rule.vrf].mark:#x} goto {following}",)

    def _vrf_marking(self, outside: str) -> tuple[str, ...]:
        statics = [each for each in self._configuration.statics if each.vrf is not None and self._in_vrf(each)]
        return tuple(
            rule
            for vrf in self._vrfs.values()
            for rule in vrf.marking(outside, [each for each in statics if each.vrf == vrf.name])
        )

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
            first = Chain(here, (*self._where(rule, following), *chains[0].rules))
            self._chains += [first, *chains[1:], Chain(then, action)]
            entered.append(here)
        if not entered:
            return ()
        self._chains.append(Chain(f"{name}{len(entered)}x", ()))
        return (f"jump {entered[0]}",)

    def _action(self, rule: Dynamic) -> tuple[str, ...] | None:
        """What becomes of a flow that the rule selects."""
        if rule.vrf is not None and (rule.vrf not in self._vrfs or rule.side is not Side.INSIDE or not rule.overload):
            raise Uncompiled(f"VRF {rule.vrf}: {_VRF_LIMIT}")
        if rule.side is Side.DESTINATION:
            return self._rotary(rule)
        if rule.interface is not None:
            # An interface that is down or has no address still takes the flow, and it goes nowhere.
            address = self._own.get(rule.interface)
            if address is None:
                return ("drop",)
            return self._overload(address, interface=True)
        pool = self._pools.get(rule.pool or "")
        if pool is None:
            return None
        if not rule.overload or pool.kind == "match-host":
            return self._allocate(rule, pool)
        usable = self._hold_spans(pool)
        if not usable:
            return ("drop",)
        first, last = usable[0]
        if rule.pap and first != last:
            return (f"snat ip to {first}-{last} persistent",)
        # IOS fills one address before it takes the next; here a port serves many destinations, so that one lasts.
        return self._overload(first, interface=False)

    def _overload(self, address: IPv4Address, *, interface: bool) -> tuple[str, ...]:
        if self._profile == "ios-xe-modern":
            return count_ports(address)
        aside = keep_aside(address) if self._profile == "ios-xe-15.5" else ()
        return (*aside, *overload_rules(self._configuration, str(address), interface=interface))

    def _allocate(self, rule: Dynamic, pool: Pool) -> tuple[str, ...]:
        usable = tuple(self._hold_spans(pool))
        extended = rule.route_map is not None and rule.side is Side.INSIDE
        matched = pool.length if pool.kind == "match-host" else None
        made = Allocated(pool.name, usable, rule.side, extended, extended and rule.reversible, matched)
        self._allocated[made.name] = made
        return ask(made)

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
        pools = [each for each in self._allocated.values() if each.reversible]
        names = ["ios_entry_in", *(each.maps[1] for each in pools)] if way == "in" else []
        back = tuple(f"dnat ip to ip daddr map @{name}" for name in names)
        return (*ported, hosts, *self._network(way, verb, address), *back)

    def _network(self, way: str, verb: str, address: str) -> tuple[str, ...]:
        name = f"ios_{way}_net"
        return (f"{verb} ip prefix to ip {address} map @{name}",) if name in self._maps.contents else ()

    def _declared(self) -> tuple[Elements, ...]:
        made = [self._maps.elements(f"ios_{way}_{each}", _PORT) for way in _WAYS for each in _PORTED]
        for way in _WAYS:
            made.append(self._maps.elements(f"ios_{way}_host", _HOST))
            if f"ios_{way}_net" in self._maps.contents:
                made.append(self._maps.elements(f"ios_{way}_net", _NET))
        return tuple(made)

    def _interfaces(self, role: Role) -> str:
        of = [each.name for each in self._configuration.interfaces if role in each.roles]
        names = dict.fromkeys(name for each in of for name in (self._ports[each], *self._arrivals.get(each, ())))
        quoted = ", ".join(f'"{name}"' for name in names)
        return f"{{ {quoted} }}" if names else ""

    def _hold(self, address: IPv4Address, length: int | None) -> None:
        own = [i for each in self._configuration.interfaces for i in each.addresses]
        if any(address == each.ip for each in own):
            return
        self._held[_net(address, length) if length is not None else address] = None

    def _hold_spans(self, pool: Pool) -> list[tuple[IPv4Address, IPv4Address]]:
        usable = spans(pool)
        for first, last in usable:
            for net in summarize_address_range(first, last):
                self._held[net.network_address if net.prefixlen == 32 else net] = None
        return usable

    def _reserved(self) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
        found = {(i.ip, i.ip) for each in self._configuration.interfaces for i in each.addresses}
        found |= {(address, address) for address in self._own.values()}
        for static in self._configuration.statics:
            # What hosts outside know of inside ones, and hosts inside of outside ones.
            address = static.local if static.side is Side.OUTSIDE else static.global_
            if address is not None:
                net = _net(address, static.length if static.length is not None else 32)
                found.add((net.network_address, net.broadcast_address))
        return tuple(sorted(found))

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
