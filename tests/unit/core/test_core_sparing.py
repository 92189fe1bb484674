"""Copies of flows that a new file keeps in another way: let live for a moment, and no longer."""

import pytest

from understudy.core.settings import FlowSettings, Keeping
from understudy.units import SECOND, Instant
from understudy.wire.marks import flow_mark

SERVED, ROUTED = flow_mark(7, 1), flow_mark(0, 1)
UNTIL = Instant(60 * SECOND)
WAYS = (Keeping.NONE, Keeping.COPY, Keeping.REPLICATE)


@pytest.mark.parametrize("before", WAYS)
@pytest.mark.parametrize("after", WAYS)
def test_what_was_kept_in_another_way_is_spared_until_then(before: Keeping, after: Keeping) -> None:
    """Not what was not kept at all, nor what is kept as it was; and of nobody once the time is over."""
    old = FlowSettings({7: before}, {1: before})
    new = FlowSettings({7: after}, {1: after}, before=old, before_until=UNTIL)
    for mark in (SERVED, ROUTED):
        assert new.spares(mark, Instant(0)) is (before is not Keeping.NONE and before is not after)
        assert not new.spares(mark, UNTIL)


def test_without_a_file_before_nothing_is_spared() -> None:
    """And what was kept before makes no difference between two files."""
    plain = FlowSettings({7: Keeping.COPY})
    assert not plain.spares(SERVED, Instant(0))
    assert plain == FlowSettings({7: Keeping.COPY}, before=plain, before_until=UNTIL)
