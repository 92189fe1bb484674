"""The balancer in nftables: slots -> pairs -> servers in a few maps that all services share.

    services  address . port           -> the chain of its shape (how many servers)      from the file
    slots     slot                     -> pair            one map for every shape        from the file
    pairs     address . port . pair    -> ct mark (binding, group)                       from the file and what is up
    servers   binding                  -> address . port                                 from the file

Only `pairs` knows what is up: a server's death rewrites those of its pairs, N - 1 elements of one service. The `ct
mark` is the only scratch register, since packet marks may be the user's; a rule of the user that sets its own five bits
comes later than `dstnat`. Maps are keyed by plain marks: nft 1.0.6 crashes on listing others, and `mod 1` is refused,
so that a service with one server skips the slots.

If no server of a service is up, its pairs are gone and a new connection is dropped, not refused: a client's next
attempt within seconds may find a server again, and a refusal would be our own reset.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from understudy.config.plan import Listen, Plan, Server, Service
from understudy.render.choice import maglev, pair_count, resolve, slot_count, slot_of, slot_pairs
from understudy.render.text import FAMILY_INET, TABLE, Chain, Elements
from understudy.units import Address, Family, GroupName
from understudy.wire.marks import BINDING_MASK, BINDING_SHIFT, flow_mark

__all__ = ["Balancer", "maglev", "pair_changes", "pair_elements", "pick", "render_balancer"]


@dataclass(frozen=True, slots=True)
class PairKey:
    """One element of a `pairs` map."""

    address: Address
    port: int
    pair: int

    def __str__(self) -> str:
        return f"{self.address} . {self.port} . {self.pair:#x}"


@dataclass(frozen=True, slots=True)
class Balancer:
    """The balancer's share of table `inet understudy`."""

    maps: tuple[Elements, ...]
    chains: tuple[Chain, ...]
    entry: tuple[str, ...]
    """Rules of the prerouting chain."""


def servers_of(service: Service, family: Family) -> tuple[tuple[Server, Address], ...]:
    """The servers of a service that have an address of the family, in the order of the file, with that address."""
    return tuple(
        (server, address) for server in service.servers for address in server.addresses if address.version == family
    )


def pick(plan: Plan, service: Service, source: Address, port: int, up: frozenset[int] | None = None) -> Server | None:
    """The server that every gateway's kernel picks for a connection from `source` and `port`; None if none is up.

    `up` holds the bindings of the servers that are up; all of them if it is left out.
    """
    servers = servers_of(service, source.version)
    if not servers:
        return None
    slots = slot_count(len(servers))
    pair = slot_pairs(len(servers), slots, plan.seed)[slot_of(source, port, slots, plan.seed)]
    position = resolve(pair, _up(servers, up))
    return None if position is None else servers[position][0]


def pair_elements(plan: Plan, service: Service, up: frozenset[int] | None = None) -> dict[PairKey, int]:
    """What the `pairs` maps hold for one service while the bindings in `up` are up: the ct mark for every pair."""
    groups = {group.name: group.number for group in plan.groups}
    return {
        PairKey(listen.address, listen.port, pair): flow_mark(servers[position][0].binding, groups[listen.group])
        for listen in service.listen
        if (servers := servers_of(service, listen.address.version))
        for pair in range(pair_count(len(servers)))
        if (position := resolve(pair, _up(servers, up))) is not None
    }


def pair_changes(plan: Plan, service: Service, before: frozenset[int], after: frozenset[int]) -> str:
    """nft text, one transaction, that takes a service from one set of servers up to another; empty if nothing moves."""
    old, new = pair_elements(plan, service, before), pair_elements(plan, service, after)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "".join(
        f"{verb} element {FAMILY_INET} {TABLE} pairs{family} {{ {', '.join(elements)} }}\n"
        for family in (4, 6)
        for verb, elements in (
            # There is no "replace": delete and add of one key in one transaction is that.
            ("delete", [str(key) for key in changed if key.address.version == family and key in old]),
            ("add", [f"{key} : {new[key]:#x}" for key in changed if key.address.version == family and key in new]),
        )
        if elements
    )


