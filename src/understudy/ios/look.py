"""A reading with what the search for mistakes asks again and again at hand, each found once."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address

from understudy.ios.hosts import host_count
from understudy.ios.lines import Reading
from understudy.ios.model import AccessList, Clause, Configuration, Dynamic, Entry, Interface, Pool, Side, Static


@dataclass(frozen=True, slots=True)
class Facts:
    """What the entries of a list amount to."""

    hosts: int | None
    """Hosts that it permits; None for any, or for groups."""
    udp: bool


def facts_of(access_list: AccessList) -> Facts:
    """One pass over the entries."""
    permitted = [each for each in access_list.entries if each.permit]
    open_ended = not permitted or any(each.source.any or each.source.group for each in permitted)
    hosts = None if open_ended else sum(host_count(each.source) for each in permitted)
    return Facts(hosts, any(each.protocol in ("udp", "17") for each in permitted))


def is_addressed(interface: Interface) -> bool:
    """Whether an interface has an address, or a way to get one."""
    return bool(interface.addresses or interface.dynamic or interface.unnumbered)


class Look:
    """A reading with what is asked again and again at hand."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.configuration: Configuration = reading.configuration
        self.lines = reading.running.lines
        configuration = self.configuration
        self.interfaces = {each.name: each for each in configuration.interfaces}
        self.lists = {each.name: each for each in configuration.access_lists}
        self.maps = {each.name: each for each in configuration.route_maps}
        self.groups = {each.name for each in configuration.object_groups}
        self.pools = {each.name: each for each in configuration.pools}
        self.known_interfaces = {key[1] for key in self.lines if key[0] == "interface"}
        self.segments = sorted(
            (int(segment.first), int(segment.last), pool.name)
            for pool in configuration.pools
            for segment in pool.segments
        )
        self.owners = {
            address.ip: each.name
            for each in configuration.interfaces
            for address in each.addresses
            if not each.shutdown
        }
        self.marked = any(each.roles for each in configuration.interfaces)
        self.addressed = any(map(is_addressed, configuration.interfaces))
        self.users: dict[str, list[Dynamic]] = {}
        for rule in configuration.dynamics:
            if rule.pool is not None:
                self.users.setdefault(rule.pool, []).append(rule)
        self._facts = {each.name: facts_of(each) for each in configuration.access_lists}

    @cached_property
    def servers(self) -> dict[IPv4Address, Static]:
        """Inside statics of a host or a port by their global address."""
        return {
            each.global_: each
            for each in self.configuration.statics
            if each.side is Side.INSIDE and each.length is None and each.global_ is not None
        }

    def line(self, statement: Static | Dynamic | Pool) -> int | None:
        """Where it was said."""
        return self.reading.running.line_of(statement)

    def entry_line(self, name: str, entry: Entry) -> int | None:
        """Where an entry of a list was said."""
        return self.reading.running.lists[name].lines.get(entry.sequence)

    def facts(self, name: str) -> "Facts":
        """What a list's entries amount to."""
        return self._facts[name]

    def clause_line(self, name: str, clause: Clause) -> int | None:
        """Where a clause of a route-map begins."""
        return self.lines.get((Clause, name, clause.sequence))

    def lists_of(self, rule: Dynamic) -> list[AccessList]:
        """The lists that a rule asks, through its route-map too."""
        if rule.access_list is not None:
            return [self.lists[rule.access_list]] if rule.access_list in self.lists else []
        found = self.maps.get(rule.route_map or "")
        names = [
            name
            for clause in (found.clauses if found else ())
            if clause.permit
            for match in clause.matches
            if match[:2] == ("ip", "address")
            for name in match[2:]
        ]
        return [self.lists[name] for name in names if name in self.lists]

    def pool_at(self, address: IPv4Address) -> str | None:
        """The pool that holds an address."""
        if not self.segments:
            return None
        at = bisect_right(self.segments, (int(address), 1 << 33, ""))
        for first, last, name in self.segments[max(0, at - 2) : at]:
            if first <= int(address) <= last:
                return name
        return None
