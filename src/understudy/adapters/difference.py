"""What applying a node's configuration would change in this namespace's kernel, beside the rule set.

A line each, `+` for what would be added, `-` for what would go. What belongs to the moment is no difference: a link is
up with its addresses while the group is Active here, and down without any otherwise.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from understudy.adapters.links import HeldAddress, Links
from understudy.adapters.netlink import RouteSocket
from understudy.adapters.rules import OURS, Rules
from understudy.render.model import Link, NodeConfig, RoutingRule, Sysctl


def kernel_difference(config: NodeConfig) -> tuple[str, ...]:
    """Links, addresses, rules and sysctls. Raises EnvironmentFailure where the kernel cannot be asked."""
    sysctls = (*config.sysctls, *(sysctl for link in config.links for sysctl in link.sysctls))
    return (
        *_links(config.links),
        *rule_difference(Rules(RouteSocket()), config.rules),
        *_sysctls(sysctls, missing={link.name for link in config.links}),
    )


def _links(wanted: Sequence[Link]) -> Iterator[str]:
    links = Links()
    present = {link.name: link for link in links.links()}
    held: dict[int, list[HeldAddress]] = {}
    for each in links.held():
        held.setdefault(each.index, []).append(each)
    macvlans = {link.name for link in wanted if link.is_macvlan}
    yield from (
        f"- link {name} {link.mac.hex(':')}" for name, link in present.items() if link.is_ours and name not in macvlans
    )
    named = {(link.name, address) for link in wanted for address in link.addresses}
    for port in sorted({link.name for link in wanted} - macvlans):
        for each in held.get(present[port].index, ()) if port in present else ():
            if each.is_ours and (port, each.interface) not in named:
                yield f"- address {each.interface} on {port}"
    for link in wanted:
        if not link.is_macvlan:
            continue
        text = f"link {link.name} on {link.parent} {link.mac}"
        there, parent = present.get(link.name), present.get(link.parent)
        if there is None:
            yield f"+ {text}"
            continue
        if there.mac.hex(":") != link.mac or parent is None or there.parent != parent.index:
            yield f"- link {link.name} {there.mac.hex(':')}"
            yield f"+ {text}"
            continue
        addresses = set(link.addresses) if there.up else set()
        for address in sorted({each.interface for each in held.get(there.index, ())} ^ addresses, key=str):
            yield f"{'+' if address in addresses else '-'} address {address} on {link.name}"


def rule_difference(rules: Rules, wanted: Sequence[RoutingRule]) -> Iterator[str]:
    """Ours that are missing or too many, and the kernel's rule for the local table where it should not be."""
    held = rules.held()
    ours = [each.rule for each in held if each.protocol == OURS]
    families = {rule.family for rule in wanted if rule.action == "local"}
    yield from (f"- rule {_rule(rule)}" for rule in ours if rule not in wanted)
    for each in held:
        if each.looks_up_local and each.rule.preference == 0 and each.rule.family in families:
            yield f"- rule {_rule(each.rule)}"
    yield from (f"+ rule {_rule(rule)}" for rule in wanted if rule not in ours)


def _rule(rule: RoutingRule) -> str:
    return f"IPv{rule.family} {' '.join(rule.arguments)}"


def _sysctls(wanted: Iterable[Sysctl], missing: set[str]) -> Iterator[str]:
    for path, value in wanted:
        try:
            held = (Path("/proc/sys") / path).read_text().strip()
        except OSError:
            held = ""
        if held != value and (held or not missing.intersection(path.split("/"))):  # of a missing link: said already
            yield from ([f"- sysctl {path} = {held}"] if held else [])
            yield f"+ sysctl {path} = {value}"
