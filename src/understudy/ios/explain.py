"""What becomes of the first packet of a flow, and which line decides it: the model evaluated, without traffic. Pure.

What this page says of a packet and what the kernel does are compared by tests. Three things are not in the
configuration, and are told as such (`chosen`): the port that the kernel takes where the flow's own is in use, the
address that it takes by a hash, and the place of a round robin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from understudy.ios.explain_texts import sentence
from understudy.ios.hooks import Hooks, Step
from understudy.ios.layout import words_of
from understudy.ios.lines import Reading
from understudy.ios.look import Look
from understudy.ios.matching import PORTED
from understudy.ios.model import Dynamic, Interface, Role, Side
from understudy.ios.names import interface_name
from understudy.ios.selecting import Packet, decide
from understudy.ios.translations import ICMP, Began, Flow, Given, Half, Kind, Translation, row_of, rules_of, table_of

DIRECTIONS = ("in", "out", "local")


@dataclass(frozen=True, slots=True)
class Hook:
    """One place that the packet passes, and what changed there."""

    name: str
    """prerouting, routing or postrouting."""
    reason: str
    values: Mapping[str, Any]
    before: str = ""
    after: str = ""
    line: int | None = None

    def said(self, language: str = "en") -> str:
        return sentence(self.reason, self.values, language)


@dataclass(frozen=True, slots=True)
class Explanation:
    verdict: str
    """translated, untranslated or dropped: the words of cases."""
    sent: Packet
    seen: Packet | None
    """As it leaves; None if it does not."""
    reason: str
    values: Mapping[str, Any]
    line: int | None
    """That decides; None where the absence of one does."""
    text: str
    hooks: tuple[Hook, ...]
    rows: tuple[Translation, ...]
    """Entries that stand in the table then because of it; the flow's own is the first."""
    leaving: str | None
    """The interface; None if it is delivered to the router, or dropped."""
    chosen: frozenset[str] = frozenset()
    """What of the result the kernel or a counter chooses, so that it may differ: `port`, `address`, `turn`."""

    def said(self, language: str = "en") -> str:
        return sentence(self.reason, self.values, language)


def explain(
    reading: Reading,
    direction: str,
    interface: str | None,
    packet: Packet,
    *,
    shared: Mapping[str, IPv4Address] | None = None,
    given: Sequence[Given] = (),
    profile: str = "classic",
    leaving: str | None = None,
    strict: bool = False,
    table: Sequence[Translation] = (),
    on_pair: bool = False,
    rotary_udp: bool = False,
) -> Explanation:
    """`given`: the allocator's entries, in the order of giving. `leaving`: the interface that routing chooses, where
    the configuration's own routes do not say it. `table`: the flows that there are, of which one may have the port.
    `on_pair`: what the node says in its own name is never translated, as it is on a router. `rotary_udp`: rotaries take
    UDP as well.
    """
    hooks = Hooks(reading.configuration, shared or {}, given, profile, rotary_udp=rotary_udp)
    return _Explainer(reading, hooks, shared or {}, given, strict, table, on_pair).explain(
        direction, interface, packet, leaving
    )


