"""What people get wrong, as far as a text alone shows it. One function a family, each says what it looks for.

Time is bounded: at most PAIRS_MAX pairs are compared where every one would have to meet every other.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from typing import Any

from understudy.ios.hosts import as_host, covers, destination, meet
from understudy.ios.lines import Kind, Reading
from understudy.ios.look import Look, is_addressed
from understudy.ios.model import AccessList, Dynamic, Entry, Interface, Pool, Role, Side, Static
from understudy.ios.oversights import find_oversights
from understudy.ios.texts import said

PAIRS_MAX = 20_000
DENIALS_MAX = 64
# A command behind a bullet or inside marks of a document; not what is only told, named or run.
_UNREAD = re.compile(
    r"^(?!\s*(?:description|remark|alias|action|event|name|snmp-server|logging|banner|exec|title)\b)"
    r".*\bip nat (?:inside|outside|pool|source|translation) \S",
    re.IGNORECASE,
)
_ROUTER_PORTS = frozenset((22, 23, 179, 500, 1701, 1723, 4500))


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake, on the line that makes it; None where it concerns the whole text."""

    code: str
    line: int | None
    values: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    """IOS's own words, where it has some."""

    def said(self, language: str = "en") -> str:
        return said(self.code, self.values, language)


def find_mistakes(reading: Reading) -> tuple[Mistake, ...]:
    """All of them, in the order of the lines."""
    look = Look(reading)
    found = [
        *_notes(reading), *_roles(look), *_interfaces(look), *_references(look), *_statics(look), *_pools(look),
        *_lists(look), *_rules(look), *_vpn(look), *(Mistake(*each) for each in find_oversights(look)),
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda each: (each.line or 0, each.code)))


def _notes(reading: Reading) -> Iterator[Mistake]:
    """What was noticed while entering."""
    for line in reading.lines:
        if line.note is not None:
            yield Mistake(line.note.code, line.number, line.note.said, line.note.message)
        elif line.kind is Kind.PASSED_OVER and line.why == "not-nat" and _UNREAD.search(line.text):
            yield Mistake("nat-unread", line.number)
    if not any(line.kind is not Kind.PASSED_OVER for line in reading.lines):
        yield Mistake("no-nat", None)


def _roles(look: Look) -> Iterator[Mistake]:
    """Inside or outside missing; a role on a port without address while a dialer has one."""
    configuration = look.configuration
    roles = {role for each in configuration.interfaces for role in each.roles}
    ruled = [each for each in configuration.rules if each.side is not Side.NVI]
    pools = bool(configuration.pools)
    touched = any(line.negated and isinstance(line.statement, Static | Dynamic) for line in look.reading.lines)
    if ruled or ((pools or touched) and not (roles & {Role.INSIDE, Role.OUTSIDE, Role.ENABLE})):
        inside = bool(roles & {Role.INSIDE, Role.STICK})
        outside = Role.OUTSIDE in roles
        if not inside and not outside:
            yield Mistake("no-roles", None)
        elif not inside:
            yield Mistake("no-inside", None)
        elif not outside:
            yield Mistake("no-outside", None)
    bare = [each for each in configuration.interfaces if each.roles and not is_addressed(each)]
    better = [each for each in configuration.interfaces if not each.roles and is_addressed(each) and _virtual(each)]
    for each in bare:
        if better and each.roles[0] is Role.OUTSIDE:
            values = {"interface": each.name, "role": each.roles[0], "other": better[0].name}
            yield Mistake("role-no-address", look.lines.get((Role, each.name, each.roles[0])), values)


def _virtual(interface: Interface) -> bool:
    return interface.name.startswith(("Dialer", "Cellular", "BVI", "Virtual-PPP", "Multilink"))


def _interfaces(look: Look) -> Iterator[Mistake]:
    """The interface that a rule names: unknown, inside, not outside, down, without address."""
    for rule in look.configuration.rules:
        egress = rule.egress_interface
        known = egress in look.known_interfaces or egress in look.interfaces
        if egress is not None and look.known_interfaces and not known:
            yield Mistake("interface-undefined", look.line(rule), {"interface": egress})
        name = rule.interface
        if name is None:
            continue
        line, values = look.line(rule), {"interface": name}
        interface = look.interfaces.get(name)
        if interface is None:
            if name in look.known_interfaces:
                yield Mistake("interface-no-address", line, values)
            elif look.known_interfaces:
                yield Mistake("interface-undefined", line, values)
            continue
        if Role.INSIDE in interface.roles:
            yield Mistake("overload-inside-interface", line, values)
        elif _not_outside(look, interface, rule):
            yield Mistake("interface-not-outside", line, values)
        if interface.shutdown:
            yield Mistake("interface-down", line, values)
        elif interface.roles and not is_addressed(interface) and look.addressed:
            yield Mistake("interface-no-address", line, values)


def _not_outside(look: Look, interface: Interface, rule: Dynamic | Static) -> bool:
    """A loopback may lend its address; and where nothing is marked that is said once."""
    named = interface.name.startswith("Loopback") or rule.side is Side.NVI
    return look.marked and not named and Role.OUTSIDE not in interface.roles


