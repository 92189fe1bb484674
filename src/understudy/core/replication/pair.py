"""Replication with one peer: both streams, the rounds, the gate.

Each node is origin and replica at once, group by group: what this kernel originated is sent for the groups that are
ours; the peer's stream is written whatever we own, because in a hand-over both nodes are the original for a moment
(overlap). Only where a group has been ours for longer than that is the peer's word about it no longer taken.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from understudy.core.replication.agenda import Agenda
from understudy.core.replication.answer import Answer
from understudy.core.replication.effects import (
    Cancel,
    Drain,
    Effect,
    Elsewhere,
    List,
    Noted,
    Recall,
    Renew,
    Send,
    Write,
)
from understudy.core.replication.events import Kind, Record
from understudy.core.replication.gate import Gate, Standing
from understudy.core.replication.origin import BACKLOG_MAX, Datagram, Origin
from understudy.core.replication.overlap import Overlap
from understudy.core.replication.paths import Path, Paths
from understudy.core.replication.replica import Arrived, Replica
from understudy.core.replication.sieve import Sieve
from understudy.core.settings import NodeSettings, PeerSettings
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NetworkName
from understudy.wire.flowsync import (
    VERSION,
    Ack,
    Beacon,
    Compare,
    Data,
    Flush,
    Flushed,
    Scope,
    Want,
    Word,
    anew_content,
    decode,
    encode_ack,
    encode_beacon,
    encode_flush,
    encode_flushed,
    lost_content,
    read_anew,
    read_lost,
)

BEACON: Duration = 50 * MILLISECOND
"""Between two beacons of an original, or less if it advertises more often."""
RESTING = 2
"""Times that, while there is no news."""
IDLE: Duration = SECOND
"""Between two beacons of a node that is nobody's original."""
OTHERS = 4
"""One of so many beacons goes out on all paths."""
ACK_DELAY: Duration = 2 * MILLISECOND
ACK_EVERY = 64
"""Payloads after which an acknowledgement waits no longer."""
LIST_PACE = 50_000
"""Entries a second where nothing is known to be wrong: 200 000 flows are read in four seconds."""
LOST_PATIENCE: Duration = 3 * SECOND
"""How long a replica waits until the original has read what its kernel still holds: a round before that is in vain."""
_LOST_STREAM: Duration = 3 * SECOND
"""A stream number that goes back is believed when the greater one has been silent for so long: a clock was set."""
_FLUSHES_MAX = 16
ANSWER_EVERY: Duration = 150 * MILLISECOND
"""Between two rounds that are answered: each lists this kernel. Less than a replica leaves between two (agenda)."""
_ROUNDS_MAX = 16
"""Numbers of rounds that are remembered, as datagrams may come twice."""
_KINDS = {int(kind): kind for kind in Kind}


