"""Beside a plain peer, what the group decides without a channel."""

from beside import Pair, within
from speech import OURS, THEIRS, UNHURRIED, Speech


def test_a_port_without_carrier_gives_the_group_to_keepalived() -> None:
    """Two LANs, one sync group: a farewell on the LAN that is left, and back when the port is; as FAULT does."""

    def story(pair: Pair) -> None:
        pair.start(THEIRS)
        pair.start(OURS)
        pair.settle(OURS)
        pair.lab.link_down(OURS, "other")
        pair.settle(THEIRS)
        pair.lab.link_up(OURS, "other")
        pair.settle(OURS)

    within(Speech("keepalived", lans=2, advertise=UNHURRIED), story)


def test_a_keepalived_that_is_killed_again_and_again_is_replaced_each_time() -> None:
    """Its kernel answers on, and it takes the group back by its rank: neither is a reason to doubt the silence."""

    def story(pair: Pair) -> None:
        pair.start(THEIRS)
        pair.start(OURS)
        pair.settle(THEIRS)
        for _ in range(3):
            pair.theirs.kill()
            pair.until(lambda: pair.role() == "active", "the killed one is replaced")
            pair.start(THEIRS)
            pair.settle(THEIRS)

    within(Speech("keepalived", advertise=UNHURRIED), story, ours_first=False)
