"""Routing rules that keep our stack from answering for what it only forwards.

If the rule set is missing for a moment (`nft flush ruleset` is what Debian's nftables service does), packets to a
balanced address and port are no longer translated, reach the local stack and are answered by RST: every connection
dies. A routing rule that drops them ahead of the local table holds them instead; TCP sends them again. Translated
packets never meet it, since their destination has changed before routing.

The kernel looks the local table up first, at preference 0. To get ahead of it:

 1. add `lookup local` at preference 20, so that it is never missing;
 2. add `iif lo goto 20` at 5: what this node itself sends is none of this (it may well ask its peer's service);
 3. add the `blackhole` rules at 10;
 4. delete the kernel's rule at preference 0.

To undo it: add preference 0 first, then delete ours. Rules are walked in order for every route lookup, so ports of one
address are merged, and an address with many ports is covered whole.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from understudy.config.plan import Group, Plan
from understudy.render.ios_first import AGAIN_MASK
from understudy.render.ios_pair import DETOUR_TABLE, EPHEMERAL_PORTS, PairNat, translated_ports
from understudy.render.model import RoutingRule
from understudy.units import Address, Family

LOCAL_OUT_PREFERENCE = 5
BLACKHOLE_PREFERENCE = 10
LOCAL_PREFERENCE = 20

PORT_LAST = 65_534
"""The kernel takes no rule that reaches 65535 (`fib_rule_port_range_valid`): a service there goes without."""
DETOUR_PREFERENCE = 30
"""Behind the local table, ahead of the main one."""
PREFIXES_MAX = 64
"""Prefixes of translated addresses that are covered: every routing decision walks all rules."""
RANGES_MAX = 16
"""An address with more separate ranges of balanced ports than this is covered for all of them."""


def render_rules(plan: Plan, groups: Sequence[Group], pair: PairNat | None = None) -> tuple[RoutingRule, ...]:
    names = {group.name for group in groups}
    ports: dict[Address, list[tuple[int, int]]] = {}
    for service in plan.services:
        for listen in service.listen:
            if listen.group in names:
                ports.setdefault(listen.address, []).append((listen.port, listen.port))
    for translation in plan.source_nat:
        if translation.group in names:
            for address in translation.addresses:
                ports.setdefault(address, []).append(EPHEMERAL_PORTS)
    for own, ranges in (translated_ports(pair) if pair is not None else {}).items():
        ports.setdefault(own, []).extend(ranges)
    prefixes = [net for nets in (pair.held if pair is not None else {}).values() for net in nets][:PREFIXES_MAX]
    rules: list[RoutingRule] = []
    for family in _FAMILIES:
        held = {address: ranges for address, ranges in ports.items() if address.version == family}
        if held or (family == 4 and prefixes):
            rules.append(RoutingRule(family, LOCAL_PREFERENCE, "local"))
            rules.append(RoutingRule(family, LOCAL_OUT_PREFERENCE, "goto", incoming="lo", target=LOCAL_PREFERENCE))
        for address, ranges in held.items():
            rules += [
                RoutingRule(family, BLACKHOLE_PREFERENCE, "blackhole", address, "tcp", each) for each in merge(ranges)
            ]
    # ARP asks without a protocol, and still finds the address to be local.
    rules += [RoutingRule(4, BLACKHOLE_PREFERENCE, "blackhole", one_or_more(net), "tcp") for net in prefixes]
    for number, detour in enumerate(pair.nat.detours if pair is not None else ()):
        mark = (detour.mark, 0xFFFF_FFFF & ~AGAIN_MASK)
        rules.append(RoutingRule(4, DETOUR_PREFERENCE, "lookup", target=DETOUR_TABLE + number, mark=mark))
    return tuple(rules)


def one_or_more(net: IPv4Network) -> IPv4Address | IPv4Network:
    """As the kernel tells it back: a prefix that has its full length is an address."""
    return net.network_address if net.prefixlen == net.max_prefixlen else net


_FAMILIES: tuple[Family, ...] = (4, 6)


def merge(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same ports in as few ranges as possible, or all ports if that is still too many."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted((first, min(last, PORT_LAST)) for first, last in ranges if first <= PORT_LAST):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged) if len(merged) <= RANGES_MAX else ((1, PORT_LAST),)
