"""When drift is repaired, and when repairing becomes a fight that ends in an alarm."""

import pytest

from understudy.core.repair import (
    FAILURE_PAUSE,
    FIGHT_PAUSE,
    PAUSE_MAX,
    QUIET,
    REPAIRS_MAX,
    WINDOW,
    AlarmEnded,
    AlarmRaised,
    Differs,
    Effect,
    Finished,
    Kind,
    Mender,
    Repair,
    Right,
    Tick,
)
from understudy.units import MILLISECOND, SECOND, Instant

RULES_GONE = Differs(Kind.RULESET, "table inet understudy deleted", "nft (pid 7)")
DONE = Finished(Kind.RULESET)


class Bench:
    """A mender whose repairs succeed, or fail with `error`, and a clock."""

    def __init__(self, error: str = "") -> None:
        self.mender = Mender()
        self.now = 1_000 * SECOND
        self.error = error
        self.repairs = 0

    def feed(self, event: Differs | Right | Finished | Tick) -> list[Effect]:
        effects = self.mender.handle(Instant(self.now), event)
        for effect in list(effects):
            if isinstance(effect, Repair):
                self.repairs += 1
                effects += self.feed(Finished(effect.kind, self.error))
        return effects

    def wait(self) -> list[Effect]:
        """Until the next deadline, and what comes of it."""
        deadline = self.mender.next_deadline()
        assert deadline is not None
        self.now = deadline
        return self.feed(Tick())

    def fight(self) -> list[Effect]:
        """Somebody answers every repair within 20 ms, until it is given up."""
        for _ in range(REPAIRS_MAX):
            assert self.feed(RULES_GONE) == [Repair(Kind.RULESET, RULES_GONE.what, RULES_GONE.who)]
            self.now += 20 * MILLISECOND
        return self.feed(RULES_GONE)


def test_what_differs_is_repaired_at_once() -> None:
    """Each time it is found, with no alarm and nothing to wait for."""
    bench = Bench()
    for _ in range(100):
        assert bench.feed(RULES_GONE) == [Repair(Kind.RULESET, RULES_GONE.what, RULES_GONE.who)]
        assert bench.mender.next_deadline() is None
        bench.now += WINDOW // REPAIRS_MAX


def test_a_fight_stops_in_an_alarm_that_names_what_and_who() -> None:
    """One more than the budget within the window: no repair, whatever is found then."""
    bench = Bench()
    (alarm,) = bench.fight()
    assert isinstance(alarm, AlarmRaised)
    assert "nft (pid 7)" in alarm.reason
    assert "table inet understudy deleted" in alarm.reason
    for _ in range(50):
        bench.now += 20 * MILLISECOND
        assert bench.feed(RULES_GONE) == []
    assert bench.repairs == REPAIRS_MAX


def test_a_fight_over_one_kind_leaves_the_others_alone() -> None:
    """The budget is each kind's own."""
    bench = Bench()
    bench.fight()
    missing = Differs(Kind.ADDRESSES, "address 203.0.113.10/32 is missing on us1n1v4")
    assert bench.feed(missing) == [Repair(Kind.ADDRESSES, missing.what, "")]


def test_a_fight_is_tried_again_at_twice_the_distance_each_time() -> None:
    """30 s, 60 s, ... up to 10 minutes, one repair each."""
    bench = Bench()
    bench.fight()
    pauses = []
    for _ in range(8):
        begun = bench.now
        assert bench.wait() == [Repair(Kind.RULESET, RULES_GONE.what, RULES_GONE.who)]
        pauses.append(bench.now - begun)
        bench.now += 20 * MILLISECOND
        assert bench.feed(RULES_GONE) == []  # they are still at it
    assert pauses[:3] == [FIGHT_PAUSE, 2 * FIGHT_PAUSE, 4 * FIGHT_PAUSE]
    assert pauses[-1] == PAUSE_MAX


def test_a_fight_is_over_when_a_repair_is_left_alone() -> None:
    """After the quiet time, and the budget is whole again."""
    bench = Bench()
    bench.fight()
    assert len(bench.wait()) == 1
    begun = bench.now
    assert bench.wait() == [AlarmEnded(Kind.RULESET)]
    assert bench.now - begun == QUIET
    assert bench.mender.next_deadline() is None
    assert isinstance(bench.fight()[0], AlarmRaised)


def test_a_fight_that_the_other_ends_is_over_without_a_repair() -> None:
    """It is right again by itself: quiet counts from when it last was not."""
    bench = Bench()
    bench.fight()
    begun, repairs = bench.now, bench.repairs
    assert bench.feed(Right(Kind.RULESET)) == []
    assert bench.wait() == [AlarmEnded(Kind.RULESET)]
    assert (bench.now - begun, bench.repairs) == (QUIET, repairs)


def test_a_repair_that_fails_is_an_alarm_and_tried_again_by_the_clock() -> None:
    """A port that is gone: no loop, and the alarm is said once, not with every try."""
    bench = Bench("its port outside is gone")
    gone = Differs(Kind.LINKS, "port outside is gone")
    effects = bench.feed(gone)
    assert effects[0] == Repair(Kind.LINKS, gone.what, "")
    assert isinstance(effects[1], AlarmRaised)
    assert "its port outside is gone" in effects[1].reason
    for _ in range(100):
        assert bench.feed(gone) == []
    begun, pauses = bench.now, []
    for _ in range(3):
        assert bench.wait() == [Repair(Kind.LINKS, gone.what, "")]
        pauses.append(bench.now - begun)
        begun = bench.now
    assert pauses == [FAILURE_PAUSE, 2 * FAILURE_PAUSE, 4 * FAILURE_PAUSE]


def test_something_else_is_repaired_at_once_while_a_repair_fails() -> None:
    """The port came back under a link that is gone: no reason to wait for the clock."""
    bench = Bench("its port outside is gone")
    bench.feed(Differs(Kind.LINKS, "port outside is gone"))
    bench.error = ""
    gone = Differs(Kind.LINKS, "link us1n1v4 is gone")
    assert bench.feed(gone) == [Repair(Kind.LINKS, gone.what, ""), AlarmEnded(Kind.LINKS)]
    assert bench.mender.next_deadline() is None


def test_a_failure_that_mends_itself_ends_its_alarm() -> None:
    """A look finds it right: nothing is left to do."""
    bench = Bench("its port outside is gone")
    bench.feed(Differs(Kind.LINKS, "port outside is gone"))
    assert bench.feed(Right(Kind.LINKS)) == [AlarmEnded(Kind.LINKS)]
    assert bench.mender.next_deadline() is None


@pytest.mark.parametrize("kind", list(Kind))
def test_a_tick_before_the_deadline_does_nothing(kind: Kind) -> None:
    """Early wake-ups are harmless, in a fight and outside of one."""
    bench = Bench()
    assert bench.feed(Tick()) == []
    for _ in range(REPAIRS_MAX + 1):
        bench.feed(Differs(kind, "changed"))
    bench.now += FIGHT_PAUSE - 1
    assert bench.feed(Tick()) == []
