"""Whether the rules of a file would make a live flow as it is, and which line decides that.

The flow's first packet is what conntrack calls its original direction, and what became of it is in the reply: the same
hooks that `understudy nat explain` walks are asked about that packet. What no configuration can know is taken from the
flow: which server's turn it was, and which address of a pool the allocator gave.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from understudy.agent.nat_view import half_of
from understudy.config.plan import IosNat, Plan, SourceNat
from understudy.ios.explain import deciding_line
from understudy.ios.hooks import Hooks, Step
from understudy.ios.look import Look
from understudy.ios.model import Dynamic, Interface, Role, Side
from understudy.ios.pools import holds
from understudy.ios.printer import print_configuration
from understudy.ios.reader import read_text
from understudy.ios.selecting import Packet
from understudy.ios.translations import ICMP, Began, Flow, Given, began, rules_of
from understudy.wire.conntrack.flow import TCP_STATES
from understudy.wire.conntrack.flow import Flow as Entry
from understudy.wire.marks import BINDING_MASK

_IPS_EXPECTED = 1
"""Of a flow's status: another flow announced it, with which it goes."""
_PORTED = frozenset((6, 17))
_OVER = frozenset(("time-wait", "close"))


@dataclass(frozen=True, slots=True)
class Judged:
    """`stands`: the rules would make the flow as it is. `line`: what decides; empty where the absence of one does."""

    stands: bool
    line: str = ""
    entry: str = ""
    """The entry of a list that lets the rule select the flow, or keeps it from that."""
    pool: str = ""
    """The pool of the rule, as it is written."""
    other: str = ""
    """Where both addresses change: the line that decides the destination."""
    detour: bool = False
    """It goes a way that a routing rule of its own chooses."""


class Standing:
    """Translations between networks and lines of IOS, asked about the flows of a kernel."""

    def __init__(self, source_nat: Sequence[SourceNat], ios: "IosRules | None") -> None:
        self._source_nat = source_nat
        self._ios = ios

    @classmethod
    def of(cls, plan: Plan, given: Sequence[Given] = ()) -> "Standing":
        return cls(plan.source_nat, IosRules.of(plan.ios, given) if plan.ios is not None else None)

    def judge(self, entry: Entry) -> Judged | None:
        """None: no rule of a file is concerned with it. It is balanced, expected, over, or not translated at all."""
        there, back = entry.original, entry.reply
        expected = entry.master is not None or (entry.status or 0) & _IPS_EXPECTED
        if (entry.mark or 0) & BINDING_MASK or expected or _is_over(entry) or not _changed(entry):
            return None
        for each in self._source_nat:
            if back.destination in each.addresses and any(there.source in prefix for prefix in each.prefixes):
                return Judged(True, f"{each.source} to {each.to} as {back.destination}")
        if self._ios is None or there.source.version != 4:
            return Judged(False)
        return self._ios.judge(Flow(there.protocol, half_of(there), half_of(back)))


