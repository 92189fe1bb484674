"""The parts of replication by themselves: the stream's window and paths, the order of writes, what is sent."""

from array import array
from collections.abc import Sequence

import pytest
from replication_world import ESTABLISHED, FIN_WAIT, PATHS, REPLICATED, TIME_WAIT, attribute, flow

from understudy.core.replication.events import Kind, Record
from understudy.core.replication.origin import Origin
from understudy.core.replication.paths import Paths
from understudy.core.replication.replica import BATCH_MAX, OUTSTANDING_MAX, Replica
from understudy.core.replication.round import Round
from understudy.core.replication.sieve import Sieve, coalesced
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import MILLISECOND, SECOND, Instant
from understudy.wire.conntrack import BUCKETS, summary
from understudy.wire.flowsync import (
    PAYLOAD_MAX,
    RECORD_MAX,
    WINDOW,
    Ack,
    Compare,
    Data,
    Scope,
    Word,
    beyond_bitmap,
    decode,
    digests_contents,
    end_content,
    snapshot_content,
)

NOW = Instant(10 * SECOND)
NEWS: Record = (Kind.CHANGED, flow(1))
SYNC, INSIDE = PATHS


def sequences(datagrams: list[tuple[str, bytes]]) -> list[int]:
    found = []
    for _, payload in datagrams:
        message = decode(payload)
        assert isinstance(message, Data)
        found.append(message.sequence)
    return found


class Sender:
    """An origin that a replica with stream number 2 acknowledges."""

    def __init__(self) -> None:
        self.paths = Paths(PATHS)
        self.origin = Origin(1, self.paths)
        for path in self.paths.all:
            path.heard = NOW
        self.acknowledge(NOW, 0)

    def send(self, now: Instant, count: int = 1) -> list[tuple[str, bytes]]:
        sent: list[tuple[str, bytes]] = []
        for _ in range(count):
            self.origin.append(now, [NEWS])
            sent += self.origin.flush(now)
        return sent

    def acknowledge(
        self, now: Instant, received: int, beyond: tuple[int, ...] = (), credit: int = WINDOW, stream: int = 2
    ) -> list[tuple[str, bytes]]:
        ack = Ack(stream, 1, received, received, credit, 0, 0, beyond_bitmap(received, beyond))
        return list(self.origin.acknowledged(now, self.paths.all[0], ack))


def at(milliseconds: float) -> Instant:
    return Instant(NOW + round(milliseconds * MILLISECOND))


def test_a_payload_leaves_with_the_batch_that_made_it() -> None:
    """One record is sent at once; many are packed, and none is longer than a payload may be."""
    sender = Sender()
    assert sequences(sender.send(NOW)) == [1]
    sender.origin.append(NOW, [NEWS] * 100)
    sent = sender.origin.flush(NOW)
    assert sequences(sent) == list(range(2, 2 + len(sent)))
    assert max(len(payload) for _, payload in sent) <= PAYLOAD_MAX
    assert sum(len(decode(payload).records) for _, payload in sent) == 100  # type: ignore[union-attr]  # all Data


def test_a_record_that_fits_no_payload_is_counted_and_left_out() -> None:
    sender = Sender()
    sender.origin.append(NOW, [(Kind.CHANGED, bytes(RECORD_MAX + 1)), (Kind.CHANGED, bytes(RECORD_MAX))])
    assert len(sender.origin.flush(NOW)) == 1
    assert sender.origin.oversized == 1


def test_what_is_overtaken_is_sent_again_on_the_other_path() -> None:
    """Payload 1 is missing, later ones have arrived: it goes out on the other path, once, before any timeout."""
    sender = Sender()
    assert {network for network, _ in sender.send(NOW, 6)} == {SYNC}
    assert sender.acknowledge(at(2), 0, (2, 3, 4, 5)) == []  # it may still be on its way
    assert sender.origin.next_deadline() == at(3)
    again = sender.origin.due(at(3))
    assert [(network, *sequences([(network, payload)])) for network, payload in again] == [(INSIDE, 1)]
    assert sender.origin.due(at(3)) == []


def test_what_is_not_acknowledged_is_sent_again_after_a_timeout_and_ever_later() -> None:
    """The last payload has no later one to tell its loss: time does, on the other path, and with longer pauses."""
    sender = Sender()
    sender.send(NOW)
    pauses, now = [], NOW
    for _ in range(5):
        deadline = sender.origin.next_deadline()
        assert deadline is not None
        assert sender.origin.due(Instant(deadline - 1)) == []
        assert sequences(sender.origin.due(deadline)) == [1]
        pauses.append(deadline - now)
        now = deadline
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 200 * MILLISECOND
    assert sender.acknowledge(now, 1) == []
    assert sender.origin.next_deadline() is None


