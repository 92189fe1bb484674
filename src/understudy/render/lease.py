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

Guarantees, each tried on the kernel (tests/kernel/test_lease.py):

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

from collections.abc import Iterable, Mapping, Sequence

from understudy.config.plan import Group, Router
from understudy.core.lease import short_lease
from understudy.render.marks import LEASE_GROUP_MASK, farewell_mark, lease_long_mark, lease_short_mark
from understudy.render.text import FAMILY_NETDEV, TABLE, Chain, chain_name, chain_text, preamble
from understudy.units import MILLISECOND, SECOND, Address, Duration, NetworkName

JIFFY: Duration = 4 * MILLISECOND
"""At CONFIG_HZ=250, Debian's and most others' choice."""
LEASE_LONG: Duration = 60 * SECOND
LEASE_SET = "lease"
LEASE_DECLARATION = "type mark; size 1024; flags dynamic,timeout;"
QUIET_SET = "quiet"
QUIET_DECLARATION = "type mark; size 1024; flags timeout;"
QUIET_MAX: Duration = LEASE_LONG
"""Longer than any lease: whoever dies at the end of a hand-over stays quiet until its lease is over."""

_PRIORITY = -500
"""Before anything else that a user may hook to the port."""


def lease_ns(advertise: Duration, jiffy: Duration = JIFFY) -> Duration:
    """How long one short refresh keeps the gates open, before the kernel rounds it down to a jiffy (`core.lease`)."""
    return short_lease(advertise, jiffy)


def revoke_lease(group: int) -> str:
    """nft text that ends the lease of `group` at once, also if there is none: `destroy` is newer than nft 1.0.6."""
    element = f"element {FAMILY_NETDEV} {TABLE} {LEASE_SET}"
    return f"add {element} {{ {group} timeout 1s }}\ndelete {element} {{ {group} }}\n"


def quieten(group: int) -> str:
    """nft text that lets nothing more leave from the virtual MACs of `group`, while frames to them still pass.

    In a hand-over the old Active's own kernel would answer ARP once more after the successor has spoken, and so call
    the switch's port back to a node that is about to stop.
    """
    return f"add element {FAMILY_NETDEV} {TABLE} {QUIET_SET} {{ {group} timeout {_ms(QUIET_MAX)} }}\n"


def unquieten(group: int) -> str:
    """nft text that ends what `quieten` began, also if there is nothing to end."""
    return quieten(group) + f"delete element {FAMILY_NETDEV} {TABLE} {QUIET_SET} {{ {group} }}\n"


def grant_lease(group: int, duration: Duration) -> str:
    """nft text that gives `group` a lease where it has none (an element that exists keeps its own remaining time)."""
    return f"add element {FAMILY_NETDEV} {TABLE} {LEASE_SET} {{ {group} timeout {_ms(duration)} }}\n"


def render_lease(
    groups: Sequence[Group],
    interfaces: Mapping[NetworkName, str],
    *,
    jiffy: Duration = JIFFY,
    enabled: bool = True,
) -> str:
    """The table for a node that is in `groups`. With `enabled=False` (a drill's control) the gates stand open."""
    devices: dict[str, list[tuple[Group, Router]]] = {}
    for group in groups:
        for router in group.routers:
            devices.setdefault(interfaces[router.network], []).append((group, router))
    chains = [
        *(_gate(group, enabled) for group in groups),
        _leave4(groups),
        _leave6(groups),
        *(_sender(group, family, jiffy) for group in groups for family in _families(group)),
    ]
    for device, routers in devices.items():
        chains += [_egress(device, routers), _ingress(device, routers)]
    sets = ((LEASE_SET, LEASE_DECLARATION), (QUIET_SET, QUIET_DECLARATION))
    body = [
        *(f"\tset {name} {{ {declaration} }}" for name, declaration in sets),
        *(chain_text(chain) for chain in chains),
    ]
    return preamble(FAMILY_NETDEV) + f"table {FAMILY_NETDEV} {TABLE} {{\n" + "\n\n".join(body) + "\n}\n"


