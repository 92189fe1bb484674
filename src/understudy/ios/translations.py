"""The table of translations: rows from the kernel's flows, the allocator's entries and the configuration. Pure.

The four addresses of a flow, from the tuples of its entry in conntrack (docs/reference/nat.md):

    begun inside    inside local = original source         outside local  = original destination
                    inside global = reply's destination    outside global = reply's source
    begun outside   outside global = original source       inside global  = original destination
                    outside local = reply's destination    inside local   = reply's source

Who began is told by the direction bits of the flow's mark where they are set. Else by which tuple carries which
translation: a changed source is inside -> outside unless it became an outside local address, a changed destination is
outside -> inside unless it was one. Half entries come from the configuration and the allocator alone: no flow tells of
them.

Rows are in the router's order: outside entries; then each inside entry below its flows, in the order of addresses;
flows that belong to no entry stand where their address would.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from understudy.ios.matching import PORTED, protocol_number
from understudy.ios.model import Configuration, Dynamic, Role, Side, Static
from understudy.ios.pools import Span, among, spans_of
from understudy.ios.show import Endpoint, Row

ICMP, TCP, UDP = 1, 6, 17
PROTOCOL_NAMES = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    50: "esp",
    51: "ah",
    132: "sctp",
    136: "udpl",
}
"""Words of `show` for the protocols of flows."""


class Began(StrEnum):
    """On which side a flow began."""

    INSIDE = "inside"
    OUTSIDE = "outside"


class Kind(StrEnum):
    STATIC = "static"
    """A half entry of the configuration."""
    SIMPLE = "simple"
    """A host's entry that was made by a packet."""
    FLOW = "flow"


@dataclass(frozen=True, slots=True)
class Half:
    """One direction of a flow. An ICMP identifier is both ports."""

    source: IPv4Address
    destination: IPv4Address
    source_port: int = 0
    destination_port: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow as the kernel has it: what a packet was when it came, and what an answer to it is."""

    protocol: int
    original: Half
    reply: Half
    began: Began | None = None
    """As its mark says."""
    vrf: str | None = None
    left_s: int | None = None
    age_s: int | None = None
    idle_s: int | None = None
    closing: bool = False
    """A FIN or a RST was seen."""
    packets: int = 0

    @property
    def changed(self) -> bool:
        """Whether an address or a port is translated at all."""
        back = Half(self.reply.destination, self.reply.source, self.reply.destination_port, self.reply.source_port)
        return self.original != back


@dataclass(frozen=True, slots=True)
class Given:
    """An entry of the allocator: a host has an address of a pool."""

    pool: str
    host: IPv4Address
    given: IPv4Address
    outside: bool = False
    """`host` is the outside global address and `given` the outside local one."""
    extended: bool = False
    """It is a flow's, not a host's: no row of its own."""
    age_s: int | None = None
    idle_s: int | None = None
    left_s: int | None = None


@dataclass(frozen=True, slots=True)
class Translation:
    """A row, and what `verbose` says of it."""

    protocol: str | None
    inside_global: Endpoint | None
    inside_local: Endpoint | None
    outside_local: Endpoint | None
    outside_global: Endpoint | None
    kind: Kind
    vrf: str | None = None
    age_s: int | None = None
    idle_s: int | None = None
    left_s: int | None = None
    flags: tuple[str, ...] = ()
    """extended, static, destination, outside, timing out."""
    rule: int = 0
    """Number of the dynamic rule, as `show ip nat statistics` counts them; 0: of a static one, or of none any more."""
    interface: str | None = None
    """By which it came."""
    flow: int | None = None
    """Which of the flows that the table was made from."""

    @property
    def row(self) -> Row:
        ends = (self.inside_global, self.inside_local, self.outside_local, self.outside_global)
        return Row(self.protocol, *ends)

    @property
    def inside(self) -> bool:
        """Whether it tells of an inside address."""
        return self.inside_local is not None or self.inside_global is not None


_Pair = tuple[str | None, IPv4Address, IPv4Address]


@dataclass(frozen=True, slots=True)
class Rules:
    """The configuration and the allocator's entries, for the questions that each of many flows asks."""

    configuration: Configuration
    own: Mapping[str, IPv4Address]
    far: frozenset[tuple[IPv4Address, IPv4Address]]
    """Outside global and outside local address of each outside entry: statics and allocated ones."""
    far_nets: tuple[Static, ...]
    near: Mapping[_Pair, tuple[Static, ...]]
    """Inside statics by VRF, inside local and inside global address."""
    near_nets: tuple[Static, ...]
    spans: Mapping[str, tuple[Span, ...]]
    """Pool -> what it can hand out."""

    def outside_pair(self, far: IPv4Address, near: IPv4Address) -> bool:
        """Whether outside global `far` is outside local `near`."""
        return (far, near) in self.far or any(_net_pair(each, near, far) for each in self.far_nets)

    def rule_of(self, flow: "_Four") -> tuple[int, Dynamic | Static | None]:
        """The rule that gave a flow its inside global address, as far as the addresses tell."""
        local, other = flow.inside_local, flow.inside_global
        for static in self.near.get((flow.vrf, local.address, other.address), ()):
            ports = (static.local_port, static.global_port)
            alike = protocol_number(static.protocol) in (None, flow.protocol)
            if alike and (static.local_port is None or ports == (local.port, other.port)):
                return 0, static
        for static in self.near_nets:
            if static.vrf == flow.vrf and _net_pair(static, local.address, other.address):
                return 0, static
        for number, rule in enumerate(self.configuration.dynamics, start=1):
            if rule.side is not Side.OUTSIDE and self._gave(rule, flow):
                return number, rule
        return 0, None

    def _gave(self, rule: Dynamic, flow: "_Four") -> bool:
        if rule.vrf != flow.vrf:
            return False
        if rule.interface is not None:
            return self.own.get(rule.interface) == flow.inside_global.address
        asked = flow.inside_local if rule.side is Side.DESTINATION else flow.inside_global
        return among(self.spans.get(rule.pool or "", ()), asked.address)


