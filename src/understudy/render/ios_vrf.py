"""VRFs without VRF devices: a packet mark chooses the table, a conntrack zone keeps equal addresses apart.

What comes in by an inside interface of a VRF is marked, and its flow's original direction is in the VRF's zone; the
other direction is in the common one, where answers come in and are told apart by the translated address. Answers are
marked by their flow's zone, flows from outside by the static entry that they ask for.

A zone comes from the VRF's name: another VRF in the file must not move live flows to a zone where nobody finds them,
and does so only where two of their names mean one zone (`_zones`).
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from understudy.ios.model import Configuration, Role, Static
from understudy.render.ios_first import AGAIN_MASK

VRF_MARK = 0x7573_3000
"""Packet mark, plus the VRF's zone."""
MARK_MASK = 0xFFFF_FFFF & ~AGAIN_MASK
ZONES = 4095
"""What a mark has room for, from 1."""
VRFS_MAX = 4000
LIMIT = "in a VRF with inside interfaces of its own, static hosts and ports and overload are done, nothing else"


@dataclass(frozen=True, slots=True)
class Vrf:
    name: str
    zone: int
    """Of conntrack, from 1."""
    inside: tuple[str, ...]
    """The kernel's names of its inside interfaces."""

    @property
    def mark(self) -> int:
        return VRF_MARK + self.zone

    @property
    def is_it(self) -> str:
        return f"meta mark & {MARK_MASK:#x} == {self.mark:#x}"

    @property
    def entering(self) -> str:
        """Its inside interfaces as a set of nft."""
        return f"{{ {', '.join(f'{chr(34)}{name}{chr(34)}' for name in self.inside)} }}"

    @property
    def zoning(self) -> str:
        """Before conntrack, of what comes in, but for what a node itself is told: it may be of a flow of its own."""
        return f"meta nfproto ipv4 iifname {self.entering} fib daddr type unicast ct original zone set {self.zone}"

    @property
    def zoning_again(self) -> str:
        """Before conntrack, of what the allocator sends again."""
        return f"{self.is_it} ct original zone set {self.zone}"

    def marking(self, outside: str, statics: Sequence[Static]) -> tuple[str, ...]:
        """After conntrack, before routing. `outside`: the set of outside interfaces."""
        rules = [f"iifname {self.entering} meta mark set {self.mark:#x}"]
        for each in statics:
            port = f" {each.protocol} dport {each.global_port}" if each.global_port is not None else ""
            rules.append(f"iifname {outside} ip daddr {each.global_}{port} meta mark set {self.mark:#x}")
        return (*rules, f"ct direction reply ct original zone {self.zone} meta mark set {self.mark:#x}")

    def translation(self, static: Static) -> str:
        """Of a static entry in the VRF, on the way out: the maps know no VRFs."""
        port = ""
        if static.local_port is not None and static.global_port is not None:
            port = f" {static.protocol} sport {static.local_port}"
            return f"{self.is_it} ip saddr {static.local}{port} snat ip to {static.global_}:{static.global_port}"
        return f"{self.is_it} ip saddr {static.local} snat ip to {static.global_}"


def found_vrfs(
    configuration: Configuration, ports: Mapping[str, str], arrivals: Mapping[str, Sequence[str]]
) -> dict[str, Vrf]:
    """Those with inside interfaces of their own, by name."""
    inside: dict[str, list[str]] = {}
    for each in configuration.interfaces:
        if each.vrf is not None and Role.INSIDE in each.roles:
            inside.setdefault(each.vrf, []).extend((ports[each.name], *arrivals.get(each.name, ())))
    zones = _zones(list(inside)[:VRFS_MAX])
    return {name: Vrf(name, zones[name], tuple(names)) for name, names in inside.items() if name in zones}


def _zones(names: Iterable[str]) -> dict[str, int]:
    """Of two names that mean the same zone the one that sorts last takes the next free one.

    So a new name that sorts before one in the same zone moves that one's live flows: nodes that begin with the same
    lines have to agree without knowing which was there first.
    """
    found: dict[str, int] = {}
    taken: set[int] = set()
    for name in sorted(names):
        zone = zlib.crc32(name.encode()) % ZONES + 1
        while zone in taken:
            zone = zone % ZONES + 1
        taken.add(zone)
        found[name] = zone
    return found
