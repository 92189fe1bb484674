"""Which live flows a change of the file would touch, by what the kernel says of them: counted, with a few examples.

an address of a group goes          its flows end: nobody answers for it any more
a service or a server goes          its flows go on, since their translation is in conntrack, not in the file
a translation goes, or would make   its flows go on too, and drain (agent.draining): the line that decides is told
    the flow otherwise
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from understudy.adapters.conntrack import FlowTable
from understudy.agent.drain_look import given_here
from understudy.agent.draining import translations
from understudy.agent.nat_standing import Standing
from understudy.config.plan import Group, Plan, Service
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.ios.translations import Given
from understudy.units import Address, NodeName
from understudy.wire.conntrack import decode, describe
from understudy.wire.conntrack.flow import Flow
from understudy.wire.marks import GROUP_MAX

EXAMPLES_MAX: Final = 3
STAKES_MAX: Final = 50
"""Lines that are told apart; flows of all others are counted together."""
COUNT_S_MAX: Final = 15.0
"""Half of what whoever asks has for all that a file may mean; a table that takes longer is not told."""
Endpoint = tuple[Address, int | None]
"""No port: any."""


@dataclass(frozen=True, slots=True)
class Tuples:
    """A flow as conntrack has it: where its first packet went, and where answers come from and go to."""

    words: Callable[[], str]
    """As conntrack(8) would show it: for the few of which it is asked."""
    destination: tuple[Address, int]
    answers_from: tuple[Address, int]
    answers_to: tuple[Address, int]
    entry: Flow | None = None


@dataclass(slots=True)
class Stake:
    """Something that the new file does not have any more, and the flows that live by it."""

    what: str
    ends: bool
    """Whether its flows end with the change."""
    drains: bool = False
    """They may be ended in time: translations that the new file does not make."""
    decides: bool = False
    """It does not go: it is what decides by the new file."""
    destination: Endpoint | None = None
    answers_from: Endpoint | None = None
    answers_to: Endpoint | None = None
    flows: int = 0
    examples: list[str] = field(default_factory=list)

    def take(self, flow: Tuples) -> bool:
        """Count it, if it is one of these."""
        pairs = (
            (self.destination, flow.destination),
            (self.answers_from, flow.answers_from),
            (self.answers_to, flow.answers_to),
        )
        if not all(_meets(wanted, held) for wanted, held in pairs):
            return False
        self.note(flow)
        return True

    def note(self, flow: "Tuples") -> None:
        self.flows += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(flow.words())


def _meets(wanted: Endpoint | None, held: tuple[Address, int]) -> bool:
    return wanted is None or (wanted[0] == held[0] and wanted[1] in (None, held[1]))


@dataclass(slots=True)
class Translated:
    """Flows that the translations of the old file made and those of the new one would not, by the line that decides."""

    old: Standing
    new: Standing
    said: frozenset[str]
    """What the new file says of translating."""
    found: dict[tuple[str, bool], Stake] = field(default_factory=dict)

    def take(self, flow: Tuples) -> None:
        if flow.entry is None:
            return
        after = self.new.judge(flow.entry)
        if after is None or after.stands:
            return
        before = self.old.judge(flow.entry)
        if before is None or not before.stands:
            return  # of a file before that one, and draining already
        # The most telling of what went; where nothing did, what decides by the new file.
        gone = [
            text for text in (before.line, before.other, before.entry, before.pool) if text and text not in self.said
        ]
        what, decides = (gone[0], False) if gone else (after.entry or after.line or before.line, True)
        if len(self.found) >= STAKES_MAX and (what, decides) not in self.found:
            what, decides = "other lines", False
        # Its routing rule goes with the line.
        ends = before.detour
        stake = Stake(what, ends, drains=not ends, decides=decides)
        self.found.setdefault((what, decides), stake).note(flow)


def stakes(old: Plan, new: Plan, node: NodeName) -> list[Stake]:
    """What goes but for translations, the worst first: a flow counts once, for the first that it meets."""
    return [*_addresses(old, new, node), *_services(old.services, new.services)]


def translated(old: Plan, new: Plan, given: Callable[[], Sequence[Given]] = tuple) -> Translated | None:
    """None: both translate alike. `given`: what the pools have handed out."""
    before, after = translations(old), translations(new)
    if before == after:
        return None
    held = given()
    return Translated(Standing.of(old, held), Standing.of(new, held), after)


def count(found: list[Stake], flows: Iterable[Tuples], by_line: Translated | None = None) -> None:
    for flow in flows:
        for stake in found:
            if stake.take(flow):
                break
        else:
            if by_line is not None:
                by_line.take(flow)


def at_stake(old: Plan, new: Plan, node: NodeName) -> dict[str, Any]:
    """`ends`, `goes_on`: numbers of live flows, None if nobody knows; `by`: for each thing that goes.

    Of what goes on, `drains` are those whose translation goes: they may be given a bound.
    """
    found = stakes(old, new, node)
    known = True
    try:
        by_line = translated(old, new, lambda: given_here(old))
        if found or by_line is not None:
            count(found, _living(found, everything=by_line is not None), by_line)
            found += by_line.found.values() if by_line is not None else ()
    except (EnvironmentFailure, OSError):
        known = False
    return {
        "ends": sum(stake.flows for stake in found if stake.ends) if known else None,
        "goes_on": sum(stake.flows for stake in found if not stake.ends) if known else None,
        "drains": sum(stake.flows for stake in found if stake.drains) if known else None,
        "by": [
            {
                "what": stake.what,
                "ends": stake.ends,
                "drains": stake.drains,
                "decides": stake.decides,
                "flows": stake.flows if known else None,
                "examples": stake.examples,
            }
            for stake in found
        ],
    }


def _addresses(old: Plan, new: Plan, node: NodeName) -> Iterator[Stake]:
    kept = {each for group in new.groups if node in group.nodes for each in _held(group)}
    for group in old.groups:
        for address in _held(group) if node in group.nodes else ():
            if address not in kept:
                yield Stake(f"address {address} of {group.name}", True, destination=(address, None))
                yield Stake(f"translations to {address} of {group.name}", True, answers_to=(address, None))


def _held(group: Group) -> Iterator[IPv4Address | IPv6Address]:
    return (address.ip for router in group.routers for address in router.addresses)


def _services(old: Iterable[Service], new: Iterable[Service]) -> Iterator[Stake]:
    now = {service.name: service for service in new}
    for service in old:
        after = now.get(service.name)
        ends = {(listen.address, listen.port) for listen in after.listen} if after is not None else set()
        for listen in service.listen:
            if (listen.address, listen.port) not in ends:
                what = f"service {service.name} at {listen.address} port {listen.port}"
                yield Stake(what, False, destination=(listen.address, listen.port))
        held = {(each, server.port) for server in after.servers for each in server.addresses} if after else set()
        for server in service.servers if after is not None else ():
            for address in server.addresses:
                if (address, server.port) not in held:
                    for listen in service.listen:
                        yield Stake(
                            f"server {server.name} of {service.name}",
                            False,
                            destination=(listen.address, listen.port),
                            answers_from=(address, server.port),
                        )


def _living(found: list[Stake], *, everything: bool) -> Iterator[Tuples]:
    """The flows of groups in this kernel that may be among them. Raises EnvironmentFailure or OSError."""
    ends = [end for stake in found for end in (stake.destination, stake.answers_from, stake.answers_to) if end]
    needles = frozenset(address.packed for address, _ in ends)
    deadline = time.monotonic() + COUNT_S_MAX
    table = FlowTable()
    try:
        for part in table.list(range(1, GROUP_MAX + 1)):
            if time.monotonic() > deadline:
                raise TimeoutError("more flows than can be looked at")
            for raw in part:
                # Most are not: to look for the addresses as bytes costs a hundredth of reading an entry.
                if everything or any(needle in raw for needle in needles):
                    with contextlib.suppress(DecodeError):
                        yield _tuples(raw)
    finally:
        table.close()


def _tuples(raw: bytes) -> Tuples:
    flow = decode(raw)
    there, back = flow.original, flow.reply
    return Tuples(
        lambda: describe(raw),
        (there.destination, there.there),
        (back.source, back.here),
        (back.destination, back.there),
        flow,
    )
