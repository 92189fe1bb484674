"""What the election of RFC 9568 goes by: virtual router identifiers for groups that name none, and priorities.

A VRID follows from the names of cluster and group, so that it survives edits elsewhere in the file, and two clusters on
one LAN that know nothing of each other hardly ever choose alike (counting from 1 they always would). A taken number
moves to the next free one. A group has one number on all its LANs and for both families (RFC 9568, section 5.2.3 would
allow several).
"""

from collections.abc import Iterable, Mapping, Set
from hashlib import blake2b
from typing import Protocol

from understudy.units import NodeName, Priority, Vrid


def priorities(nodes: Iterable[str]) -> dict[NodeName, Priority]:
    """Distinct priorities by order: 250, 240, ... High ones keep the skew, and so the outage, small."""
    return {NodeName(node): Priority(250 - 10 * place) for place, node in enumerate(nodes)}


class Claim(Protocol):
    """What the allocation reads of a group."""

    @property
    def vrid(self) -> int | None: ...
    @property
    def addresses(self) -> Mapping[str, object]: ...


def allocate_vrids(cluster: str, groups: Mapping[str, Claim]) -> dict[str, Vrid]:
    """The VRID of every group."""
    allocated = {name: Vrid(group.vrid) for name, group in groups.items() if group.vrid is not None}
    for name, group in groups.items():
        if name not in allocated:
            taken = {vrid for other, vrid in allocated.items() if _meet(group.addresses, groups[other].addresses)}
            allocated[name] = _first_free(cluster, name, taken)
    return allocated


def _meet(networks: Mapping[str, object], others: Mapping[str, object]) -> bool:
    return not networks.keys().isdisjoint(others.keys())


def _first_free(cluster: str, group: str, taken: Set[int]) -> Vrid:
    start = int.from_bytes(blake2b(f"{cluster}/{group}".encode(), digest_size=4).digest(), "big") % 255
    assert len(taken) < 255, "there are at most 15 groups"
    return next(Vrid(n) for i in range(255) if (n := (start + i) % 255 + 1) not in taken)
