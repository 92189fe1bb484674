"""A redundancy group on one node: all its addresses, on all its LANs and families, move together.

The group decides (core.decision) from what its routers hear, from what the peer says over the channel, and from what
this node reaches. What the role needs is kept by its parts (core.parts), which know nothing of each other's moves;
what takes several of them has a machine of its own:

    tenure          the role, and what goes with a change of it       core.tenure
    takeover        becoming Active, step by step                     core.takeover
    succession      what becomes of a hand-over                       core.succession
    ear             which advertisements count, and what follows      core.ear

Guarantees, checked by the simulator after every event:
 1. A node whose own advertisement is older than its lease becomes Backup before it does anything else (resume guard).
 2. Nothing is sent from the virtual MAC by the old Active once the successor has been heard in a hand-over; it goes on
    forwarding what the switches still bring, for a moment, so that no order of frames loses one.
 3. A kernel call that fails gives up the role rather than pretending.
"""

from typing import assert_never

from understudy.core.decision import decide
from understudy.core.ear import Ear
from understudy.core.effects import Effect, Noted
from understudy.core.events import AddressAnswered, FlowsReady, Quietened, RoleSet, SyncChanged
from understudy.core.parts import make_parts
from understudy.core.peer import PeerView, Standing
from understudy.core.reach import LanReach
from understudy.core.rows import Action
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.situation import Patience, PeerIs, View
from understudy.core.succession import Succession
from understudy.core.takeover import Takeover
from understudy.core.tenure import Leaving, Tenure
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, Instant, NetworkName
from understudy.wire.heartbeat import GroupState, Phase, Role

_URGENT = frozenset({"last-port-lost", "peer-reaches-more", "rest-hand-over-without-state"})
"""Rows whose offer does not wait for the state of the flows: what the Active serves meanwhile is less."""


