"""Lines of IOS on a redundant pair: what `render.ios_nat` makes of them, fitted into the table that both nodes hold.

    ios_post        from `postrouting`: inside and outside, and never what this node says in its own name (a list that
                    permits `any` must not catch the heartbeat)
    ios_marking     detours of overlapping networks, before routing
    ios_again       first packets that the allocator sends again
    ios_helped      control connections that conntrack reads, where that is asked for
    held4           addresses that statics and pools translate: the Active answers for them, and its own stack never

An interface of the lines is a network of the group. Packets come in by its macvlan and leave by its port, so a role
names both. Everything translated carries the group's number in its `ct mark`, like all that is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from understudy.config.plan import Group, Plan
from understudy.core.allocation.events import Configured
from understudy.ios.model import Configuration, Role, Side
from understudy.render.ios_first import AGAIN_MASK, allocation
from understudy.render.ios_nat import IosNat, render_ios_nat
from understudy.render.keeping import HELPERS
from understudy.render.model import Pools
from understudy.render.names import link_name
from understudy.render.text import Chain, Elements
from understudy.units import NetworkName
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

EPHEMERAL_PORTS = (32_768, 65_534)
"""Ports from which inside clients speak and which source NAT keeps: Linux from 32768, others from 49152."""
DETOUR_TABLE = 11_700
HELD_MAX = 4096
"""Prefixes of addresses for which the Active is asked; neighbouring ones count as one."""
_INVALID = "ct state invalid drop"


@dataclass(frozen=True, slots=True)
class PairNat:
    """Parts of table `inet understudy`, and what is needed around it."""

    group: Group
    configuration: Configuration
    nat: IosNat
    helpers: tuple[str, ...]
    chains: tuple[Chain, ...]
    declared: tuple[Elements, ...]
    helped: tuple[str, ...]
    """Rules that choose which control connections are read."""
    prerouting: tuple[str, ...]
    postrouting: tuple[str, ...]
    forward: tuple[str, ...]
    input: tuple[str, ...]
    held: Mapping[NetworkName, tuple[IPv4Network, ...]]
    """Prefixes that the group answers for on a network of its own."""
    asking: bool
    """First packets wait for an allocator."""
    configured: Configured

    @property
    def pools(self) -> Pools | None:
        """What an allocator must know, if anything asks for one."""
        return Pools(self.group.name, self.nat.allocated, self.configured) if self.asking else None


def render_pair(plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str]) -> PairNat | None:
    """For a node that is in `groups`; None if the lines are not theirs."""
    lines = plan.ios
    group = next((each for each in groups if lines is not None and each.name == lines.group), None)
    if lines is None or group is None:
        return None
    networks = dict(lines.networks)
    configuration = _without_vrfs(lines.configuration)
    ports = {each: interfaces[network] for each, network in networks.items()}
    arrivals = {
        each: (link_name(plan, group, router),)
        for each, network in networks.items()
        for router in group.routers
        if router.network == network and router.family == 4 and group.virtual_mac
    }
    nat = render_ios_nat(configuration, ports, {}, lines.profile, arrivals)
    prefixes = {network.name: network.prefixes for network in plan.networks}
    held = _held(nat, configuration, lines.reserved, {name: prefixes[name] for name in networks.values()})
    inside, outside = (_quoted(configuration, role, ports, arrivals) for role in (Role.INSIDE, Role.OUTSIDE))
    used = bool(inside and outside)
    mark = f"ct mark set ct mark and {~GROUP_MASK & 0xFFFFFFFF:#x} or {group.number << GROUP_SHIFT:#x}"
    chains = [*nat.chains]
    if used:
        post = (
            "meta iif 0 fib saddr type local return",
            f"oifname {outside} meta iif != 0 {mark}",
            f"oifname {inside} iifname {outside} {mark}",
            *nat.postrouting,
        )
        chains.append(Chain("ios_post", post))
    if nat.marking:
        hook = "type filter hook prerouting priority dstnat - 10; policy accept;"
        chains.append(Chain("ios_marking", nat.marking, hook=hook))
    asking = bool(nat.allocated) or lines.profile != "classic"
    if asking:
        again = (f"meta mark & {AGAIN_MASK:#x} != 0x0 {mark}", *nat.output)
        chains.append(Chain("ios_again", again, hook="type nat hook output priority -100; policy accept;"))
    reserved = (*nat.reserved, *((address, address) for address in lines.reserved))
    everything = tuple(collapse_addresses(net for nets in held.values() for net in nets))
    declared = [*nat.declared]
    if everything:
        elements = tuple(str(net) for net in everything)
        declared.append(Elements("set", "held4", "type ipv4_addr; flags interval;", elements))
    return PairNat(
        group=group,
        configuration=configuration,
        nat=nat,
        helpers=lines.helpers if used else (),
        chains=tuple(chains),
        declared=tuple(declared),
        helped=_helped(lines.helpers, inside, outside) if used else (),
        prerouting=nat.prerouting,
        postrouting=("jump ios_post",) if used else (),
        # NAT does not see what conntrack calls invalid: it would leave with its inside address.
        forward=(f"iifname {inside} oifname {outside} meta nfproto ipv4 {_INVALID}",) if used else (),
        input=("ip daddr @held4 drop",) if everything else (),
        held=held,
        asking=asking,
        configured=allocation(nat.allocated, reserved, configuration.timeouts),
    )


def held_prefixes(pair: PairNat | None, group: Group, network: NetworkName) -> tuple[IPv4Network, ...]:
    """What a group answers for on a network, beside its own addresses."""
    return pair.held.get(network, ()) if pair is not None and pair.group.name == group.name else ()


def detour_routes(
    plan: Plan, pair: PairNat | None, network: NetworkName, port: str
) -> tuple[tuple[int, IPv4Address | None], ...]:
    """Table and next hop of each detour by a port: the lines' own default route, else the network's gateway."""
    gateway = next(
        (a for n in plan.networks if n.name == network for a in n.gateway if isinstance(a, IPv4Address)), None
    )
    return tuple(
        (DETOUR_TABLE + number, each.via or gateway)
        for number, each in enumerate(pair.nat.detours if pair is not None else ())
        if each.interface == port
    )


def translated_ports(pair: PairNat) -> dict[IPv4Address, list[tuple[int, int]]]:
    """TCP ports of the group's own addresses on which translated flows come back."""
    addresses = {each.name: each.addresses[0].ip for each in pair.configuration.interfaces if each.addresses}
    own = {i.ip for router in pair.group.routers for i in router.addresses}
    found: dict[IPv4Address, list[tuple[int, int]]] = {}
    for static in pair.configuration.statics:
        address = static.global_ if static.interface is None else addresses.get(static.interface)
        if static.side is Side.INSIDE and address in own and address is not None and static.protocol in (None, "tcp"):
            port = static.global_port
            found.setdefault(address, []).append((1, 65_534) if port is None else (port, port))
    for rule in pair.configuration.dynamics:
        lent = addresses.get(rule.interface or "")
        if lent is not None:
            found.setdefault(lent, []).append(EPHEMERAL_PORTS)
    return found


