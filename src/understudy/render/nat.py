"""Table `inet understudy`: the balancer, source NAT to the group's address, and silence about flows not yet known.

After a fail-over the surviving gateway meets flows in the middle. The balancing table is a pure function of the file
and source NAT keeps ports, so the first packet from the side that opened a flow re-creates the same translation
(`nf_conntrack_tcp_loose=1`). A packet from the other side may come first, and must then neither be answered nor be
translated wrongly:

    to a virtual address, no flow,      -> `stray`: dropped. Our stack would answer RST, or open a flow that takes the
    and nobody listens                     translation's place (also for UDP, so that its port is kept)
    from a server's address and port,   -> `forward`: dropped. It would leave untranslated, or translated as if the
    no flow                                server had opened it, and the client would reset it
    from a translated network, invalid  -> `forward`: dropped. NAT does not see such packets: they would leak

Each is sent again by TCP, after the other side has spoken. What cannot be saved without replication: a flow on which
only the server speaks, and one whose port two inside clients shared on the old gateway. A flow that was replicated is
none of these: its entry has seen both sides, so that every packet of it is `established` wherever it comes in first.

`snat`, never `masquerade`: that picks the node's own address, with which no flow survives its node. The base chains and
their `ct state` rules stay even if there is nothing to balance or translate: removing the last NAT chain cuts flows
that live.
"""

from collections.abc import Mapping, Sequence

from understudy.config.plan import Group, Plan, SourceNat
from understudy.render.balance import Balancer, render_balancer
from understudy.render.ios_pair import PairNat
from understudy.render.keeping import group_marks, helper_chain, helper_objects, untracked_chains
from understudy.render.lease import virtual_addresses
from understudy.render.text import FAMILY_INET, TABLE, Chain, Elements, chain_text, elements_text, preamble
from understudy.units import Family, NetworkName
from understudy.wire.marks import BINDING_MASK, GROUP_MASK, GROUP_SHIFT

_NOT_A_SYN = "tcp flags & (fin | syn | rst | ack) != syn"


def render_nat(
    plan: Plan,
    groups: Sequence[Group],
    interfaces: Mapping[NetworkName, str],
    *,
    up: frozenset[int] | None = None,
    pair: PairNat | None = None,
) -> str:
    """The table for a node that is in `groups`; `up` holds the bindings of servers that are up (None: all).

    `pair`: what lines of IOS say. Services come before them, rules between networks after them.
    """
    families: tuple[Family, ...] = tuple(
        family for family in _FAMILIES if any(router.family == family for group in groups for router in group.routers)
    )
    names = frozenset(group.name for group in groups)
    balancer = render_balancer(plan, names, families, up)
    translations = [each for each in plan.source_nat if each.group in names]
    declared = (*(_virtual(groups, family) for family in families), *balancer.maps, *(pair.declared if pair else ()))
    chains = (
        *untracked_chains(plan, groups),
        *balancer.chains,
        *(pair.chains if pair else ()),
        _prerouting(balancer, pair.prerouting if pair else ()),
        *helper_chain(translations, pair.helped if pair else ()),
        _postrouting(
            plan, groups, translations, interfaces, pair.postrouting if pair else (), pair.last if pair else ()
        ),
        _forward(
            translations,
            interfaces,
            families,
            (*(pair.forward if pair else ()), *group_marks(plan, groups, interfaces)),
        ),
        _input(families, pair.input if pair else ()),
        _STRAY,
    )
    flushes = "".join(
        f"add {each.kind} {FAMILY_INET} {TABLE} {each.name} {{ {each.declaration} }}\n"
        f"flush {each.kind} {FAMILY_INET} {TABLE} {each.name}\n"
        for each in declared
    )
    helpers = (*(name for each in translations for name in each.helpers), *(pair.helpers if pair else ()))
    objects = (*((pair.nat.objects,) if pair else ()), *helper_objects(helpers))
    kept = pair.nat.kept if pair else ()
    declarations = (*(elements_text(each) for each in (*declared, *kept)), *objects)
    body = "\n\n".join((*declarations, *(chain_text(chain) for chain in chains)))
    return f"{preamble(FAMILY_INET)}{flushes}table {FAMILY_INET} {TABLE} {{\n{body}\n}}\n"


