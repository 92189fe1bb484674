"""When a round of agreement is due, what came of it, and so what is known of each group's replica.

A round is due at the start, after anything that may have lost news, when the peer becomes the original of a group,
after news that another hand caused here, some time after this kernel refused something or when its full table has room
again, and now and then; one that proved nothing is repeated, ever later. One round is under way at a time.

    complete    a round was proven in this stream of the peer, and nothing was lost since

The peer's death does not make a replica incomplete: it has everything that there was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.core.replication.effects import Compared, Noted, Synced
from understudy.core.replication.events import Kind, Record
from understudy.core.replication.round import Outcome, Round
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.units import MILLISECOND, SECOND, Duration, Instant
from understudy.wire.flowsync import Compare, Scope

if TYPE_CHECKING:
    from understudy.core.replication.pair import Pair

SILENT: Duration = SECOND
"""A peer unheard for so long is asked for nothing."""
ROUND_EVERY: Duration = 300 * SECOND
"""Nothing is suspected: what a kernel does without a word, and what it refused, is found at last."""
ROUND_LATEST: Duration = 1800 * SECOND
"""Later where a listing takes long, but for no table later than this."""
REFUSED_EVERY: Duration = 30 * SECOND
"""After this kernel refused something."""
ROUND_SHARE = 200
"""A round's first listing takes at most one part in so many of the time, where nothing is suspected."""
REFUSED_SHARE = 100
"""Likewise after this kernel refused something."""
COPY_SHARE = 20
SOON: Duration = 100 * MILLISECOND
"""From a suspicion to its round: news of one cause comes together."""
SUSPECT_EVERY: Duration = SECOND
"""Between rounds for no other reason: half-open copies that expire look like a hand, and may be many."""
ROOM_SHARE = 4
"""After room was made in a full table, which may be full again at once: a listing in so many times its duration."""
BEHIND_MAX = 16
"""Payloads that are on their way or not written yet: with more, a listing would only be in their way."""
BEHIND_PATIENCE: Duration = SECOND
"""How long a round waits for that."""
SPACING: Duration = 200 * MILLISECOND
"""Between the starts of two rounds; doubled for each in a row that was cut short, up to SPACING_DOUBLED times."""
SPACING_DOUBLED = 4
BACKOFF: Duration = SECOND
BACKOFF_MAX: Duration = 30 * SECOND
COMMAND_DEADLINE: Duration = 20 * SECOND
"""Of a comparison by command, two listings of both kernels: whoever asked waits longer."""

FULL = "the table of flows of this kernel is full: it refused some"


def rest_after(cost: Duration) -> Duration:
    """From a round that proved agreement, whose first listing took `cost`, to the next if nothing is suspected."""
    return max(ROUND_EVERY, min(ROUND_SHARE * cost, ROUND_LATEST))


@dataclass(slots=True)
class Proof:
    """What is known of our replica of one group."""

    complete: bool = False
    detail: str = "no agreement with the original yet"
    proven_at: Instant | None = None
    copied_at: Instant | None = None
    here: int = 0
    there: int = 0


