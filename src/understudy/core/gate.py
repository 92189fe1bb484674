"""The state gate: an address answers only when the flows that it serves are in this kernel.

A promotion of a group whose flows are replicated asks the replicator (`AskFlows`) and goes on when everything that was
received has been written and nothing is known to be missing. While the peer lives, what it has not sent yet is asked
for too (`drain`). What happens to a gate that stays shut:

    take-over, the gate may be waived      waived `gate_deadline` after the step began, with the reason in the record
    take-over, `require_sync: true`        refused: held down, tried again; an operator may waive it
    hand-over that can wait                refused: the old Active has never stopped serving
    hand-over that cannot                  waived after `allowance`, unless `require_sync: true`

Nothing is asked where there is nothing to be had: no other node has served the group since this node did, as far as
this core and the replicator know, who may have begun before it, and no replica was ever told to be complete.

A replicator of this node that says nothing is not waited for: its deadline is over at once.

Guarantees: no promotion passes without a complete answer to its own question or a recorded reason, and none waits at
the gate for longer than its deadline.
"""

from enum import Enum

from understudy.core.effects import AskFlows, Effect
from understudy.core.events import FlowsReady, SyncChanged
from understudy.core.peer import PeerView, Standing
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, SECOND, Duration, Instant
from understudy.wire.heartbeat import Phase, Role, Sync

HANDOVER_MAX: Duration = 2 * SECOND
"""A hand-over waits at the gate no longer: an agent that is asked to end has three seconds."""
ASK_AGAIN: Duration = 100 * MILLISECOND
"""After an answer that something is missing, unless there is news of it before."""
ANSWER_MAX: Duration = 500 * MILLISECOND
"""Without an answer the question is repeated: the replicator may have been started anew."""
DRAIN_MAX: Duration = 100 * MILLISECOND
"""In a take-over, where nobody is served meanwhile, the peer's replicator has so long to send what is left."""
AGAIN_MIN: Duration = 250 * MILLISECOND
"""The second time, which only asks for what was made since the first, has what the first left, but so long at least."""
WAIVER: Duration = 60 * SECOND
"""An operator's waiver that found no promotion to wait for ends by itself."""


class Passage(Enum):
    WAITS = "waits"
    OPEN = "open"
    WAIVED = "waived"
    REFUSED = "refused"


def applies(group: GroupSettings, node: NodeSettings) -> bool:
    """Whether addresses wait for the state at all."""
    return group.stateful and node.gate and not group.plain


def allowance(group: GroupSettings, node: NodeSettings) -> Duration:
    """How long a hand-over may wait at the gate."""
    return min(group.gate_deadline, HANDOVER_MAX) if applies(group, node) else 0


