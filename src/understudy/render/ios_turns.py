"""Rotaries: whose turn it is, kept in a rule of its own that no load of the rule set touches.

    chain ios_turn_X { meta l4proto tcp counter dnat ip to numgen inc mod 3 map { 0 : FIRST, 1 : SECOND, 2 : THIRD } }

`numgen inc` gives each new connection the next number, exactly, also between processors; it begins anew with its rule.
So the rule is written once and then left alone by whoever loads the rule set (adapters.nftables), and its counter says
how many turns it has given: order and count are the whole position, and the kernel holds it. Who writes the rule anew,
for other servers or for a turn that was heard of (agent.turns), begins with the server whose turn it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from zlib import crc32

from understudy.ios.hooks import ROTARY_MAX
from understudy.ios.model import Dynamic, Pool
from understudy.ios.pools import spans_of
from understudy.render.text import FAMILY_INET, TABLE, TURN_CHAIN, Chain

_TURN = re.compile(r"counter packets (\d+) bytes \d+ dnat ip to numgen inc mod \d+ map \{ ([^}]+) \}")
_SERVER = re.compile(r"(\d+) : (\d+\.\d+\.\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Rotary:
    """Servers that new connections of one protocol go round."""

    name: str
    """The list or route-map and the pool, and the protocol if it is not TCP: the same in every text."""
    protocol: str
    servers: tuple[IPv4Address, ...]

    @property
    def chain(self) -> str:
        return f"{TURN_CHAIN}{crc32(self.name.encode()):08x}"


def rotaries(rule: Dynamic, pool: Pool, *, udp: bool) -> tuple[Rotary, ...]:
    """One for each protocol: UDP takes nobody's turn in TCP's."""
    spans = (range(int(first), int(last) + 1)[:ROTARY_MAX] for first, last in spans_of(pool))
    servers = tuple(IPv4Address(number) for span in spans for number in span)[:ROTARY_MAX]
    if not servers:
        return ()
    name = f"{rule.access_list or rule.route_map}/{pool.name}"
    protocols = ("tcp", "udp") if udp else ("tcp",)
    return tuple(Rotary(name if each == "tcp" else f"{name}/{each}", each, servers) for each in protocols)


def turn_chain(rotary: Rotary) -> Chain:
    """As it is at first: the first server's turn."""
    return Chain(rotary.chain, (_rule(rotary.protocol, rotary.servers),))


def turn_text(rotary: Rotary, order: Sequence[IPv4Address]) -> str:
    """nft commands that begin anew with the first of `order`."""
    where = f"{FAMILY_INET} {TABLE} {rotary.chain}"
    return f"flush chain {where}\nadd rule {where} {_rule(rotary.protocol, order)}\n"


def turn_listing(rotary: Rotary) -> str:
    """An nft command that prints the rule."""
    return f"list chain {FAMILY_INET} {TABLE} {rotary.chain}\n"


def parse_turn(listing: str) -> tuple[tuple[IPv4Address, ...], int] | None:
    """The order of the servers and how many turns were given; None if there is no such rule."""
    found = _TURN.search(listing)
    if found is None:
        return None
    numbered = sorted((int(number), IPv4Address(address)) for number, address in _SERVER.findall(found[2]))
    return tuple(address for _, address in numbered), int(found[1])


def _rule(protocol: str, order: Sequence[IPv4Address]) -> str:
    choices = ", ".join(f"{number} : {address}" for number, address in enumerate(order))
    return f"meta l4proto {protocol} counter dnat ip to numgen inc mod {len(order)} map {{ {choices} }}"
