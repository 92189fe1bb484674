"""What a node says over the channel, and what it believes of the peer's words: the two machines by themselves."""

from dataclasses import replace

import pytest
from core_pair import INTERVAL, LATE, Pair
from core_parts import EXAMPLES

from understudy.config import load_plan
from understudy.core.effects import Effect, Noted, SendHeartbeat, SendVrrp
from understudy.core.events import HeartbeatReceived
from understudy.core.heartbeats import Heartbeats
from understudy.core.peer import PeerView
from understudy.core.pulse import HURRY, Pulse
from understudy.core.settings import NodeSettings
from understudy.errors import DecodeError
from understudy.units import SECOND, Instant, NetworkName
from understudy.wire.heartbeat import Body, decode, encode, encode_body

PEER = 2
SYNC = NetworkName("sync")


def settings() -> NodeSettings:
    plan = load_plan(EXAMPLES / "pair.yaml")
    return plan.settings(plan.nodes[0].name)


def body(digest: bytes | None = None, *, stopping: bool = False) -> Body:
    digest = settings().config_digest if digest is None else digest
    return Body(digest, eligible=True, stopping=stopping, lans=(), groups=())


def word(epoch: int, sequence: int, said: Body, *, by: int = PEER) -> HeartbeatReceived:
    return HeartbeatReceived(SYNC, by, encode(PEER, epoch, sequence, encode_body(said)))


# --- what is believed


def listener() -> tuple[Heartbeats, PeerView]:
    peer = PeerView(PEER, "gw2")
    return Heartbeats(settings(), peer), peer


def test_a_word_is_news_once() -> None:
    """The same one over another path proves that path and says nothing; the same state again is no news either."""
    heartbeats, peer = listener()
    first, out = word(1, 1, body()), list[Effect]()
    assert heartbeats.hear(Instant(1), first, out) is peer.body
    assert heartbeats.hear(Instant(2), replace(first, network=NetworkName("inside")), out) is None
    assert heartbeats.hear(Instant(3), word(1, 2, body()), out) is None
    assert peer.path_heard_at == {"sync": 3, "inside": 2}
    assert peer.heard_at == 3
    assert out == [Noted("peer", "gw2", "heard over the channel")]


def test_an_older_word_moves_nothing_back() -> None:
    """Late on a slower path: what was said since stands."""
    heartbeats, peer = listener()
    heartbeats.hear(Instant(1), word(1, 5, body(stopping=True)), [])
    assert heartbeats.hear(Instant(2), word(1, 4, body()), []) is None
    assert peer.body is not None
    assert peer.body.stopping
    assert peer.heard_at == 1


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (word(2, 9, body(), by=3), "heartbeat-stranger"),
        (HeartbeatReceived(SYNC, PEER, encode(3, 2, 9, encode_body(body()))), "heartbeat-stranger"),
        (word(1, 9, body()), "heartbeat-old-epoch"),
    ],
    ids=["another sender", "another's words", "of a core that is gone"],
)
def test_what_is_not_the_peers_word_is_refused(event: HeartbeatReceived, reason: str) -> None:
    """And proves no path. The control is the same number said by the peer itself."""
    heartbeats, peer = listener()
    heartbeats.hear(Instant(1), word(2, 1, body()), [])
    with pytest.raises(DecodeError) as refused:
        heartbeats.hear(Instant(2), event, [])
    assert refused.value.reason == reason
    assert peer.path_heard_at == {"sync": 1}
    heartbeats.hear(Instant(3), word(2, 9, body()), [])
    assert peer.heard_at == 3


def test_another_configuration_is_noted_when_it_changes() -> None:
    """Not with every word."""
    heartbeats, out = listener()[0], list[Effect]()
    other = bytes(16)
    for number, digest in enumerate([other, other, None, other]):
        heartbeats.hear(Instant(number), word(1, number, body(digest, stopping=number == 1)), out)
    assert sum(isinstance(effect, Noted) and effect.kind == "config-differs" for effect in out) == 2


def test_a_silent_peer_is_lost_once() -> None:
    """Within three intervals; one that was never heard cannot be."""
    heartbeats, peer = listener()
    assert heartbeats.due > 9 * SECOND
    heartbeats.hear(Instant(0), word(1, 1, body()), [])
    assert 2 * settings().heartbeat < heartbeats.due < 3 * settings().heartbeat
    out: list[Effect] = []
    heartbeats.lose(out)
    assert len(out) == 1
    assert not peer.fresh
    assert heartbeats.due > 9 * SECOND


