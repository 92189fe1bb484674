"""Which 18 bits of a flow's `ct mark` name a server of a service: they follow from the names, not from their places.

A live flow keeps its mark for as long as it lives, through reloads of either node, and the two nodes may run different
files meanwhile. So what a number means must depend on nothing else in the file: a server added, removed or moved
elsewhere leaves it alone. Only where two names fall on one number does the later in the alphabet move to the next free
one (about two of 1000 servers); a reload that would so move a number under live flows is refused (agent.reload).
"""

from collections.abc import Iterable
from hashlib import blake2b

from understudy.wire.marks import BINDING_MAX


def binding_name(service: str, server: str) -> str:
    """`web/web1:8080`: one pair of service and server."""
    return f"{service}/{server}"


def allocate_bindings(names: Iterable[str]) -> dict[str, int]:
    """A number from 1 on for every name, the same in whatever order they come: linear probing, sorted by place."""
    numbers: dict[str, int] = {}
    late: list[str] = []
    following = 1
    for place, name in sorted((_place(name), name) for name in set(names)):
        number = max(place, following)
        if number > BINDING_MAX:
            late.append(name)
        else:
            numbers[name], following = number, number + 1
    if late:
        taken = set(numbers.values())
        free = (number for number in range(1, BINDING_MAX + 1) if number not in taken)
        numbers.update(zip(late, free, strict=False))
    assert len(numbers) <= BINDING_MAX, "the file has at most so many servers"
    return numbers


def _place(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % BINDING_MAX + 1
