"""Lines of IOS on a redundant pair: what `render.ios_nat` makes of them, fitted into the table that both nodes hold.

    ios_post        from `postrouting`: inside and outside, and never what this node says in its own name (a list that
                    permits `any` must not catch the heartbeat)
    ios_began       which side began a flow, in its `ct mark`: `nat show` could not tell it otherwise
    ios_zoning      flows of a VRF, kept apart from those with the same addresses in another one (render.ios_vrf)
    ios_marking     detours of overlapping networks, and VRFs, before routing
    ios_again       first packets that the allocator sends again
    ios_helped      control connections that conntrack reads, where that is asked for
    held4           addresses that statics and pools translate: the Active answers for them, and its own stack never

An interface of the lines is a network of the group. Packets come in by its macvlan and leave by its port, so a role
names both. Everything translated carries the group's number in its `ct mark`, like all that is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from understudy.config.plan import Check, Group, Plan
from understudy.core.allocation.events import Configured
from understudy.ios.model import Configuration, Side
from understudy.render.ios_first import AGAIN_MASK, allocation
from understudy.render.ios_nat import IosNat, render_ios_nat
from understudy.render.ios_scene import Port, Wishes
from understudy.render.keeping import HELPERS
from understudy.render.model import Pools
from understudy.render.names import link_name
from understudy.render.text import Chain, Elements
from understudy.units import GroupName, NetworkName
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

EPHEMERAL_PORTS = (32_768, 65_534)
"""Ports from which inside clients speak and which source NAT keeps: Linux from 32768, others from 49152."""
DETOUR_TABLE = 11_700
HELD_MAX = 4096
"""Prefixes of addresses for which the Active is asked; neighbouring ones count as one."""
_INVALID = "ct state invalid drop"
_HELD_SET = "held4"
_HELD_DROP = (f"ip daddr @{_HELD_SET} drop",)


@dataclass(frozen=True, slots=True)
class StillHeld:
    """Addresses that no line translates any more, and that live flows still have."""

    group: GroupName
    held: Mapping[NetworkName, tuple[IPv4Network, ...]]


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
    """The maps and turns of the lines are somebody's to tend: an allocator hands out, rotaries turn."""
    configured: Configured
    check: Check | None = None
    """Of the rotaries' servers."""
    last: tuple[str, ...] = ()
    """For the end of `postrouting`."""

    @property
    def pools(self) -> Pools | None:
        """What an allocator must know, if anything asks for one."""
        if not self.asking:
            return None
        nat = self.nat
        return Pools(self.group.name, nat.allocated, self.configured, nat.ladders, nat.rotaries, self.check)


def render_pair(
    plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str], still: StillHeld | None = None
) -> PairNat | None:
    """For a node that is in `groups`; None if the lines are not theirs, and no former ones are either."""
    pair = _render_lines(plan, groups, interfaces)
    if still is None or not any(still.held.values()):
        return pair
    if pair is None:
        group = next((each for each in groups if each.name == still.group), None)
        return _holding(_nothing(group), still) if group is not None else None
    return _holding(pair, still) if pair.group.name == still.group else pair


def _render_lines(plan: Plan, groups: Sequence[Group], interfaces: Mapping[NetworkName, str]) -> PairNat | None:
    lines = plan.ios
    group = next((each for each in groups if lines is not None and each.name == lines.group), None)
    if lines is None or group is None:
        return None
    networks = dict(lines.networks)
    configuration = lines.configuration
    ports = {each: interfaces[network] for each, network in networks.items()}
    arrivals = {
        each: (link_name(plan, group, router),)
        for each, network in networks.items()
        for router in group.routers
        if router.network == network and router.family == 4 and group.virtual_mac
    }
    wishes = Wishes(strict=lines.strict, rotary_udp=lines.rotary_udp, own_ports=_listening(plan))
    nat = render_ios_nat(configuration, ports, {}, lines.profile, arrivals, wishes)
    prefixes = {network.name: network.prefixes for network in plan.networks}
    held, unheld = _held(nat, configuration, lines.reserved, {name: prefixes[name] for name in networks.values()})
    nat = replace(nat, left_out=(*nat.left_out, *unheld))
    inside, outside = nat.inside, nat.outside
    used = bool(inside and outside)
    mark = f"ct mark set ct mark and {~GROUP_MASK & 0xFFFFFFFF:#x} or {group.number << GROUP_SHIFT:#x}"
    chains = [*nat.chains]
    if used:
        shared = ", ".join(str(i.ip) for each in group.routers if each.family == 4 for i in each.addresses)
        post = (
            # From the group's address it speaks as the router that the lines mean.
            f"meta iif 0 fib saddr type local ip saddr != {{ {shared} }} return",
            "meta iif 0 meta nfproto != ipv4 return",
            f"oifname {outside} {mark}",
            f"oifname {inside} iifname {outside} {mark}",
            *nat.postrouting,
        )
        chains.append(Chain("ios_post", post))
        hook = "type filter hook postrouting priority srcnat - 10; policy accept;"
        chains.append(Chain("ios_began", nat.began, hook=hook))
    if nat.zoning:
        hook = "type filter hook prerouting priority raw; policy accept;"
        chains.append(Chain("ios_zoning", nat.zoning, hook=hook))
    if nat.marking:
        hook = "type filter hook prerouting priority dstnat - 10; policy accept;"
        chains.append(Chain("ios_marking", nat.marking, hook=hook))
    asking = bool(nat.allocated) or lines.profile != "classic"
    tended = asking or bool(nat.ladders or nat.rotaries)
    if asking and nat.zoning_again:
        hook = "type filter hook output priority raw; policy accept;"
        chains.append(Chain("ios_zoning_again", nat.zoning_again, hook=hook))
    if asking:
        again = (f"meta mark & {AGAIN_MASK:#x} != 0x0 {mark}", *nat.output)
        chains.append(Chain("ios_again", again, hook="type nat hook output priority -100; policy accept;"))
    reserved = (*nat.reserved, *((address, address) for address in lines.reserved))
    declared = (*nat.declared, *_held_set(held))
    return PairNat(
        group=group,
        configuration=configuration,
        nat=nat,
        helpers=lines.helpers if used else (),
        chains=tuple(chains),
        declared=declared,
        helped=_helped(lines.helpers, inside, outside) if used else (),
        prerouting=nat.prerouting,
        postrouting=("jump ios_post",) if used else (),
        # NAT does not see what conntrack calls invalid: it would leave with its inside address.
        forward=(f"iifname {inside} oifname {outside} meta nfproto ipv4 {_INVALID}", *_apart(nat, outside))
        if used
        else (),
        input=_HELD_DROP if held else (),
        held=held,
        asking=tended,
        configured=allocation(nat.allocated, reserved, configuration.timeouts),
        check=lines.rotary_check,
        last=nat.last,
    )


