"""The rule set of a router that does nothing but one configuration's NAT. Pure."""

from understudy.render.ios_nat import IosNat
from understudy.render.text import FAMILY_INET, TABLE, Chain, chain_text, elements_text, preamble


def ruleset(nat: IosNat) -> str:
    """The whole table of a router that does nothing but this NAT, as one transaction."""
    chains = (
        *nat.chains,
        Chain("zoning", nat.zoning, hook="type filter hook prerouting priority raw; policy accept;"),
        Chain("zoning_again", nat.zoning_again, hook="type filter hook output priority raw; policy accept;"),
        Chain("marking", nat.marking, hook="type filter hook prerouting priority dstnat - 10; policy accept;"),
        Chain("prerouting", nat.prerouting, hook="type nat hook prerouting priority dstnat; policy accept;"),
        Chain("output", nat.output, hook="type nat hook output priority -100; policy accept;"),
        Chain("began", nat.began, hook="type filter hook postrouting priority srcnat - 10; policy accept;"),
        Chain(
            "postrouting",
            (*nat.postrouting, *nat.last),
            hook="type nat hook postrouting priority srcnat; policy accept;",
        ),
        Chain("anchor", ("ct state invalid counter",), hook="type filter hook forward priority 0; policy accept;"),
    )
    flushes = "".join(
        f"add {each.kind} {FAMILY_INET} {TABLE} {each.name} {{ {each.declaration} }}\n"
        f"flush {each.kind} {FAMILY_INET} {TABLE} {each.name}\n"
        for each in nat.declared
    )
    body = "\n\n".join((nat.objects, *map(elements_text, (*nat.declared, *nat.kept)), *map(chain_text, chains)))
    return f"{preamble(FAMILY_INET)}{flushes}table {FAMILY_INET} {TABLE} {{\n{body}\n}}\n"
