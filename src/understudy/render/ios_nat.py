"""NAT of IOS in nftables: statics as map elements, dynamic rules as chains in IOS's order, nothing per flow.

    in -> out   prerouting   outside local  -> outside global    maps, `outside source`
                postrouting  inside local   -> inside global     static maps, then dynamic rules
    out -> in   prerouting   inside global  -> inside local      static maps, allocated addresses, rotaries
                postrouting  outside global -> outside local     maps, `outside source`

A map holds all statics of its kind, so the cost of a packet does not grow with their number. A static beats every
dynamic rule (render.ios_statics, render.ios_rules).

What the router itself sends has no incoming interface: it counts as coming from the inside, as on IOS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from understudy.ios.model import Configuration, Role, Side
from understudy.render.ios_counted import TIMESTAMPS, counted_chain, counter_objects
from understudy.render.ios_first import (
    AGAIN_INSIDE,
    AGAIN_MASK,
    AGAIN_OUTSIDE,
    Allocated,
    kept_maps,
)
from understudy.render.ios_limits import limits, timeout_chain, timeout_objects, timeout_sysctls, timeouts
from understudy.render.ios_overload import Ladder, ladder_maps
from understudy.render.ios_rules import Rules
from understudy.render.ios_scene import Held, Scene, Wishes, net_of
from understudy.render.ios_statics import enter_all
from understudy.render.ios_turns import Rotary
from understudy.render.ios_vrf import Vrf, found_vrfs
from understudy.render.text import Chain, Elements
from understudy.wire.marks import DIRECTION_INSIDE, DIRECTION_MASK, DIRECTION_OUTSIDE

DETOUR_MARK = 0x7573_1000
"""Packet mark, plus the number of an outside interface: routed by its table, whatever the main one says."""


@dataclass(frozen=True, slots=True)
class Detour:
    """Destinations that must leave by an outside interface although the same addresses exist inside."""

    mark: int
    interface: str
    destinations: tuple[IPv4Address | IPv4Network, ...]
    """Outside local."""
    via: IPv4Address | None


@dataclass(frozen=True, slots=True)
class IosNat:
    """What a configuration's NAT is in a kernel: parts of table `inet understudy`, and what is needed around it."""

    inside: str
    """The kernel's interfaces as a set of nft; empty if there are none."""
    outside: str
    objects: str
    """Declarations of `ct timeout` objects and counters, before everything that names them."""
    declared: tuple[Elements, ...]
    kept: tuple[Elements, ...]
    """Maps of the allocator: made if they are missing, and never flushed."""
    chains: tuple[Chain, ...]
    prerouting: tuple[str, ...]
    """Rules for the nat chain at `dstnat`."""
    postrouting: tuple[str, ...]
    """Rules for the nat chain at `srcnat`."""
    last: tuple[str, ...]
    """Rules for the end of that chain: what nobody translated, where it may not leave so."""
    output: tuple[str, ...]
    """Rules for a nat chain at the output hook: first packets that the allocator sends again."""
    marking: tuple[str, ...]
    """Rules for a chain before `dstnat` that choose the detours."""
    began: tuple[str, ...]
    """Rules for a filter chain at postrouting: which side began a flow, in its `ct mark`."""
    held: tuple[IPv4Address | IPv4Network, ...]
    """Addresses that the Active must be asked for on the outside: translated ones that are no interface's own."""
    allocated: tuple[Allocated, ...]
    ladders: tuple[Ladder, ...]
    rotaries: tuple[Rotary, ...]
    reserved: tuple[tuple[IPv4Address, IPv4Address], ...]
    """First and last of each range that no pool may hand out: of interfaces and statics. None where nobody asks."""
    detours: tuple[Detour, ...]
    sysctls: tuple[tuple[str, int], ...]
    vrfs: tuple[Vrf, ...]
    """Each has a routing table, chosen by its mark, before the main one."""
    zoning: tuple[str, ...]
    """Rules for a filter chain at prerouting before conntrack."""
    zoning_again: tuple[str, ...]
    """The same at the output hook."""
    left_out: tuple[str, ...]
    """What has no counterpart, a sentence each."""