class Pair:
    """`number` gives numbers that no other pair of this node uses; `own` is a mask of group numbers."""

    def __init__(
        self, now: Instant, settings: NodeSettings, peer: PeerSettings, stream: int, own: int, number: Callable[[], int]
    ) -> None:
        self.peer, self.stream, self.settings = peer, stream, settings
        groups = [group for group in settings.groups if peer.name in group.peers]
        self.names = {group.number: group.name for group in groups}
        self.groups = mask(self.names)
        self.own = own & self.groups
        self.paths = Paths([network for network in settings.paths if network in peer.paths])
        self.origin = Origin(stream, self.paths)
        self.replica = Replica()
        self.sieve = Sieve(settings.flows, self.groups, [group.number for group in settings.groups])
        self.agenda = Agenda(now, self, settings, groups)
        self.answer: Answer | None = None
        self.heard: Instant | None = None
        """The peer's last beacon."""
        self.theirs = 0
        """Groups of which the peer says that it is the original."""
        self.elsewhere = 0
        """Groups of which the peer was the original since this node last was."""
        self.stranger = ""
        """The peer was last heard in a version that we do not speak: which."""
        self.lag_told: Duration = 0
        """As the peer's last beacon said."""
        self.overruns = self.dropped = self.ignored = 0
        self.effects: list[Effect] = []
        self.now = now
        self._number = number
        advertise: Duration = min((group.advertise for group in groups), default=BEACON)
        self._beat: Duration = min(BEACON, advertise)
        # A node is taken over from when it was silent for two intervals and a skew, at the earliest (RFC 9568).
        self.gate = Gate(min(self._beat * RESTING * 11 // 10, 2 * advertise))
        self._beacon_at = now
        self._beacons = 0
        self._announced = 0
        """The position that the last beacon told."""
        self._count = 0
        self._position = 0
        self._unacknowledged = 0
        self._ack_at: Instant | None = None
        self._ack_path: Path | None = None
        self._overlap = Overlap()
        self._flushing: dict[int, int] = {}
        self._flushed = (0, 0)
        self._given_up = 0
        self._answer_at = now
        self._rounds: deque[int] = deque(maxlen=_ROUNDS_MAX)
        self._handlers = {
            Data: self._data,
            Beacon: self._beacon,
            Ack: self._ack,
            Compare: self._compare,
            Want: self._want,
            Flush: self._flush,
            Flushed: self._flushed_by_peer,
        }

    # What the rounds need done (agreement.Desk).

    def list_kernel(self, groups: int, *, urgent: bool) -> int:
        number = self._number()
        self.effects.append(List(number, frozenset(numbers(groups)), 0 if urgent else LIST_PACE))
        return number

    def cancel(self, number: int) -> None:
        """A listing that nobody waits for any more; 0 is none."""
        if number:
            self.effects.append(Cancel(number))

    def drain(self) -> int:
        number = self._number()
        self.effects.append(Drain(number))
        return number

    def recall(self, groups: int) -> None:
        self.effects.append(Recall(frozenset(numbers(groups))))

    def say(self, word: Word, content: bytes) -> None:
        self.origin.append(self.now, [(word, content)])

    def tell(self, payloads: Sequence[bytes]) -> None:
        for path in self.paths.all:
            self.effects.append(Send(self.peer.number, path.network, payloads))

    def write(self, records: Sequence[Record]) -> bool:
        if not self.replica.credit:
            return False
        self.replica.queue(records)
        return True

    def ticket(self) -> int:
        return self.replica.ticket

    def done(self, ticket: int) -> bool:
        return self.replica.done(ticket)

    def crowded(self) -> bool:
        return self.origin.backlog_bytes > BACKLOG_MAX * 3 // 4

    # Events. Each is followed by `settle`.

    def kernel_changed(self, records: Sequence[Record]) -> None:
        news = self.sieve.take(records, self.own)
        if self.sieve.foreign:
            self.sieve.foreign = False
            self.agenda.suspect(self.now)
        if news:
            self._publish(news)
            if self._overlap.open and (again := self._overlap.kernel_changed(news)):
                self.replica.queue(again)  # without credit too: an older word of the peer may not be the last

    def kernel_overrun(self, over: bool) -> None:
        self.overruns += over
        if self.own:
            self.say(Word.LOST, lost_content(over))
        self.agenda.suspect(self.now)

    def received(self, network: NetworkName, payload: bytes) -> None:
        """Raises DecodeError."""
        path = self.paths.heard(self.now, network)
        if path is None:
            raise DecodeError("flowsync-network", str(network))
        message = decode(payload)
        self._handlers[type(message)](path, message)  # type: ignore[operator]  # each takes what it is listed for

    def misunderstood(self, version: int) -> None:
        """The peer speaks another version: what it knows from now on is not here, and it cannot be asked."""
        stranger = f"the peer's replicator speaks version {version} of its protocol, this one {VERSION}"
        if stranger != self.stranger:
            self.stranger = stranger
            self.effects.append(Noted("flows-version", self.peer.name, stranger))
        self.heard, self.theirs = None, 0
        self.agenda.incomplete(self.now, self.replicated, stranger)

    def written(self, number: int, refused: int) -> None:
        if self.replica.wrote(number, refused):
            self._ack_at = self._ack_at or Instant(self.now + ACK_DELAY)
            if refused:
                self.agenda.refused(self.now)

    def listed(self, number: int, raws: Sequence[bytes], last: bool, failed: bool) -> None:
        if self.answer is not None and number == self.answer.listing:
            self.answer.listed(raws, last, failed)
        else:
            self.agenda.listed(self.now, number, raws, last, failed)

    def drained(self, number: int) -> None:
        if (token := self._flushing.pop(number, None)) is not None:
            self._emit(self.origin.flush(self.now))
            self._flushed = (token, self.origin.position)
            self._tell_flushed()
        elif self.answer is not None and number == self.answer.drain:
            self.answer.drained()
        else:
            self.agenda.drained(self.now, number)

    def owned(self, group: int, own: bool) -> None:
        bit = 1 << group & self.groups
        if not bit or bool(self.own & bit) == own:
            return
        self.own ^= bit
        self._beacon_at = self.now
        if own:
            if self.elsewhere & bit:
                self.effects.append(Elsewhere(self.names[group], False))
            self.elsewhere &= ~bit
            self._overlap.begin(self.now, group)
            self.gate.drop(group)
            if self.origin.position:
                self.say(Word.ANEW, anew_content(bit))
        else:
            self._overlap.end(group)
        self.agenda.owned(self.now, group, own)

    def asked(self, group: int, token: int, drain: bool) -> None:
        self.gate.ask(self.now, group, self.names[group], token, drain, self.heard)

    def settle(self) -> None:
        """What is due, after any event and when only time has passed."""
        now = self.now
        if self._overlap.open and (renew := self._overlap.expired(now)):
            self.effects.append(Renew(frozenset(numbers(renew))))
        if self.gate.asked and self.gate.gave_up(now, self._standing()) and self.replica.holes:
            self.agenda.incomplete(now, self.replicated, "payloads of the peer never arrived")
            self._take(self.replica.skip_holes())
        if self.answer is not None:
            self.answer.advance()
        self.agenda.settle(now)
        while self.replica.ready:
            number = self._number()
            if (batch := self.replica.next_write(number)) is not None:
                self.effects.append(Write(number, batch))
        if self.answer is not None:
            self.answer.advance()
        if self.gate.asked:
            for token in self.gate.flushes(now):
                self.tell([encode_flush(Flush(self.stream, token))])
            self.effects.extend(self.gate.answers(now, self._standing()))
        self._emit(self.origin.flush(now))
        deadline = self.origin.next_deadline()
        if deadline is not None and now >= deadline:
            self._emit(self.origin.due(now))
        if self.origin.given_up != self._given_up:
            detail = f"{self.origin.given_up - self._given_up} payloads given up: the peer takes no more"
            self._given_up, self._beacon_at = self.origin.given_up, now
            self.effects.append(Noted("flows-given-up", self.peer.name, detail))
        if now >= self._beacon_at:
            self._send_beacons()
        if self._ack_at is not None and (now >= self._ack_at or self._unacknowledged >= ACK_EVERY):
            self._acknowledge(self._ack_path or self.paths.best)

    def next_deadline(self) -> Instant:
        times = [self._beacon_at, self.agenda.next_deadline(), self.origin.next_deadline(), self._ack_at]
        times.append(self._overlap.ends)
        if self.gate.asked:
            times.append(self.gate.next_deadline(self._standing()))
        return min(time for time in times if time is not None)

    @property
    def replicated(self) -> int:
        """Groups that the peer's stream is about: those that are not ours alone."""
        return self.groups & ~self.own

    @property
    def progress(self) -> tuple[int, ...]:
        """What a peer's word alone can change, and people are told."""
        origin, replica = self.origin, self.replica
        ours = origin.position, origin.received, origin.written, origin.peer_complete
        return (*ours, replica.received, replica.written, self._position, self.theirs, self.lag_told, self.dropped)

    @property
    def behind(self) -> int:
        """Payloads that the peer has announced, or that others have overtaken, and what waits for them."""
        return max(0, self._position - self.replica.received, self.replica.ahead)

    # Messages.

    def _data(self, path: Path, data: Data) -> None:
        if data.stream != self.replica.stream:
            self.dropped += 1
            return
        self._unacknowledged += 1
        self._ack_path = path
        self._ack_at = self._ack_at or Instant(self.now + ACK_DELAY)
        self._take(self.replica.arrive(data.sequence, data.records))
        if self.replica.holes and self._unacknowledged > 2:
            self._ack_at = self.now  # the origin mends by what it reads there

    def _beacon(self, path: Path, beacon: Beacon) -> None:
        known = self.replica.stream
        if beacon.stream != known:
            if beacon.stream < known and self.heard is not None and self.now - self.heard < _LOST_STREAM:
                self.dropped += 1
                return
            self._adopt(beacon)
        if beacon.count > self._count:
            self._count, self.heard, self.stranger = beacon.count, self.now, ""
            self._position = max(self._position, beacon.position)
            self.lag_told = beacon.lag_us * 1000
            if news := beacon.groups & self.replicated & ~self.elsewhere:
                self.elsewhere |= news
                self.effects.extend(Elsewhere(self.names[number], True) for number in numbers(news))
            if beacon.floor > self.replica.received + 1:
                self.agenda.incomplete(self.now, self.replicated, "the peer gave up what was not acknowledged")
                self._take(self.replica.skip(beacon.floor))
            if beacon.groups != self.theirs:
                self.theirs = beacon.groups
                self.agenda.originals_changed(self.now)
        self._acknowledge(path, beacon.count)

    def _adopt(self, beacon: Beacon) -> None:
        self.agenda.incomplete(self.now, self.replicated, "the peer's replicator has started anew")
        if beacon.stream < self.replica.stream:
            self.origin.replica = 0
        self.replica.adopt(beacon.stream, beacon.floor)
        self._count = self._position = self.theirs = 0
        self.gate.restarted(self.now)
        self._rounds.clear()
        self._end_answer()

    def _ack(self, path: Path, ack: Ack) -> None:
        self._emit(self.origin.acknowledged(self.now, path, ack))

    def _compare(self, path: Path, request: Compare) -> None:
        if request.stream != self.replica.stream or request.round in self._rounds or self.now < self._answer_at:
            return  # a replica that was not heard asks again
        self._rounds.append(request.round)
        self._answer_at = Instant(self.now + ANSWER_EVERY)
        self._end_answer()
        groups = request.groups & self.groups
        if request.scope is Scope.REPLICATE and self.theirs & groups:
            self.theirs &= ~groups  # it asks as their replica: its beacon is about to say so
            self.agenda.originals_changed(self.now)
        self.answer = Answer(self, self.settings.flows, replace(request, groups=groups), lambda: self.own)

    def _end_answer(self) -> None:
        if self.answer is not None:
            self.cancel(self.answer.listing)
        self.answer = None

    def _want(self, path: Path, want: Want) -> None:
        if self.answer is not None:
            self.answer.want(want)

    def _flush(self, path: Path, flush: Flush) -> None:
        if flush.stream != self.replica.stream or flush.token in self._flushing.values():
            return
        if flush.token == self._flushed[0]:
            self._tell_flushed()
        elif len(self._flushing) < _FLUSHES_MAX:
            self._flushing[self.drain()] = flush.token

    def _flushed_by_peer(self, path: Path, flushed: Flushed) -> None:
        if flushed.stream == self.replica.stream:
            self.heard = self.now
            self.gate.flushed(flushed.token, flushed.position)

    # The peer's records.

    def _take(self, payloads: Iterable[Arrived]) -> None:
        for _, records in payloads:
            try:
                news = [(_KINDS[kind], content) for kind, content in records]
            except KeyError:
                news = self._words(records)
            else:
                self.agenda.arrived(news)
            self.replica.queue(self._not_ours(news) if self.own else news)

    def _words(self, records: Iterable[tuple[int, bytes]]) -> list[Record]:
        """Of a payload in which the origin speaks itself: what is to be written because of it."""
        news: list[Record] = []
        touched = 0
        for kind, content in records:
            known = _KINDS.get(kind)
            if known is not None:
                news.append((known, content))
                continue
            self.agenda.arrived(news[touched:])  # the word judges what came before it
            try:
                snapshot = self._word(kind, content)
            except DecodeError as error:
                self.dropped += 1
                self.agenda.incomplete(self.now, self.replicated, error.reason)
                snapshot = None
            if snapshot is not None:
                news.append(snapshot)
            touched = len(news)  # a snapshot is no news
        self.agenda.arrived(news[touched:])
        return news

    def _word(self, kind: int, content: bytes) -> Record | None:
        if kind == Word.LOST:
            why = "the original's kernel had more news than could be read"
            self.agenda.incomplete(self.now, self.replicated, why, 0 if read_lost(content) else LOST_PATIENCE)
            return None
        if kind == Word.ANEW:
            why = "the peer is the original once more: no agreement with it since"
            self.agenda.incomplete(self.now, self.replicated & read_anew(content), why)
            return None
        return self.agenda.word(self.now, kind, content)

    def _not_ours(self, news: list[Record]) -> list[Record]:
        """Without those that this kernel, as the original, knows better."""
        kept, told = self._overlap.judge(news, self.own, self.theirs)
        self.ignored += len(news) - len(kept)
        if told:
            self._publish(told)
        return kept

    def _publish(self, news: Sequence[Record]) -> None:
        self.origin.append(self.now, news)
        self._beacon_at = min(self._beacon_at, Instant(self.now + self._beat))
        if self.answer is not None:
            self.answer.touch(news)
        self.agenda.sent(news)

    def _standing(self) -> Standing:
        replica = self.replica
        settled = replica.done(replica.ticket)
        return Standing(self.heard, replica.written, settled, self.behind, self.agenda.judge, self.theirs)

    # What leaves.

    def _emit(self, datagrams: Iterable[Datagram]) -> None:
        """What goes the same way is one effect."""
        ways: dict[NetworkName, list[bytes]] = {}
        for network, payload in datagrams:
            ways.setdefault(network, []).append(payload)
        self.effects.extend(Send(self.peer.number, network, payloads) for network, payloads in ways.items())

    def _acknowledge(self, path: Path | None, echo: int = 0) -> None:
        replica = self.replica
        self._ack_at, self._unacknowledged = None, 0
        if path is None or not replica.stream:
            return
        complete = self.agenda.complete
        ack = Ack(
            self.stream, replica.stream, replica.received, replica.written, replica.credit, complete, echo,
            replica.beyond(),
        )  # fmt: skip
        self.effects.append(Send(self.peer.number, path.network, (encode_ack(ack),)))

    def _send_beacons(self) -> None:
        now, origin = self.now, self.origin
        self.paths.choose(now)
        self._beacons += 1
        lag_us = origin.lag(now) // 1000
        beacon = encode_beacon(Beacon(self.stream, origin.position, origin.floor, self.own, self._beacons, lag_us))
        busy = self.own or origin.received < origin.position or self.answer is not None
        best = self.paths.best
        # While the best path echoes, the others need only be known to work.
        alone = busy and best is not None and not best.echo and self._beacons % OTHERS
        for path in self.paths.all:
            if alone and path is not best:
                continue
            self.paths.beacon(now, path, self._beacons)
            self.effects.append(Send(self.peer.number, path.network, (beacon,)))
        resting = origin.received == origin.position == self._announced
        self._announced = origin.position
        self._beacon_at = Instant(now + (IDLE if not busy else self._beat * RESTING if resting else self._beat))

    def _tell_flushed(self) -> None:
        self.tell([encode_flushed(Flushed(self.stream, *self._flushed))])


def mask(groups: Iterable[int]) -> int:
    """Group numbers as bits."""
    found = 0
    for group in groups:
        found |= 1 << group
    return found


def numbers(groups: int) -> list[int]:
    """The inverse of `mask`."""
    return [number for number in range(1, 16) if groups >> number & 1]