_FAMILIES: tuple[Family, ...] = (4, 6)

_STRAY = Chain(
    "stray",
    (
        "tcp flags & (fin | syn | rst | ack) == syn return",
        "meta l4proto { tcp, udp } socket wildcard { 0, 1 } return",
        "meta l4proto { tcp, udp } drop",
    ),
)


def _virtual(groups: Sequence[Group], family: Family) -> Elements:
    addresses = (
        str(address)
        for group in groups
        for router in group.routers
        if router.family == family
        for address in virtual_addresses(router)
    )
    kind = "ipv4_addr" if family == 4 else "ipv6_addr"
    return Elements("set", f"virtual{family}", f"type {kind};", tuple(dict.fromkeys(addresses)))


def _prerouting(balancer: Balancer, ios: Sequence[str]) -> Chain:
    return Chain("prerouting", (*balancer.entry, *ios), hook="type nat hook prerouting priority dstnat; policy accept;")


def _postrouting(
    plan: Plan,
    groups: Sequence[Group],
    translations: Sequence[SourceNat],
    interfaces: Mapping[NetworkName, str],
    ios: Sequence[str],
    last: Sequence[str],
) -> Chain:
    rules = [*ios]
    numbers = {group.name: group.number for group in groups}
    for each in translations:
        mark = f"ct mark set ct mark and {~GROUP_MASK & 0xFFFFFFFF:#x} or {numbers[each.group] << GROUP_SHIFT:#x}"
        for prefix in each.prefixes:
            for address in each.addresses:
                if address.version == prefix.version:
                    ip = "ip" if address.version == 4 else "ip6"
                    # No `random`: the port is kept, so that the next gateway translates alike.
                    out = f'{ip} saddr {prefix} {ip} daddr != {prefix} oifname "{interfaces[each.to]}"'
                    rules.append(f"{out} {mark} snat {ip} to {address}")
    return Chain(
        "postrouting",
        (*_hairpins(plan, groups, interfaces), *rules, *last),
        hook="type nat hook postrouting priority srcnat; policy accept;",
    )


def _hairpins(plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str]) -> list[str]:
    """A client on the server's LAN would get the answer directly, from an address that it did not ask."""
    if not plan.services:
        return []
    prefixes = {network.name: network.prefixes for network in plan.networks}
    return [
        f"ct mark and {BINDING_MASK:#x} != 0x0 {ip} saddr {prefix} {ip} daddr {prefix} "
        f'oifname "{interfaces[router.network]}" snat {ip} to {router.addresses[0].ip}'
        for group in groups
        for router in group.routers
        for ip in ("ip" if router.family == 4 else "ip6",)
        for prefix in prefixes[router.network]
        if prefix.version == router.family
    ]


def _forward(
    translations: Sequence[SourceNat],
    interfaces: Mapping[NetworkName, str],
    families: Sequence[Family],
    marks: Sequence[str],
) -> Chain:
    rules = ["ct state established,related accept"]
    for family in families:
        ip = "ip" if family == 4 else "ip6"
        rules.append(f"{ip} saddr . tcp sport @endpoints{family} {_NOT_A_SYN} drop")
    for each in translations:
        for prefix in each.prefixes:
            ip = "ip" if prefix.version == 4 else "ip6"
            rules.append(f'{ip} saddr {prefix} oifname "{interfaces[each.to]}" ct state invalid drop')
    rules += marks
    return Chain("forward", tuple(rules), hook="type filter hook forward priority filter - 10; policy accept;")


def _input(families: Sequence[Family], more: Sequence[str]) -> Chain:
    virtual = (f"{'ip' if family == 4 else 'ip6'} daddr @virtual{family} jump stray" for family in families)
    return Chain(
        "input",
        ("ct state established,related accept", *virtual, *more),
        hook="type filter hook input priority filter - 10; policy accept;",
    )