class _Explainer:
    def __init__(
        self,
        reading: Reading,
        hooks: Hooks,
        shared: Mapping[str, IPv4Address],
        given: Sequence[Given],
        strict: bool,
        table: Sequence[Translation],
        on_pair: bool,
    ) -> None:
        self._reading = reading
        self._look = Look(reading)
        self._shared, self._given, self._strict, self._table = shared, given, strict, table
        self._on_pair = on_pair
        self._vrf: str | None = None
        self._hooks = hooks

    def explain(self, direction: str, name: str | None, packet: Packet, leaving: str | None) -> Explanation:
        hooks = self._hooks
        coming = hooks.interfaces.get(interface_name(name or "") or "") if direction != "local" else None
        near = direction == "local" or (coming is not None and Role.INSIDE in coming.roles)
        far = coming is not None and Role.OUTSIDE in coming.roles
        vrf = coming.vrf if coming is not None and near and coming.vrf in hooks.vrfs else None
        self._vrf = vrf
        before = hooks.prerouting(packet, near and direction != "local", far)
        changed = replace(packet, destination=before.address, destination_port=before.port)
        passed = [self._hook("prerouting", "destination", packet.destination, packet.destination_port, before, packet)]
        entered = before.statement.vrf if before.statement is not None else None
        way = hooks.route(changed, packet, near, leaving, vrf if near else entered)
        passed.append(Hook("routing", way.reason, way.values))
        if before.dropped or way.interface is None:
            return self._end(packet, changed, before, None, passed, None, near)
        if self._on_pair and direction == "local":
            self._strict = False
            after = Step(changed.source, changed.source_port, "own-voice", {"address": changed.source})
        else:
            after = hooks.postrouting(packet, changed, way.interface, near, far, vrf, coming)
        final = replace(changed, source=after.address, source_port=after.port)
        counts = near and Role.OUTSIDE in way.interface.roles and (final != packet or bool(after.chosen))
        if counts and not after.dropped and (limit := self._over_limit(packet, way.interface.name)):
            after = Step(packet.source, packet.source_port, "limit", limit, dropped=True)
        if self._in_use(packet, final, near):
            after = replace(after, chosen=after.chosen | {"port"})
        passed.append(self._hook("postrouting", "source", packet.source, packet.source_port, after, packet))
        return self._end(packet, final, before, after, passed, way.interface, near)

    def _over_limit(self, packet: Packet, leaving: str) -> dict[str, Any]:
        """The `max-entries` that has no room for one more flow, by the flows that there are."""
        configuration = self._reading.configuration
        flows = [row for row in self._table if row.kind is Kind.FLOW and row.inside_local is not None]
        hosts = [row.inside_local.address for row in flows if row.inside_local is not None]
        for each in configuration.limits:
            here = str(packet.source)
            match each.scope:
                case "host" if each.of == here:
                    held = hosts.count(here)
                case "all-host":
                    held = hosts.count(here)
                case "":
                    held = len(hosts)
                case "list" if each.of is not None:
                    rule = Dynamic(Side.INSIDE, access_list=each.of)
                    listed = {h for h in {*hosts, here} if self._listed(rule, packet, h, leaving)}
                    held = sum(h in listed for h in hosts) if here in listed else -1
                case _:
                    continue
            if each.count and held >= each.count:
                return {"count": each.count, "of": each.of or each.scope or "all"}
        return {}

    def _listed(self, rule: Dynamic, packet: Packet, host: str, leaving: str) -> bool:
        asked = replace(packet, source=IPv4Address(host))
        return decide(self._reading.configuration, rule, asked, leaving).permitted

    def _in_use(self, packet: Packet, final: Packet, near: bool) -> bool:
        """Whether another flow's answers would look like this one's: then the kernel takes another source port."""
        if not self._table:
            return False
        own = words_of(self._flow_row(packet, final, near))
        mine = self._vrf, own
        taken = (1, 4) if near else (2, 3)
        for row in self._table:
            words = words_of(row)
            same = row.kind is Kind.FLOW and words[0] == own[0] and all(words[n] == own[n] for n in taken)
            if same and (row.vrf, words) != mine:
                return True
        return False

    # --- the answer

    def _hook(self, name: str, end: str, address: IPv4Address, port: int, step: Step, packet: Packet) -> Hook:
        before, after = _shown(packet, address, port), _shown(packet, step.address, step.port)
        if "port" in step.chosen:
            after = f"{step.address}:*"
        values = {**step.values, "end": end, "before": before, "after": after}
        return Hook(name, step.reason, values, before, after, self._line(step))

    def _line(self, step: Step) -> int | None:
        return deciding_line(self._look, step)

    def _end(
        self,
        packet: Packet,
        final: Packet,
        before: Step,
        after: Step | None,
        hooks: list[Hook],
        going: Interface | None,
        near: bool,
    ) -> Explanation:
        steps = [step for step in (before, after) if step is not None]
        deciding = next((step for step in steps if step.dropped), None)
        dropped = deciding is not None
        changed = final != packet or any("port" in step.chosen for step in steps)
        if deciding is None:
            # What changed the packet; of two that did, the one that is about the inside address. Else what refused.
            ends = (
                (before, (packet.destination, packet.destination_port)),
                (after, (packet.source, packet.source_port)),
            )
            made = [step for step, was in ends if step is not None and (step.address, step.port) != was]
            said = [step for step in steps if step.statement is not None]
            order = made or said or steps[-1:]
            deciding = order[-1 if near else 0]
        verdict = "dropped" if dropped else "translated" if changed else "untranslated"
        reason, values = deciding.reason, deciding.values
        if self._strict and verdict == "untranslated" and near and going is not None and Role.OUTSIDE in going.roles:
            verdict, reason, values = "dropped", "strict", {"address": packet.source}
        elif going is None and verdict == "untranslated":
            reason, values = hooks[-1].reason, hooks[-1].values
            verdict = "dropped" if reason == "unroutable" else verdict
        line = self._line(deciding)
        text = next((each.text.strip() for each in self._reading.lines if each.number == line), "")
        rows = self._rows(packet, final, steps, near) if verdict == "translated" else ()
        chosen = frozenset[str]().union(*(step.chosen for step in steps))
        seen = None if verdict == "dropped" else final
        leaving = going.name if going is not None and seen is not None else None
        return Explanation(verdict, packet, seen, reason, values, line, text, tuple(hooks), rows, leaving, chosen)

    def _rows(self, packet: Packet, final: Packet, steps: Sequence[Step], near: bool) -> tuple[Translation, ...]:
        fresh = [step.fresh for step in steps if step.fresh is not None]
        own = self._flow_row(packet, final, near, fresh)
        table = table_of(
            self._reading.configuration, [self._flow(packet, final, near)], [*self._given, *fresh], self._shared
        )
        return (own, *(row for row in table if row.flow is None and _belongs(row, own)))

    def _flow_row(self, packet: Packet, final: Packet, near: bool, fresh: Sequence[Given] = ()) -> Translation:
        """The flow's own row, changed or not."""
        flow = self._flow(packet, final, near)
        return row_of(rules_of(self._reading.configuration, [*self._given, *fresh], self._shared), flow)

    def _flow(self, packet: Packet, final: Packet, near: bool) -> Flow:
        """As the kernel would have it: the packet as it came, and the answer to the packet as it left."""
        icmp = packet.protocol == ICMP
        there = Half(packet.source, packet.destination, packet.source_port,
                     packet.source_port if icmp else packet.destination_port)  # fmt: skip
        back = Half(final.destination, final.source,
                    final.source_port if icmp else final.destination_port, final.source_port)  # fmt: skip
        return Flow(packet.protocol, there, back, Began.INSIDE if near else Began.OUTSIDE, self._vrf)


def deciding_line(look: Look, step: Step) -> int | None:
    """The line of the rule; where a list or route-map refuses, that of its entry."""
    said = step.decision
    if said is not None and not said.permitted:
        if said.entry is not None and said.access_list is not None:
            return look.entry_line(said.access_list, said.entry)
        if said.clause is not None and said.route_map is not None:
            return look.clause_line(said.route_map, said.clause)
    return look.line(step.statement) if step.statement is not None else None


def _belongs(row: Translation, flow: Translation) -> bool:
    """Whether a half entry is one that the flow uses."""
    for one, other in ((row.inside_global, flow.inside_global), (row.outside_local, flow.outside_local)):
        if one is not None and other is not None and one.address == other.address:
            return one.port is None or (row.protocol == flow.protocol and one.port == other.port)
    return False


def _shown(packet: Packet, address: IPv4Address, port: int) -> str:
    if packet.protocol == ICMP:
        return f"{address}:{packet.source_port if port == packet.destination_port else port}"
    return f"{address}:{port}" if packet.protocol in PORTED or port else str(address)