def test_after_a_sleep_only_a_word_that_is_younger_than_the_waking_ends_the_doubt() -> None:
    """What the queue held was said before."""
    heartbeats, peer = listener()
    heartbeats.doubt(Instant(SECOND))
    heartbeats.hear(Instant(SECOND), word(1, 1, body()), [])
    assert peer.doubted_until > SECOND
    heartbeats.hear(Instant(SECOND + 3 * settings().heartbeat), word(1, 2, body()), [])
    assert peer.doubted_until == 0


# --- what is said


def said(out: list[Effect]) -> list[int]:
    return [decode(effect.payload).sequence for effect in out if isinstance(effect, SendHeartbeat)]


def test_a_heartbeat_leaves_at_its_time_and_with_news() -> None:
    """Nothing in between, and what may have changed but has not is no news."""
    pulse, out, interval = Pulse(settings(), 1), list[Effect](), settings().heartbeat
    pulse.start(Instant(0))
    pulse.speak(Instant(0), body(), out, hurries=False)
    pulse.speak(Instant(1), body(), out, hurries=False)
    pulse.speak(Instant(2), None, out, hurries=False)
    assert said(out) == [1]
    pulse.speak(Instant(3), body(stopping=True), out, hurries=False)
    assert said(out) == [1, 2]
    assert pulse.due(False) == 3 + interval
    pulse.speak(Instant(2 + interval), None, out, hurries=False)
    assert said(out) == [1, 2]
    pulse.speak(Instant(3 + interval), None, out, hurries=False)
    assert said(out) == [1, 2, 3]


def test_whoever_follows_speaks_with_the_peer() -> None:
    """A little before its own is due, and a little after where the peer says nothing: that much costs no proof of life,
    which lets one heartbeat be lost.
    """
    pulse, out, interval = Pulse(settings(), 1), list[Effect](), settings().heartbeat
    pulse.start(Instant(0))
    pulse.speak(Instant(0), body(), out, hurries=False)
    assert interval < pulse.due(False, follows=True) < interval * 9 // 8
    assert pulse.due(True, follows=True) == HURRY
    heartbeats, _ = listener()
    heartbeats.hear(Instant(0), word(1, 1, body()), [])
    assert 2 * pulse.due(False, follows=True) < heartbeats.due
    assert not pulse.soon(Instant(interval * 3 // 4))
    almost = Instant(interval * 15 // 16)
    assert pulse.soon(almost)
    pulse.speak(almost, None, out, hurries=False)
    assert said(out) == [1]
    pulse.speak(almost, None, out, hurries=False, answers=True)
    assert said(out) == [1, 2]


def test_a_standby_at_rest_speaks_in_the_actives_time() -> None:
    """One moment for both, once an interval; and the Active does not answer, or each would hurry the other on."""
    pair = Pair()
    pair.run_for(10 * SECOND)
    times = {node: [done.at for done in pair.effects(node, SendHeartbeat)] for node in ("gw1", "gw2")}
    beats = {done.at for done in pair.effects("gw1", SendVrrp)}
    assert set(times["gw1"]) <= beats
    for node, spoken in times.items():
        assert 9 * SECOND // INTERVAL < len(spoken) <= 10 * SECOND // INTERVAL + 1, node
    answers = [at - max(beat for beat in times["gw1"] if beat <= at) for at in times["gw2"][2:]]
    assert max(answers) <= LATE


def test_a_hand_over_hurries_the_words() -> None:
    """So that one that is lost costs milliseconds."""
    pulse, out = Pulse(settings(), 1), list[Effect]()
    pulse.start(Instant(0))
    pulse.speak(Instant(0), body(), out, hurries=False)
    assert pulse.due(True) == HURRY < pulse.due(False)
    pulse.speak(Instant(HURRY), None, out, hurries=True)
    assert said(out) == [1, 2]


def test_a_node_notices_that_it_said_nothing_for_too_long() -> None:
    """A Tick that is merely late is no sleep."""
    pulse = Pulse(settings(), 1)
    pulse.start(Instant(0))
    pulse.speak(Instant(0), body(), [], hurries=False)
    assert not pulse.overslept(Instant(2 * settings().heartbeat))
    assert pulse.overslept(Instant(60 * SECOND))
