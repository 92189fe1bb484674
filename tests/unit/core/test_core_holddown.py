"""Hold-down: patience with a group that moves too often, and never at the price of an unserved group."""

from core_pair import INTERVAL, PAIR_FILE, SKEW, Pair

from understudy.config import load_plan
from understudy.core.effects import Noted
from understudy.core.handover import PREEMPT_DELAY
from understudy.core.holddown import CHANGES_FREE, HOLD_MAX, HOLD_MIN, WINDOW, HoldDown
from understudy.core.situation import Patience
from understudy.sim.faults import Fault
from understudy.sim.stage import Stage
from understudy.units import MILLISECOND, SECOND, Instant, NetworkName, NodeName

PREEMPTING = PAIR_FILE.read_text().replace("advertise: 100ms", "advertise: 100ms\n    preempt: true").encode()


def at(seconds: float) -> Instant:
    return Instant(round(seconds * SECOND))


def test_a_node_that_returns_asks_after_a_second_in_which_it_reaches_as_much() -> None:
    """The wait begins anew whenever it reaches less."""
    hold = HoldDown()
    hold.compare(at(10), True)
    assert (hold.due, hold.patience) == (at(10) + PREEMPT_DELAY, Patience.DELAY)
    hold.compare(at(10.5), False)
    hold.compare(at(10.6), True)
    assert not hold.tick(at(11.5))
    assert hold.tick(at(11.6))
    assert hold.patience is Patience.NONE


def test_the_third_change_within_a_minute_holds_down_and_each_further_one_doubles_it() -> None:
    """2 s, 4 s, 8 s ... and never more than five minutes."""
    hold = HoldDown()
    told = [hold.moved(at(number)) for number in range(14)]
    assert told == [False] * (CHANGES_FREE - 1) + [True] * (14 - CHANGES_FREE + 1)
    again = HoldDown()
    lengths = []
    for number in range(12):
        again.moved(at(number))
        lengths.append(again.length // SECOND)
    assert lengths == [0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert hold.length == HOLD_MAX
    again.compare(at(12), True)
    assert again.due == at(12) + HOLD_MAX
    assert again.patience is Patience.HOLD_DOWN


def test_slow_changes_are_free_and_a_quiet_time_forgives() -> None:
    """Three changes in more than a minute count as any one; after a quiet minute all is as at the start."""
    hold = HoldDown()
    for number in range(9):
        assert not hold.moved(at(31 * number))
    for number in range(3):
        hold.moved(at(1000 + number))
    assert hold.length == HOLD_MIN
    hold.compare(at(1003) + WINDOW, True)  # type: ignore[arg-type]
    assert hold.length == 0


def test_two_false_alarms_within_a_minute_raise_doubt_for_a_while() -> None:
    """One may happen to anybody."""
    hold = HoldDown()
    assert not hold.false_alarm(at(1))
    assert not hold.doubts(at(1))
    assert hold.false_alarm(at(30))
    assert hold.doubts(at(31))
    assert not hold.doubts(at(61))


def flapping(file: bytes | None, kind: str, network: str, times: int, period: int, **details: str) -> Stage:
    stage = Stage(load_plan(PAIR_FILE if file is None else file))
    for number in range(times):
        begins = stage.begin + SECOND + number * period
        target = details.get("target", "")
        stage.injector.schedule(Fault(begins, kind, NodeName("gw1"), NetworkName(network), period // 2, target=target))
    stage.run_for(SECOND + times * period)
    return stage


def test_a_flapping_port_moves_the_group_away_once_and_back_once() -> None:
    """5 times with 1 s period, and 10 within 5 s: at most two changes a node, with preemption once it rests."""
    for kind in ("link-down", "link-silent"):
        for times, period in ((5, SECOND), (10, SECOND // 2)):
            plain = flapping(None, kind, "outside", times, period)
            assert (plain.role_changes("gw1"), plain.role_changes("gw2")) == (1, 1)
            preempting = flapping(PREEMPTING, kind, "outside", times, period)
            assert preempting.active() == ["gw2"]
            preempting.run_for(5 * SECOND)
            assert preempting.active() == ["gw1"]
            assert (preempting.role_changes("gw1"), preempting.role_changes("gw2")) == (2, 2)


def test_a_port_that_flaps_slowly_is_left_alone_longer_each_time() -> None:
    """Every 6 s for three minutes, with preemption: without hold-down the group would go to and fro sixty times."""
    stage = flapping(PREEMPTING, "link-down", "outside", 30, 6 * SECOND)
    assert stage.role_changes("gw1") <= 5
    told = [what for _, where, kind, what in stage.world.trace if kind == "noted" and where == "gw1"]
    assert [note for note in told if isinstance(note, Noted) and note.kind == "hold-down"]
    assert not [gap for gap in stage.gaps() if gap.lasted > 50 * MILLISECOND]


def test_a_held_down_node_replaces_a_dead_active_at_once() -> None:
    """The higher priority waits for its hold-down when the other's power goes: it takes over as ever."""
    stage = flapping(PREEMPTING, "link-down", "outside", 10, 6 * SECOND)
    core = stage.machine("gw1").core
    assert core is not None
    group = core.groups[stage.group]
    assert group.holddown.length
    assert group.record.row in ("held-down", "hears-active")
    stage.break_now("node-power-loss", "gw2", lasts=20 * SECOND)
    died = stage.world.now
    stage.run_for(SECOND)
    assert stage.active() == ["gw1"]
    assert stage.moves("gw1")[-1].at - died <= 3 * INTERVAL + SKEW + 10 * MILLISECOND


def test_after_two_false_alarms_the_lans_are_asked_first() -> None:
    """Only advertisements and heartbeats are lost, once more: this time nobody takes over beside the other."""
    pair = Pair()
    for _ in range(2):
        pair.break_now("partition", "gw1", target="gw2", lasts=600 * MILLISECOND)
        pair.run_for(3 * SECOND)
    assert pair.role_changes("gw2") == 4
    pair.break_now("partition-channel", "gw1", target="gw2", lasts=2 * SECOND)
    for network in ("outside", "inside"):
        pair.break_now("packet-loss", network=network, lasts=2 * SECOND, amount=1.0)
    pair.run_for(4 * SECOND)
    assert pair.role_changes("gw2") == 4
    assert pair.active() == pair.answering() == ["gw1"]