@dataclass(frozen=True, slots=True)
class _End:
    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class _Four:
    """The four addresses of a flow."""

    protocol: int
    inside_global: _End
    inside_local: _End
    outside_local: _End
    outside_global: _End
    vrf: str | None


def addresses_of(configuration: Configuration, shared: Mapping[str, IPv4Address]) -> dict[str, IPv4Address]:
    """What an interface's name stands for in a rule: the address shared on its network, or else its own first one."""
    own = {each.name: each.addresses[0].ip for each in configuration.interfaces if each.addresses}
    return own | dict(shared)


def table_of(
    configuration: Configuration,
    flows: Sequence[Flow],
    given: Sequence[Given] = (),
    shared: Mapping[str, IPv4Address] | None = None,
) -> tuple[Translation, ...]:
    """All rows. `shared`: the addresses that interfaces' names stand for where it is not their own."""
    rules = rules_of(configuration, given, shared)
    rows = [
        *_statics(rules),
        *_allocated(rules, given),
        *(row for number, flow in enumerate(flows) if flow.changed for row in _flow(rules, flow, number)),
    ]
    return tuple(sorted(_once(rows), key=_place))


def row_of(rules: Rules, flow: Flow) -> Translation:
    """The row of one flow, whether anything of it is changed or not."""
    *_, row = _flow(rules, flow, 0)
    return row


def began(rules: Rules, flow: Flow) -> Began:
    """Who began it."""
    if flow.began is not None:
        return flow.began
    there, back = flow.original, flow.reply
    source = (there.source, there.source_port) != (back.destination, back.destination_port)
    target = (there.destination, there.destination_port) != (back.source, back.source_port)
    if source and rules.outside_pair(there.source, back.destination):
        # Its source became an outside local address. If its destination became another's global one, both entries fit.
        return Began.INSIDE if target and rules.outside_pair(back.source, there.destination) else Began.OUTSIDE
    if target and there.source == back.destination:
        # A source that changed by its port alone made room for another flow.
        return Began.INSIDE if rules.outside_pair(back.source, there.destination) else Began.OUTSIDE
    return Began.INSIDE


def rules_of(
    configuration: Configuration, given: Sequence[Given] = (), shared: Mapping[str, IPv4Address] | None = None
) -> Rules:
    """Made once for a table: each flow is then looked up, however many statics there are."""
    own = addresses_of(configuration, shared or {})
    outer = [each for each in configuration.statics if each.side is Side.OUTSIDE and each.global_ is not None]
    far = {(each.global_, each.local) for each in outer if each.length is None and each.global_ is not None}
    far |= {(each.host, each.given) for each in given if each.outside}
    near: dict[_Pair, list[Static]] = {}
    for static in configuration.statics:
        other = global_of(static, own)
        if static.side is not Side.OUTSIDE and static.length is None and other is not None:
            near.setdefault((static.vrf, static.local, other), []).append(static)
    return Rules(
        configuration,
        own,
        frozenset(far),
        tuple(each for each in outer if each.length is not None),
        {pair: tuple(statics) for pair, statics in near.items()},
        tuple(s for s in configuration.statics if s.side is not Side.OUTSIDE and s.length is not None),
        {pool.name: spans_of(pool) for pool in configuration.pools},
    )


def global_of(static: Static, own: Mapping[str, IPv4Address]) -> IPv4Address | None:
    return static.global_ if static.interface is None else own.get(static.interface)


def _net_pair(static: Static, local: IPv4Address, other: IPv4Address) -> bool:
    """Whether the two are one host's number in the two networks of a static network."""
    if static.global_ is None or static.length is None:
        return False
    here = IPv4Network((static.local, static.length), strict=False)
    there = IPv4Network((static.global_, static.length), strict=False)
    mask = int(here.hostmask)
    return local in here and other in there and int(local) & mask == int(other) & mask


# --- rows


