"""Which live flows a change of the file would touch, by what the kernel says of them: counted, with a few examples.

an address of a group goes          its flows end: nobody answers for it any more
a service or a server goes          its flows go on, since their translation is in conntrack, not in the file
a translation goes, or another      the same
    address takes its place
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from understudy.adapters.conntrack import FlowTable
from understudy.config.plan import Group, Plan, Service
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.units import Address, NodeName
from understudy.wire.conntrack import decode, describe
from understudy.wire.marks import GROUP_MAX

EXAMPLES_MAX: Final = 3
Endpoint = tuple[Address, int | None]
"""No port: any."""


@dataclass(frozen=True, slots=True)
class Tuples:
    """A flow as conntrack has it: where its first packet went, and where answers come from and go to."""

    words: str
    destination: tuple[Address, int]
    answers_from: tuple[Address, int]
    answers_to: tuple[Address, int]


@dataclass(slots=True)
class Stake:
    """Something that the new file does not have any more, and the flows that live by it."""

    what: str
    ends: bool
    """Whether its flows end with the change."""
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
        self.flows += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(flow.words)
        return True


def _meets(wanted: Endpoint | None, held: tuple[Address, int]) -> bool:
    return wanted is None or (wanted[0] == held[0] and wanted[1] in (None, held[1]))


def stakes(old: Plan, new: Plan, node: NodeName) -> list[Stake]:
    """What goes, the worst first: a flow counts once, for the first that it meets."""
    return [*_addresses(old, new, node), *_services(old.services, new.services), *_translations(old, new)]


def count(found: list[Stake], flows: Iterable[Tuples]) -> None:
    for flow in flows:
        for stake in found:
            if stake.take(flow):
                break


def at_stake(old: Plan, new: Plan, node: NodeName) -> dict[str, Any]:
    """`ends`, `goes_on`: numbers of live flows, None if nobody knows; `by`: for each thing that goes."""
    found = stakes(old, new, node)
    known = True
    try:
        if found:
            count(found, _living(found))
    except (EnvironmentFailure, OSError):
        known = False
    return {
        "ends": sum(stake.flows for stake in found if stake.ends) if known else None,
        "goes_on": sum(stake.flows for stake in found if not stake.ends) if known else None,
        "by": [
            {
                "what": stake.what,
                "ends": stake.ends,
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


def _translations(old: Plan, new: Plan) -> Iterator[Stake]:
    kept = {(each.source, each.to, address) for each in new.source_nat for address in each.addresses}
    for each in old.source_nat:
        for address in each.addresses:
            if (each.source, each.to, address) not in kept:
                yield Stake(f"nat {each.source} to {each.to} as {address}", False, answers_to=(address, None))


def _living(found: list[Stake]) -> Iterator[Tuples]:
    """The flows of groups in this kernel that may be among them. Raises EnvironmentFailure or OSError."""
    ends = [end for stake in found for end in (stake.destination, stake.answers_from, stake.answers_to) if end]
    needles = frozenset(address.packed for address, _ in ends)
    table = FlowTable()
    try:
        for part in table.list(range(1, GROUP_MAX + 1)):
            for raw in part:
                # Most are not: to look for the addresses as bytes costs a hundredth of reading an entry.
                if any(needle in raw for needle in needles):
                    with contextlib.suppress(DecodeError):
                        yield _tuples(raw)
    finally:
        table.close()


def _tuples(raw: bytes) -> Tuples:
    flow = decode(raw)
    there, back = flow.original, flow.reply
    return Tuples(
        describe(raw), (there.destination, there.there), (back.source, back.here), (back.destination, back.there)
    )