def render_ios_nat(
    configuration: Configuration,
    ports: Mapping[str, str],
    shared: Mapping[str, IPv4Address],
    profile: str = "classic",
    arrivals: Mapping[str, Sequence[str]] = MappingProxyType({}),
    wishes: Wishes | None = None,
) -> IosNat:
    """`ports` names the kernel's interface for each of the configuration; `shared` the address that an interface's name
    stands for in a rule: the group's on that network, or else the interface's own. `profile` says how `overload`
    chooses ports (ios.profiles): the kernel's way costs nothing, the others ask the allocator. `arrivals` names further
    interfaces of the kernel by which packets of one of the configuration come in.
    """
    own = {each.name: each.addresses[0].ip for each in configuration.interfaces if each.addresses}
    scene = Scene(
        configuration=configuration,
        ports=ports,
        arrivals=arrivals,
        own={**own, **shared},
        addressed=frozenset(i.ip for each in configuration.interfaces for i in each.addresses),
        vrfs=found_vrfs(configuration, ports, arrivals),
        wishes=replace(wishes or Wishes(), profile=profile),
    )
    return _compiled(scene)


def _compiled(scene: Scene) -> IosNat:
    configuration, held = scene.configuration, Held()
    statics = enter_all(scene, held)
    capped = limits(configuration, scene.ports)
    inside, outside = scene.names(Role.INSIDE), scene.names(Role.OUTSIDE)
    counting = _capped(capped.rules, outside)
    rules = Rules(scene, held, limited=bool(counting))
    source, outwards, rotary = (rules.enter(side) for side in (Side.INSIDE, Side.OUTSIDE, Side.DESTINATION))
    policies = timeouts(configuration)
    allocated = tuple(rules.allocated.values())
    entries = ("ios_entry_in", *(each.maps[1] for each in allocated if each.reversible))
    detours = _detours(scene)
    marked = statics.marked
    chains = (
        *statics.chains,
        *rules.chains,
        *capped.chains,
        *counting,
        timeout_chain(policies),
        Chain(
            "ios_in",
            (
                "jump ios_timeouts",
                *statics.lookups("in", "dnat", "daddr", "dport"),
                *(f"dnat ip to ip daddr map @{name}" for name in entries),
                *rotary,
            ),
        ),
        Chain(
            "ios_local",
            (*statics.lookups("local", "dnat", "daddr", "dport"), "dnat ip to ip daddr map @ios_far_in"),
        ),
        Chain(
            "ios_out",
            (
                "jump ios_timeouts",
                *statics.lookups("out", "snat", "saddr", "sport"),
                *statics.rules,
                # Who has an entry keeps it for all flows: lists are asked to make one, and not again.
                "snat ip to ip saddr map @ios_entry_out",
                *source,
            ),
        ),
        Chain(
            "ios_global",
            (
                *statics.lookups("global", "snat", "saddr", "sport"),
                "snat ip to ip saddr map @ios_far_out",
                *outwards,
            ),
        ),
        Chain("ios_nothing", ()),
    )
    used = bool(inside and outside)
    return IosNat(
        inside=inside,
        outside=outside,
        objects="\n\n".join((timeout_objects(policies), counter_objects())),
        declared=(*statics.declared(), *capped.declared),
        kept=(*kept_maps(allocated), *ladder_maps(tuple(rules.ladders.values()))),
        chains=(*chains, counted_chain()) if used else chains,
        prerouting=(
            f"meta nfproto ipv4 iifname {outside} jump ios_in",
            f"meta nfproto ipv4 iifname {inside} jump ios_local",
        )
        if used
        else (),
        postrouting=(
            # A list's `any` must not mean IPv6.
            "meta nfproto != ipv4 return",
            # A packet of the router's own has no incoming interface, and counts as from inside.
            f"oifname {outside} meta iif != 0 iifname != {inside} return",
            f"oifname {outside} jump ios_out",
            f"oifname {inside} iifname {outside} jump ios_global",
            f"oifname {inside} meta mark & {AGAIN_MASK:#x} == {AGAIN_OUTSIDE:#x} jump ios_global",
        )
        if used
        else (),
        # What has another destination alone is translated, and says its own address.
        last=(f"meta nfproto ipv4 oifname {outside} iifname {inside} ct status ! dnat counter drop",)
        if used and scene.wishes.strict
        else (),
        output=(
            f"meta nfproto ipv4 meta mark & {AGAIN_MASK:#x} == {AGAIN_INSIDE:#x} jump ios_local",
            f"meta nfproto ipv4 meta mark & {AGAIN_MASK:#x} == {AGAIN_OUTSIDE:#x} jump ios_in",
        ),
        marking=(
            *(rule for vrf in scene.vrfs.values() for rule in vrf.marking(outside, marked.get(vrf.name, ()))),
            *(
                f"iifname {inside} ip daddr {{ {', '.join(map(str, each.destinations))} }} meta mark set {each.mark:#x}"
                for each in detours
            ),
        ),
        began=_began(inside, outside) if used else (),
        held=tuple(held),
        allocated=allocated,
        ladders=tuple(rules.ladders.values()),
        rotaries=tuple(rules.turns.values()),
        reserved=_reserved(scene) if allocated else (),
        detours=detours,
        sysctls=(*timeout_sysctls(configuration), TIMESTAMPS),
        vrfs=tuple(scene.vrfs.values()),
        zoning=tuple(each.zoning for each in scene.vrfs.values()),
        zoning_again=tuple(each.zoning_again for each in scene.vrfs.values()),
        left_out=(*statics.left_out, *rules.left_out, *capped.left_out),
    )


