"""What each hook makes of the first packet of a flow: the rules of `render.ios_nat`, evaluated. Pure.

Prerouting changes the destination, routing chooses the way by the changed one, postrouting changes the source. Lists
are asked with the addresses that the packet came with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from understudy.ios.lookups import Found, Lookups, next_address, reserved
from understudy.ios.matching import TCP_OR_UDP
from understudy.ios.model import Configuration, Directive, Dynamic, Interface, Pool, Role, Side, Static
from understudy.ios.names import interface_name
from understudy.ios.pools import spans_of
from understudy.ios.selecting import Decision, Packet, decide
from understudy.ios.translations import Given, addresses_of

ROTARY_MAX = 4096
_OWN_PORTS = (500, 4500)
"""UDP, which the profile `ios-xe-15.5` keeps for the router."""
_COUNTED = frozenset((1, 6, 17))
_ROTATING = frozenset((6,))


@dataclass(frozen=True, slots=True)
class Step:
    """What a hook made of one end of the packet."""

    address: IPv4Address
    port: int
    reason: str
    values: Mapping[str, Any]
    statement: Static | Dynamic | None = None
    dropped: bool = False
    chosen: frozenset[str] = frozenset()
    fresh: Given | None = None
    """An entry of the allocator that is made for it."""
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """Where routing sends the packet. No interface: to the router itself, or nowhere."""

    interface: Interface | None
    reason: str
    values: Mapping[str, Any]


class Hooks:
    """A configuration, its static entries as tables, and what the allocator has given."""

    def __init__(
        self,
        configuration: Configuration,
        shared: Mapping[str, IPv4Address],
        given: Sequence[Given],
        profile: str,
        *,
        rotary_udp: bool = False,
    ) -> None:
        self._configuration = configuration
        self._rotating = _ROTATING | ({17} if rotary_udp else frozenset())
        self._others_stay = "rotary-tcp-udp" if rotary_udp else "rotary-tcp"
        self._own = addresses_of(configuration, shared)
        self._lookups = Lookups(configuration, self._own)
        self._pools = {pool.name: pool for pool in configuration.pools}
        self._given, self._profile = given, profile
        self._taken = frozenset(each.given for each in given)
        self.interfaces = {each.name: each for each in configuration.interfaces}
        self._ruled = bool(self._with(Role.INSIDE) and self._with(Role.OUTSIDE))

    @property
    def vrfs(self) -> frozenset[str]:
        """That have inside interfaces of their own."""
        return frozenset(each for each in self._lookups.vrfs if each is not None)

    def prerouting(self, packet: Packet, near: bool, far: bool) -> Step:
        stays = Step(packet.destination, packet.destination_port, "no-change", {})
        if not (self._ruled and (near or far)):
            return stays
        asked = packet.protocol, packet.destination, packet.destination_port
        way = "local" if near else "in"
        found = self._lookups.tables[way].find(*asked)
        if found is not None:
            return self._static_step(found, packet.destination_port, f"static-{way}")
        for each in self._given:
            entered = each.outside if near else not each.outside and (not each.extended or self._reversible(each.pool))
            if entered and each.given == packet.destination:
                return Step(each.host, packet.destination_port, "entry", {"host": each.host, "address": each.given})
        return stays if near else self._rotary(packet) or stays

    def _rotary(self, packet: Packet) -> Step | None:
        for rule in in_order(self._configuration):
            pool = self._pools.get(rule.pool or "")
            if rule.side is not Side.DESTINATION or pool is None or not pool.segments or rule.vrf is not None:
                continue
            decision = decide(self._configuration, rule, packet, "")
            if not decision.permitted:
                continue
            at = packet.destination, packet.destination_port
            if packet.protocol not in self._rotating:
                return Step(*at, self._others_stay, {"pool": pool.name}, rule, decision=decision)
            servers = [a for span in spans_of(pool) for a in _each(*span)][:ROTARY_MAX]
            if not servers:
                return None
            chosen = frozenset(("turn",)) if len(servers) > 1 else frozenset()
            values = {"pool": pool.name, "count": len(servers)}
            return Step(servers[0], packet.destination_port, "rotary", values, rule, chosen=chosen, decision=decision)
        return None

    def route(self, changed: Packet, packet: Packet, near: bool, leaving: str | None, vrf: str | None) -> Way:
        """The way out, by the destination that it has by now, in the VRF that it is in by now."""
        target = changed.destination
        detour = self._detour(packet.destination) if near else None
        if detour is not None:
            return Way(detour, "detour", {"address": packet.destination, "interface": detour.name})
        if leaving is None and any(target == i.ip for each in self.interfaces.values() for i in each.addresses):
            return Way(None, "to-router", {"address": target})
        by = self.interfaces.get(interface_name(leaving or "") or "") or self._towards(target, vrf)
        if by is not None:
            return Way(by, "routed", {"address": target, "interface": by.name, "role": _role(by)})
        # Nothing says it: a flow is taken to go from one side to the other.
        for each in self._with(Role.OUTSIDE if near else Role.INSIDE):
            return Way(each, "assumed", {"address": target, "interface": each.name, "role": _role(each)})
        return Way(None, "unroutable", {"address": target})

    def postrouting(
        self,
        packet: Packet,
        changed: Packet,
        going: Interface,
        near: bool,
        far: bool,
        vrf: str | None,
        coming: Interface | None,
    ) -> Step:
        source, port = packet.source, packet.source_port
        if not self._ruled:
            return Step(source, port, "no-roles", {})
        if not (near or far):
            return Step(source, port, "no-role", {"interface": coming.name if coming is not None else "-"})
        if near and Role.OUTSIDE in going.roles:
            return self._outwards(packet, going, vrf)
        if far and Role.INSIDE in going.roles:
            return self._inwards(packet, going)
        return Step(source, port, "one-side", {"interface": going.name, "role": _role(going)})

    def _outwards(self, packet: Packet, going: Interface, vrf: str | None) -> Step:
        asked = packet.protocol, packet.source, packet.source_port
        found = self._lookups.tables["out"].find(*asked)
        if found is not None:
            return self._static_step(found, packet.source_port, "static-out")
        for each in self._lookups.conditional:
            if not each.meets(*asked, vrf):
                continue
            decision = decide(self._configuration, each.static, packet, going.name)
            if each.static.route_map is None or decision.permitted:
                step = self._static_step(
                    Found(each.other, each.static.global_port, each.static), packet.source_port, "static-out"
                )
                return replace(step, decision=decision)
        for entry in self._given:
            if not entry.outside and not entry.extended and entry.host == packet.source:
                return Step(entry.given, packet.source_port, "entry", {"host": entry.host, "address": entry.given})
        return self._by_rules(packet, going, vrf)

    def _by_rules(self, packet: Packet, going: Interface, vrf: str | None) -> Step:
        said: Decision | None = None
        about: Dynamic | None = None
        for rule in in_order(self._configuration):
            if rule.side is not Side.INSIDE or not self._counts(rule):
                continue
            if self._lookups.vrfs and rule.vrf != vrf:
                continue
            if rule.egress_interface not in (None, going.name):
                continue
            decision = decide(self._configuration, rule, packet, going.name)
            if decision.permitted:
                return replace(self._by_rule(rule, packet), decision=decision)
            if decision.entry is not None or decision.clause is not None or decision.unknown:
                said, about = said or decision, about or rule
        if said is not None and about is not None:
            return self._denied(packet, said, about)
        return Step(packet.source, packet.source_port, "no-rule", {"address": packet.source})

    def _denied(self, packet: Packet, said: Decision, about: Dynamic) -> Step:
        values = {"list": said.access_list, "route_map": said.route_map, "what": said.unknown}
        reason = "unknown" if said.unknown else "denied-map" if said.route_map is not None else "denied"
        return Step(packet.source, packet.source_port, reason, values, about, decision=said)

    def _counts(self, rule: Dynamic) -> bool:
        """Whether there is anything that the rule could do."""
        if rule.vrf is not None and (rule.vrf not in self._lookups.vrfs or not rule.overload):
            return False
        return rule.interface is not None or rule.pool in self._pools

    def _by_rule(self, rule: Dynamic, packet: Packet) -> Step:
        if rule.interface is not None:
            address = self._own.get(rule.interface)
            values: dict[str, Any] = {"interface": rule.interface}
            if address is None:
                return Step(packet.source, packet.source_port, "no-address", values, rule, dropped=True)
            return self._overload(rule, packet, address, {**values, "address": address}, "overload-interface")
        pool = self._pools[rule.pool or ""]
        if not rule.overload or pool.kind == "match-host":
            return self._allocate(rule, pool, packet.source, packet)
        usable = spans_of(pool)
        if not usable:
            return Step(packet.source, packet.source_port, "pool-empty", {"pool": pool.name}, rule, dropped=True)
        first, last = usable[0]
        step = self._overload(rule, packet, first, {"pool": pool.name, "address": first}, "overload-pool")
        if rule.pap and first != last:
            return replace(step, chosen=step.chosen | {"address"})
        return step

    def _overload(
        self, rule: Dynamic, packet: Packet, address: IPv4Address, values: dict[str, Any], reason: str
    ) -> Step:
        chosen: frozenset[str] = frozenset()
        if packet.protocol in _COUNTED and (self._profile == "ios-xe-modern" or self._set_aside(packet, rule)):
            chosen = frozenset(("port",))
        return Step(address, packet.source_port, reason, values, rule, chosen=chosen)

    def _set_aside(self, packet: Packet, rule: Dynamic) -> bool:
        """Whether the flow's own port is kept from it."""
        if self._profile == "ios-xe-15.5" and packet.protocol == 17 and packet.source_port in _OWN_PORTS:
            return True
        if rule.interface is None or packet.protocol not in TCP_OR_UDP:
            return False
        told = self._configuration.directives
        return any(not each.negated and _blocks(each, packet) for each in told)

    def _allocate(self, rule: Dynamic, pool: Pool, host: IPv4Address, packet: Packet) -> Step:
        outside = rule.side is Side.OUTSIDE
        extended = rule.route_map is not None and not outside
        mine = [
            each for each in self._given
            if (each.pool, each.outside, each.extended) == (pool.name, outside, extended)
        ]  # fmt: skip
        kept = reserved(self._configuration, self._own)
        address = next_address(pool, host, mine, self._taken, kept)
        if address is None:
            return Step(host, packet.source_port, "pool-dry", {"pool": pool.name, "host": host}, rule, dropped=True)
        fresh = Given(pool.name, host, address, outside, extended)
        return Step(
            address, packet.source_port, "allocated", {"pool": pool.name, "address": address}, rule, fresh=fresh
        )

    def _inwards(self, packet: Packet, going: Interface) -> Step:
        found = self._lookups.tables["global"].find(packet.protocol, packet.source, packet.source_port)
        if found is not None:
            return self._static_step(found, packet.source_port, "static-global")
        for each in self._given:
            if each.outside and each.host == packet.source:
                return Step(each.given, packet.source_port, "entry", {"host": each.host, "address": each.given})
        for rule in in_order(self._configuration):
            pool = self._pools.get(rule.pool or "")
            if rule.side is not Side.OUTSIDE or pool is None or rule.vrf is not None:
                continue
            if rule.egress_interface not in (None, going.name):
                continue
            decision = decide(self._configuration, rule, packet, going.name)
            if decision.permitted:
                return replace(self._allocate(rule, pool, packet.source, packet), decision=decision)
        return Step(packet.source, packet.source_port, "no-outside-rule", {"address": packet.source})

    # --- what they ask

    def _static_step(self, found: Found, port: int, reason: str) -> Step:
        values = {"address": found.address}
        return Step(found.address, found.port if found.port is not None else port, reason, values, found.static)

    def _reversible(self, pool: str) -> bool:
        return any(rule.pool == pool and rule.reversible for rule in self._configuration.dynamics)

    def _with(self, role: Role) -> list[Interface]:
        return [each for each in self.interfaces.values() if role in each.roles]

    def _towards(self, target: IPv4Address, vrf: str | None) -> Interface | None:
        """By the networks of interfaces and the routes of the configuration, the VRF's before the common ones: the
        longest prefix, then the least distance.
        """
        best: tuple[tuple[int, bool, int], Interface] | None = None
        for each in self.interfaces.values():
            for i in each.addresses:
                rank = (i.network.prefixlen, each.vrf == vrf, 0)
                if target in i.network and (best is None or rank > best[0]):
                    best = rank, each
        for route in self._configuration.routes:
            if route.vrf not in (None, vrf) or target not in route.prefix:
                continue
            rank = (route.prefix.prefixlen, route.vrf == vrf, -route.distance)
            by = self._of_route(route.interface, route.next_hop)
            if by is not None and (best is None or rank > best[0]):
                best = rank, by
        return best[1] if best is not None else None

    def _of_route(self, name: str | None, hop: IPv4Address | None) -> Interface | None:
        for each in self.interfaces.values():
            if each.name == name or (hop is not None and any(hop in i.network for i in each.addresses)):
                return each
        return None

    def _detour(self, target: IPv4Address) -> Interface | None:
        """An outside local address whose outside global one exists inside as well leaves all the same."""
        inside = [i.network for each in self._with(Role.INSIDE) for i in each.addresses]
        for static in self._configuration.statics:
            if static.side is not Side.OUTSIDE or static.global_ is None:
                continue
            length = static.length if static.length is not None else 32
            overlaps = any(IPv4Network((static.global_, length), strict=False).overlaps(each) for each in inside)
            if overlaps and target in IPv4Network((static.local, length), strict=False):
                return next(iter(self._with(Role.OUTSIDE)), None)
        return None


def in_order(configuration: Configuration) -> tuple[Dynamic, ...]:
    """Lists before route-maps, numbers before names, the lower first; route-maps by name."""

    def rank(rule: Dynamic) -> tuple[int, int, str]:
        if rule.access_list is not None:
            number = rule.access_list.isdecimal()
            return (0, int(rule.access_list), "") if number else (1, 0, rule.access_list)
        return (2, 0, rule.route_map or "")

    return tuple(sorted(configuration.dynamics, key=rank))


def _each(first: IPv4Address, last: IPv4Address) -> list[IPv4Address]:
    return [IPv4Address(number) for number in range(int(first), min(int(last), int(first) + ROTARY_MAX) + 1)]


def _blocks(directive: Directive, packet: Packet) -> bool:
    """Whether a line sets the packet's port aside."""
    match directive.words:
        case ("settings", "interface-overload", "block", "port", protocol, number):
            return (protocol == "tcp") is (packet.protocol == 6) and int(number) == packet.source_port
        case ("settings", "interface-overload", "port", "range", first, last):
            return not int(first) <= packet.source_port <= int(last)
    return False


def _role(interface: Interface) -> str:
    return next((str(role) for role in interface.roles if role in (Role.INSIDE, Role.OUTSIDE)), "neither")
