"""Lines entered one after the other into what a router holds: repetition, conflict, `no`.

As on a router: a static entry that is like one already there is not entered, the first stays; a dynamic rule for a
list that has one, a pool, a timeout said again replace what was there. What happened is told as a `Note`, never an
error: every such line is good on its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from typing import Any

from understudy.ios.model import (
    AccessList,
    Clause,
    Configuration,
    Directive,
    Dynamic,
    Entry,
    Interface,
    MaxEntries,
    ObjectGroup,
    Pool,
    PortTimeout,
    Role,
    Route,
    RouteMap,
    Segment,
    Side,
    Statement,
    Static,
    Timeout,
)


@dataclass(frozen=True, slots=True)
class Note:
    """What entering a line did besides entering it. `code` is a warning's (`ios/mistakes.py`), `said` its words."""

    code: str
    said: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    """What IOS prints."""


@dataclass(slots=True)
class RunningList:
    """A list that grows. Remarks wait for the entry that follows them."""

    name: str
    extended: bool
    entries: dict[int, Entry] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    lines: dict[int, int] = field(default_factory=dict)
    """Sequence -> line of the text."""
    _bare: dict[Entry, int] = field(default_factory=dict)
    _last: int = 0

    def enter(self, entry: Entry, sequence: int | None, line: int) -> bool:
        """False where another entry stands at that sequence already."""
        if entry in self._bare and (sequence is None or self._bare[entry] == sequence):
            return True  # said twice: the first stays
        if sequence is None:
            sequence = (self._last // 10 + 1) * 10
        elif sequence in self.entries:
            return False
        self.entries[sequence] = replace(entry, sequence=sequence, remarks=tuple(self.remarks))
        self.lines[sequence] = line
        self._bare.setdefault(entry, sequence)
        self._last = max(self._last, sequence)
        self.remarks.clear()
        return True

    def remove(self, entry: Entry) -> bool:
        """Take out the entry that matches the same."""
        return self.remove_sequence(self._bare.get(entry, -1))

    def remove_sequence(self, sequence: int) -> bool:
        """Take out the entry at that place."""
        entry = self.entries.pop(sequence, None)
        if entry is None:
            return False
        bare = replace(entry, sequence=0, remarks=())
        if self._bare.get(bare) == sequence:
            del self._bare[bare]
        return True

    def frozen(self) -> AccessList:
        """The list as a value, in the order of its sequence numbers."""
        entries = tuple(self.entries[sequence] for sequence in sorted(self.entries))
        return AccessList(self.name, self.extended, entries, tuple(self.remarks))


@dataclass(slots=True)
class RunningGroup:
    """An object-group that grows."""

    kind: str
    name: str
    lines: dict[str, None] = field(default_factory=dict)

    def frozen(self) -> ObjectGroup:
        """The group as a value."""
        return ObjectGroup(self.kind, self.name, tuple(self.lines))


@dataclass(slots=True)
class Running:
    """The running configuration of NAT. Keys say what cannot be there twice."""

    vrfs: dict[str, None] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    statics: dict[Any, Static] = field(default_factory=dict)
    dynamics: dict[Any, Dynamic] = field(default_factory=dict)
    timeouts: dict[str, Timeout] = field(default_factory=dict)
    port_timeouts: dict[tuple[str, int], PortTimeout] = field(default_factory=dict)
    limits: dict[tuple[str, str | None], MaxEntries] = field(default_factory=dict)
    directives: dict[tuple[str, ...], Directive] = field(default_factory=dict)
    lists: dict[str, RunningList] = field(default_factory=dict)
    groups: dict[str, RunningGroup] = field(default_factory=dict)
    route_maps: dict[str, dict[int, Clause]] = field(default_factory=dict)
    routes: dict[Route, None] = field(default_factory=dict)
    selectors: dict[str, None] = field(default_factory=dict)
    lines: dict[Any, int] = field(default_factory=dict)
    """Key of a rule, or (kind, key) of anything else -> the line that said it last."""
    _named: dict[Any, dict[Any, None]] | None = None
    """Handle of a `no` -> keys of the rules that it takes away. Most texts have no `no`: the first one makes it."""

    def enter(self, statement: Statement, line: int) -> Note | None:
        """Enter one command of NAT."""
        shelf, key, place = self._place(statement)
        count = len(shelf)
        before = shelf.setdefault(key, statement)
        note = None
        if len(shelf) == count:
            if isinstance(statement, Static):
                return _similar(statement, self.lines[place])
            shelf[key] = statement
            if place in self.lines:
                note = Note("said-twice" if before == statement else "replaced", {"line": self.lines[place]})
        self.lines[place] = line
        if self._named is not None and isinstance(statement, Static | Dynamic):
            _name(self._named, key, statement)
        return note

    def line_of(self, statement: Statement) -> int | None:
        """The line that said what is held."""
        return self.lines.get(self._place(statement)[2])

    def like(self, static: Static) -> Static | None:
        """The entry that stands where this one would."""
        return self.statics.get(_static_key(static))

    def remove(self, statement: Statement) -> Note | None:
        """`no` before a whole command. Options need not be said again."""
        if isinstance(statement, Static):
            return self._remove_all(("pair", _identity(statement)))
        shelf, key, _ = self._place(statement)
        return None if shelf.pop(key, None) is not None else Note("nothing-to-remove")

    def switch_off(self, directive: Directive, line: int) -> Note | None:
        """`no` before a directive: it takes one away, or says that what IOS does by itself shall not be."""
        key = _directive_key(directive.words)
        held = self.directives.pop(key, None)
        if directive.words[0] in ("service", "create"):
            self.directives[key] = replace(directive, negated=True)
            self.lines[Directive, key] = line
            return None
        if directive.words[0] == "settings":
            return None  # several are on where nothing is said
        return None if held is not None else Note("nothing-to-remove")

    def remove_partly(self, named: Mapping[str, Any]) -> Note | None:
        """`no` before the beginning of a command: all that it names goes."""
        gone: Any
        if "pool" in named:
            gone = self.pools.pop(named["name"], None)
        elif "which" in named:
            gone = self.timeouts.pop(named["which"], None)
        elif "port" in named:
            gone = self.port_timeouts.pop((named["protocol"], named["port"]), None)
        elif "scope" in named:
            gone = self.limits.pop((named["scope"], named.get("of")), None)
        elif "setting" in named:
            self.directives.pop(named["setting"], None)
            return None
        elif "named" in named:
            return self._remove_all(("name", named["name"]))
        else:
            which = "access_list" if "access_list" in named else "route_map"
            return self._remove_all((which, named["side"], named[which]))
        return None if gone is not None else Note("nothing-to-remove")

    def _remove_all(self, handle: Any) -> Note | None:
        count = 0
        if self._named is None:
            self._named = {}
            for shelf in (self.statics, self.dynamics):
                for key, rule in shelf.items():
                    _name(self._named, key, rule)
        for key in self._named.pop(handle, {}):
            shelf = self.statics if key in self.statics else self.dynamics
            held = shelf.get(key)
            # What had that handle may be gone, and another entry in its place.
            if held is not None and handle in _handles(held):
                del shelf[key]
                count += 1
        return None if count else Note("nothing-to-remove")

    def _place(self, statement: Statement) -> tuple[dict[Any, Any], Any, Any]:
        """Where it is held, by which key, and by which one its line is."""
        match statement:
            case Static():
                key = _static_key(statement)
                return self.statics, key, key
            case Dynamic():
                key = _dynamic_key(statement)
                return self.dynamics, key, key
            case Pool():
                return self.pools, statement.name, (Pool, statement.name)
            case Timeout():
                return self.timeouts, statement.which, (Timeout, statement.which)
            case PortTimeout():
                key = (statement.protocol, statement.port)
                return self.port_timeouts, key, (PortTimeout, key)
            case MaxEntries():
                key = (statement.scope, statement.of)
                return self.limits, key, (MaxEntries, key)
            case Directive():
                key = _directive_key(statement.words)
                return self.directives, key, (Directive, key)

    def interface(self, name: str) -> Interface:
        """The interface of that name, made if need be."""
        return self.interfaces.setdefault(name, Interface(name))

    def frozen(self, *, everything: bool = False) -> Configuration:
        """What is held now, as one value; lists, route-maps and groups only where a NAT rule reaches them, or all."""
        maps = {*self.route_maps} if everything else reached_maps(self)
        lists = {*self.lists} if everything else reached_lists(self, maps)
        groups = {*self.groups} if everything else reached_groups(self, lists)
        return Configuration(
            vrfs=tuple(self.vrfs),
            interfaces=tuple(each for each in self.interfaces.values() if _matters(each)),
            pools=tuple(self.pools.values()),
            statics=tuple(self.statics.values()),
            dynamics=tuple(self.dynamics.values()),
            timeouts=tuple(self.timeouts.values()),
            port_timeouts=tuple(self.port_timeouts.values()),
            limits=tuple(self.limits.values()),
            directives=tuple(self.directives.values()),
            access_lists=tuple(each.frozen() for name, each in self.lists.items() if name in lists),
            object_groups=tuple(each.frozen() for name, each in self.groups.items() if name in groups),
            route_maps=tuple(
                RouteMap(name, tuple(clauses[sequence] for sequence in sorted(clauses)))
                for name, clauses in self.route_maps.items()
                if name in maps
            ),
            routes=tuple(self.routes),
            selectors=tuple(name for name in self.selectors if name in self.lists),
        )


ADDRESSES_MAX = 128
"""Addresses of one interface that are read."""


def with_role(interface: Interface, role: Role, *, negated: bool) -> Interface:
    """Inside and outside exclude each other, the later wins; other roles stand beside them."""
    exclusive = (Role.INSIDE, Role.OUTSIDE)
    kept = tuple(
        each
        for each in interface.roles
        if each is not role and not (not negated and role in exclusive and each in exclusive)
    )
    return replace(interface, roles=kept if negated else tuple(sorted((*kept, role), key=list(Role).index)))


def with_address(interface: Interface, address: IPv4Interface, *, secondary: bool, negated: bool) -> Interface:
    """The primary address stands first; a further primary one replaces it.

    A router prints its secondary addresses first, so that they may be all that is known until the primary one comes.
    """
    others = tuple(each for each in interface.addresses if each != address)[:ADDRESSES_MAX]
    headless = interface.headless or interface.addresses[:1] in ((), (address,))
    if negated:
        return replace(interface, addresses=others, headless=headless)
    if secondary:
        return replace(interface, addresses=(*others, address), headless=headless)
    secondaries = others if headless else tuple(each for each in interface.addresses[1:] if each != address)
    return replace(interface, addresses=(address, *secondaries), headless=False, dynamic=None, unnumbered=None)


def add_segment(pool: Pool, segment: Segment, *, negated: bool) -> Pool:
    """A line of the pool's block."""
    others = tuple(each for each in pool.segments if each != segment)
    return replace(pool, segments=others if negated else (*others, segment))


def _matters(interface: Interface) -> bool:
    return bool(interface.roles or interface.addresses or interface.dynamic or interface.unnumbered)


def _similar(static: Static, line: int) -> Note:
    one: Any = static.local
    other: Any = static.global_ if static.global_ is not None else static.interface
    if static.side is Side.OUTSIDE:
        one, other = other, one
    message = f"%NAT: similar static entry ({one} -> {other}) in table_id 0 already exists"
    return Note("similar-static", {"line": line}, message)


def _handles(statement: Statement) -> list[Any]:
    """By what a `no` may name a rule."""
    found: list[Any] = []
    if isinstance(statement, Static):
        found.append(("pair", _identity(statement)))
    elif isinstance(statement, Dynamic):
        found.append(("access_list", statement.side, statement.access_list))
        found.append(("route_map", statement.side, statement.route_map))
    if isinstance(statement, Static | Dynamic) and statement.name is not None:
        found.append(("name", statement.name))
    return found


def _name(named: dict[Any, dict[Any, None]], key: Any, rule: Static | Dynamic) -> None:
    for handle in _handles(rule):
        named.setdefault(handle, {})[key] = None


def _static_key(static: Static) -> Any:
    """What two static entries may not share: the address that packets from the other side ask for."""
    outside = static.side is Side.OUTSIDE
    address = static.local if outside else static.global_
    asked = static.interface if address is None else int(address)
    port = static.local_port if outside else static.global_port
    # An interface without ports lends its address to one host; several static networks may begin alike.
    return (Static, static.side, static.vrf, static.protocol, asked, port, static.length, static.route_map)


def _identity(static: Static) -> Any:
    return (
        static.side, static.vrf, static.protocol, int(static.local), static.local_port,
        None if static.global_ is None else int(static.global_), static.global_port,
        static.interface, static.length,
    )  # fmt: skip


_ONE_VALUE = (
    ("settings", "gatekeeper-size"), ("settings", "interface-overload", "port"), ("settings", "mode"),
    ("settings", "pap"),
)  # fmt: skip
"""Beginnings of directives that are said once: a further one replaces what stood there."""


def _directive_key(words: tuple[str, ...]) -> tuple[str, ...]:
    return next((each for each in _ONE_VALUE if words[: len(each)] == each), words)


def _dynamic_key(dynamic: Dynamic) -> Any:
    return (
        Dynamic, dynamic.side, dynamic.access_list, dynamic.route_map, dynamic.vrf, dynamic.interface,
        dynamic.egress_interface,
    )  # fmt: skip


def reached_maps(running: Running) -> set[str]:
    """Route-maps that a rule names."""
    rules: list[Static | Dynamic] = [*running.dynamics.values(), *running.statics.values()]
    return {rule.route_map for rule in rules if rule.route_map is not None}


def reached_lists(running: Running, maps: set[str]) -> set[str]:
    """Lists that a rule names, itself or through a route-map, a limit or a service."""
    names = {rule.access_list for rule in running.dynamics.values() if rule.access_list is not None}
    names |= {limit.of for limit in running.limits.values() if limit.scope == "list" and limit.of is not None}
    names |= {each.words[2] for each in running.directives.values() if each.words[:2] == ("service", "list")}
    for name in maps:
        for clause in running.route_maps.get(name, {}).values():
            for match in clause.matches:
                if match[:2] in (("ip", "address"), ("ip", "next-hop")):
                    names |= set(match[2:])
    return names


def reached_groups(running: Running, lists: set[str]) -> set[str]:
    """Object-groups that the entries of those lists name, and the groups inside them."""
    found: set[str] = set()
    waiting: list[str] = []
    for name in lists & running.lists.keys():
        for entry in running.lists[name].entries.values():
            waiting += [host.group for host in (entry.source, entry.destination) if host is not None and host.group]
            if entry.protocol is not None and entry.protocol.startswith("object-group "):
                waiting.append(entry.protocol.split()[1])
    while waiting:
        name = waiting.pop()
        if name in found or name not in running.groups:
            continue
        found.add(name)
        waiting += [line.split()[1] for line in running.groups[name].lines if line.startswith("group-object ")]
    return found