class Agenda:
    """Of one pair."""

    def __init__(self, now: Instant, pair: "Pair", settings: NodeSettings, groups: Sequence[GroupSettings]) -> None:
        self.proofs = {group.number: Proof() for group in groups}
        self.round: Round | None = None
        self.rounds = self.repaired = self.suspected = self.failed = 0
        self.stateful = sum(1 << group.number for group in groups if group.stateful)
        flows = settings.flows
        self.copied = pair.groups if flows.copied else 0
        self._pair = pair
        self._flows = flows
        self._number = 0
        self._round_at = self._copy_at = self._began = now
        self._not_before = now
        self._backoff: Duration = BACKOFF
        self._cut_short = 0
        self._cost: Duration = 0
        """Of the last round of a replicated group."""
        self._hold = pair.groups & ~pair.own
        """Groups whose flows in this kernel may still have an original's timeouts."""
        self._strange: dict[int, int] = {}
        """What the last round found that only the original's file keeps (see Round)."""
        self._commands: dict[int, Instant] = {}
        self._command = 0

    @property
    def complete(self) -> int:
        """The groups whose replica is, as a mask."""
        return sum(1 << number for number, proof in self.proofs.items() if proof.complete)

    def judge(self, group: int) -> tuple[bool, str]:
        """Complete, and if not, why."""
        if not self.stateful >> group & 1:
            return True, "nothing of it is replicated"
        if self._pair.own >> group & 1:
            return True, "this node is the original"
        proof = self.proofs[group]
        return proof.complete, proof.detail

    def incomplete(self, now: Instant, groups: int, why: str, delay: Duration = 0) -> None:
        """Something is missing, or may be: what is under way proves nothing. `delay`: more of it is to be expected."""
        self._doubt(groups, why)
        self._abort(why, groups)
        self._round_at = max(self._round_at, Instant(now + delay))
        self._soon(now, delay)

    def suspect(self, now: Instant) -> None:
        """Our replica may have changed without the stream: another hand, or this kernel's news overran."""
        if self._pair.theirs & ~self._pair.own & self.stateful:
            self.suspected += 1
            self._soon(now, max(SOON, self._began + max(SUSPECT_EVERY, COPY_SHARE * self._cost) - now))

    def full(self, now: Instant, full: bool) -> None:
        """This kernel takes no more: what it refused is missing, and no round would help; or it has room again."""
        groups = self._pair.theirs & ~self._pair.own
        if not full:
            self._soon(now, max(SOON, self._began + ROOM_SHARE * self._cost - now))
        elif groups & self.stateful:
            self._doubt(groups, FULL)
            if self.round is not None and self.round.scope is Scope.REPLICATE:
                self._abort(FULL, groups)
            self._round_at = Instant(now + REFUSED_EVERY)

    def refused(self, now: Instant) -> None:
        """This kernel did not take what it was given: the peer may have another by now, or this one has room."""
        self._soon(now, max(REFUSED_EVERY, self._began + REFUSED_SHARE * self._cost - now))

    def owned(self, now: Instant, group: int, own: bool) -> None:
        self._abort("the group has another original", 1 << group)
        if not own:
            self._hold |= 1 << group
            self.incomplete(now, 1 << group, "this node was the original: no agreement with the new one yet")

    def originals_changed(self, now: Instant) -> None:
        """The peer became the original of a group, or is no longer."""
        if self.round is not None and self.round.repairing and self.round.groups & ~self._pair.theirs:
            self._abort("the peer is no longer the original", self.round.groups)
        if self._originals(self.stateful) & ~self.complete:
            self._soon(now, 0)

    def command(self, now: Instant, token: int) -> None:
        self._commands[token] = Instant(now + COMMAND_DEADLINE)

    def sent(self, news: Sequence[Record]) -> None:
        """This left in our stream: a comparison by command holds it against nobody."""
        if self.round is not None and not self.round.repairing:
            self.round.touch(news)

    def arrived(self, news: Sequence[Record]) -> None:
        if self.round is not None:
            self.round.touch(news)

    def word(self, now: Instant, kind: int, content: bytes) -> Record | None:
        return self.round.word(now, kind, content) if self.round is not None else None

    def listed(self, now: Instant, number: int, raws: Sequence[bytes], last: bool, failed: bool) -> None:
        if self.round is not None and number == self.round.listing:
            self.round.listed(now, raws, last, failed)

    def drained(self, now: Instant, number: int) -> None:
        if self.round is not None and number == self.round.drain:
            self.round.drained(now)

    def settle(self, now: Instant) -> None:
        if self.round is not None:
            self._watch(now, self.round)
        for token, deadline in list(self._commands.items()):
            if now >= deadline:
                if token == self._command:
                    self._end_round()
                    self._command = 0
                self._compared(token, Outcome(False, "the peer did not answer in time"))
        if self.round is None:
            self._begin(now)

    def next_deadline(self) -> Instant | None:
        times = list(self._commands.values())
        if self.round is not None:
            times.append(self.round.next_deadline())
        elif self._heard(self._pair.now):
            if self._originals(self.stateful):
                times.append(max(self._round_at, self._not_before))
            if self._originals(self.copied):
                times.append(max(self._copy_at, self._not_before))
        return min(times, default=None)

    def _watch(self, now: Instant, current: Round) -> None:
        current.advance(now)
        if current.suspect and current.scope is Scope.REPLICATE:
            current.suspect = False
            for number, proof in self.proofs.items():
                if current.groups >> number & 1 and proof.complete:
                    proof.complete, proof.detail = False, "flows differ from the original's: being repaired"
                    self._pair.effects.append(Synced(self._pair.names[number], False, proof.detail))
        if current.outcome is None and current.repairing and not self._heard(now):
            current.outcome = Outcome(False, "the peer fell silent")
        if current.outcome is not None:
            self._end_round()
            self._finish(now, current, current.outcome)

    def _begin(self, now: Instant) -> None:
        pair = self._pair
        if self._commands and self._heard(now):
            self._command = next(iter(self._commands))
            touched = [record for record in pair.origin.unacknowledged() if record[0] <= Kind.GONE]
            self._open(now, self.stateful or pair.groups, Scope.COMMAND, touched)
            return
        if not self._heard(now) or not pair.replica.stream:
            return
        replicated, copied = self._originals(self.stateful), self._originals(self.copied)
        if pair.behind + pair.replica.waiting // 8 > BEHIND_MAX and now < self._round_at + BEHIND_PATIENCE:
            self._not_before = Instant(now + SOON // 2)  # what comes last may say that more was lost
        elif now < self._not_before:
            return
        elif replicated and now >= self._round_at:
            self._open(now, replicated, Scope.REPLICATE, ())
        elif copied and now >= self._copy_at:
            self._open(now, copied, Scope.COPY, ())

    def _open(self, now: Instant, groups: int, scope: Scope, touched: Sequence[tuple[int, bytes]]) -> None:
        self._number += 1
        self._began = now
        if scope is Scope.REPLICATE:
            self._round_at = Instant(now + ROUND_EVERY)  # what is suspected meanwhile brings it forward
        known = scope is Scope.REPLICATE and not groups & ~self.complete
        urgent = scope is Scope.REPLICATE and not known
        request = Compare(self._pair.stream, self._number, groups, scope, urgent=urgent)
        first = urgent and not self.rounds
        hold = scope is Scope.REPLICATE and bool(groups & self._hold)
        strange = self._strange if scope is Scope.REPLICATE else {}
        self.round = Round(
            now,
            self._pair,
            self._flows,
            request,
            known=known,
            hold=hold,
            touched=touched,
            strange=strange,
            first=first,
        )
        self.round.advance(now)

    def _finish(self, now: Instant, current: Round, outcome: Outcome) -> None:
        if current.scope is Scope.COMMAND:
            token, self._command = self._command, 0
            self._compared(token, outcome)
            return
        self.rounds += 1
        self._cut_short = 0
        self.repaired += outcome.repaired
        for number, proof in self.proofs.items():
            if current.groups >> number & 1 and outcome.proven:
                proof.here, proof.there = current.census.counts.get(number, 0), current.there.get(number, 0)
                if outcome.repaired:
                    proof.here = proof.there
        if current.scope is Scope.COPY:
            self._copy_at = Instant(now + max(self._flows.copy_every, COPY_SHARE * current.cost))
            for number, proof in self.proofs.items():
                if current.groups >> number & 1 and outcome.proven:
                    proof.copied_at = now
            return
        self._cost, self._strange = current.cost, current.strange
        if outcome.proven:
            self._proven(now, current, outcome)
            return
        self.failed += 1
        for number, proof in self.proofs.items():
            if current.groups >> number & 1:
                if proof.complete and outcome.mismatched:
                    proof.complete = False
                    self._pair.effects.append(Synced(self._pair.names[number], False, outcome.detail))
                proof.detail = proof.detail if proof.complete else outcome.detail
        self._round_at = min(self._round_at, Instant(now if outcome.again else now + self._backoff))
        self._backoff = BACKOFF if outcome.again else min(2 * self._backoff, BACKOFF_MAX)
        examples = "; ".join(outcome.examples[:3])
        self._note("flows-unproven", f"{outcome.detail}{': ' if examples else ''}{examples}")

    def _proven(self, now: Instant, current: Round, outcome: Outcome) -> None:
        if current.held:
            self._hold &= ~current.groups
        self._backoff = BACKOFF
        if self._round_at == self._began + ROUND_EVERY:  # nothing was suspected meanwhile
            self._round_at = Instant(now + rest_after(current.cost))
        detail = f"{outcome.there} flows agree" + (f", {outcome.repaired} were transferred" if outcome.repaired else "")
        if outcome.repaired:
            self._note("flows-repaired", detail)
        for number, proof in self.proofs.items():
            if current.groups >> number & 1:
                proof.proven_at = now
                if not proof.complete:
                    proof.complete = True
                    self._pair.effects.append(Synced(self._pair.names[number], True, detail))
                proof.detail = detail

    def _doubt(self, groups: int, why: str) -> None:
        for number, proof in self.proofs.items():
            if groups & self.stateful & 1 << number:
                if proof.complete:
                    self._pair.effects.append(Synced(self._pair.names[number], False, why))
                proof.complete, proof.detail = False, why

    def _abort(self, why: str, groups: int) -> None:
        current = self.round
        if current is None or not current.groups & groups:
            return
        self._end_round()
        self._cut_short += 1
        if current.scope is Scope.COMMAND:
            token, self._command = self._command, 0
            self._compared(token, Outcome(False, why))
        elif current.scope is Scope.REPLICATE:
            self._soon(self._pair.now, 0)

    def _end_round(self) -> None:
        if self.round is not None:
            self._pair.cancel(self.round.listing)
        self.round = None

    def _compared(self, token: int, outcome: Outcome) -> None:
        self._commands.pop(token, None)
        self._pair.effects.append(
            Compared(token, outcome.here, outcome.there, outcome.mismatched, outcome.examples, outcome.detail)
        )

    def _soon(self, now: Instant, delay: Duration) -> None:
        spacing = SPACING << min(self._cut_short, SPACING_DOUBLED)
        self._round_at = Instant(min(self._round_at, max(now + delay, self._began + spacing)))

    def _originals(self, groups: int) -> int:
        """Those of which the peer is the original, and this node is not."""
        return groups & self._pair.theirs & ~self._pair.own

    def _heard(self, now: Instant) -> bool:
        return self._pair.heard is not None and now - self._pair.heard < SILENT

    def _note(self, kind: str, detail: str) -> None:
        self._pair.effects.append(Noted(kind, self._pair.peer.name, detail))
