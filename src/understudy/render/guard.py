"""Table `inet understudy_guard`: what must hold while our rule set is missing, because somebody flushed it.

When the last NAT chain of a namespace goes, the kernel stops translating, established connections included: what was
balanced or translated leaves with the wrong address, and whoever gets it answers RST. So a second table holds the
kernel to it:

    nat chains, empty    conntrack and NAT stay hooked: established flows are translated on, through any gap
    leak                 a new flow from inside that nothing translated is dropped before it leaves; it is sent again,
                         and meets the rules once they are back (new flows to services: see `render.rules`)

It carries `flags owner` (Linux 5.12): nobody else can change it, `nft flush ruleset` passes it over, and it goes with
the netlink socket that made it. A node without hands has no guard, and is none the worse for it. The rest of our rules
cannot live there: the lease must outlast the process that made it.
"""

from collections.abc import Mapping, Sequence

from understudy.config.plan import Group, Plan
from understudy.render.ios_pair import PairNat
from understudy.render.text import FAMILY_INET, Chain, chain_text
from understudy.units import NetworkName

GUARD_TABLE = "understudy_guard"
_FLAGS = "\tflags owner;\n"


def render_guard(
    plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str], pair: PairNat | None = None
) -> str:
    """nft text of the guard for a node that is in `groups`; harmless to repeat by the socket that made it."""
    names = {group.name for group in groups}
    # Also what keeps conntrack itself hooked: a chain of type nat does not.
    rules = ["ct state established,related accept"]
    for each in plan.source_nat:
        for prefix in each.prefixes if each.group in names else ():
            if any(address.version == prefix.version for address in each.addresses):
                ip = "ip" if prefix.version == 4 else "ip6"
                leaving = f'{ip} saddr {prefix} {ip} daddr != {prefix} oifname "{interfaces[each.to]}"'
                rules += [f"{leaving} ct state invalid drop", f"{leaving} ct state new ct status & snat == 0x0 drop"]
    # Which of them lines of IOS translate is not said here: only what can be no new flow is held back.
    rules += pair.forward if pair is not None else ()
    chains = (
        Chain("prerouting", (), hook="type nat hook prerouting priority dstnat; policy accept;"),
        Chain("postrouting", (), hook="type nat hook postrouting priority srcnat; policy accept;"),
        Chain("leak", tuple(rules), hook="type filter hook postrouting priority srcnat + 10; policy accept;"),
    )
    table = f"table {FAMILY_INET} {GUARD_TABLE}"
    body = "\n\n".join(chain_text(chain) for chain in chains)
    return f"{table} {{\n{_FLAGS}}}\nflush {table}\n{table} {{\n{_FLAGS}\n{body}\n}}\n"
