"""The canonical form of a configuration: whole words, one order, options in the order of the table.

Reading what is printed gives the same configuration, and printing that again the same text.
"""

from collections.abc import Iterator

from understudy.ios import commands
from understudy.ios.model import AccessList, Configuration, Directive, Interface, Pool, Route, RouteMap, Statement
from understudy.ios.slots import write_mask

_ENTRY_APART = frozenset(("sequence", "remarks"))


def print_configuration(configuration: Configuration) -> str:
    """The whole of it, each block after a `!`; empty for nothing."""
    blocks = [
        *([f"vrf definition {name}"] for name in configuration.vrfs),
        *(list(_interface(each)) for each in configuration.interfaces),
        *(list(_access_list(each)) for each in configuration.access_lists),
        *([f"object-group {each.kind} {each.name}", *_indented(each.lines)] for each in configuration.object_groups),
        *(block for each in configuration.route_maps for block in _route_map(each)),
        [line for each in configuration.pools for line in _pool(each)],
        [*map(print_statement, configuration.statics), *map(print_statement, configuration.dynamics)],
        [
            *map(print_statement, configuration.timeouts),
            *map(print_statement, configuration.port_timeouts),
            *map(print_statement, configuration.limits),
            *map(print_statement, configuration.directives),
        ],
        [_route(each) for each in configuration.routes],
    ]  # fmt: skip
    return "".join("!\n" + "".join(f"{line}\n" for line in block) for block in blocks if block)


def print_statement(statement: Statement) -> str:
    """One command of NAT; of a pool, its first line."""
    if isinstance(statement, Directive):
        return ("no " if statement.negated else "") + "ip nat " + " ".join(statement.words)
    if isinstance(statement, Pool):
        return next(_pool(statement))
    return commands.NAT.write(statement)


def _indented(lines: tuple[str, ...]) -> list[str]:
    return [f" {line}" for line in lines]


def _interface(interface: Interface) -> Iterator[str]:
    yield f"interface {interface.name}"
    if interface.vrf is not None:
        yield f" vrf forwarding {interface.vrf}"
    for number, address in enumerate(interface.addresses):
        more = " secondary" if number else ""
        yield f" ip address {address.ip} {write_mask(address.network.prefixlen)}{more}"
    if interface.dynamic is not None:
        yield f" ip address {interface.dynamic}"
    if interface.unnumbered is not None:
        yield f" ip unnumbered {interface.unnumbered}"
    for role in interface.roles:
        yield f" ip nat {role}"
    if interface.shutdown:
        yield " shutdown"


def _access_list(found: AccessList) -> Iterator[str]:
    yield f"ip access-list {'extended' if found.extended else 'standard'} {found.name}"
    grammar = commands.EXTENDED if found.extended else commands.STANDARD
    for entry in found.entries:
        yield from (f" remark {remark}" for remark in entry.remarks)
        yield f" {entry.sequence} {grammar.write(entry, apart=_ENTRY_APART)}"
    yield from (f" remark {remark}" for remark in found.remarks)


def _route_map(found: RouteMap) -> Iterator[list[str]]:
    for clause in found.clauses:
        yield [
            f"route-map {found.name} {'permit' if clause.permit else 'deny'} {clause.sequence}",
            *(f" match {' '.join(match)}" for match in clause.matches),
            *(f" set {text}" for text in clause.sets),
        ]


def _pool(pool: Pool) -> Iterator[str]:
    ends = f"{pool.segments[0].first} {pool.segments[0].last} " if pool.single else ""
    kind = f" type {pool.kind}" if pool.kind != "generic" else ""
    more = " add-route" if pool.add_route else ""
    accounting = f" accounting {pool.accounting}" if pool.accounting is not None else ""
    ping = " arp-ping" if pool.arp_ping else ""
    head = "ip nat source pool" if pool.nvi else "ip nat pool"
    yield f"{head} {pool.name} {ends}prefix-length {pool.length}{kind}{more}{accounting}{ping}"
    if not pool.single:
        yield from (f" address {segment.first} {segment.last}" for segment in pool.segments)


def _route(route: Route) -> str:
    words = [
        "ip route",
        f"vrf {route.vrf}" if route.vrf is not None else "",
        f"{route.prefix.network_address} {route.prefix.netmask}",
        route.interface or "",
        str(route.next_hop) if route.next_hop is not None else "",
        str(route.distance) if route.distance != 1 else "",
        "global" if route.leaks else "",
    ]
    return " ".join(filter(None, words))
