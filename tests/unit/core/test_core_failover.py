"""Unplanned: the Active dies, freezes, or loses its LANs."""

import pytest
from core_pair import INTERVAL, KERNEL, LATE, SKEW, Pair, priorities

from understudy.core.effects import Announce, AskAddresses, LeaseChanged, Moved, SendHeartbeat, SendVrrp, SetRole, Step
from understudy.units import MILLISECOND, SECOND
from understudy.wire.heartbeat import Lease


def phases(number: int = 7) -> list[int]:
    """Moments within an interval, spread evenly."""
    return [INTERVAL * step // number for step in range(number)]


@pytest.mark.parametrize("phase", phases())
def test_power_loss_is_answered_within_the_detection_time(phase: int) -> None:
    """The addresses are silent for 2 I + skew at least and 3 I + skew at most, plus what the kernel takes."""
    pair = Pair()
    pair.run_for(phase)
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(2 * SECOND)
    (gap,) = pair.gaps()
    assert 2 * INTERVAL + SKEW <= gap.lasted <= 3 * INTERVAL + SKEW + LATE + KERNEL
    assert pair.active() == ["gw2"]
    assert pair.role_changes("gw2") == 1


@pytest.mark.parametrize("phase", phases())
@pytest.mark.parametrize("fault", ["agent-freeze", "agent-kill"])
def test_a_frozen_or_killed_agent_is_silent_before_its_peer_speaks(fault: str, phase: int) -> None:
    """The kernel lease ends first, so that there is a gap and no overlap."""
    pair = Pair()
    pair.run_for(phase)
    pair.break_now(fault, "gw1", lasts=5 * SECOND)
    pair.run_for(SECOND)
    (gap,) = pair.gaps()
    assert 0 < gap.lasted <= 2 * 8 * MILLISECOND + SKEW + LATE + KERNEL
    assert gap.end - phase <= 3 * INTERVAL + SKEW + LATE + KERNEL
    assert pair.answering() == ["gw2"]


def test_a_node_that_resumes_becomes_backup_before_it_does_anything_else() -> None:
    """The first effects after the freeze are those of standing down, and no advertisement follows."""
    pair = Pair()
    pair.break_now("agent-freeze", "gw1", lasts=2 * SECOND)
    pair.run_for(3 * SECOND)
    woken = [done for done in pair.effects("gw1") if done.at >= pair.begin + 2 * SECOND]
    moved = next(done.effect for done in woken if isinstance(done.effect, Moved))
    assert (moved.reason, moved.new.name) == ("resume guard", "BACKUP")
    assert moved.cause.startswith("last advertisement 2")
    assert not [done for done in woken if isinstance(done.effect, SendVrrp)]
    assert pair.active() == ["gw2"]


def test_a_failover_says_so_before_it_answers() -> None:
    """fence, gate, advertise, addresses, announce: the advertisement comes first, so that a former Active lets go."""
    pair = Pair()
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(SECOND)
    steps = [done.effect.step for done in pair.effects("gw2", Step) if done.effect.phase == "done"]  # type: ignore[union-attr]
    assert steps == ["fence", "gate", "advertise", "addresses", "announce"]
    order = [type(done.effect).__name__ for done in pair.effects("gw2", Moved, SendVrrp, SetRole, Announce)]
    assert order[:4] == ["Moved", "SendVrrp", "SendVrrp", "SetRole"]
    assert order.index("Announce") > 3


def test_the_first_announcement_is_repeated() -> None:
    """A busy neighbour or switch may have missed it."""
    pair = Pair()
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(10 * SECOND)
    rounds = [done.effect.round for done in pair.effects("gw2", Announce)]  # type: ignore[union-attr]
    assert rounds == [0, 1, 2, 3, 4]


def test_a_dead_active_is_not_asked_whether_it_still_answers() -> None:
    """Its short lease was over before its advertisements were missed for long enough: a question would cost time."""
    pair = Pair()
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(SECOND)
    assert pair.effects("gw2", AskAddresses) == []


def test_a_lease_that_may_be_alive_is_asked_about() -> None:
    """Alone, gw1 got a long lease and is frozen; gw2 starts, asks, is answered, and waits until that is over."""
    pair = Pair()
    pair.break_now("node-power-loss", "gw2", lasts=3 * SECOND)
    pair.run_for(2 * SECOND)
    pair.break_now("agent-freeze", "gw1", lasts=300 * SECOND)
    pair.run_for(20 * SECOND)
    assert pair.effects("gw2", AskAddresses)
    assert pair.answering() == ["gw1"]
    pair.run_for(50 * SECOND)
    assert pair.answering() == ["gw2"]
    assert len(pair.gaps()) == 1
    assert pair.gaps()[0].lasted < INTERVAL + 50 * MILLISECOND


def test_the_lease_is_long_while_nobody_could_take_over() -> None:
    """The last node standing does not cut what its kernel could still carry."""
    pair = Pair()
    pair.break_now("node-power-loss", "gw2", lasts=10 * SECOND)
    pair.run_for(20 * SECOND)
    leases = [(done.effect.lease, done.at - pair.begin) for done in pair.effects("gw1", LeaseChanged)]  # type: ignore[union-attr]
    assert [lease for lease, _ in leases] == [Lease.LONG, Lease.SHORT]
    assert SECOND - INTERVAL <= leases[0][1] <= SECOND + 2 * INTERVAL
    assert leases[1][1] - 10 * SECOND <= LATE
    assert pair.gaps() == []


def test_a_link_that_goes_down_moves_the_group_at_once() -> None:
    """The node that loses a port can still speak: it hands over, nothing is lost, one role change a node."""
    pair = Pair()
    pair.break_now("link-down", "gw1", network="outside", lasts=20 * SECOND)
    pair.run_for(KERNEL)
    assert pair.active() == ["gw2"]
    pair.run_for(40 * SECOND)
    assert (pair.role_changes("gw1"), pair.role_changes("gw2")) == (1, 1)
    assert pair.gaps() == []


@pytest.mark.parametrize("phase", phases(5))
def test_a_silent_link_moves_the_group_to_the_node_that_reaches_more(phase: int) -> None:
    """Within 4 intervals, though the port has carrier and the other LANs still hear the Active."""
    pair = Pair()
    pair.run_for(phase)
    pair.break_now("link-silent", "gw1", network="outside", lasts=20 * SECOND)
    pair.run_for(4 * INTERVAL)
    assert pair.active() == ["gw2"]
    pair.run_for(40 * SECOND)
    assert (pair.role_changes("gw1"), pair.role_changes("gw2")) == (1, 1)


def test_a_silent_link_of_the_standby_moves_nothing() -> None:
    """The Active reaches more already."""
    pair = Pair()
    pair.break_now("link-silent", "gw2", network="outside", lasts=20 * SECOND)
    pair.run_for(40 * SECOND)
    assert pair.moves() == []


def test_a_path_that_is_cut_between_the_two_moves_nothing() -> None:
    """Both still reach the hosts of that LAN, and hear each other elsewhere."""
    pair = Pair()
    pair.break_now("path-cut", "gw1", target="gw2", network="outside", lasts=20 * SECOND)
    pair.run_for(40 * SECOND)
    assert pair.moves() == []


def test_a_lan_that_is_dead_for_both_moves_nothing() -> None:
    """Nobody reaches more than the other."""
    pair = Pair()
    pair.break_now("link-silent", "gw1", network="outside", lasts=20 * SECOND)
    pair.break_now("link-silent", "gw2", network="outside", lasts=20 * SECOND)
    pair.run_for(40 * SECOND)
    assert pair.moves() == []


@pytest.mark.parametrize("fault", ["agent-kill", "node-power-loss", "agent-freeze"])
def test_a_standby_that_only_returns_moves_nothing(fault: str) -> None:
    """Without witnesses the Active cannot tell what it reaches while the standby is gone: nothing against it."""
    pair = Pair()
    for network in ("outside", "inside"):
        pair.break_now("hosts-down", network=network, lasts=30 * SECOND)
    pair.break_now(fault, "gw2", lasts=3 * SECOND)
    pair.run_for(40 * SECOND)
    assert pair.role_changes("gw1") == 0


def test_heartbeats_leave_together_with_advertisements() -> None:
    """Also after news that was told apart: a crash would look younger over the channel, and the standby wait for it."""
    pair = Pair()
    last = next(reversed([done.at for done in pair._done if isinstance(done.effect, SendVrrp)]))
    pair.run_for(last + INTERVAL * 6 // 10 + INTERVAL - pair.begin)
    pair.break_now("link-down", "gw1", network="sync", lasts=60 * SECOND)
    pair.run_for(5 * SECOND)
    later = pair.world.now - 3 * SECOND
    advertised = {done.at for done in pair.effects("gw1", SendVrrp) if done.at > later}
    spoken = {done.at for done in pair.effects("gw1", SendHeartbeat) if done.at > later}
    assert len(advertised) > 20
    assert spoken == advertised


def test_a_kernel_that_refuses_gives_up_the_role() -> None:
    """gw2 cannot bring the addresses up: it says so, stands down, and stays away for a while rather than pretend."""
    pair = Pair()
    pair.break_now("kernel-refuses", "gw2", lasts=5 * SECOND)
    pair.break_now("node-power-loss", "gw1", lasts=30 * SECOND)
    pair.run_for(5 * SECOND)
    first, second = pair.moves("gw2")
    assert (first.new.name, second.new.name, second.reason) == ("ACTIVE", "BACKUP", "promotion failed")
    assert "refused" in second.cause
    assert list(priorities(pair.effects("gw2")))[-2:] == [0, 0]
    pair.run_for(15 * SECOND)
    assert pair.answering() == ["gw2"]


def test_a_restarted_core_adopts_what_its_kernel_holds() -> None:
    """20 ms without a core: no role change, no gap, and the peer notices nothing."""
    pair = Pair()
    pair.break_now("agent-restart", "gw1")
    pair.run_for(10 * SECOND)
    assert pair.gaps() == []
    assert pair.role_changes("gw1") == pair.role_changes("gw2") == 0
    assert pair.moves("gw1")[-1].reason == "adopted"
    assert pair.active() == ["gw1"]


def test_a_core_that_comes_too_late_does_not_adopt() -> None:
    """The lease is over: somebody else may hold the addresses."""
    pair = Pair()
    pair.break_now("agent-kill", "gw1", lasts=SECOND)
    pair.run_for(10 * SECOND)
    assert pair.moves("gw1")[-1].reason == "started"
    assert pair.active() == ["gw2"]


def test_an_active_that_wakes_within_its_lease_goes_on() -> None:
    """A short stall is no reason to stand down."""
    pair = Pair()
    pair.break_now("agent-freeze", "gw1", lasts=INTERVAL)
    pair.run_for(5 * SECOND)
    assert pair.moves() == []
    assert pair.gaps() == []
