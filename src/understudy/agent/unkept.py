"""Copies that nobody keeps any more: what a file without `state` leaves in a kernel that replicated until then.

A copy holds for days, because the end of its original ends it. With a file that does not keep the flow nothing would:
it would fill the table, and stand in the way of a later flow with the same addresses and ports. Where the node stands
by, it is ended; where it serves, the flow may live, and gets the ordinary timeout of its protocol and state.
"""

from collections.abc import Collection

from understudy.adapters.conntrack import FlowTable
from understudy.core.settings import FlowSettings
from understudy.errors import DecodeError
from understudy.wire.conntrack import UNTOUCHED_S, mark_of, timeout_of
from understudy.wire.marks import GROUP_MASK, GROUP_MAX, GROUP_SHIFT


def let_go(before: FlowSettings, after: FlowSettings, served: Collection[int]) -> int:
    """`served`: numbers of the groups that this node is Active for. Returns how many copies it ended.

    Raises EnvironmentFailure or OSError.
    """
    if before == after or not before.kept:
        return 0
    table = FlowTable()
    ended = 0
    try:
        gone = [
            raw
            for part in table.list(range(1, GROUP_MAX + 1))
            for raw in part
            if _unkept(raw, before, after, frozenset(served))
        ]
        ended = sum(map(table.delete, gone))
        for _ in table.renew(served) if served else ():
            pass
    finally:
        table.close()
    return ended


def _unkept(raw: bytes, before: FlowSettings, after: FlowSettings, served: frozenset[int]) -> bool:
    try:
        mark = mark_of(raw)
        touched = timeout_of(raw) <= UNTOUCHED_S
    except DecodeError:
        return False
    group = (mark & GROUP_MASK) >> GROUP_SHIFT
    return not touched and group not in served and bool(before.keeping(mark)) and not after.keeping(mark)