class Gate:
    """Of one group; asked by its promotion, and by its decision for `has_state`."""

    def __init__(self, settings: GroupSettings, node: NodeSettings, peer: PeerView, standing: Standing) -> None:
        self.why = ""
        """Of the latest verdict, a sentence for the record."""
        self.strict = False
        """The latest promotion passed with the whole state."""
        self.due: int = NEVER
        """When to `tick`; only while a promotion waits."""
        self.detail = ""
        """What the replicator last said of this node's replica."""
        self._settings = settings
        self._node = node
        self._peer = peer
        self._standing = standing
        self._applies = applies(settings, node)
        self._complete = False
        self.elsewhere = False
        """Another node has served the group since this node last did, as far as is known."""
        self._token = 0
        self._waits = False
        self._handover = False
        self._urgent = False
        self._drains = False
        self._deadline: int = NEVER
        self._waived_until: int = 0

    # --- what is known of the state

    @property
    def applies(self) -> bool:
        return self._applies

    def has_state(self, role: Role) -> bool:
        """Whether all of it is here, as far as is known: an Active's kernel is the original."""
        return role is Role.ACTIVE or self._complete or not self._applies

    def sync(self, role: Role) -> Sync:
        """For the heartbeat."""
        if not self._settings.stateful or self._settings.plain:
            return Sync.NOT_NEEDED
        return Sync.COMPLETE if role is Role.ACTIVE or self._complete else Sync.INCOMPLETE

    def sync_changed(self, now: Instant, event: SyncChanged, out: list[Effect]) -> bool:
        """The replicator's word of this node's replica. True if it is news."""
        self.detail = event.detail
        if event.complete and self._waits:
            self._ask(now, out)
        news = event.complete is not self._complete
        self._complete = event.complete
        self._standing.news |= news
        return news

    def served_elsewhere(self, phase: Phase) -> None:
        """Another node is Active: flows are made there that are not known here; but not at the end of a hand-over to
        this one.
        """
        if phase is not Phase.TAKEN:
            self.elsewhere = True

    def became_active(self) -> None:
        self.elsewhere = False
        self._waived_until = 0

    def waive(self, now: Instant) -> Passage:
        """An operator lets the next promotion pass; a verdict for the one that waits now, if any."""
        self._waived_until = now + WAIVER
        return self._pass(Passage.WAIVED, "an operator waived it")

    # --- a promotion

    def begin(self, now: Instant, *, handover: bool, urgent: bool, out: list[Effect]) -> Passage:
        """A promotion has come to the gate. `urgent`: the old Active cannot go on serving until the state is here."""
        self.strict = False
        if not self._settings.stateful:
            return self._pass(Passage.OPEN, "stateless: there is no state to wait for")
        if not self._applies:
            return self._pass(Passage.OPEN, "the gate is switched off")
        if not self.elsewhere and not self._complete:
            return self._pass(Passage.OPEN, "no other node has served lately: there is no state but what is here")
        if now < self._waived_until:
            return self._pass(Passage.WAIVED, "an operator waived it")
        self._token += 1
        self._waits, self._handover, self._urgent = True, handover, urgent
        self._deadline = now + (allowance(self._settings, self._node) if handover else self._settings.gate_deadline)
        self.why = "the replicator has not answered"
        self._ask(now, out)
        return Passage.WAITS

    def begin_again(self, now: Instant, *, urgent: bool, out: list[Effect]) -> Passage:
        """The second time in a hand-over; whoever passed without the state the first time has nothing to wait for."""
        if not self.strict:
            return self._pass(Passage.OPEN, "as before")
        deadline = max(self._deadline, now + AGAIN_MIN)
        passage = self.begin(now, handover=True, urgent=urgent, out=out)
        self._deadline = deadline
        self.due = min(self.due, deadline)
        return passage

    def answered(self, now: Instant, event: FlowsReady) -> Passage:
        """The replicator answered; an answer to an earlier promotion's question says nothing."""
        if not self._waits or event.token != self._token:
            return Passage.WAITS
        if event.complete:
            self.strict = True
            return self._pass(Passage.OPEN, event.detail or "everything that was received is in this kernel")
        self.why = event.detail or "the replica is not complete"
        if event.mute or (event.final and not self._peer.fresh):
            return self._give_up()
        self.due = min(now + ASK_AGAIN, self._deadline)
        return Passage.WAITS

    def peer_lost(self, now: Instant, out: list[Effect]) -> None:
        """It can send nothing more: what is here is all that there will be."""
        if self._waits and self._drains:
            self._ask(now, out)

    def tick(self, now: Instant, out: list[Effect]) -> Passage:
        """It is `due`."""
        if now >= self._deadline:
            return self._give_up()
        self._ask(now, out, drains=self._handover or not self._drains)
        return Passage.WAITS

    def leave(self) -> None:
        """The promotion is over, however it ended: answers to its questions are void."""
        self._waits = False
        self.due = NEVER

    # --- below

    def _ask(self, now: Instant, out: list[Effect], *, drains: bool = True) -> None:
        self._drains = drains and self._peer.fresh
        patience = DRAIN_MAX if self._drains and not self._handover else ANSWER_MAX
        self.due = min(now + patience, self._deadline)
        out.append(AskFlows(self._settings.name, self._token, self._drains))

    def _give_up(self) -> Passage:
        if self._settings.require_sync:
            return self._pass(Passage.REFUSED, f"{self.why}; the file requires the state")
        if self._handover and not self._urgent:
            return self._pass(Passage.REFUSED, f"{self.why}; {self._peer.name} goes on serving")
        return self._pass(Passage.WAIVED, self.why)

    def _pass(self, verdict: Passage, why: str) -> Passage:
        self.leave()
        self.why = why
        return verdict