def test_a_peer_that_answers_late_gets_nothing_twice() -> None:
    """It was quick all the time, and then its kernel took a while: what it is about to acknowledge stays one copy."""
    sender = Sender()
    for number in range(1, 50):
        sender.send(at(10 * number))
        assert sender.acknowledge(at(10 * number + 0.3), number) == []
    sender.send(at(500), 3)
    assert sender.origin.due(at(515)) == []
    assert sender.acknowledge(at(515), 52) == []
    assert sum(path.lost for path in sender.paths.all) == 0


def test_a_path_that_loses_three_in_a_row_is_no_longer_the_best() -> None:
    sender = Sender()
    assert sender.paths.best is sender.paths.all[0]
    for _ in range(3):
        sender.paths.lost(NOW, sender.paths.all[0])
    assert sender.paths.best is sender.paths.all[1]


def test_no_more_is_sent_than_the_replica_has_credit_for() -> None:
    """With credit for two, the third waits for the next acknowledgement."""
    sender = Sender()
    sender.acknowledge(NOW, 0, credit=2)
    assert sequences(sender.send(NOW, 5)) == [1, 2]
    assert sequences(sender.acknowledge(at(1), 1, credit=2)) == [3]


@pytest.mark.parametrize(("received", "stream"), [(99, 2), (1, 1)], ids=["never sent", "an earlier start of the peer"])
def test_a_false_acknowledgement_frees_nothing(received: int, stream: int) -> None:
    sender = Sender()
    sender.send(NOW)
    held = sender.origin.backlog_bytes
    sender.acknowledge(NOW, received, stream=stream)
    assert sender.origin.backlog_bytes == held > 0
    assert sender.origin.written == 0


def test_a_new_replica_is_not_sent_old_news() -> None:
    """It begins with an agreement; the floor tells it where the stream goes on."""
    sender = Sender()
    sender.send(NOW, 10)
    sender.acknowledge(NOW, 0, stream=3)
    assert sender.origin.backlog_bytes == 0
    assert sender.origin.floor == 11


def test_lag_is_the_age_of_what_is_not_in_the_other_kernel() -> None:
    sender = Sender()
    sender.send(NOW)
    assert sender.origin.lag(at(7)) == 7 * MILLISECOND
    sender.acknowledge(at(7), 1)
    assert sender.origin.lag(at(9)) == 0


def records(count: int) -> list[tuple[int, bytes]]:
    return [(int(Kind.CHANGED), b"x")] * count


def fed(replica: Replica, *payloads: tuple[int, int]) -> list[int]:
    """Feed (sequence, records); which were in order, and are queued."""
    taken = []
    for sequence, count in payloads:
        for number, news in replica.arrive(sequence, records(count)):
            taken.append(number)
            replica.queue([(Kind(kind), raw) for kind, raw in news])
    return taken


def adopted() -> Replica:
    replica = Replica()
    replica.adopt(5, 1)
    return replica


def test_payloads_are_taken_in_order_and_once() -> None:
    """Out of order they wait, twice they count once, and too far ahead not at all."""
    replica = adopted()
    assert fed(replica, (2, 1), (3, 1)) == []
    assert replica.beyond() == b"\x03"
    assert fed(replica, (1, 1)) == [1, 2, 3]
    assert fed(replica, (1, 1), (3, 1)) == []
    assert fed(replica, (4 + WINDOW, 1)) == []
    assert not replica.holes


def test_only_what_is_answered_is_written() -> None:
    """Few Writes are outstanding; the position follows their answers, in order."""
    replica = adopted()
    fed(replica, *((sequence, BATCH_MAX) for sequence in range(1, 6)))
    numbers = []
    while replica.ready:
        numbers.append(len(numbers) + 1)
        replica.next_write(numbers[-1])
    assert len(numbers) == OUTSTANDING_MAX
    assert (replica.received, replica.written) == (5, 0)
    assert replica.wrote(1, 0)
    assert replica.written == 1
    assert not replica.wrote(77, 0)
    assert replica.written == 1
    assert replica.ready


def test_a_payload_without_flows_needs_no_write() -> None:
    replica = adopted()
    fed(replica, (1, 0))
    assert replica.ready
    assert replica.next_write(1) is None
    assert (replica.written, replica.waiting) == (1, 0)


