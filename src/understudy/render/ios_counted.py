"""What the kernel counts of translations by itself, for `show ip nat statistics`.

    ios_hits     packets that found their flow's entry
    ios_misses   packets that found none, and made one: the first of each flow

Both are objects of the table, so that a text that is loaded again goes on counting. They are counted behind every
translation, where the first packet of a flow is not confirmed yet. IPv6, and what the balancer translates, do not
count. `nf_conntrack_timestamp` makes the kernel keep when a flow began, for `verbose`.
"""

import re

from understudy.render.text import FAMILY_INET, TABLE, Chain
from understudy.wire.marks import BINDING_MASK

HITS, MISSES = "ios_hits", "ios_misses"
TIMESTAMPS = ("net/netfilter/nf_conntrack_timestamp", 1)
LISTING = "".join(f"list counter {FAMILY_INET} {TABLE} {name}\n" for name in (HITS, MISSES))
"""nft commands that print them."""
_COUNTER = re.compile(r"counter (\w+) \{\s*packets (\d+)")
_OURS = f"meta nfproto ipv4 ct status snat,dnat ct mark and {BINDING_MASK:#x} == 0"


def counter_objects() -> str:
    """Declarations for the table's text."""
    return "\n\n".join(f"\tcounter {name} {{\n\t}}" for name in (HITS, MISSES))


def counted_chain() -> Chain:
    rules = (f"{_OURS} ct status ! confirmed counter name {MISSES} return", f"{_OURS} counter name {HITS}")
    return Chain("ios_counted", rules, hook="type filter hook postrouting priority srcnat + 50; policy accept;")


def parse_counters(listing: str) -> dict[str, int]:
    """Packets by name, from what LISTING prints."""
    return {name: int(packets) for name, packets in _COUNTER.findall(listing)}