def _held(
    nat: IosNat,
    configuration: Configuration,
    taken: Sequence[IPv4Address],
    networks: Mapping[NetworkName, Sequence[object]],
) -> dict[NetworkName, tuple[IPv4Network, ...]]:
    """By network; what a machine of the file has on a port, the other node among them, is never answered for."""
    wanted = [_net(each) for each in (*nat.held, *_rotary(configuration))]
    found: dict[NetworkName, tuple[IPv4Network, ...]] = {}
    for name, prefixes in networks.items():
        for prefix in prefixes:
            if isinstance(prefix, IPv4Network):
                here = [part for net in wanted if net.subnet_of(prefix) for part in _without(net, taken)]
                found[name] = tuple(collapse_addresses(here))[:HELD_MAX]
    return {name: nets for name, nets in found.items() if nets}


def _rotary(configuration: Configuration) -> list[IPv4Address]:
    """Virtual addresses: hosts that the list of an `inside destination` names."""
    lists = {each.name: each for each in configuration.access_lists}
    found = []
    for rule in configuration.dynamics:
        access_list = lists.get(rule.access_list or "") if rule.side is Side.DESTINATION else None
        for entry in access_list.entries if access_list is not None else ():
            host = entry.source if entry.destination is None else entry.destination
            if entry.permit and host is not None and host.group is None and int(host.wildcard) == 0:
                found.append(host.address)
    return found


def _without(net: IPv4Network, taken: Sequence[IPv4Address]) -> list[IPv4Network]:
    """The same addresses but for those that somebody has on a port."""
    left = [net]
    for address in taken:
        if address in net:
            hole = IPv4Network(address)
            left = [part for each in left for part in (each.address_exclude(hole) if address in each else (each,))]
    return left


def _net(each: IPv4Address | IPv4Network) -> IPv4Network:
    return each if isinstance(each, IPv4Network) else IPv4Network(each)


def _quoted(
    configuration: Configuration, role: Role, ports: Mapping[str, str], arrivals: Mapping[str, Sequence[str]]
) -> str:
    of = [each.name for each in configuration.interfaces if role in each.roles]
    names = dict.fromkeys(name for each in of for name in (ports[each], *arrivals.get(each, ())))
    return f"{{ {', '.join(f'{chr(34)}{name}{chr(34)}' for name in names)} }}" if names else ""


def _without_vrfs(configuration: Configuration) -> Configuration:
    return replace(configuration, interfaces=tuple(replace(each, vrf=None) for each in configuration.interfaces))


def _helped(names: Sequence[str], inside: str, outside: str) -> tuple[str, ...]:
    return tuple(
        f"iifname {side} meta nfproto ipv4 {HELPERS[name].protocol} dport {HELPERS[name].port} ct state new "
        f'ct helper set "{name}"'
        for name in names
        for side in (inside, outside)
    )
