"""The channel between nodes: nothing forged, replayed, misdirected or outlived is believed; honest ends find back."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.adapters.channel import DATAGRAM_MAX, FLOWS_PORT, WINDOW, Channel
from understudy.errors import DecodeError

KEY = bytes(range(32))
A, B, C = 1, 2, 3
LAN, SYNC = 0, 1


def channel(number: int, epoch: int = 7, key: bytes = KEY, peers: frozenset[int] = frozenset({A, B})) -> Channel:
    return Channel(key, number, epoch, peers - {number})


def refusal(receiver: Channel, datagram: bytes, network: int = LAN) -> str:
    with pytest.raises(DecodeError) as refused:
        receiver.open(datagram, network)
    return refused.value.reason


def heard(receiver: Channel, datagram: bytes, network: int = LAN) -> bytes | None:
    try:
        return receiver.open(datagram, network)[1]
    except DecodeError:
        return None


def met(a: Channel, b: Channel) -> tuple[Channel, Channel]:
    """Two ends that believe each other, after as many datagrams as it takes at most."""
    for _ in range(2):
        heard(b, a.seal(b"", B, LAN))
        heard(a, b.seal(b"", A, LAN))
    return a, b


def test_two_ends_believe_each_other_from_the_third_datagram_on() -> None:
    """A greeting, its answer that is believed, and from then on everything."""
    a, b = channel(A), channel(B)
    assert refusal(b, a.seal(b"one", B, LAN)) == "channel-greeting"
    assert a.open(b.seal(b"two", A, LAN), LAN) == (B, b"two")
    assert b.open(a.seal(b"three", B, LAN), LAN) == (A, b"three")


def test_what_is_sealed_is_not_to_be_read_without_the_key() -> None:
    """The payload does not appear in the datagram, and equal payloads give different datagrams."""
    a, _ = met(channel(A), channel(B))
    first, second = a.seal(b"a secret payload", B, LAN), a.seal(b"a secret payload", B, LAN)
    assert b"secret" not in first
    assert first[40:] != second[40:]


def test_a_datagram_counts_once() -> None:
    """A replay is refused at once, and long after; late ones within the window count, each once."""
    a, b = met(channel(A), channel(B))
    datagrams = [a.seal(bytes([i % 256]), B, LAN) for i in range(WINDOW + 2)]
    late, outlived, rest = datagrams[2], datagrams[0], datagrams[3:]
    assert all(heard(b, each) is not None for each in rest)
    assert heard(b, late) is not None
    assert refusal(b, late) == "channel-replay"
    assert refusal(b, rest[-1]) == "channel-replay"
    assert refusal(b, outlived) == "channel-replay"


def test_a_datagram_counts_only_on_its_own_path() -> None:
    """Carried over to another network it is refused, whichever end of it an attacker holds."""
    a, b = met(channel(A), channel(B))
    datagram = a.seal(b"x", B, LAN)
    assert refusal(b, datagram, SYNC) == "channel-path"
    assert heard(b, datagram, LAN) == b"x"


def test_another_key_a_stranger_and_our_own_voice_are_refused_by_name() -> None:
    """Counted apart: a wrong key is the operator's mistake and shown, a stranger is not of our group."""
    b = channel(B)
    assert refusal(b, channel(A, key=bytes(32)).seal(b"x", B, LAN)) == "channel-key"
    stranger = Channel(KEY, C, 7, frozenset({B}))
    assert refusal(b, stranger.seal(b"x", B, LAN)) == "channel-stranger"
    assert refusal(b, b.seal(b"x", A, LAN)) == "channel-stranger"


def test_one_node_cannot_speak_for_another() -> None:
    """A datagram whose sender field was changed does not open: each sender's key is its own."""
    a, b = met(channel(A), Channel(KEY, B, 7, frozenset({A, C})))
    datagram = bytearray(a.seal(b"x", B, LAN))
    datagram[8] = C
    assert refusal(b, bytes(datagram)) == "channel-forged"


