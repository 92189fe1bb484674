"""Children without which the node goes on: when another follows, and when one that hangs is ended."""

import json
import signal
from collections.abc import Iterator

import pytest

from understudy.agent import messages
from understudy.agent.children import Children
from understudy.agent.journal import JournalSender
from understudy.agent.revived import POOLS_SILENCE_MAX, Backoff, FlowsChild, PoolsChild, Silence
from understudy.units import SECOND, Instant, NodeName


class Forked:
    """Real children, and the journal that they write to."""

    def __init__(self) -> None:
        self.journal_in, self.journal_out = messages.pair()
        self.lines = JournalSender(self.journal_out, NodeName("gw1"))
        self.children = Children(self.journal_out, self.lines)

    def details(self) -> list[str]:
        """Of the lines since it was last asked."""
        found = []
        while True:
            try:
                found.append(str(json.loads(self.journal_in.recv(65536))["detail"]))
            except BlockingIOError:
                return found

    def said(self) -> int:
        """How many lines there are since it was last asked."""
        count = 0
        while True:
            try:
                self.journal_in.recv(65536)
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def forked() -> Iterator[Forked]:
    forked = Forked()
    yield forked
    forked.children.finish(0)
    for end in (forked.journal_in, forked.journal_out):
        end.close()


def test_a_child_that_hangs_is_ended_and_one_that_speaks_is_not(forked: Forked) -> None:
    """Rounds without a word are counted from the last one."""
    silence = Silence("flows", 3)
    forked.children.spawn("flows", signal.pause)
    for _ in range(5):
        for _ in range(3):
            silence.pass_round(forked.children, forked.lines)
        silence.heard()
    assert forked.said() == 0
    for _ in range(4):
        silence.pass_round(forked.children, forked.lines)
    assert forked.said() == 1
    role, status = "", 0
    while not role:
        role, status = forked.children.reap(forked.children.descriptors()[0])
    assert (role, status) == ("flows", signal.SIGKILL)


def test_silence_of_a_child_that_is_not_there_is_nobodys(forked: Forked) -> None:
    """Between the death of one and the next there is none to be ended."""
    silence = Silence("flows", 3)
    for _ in range(20):
        silence.pass_round(forked.children, forked.lines)
    assert forked.said() == 0


def test_each_death_within_a_minute_doubles_the_wait_for_the_next() -> None:
    """Up to a limit; after a quiet minute it begins anew."""
    backoff = Backoff(0.02, 10.0)
    waits = [backoff.later_s(Instant(number * SECOND)) for number in range(12)]
    assert waits[:4] == [0.02, 0.04, 0.08, 0.16]
    assert waits[-2:] == [10.0, 10.0]
    assert backoff.later_s(Instant(80 * SECOND)) == 0.02


def test_the_line_between_core_and_flows_outlives_both(forked: Forked) -> None:
    """It is the supervisor's: what one says waits there for whichever process comes next."""
    flows = FlowsChild(forked.children, forked.lines, forked.journal_out, {}, 1)
    assert not flows.awaited
    messages.send(flows.core_end, {"op": "hello"})
    flows.ended(Instant(0), 9)
    assert flows.awaited
    assert messages.receive(flows._end) == {"op": "hello"}
    for end in (flows.core_end, flows._end):
        end.close()


def test_who_hands_out_addresses_is_ended_when_it_hangs_and_follows_ever_later(forked: Forked) -> None:
    """One that dies at once would use up the epochs of its node otherwise."""
    pools = PoolsChild(forked.children, forked.lines, forked.journal_out, 1)
    forked.children.spawn("pools", signal.pause)
    for _ in range(POOLS_SILENCE_MAX):
        pools.silence.pass_round(forked.children, forked.lines)
    assert forked.details() == []
    pools.silence.pass_round(forked.children, forked.lines)
    assert forked.details() == ["silent for 30 s: ended"]
    for number in range(8):
        pools.ended(Instant(number * SECOND), 9)
        assert pools.awaited
    waits = [detail.rpartition("another in ")[2] for detail in forked.details()]
    assert waits == ["0.5 s", "1 s", "2 s", "4 s", "8 s", "10 s", "10 s", "10 s"]
