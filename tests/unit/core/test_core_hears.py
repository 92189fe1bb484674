"""To hear is half of reaching: what the peer says of whether it hears us on a LAN, and what becomes of it."""

from ipaddress import IPv4Address

import pytest
from core_pair import INTERVAL, Pair

from understudy.core.effects import AskWitnesses, Effect, Step
from understudy.core.reach import LanReach
from understudy.units import MILLISECOND, SECOND, Instant, NetworkName
from understudy.wire.heartbeat import Hears, Reach

I = INTERVAL  # noqa: E741 (the interval of the formulas)
WITNESS = IPv4Address("10.9.0.11")
QUESTION = AskWitnesses(NetworkName("inside"), (WITNESS,))


def at(time: int) -> Instant:
    return Instant(SECOND + time)


def lan(*, path: bool = True) -> LanReach:
    """Its node started at 0."""
    reach = LanReach(NetworkName("inside"), I, (WITNESS,), path=path)
    reach.start(at(0))
    return reach


def denied() -> tuple[LanReach, list[Effect]]:
    """Heard until 8 I, and denied then."""
    reach, out = lan(), list[Effect]()
    for number in range(9):
        reach.heartbeat(at(number * I))
    reach.hear_word(at(8 * I), Hears.NO, out)
    return reach, out


def test_a_denial_is_a_reason_to_ask_and_not_to_give_up() -> None:
    """The question leaves at once; the LAN counts as reached for an interval more."""
    reach, out = denied()
    assert out == [QUESTION]
    assert not reach.handle(at(9 * I - MILLISECOND), out)
    assert reach.handle(at(9 * I), out)
    assert reach.reach is Reach.SILENT


def test_what_is_heard_counts_for_nothing_while_the_peer_denies() -> None:
    """Its heartbeats keep coming, and so do the questions."""
    reach, out = denied()
    for number in range(9, 30):
        reach.heartbeat(at(number * I - 1))
        reach.heard(at(number * I - 1))
        reach.handle(at(number * I), out)
        assert reach.reach is Reach.SILENT
    assert out.count(QUESTION) >= 20


def test_an_answer_outweighs_a_denial() -> None:
    """It proves both ways: then only the peer hears nothing there, or the path between the two is cut."""
    reach, out = denied()
    reach.answered(at(8 * I + MILLISECOND))
    assert not reach.handle(at(10 * I), out)
    assert reach.reach is Reach.REACHED