def render_balancer(
    plan: Plan, groups: frozenset[GroupName], families: Sequence[Family], up: frozenset[int] | None
) -> Balancer:
    """The balancer of a node that is in `groups`, with the servers in `up` up (all, if it is None)."""
    offered = [
        (service, tuple(listen for listen in service.listen if listen.group in groups)) for service in plan.services
    ]
    shapes = sorted({shape for service, listens in offered for shape in _shapes(service, listens)})
    maps = [_slots(count, plan.seed) for count in sorted({count for _, count in shapes}) if count > 1]
    for family in families:
        address = "ipv4_addr" if family == 4 else "ipv6_addr"
        maps += [
            Elements(
                "map", f"services{family}", f"type {address} . inet_service : verdict;", _services(offered, family)
            ),
            Elements(
                "map",
                f"pairs{family}",
                f"type {address} . inet_service . mark : mark;",
                _pairs(plan, offered, family, up),
            ),
            Elements("map", f"servers{family}", f"type mark : {address} . inet_service;", _servers(offered, family)),
            Elements("set", f"endpoints{family}", f"type {address} . inet_service;", _endpoints(offered, family)),
        ]
    return Balancer(
        maps=tuple(maps),
        chains=tuple(_choice(family, count, plan.seed) for family, count in shapes),
        entry=tuple(f"{_ip(family)} daddr . tcp dport vmap @services{family}" for family in families),
    )


def _choice(family: Family, count: int, seed: int) -> Chain:
    ip = _ip(family)
    slot = (
        (
            f"ct mark set jhash {ip} saddr . tcp sport mod {slot_count(count)} seed {seed:#x}",
            f"ct mark set ct mark map @{_slots_name(count)}",
        )
        if count > 1
        else ("ct mark set 0x0",)
    )
    return Chain(
        _choice_name(family, count),
        (
            *slot,
            f"ct mark set {ip} daddr . tcp dport . ct mark map @pairs{family}",
            f"meta l4proto tcp dnat {ip} to ct mark and {BINDING_MASK:#x} map @servers{family}",
            "drop",
        ),
    )


def _slots(count: int, seed: int) -> Elements:
    slots = slot_count(count)
    pairs = slot_pairs(count, slots, seed)
    return Elements(
        "map",
        _slots_name(count),
        f"type mark : mark; size {slots};",
        tuple(f"{slot:#x} : {pair:#x}" for slot, pair in enumerate(pairs)),
    )


Offered = Sequence[tuple[Service, tuple[Listen, ...]]]
"""Services with those of their addresses that groups of the node hold."""


def _shapes(service: Service, listens: Iterable[Listen]) -> Iterator[tuple[Family, int]]:
    for listen in listens:
        if servers := servers_of(service, listen.address.version):
            yield listen.address.version, len(servers)


def _services(offered: Offered, family: Family) -> tuple[str, ...]:
    return tuple(
        f"{listen.address} . {listen.port} : goto {_choice_name(family, count)}"
        for service, listens in offered
        if (count := len(servers_of(service, family)))
        for listen in listens
        if listen.address.version == family
    )


def _pairs(plan: Plan, offered: Offered, family: Family, up: frozenset[int] | None) -> tuple[str, ...]:
    return tuple(
        f"{key} : {mark:#x}"
        for service, listens in offered
        if listens
        for key, mark in pair_elements(plan, service, up).items()
        if key.address.version == family and any(listen.address == key.address for listen in listens)
    )


def _servers(offered: Offered, family: Family) -> tuple[str, ...]:
    return tuple(
        f"{server.binding << BINDING_SHIFT:#x} : {address} . {server.port}"
        for service, listens in offered
        if listens
        for server, address in servers_of(service, family)
    )


def _endpoints(offered: Offered, family: Family) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            f"{address} . {server.port}"
            for service, listens in offered
            if listens
            for server, address in servers_of(service, family)
        )
    )


def _up(servers: Sequence[tuple[Server, Address]], up: frozenset[int] | None) -> tuple[bool, ...]:
    return tuple(up is None or server.binding in up for server, _ in servers)


def _ip(family: Family) -> str:
    return "ip" if family == 4 else "ip6"


def _slots_name(count: int) -> str:
    return f"slots_{count}"


def _choice_name(family: Family, count: int) -> str:
    return f"choose{family}_{count}"
