"""The channel under somebody who records everything and plays it back at will, but has no key."""

import contextlib
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.adapters.channel import Channel
from understudy.errors import DecodeError

KEY = bytes(range(32))
NUMBERS = (1, 2)
PATHS = (0, 1)


@dataclass(slots=True)
class End:
    """One node over its starts."""

    number: int
    epoch: int = 5
    channel: Channel = field(init=False)
    opened: set[bytes] = field(default_factory=set)
    """Payloads that this start believed."""
    latest: int = 0
    """The peer's latest start of which this start believed anything."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.epoch += 1
        self.channel = Channel(KEY, self.number, self.epoch, frozenset({3 - self.number}))
        self.opened, self.latest = set(), 0

    def hear(self, datagram: bytes, path: int) -> None:
        try:
            sender, payload = self.channel.open(datagram, path)
        except DecodeError:
            return
        epoch = int(payload.split()[1])
        assert sender == 3 - self.number
        assert payload not in self.opened, "believed twice"
        assert epoch >= self.latest, "an earlier start was believed after a later one"
        self.opened.add(payload)
        self.latest = epoch


actions = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(NUMBERS), st.sampled_from(PATHS), st.booleans()),
    st.tuples(st.just("replay"), st.sampled_from(NUMBERS), st.sampled_from(PATHS), st.integers(0, 60)),
    st.tuples(st.just("restart"), st.sampled_from(NUMBERS), st.just(0), st.just(0)),
    st.tuples(st.just("meet"), st.just(1), st.just(0), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=80))
def test_no_recording_is_believed_twice_or_out_of_its_life_and_honest_ends_find_back(
    story: list[tuple[str, int, int, int]],
) -> None:
    """Datagrams lost, repeated, carried to other paths, sent back to their sender, and ends that start anew between."""
    ends = {number: End(number) for number in NUMBERS}
    recorded: list[bytes] = []

    def send(number: int, path: int) -> bytes:
        end = ends[number]
        datagram = end.channel.seal(b"%d %d %d" % (number, end.epoch, len(recorded)), 3 - number, path)
        recorded.append(datagram)
        return datagram

    def meet() -> None:
        for _ in range(2):
            for number in NUMBERS:
                ends[3 - number].hear(send(number, 0), 0)
                send(number, 1)  # held back by whoever records

    for kind, number, path, choice in story:
        if kind == "meet":
            meet()
        elif kind == "restart":
            ends[number].restart()
        elif kind == "send":
            datagram = send(number, path)
            if choice:
                ends[3 - number].hear(datagram, path)
        elif recorded:
            ends[number].hear(recorded[choice % len(recorded)], path)

    meet()
    for number in NUMBERS:
        before = len(ends[3 - number].opened)
        ends[3 - number].hear(send(number, 0), 0)
        assert len(ends[3 - number].opened) == before + 1, "an honest datagram was not believed"


def test_a_recording_of_a_higher_epoch_does_not_lock_a_living_peer_out() -> None:
    """A peer whose store is lost and whose clock is behind begins with a lower epoch; an old recording comes first."""
    recording = Channel(KEY, 1, 900, frozenset({2})).seal(b"old", 2, 0)
    a, b = Channel(KEY, 1, 7, frozenset({2})), Channel(KEY, 2, 7, frozenset({1}))
    heard = []
    for _ in range(3):
        for receiver, datagram in ((b, recording), (b, a.seal(b"alive", 2, 0)), (a, b.seal(b"", 1, 0))):
            with contextlib.suppress(DecodeError):
                heard.append(receiver.open(datagram, 0)[1])
    assert heard.count(b"alive") == 2
    assert b"old" not in heard