def _began(inside: str, outside: str) -> tuple[str, ...]:
    """Of a flow's first packet alone: what an ICMP error says of a flow is not how it began.

    Not in the nat chains: a connection that a helper expects passes them by, and has its master's mark.
    """
    from_inside, from_outside = (
        f"ct mark set ct mark and {~DIRECTION_MASK & 0xFFFFFFFF:#x} or {each:#x}"
        for each in (DIRECTION_INSIDE, DIRECTION_OUTSIDE)
    )
    return (
        "ct status confirmed accept",
        "meta nfproto != ipv4 accept",
        f"oifname {outside} iifname {inside} {from_inside}",
        f"oifname {inside} iifname {outside} {from_outside}",
        # What is sent again, and what the router says itself, which counts as from inside.
        f"oifname {outside} meta iif 0 {from_inside}",
        f"meta iif 0 meta mark & {AGAIN_MASK:#x} == {AGAIN_OUTSIDE:#x} {from_outside}",
    )


def _capped(rules: Sequence[str], outside: str) -> tuple[Chain, ...]:
    """`max-entries`, asked when a flow has been translated: what is not takes nobody's place."""
    if not rules or not outside:
        return ()
    first = (
        "ct status confirmed accept",
        "meta nfproto != ipv4 accept",
        f"oifname != {outside} accept",
        # What is sent again was counted when it came, before anything was handed out for it.
        f"meta mark & {AGAIN_MASK:#x} == 0 ct status snat,dnat jump ios_limits",
    )
    hook = "type filter hook postrouting priority srcnat + 10; policy accept;"
    return Chain("ios_limits", tuple(rules)), Chain("ios_capped", first, hook=hook)


def _reserved(scene: Scene) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
    # Sorted as numbers: statics are many, and addresses are slow to compare.
    found = {(int(each), int(each)): (each, each) for each in (*scene.addressed, *scene.own.values())}
    for static in scene.configuration.statics:
        # What hosts outside know of inside ones, and hosts inside of outside ones.
        address = static.local if static.side is Side.OUTSIDE else static.global_
        if address is None:
            continue
        first = last = address
        if static.length is not None:
            net = net_of(address, static.length)
            first, last = net.network_address, net.broadcast_address
        found[int(first), int(last)] = first, last
    return tuple(found[key] for key in sorted(found))


def _detours(scene: Scene) -> tuple[Detour, ...]:
    """Where an outside global address exists inside as well, its outside local one needs a way of its own."""
    interfaces = scene.configuration.interfaces
    inside = [i.network for each in interfaces if Role.INSIDE in each.roles for i in each.addresses]
    outside = [each for each in interfaces if Role.OUTSIDE in each.roles]
    wanted: list[IPv4Address | IPv4Network] = []
    for static in scene.configuration.statics:
        if static.side is Side.OUTSIDE and static.global_ is not None:
            net = net_of(static.global_, static.length if static.length is not None else 32)
            if any(net.overlaps(each) for each in inside):
                wanted.append(net_of(static.local, static.length) if static.length is not None else static.local)
    if not wanted or not outside:
        return ()
    via = next((r.next_hop for r in scene.configuration.routes if r.next_hop is not None and r.vrf is None), None)
    return (Detour(DETOUR_MARK, scene.ports[outside[0].name], tuple(wanted), via),)