def _references(look: Look) -> Iterator[Mistake]:
    """Names that stand nowhere: accepted, as on IOS, but nothing comes of them."""
    for rule in look.configuration.rules:
        if isinstance(rule, Dynamic):
            if rule.access_list is not None and rule.access_list not in look.lists:
                yield Mistake("list-undefined", look.line(rule), {"list": rule.access_list})
            if rule.pool is not None and rule.pool not in look.pools:
                yield Mistake("pool-undefined", look.line(rule), {"pool": rule.pool})
        if rule.route_map is not None and rule.route_map not in look.maps:
            yield Mistake("route-map-undefined", look.line(rule), {"route_map": rule.route_map})
        if rule.vrf is not None and look.configuration.vrfs and rule.vrf not in look.configuration.vrfs:
            yield Mistake("vrf-undefined", look.line(rule), {"vrf": rule.vrf})
    for found in look.configuration.route_maps:
        for clause in found.clauses:
            for match in clause.matches:
                if match[:2] != ("ip", "address") or match[2:3] == ("prefix-list",):
                    continue
                for name in match[2:]:
                    if name not in look.lists:
                        line = look.clause_line(found.name, clause)
                        yield Mistake("list-undefined", line, {"list": name})
    for access_list in look.configuration.access_lists:
        if access_list.entries and not any(entry.permit for entry in access_list.entries):
            yield Mistake("list-no-permit", look.entry_line(access_list.name, access_list.entries[0]),
                           {"list": access_list.name})  # fmt: skip


def _denials(look: Look) -> Iterator[tuple[str | None, AccessList, Entry]]:
    """Entries that exempt some destinations from a rule, each list once a VRF."""
    seen: set[tuple[str | None, str]] = set()
    for rule in look.configuration.dynamics:
        for access_list in look.lists_of(rule) if rule.side is Side.INSIDE else ():
            if (rule.vrf, access_list.name) in seen:
                continue
            seen.add((rule.vrf, access_list.name))
            for entry in access_list.entries:
                if not entry.permit and entry.destination is not None and not entry.destination.any:
                    yield rule.vrf, access_list, entry


def _statics(look: Look) -> Iterator[Mistake]:
    """Exempted by a list it does not ask; two globals for one host; the router's own address or ports; in a pool."""
    denials = list(islice(_denials(look), DENIALS_MAX))
    compared = 0
    seen: dict[Any, Static] = {}
    for static in look.configuration.statics:
        if denials and static.side is Side.INSIDE and static.route_map is None and static.length is None:
            host = as_host(static.local)
            for vrf, access_list, entry in denials if compared < PAIRS_MAX else ():
                compared += 1
                if vrf == static.vrf and covers(entry.source, host):
                    where = look.entry_line(access_list.name, entry)
                    values = {"list": access_list.name, "address": static.local, "line": where}
                    yield Mistake("static-unexempted", look.line(static), values)
                    break
        if static.local_port is None and static.length is None and static.side is not Side.OUTSIDE:
            before = seen.setdefault((static.side, static.vrf, static.local), static)
            if before is not static and not (static.extendable and before.extendable) and not static.route_map:
                yield Mistake("two-statics", look.line(static), {"local": static.local, "line": look.line(before)})
        asked = static.local if static.side is Side.OUTSIDE else static.global_
        if asked is not None and static.length is None:
            owner = look.owners.get(asked)
            if owner is not None and static.local_port is None:
                yield Mistake("static-on-interface", look.line(static), {"address": asked, "interface": owner})
            pool = look.pool_at(asked)
            if pool is not None and static.local_port is None:
                yield Mistake("static-in-pool", look.line(static), {"address": asked, "pool": pool})
        if static.global_port in _ROUTER_PORTS and (static.interface or static.global_ in look.owners):
            name = static.interface or look.owners[static.global_]  # type: ignore[index]  # an owner has an address
            yield Mistake("router-port", look.line(static), {"port": static.global_port, "interface": name})


def _pools(look: Look) -> Iterator[Mistake]:
    """Nothing to hand out, edges of the network, two pools with one address, an interface's own address."""
    for pool in look.configuration.pools:
        line = look.line(pool)
        if not pool.segments:
            yield Mistake("pool-no-segment", line, {"pool": pool.name})
        yield from _edges(pool, line)
    for (_, last, name), (first, _, other) in zip(look.segments, look.segments[1:], strict=False):
        if first <= last and name != other:
            values = {"pool": other, "other": name, "address": IPv4Address(first)}
            yield Mistake("pools-overlap", look.line(look.pools[other]), values)
    for address, interface in look.owners.items():
        held = look.pool_at(address)
        if held is not None:
            pool = look.pools[held]
            users = look.users.get(held, [])
            if all(rule.side is Side.DESTINATION for rule in users) and users:
                continue
            if pool.segments == () or (all(rule.overload for rule in users) and users and _usable(pool) == 1):
                continue  # overload on the router's one address: the same as `interface`
            values = {"pool": held, "address": address, "interface": interface}
            yield Mistake("pool-on-interface", look.line(pool), values)


