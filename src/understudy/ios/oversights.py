"""What people overlook: each line is right, and together they do not do what was meant.

Each finding is a code, the line it is told on, and values for its sentence. Time is bounded as in `mistakes`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import islice
from typing import Any

from understudy.ios.hosts import destination, meet
from understudy.ios.look import Look
from understudy.ios.model import Dynamic, Entry, Host, Interface, Role, Side

COMPARED_MAX = 20_000
Oversight = tuple[str, int | None, dict[str, Any]]


def find_oversights(look: Look) -> Iterator[Oversight]:
    yield from _hairpins(look)
    yield from _global_sources(look)
    yield from _uncovered(look)
    yield from _map_order(look)
    yield from _exits(look)
    yield from _routed_inside(look)


def _permitted(look: Look) -> Iterator[tuple[Dynamic, str, Entry]]:
    """Entries by which rules of inside sources take flows, each list once."""
    seen: set[str] = set()
    for rule in look.configuration.dynamics:
        for access_list in look.lists_of(rule) if rule.side is Side.INSIDE else ():
            if access_list.name not in seen:
                seen.add(access_list.name)
                yield from ((rule, access_list.name, entry) for entry in access_list.entries if entry.permit)


def _hairpins(look: Look) -> Iterator[Oversight]:
    """A list lets inside hosts to the global address of an inside server: such packets are not translated."""
    if any(Role.STICK in each.roles or Role.ENABLE in each.roles for each in look.configuration.interfaces):
        return
    for _, name, entry in islice(_permitted(look), COMPARED_MAX):
        target = destination(entry)
        static = look.servers.get(target.address) if target.group is None and not int(target.wildcard) else None
        if static is not None:
            values = {"list": name, "address": static.global_, "local": static.local}
            yield "hairpin", look.entry_line(name, entry), values


def _global_sources(look: Look) -> Iterator[Oversight]:
    """A list of inside sources that names an address as the outside knows it: it is asked before the translation."""
    inside = [i.network for each in _with(look, Role.INSIDE) for i in each.addresses]
    for _, name, entry in islice(_permitted(look), COMPARED_MAX):
        source = entry.source
        if source.group is not None or int(source.wildcard):
            continue
        own = any(source.address in network for network in inside)
        pool = look.pool_at(source.address)
        served = any(rule.side is Side.INSIDE for rule in look.users.get(pool or "", ()))
        if not own and (source.address in look.servers or served):
            yield "list-global", look.entry_line(name, entry), {"list": name, "address": source.address}


def _uncovered(look: Look) -> Iterator[Oversight]:
    """A private network inside that no rule takes leaves as it is."""
    if not any(rule.side is Side.INSIDE for rule in look.configuration.dynamics):
        return
    entries = list(islice(_permitted(look), COMPARED_MAX))
    networks = [
        IPv4Network((each.local, each.length), strict=False)
        for each in look.configuration.statics
        if each.side is Side.INSIDE and each.length is not None
    ]
    hosts = [each.local for each in look.configuration.statics if each.side is Side.INSIDE and each.length is None]
    compared = 0
    for interface in _with(look, Role.INSIDE):
        for network in (i.network for i in interface.addresses):
            compared += len(entries) + len(networks) + len(hosts)
            if compared > COMPARED_MAX:
                return
            here = Host(network.network_address, network.hostmask)
            taken = (
                any(meet(entry.source, here) for _, _, entry in entries)
                or any(network.overlaps(each) for each in networks)
                or any(each in network for each in hosts)
            )
            # The network of a cable between two routers has no hosts.
            if (
                network.is_private
                and network.prefixlen < 30
                and not interface.shutdown
                and interface.vrf is None
                and not taken
            ):
                line = look.lines.get((Role, interface.name, Role.INSIDE))
                yield "inside-uncovered", line, {"network": network, "interface": interface.name}


def _map_order(look: Look) -> Iterator[Oversight]:
    """Two route-maps that take the same flows: their names decide here and on IOS, their lines on IOS XE."""
    rules = [each for each in look.configuration.dynamics if each.side is Side.INSIDE and each.route_map in look.maps]
    overlaps = _Overlaps(look)
    for position, later in enumerate(rules[:64]):
        for earlier in rules[:position]:
            unlike = str(later.route_map) < str(earlier.route_map) and later.vrf == earlier.vrf
            if unlike and not _told_apart(look, earlier, later) and overlaps.both_take(earlier, later):
                values = {"route_map": later.route_map, "other": earlier.route_map, "line": look.line(earlier)}
                yield "route-map-order", look.line(later), values
                break


_ENDED = "clear ip nat tr"
"""What an applet does when a line fails."""


def _exits(look: Look) -> Iterator[Oversight]:
    """Hosts leave by one interface or another: flows keep the address of the one by which they began."""
    rules = [
        each
        for each in look.configuration.dynamics
        if each.side is Side.INSIDE
        and each.interface is not None
        and (each.route_map is None or each.route_map in look.maps)
    ]
    if len(rules) < 2 or any(_ENDED in line.text.lower() for line in look.reading.lines):
        return
    overlaps = _Overlaps(look)
    for position, later in enumerate(rules[:64]):
        for earlier in rules[:position]:
            other = later.interface != earlier.interface and later.vrf == earlier.vrf
            if other and overlaps.both_take(earlier, later):
                values = {"interface": later.interface, "other": earlier.interface, "line": look.line(earlier)}
                yield "stale-exit", look.line(later), values
                break


def _routed_inside(look: Look) -> Iterator[Oversight]:
    """IOS routes before it translates: a packet for an outside local address of an inside network never leaves."""
    inside = [(i.network, each.name) for each in _with(look, Role.INSIDE) for i in each.addresses]
    statics = [each for each in look.configuration.statics if each.side is Side.OUTSIDE and not each.add_route]
    for static in islice(statics, COMPARED_MAX // (len(inside) + 1)):
        for network, name in inside:
            if static.local in network:
                yield "routed-inside", look.line(static), {"address": static.local, "interface": name}
                break


def _told_apart(look: Look, one: Dynamic, other: Dynamic) -> bool:
    """Whether the two ask for different interfaces."""
    named = [
        {word for clause in look.maps[str(rule.route_map)].clauses for m in clause.matches if m[0] == "interface"
         for word in m[1:]}
        for rule in (one, other)
    ]  # fmt: skip
    return bool(named[0] and named[1]) and not named[0] & named[1]


@dataclass(slots=True)
class _Overlaps:
    """Whether two rules take some flow both, as far as `COMPARED_MAX` pairs of entries in all tell it."""

    look: Look
    _left: int = COMPARED_MAX
    _permits: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    """List -> its entries that permit."""
    _of: dict[int, tuple[Entry, ...]] = field(default_factory=dict)
    """Rule, by its identity -> those of its lists; none where they are too many to be compared."""

    def both_take(self, one: Dynamic, other: Dynamic) -> bool:
        first, second = self._entries(one), self._entries(other)
        if len(first) * len(second) > self._left:
            return False
        self._left -= len(first) * len(second)
        return any(meet(a.source, b.source) and meet(destination(a), destination(b)) for a in first for b in second)

    def _entries(self, rule: Dynamic) -> tuple[Entry, ...]:
        if id(rule) not in self._of:
            found: list[Entry] = []
            for each in self.look.lists_of(rule):
                if each.name not in self._permits:
                    self._permits[each.name] = tuple(entry for entry in each.entries if entry.permit)
                found += self._permits[each.name]
                if len(found) > COMPARED_MAX:
                    found = []
                    break
            self._of[id(rule)] = tuple(found)
        return self._of[id(rule)]


def _with(look: Look, role: Role) -> list[Interface]:
    return [each for each in look.configuration.interfaces if role in each.roles]