def _gate(group: Group, enabled: bool) -> Chain:
    alive = f"meta mark and 0x0 or {group.number:#x} @{LEASE_SET} return"
    return Chain(_gate_name(group), (alive, "drop") if enabled else ("return",))


def _sender(group: Group, family: int, jiffy: Duration) -> Chain:
    """A frame from a virtual MAC: it may refresh the lease, it needs it, and it is what an Active means to send."""
    vrrp = "ip protocol 112" if family == 4 else "ip6 nexthdr 112"
    refresh = f"update @{LEASE_SET} {{ meta mark and {LEASE_GROUP_MASK:#x} timeout"
    short = _ms(lease_ns(group.advertise, jiffy))
    return Chain(
        _sender_name(group, family),
        (
            f"{vrrp} meta mark {farewell_mark(group.number):#x} accept",
            f"meta mark and 0x0 or {group.number:#x} @{QUIET_SET} drop",
            f"{vrrp} meta mark {lease_short_mark(group.number):#x} {refresh} {short} }}",
            f"{vrrp} meta mark {lease_long_mark(group.number):#x} {refresh} {_ms(LEASE_LONG)} }}",
            f"jump {_gate_name(group)}",
            f"goto leave{family}",
        ),
    )


def _leave4(groups: Sequence[Group]) -> Chain:
    addresses = _virtual(groups, 4)
    rules = ["ether type arp accept", "ip protocol 112 accept"]
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


def _egress(device: str, routers: Sequence[tuple[Group, Router]]) -> Chain:
    senders = _listing(f"{router.mac} : goto {_sender_name(group, router.family)}" for group, router in routers)
    return Chain(
        f"egress_{chain_name(device)}",
        (f"ether saddr vmap {{ {senders} }}",),
        hook=f'type filter hook egress device "{device}" priority {_PRIORITY}; policy accept;',
    )


def _ingress(device: str, routers: Sequence[tuple[Group, Router]]) -> Chain:
    macs = _listing(f"{router.mac} : jump {_gate_name(group)}" for group, router in routers)
    rules = [f"ether daddr vmap {{ {macs} }}"]
    arp = _listing(
        f"{address.ip} : jump {_gate_name(group)}"
        for group, router in routers
        if router.family == 4
        for address in router.addresses
    )
    if arp:
        rules.append(f"arp operation request arp daddr ip vmap {{ {arp} }}")
    solicited = _listing(
        # nft 1.0.6 has no name for the target of a solicitation: 128 bits at bit 64 of the ICMPv6 message.
        f"{int(address):#034x} : jump {_gate_name(group)}"
        for group, router in routers
        if router.family == 6
        for address in virtual_addresses(router)
    )
    if solicited:
        rules.append(f"icmpv6 type nd-neighbor-solicit @th,64,128 vmap {{ {solicited} }}")
    return Chain(
        f"ingress_{chain_name(device)}",
        tuple(rules),
        hook=f'type filter hook ingress device "{device}" priority {_PRIORITY}; policy accept;',
    )


def virtual_addresses(router: Router) -> tuple[Address, ...]:
    """Every address of the router, an IPv6 one's virtual link-local first."""
    named = tuple(interface.ip for interface in router.addresses)
    return named if router.link_local is None or router.link_local in named else (router.link_local, *named)


def _virtual(groups: Sequence[Group], family: int) -> tuple[str, ...]:
    routers = (router for group in groups for router in group.routers if router.family == family)
    return tuple(dict.fromkeys(str(address) for router in routers for address in virtual_addresses(router)))


def _families(group: Group) -> tuple[int, ...]:
    return tuple(sorted({router.family for router in group.routers}))


def _gate_name(group: Group) -> str:
    return f"gate_{group.number}"


def _sender_name(group: Group, family: int) -> str:
    return f"send_{group.number}v{family}"


def _listing(items: Iterable[str]) -> str:
    return ", ".join(items)


def _ms(duration: Duration) -> str:
    return f"{duration // MILLISECOND}ms"
