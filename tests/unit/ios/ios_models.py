"""Whole models of NAT, drawn at random: every kind of command with every option, as a router could hold them."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from hypothesis import strategies as st

from understudy.ios.commands import SERVICES, TIMEOUTS
from understudy.ios.model import (
    NEVER,
    AccessList,
    Clause,
    Configuration,
    Directive,
    Dynamic,
    Entry,
    Host,
    Interface,
    MaxEntries,
    ObjectGroup,
    Pool,
    Ports,
    PortTimeout,
    Role,
    Route,
    RouteMap,
    Segment,
    Side,
    Static,
    Timeout,
)

addresses = st.integers(1 << 24, (224 << 24) - 1).map(IPv4Address)
names = st.from_regex(r"[A-Z][A-Za-z0-9_-]{0,9}", fullmatch=True)
ports = st.integers(1, 65535)
interfaces = st.builds(
    "{}{}".format,
    st.sampled_from(("GigabitEthernet", "Dialer", "Vlan", "Serial")),
    st.from_regex(r"[0-9](/[0-9]){0,2}", fullmatch=True),
)
flags = st.booleans()
lists = st.sampled_from(("7", "107", "1300", "INSIDE", "VPN-1"))
maps = st.sampled_from(("RM", "ISP-1"))
pools = st.sampled_from(("P", "POOL_2"))
groups = st.sampled_from(("SERVERS", "CLIENTS"))
vrfs = st.sampled_from(("RED", "BLUE"))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def statics(draw: st.DrawFn) -> Static:
    side = draw(st.sampled_from((Side.INSIDE, Side.OUTSIDE, Side.NVI)))
    fields: dict[str, Any] = {"side": side, "local": draw(addresses)}
    form = draw(st.sampled_from(("host", "network", "port", "interface", "port-interface", "esp")))
    if (side is Side.OUTSIDE and "interface" in form) or (side is Side.OUTSIDE and form == "esp"):
        form = "host"
    if form in ("host", "network", "port"):
        fields["global_"] = draw(addresses)
    else:
        fields["interface"] = draw(interfaces)
    if form == "network":
        fields["length"] = draw(st.integers(1, 32))
    if form == "esp":
        fields["protocol"] = "esp"
    if form.startswith("port"):
        fields |= {
            "protocol": draw(st.sampled_from(("tcp", "udp"))),
            "local_port": draw(ports),
            "global_port": draw(ports),
        }
    fields["vrf"] = draw(maybe(vrfs))
    fields["match_in_vrf"] = fields["vrf"] is not None and draw(flags)
    fields["route_map"] = draw(maybe(maps))
    fields["reversible"] = fields["route_map"] is not None and draw(flags)
    fields["redundancy"] = draw(maybe(names))
    fields["mapping_id"] = draw(maybe(st.integers(1, 2**31 - 1)))
    for name in ("extendable", "no_alias", "no_payload", "stateless"):
        fields[name] = draw(flags)
    fields["add_route"] = side is not Side.INSIDE and draw(flags)
    fields["name"] = draw(maybe(names)) if side is Side.INSIDE else None
    return Static(**fields)


@st.composite
def dynamics(draw: st.DrawFn) -> Dynamic:
    side = draw(st.sampled_from(tuple(Side)))
    mapped = side is not Side.DESTINATION and draw(flags)
    fields: dict[str, Any] = {"side": side, "route_map" if mapped else "access_list": draw(maps if mapped else lists)}
    source = side in (Side.INSIDE, Side.NVI)
    by_interface = source and draw(flags)
    fields["interface" if by_interface else "pool"] = draw(interfaces if by_interface else pools)
    fields["overload"] = by_interface or (source and draw(flags))
    fields["vrf"] = draw(maybe(vrfs))
    fields["match_in_vrf"] = fields["vrf"] is not None and draw(flags)
    fields["redundancy"] = draw(maybe(names))
    fields["mapping_id"] = draw(maybe(st.integers(1, 2**31 - 1)))
    fields["add_route"] = side is Side.OUTSIDE and draw(flags)
    fields["name"] = draw(maybe(names)) if side in (Side.INSIDE, Side.DESTINATION) else None
    if source:
        fields["oer"] = draw(flags)
        fields["egress_interface"] = draw(maybe(interfaces))
        fields["reversible"] = mapped and draw(flags)
        for name in ("extended", "pap"):
            fields[name] = fields["overload"] and draw(flags)
    return Dynamic(**fields)


@st.composite
def segments(draw: st.DrawFn, length: int) -> Segment:
    network = IPv4Network((draw(addresses), length), strict=False)
    first, last = sorted(
        (draw(st.integers(0, network.num_addresses - 1)), draw(st.integers(0, network.num_addresses - 1)))
    )
    return Segment(network[first], network[last])


@st.composite
def address_pools(draw: st.DrawFn, name: str) -> Pool:
    length = draw(st.integers(8, 32))
    return Pool(
        name,
        length,
        tuple(draw(st.lists(segments(length), max_size=3, unique=True))),
        draw(st.sampled_from(("generic", "rotary", "match-host"))),
        draw(flags),
        draw(maybe(names)),
        draw(flags),
        draw(flags),
    )


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    if draw(flags):
        return Host(IPv4Address(0), IPv4Address(0), draw(groups)) if draw(flags) else Host()
    wildcard = draw(st.integers(0, 2**32 - 1) | st.integers(0, 24).map(lambda bits: (1 << bits) - 1))
    return Host(IPv4Address(int(draw(addresses)) & ~wildcard & 0xFFFFFFFF), IPv4Address(wildcard))


def list_ports() -> st.SearchStrategy[Any]:
    numbers = st.lists(ports, min_size=1, max_size=4).map(tuple)
    return maybe(
        st.builds(Ports, st.just("eq"), numbers)
        | st.builds(Ports, st.sampled_from(("gt", "lt")), ports.map(lambda port: (port,)))
        | st.builds(Ports, st.just("range"), st.tuples(ports, ports))
    )


@st.composite
def access_lists(draw: st.DrawFn, name: str) -> AccessList:
    extended = name in ("107", "VPN-1")
    remarks = st.lists(st.sampled_from(("what ! this # is", "for the VPN", "permit any")), max_size=2).map(tuple)
    entries = []
    for sequence in sorted(draw(st.sets(st.integers(1, 200), max_size=4))):
        plain: dict[str, Any] = {
            "sequence": sequence,
            "permit": draw(flags),
            "source": draw(hosts()),
            "remarks": draw(remarks),
        }
        if extended:
            protocol = draw(st.sampled_from(("tcp", "udp", "ip", "icmp", "gre", "47", "object-group WEB")))
            plain |= {"protocol": protocol, "destination": draw(hosts())}
            if protocol in ("tcp", "udp"):
                plain |= {"source_ports": draw(list_ports()), "destination_ports": draw(list_ports())}
        plain["qualifiers"] = draw(st.sampled_from(((), ("log",))))
        entries.append(Entry(**plain))
    return AccessList(name, extended, tuple(entries), draw(remarks))


@st.composite
def route_maps(draw: st.DrawFn, name: str) -> RouteMap:
    clauses = []
    for sequence in sorted(draw(st.sets(st.integers(1, 99), max_size=3))):
        found = []
        if draw(flags):
            found.append(("ip", "address", *draw(st.lists(lists, min_size=1, max_size=3, unique=True))))
        if draw(flags):
            found.append(("interface", *draw(st.lists(interfaces, min_size=1, max_size=2, unique=True))))
        if draw(flags):
            found.append(("ip", "next-hop", draw(lists)))
        sets = draw(st.sampled_from(((), ("interface Loopback0", "ip next-hop 192.0.2.1"))))
        clauses.append(Clause(sequence, draw(flags), tuple(found), sets))
    return RouteMap(name, tuple(clauses))


def reached_by(
    rules: list[Static | Dynamic],
    maps_drawn: tuple[RouteMap, ...],
    directives: list[Directive],
    limits: list[MaxEntries],
) -> set[str]:
    """The lists that a model with these rules reaches."""
    found = {rule.access_list for rule in rules if isinstance(rule, Dynamic) and rule.access_list}
    found |= {limit.of for limit in limits if limit.scope == "list" and limit.of}
    found |= {directive.words[2] for directive in directives if directive.words[:2] == ("service", "list")}
    for route_map in maps_drawn:
        for clause in route_map.clauses:
            for match in clause.matches:
                found |= set(match[2:]) if match[0] == "ip" else set()
    return found


def _static_key(static: Static) -> Any:
    asked = static.local if static.side is Side.OUTSIDE else static.global_ or static.interface
    port = static.local_port if static.side is Side.OUTSIDE else static.global_port
    return (static.side, static.vrf, static.protocol, asked, port, static.length, static.route_map)


def _dynamic_key(rule: Dynamic) -> Any:
    return (rule.side, rule.access_list, rule.route_map, rule.vrf, rule.interface, rule.egress_interface)


_PLAIN_SERVICES = [("service", *service.split()) for service in SERVICES if "<" not in service]
_WORDS = [
    *_PLAIN_SERVICES,
    ("service", "sip", "udp", "port", "5060"),
    ("service", "list", "7", "ftp", "tcp", "port", "2121"),
    ("create", "flow-entries"),
    ("switchover", "replication", "http", "port", "8080"),
    ("route", "vrf", "RED", "0.0.0.0", "0.0.0.0", "global"),
    ("log", "translations", "syslog", "bind-only"),
    ("log", "translations", "flow-export", "v9", "udp", "destination", "192.0.2.9", "2055", "source", "Loopback0"),
    ("settings", "mode", "cgn"),
    ("settings", "pap", "limit", "30", "bpa", "set-size", "512"),
    ("settings", "interface-overload", "port", "range", "1024", "2048"),
    ("settings", "interface-overload", "block", "port", "tcp", "22"),
    ("settings", "pool", "watermark", "high", "80", "low", "60"),
    ("stateful", "id", "1", "redundancy", "HSRP", "mapping-id", "10", "protocol", "udp"),
]


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """A model that a router could hold: what cannot stand twice stands once, and every list is reached."""
    found_statics = draw(st.lists(statics(), max_size=5, unique_by=_static_key))
    found_dynamics = draw(st.lists(dynamics(), max_size=4, unique_by=_dynamic_key))
    limits = [
        MaxEntries(scope, draw(st.integers(0, 10**6)), of)
        for scope, of in draw(
            st.sets(
                st.sampled_from(
                    (("", None), ("all-host", None), ("host", "192.0.2.1"), ("list", "107"), ("vrf", "RED"))
                ),
                max_size=3,
            )
        )
    ]
    words = draw(st.lists(st.sampled_from(_WORDS), max_size=4, unique=True))
    directives = [Directive(each, each[0] in ("service", "create") and draw(flags)) for each in words]
    rules: list[Static | Dynamic] = [*found_statics, *found_dynamics]
    named = sorted({rule.route_map for rule in rules if rule.route_map})
    drawn_maps = tuple(each for each in (draw(route_maps(name)) for name in named if draw(flags)) if each.clauses)
    reached = sorted(reached_by(rules, drawn_maps, directives, limits))
    drawn_lists = tuple(draw(access_lists(name)) for name in reached if draw(flags))
    used = {
        host.group
        for each in drawn_lists
        for entry in each.entries
        for host in (entry.source, entry.destination)
        if host and host.group
    }
    port_timeouts = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(("tcp", "udp")), ports), st.integers(0, 536870) | st.just(NEVER), max_size=3
        )
    )
    routes = st.builds(
        Route,
        st.sampled_from((IPv4Network("0.0.0.0/0"), IPv4Network("198.51.100.0/24"))),
        addresses,
        maybe(interfaces),
        maybe(vrfs),
        st.integers(1, 255),
        flags,
    )
    return Configuration(
        vrfs=tuple(draw(st.lists(vrfs, unique=True, max_size=2))),
        interfaces=tuple(draw(st.lists(_interfaces(), max_size=3, unique_by=lambda each: each.name))),
        pools=tuple(draw(address_pools(name)) for name in sorted(draw(st.sets(pools)))),
        statics=tuple(found_statics),
        dynamics=tuple(found_dynamics),
        timeouts=tuple(
            Timeout(which, draw(st.integers(0, 536870) | st.just(NEVER)))
            for which in sorted(draw(st.sets(st.sampled_from(TIMEOUTS), max_size=4)))
        ),
        port_timeouts=tuple(
            PortTimeout(protocol, port, seconds) for (protocol, port), seconds in port_timeouts.items()
        ),
        limits=tuple(limits),
        directives=tuple(directives),
        access_lists=drawn_lists,
        object_groups=tuple(
            ObjectGroup("network", name, ("host 192.0.2.1", "192.0.2.64 255.255.255.192"))
            for name in sorted(used)
            if draw(flags)
        ),
        route_maps=drawn_maps,
        routes=tuple(draw(st.lists(routes, max_size=2, unique=True))),
    )


@st.composite
def _interfaces(draw: st.DrawFn) -> Interface:
    how = draw(st.sampled_from(("address", "dhcp", "negotiated", "unnumbered")))
    held = st.builds(lambda address, length: IPv4Interface((address, length)), addresses, st.integers(1, 30))
    roles = draw(st.sets(st.sampled_from(tuple(Role)), min_size=1, max_size=3))
    if {Role.INSIDE, Role.OUTSIDE} <= roles:
        roles -= {Role.OUTSIDE}
    return Interface(
        draw(interfaces),
        tuple(sorted(roles, key=list(Role).index)),
        tuple(draw(st.lists(held, min_size=1, max_size=3, unique=True))) if how == "address" else (),
        how if how in ("dhcp", "negotiated") else None,
        "Loopback0" if how == "unnumbered" else None,
        draw(maybe(vrfs)),
        draw(flags),
    )
