"""Dynamic rules as chains in IOS's order: each is led to by its list or route-map, and leads to the next.

The order is that of `ios.hooks`: lists before route-maps, numbered ones by number (docs/reference/nat.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, summarize_address_range

from understudy.ios.hooks import in_order
from understudy.ios.model import Dynamic, Pool, Side
from understudy.ios.pools import Span, spans_of
from understudy.ios.profiles import DEFAULT
from understudy.render.ios_first import AGAIN_MASK, Allocated, ask, count_ports, keep_aside
from understudy.render.ios_match import Uncompiled, selection
from understudy.render.ios_overload import Ladder, climb, ladder_of, overload_rules
from understudy.render.ios_scene import Held, Port, Scene
from understudy.render.ios_statics import own_ports
from understudy.render.ios_turns import Rotary, rotaries, turn_chain
from understudy.render.ios_vrf import LIMIT, MARK_MASK
from understudy.render.text import Chain

_ENTRANCES = {Side.INSIDE: "ios_source", Side.OUTSIDE: "ios_outside", Side.DESTINATION: "ios_rotary"}


@dataclass(slots=True)
class Rules:
    """Takes the rules of one side after another; what they come to is in its fields."""

    scene: Scene
    held: Held
    limited: bool = False
    """Whether there are limits to ask (chain `ios_limits`)."""
    chains: list[Chain] = field(default_factory=list)
    allocated: dict[str, Allocated] = field(default_factory=dict)
    ladders: dict[str, Ladder] = field(default_factory=dict)
    turns: dict[str, Rotary] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    _own_ports: dict[IPv4Address, list[Port]] | None = None
    """Found for the first rule that asks: there may be many."""

    def enter(self, side: Side) -> tuple[str, ...]:
        """Chains for the rules, each leading to the next; the rule that enters the first."""
        name = _ENTRANCES[side]
        made = []
        for rule in (each for each in in_order(self.scene.configuration) if each.side is side):
            try:
                action = self._action(rule)
                if action is not None:
                    made.append((rule, action))
            except Uncompiled as error:
                self.left_out.append(f"{rule.access_list or rule.route_map}: {error.what}")
        entered: list[str] = []
        for rule, action in made:
            number = len(entered)
            here, then = f"{name}{number}x", f"{name}{number}_do"
            following = f"{name}{number + 1}x"
            try:
                chains = selection(self.scene.configuration, rule, here, then, following, self.scene.ports)
            except Uncompiled as error:
                self.left_out.append(f"{rule.access_list or rule.route_map}: {error.what}")
                continue
            first = Chain(here, (*self._where(rule, following), *chains[0].rules))
            self.chains += [first, *chains[1:], Chain(then, action)]
            entered.append(here)
        if not entered:
            return ()
        self.chains.append(Chain(f"{name}{len(entered)}x", ()))
        return (f"jump {entered[0]}",)

    def _where(self, rule: Dynamic, following: str) -> tuple[str, ...]:
        """A rule speaks of the flows of its VRF, or of those in none, that leave by its `egress-interface`."""
        return (*self._by_vrf(rule, following), *self._by_exit(rule, following))

    def _by_vrf(self, rule: Dynamic, following: str) -> tuple[str, ...]:
        vrfs = self.scene.vrfs
        if not vrfs or rule.side is not Side.INSIDE:
            return ()
        if rule.vrf is None:
            marks = ", ".join(f"{each.mark:#x}" for each in vrfs.values())
            return (f"meta mark & {MARK_MASK:#x} {{ {marks} }} goto {following}",)
        return (f"meta mark & {MARK_MASK:#x} != {vrfs[rule.vrf].mark:#x} goto {following}",)

    def _by_exit(self, rule: Dynamic, following: str) -> tuple[str, ...]:
        if rule.egress_interface is None:
            return ()
        port = self.scene.ports.get(rule.egress_interface)
        return (f"goto {following}",) if port is None else (f'oifname != "{port}" goto {following}',)

    def _action(self, rule: Dynamic) -> tuple[str, ...] | None:
        """What becomes of a flow that the rule selects."""
        vrfs = self.scene.vrfs
        if rule.vrf is not None and (rule.vrf not in vrfs or rule.side is not Side.INSIDE or not rule.overload):
            raise Uncompiled(f"VRF {rule.vrf}: {LIMIT}")
        pool = next((each for each in self.scene.configuration.pools if each.name == rule.pool), None)
        if rule.side is Side.DESTINATION:
            return self._rotary(rule, pool)
        if rule.interface is not None:
            # An interface that is down or has no address still takes the flow, and it goes nowhere.
            address = self.scene.own.get(rule.interface)
            return ("drop",) if address is None else self._overload(address, interface=True)
        if pool is None:
            return None
        usable = self._hold(pool)
        if not rule.overload or pool.kind == "match-host":
            return self._allocate(rule, pool, usable)
        if not usable:
            return ("drop",)
        first, last = usable[0]
        if rule.pap and first != last:
            return (f"snat ip to {first}-{last} persistent",)
        # The others' ports are counted by the allocator, and come round again.
        ladder = ladder_of(pool.name, usable) if self.scene.wishes.profile == DEFAULT else None
        if ladder is None:
            return self._overload(first, interface=False)
        self.ladders[pool.name] = ladder
        return (*climb(ladder), *self._overload(first, interface=False))

    def _overload(self, address: IPv4Address, *, interface: bool) -> tuple[str, ...]:
        profile = self.scene.wishes.profile
        if profile == "ios-xe-modern":
            return (*self._limits, *count_ports(address))
        aside = keep_aside(address, self._limits) if profile == "ios-xe-15.5" else ()
        if self._own_ports is None:
            self._own_ports = own_ports(self.scene)
        own = self._own_ports.get(address, ())
        return (*aside, *overload_rules(self.scene.configuration, address, own, interface=interface))

    @property
    def _limits(self) -> tuple[str, ...]:
        """Asked before the allocator is: who is over a limit takes no address."""
        return (f"meta mark & {AGAIN_MASK:#x} == 0 jump ios_limits",) if self.limited else ()

    def _allocate(self, rule: Dynamic, pool: Pool, usable: Sequence[Span]) -> tuple[str, ...]:
        extended = rule.route_map is not None and rule.side is Side.INSIDE
        matched = pool.length if pool.kind == "match-host" else None
        made = Allocated(pool.name, tuple(usable), rule.side, extended, extended and rule.reversible, matched)
        self.allocated[made.name] = made
        return (*self._limits, *ask(made))

    def _rotary(self, rule: Dynamic, pool: Pool | None) -> tuple[str, ...] | None:
        made = rotaries(rule, pool, udp=self.scene.wishes.rotary_udp) if pool is not None else ()
        if not made:
            return None
        for each in made:
            if each.name not in self.turns:
                self.turns[each.name] = each
                self.chains.append(turn_chain(each))
        return tuple(f"meta l4proto {each.protocol} jump {each.chain}" for each in made)

    def _hold(self, pool: Pool) -> tuple[Span, ...]:
        usable = spans_of(pool)
        for first, last in usable:
            for net in summarize_address_range(first, last):
                self.held[net.network_address if net.prefixlen == 32 else net] = None
        return usable