def test_what_an_earlier_stream_brought_is_written_but_moves_no_position_of_the_new_one() -> None:
    replica = adopted()
    fed(replica, (1, 1), (2, 1))
    replica.adopt(6, 1)
    assert replica.next_write(1) is not None
    replica.wrote(1, 0)
    assert (replica.stream, replica.written) == (6, 0)


def test_credit_ends_with_the_queue() -> None:
    """A kernel that takes nothing leaves no credit, and the queue stays bounded."""
    replica = adopted()
    assert replica.credit == WINDOW
    sequence = 0
    while replica.credit:
        sequence += 1
        fed(replica, (sequence, 50))
    assert replica.waiting < 20_000


def test_a_batch_keeps_the_last_word_on_each_flow() -> None:
    """Two changes of one shape are one, an end voids all before it, another flow and a later rebirth stay."""
    first, last, other = flow(1, ESTABLISHED), flow(1, FIN_WAIT), flow(2, TIME_WAIT)
    assert coalesced([(Kind.CHANGED, first), (Kind.CHANGED, other), (Kind.CHANGED, last)]) == [
        (Kind.CHANGED, other),
        (Kind.CHANGED, last),
    ]
    assert coalesced([(Kind.CHANGED, first), (Kind.GONE, last), (Kind.CHANGED, first), (Kind.CHANGED, last)]) == [
        (Kind.GONE, last),
        (Kind.CHANGED, last),
    ]
    labelled = first + attribute(22, bytes(16))  # CTA_LABELS: the later one does not say what it says
    assert coalesced([(Kind.CHANGED, labelled), (Kind.CHANGED, last)]) == [
        (Kind.CHANGED, labelled),
        (Kind.CHANGED, last),
    ]


def test_only_ours_and_only_what_is_replicated_is_sent() -> None:
    """Of two groups and three bindings: own and replicated is taken, the rest not, and the peer's is noticed."""
    flows = FlowSettings({1: Keeping.REPLICATE, 2: Keeping.COPY}, {1: Keeping.REPLICATE, 2: Keeping.REPLICATE})
    sieve = Sieve(flows, 0b110, [1, 2])
    ours = [flow(1), flow(2, binding=1)]
    rest = [flow(3, binding=2), flow(4, binding=3), flow(5, group=5)]
    assert sieve.take([(Kind.CHANGED, raw) for raw in ours + rest], own=0b010) == [(Kind.CHANGED, raw) for raw in ours]
    assert not sieve.foreign
    assert sieve.take([(Kind.CHANGED, flow(6, group=2))], own=0b010) == []
    assert sieve.foreign


def test_where_everything_is_ours_nothing_is_looked_up() -> None:
    """And so even a record without a readable mark passes by itself."""
    sieve = Sieve(REPLICATED, 0b10, [1])
    assert sieve.take([NEWS], own=0b10) == [NEWS]
    assert sieve.take([(Kind.CHANGED, b"?")], own=0b10) == [(Kind.CHANGED, b"?")]
    assert sieve.take([(Kind.CHANGED, b"?")], own=0) == []


class Desk:
    """Of a replica whose kernel is empty, and does at once what it is told."""

    def list_kernel(self, groups: int, *, urgent: bool) -> int:
        return 1

    def drain(self) -> int:
        return 2

    def recall(self, groups: int) -> None: ...

    def say(self, word: Word, content: bytes) -> None: ...

    def tell(self, payloads: Sequence[bytes]) -> None: ...

    def write(self, records: Sequence[Record]) -> bool:
        return True

    def ticket(self) -> int:
        return 0

    def done(self, ticket: int) -> bool:
        return True

    def crowded(self) -> bool:
        return False


def test_a_flow_of_the_other_file_counts_once_however_often_a_listing_tells_it() -> None:
    """Told twice it would be no difference that is known, and every round would ask for it again."""
    stranger = flow(1, binding=9)
    _, bucket, digest = summary(stranger)
    current = Round(NOW, Desk(), REPLICATED, Compare(1, 1, 0b10, Scope.REPLICATE))
    current.advance(NOW)
    current.listed(NOW, (), last=True, failed=False)
    current.drained(NOW)
    theirs = array("Q", bytes(8 * BUCKETS))
    theirs[bucket] = digest
    for content in digests_contents(1, theirs):
        current.word(NOW, Word.DIGESTS, content)
    current.word(NOW, Word.DIGESTS_END, end_content(1, 1, True))
    assert current.strange == {}
    for _ in range(2):
        assert current.word(NOW, Word.SNAPSHOT, snapshot_content(1, stranger)) is None
        assert current.strange == {bucket: digest}
