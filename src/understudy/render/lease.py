"""The kernel lease: a node that does not advertise does not answer, whatever became of its agent.

Table `netdev understudy` holds the set `lease`: an element stands for a group and lives as long as its timeout. Only
an advertisement of our own agent that really leaves the port refreshes it: protocol 112, from the virtual MAC, with a
packet mark that only our sender sets (a farewell has another one, which refreshes nothing). While the element lives,
frames pass to and from the virtual MAC and its addresses are answered for; when it dies, the kernel is silent, within
one jiffy and without any process.

    ingress of a port   frames to a virtual MAC, ARP requests and neighbour solicitations for a virtual address:
                        only while the lease lives
    egress of a port    frames from a virtual MAC: only then, and only what an Active means to send;
                        nothing at all while the group is in the set `quiet`, the last moment of a hand-over

Without virtual MAC (`virtual_mac: false`) the port's own MAC carries the node's traffic and the group's, so that the
gates look at addresses, and one group has the port for itself:

    ingress of a port   requests and solicitations as above; frames to the port's MAC that go to a virtual address, or
                        to no address of this node, which means on through it: only while the lease lives
    egress of a port    what has a virtual source address, ARP and ND included: only then;
                        while `quiet`, no ARP or ND for a virtual address

The node's own traffic never meets a gate: the kernel's local table tells its addresses, those of the operator as well.
An advertisement is known by its mark alone there, and also where it is unicast.

Guarantees, each tried on the kernel (tests/kernel/test_lease.py, test_lease_without_mac.py):

 1. A lease lasts at most `lease_ns`, which is less than the peer's Active_Down_Interval: no two nodes answer at once.
 2. The last refresh decides: a short one cuts a long one at once.
 3. Nothing leaves from the virtual MAC that would move the switch's port by itself: no MLD, no IGMP, no duplicate
    address detection, no router solicitation. A frozen node's kernel sends them even with `addrgenmode none`.
 4. Applying the table again keeps the elements and never opens the gate: one transaction; `flush table` drops rules.

The gates sit on the *parent* ports, where ingress sees frames before the macvlan's receive handler and egress sees what
the macvlan sends. Each frame of other traffic costs one lookup of its MAC and one look at its type.

`meta mark and 0x0 or N` is a constant N: nft 1.0.6 accepts no literal on the left of a set lookup. It lists such a rule
as `meta mark & N | N`, which is N for every mark too, so that a saved listing still means the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from understudy.config.plan import Group, Router
from understudy.render.ios_pair import PairNat, held_prefixes
from understudy.render.leaseset import (
    JIFFY,
    LEASE_DECLARATION,
    LEASE_LONG,
    LEASE_SET,
    QUIET_DECLARATION,
    QUIET_SET,
    lease_ns,
    timeout_ms,
)
from understudy.render.text import FAMILY_NETDEV, TABLE, Chain, chain_name, chain_text, preamble
from understudy.units import Address, Duration, Family, NetworkName
from understudy.wire.marks import LEASE_GROUP_MASK, farewell_mark, lease_long_mark, lease_short_mark

_PRIORITY = -500
"""Before anything else that a user may hook to the port."""
_TARGET = "@th,64,128"
"""nft 1.0.6 has no name for the target of a solicitation or advertisement: 128 bits at bit 64 of the ICMPv6 message."""
_IP: Mapping[Family, str] = MappingProxyType({4: "ip", 6: "ip6"})
_VRRP: Mapping[Family, str] = MappingProxyType({4: "ip protocol 112", 6: "ip6 nexthdr 112"})

_Routers = Sequence[tuple[Group, Router]]
"""Those on one port."""


def render_lease(
    groups: Sequence[Group],
    interfaces: Mapping[NetworkName, str],
    *,
    jiffy: Duration = JIFFY,
    enabled: bool = True,
    pair: PairNat | None = None,
) -> str:
    """The table for a node that is in `groups`. With `enabled=False` (a drill's control) the gates stand open.

    `pair` knows the addresses of NAT that a group answers for, beside its own.
    """
    devices: dict[str, list[tuple[Group, Router]]] = {}
    for group in groups:
        for router in group.routers:
            devices.setdefault(interfaces[router.network], []).append((group, router))
    with_mac = [group for group in groups if group.virtual_mac]
    chains = [
        *(_gate(group, enabled) for group in groups),
        *((_leave4(with_mac, pair), _leave6(with_mac)) if with_mac else ()),
        *(_sender(group, family, jiffy) for group in with_mac for family in _families(group)),
        *(_voice(group, jiffy) for group in groups if _known_by_mark(group)),
        *(chain(group) for group in groups if not group.virtual_mac for chain in (_claim, _through)),
    ]
    for device, routers in devices.items():
        chains += [_egress(device, routers), *_arrive(device, routers, groups), _ingress(device, routers, pair)]
    sets = ((LEASE_SET, LEASE_DECLARATION), (QUIET_SET, QUIET_DECLARATION))
    body = [
        *(f"\tset {name} {{ {declaration} }}" for name, declaration in sets),
        *(chain_text(chain) for chain in chains),
    ]
    return preamble(FAMILY_NETDEV) + f"table {FAMILY_NETDEV} {TABLE} {{\n" + "\n\n".join(body) + "\n}\n"


def _gate(group: Group, enabled: bool) -> Chain:
    alive = f"meta mark and 0x0 or {group.number:#x} @{LEASE_SET} return"
    return Chain(_gate_name(group), (alive, "drop") if enabled else ("return",))


def _sender(group: Group, family: Family, jiffy: Duration) -> Chain:
    """A frame from a virtual MAC: it may refresh the lease, it needs it, and it is what an Active means to send."""
    rules = (*_refreshes(group, jiffy, f"{_VRRP[family]} "), f"jump {_gate_name(group)}", f"goto leave{family}")
    return Chain(_sender_name(group, family), rules)


def _voice(group: Group, jiffy: Duration) -> Chain:
    """An advertisement of ours that is known by its mark, from whatever MAC."""
    return Chain(_voice_name(group), (*_refreshes(group, jiffy), "accept"))


def _refreshes(group: Group, jiffy: Duration, only: str = "") -> tuple[str, ...]:
    """What an advertisement does to the lease; `only` tells what one is, where other frames come by as well."""
    refresh = f"update @{LEASE_SET} {{ meta mark and {LEASE_GROUP_MASK:#x} timeout"
    short = timeout_ms(lease_ns(group.advertise, jiffy))
    return (
        f"{only}meta mark {farewell_mark(group.number):#x} accept",
        _hush(group),
        f"{only}meta mark {lease_short_mark(group.number):#x} {refresh} {short} }}",
        f"{only}meta mark {lease_long_mark(group.number):#x} {refresh} {timeout_ms(LEASE_LONG)} }}",
    )


def _claim(group: Group) -> Chain:
    """A frame that tells others whose MAC a virtual address has."""
    return Chain(_claim_name(group), (_hush(group), f"goto {_gate_name(group)}"))


def _hush(group: Group) -> str:
    return f"meta mark and 0x0 or {group.number:#x} @{QUIET_SET} drop"


def _leave4(groups: Sequence[Group], pair: PairNat | None) -> Chain:
    addresses = _virtual(groups, 4)
    rules = ["ether type arp accept", "ip protocol 112 accept"]
    if pair is not None and pair.held:
        # A macvlan that answers for what is local by a route would answer for the node's own addresses as well.
        ours = _listing((*addresses, *(str(net) for nets in pair.held.values() for net in nets)))
        rules.insert(0, f"arp operation reply arp saddr ip != {{ {ours} }} drop")
    if addresses:
        rules.append(f"ip protocol != igmp ip saddr {{ {_listing(addresses)} }} accept")
    return Chain("leave4", (*rules, "drop"))


def _leave6(groups: Sequence[Group]) -> Chain:
    addresses = _virtual(groups, 6)
    rules = [
        "ip6 nexthdr 112 accept",
        "ip6 saddr :: drop",
        "icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report, "
        "nd-router-solicit, nd-redirect } drop",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    ]
    if addresses:
        rules.append(f"ip6 saddr {{ {_listing(addresses)} }} accept")
    return Chain("leave6", (*rules, "drop"))


def _egress(device: str, routers: _Routers) -> Chain:
    return Chain(
        f"egress_{chain_name(device)}",
        (*_voices(routers), *_from_virtual_macs(routers), *_from_virtual_addresses(routers)),
        hook=f'type filter hook egress device "{device}" priority {_PRIORITY}; policy accept;',
    )


def _voices(routers: _Routers) -> Iterator[str]:
    for family, vrrp in _VRRP.items():
        heard = [
            f"{mark(group.number):#x} : goto {_voice_name(group)}"
            for group, router in routers
            if router.family == family and _known_by_mark(group)
            for mark in (lease_short_mark, lease_long_mark, farewell_mark)
        ]
        if heard:
            yield f"{vrrp} meta mark vmap {{ {_listing(heard)} }}"


def _from_virtual_macs(routers: _Routers) -> Iterator[str]:
    senders = [
        f"{router.mac} : goto {_sender_name(group, router.family)}" for group, router in routers if group.virtual_mac
    ]
    if senders:
        yield f"ether saddr vmap {{ {_listing(senders)} }}"


def _from_virtual_addresses(routers: _Routers) -> Iterator[str]:
    group = _only(routers)
    if group is None:
        return
    claim, gate = f"goto {_claim_name(group)}", f"goto {_gate_name(group)}"
    if ipv4 := _on(routers, 4):
        yield f"arp saddr ip vmap {{ {_verdicts(dict.fromkeys(ipv4, claim))} }}"
    if ipv6 := _on(routers, 6):
        targets = (f"{int(address):#034x}" for address in ipv6)
        yield f"icmpv6 type nd-neighbor-advert {_TARGET} vmap {{ {_verdicts(dict.fromkeys(targets, claim))} }}"
        # A solicitation tells the MAC of its source: the kernel asks from the address of the packet that waits.
        yield f"icmpv6 type nd-neighbor-solicit ip6 saddr vmap {{ {_verdicts(dict.fromkeys(ipv6, claim))} }}"
    for family, ip in _IP.items():
        if addresses := (*_named(group, family), *_on(routers, family)):
            yield f"{ip} saddr vmap {{ {_verdicts(dict.fromkeys(addresses, gate))} }}"


def _arrive(device: str, routers: _Routers, groups: Sequence[Group]) -> Iterator[Chain]:
    """A packet to the port's own MAC, where it also is the group's: what is not for this node would be forwarded.

    Every group's addresses come by here, those on other networks as well. One that is held here answers under its own
    group's lease; one that is not is a destination like any other.
    """
    only = _only(routers)
    if only is None:
        return
    rules = [f"fib daddr type != local goto {_through_name(only)}"]
    for family, ip in _IP.items():
        held = {address: f"goto {_gate_name(group)}" for group in groups for address in _named(group, family)}
        held |= dict.fromkeys(_on(routers, family), f"goto {_gate_name(only)}")
        if held:
            rules.append(f"{ip} daddr vmap {{ {_verdicts(held)} }}")
    yield Chain(_arrive_name(device), tuple(rules))


def _through(group: Group) -> Chain:
    # An answer of DHCP goes to an address that the port is yet to get.
    return Chain(_through_name(group), ("udp dport 68 return", f"goto {_gate_name(group)}"))


def _ingress(device: str, routers: _Routers, pair: PairNat | None) -> Chain:
    rules = []
    if macs := _listing(f"{router.mac} : jump {_gate_name(group)}" for group, router in routers if group.virtual_mac):
        rules.append(f"ether daddr vmap {{ {macs} }}")
    arp = _listing(
        f"{address.ip} : jump {_gate_name(group)}"
        for group, router in routers
        if router.family == 4
        for address in router.addresses
    )
    if arp:
        rules.append(f"arp operation request arp daddr ip vmap {{ {arp} }}")
    for group, router in routers:
        if router.family == 4 and (held := held_prefixes(pair, group, router.network)):
            rules.append(
                f"arp operation request arp daddr ip {{ {_listing(map(str, held))} }} jump {_gate_name(group)}"
            )
    solicited = _listing(
        f"{int(address):#034x} : jump {_gate_name(group)}"
        for group, router in routers
        if router.family == 6
        for address in virtual_addresses(router)
    )
    if solicited:
        rules.append(f"icmpv6 type nd-neighbor-solicit {_TARGET} vmap {{ {solicited} }}")
    if _only(routers) is not None:
        # `ether type` and not `meta protocol`: a frame of a VLAN on this port is that VLAN's.
        rules.append(f"meta pkttype host ether type {{ ip, ip6 }} jump {_arrive_name(device)}")
    return Chain(
        f"ingress_{chain_name(device)}",
        tuple(rules),
        hook=f'type filter hook ingress device "{device}" priority {_PRIORITY}; policy accept;',
    )


def _known_by_mark(group: Group) -> bool:
    return group.unicast or not group.virtual_mac


def _only(routers: _Routers) -> Group | None:
    """The group without virtual MAC that has the port for itself (`config.rules` sees to it)."""
    return next((group for group, _ in routers if not group.virtual_mac), None)


def _named(group: Group, family: Family) -> tuple[Address, ...]:
    """The group's addresses on all its networks."""
    return tuple(each.ip for router in group.routers if router.family == family for each in router.addresses)


def _on(routers: _Routers, family: Family) -> tuple[Address, ...]:
    """The virtual addresses of one port's network, link-local ones as well."""
    return tuple(address for _, router in routers if router.family == family for address in virtual_addresses(router))


def _verdicts(of: Mapping[Address, str] | Mapping[str, str]) -> str:
    return _listing(f"{key} : {verdict}" for key, verdict in of.items())


def virtual_addresses(router: Router) -> tuple[Address, ...]:
    """Every address of the router, an IPv6 one's virtual link-local first."""
    named = tuple(interface.ip for interface in router.addresses)
    return named if router.link_local is None or router.link_local in named else (router.link_local, *named)


def _virtual(groups: Sequence[Group], family: Family) -> tuple[str, ...]:
    routers = (router for group in groups for router in group.routers if router.family == family)
    return tuple(dict.fromkeys(str(address) for router in routers for address in virtual_addresses(router)))


def _families(group: Group) -> tuple[Family, ...]:
    return tuple(sorted({router.family for router in group.routers}))


def _gate_name(group: Group) -> str:
    return f"gate_{group.number}"


def _sender_name(group: Group, family: Family) -> str:
    return f"send_{group.number}v{family}"


def _voice_name(group: Group) -> str:
    return f"voice_{group.number}"


def _claim_name(group: Group) -> str:
    return f"claim_{group.number}"


def _through_name(group: Group) -> str:
    return f"through_{group.number}"


def _arrive_name(device: str) -> str:
    return f"arrive_{chain_name(device)}"


def _listing(items: Iterable[str]) -> str:
    return ", ".join(items)
