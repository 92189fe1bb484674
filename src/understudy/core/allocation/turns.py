"""Whose turn it is in a rotary: the order in which a kernel serves, and what a node says of it to the other. Pure.

The kernel counts (render.ios_turns); what is decided here is with whom it begins: with the server whose turn it is, or
with the next one that is well. A rotary's turn is named by that server, so that it means the same on both nodes, and
before and after a change of the servers.
"""

from collections.abc import Container, Sequence

Server = int
"""An IPv4 address."""


def order(servers: Sequence[Server], well: Container[Server], turn: Server | None) -> tuple[Server, ...]:
    """The servers in turn from `turn` on, without those that are not well; all of them where none is.

    A turn of nobody that is there is the first one's.
    """
    start = servers.index(turn) if turn is not None and turn in servers else 0
    ring = (*servers[start:], *servers[:start])
    return tuple(each for each in ring if each in well) or ring


def turn_of(serving: Sequence[Server], count: int) -> Server:
    """Who is next after `count` turns."""
    return serving[count % len(serving)]


def same_ring(one: Sequence[Server], other: Sequence[Server]) -> bool:
    """Whether both go round alike, wherever they begin."""
    if len(one) != len(other) or not one or one[0] not in other:
        return False
    start = other.index(one[0])
    return tuple(one) == (*other[start:], *other[:start])
