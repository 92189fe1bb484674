"""How well a node reaches a LAN: carrier, the peer's voice, and answers of others."""

from ipaddress import IPv4Address

from understudy.core.effects import AskWitnesses, Effect
from understudy.core.reach import LanReach
from understudy.units import MILLISECOND, SECOND, Instant, NetworkName
from understudy.wire.heartbeat import Reach

I = 100 * MILLISECOND  # noqa: E741 (the interval of the formulas)
WITNESS = IPv4Address("10.9.0.11")


def at(time: int) -> Instant:
    return Instant(SECOND + time)


def lan(*witnesses: IPv4Address) -> LanReach:
    """Heard at 0."""
    reach = LanReach(NetworkName("inside"), I, witnesses)
    reach.heard(at(0))
    return reach


def run(reach: LanReach, until: int, *, answer: bool = False) -> list[tuple[int, Reach, int]]:
    """Tick at every deadline; (time, reach, questions) whenever the reach changes."""
    seen, asked, now = [], 0, 0
    while (due := reach.next_deadline() - SECOND) <= until:
        assert due > now or due == 0, "a deadline that does not move"
        now = due
        out: list[Effect] = []
        changed = reach.handle(at(now), out)
        asked += len(out)
        if any(isinstance(effect, AskWitnesses) for effect in out) and answer:
            changed |= reach.answered(at(now + MILLISECOND))
        if changed:
            seen.append((now, reach.reach, asked))
    return seen


def test_a_silent_lan_is_silent_after_two_and_a_half_intervals() -> None:
    """The witness was asked twice by then and did not answer."""
    assert run(lan(WITNESS), 5 * I) == [(250 * MILLISECOND, Reach.SILENT, 2 + 1)]


def test_an_answer_keeps_the_lan_reached() -> None:
    """For hours, at a pace that slows down, and without spinning."""
    reach = lan(WITNESS)
    assert run(reach, 600 * SECOND, answer=True) == []
    assert reach.reach is Reach.REACHED


def test_without_anybody_to_ask_the_reach_is_unknown() -> None:
    """That is better than silence of those who should answer, and worse than a voice."""
    assert run(lan(), 5 * I) == [(250 * MILLISECOND, Reach.UNKNOWN, 0)]
    assert Reach.DOWN < Reach.SILENT < Reach.UNKNOWN < Reach.REACHED


def test_the_pace_slows_down() -> None:
    """Two seconds of asking twice an interval, then twice a second."""
    reach = lan(WITNESS)
    run(reach, 10 * SECOND)
    first = reach.next_deadline()
    reach.handle(first, [])
    assert reach.next_deadline() - first == 500 * MILLISECOND


def test_a_port_without_carrier_reaches_nothing_and_asks_at_once_when_it_is_back() -> None:
    """What was heard before counts no more."""
    reach = lan(WITNESS)
    assert reach.set_carrier(at(I), up=False)
    assert reach.reach is Reach.DOWN
    assert reach.next_deadline() > at(3600 * SECOND)
    reach.set_carrier(at(9 * SECOND), up=True)
    out: list[Effect] = []
    reach.handle(at(9 * SECOND), out)
    assert out == [AskWitnesses(NetworkName("inside"), (WITNESS,))]
    assert reach.answered(at(9 * SECOND + MILLISECOND))
    assert reach.reach is Reach.REACHED


def test_the_most_telling_neighbours_are_asked_first() -> None:
    """Neighbours of this kernel, then those of the file, then those of the peer; four at most, each once."""
    reach = lan(WITNESS)
    others = tuple(IPv4Address(f"10.9.0.{number}") for number in range(20, 26))
    assert reach.learn(others[:2])
    assert not reach.learn(others[:2])
    reach.take_hint((WITNESS, *others[2:]))
    assert reach.candidates() == (*others[:2], WITNESS, others[2])


def test_a_silent_lan_is_not_reached_again_by_asking_less_often() -> None:
    """The slower pace makes a sign of life count longer; one that has counted for nothing already stays so."""
    reach = lan(WITNESS)
    assert run(reach, 1200 * MILLISECOND, answer=True) == []
    assert [state for _, state, _ in run(reach, 60 * SECOND)] == [Reach.SILENT]