def _edges(pool: Pool, line: int | None) -> Iterator[Mistake]:
    if pool.length > 30 or pool.kind == "match-host":
        return
    for segment in pool.segments:
        network = IPv4Network((segment.first, pool.length), strict=False)
        if segment.last not in network:
            yield Mistake("pool-split", line, {"pool": pool.name})
            continue
        edges = [
            each
            for each in (network.network_address, network.broadcast_address)
            if segment.first <= each <= segment.last
        ]
        if edges and _usable(pool) == 0:
            yield Mistake("pool-empty", line, {"pool": pool.name, "address": edges[0]})
        else:
            for edge in edges:
                yield Mistake("pool-edge", line, {"pool": pool.name, "address": edge})


def _usable(pool: Pool) -> int:
    """Addresses that can be handed out."""
    count = 0
    for segment in pool.segments:
        count += int(segment.last) - int(segment.first) + 1
        if pool.length <= 30 and pool.kind != "match-host":
            network = IPv4Network((segment.first, pool.length), strict=False)
            edges = {network.network_address, network.broadcast_address}
            count -= sum(segment.first <= each <= segment.last for each in edges)
    return count


def _lists(look: Look) -> Iterator[Mistake]:
    """Any source; a group that is not there; a netmask where a wildcard belongs."""
    for access_list in look.configuration.access_lists:
        for entry in access_list.entries:
            line = look.entry_line(access_list.name, entry)
            if entry.permit and entry.source.any and entry.protocol in (None, "ip") and destination(entry).any:
                yield Mistake("permit-any", line, {"list": access_list.name})
            for host in (entry.source, entry.destination):
                if host is not None and host.group is not None and host.group not in look.groups:
                    yield Mistake("group-undefined", line, {"group": host.group})
                if host is not None and _is_netmask(int(host.wildcard)):
                    inverse = IPv4Address(~int(host.wildcard) & 0xFFFFFFFF)
                    yield Mistake("wildcard-mask", line, {"wildcard": host.wildcard, "inverse": inverse})


def _is_netmask(wildcard: int) -> bool:
    inverted = ~wildcard & 0xFFFFFFFF
    return wildcard not in (0, 0xFFFFFFFF) and inverted & (inverted + 1) == 0 and wildcard >> 31 == 1


def _rules(look: Look) -> Iterator[Mistake]:
    """Dynamic rules: a pool too short for its list, a pool of the wrong kind, one list for two rules."""
    seen: dict[Any, Dynamic] = {}
    for rule in look.configuration.dynamics:
        line = look.line(rule)
        before = seen.setdefault((rule.side, rule.access_list, rule.route_map, rule.vrf), rule)
        if before is not rule and not (rule.egress_interface or (rule.interface and before.interface)):
            yield Mistake("same-list", line, {"line": look.line(before)})
        pool = look.pools.get(rule.pool or "")
        if pool is None:
            continue
        if rule.side is Side.DESTINATION:
            if pool.kind != "rotary":
                yield Mistake("destination-plain", line, {"pool": pool.name})
            for access_list in look.lists_of(rule):
                if look.facts(access_list.name).udp:
                    yield Mistake("rotary-udp", line, {"list": access_list.name})
            continue
        if pool.kind == "rotary":
            yield Mistake("rotary-in-source", line, {"pool": pool.name})
        if not rule.overload and pool.kind == "generic" and pool.segments:
            for access_list in look.lists_of(rule):
                hosts = look.facts(access_list.name).hosts
                if hosts is not None and hosts > _usable(pool):
                    values = {"list": access_list.name, "hosts": hosts, "pool": pool.name, "addresses": _usable(pool)}
                    yield Mistake("pool-short", line, values)


def _vpn(look: Look) -> Iterator[Mistake]:
    """Traffic that a crypto map's list selects is translated first: it never matches the VPN again."""
    running = look.reading.running
    compared = 0
    for name in look.configuration.selectors:
        selected = [entry for entry in running.lists[name].frozen().entries if entry.permit][:DENIALS_MAX]
        for rule in look.configuration.dynamics:
            if rule.side is not Side.INSIDE or _denies_first(look, rule):
                continue
            for access_list in look.lists_of(rule):
                compared += len(selected) * len(access_list.entries) + 1
                if compared > PAIRS_MAX:
                    return
                if any(_permits(access_list, wanted) for wanted in selected):
                    yield Mistake("vpn-translated", look.line(rule), {"list": access_list.name, "selector": name})


def _denies_first(look: Look, rule: Dynamic) -> bool:
    found = look.maps.get(rule.route_map or "")
    return found is not None and bool(found.clauses) and not found.clauses[0].permit


def _permits(access_list: AccessList, wanted: Entry) -> bool:
    """Whether the first entry that meets these flows permits them."""
    for entry in access_list.entries:
        if meet(entry.source, wanted.source) and meet(destination(entry), destination(wanted)):
            return entry.permit
    return False