@given(st.integers(0, 8 * 59 - 1))
def test_one_flipped_bit_anywhere_makes_it_nothing(bit: int) -> None:
    """Header or payload: refused, and the datagram as it was sent still counts afterwards."""
    a, b = met(channel(A), channel(B))
    datagram = a.seal(b"abc", B, LAN)
    assert len(datagram) == 59
    flipped = bytearray(datagram)
    flipped[bit // 8] ^= 1 << bit % 8
    assert heard(b, bytes(flipped)) is None
    assert heard(b, datagram) == b"abc"


@given(st.integers(0, 58))
def test_a_cut_datagram_is_nothing(length: int) -> None:
    """Whatever is left of it."""
    a, b = met(channel(A), channel(B))
    assert heard(b, a.seal(b"abc", B, LAN)[:length]) is None


@given(st.binary(max_size=DATAGRAM_MAX + 10))
def test_noise_is_refused_and_harms_nothing(noise: bytes) -> None:
    """Any bytes, also those that begin like ours, raise DecodeError and nothing else."""
    a, b = met(channel(A), channel(B))
    genuine = a.seal(b"", B, LAN)
    for each in (noise, genuine[:40] + noise, genuine[:8] + noise):
        assert heard(b, each) is None
    assert heard(b, a.seal(b"on", B, LAN)) == b"on"


@pytest.mark.parametrize("who", ["the sender", "the receiver"])
def test_a_restart_of_either_end_is_got_over(who: str) -> None:
    """The new start greets, is answered and believed; no older start is believed any more."""
    a, b = met(channel(A), channel(B))
    old = a.seal(b"old", B, LAN)
    if who == "the sender":
        a = channel(A, epoch=8)
    else:
        b = channel(B, epoch=8)
    met(a, b)
    assert heard(b, a.seal(b"new", B, LAN)) == b"new"
    assert heard(a, b.seal(b"new", A, LAN)) == b"new"
    assert heard(b, old) is None


def test_an_earlier_start_is_refused_although_it_repeats_our_nonce() -> None:
    """What the core before this one sealed and the network kept counts no more."""
    a, b = met(channel(A), channel(B))
    kept = a.seal(b"I am Active", B, LAN)
    met(channel(A, epoch=8), b)
    assert refusal(b, kept) == "channel-old-epoch"


def test_a_recorded_conversation_says_nothing_to_a_fresh_start() -> None:
    """After our restart an attacker plays back everything that was ever sent to us: nothing of it is believed."""
    a, b = channel(A), channel(B)
    recorded = []
    for _ in range(5):
        recorded.append(a.seal(b"I am Active", B, LAN))
        heard(b, recorded[-1])
        heard(a, b.seal(b"", A, LAN))
    fresh = channel(B, epoch=8)
    assert [heard(fresh, each) for each in recorded] == [None] * 5
    met(a, fresh)
    assert heard(fresh, a.seal(b"truth", B, LAN)) == b"truth"
    assert [heard(fresh, each) for each in recorded] == [None] * 5


def test_played_back_greetings_do_not_take_a_live_conversation() -> None:
    """Greetings of this start and of earlier ones, between any two datagrams: none of the genuine is lost."""
    earlier, b = channel(A, epoch=6), channel(B)
    greetings = [earlier.seal(b"", B, LAN)]
    a = channel(A)
    greetings += [a.seal(b"", B, LAN), a.seal(b"", B, LAN)]
    met(a, b)
    for number in range(10):
        for greeting in greetings:
            assert heard(b, greeting) is None
        assert heard(b, a.seal(bytes([number]), B, LAN)) == bytes([number])
        assert heard(a, b.seal(bytes([number]), A, LAN)) == bytes([number])


def test_a_greeting_that_was_held_back_costs_one_datagram_at_most() -> None:
    """A later start that died unheard: its greeting, played once, turns our nonce over until the peer speaks again."""
    a, b = met(channel(A), channel(B))
    unheard = channel(A, epoch=8).seal(b"", B, LAN)
    assert refusal(b, unheard) == "channel-greeting"
    assert heard(b, a.seal(b"still here", B, LAN)) == b"still here"
    assert heard(a, b.seal(b"and I", A, LAN)) == b"and I"


def test_the_same_epoch_and_counter_never_seal_under_the_same_key() -> None:
    """A store that is lost while the clock is set back repeats an epoch: each start has a key of its own."""
    first, second = channel(A), channel(A)
    payload = os.urandom(32)
    assert first.seal(payload, B, LAN)[40:] != second.seal(payload, B, LAN)[40:]


def test_what_was_sealed_for_one_channel_opens_on_no_other() -> None:
    """Heartbeats and flows share the key and nothing else: carried over, a datagram teaches nothing."""
    a, b = met(channel(A), channel(B))
    flows_a, flows_b = (Channel(KEY, number, 9, frozenset({3 - number}), port=FLOWS_PORT) for number in (A, B))
    met(flows_a, flows_b)
    assert refusal(b, flows_a.seal(b"flows", B, LAN)) == "channel-forged"
    assert refusal(flows_b, a.seal(b"heartbeat", B, LAN)) == "channel-forged"
    assert heard(b, a.seal(b"still", B, LAN)) == b"still"
    assert heard(flows_b, flows_a.seal(b"still", B, LAN)) == b"still"


OLD, NEW = KEY, bytes(range(32, 64))
STEPS: tuple[tuple[bytes, ...], ...] = ((OLD,), (OLD, NEW), (NEW, OLD), (NEW,))
"""What a node's key file holds while a key is replaced: `understudy keygen --rotate`, `--promote`, `--retire`."""


def test_a_key_is_replaced_without_a_datagram_lost() -> None:
    """Node by node, step by step, with a restart of one core each: everything sealed in between is opened."""
    ends: dict[int, Channel] = {}
    for place, keys in enumerate(STEPS):
        for number in (A, B):
            peers = frozenset({A, B}) - {number}
            ends[number] = Channel(keys[0], number, 7 + place, peers, more_keys=keys[1:])
            if len(ends) == 2:
                met(ends[A], ends[B])
                for each in range(5):
                    assert heard(ends[B], ends[A].seal(bytes([each]), B, LAN)) == bytes([each])
                    assert heard(ends[A], ends[B].seal(bytes([each]), A, SYNC), SYNC) == bytes([each])
    assert refusal(ends[B], channel(A, epoch=99).seal(b"the old key", B, LAN)) == "channel-key"


def test_a_step_taken_too_early_is_refused_by_name() -> None:
    """The control: a node that seals with a key that the other has not been given is not heard, and it is said why."""
    early, behind = Channel(NEW, A, 7, frozenset({B}), more_keys=(OLD,)), Channel(OLD, B, 7, frozenset({A}))
    assert refusal(behind, early.seal(b"x", B, LAN)) == "channel-key"


def test_a_replay_under_the_other_key_is_one_too() -> None:
    """What counts once counts once, whichever of the keys sealed it."""
    a, b = (
        Channel(keys[0], number, 7, frozenset({3 - number}), more_keys=keys[1:])
        for number, keys in ((A, (OLD, NEW)), (B, (NEW, OLD)))
    )
    met(a, b)
    datagram = a.seal(b"x", B, LAN)
    assert heard(b, datagram) == b"x"
    assert refusal(b, datagram) == "channel-replay"


def test_another_version_of_the_layout_is_refused_by_name() -> None:
    """The version byte is the fourth: what a later Understudy seals is counted, and nothing of it is read."""
    a, b = met(channel(A), channel(B))
    datagram = a.seal(b"x", B, LAN)
    assert refusal(b, datagram[:3] + b"\x02" + datagram[4:]) == "channel-magic"