class IosRules:
    """One configuration. `given`: what its pools have handed out."""

    def __init__(self, text: str, profile: str, given: Sequence[Given] = ()) -> None:
        """`text` is canonical: what `print_configuration` writes, with interfaces and their addresses."""
        reading = read_text(text)
        configuration = reading.configuration
        self._lines = dict(enumerate(headed(text), start=1))
        self._pools = {pool.name: pool for pool in configuration.pools}
        used = {rule.pool for rule in configuration.dynamics}
        kept = tuple(
            each for each in given
            if each.pool in used and (pool := self._pools.get(each.pool)) is not None and holds(pool, each.given)
        )  # fmt: skip
        self._look = Look(reading)
        self._hooks = Hooks(configuration, {}, kept, profile)
        self._rules = rules_of(configuration, kept)
        self._configuration = configuration

    @classmethod
    def of(cls, ios: IosNat, given: Sequence[Given] = ()) -> "IosRules":
        return cls(text_of(ios), ios.profile, given)

    def judge(self, flow: Flow) -> Judged:
        """By whichever interface of its side it may have come: VRFs may have the same addresses."""
        near = began(self._rules, flow) is Began.INSIDE
        asked = (self._judged(flow, near, each) for each in self._coming(flow.original.source, near))
        found = list(asked)
        return next((each for each in found if each.stands), found[0])

    def _judged(self, flow: Flow, near: bool, coming: Interface | None) -> Judged:
        there, back = flow.original, flow.reply
        packet = Packet(
            flow.protocol, there.source, there.destination, there.source_port,
            0 if flow.protocol == ICMP else there.destination_port,
        )  # fmt: skip
        hooks = self._hooks
        vrf = coming.vrf if coming is not None and near and coming.vrf in hooks.vrfs else None
        before = hooks.prerouting(packet, near, not near)
        if not self._made(before, packet.destination, back.source, back.source_port, ported=flow.protocol in _PORTED):
            return self._said(before, self._reverse_of_pool(packet.destination, near))
        changed = replace(packet, destination=back.source, destination_port=before.port)
        entered = before.statement.vrf if before.statement is not None else None
        way = hooks.route(changed, packet, near, None, vrf if near else entered)
        if before.dropped or way.interface is None:
            return self._said(before, there.source == back.destination)
        after = hooks.postrouting(packet, changed, way.interface, near, not near, vrf, coming)
        if not self._made(after, packet.source, back.destination):
            return self._said(after, False)
        # What changed the source decides; where nothing did, what changed the destination.
        source = there.source != back.destination or after.statement is not None
        both = source and before.statement is not None
        return replace(
            self._said(after if source else before, True),
            other=self._text(deciding_line(self._look, before)) if both else "",
            detour=way.reason == "detour",
        )

    def _coming(self, source: IPv4Address, near: bool) -> Sequence[Interface | None]:
        role = Role.INSIDE if near else Role.OUTSIDE
        sides = [each for each in self._hooks.interfaces.values() if role in each.roles]
        return [each for each in sides if any(source in i.network for i in each.addresses)] or [*sides[:1], None][:1]

    def _made(self, step: Step, was: IPv4Address, became: IPv4Address, port: int = 0, *, ported: bool = False) -> bool:
        if step.dropped:
            return False
        if isinstance(step.statement, Dynamic) and step.statement.pool is not None and step.decision is not None:
            pool = self._pools.get(step.statement.pool)
            return pool is not None and step.decision.permitted and holds(pool, became)
        return step.address == became and (not ported or step.port == port)

    def _reverse_of_pool(self, address: IPv4Address, near: bool) -> bool:
        """An entry that is gone by now may have let the flow in."""
        side = Side.OUTSIDE if near else Side.INSIDE
        pools = (self._pools.get(rule.pool or "") for rule in self._configuration.dynamics if rule.side is side)
        return any(pool is not None and holds(pool, address) for pool in pools)

    def _said(self, step: Step, stands: bool) -> Judged:
        entry = pool = ""
        said = step.decision
        if said is not None and said.entry is not None and said.access_list is not None:
            entry = self._text(self._look.entry_line(said.access_list, said.entry))
        if isinstance(step.statement, Dynamic) and step.statement.pool in self._pools:
            pool = self._text(self._look.line(self._pools[step.statement.pool]))
        return Judged(stands, self._text(deciding_line(self._look, step)), entry, pool)

    def _text(self, line: int | None) -> str:
        return self._lines.get(line, "") if line is not None else ""


def text_of(ios: IosNat) -> str:
    """The lines in canonical form, with the interfaces that they work on."""
    return print_configuration(ios.configuration)


def headed(text: str) -> Iterator[str]:
    """The lines of a canonical text; one of a block with what the block is of, so that it tells by itself."""
    head = ""
    for line in text.splitlines():
        if line.startswith(" "):
            yield f"{head}: {line.strip()}"
        else:
            head = line
            yield line


def _is_over(entry: Entry) -> bool:
    """Both sides have ended it: what is left is the kernel's memory of it."""
    return entry.tcp is not None and entry.tcp.state < len(TCP_STATES) and TCP_STATES[entry.tcp.state] in _OVER


def _changed(entry: Entry) -> bool:
    """Whether an address or a port is translated at all. ICMP has one identifier, which both directions name."""
    there, back = entry.original, entry.reply
    icmp = there.protocol == ICMP
    answer = (back.destination, back.source, *((back.here, there.there) if icmp else (back.there, back.here)))
    return (there.source, there.destination, there.here, there.there) != answer
