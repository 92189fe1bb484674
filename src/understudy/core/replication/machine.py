"""Flow replication of one node as one machine: `handle(now, event) -> effects`, `next_deadline()`, `status()`.

Everything is said to every peer's Pair; each takes what concerns the groups that it shares with this node. Numbers of
effects are unique within the node, so answers find their pair by asking all.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, assert_never

from understudy.core.replication.effects import Compared, Effect, Noted, Ready, Renew, Synced
from understudy.core.replication.events import (
    Asked,
    CompareCommanded,
    Delivered,
    Drained,
    Event,
    KernelChanged,
    KernelOverrun,
    Listed,
    Owned,
    Received,
    Started,
    TableFull,
    Tick,
    Written,
)
from understudy.core.replication.origin import BACKLOG_MAX
from understudy.core.replication.pair import Pair, mask
from understudy.core.replication.report import describe_pair
from understudy.core.settings import NodeSettings
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, SECOND, GroupName, Instant, NetworkName
from understudy.wire.flowsync import OTHER_VERSION

_NOTE_EVERY = 10 * SECOND


class Replication:
    """Does nothing before `Started`."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.pairs: list[Pair] = []
        self.dropped: dict[str, int] = {}
        """Payloads that were no messages, by reason."""
        self._numbers: Iterator[int] = count(1)
        self._groups = {group.name: group for group in settings.groups}
        self._now = Instant(0)
        self._noted: Instant | None = None

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        """What is to be done about this event, in order."""
        self._now = now
        effects: list[Effect] = []
        for pair in self.pairs:
            pair.now = now
        match event:
            case Delivered(node, network, payloads):
                self._received(now, node, network, payloads, effects)
            case Received(node, network, payload):
                self._received(now, node, network, (payload,), effects)
            case KernelChanged(records):
                for pair in self.pairs:
                    pair.kernel_changed(records)
            case Written(number, refused):
                for pair in self.pairs:
                    pair.written(number, refused)
            case TableFull(full):
                for pair in self.pairs:
                    pair.agenda.full(now, full)
            case Listed(number, entries, last, failed):
                for pair in self.pairs:
                    pair.listed(number, entries, last, failed)
            case Drained(number):
                for pair in self.pairs:
                    pair.drained(number)
            case KernelOverrun(over):
                for pair in self.pairs:
                    pair.kernel_overrun(over)
            case Owned(group, own):
                self._owned(group, own, effects)
            case Asked(group, token, drain):
                self._asked(group, token, drain, effects)
            case CompareCommanded(token):
                self._compare(now, token, effects)
            case Started(stream, owned):
                self._start(now, stream, owned, effects)
            case Tick():
                pass
            case _:
                assert_never(event)
        for pair in self.pairs:
            pair.settle()
            effects.extend(pair.effects)
            pair.effects = []
        return effects

    def next_deadline(self) -> Instant | None:
        """When `Tick` is wanted at the latest."""
        if not self.pairs:
            return None
        return Instant(max(min(pair.next_deadline() for pair in self.pairs), self._now + MILLISECOND))

    @property
    def crowded(self) -> bool:
        """A peer takes less than it is sent: what only adds to it, as listings do, should wait."""
        return any(pair.origin.backlog_bytes > BACKLOG_MAX // 2 for pair in self.pairs)

    @property
    def progress(self) -> tuple[int, ...]:
        """Equal to what it was wherever a peer at rest has been heard: `status` differs in ages at most."""
        return tuple(number for pair in self.pairs for number in pair.progress)

    def status(self) -> dict[str, Any]:
        """For people and scripts: JSON values only."""
        groups: dict[str, Any] = {}
        peers: dict[str, Any] = {}
        for pair in self.pairs:
            groups_of_pair, peers[pair.peer.name] = describe_pair(self._now, pair)
            groups.update(groups_of_pair)
        return {"groups": groups, "peers": peers, "dropped": dict(self.dropped)}

    def _start(self, now: Instant, stream: int, owned: frozenset[GroupName], effects: list[Effect]) -> None:
        own = mask(self._groups[name].number for name in owned if name in self._groups)
        if not self.settings.flows.kept:
            return
        self.pairs = [
            Pair(now, self.settings, peer, stream, own, lambda: next(self._numbers)) for peer in self.settings.peers
        ]
        self.pairs = [pair for pair in self.pairs if pair.groups and pair.paths.all]
        for pair in self.pairs:
            for number, proof in pair.agenda.proofs.items():
                if pair.agenda.stateful & ~own & 1 << number:
                    effects.append(Synced(pair.names[number], False, proof.detail))
        numbers = frozenset(self._groups[name].number for name in owned if name in self._groups)
        if numbers:
            effects.append(Renew(numbers))

    def _received(
        self, now: Instant, node: int, network: NetworkName, payloads: Sequence[bytes], effects: list[Effect]
    ) -> None:
        for pair in self.pairs:
            if pair.peer.number == node:
                for payload in payloads:
                    try:
                        pair.received(network, payload)
                    except DecodeError as error:
                        self.dropped[error.reason] = self.dropped.get(error.reason, 0) + 1
                        if error.reason == OTHER_VERSION:
                            pair.misunderstood(payload[0])
                        else:
                            self._note(now, error, pair.peer.name, effects)

    def _owned(self, name: GroupName, own: bool, effects: list[Effect]) -> None:
        group = self._groups.get(name)
        if group is None:
            return
        for pair in self.pairs:
            pair.owned(group.number, own)
        if own:
            effects.append(Renew(frozenset({group.number})))

    def _asked(self, name: GroupName, token: int, drain: bool, effects: list[Effect]) -> None:
        group = self._groups.get(name)
        for pair in self.pairs:
            if group is not None and group.number in pair.names:
                pair.asked(group.number, token, drain)
                return
        stateful = group is not None and group.stateful
        detail = "no path to a peer, or not started yet" if stateful else "nothing of it is replicated"
        effects.append(Ready(name, token, not stateful, detail, waiting=False))

    def _compare(self, now: Instant, token: int, effects: list[Effect]) -> None:
        if not self.pairs:
            effects.append(Compared(token, 0, 0, 0, error="nothing is replicated with any peer"))
            return
        self.pairs[0].agenda.command(now, token)

    def _note(self, now: Instant, error: DecodeError, peer: str, effects: list[Effect]) -> None:
        if self._noted is None or now - self._noted >= _NOTE_EVERY:
            self._noted = now
            effects.append(Noted("flows-dropped", peer, str(error)))