def test_a_node_is_not_late_to_say_that_it_hears_nothing_when_it_is_not_heard_either() -> None:
    """A heartbeat came, its last: the deadline for saying so counts from it."""
    reach = LanReach(NetworkName("inside"), I, ())
    reach.start(at(0))
    reach.handle(at(2 * I), [])
    reach.hear_word(at(2 * I), Hears.NO, [])
    reach.handle(at(10 * I), [])
    reach.heartbeat(at(11 * I))
    assert reach.next_deadline() <= at(I * 25 // 2)


@pytest.mark.parametrize("word", [Hears.YES, Hears.UNSAID])
def test_a_denial_that_is_taken_back_in_time_moves_nothing(word: Hears) -> None:
    """One heartbeat was lost; or the peer is no longer heard over the channel, and its last word is no evidence."""
    reach, out = denied()
    reach.heartbeat(at(9 * I - 2))
    assert not reach.hear_word(at(9 * I - 1), word, out)
    assert not reach.handle(at(9 * I), out)
    assert reach.reach is Reach.REACHED


def test_a_denial_that_is_taken_back_late_restores_the_reach_at_once() -> None:
    """The peer hears us again, and we it."""
    reach, out = denied()
    reach.handle(at(9 * I), out)
    reach.heartbeat(at(10 * I))
    assert reach.hear_word(at(10 * I), Hears.YES, out)
    assert reach.reach is Reach.REACHED


def test_a_node_says_that_it_hears_the_peer_only_when_it_knows() -> None:
    """Nothing before it has listened for an interval and a half, nor for a while after its port came back."""
    reach, out = lan(), list[Effect]()
    said = [reach.hears]
    for heard, later in ((-I, I * 3 // 2), (2 * I, 3 * I), (3 * I, I * 9 // 2)):
        if heard > 0:
            reach.heartbeat(at(heard))
            assert reach.next_deadline() <= at(heard + I * 3 // 2)
        reach.handle(at(later), out)
        said.append(reach.hears)
    assert said == [Hears.UNSAID, Hears.NO, Hears.YES, Hears.NO]
    for up in (False, True):
        reach.set_carrier(at(5 * I), up=up)
        reach.handle(at(6 * I), out)
        assert reach.hears is Hears.UNSAID


def test_advertisements_are_no_proof_of_the_channel() -> None:
    """Anybody can send them: only authenticated heartbeats make a node say that it hears the peer."""
    reach, out = lan(), list[Effect]()
    reach.heard(at(I))
    reach.handle(at(2 * I), out)
    assert reach.hears is Hears.NO


def test_of_a_lan_that_is_no_path_nothing_is_said() -> None:
    """No heartbeat could arrive there: silence means nothing."""
    reach, out = lan(path=False), list[Effect]()
    reach.handle(at(5 * I), out)
    assert reach.hears is Hears.UNSAID


@pytest.mark.parametrize("network", ["outside", "inside"])
@pytest.mark.parametrize("phase", range(0, I, I // 5))
def test_an_active_that_nobody_hears_on_a_lan_hands_over(phase: int, network: str) -> None:
    """Within 4 intervals, though it hears everybody there; once, and nobody moves when it heals."""
    pair = Pair()
    pair.run_for(phase)
    pair.break_now("link-mute", "gw1", network=network, lasts=20 * SECOND)
    pair.run_for(4 * I)
    assert pair.active() == pair.answering() == ["gw2"]
    pair.run_for(40 * SECOND)
    assert (pair.role_changes("gw1"), pair.role_changes("gw2")) == (1, 1)
    assert pair.gaps() == []


@pytest.mark.parametrize("kind", ["link-mute", "link-deaf"])
@pytest.mark.parametrize("network", ["outside", "inside", "sync"])
def test_a_standby_that_is_half_connected_moves_nothing(kind: str, network: str) -> None:
    """It knows of its own loss, and the Active does not take it for its own. Nor does a LAN outside the group count."""
    pair = Pair()
    pair.break_now(kind, "gw2", network=network, lasts=20 * SECOND)
    pair.run_for(5 * SECOND)
    reach = pair.core("gw2").lans[NetworkName(network)].reach
    assert reach is Reach.SILENT or network == "sync"
    assert pair.core("gw1").lans[NetworkName("outside")].reach is Reach.REACHED
    pair.run_for(35 * SECOND)
    assert pair.moves() == []


def test_the_word_of_a_peer_that_is_no_longer_heard_is_no_evidence() -> None:
    """Advertisements still arrive: without the channel they are all there is."""
    pair = Pair()
    lan = pair.core("gw2").lans[NetworkName("outside")]
    pair.break_now("link-mute", "gw2", network="outside", lasts=20 * SECOND)
    pair.run_for(SECOND)
    assert (lan.denied, lan.reach) == (True, Reach.SILENT)
    pair.break_now("partition-channel", "gw1", target="gw2", lasts=10 * SECOND)
    pair.run_for(SECOND)
    assert (lan.denied, lan.reach) == (False, Reach.REACHED)


def test_nothing_is_offered_to_a_peer_that_hears_us_nowhere() -> None:
    """It could not take what it does not hear of; it takes over by itself, from silence."""
    pair = Pair()
    for network in ("outside", "inside", "sync"):
        pair.break_now("link-mute", "gw1", network=network, lasts=20 * SECOND)
    pair.run_for(3 * SECOND)
    assert pair.active() == ["gw2"]
    assert [move.row for move in pair.moves("gw2")] == ["takes-over"]
    steps = [done.effect for done in pair.effects("gw1", Step)]
    assert not any(isinstance(step, Step) and step.step == "handover" for step in steps)


@pytest.mark.parametrize("kind", ["link-mute", "link-deaf", "link-silent"])
def test_a_heartbeat_that_is_lost_moves_nothing(kind: str) -> None:
    """Also where nobody could be asked instead, whichever node's port it was."""
    pair = Pair()
    for network in ("outside", "inside"):
        pair.break_now("hosts-down", network=network, lasts=60 * SECOND)
    for number in range(20):
        pair.break_now(kind, ("gw1", "gw2")[number % 2], network="outside", lasts=INTERVAL)
        pair.run_for(2 * SECOND + number * 7 * MILLISECOND)
    assert pair.moves() == []


@pytest.mark.parametrize("seed", range(1, 21))
def test_a_lan_that_dies_for_both_falls_silent_on_both_at_once(seed: int) -> None:
    """However the heartbeats of the two lie to each other: nobody is taken for better connected meanwhile."""
    pair = Pair(seed)
    pair.run_for(seed * 7 * MILLISECOND)
    for node in ("gw1", "gw2"):
        pair.break_now("link-silent", node, network="outside", lasts=20 * SECOND)
    pair.run_for(40 * SECOND)
    assert pair.moves() == []