def _listening(plan: Plan) -> dict[IPv4Address, list[Port]]:
    """Where services are asked for: `overload` gives nobody else these ports."""
    found: dict[IPv4Address, list[Port]] = {}
    for service in plan.services:
        for listen in service.listen:
            if isinstance(listen.address, IPv4Address):
                found.setdefault(listen.address, []).append((service.protocol, listen.port))
    return found


def _nothing(group: Group) -> PairNat:
    """Of a file without lines."""
    nat = replace(render_ios_nat(Configuration(), {}, {}), objects="", chains=(), declared=(), sysctls=())
    return PairNat(group, Configuration(), nat, (), (), (), (), (), (), (), (), {}, False, allocation((), (), ()))


def _holding(pair: PairNat, still: StillHeld) -> PairNat:
    """Addresses that former lines translated as well, as far as there is room beside those of the present ones."""
    held = {
        name: _beside(pair.held.get(name, ()), still.held.get(name, ()))
        for name in (*pair.held, *(name for name in still.held if name not in pair.held))
    }
    declared = tuple(each for each in pair.declared if each.name != _HELD_SET)
    return replace(pair, held=held, declared=(*declared, *_held_set(held)), input=_HELD_DROP)


def _beside(own: Sequence[IPv4Network], former: Sequence[IPv4Network]) -> tuple[IPv4Network, ...]:
    together = tuple(collapse_addresses((*own, *former)))
    if len(together) <= HELD_MAX:
        return together
    return tuple(collapse_addresses((*own, *former[: HELD_MAX - len(own)])))


def _held_set(held: Mapping[NetworkName, tuple[IPv4Network, ...]]) -> tuple[Elements, ...]:
    elements = tuple(map(str, collapse_addresses(net for nets in held.values() for net in nets)))
    return (Elements("set", _HELD_SET, "type ipv4_addr; flags interval;", elements),) if elements else ()


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
) -> tuple[dict[NetworkName, tuple[IPv4Network, ...]], tuple[str, ...]]:
    """By network, and a sentence where they are too many; what a machine of the file has on a port, the other node
    among them, is never answered for.
    """
    wanted = [_net(each) for each in (*nat.held, *_rotary(configuration))]
    found: dict[NetworkName, tuple[IPv4Network, ...]] = {}
    for name, prefixes in networks.items():
        for prefix in prefixes:
            if isinstance(prefix, IPv4Network):
                here = [part for net in wanted if net.subnet_of(prefix) for part in _without(net, taken)]
                found[name] = tuple(collapse_addresses(here))
    over = {name: len(nets) - HELD_MAX for name, nets in found.items() if len(nets) > HELD_MAX}
    said = (f"{count} prefixes on {name} are not answered for: {HELD_MAX} are" for name, count in over.items())
    return {name: nets[:HELD_MAX] for name, nets in found.items() if nets}, tuple(said)


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


def _apart(nat: IosNat, outside: str) -> tuple[str, ...]:
    """Hosts of a VRF begin nothing towards inside networks beyond it, nor anybody there towards them.

    Networks of one file never overlap: a VRF needs a table of its own only for what is behind other routers, which the
    operator's routing rules choose by its mark.
    """
    rules = []
    for vrf in nat.vrfs:
        own = vrf.entering
        rules.append(f"meta nfproto ipv4 iifname {own} oifname != {own} oifname != {outside} drop")
        rules.append(f"meta nfproto ipv4 iifname {nat.inside} iifname != {own} oifname {own} drop")
    return tuple(rules)


def _helped(names: Sequence[str], inside: str, outside: str) -> tuple[str, ...]:
    return tuple(
        f"iifname {side} meta nfproto ipv4 {HELPERS[name].protocol} dport {HELPERS[name].port} ct state new "
        f'ct helper set "{name}"'
        for name in names
        for side in (inside, outside)
    )
