"""What kept flows need of table `inet understudy`: the group's number, helpers, and no entries of our own talk.

    forward         a new flow that arrived for a group and has no number yet gets it. Balanced and translated ones have
                    theirs from `dstnat` and `srcnat`; merely routed ones are told by where they came in: on the group's
                    macvlan, or on a port that is the group's alone. Not by the virtual MAC itself: groups on different
                    LANs may share it. What expectations bring in (FTP) inherits the mark of its master
    helped          which protocols' control connections conntrack reads, for the clients of a translation that names
                    them: no port is read unless the file says so
    untracked_*     the channel, the stream of flows and VRRP: between the nodes' own addresses, tracked by nobody

All of it only where something is kept or a helper is named: the text of other files stays what it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from understudy.config.keeping import flow_settings, group_keeping
from understudy.config.plan import Group, Plan, SourceNat
from understudy.render.flood import channel_ports
from understudy.render.names import link_name
from understudy.render.text import Chain
from understudy.units import Family, NetworkName
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

_FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class HelperKind:
    """A protocol whose control connection announces others."""

    protocol: str
    port: int
    """On which its servers listen."""


HELPERS = {"ftp": HelperKind("tcp", 21), "tftp": HelperKind("udp", 69)}


def group_marks(plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str]) -> list[str]:
    """Rules of the forward chain that number what is merely routed for a group that keeps its flows."""
    rules = []
    for group in groups:
        if group_keeping(plan, group):
            arrivals = dict.fromkeys(
                link_name(plan, group, router) if group.virtual_mac else interfaces[router.network]
                for router in group.routers
            )
            names = ", ".join(f'"{name}"' for name in arrivals)
            rules.append(
                f"ct state new ct mark and {GROUP_MASK:#x} == 0x0 iifname {{ {names} }} "
                f"ct mark set ct mark or {group.number << GROUP_SHIFT:#x}"
            )
    return rules


def helper_objects(names: Iterable[str]) -> list[str]:
    """One object a protocol, for both families."""
    return [
        f'\tct helper {name} {{\n\t\ttype "{name}" protocol {HELPERS[name].protocol};\n\t}}'
        for name in sorted(set(names))
    ]


def helper_chain(translations: Sequence[SourceNat], more: Sequence[str] = ()) -> list[Chain]:
    """Who is read: connections from a translated network to the protocol's port elsewhere, and what `more` says.

    After `dstnat`, so that connections to a service of ours are seen with its server's address, and not read.
    """
    rules = [
        f"{ip} saddr {prefix} {ip} daddr != {prefix} {kind.protocol} dport {kind.port} "
        f'ct state new ct helper set "{name}"'
        for each in translations
        for name in each.helpers
        for kind in (HELPERS[name],)
        for prefix in each.prefixes
        for ip in ("ip" if prefix.version == 4 else "ip6",)
    ]
    hook = "type filter hook prerouting priority filter - 10; policy accept;"
    rules += more
    return [Chain("helped", tuple(rules), hook=hook)] if rules else []


def untracked_chains(plan: Plan, groups: Sequence[Group]) -> list[Chain]:
    """The nodes' own talk costs no entries, and no event is read to find that it is not to be kept."""
    if not flow_settings(plan, groups).kept:
        return []
    members = {name for group in groups if not group.plain for name in group.nodes}
    rules = ["meta l4proto 112 notrack"]
    ports = ", ".join(map(str, channel_ports(plan, groups)))
    for family in _FAMILIES:
        addresses = ", ".join(
            str(interface.ip)
            for node in plan.nodes
            if node.name in members
            for attachment in node.attachments
            for interface in attachment.addresses
            if interface.version == family
        )
        if addresses:
            ip = "ip" if family == 4 else "ip6"
            between = f"{ip} saddr {{ {addresses} }} {ip} daddr {{ {addresses} }}"
            rules.append(f"udp dport {{ {ports} }} {between} notrack")
    return [
        Chain(name, tuple(rules), hook=f"type filter hook {hook} priority raw; policy accept;")
        for name, hook in (("untracked_in", "prerouting"), ("untracked_out", "output"))
    ]