def _statics(rules: Rules) -> Iterator[Translation]:
    for static in rules.configuration.statics:
        other = global_of(static, rules.own)
        if other is None or static.side is Side.NVI:
            continue
        ported = static.local_port is not None
        local = Endpoint(str(static.local), static.local_port if ported else None)
        far = Endpoint(str(other), static.global_port if ported else None)
        flags = ("extended", "static") if ported else ("static",)
        protocol = static.protocol if ported else None
        if static.side is Side.OUTSIDE:
            flags = (*flags, "outside")
            yield Translation(protocol, None, None, local, far, Kind.STATIC, static.vrf, flags=flags)
        else:
            yield Translation(protocol, far, local, None, None, Kind.STATIC, static.vrf, flags=flags)


def _allocated(rules: Rules, given: Iterable[Given]) -> Iterator[Translation]:
    numbers: dict[tuple[str | None, bool], int] = {}
    for number, rule in enumerate(rules.configuration.dynamics, start=1):
        numbers.setdefault((rule.pool, rule.side is Side.OUTSIDE), number)
    for each in given:
        if each.extended:
            continue
        made_by = numbers.get((each.pool, each.outside), 0)
        host, address = Endpoint(str(each.host)), Endpoint(str(each.given))
        ages = (each.age_s, each.idle_s, each.left_s)
        if each.outside:
            yield Translation(None, None, None, address, host, Kind.SIMPLE, None, *ages, ("outside",), made_by)
        else:
            yield Translation(None, address, host, None, None, Kind.SIMPLE, None, *ages, ("none",), made_by)


def _flow(rules: Rules, flow: Flow, number: int) -> Iterator[Translation]:
    there, back = flow.original, flow.reply
    forward = _End(there.source, there.source_port), _End(there.destination, there.destination_port)
    reverse = _End(back.source, back.source_port), _End(back.destination, back.destination_port)
    if flow.protocol == ICMP:
        # One identifier: what it was before the change stands with local addresses, what it became with global ones.
        forward = forward[0], _End(forward[1].address, there.source_port)
        reverse = _End(reverse[0].address, back.source_port), _End(reverse[1].address, back.source_port)
    which = began(rules, flow)
    if which is Began.INSIDE:
        four = _Four(flow.protocol, reverse[1], forward[0], forward[1], reverse[0], flow.vrf)
    else:
        four = _Four(flow.protocol, forward[1], reverse[0], reverse[1], forward[0], flow.vrf)
    rule, made_by = rules.rule_of(four)
    if isinstance(made_by, Static) and made_by.length is not None:
        # The host's entry of a static network is made by its first flow.
        yield Translation(
            None, Endpoint(str(four.inside_global.address)), Endpoint(str(four.inside_local.address)), None, None,
            Kind.SIMPLE, flow.vrf, flags=("static",),
        )  # fmt: skip
    flags = ["extended"]
    if isinstance(made_by, Dynamic) and made_by.side is Side.DESTINATION:
        flags.append("destination")
    if which is Began.OUTSIDE:
        flags.append("outside")
    if flow.closing:
        flags.append("timing out")
    role = Role.INSIDE if which is Began.INSIDE else Role.OUTSIDE
    yield Translation(
        PROTOCOL_NAMES.get(flow.protocol, str(flow.protocol)),
        _endpoint(four.protocol, four.inside_global),
        _endpoint(four.protocol, four.inside_local),
        _endpoint(four.protocol, four.outside_local),
        _endpoint(four.protocol, four.outside_global),
        Kind.FLOW,
        flow.vrf,
        flow.age_s,
        flow.idle_s,
        flow.left_s,
        tuple(flags),
        rule,
        next((each.name for each in rules.configuration.interfaces if role in each.roles), None),
        number,
    )


def _endpoint(protocol: int, end: _End) -> Endpoint:
    shown = protocol in PORTED or protocol == ICMP or end.port
    return Endpoint(str(end.address), end.port if shown else None)


def _once(rows: Iterable[Translation]) -> Iterator[Translation]:
    """A host's entry that several flows tell of, or the configuration too, stands once."""
    seen: set[tuple[object, ...]] = set()
    for each in rows:
        key = (each.vrf, each.row)
        if each.kind is Kind.FLOW or key not in seen:
            seen.add(key)
            yield each


def _place(row: Translation) -> tuple[object, ...]:
    """Outside entries; inside global addresses in order; at each the flows of a port, its entry, then the host's."""
    if not row.inside:
        far = row.outside_global or row.outside_local
        return (0, row.vrf or "", _number(far), 0, 0, 0, 0)
    near = row.inside_global
    ported = near is not None and near.port is not None
    half = row.kind is not Kind.FLOW
    port = near.port if near is not None and near.port is not None else 1 << 16
    # Flows of one port stand above the entry of that port; what is of the host alone comes last.
    return (1, row.vrf or "", _number(near), 0 if ported else 1, row.protocol or "~", port, 1 if half else 0)


def _number(end: Endpoint | None) -> int:
    return int(IPv4Address(end.address)) if end is not None else 0