class Group:
    """See the module. Every method takes `now` and appends to `out`, in the order to carry out."""

    def __init__(
        self,
        settings: GroupSettings,
        node: NodeSettings,
        lans: dict[NetworkName, LanReach],
        peer: PeerView,
        standing: Standing,
    ) -> None:
        self.settings = settings
        self._node = node
        self._peer = peer
        self._standing = standing
        parts = make_parts(settings, node, lans, peer, standing)
        self.voice = parts.voice
        self.routers = parts.routers
        self.evidence = parts.evidence
        self.handover = parts.handover
        self.holding = parts.holding
        self.gate = parts.gate
        self.announcements = parts.announcements
        self.promotion = parts.promotion
        self.disbelief = parts.disbelief
        self.holddown = parts.holddown
        self.rest = parts.rest
        self.record = parts.record
        self.tenure = Tenure(parts)
        self.takeover = Takeover(parts, self.tenure)
        self.succession = Succession(parts, self.tenure, self.takeover)
        self.ear = Ear(parts, self.tenure)

    # --- what the node reads

    @property
    def role(self) -> Role:
        return self.tenure.role

    @property
    def phase(self) -> Phase:
        return self.handover.phase

    @property
    def idle(self) -> bool:
        """Nothing of the group is served or in motion here: the core may end."""
        return self.role is not Role.ACTIVE and self.holding.idle

    def state(self) -> GroupState:
        """For the heartbeat."""
        handover, voice = self.handover, self.voice
        return GroupState(
            self.settings.number,
            self.role,
            handover.said,
            handover.target,
            voice.lease,
            handover.token,
            voice.lease_ns,
            self.tenure.transitions,
            self.gate.sync(self.role),
            handover.phase is Phase.OFFERING and handover.urgent,
        )

    def next_deadline(self) -> Instant:
        handover, evidence, role = self.handover, self.evidence, self.role
        due = min(
            self.routers.next_deadline(),
            self.announcements.due,
            self.holding.due,
            handover.until,
            self.holddown.due,
            evidence.settles_at,
            self.rest.until,
        )
        if self.promotion.under_way:
            due = min(due, self.promotion.due)
        elif role is Role.BACKUP:
            due = min(due, evidence.vacant_at)
        elif role is Role.ACTIVE and handover.phase is Phase.NONE:
            due = min(due, handover.retry_at, evidence.rival_at)
            if not evidence.cut_off:
                due = min(due, self.voice.choice_due(self.tenure.since))
        return Instant(due)

    # --- what happens to it

    def start(self, now: Instant, out: list[Effect], held: bool) -> None:
        """Begin as Backup, or go on as Active when this kernel still answers by our predecessor's lease."""
        if held:
            self.tenure.adopt(now, out)
        else:
            self.tenure.start(now, out)

    def guard(self, now: Instant, out: list[Effect]) -> None:
        """Resume guard: if the lease must have expired, become Backup first, then think."""
        if now > self.voice.lapses_at:
            silent_for = (now - self.voice.sent_at) / MILLISECOND
            cause = f"last advertisement {silent_for:.0f} ms ago, the lease has expired"
            self.tenure.give_up(now, "resume-guard", "resume guard", cause, out, Leaving.LAPSED)

    def tick(self, now: Instant, out: list[Effect]) -> None:
        """Time has passed."""
        handover, holding, evidence = self.handover, self.holding, self.evidence
        reconsider = self.routers.tick(now, out, mute=handover.yields_port)
        if self.promotion.due <= now and self.takeover.overdue(now, decide(self.view(now)), out):
            self.reconsider(now, out)
        if handover.until <= now:
            reconsider |= self.succession.overdue(now, out)
        self.announcements.tick(now, out, mute=handover.yields_port)
        if holding.farewell_by <= now:
            self.tenure.say_farewell(now, out)
        if holding.release_at <= now:
            holding.release(out)
        if self.rest.until <= now:
            self.rest.end()
            reconsider = True
        reconsider |= evidence.tick_reach(now)
        holding.tick_stop(now)
        if self.role is Role.ACTIVE:
            self.tenure.choose_lease(now, out)
            if handover.retry_at <= now:
                handover.retry_at = NEVER
                reconsider = True
            reconsider |= evidence.rival_at <= now
        elif self.role is Role.BACKUP:
            reconsider |= self.holddown.tick(now)
            evidence.tick_vacancy(now)
            reconsider |= not self.promotion.under_way and evidence.nobody_heard()
        if reconsider:
            self.reconsider(now, out)

    def peer_changed(self, now: Instant, out: list[Effect]) -> None:
        """A heartbeat said something new, or the peer fell silent or came back."""
        theirs = self.evidence.theirs
        if theirs is not None and self._peer.fresh:
            self.succession.follow(now, theirs, out)
            self.evidence.hear_peer(now, theirs, self.role)
            if theirs.role is Role.ACTIVE:
                self.gate.served_elsewhere(self.handover.phase)
        elif self.promotion.at_gate:
            self.takeover.peer_lost(now, out)
        self.reconsider(now, out)
        self.tenure.choose_lease(now, out)

    def reach_changed(self, now: Instant, out: list[Effect]) -> None:
        """This node reaches more or less than a moment ago."""
        self.reconsider(now, out)
        self.tenure.choose_lease(now, out)

    def carrier_changed(self, now: Instant, index: int, up: bool, out: list[Effect]) -> None:
        """A port of the group lost or found its carrier."""
        if self.role is Role.BACKUP:
            self.routers.listen_anew(now, index, up, out)
        elif self.role is Role.ACTIVE and up:
            mute = self.handover.yields_port
            self.routers.speak_anew(now, index, out, mute=mute)
            if not mute:
                self.announcements.once_more(out)

    def repaired(self, now: Instant, out: list[Effect]) -> None:
        """This kernel's objects were restored: the lease may have been lost with them, and frames in between."""
        if self.role is Role.ACTIVE and not self.handover.yields_port:
            self.routers.refresh(now, out)
            self.announcements.once_more(out)

    def role_set(self, now: Instant, event: RoleSet, out: list[Effect]) -> None:
        """The kernel took a role, or failed to."""
        if not self.holding.answers_order(event.token):
            return
        if event.error:
            out.append(Noted("kernel-refused", self.settings.name, event.error))
            if event.active:
                self.takeover.fail(now, event.error, out)
                return
            # The lease is revoked: what the kernel could not take down answers for nothing.
        self.holding.up = event.active
        if not event.active:
            self.tenure.released(now, out)
        elif self.takeover.addresses_up(now, out):
            self.reconsider(now, out)

    def answered(self, now: Instant, event: AddressAnswered, out: list[Effect]) -> None:
        """Somebody else still answers for one of the addresses."""
        self.promotion.answered(str(event.address))

    def quietened(self, now: Instant, event: Quietened, out: list[Effect]) -> None:
        """The kernel carried out an order to be quiet."""
        self.succession.quietened(now, event, out)

    def flows_ready(self, now: Instant, event: FlowsReady, out: list[Effect]) -> None:
        """The replicator answered the gate."""
        if self.promotion.at_gate:
            passage = self.gate.answered(now, event)
            if self.takeover.gate_said(now, passage, decide(self.view(now)), out):
                self.reconsider(now, out)

    def sync_changed(self, now: Instant, event: SyncChanged, out: list[Effect]) -> None:
        """This node's replica of the flows became complete, or ceased to be."""
        if event.elsewhere and self.role is not Role.ACTIVE:
            self.gate.elsewhere = True
        if not self.gate.sync_changed(now, event, out):
            return
        if event.complete and self.rest.lacks_state:
            self.rest.end()
        self.reconsider(now, out)

    # --- what an operator wants

    def waive(self, now: Instant, out: list[Effect]) -> str:
        """This node shall serve without the state. Returns why that means nothing, or nothing."""
        if not self.gate.applies:
            return f"no promotion of {self.settings.name} waits for the state of its flows"
        if self.role is not Role.BACKUP:
            return f"{self._node.name} is {self.role.name.lower()} for {self.settings.name}: ask the standby"
        passage = self.gate.waive(now)
        if self.promotion.at_gate:
            if self.takeover.gate_said(now, passage, decide(self.view(now)), out):
                self.reconsider(now, out)
        elif self.rest.lacks_state:
            self.rest.end()
            self.reconsider(now, out)
        return ""

    def switchover(self, now: Instant, out: list[Effect], *, force: bool = False) -> str:
        """The peer shall serve. Returns why not, or nothing."""
        unsynced = self.view(now).peer is PeerIs.UNSYNCED
        return self.succession.switchover(now, out, force=force, unsynced=unsynced)

    def stop(self, now: Instant, out: list[Effect]) -> None:
        """The agent ends: hand over if anybody can take it, say goodbye otherwise."""
        self.holding.stop(now)
        self.reconsider(now, out)
        if self.role is Role.ACTIVE and self.handover.phase is not Phase.OFFERING:
            self.tenure.give_up(now, "stopped", "stopped", "the agent was asked to end", out, Leaving.FAREWELL)

    # --- the decision

    def reconsider(self, now: Instant, out: list[Effect]) -> None:
        """Look the situation up in the decision's table and do what it says."""
        role, handover = self.role, self.handover
        if role is Role.INITIALIZE:
            return
        self.evidence.weigh(now, role, handover.phase, self.holddown.hold(now))
        if self.settings.preempt:
            self.holddown.compare(now, self.evidence.level(role))
        view = self.view(now)
        row = decide(view)
        if self.promotion.under_way:
            if row.action is Action.STAND_DOWN:
                self.record.in_force(row, out)
                self.tenure.give_up(now, row.name, row.reason, row.sentence, out)
            elif role is Role.BACKUP:
                able = view.eligible and view.port_up
                if not able or (not self.promotion.token and row.action is not Action.TAKE_OVER):
                    self.takeover.cancel(out, row.sentence)
            return
        self.record.in_force(row, out)
        match row.action:
            case Action.STAY:
                pass
            case Action.TAKE_OVER:
                self.takeover.begin(now, row.name, row.reason, self.evidence.what_is_silent(now), 0, out)
            case Action.OFFER:
                if handover.phase is Phase.NONE and handover.may_offer(now):
                    urgent = row.name in _URGENT or view.urgent
                    self.succession.offer(now, row.name, row.sentence, out, urgent=urgent)
                elif handover.phase is Phase.NONE and not view.port_up:
                    self.tenure.give_up(now, row.name, "no carrier", row.sentence, out)
            case Action.STAND_DOWN:
                # A plain peer learns of it by a farewell or not at all.
                how = Leaving.FAREWELL if self.settings.plain else Leaving.AT_ONCE
                self.tenure.give_up(now, row.name, row.reason, row.sentence, out, how)
            case Action.REQUEST:
                handover.request(now, row.sentence, out)
            case _:
                assert_never(row.action)

    def view(self, now: Instant) -> View:
        """The situation as the decision sees it."""
        asks = self._node.fence and not self.settings.plain
        holds_state, patience = self.gate.has_state(self.role), self.holddown.patience
        return self.evidence.view(
            now,
            self.role,
            self.handover.phase,
            eligible=not self.rest.holds(now),
            yielded=self.handover.yielded,
            patience=patience if holds_state else Patience.STATE,
            doubt=asks and (self.holddown.doubts(now) or self.disbelief.suspects(now)),
            holds_state=holds_state and self.gate.applies,
            urgent=self._standing.stopping or self._standing.insisted,
        )
