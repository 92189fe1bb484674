"""The way to the process that hands out addresses, within one network namespace."""

from understudy.agent.pool_orders import PoolOrders, give_back
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace


def test_addresses_are_asked_back_in_order() -> None:
    def story() -> tuple[bool, list[int | None], bool]:
        before = give_back(1)
        orders = PoolOrders()
        after = give_back(7) and give_back(None)
        asked = orders.read()
        orders.close()
        return before, asked, after

    assert sandbox.run(story) == (False, [7, None], True)


def test_another_namespace_does_not_hear_it() -> None:
    """Control: of the name alone it would be one for the whole machine."""

    def story() -> bool:
        orders = PoolOrders()
        other = Namespace.create("other", lambda: None)
        try:
            return other.run(give_back, 7)
        finally:
            other.close()
            orders.close()

    assert not sandbox.run(story)
