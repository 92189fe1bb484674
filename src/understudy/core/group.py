"""A redundancy group on one node: all its addresses, on all its LANs and families, move together.

The group decides (core.decision) from what its routers hear, from what the peer says over the channel, and from what
this node reaches; it is the one that changes the role. What the role needs is kept by its parts, which know nothing of
each other's moves:

    evidence        who holds the group, and since when               core.evidence
    routers         RFC 9568 on each LAN                              core.routers
    voice           advertisements, and the lease that they refresh   core.voice
    announcements   gratuitous ARP and its like, repeated             core.announcements
    promotion       the steps that lead to Active, with the fence     core.promotion
    gate            whether the state of the flows is here            core.gate
    handover        offer, overlap, request                           core.handover
    holding         links and addresses in the kernel, the farewell   core.holding
    disbelief       which advertisements are somebody else's          core.disbelief
    holddown        patience with a group that moves too often        core.holddown

Guarantees, checked by the simulator after every event:
 1. A node whose own advertisement is older than its lease becomes Backup before it does anything else (resume guard).
 2. Nothing is sent from the virtual MAC by the old Active once the successor has been heard in a hand-over; it goes on
    forwarding what the switches still bring, for a moment, so that no order of frames loses one.
 3. A kernel call that fails gives up the role rather than pretending.
"""

from typing import assert_never

from understudy.core.announcements import Announcements
from understudy.core.decision import decide
from understudy.core.disbelief import Disbelief, Verdict
from understudy.core.effects import Decided, Dropped, Effect, Moved, Noted, OwnFlows, Step
from understudy.core.events import AddressAnswered, FlowsReady, Quietened, RoleSet, SyncChanged
from understudy.core.evidence import Evidence
from understudy.core.gate import Gate, Passage
from understudy.core.handover import Handover
from understudy.core.holddown import FALSE_ALARMS, HoldDown
from understudy.core.holding import ROLE_DEADLINE, Holding
from understudy.core.peer import PeerView, Standing
from understudy.core.promotion import FAILOVER_STEPS, HOLD_DOWN, Promotion
from understudy.core.reach import LanReach
from understudy.core.routers import Routers
from understudy.core.rows import Action, Row
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.situation import Patience, PeerIs, View
from understudy.core.timers import NEVER
from understudy.core.voice import Voice
from understudy.core.vrrp import Outranked
from understudy.units import MILLISECOND, SECOND, Address, Duration, Instant, NetworkName
from understudy.wire.heartbeat import GroupState, Lease, Phase, Role
from understudy.wire.vrrp import Advertisement

__all__ = ["FAILOVER_STEPS", "Group"]

_URGENT = frozenset({"last-port-lost", "peer-reaches-more", "rest-hand-over-without-state"})
"""Rows whose offer does not wait for the state of the flows: what the Active serves meanwhile is less."""
_BY_SILENCE = frozenset({"takes-over", "takes-over-asking"})
_BY_YIELDING = frozenset({"rival-outranks", "rival-is-deaf", "outranked-on-a-lan"})


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
        self.role = Role.INITIALIZE
        self.since: int = 0
        self.reason = ""
        self.cause = ""
        self.transitions = 0
        self.considering = "not started"
        """The sentence of the decision in force."""
        self.row = ""
        """And its name."""
        self.decided: dict[str, int] = {}
        """How often each row of the decision's table came into force, and each move without choice was made."""
        self._node = node
        self._peer = peer
        self._standing = standing
        ports = [lans[router.network] for router in settings.routers]
        self.voice = Voice(settings, node, ports, peer, standing)
        self.routers = Routers(settings, ports, self.voice)
        self.evidence = Evidence(settings, node, list(dict.fromkeys(ports)), self.routers, peer)
        self.handover = Handover(settings, node, peer, standing)
        self.holding = Holding(settings.name)
        self.gate = Gate(settings, node, peer, standing)
        self.announcements = Announcements(settings.name)
        self.disbelief = Disbelief(settings, node, peer)
        self.holddown = HoldDown()
        self._promotion: Promotion | None = None
        self._became_by = ""
        """The row that made the present role."""
        self._offered_by = ""
        """The row that made the latest offer."""
        self._held_down_until: int = NEVER
        self._refused_by_gate = False
        """That is why it is held down."""

    # --- what the node reads

    @property
    def phase(self) -> Phase:
        return self.handover.phase

    @property
    def lease(self) -> Lease:
        return self.voice.lease

    @property
    def lease_ns(self) -> Duration:
        return self.voice.lease_ns

    @property
    def idle(self) -> bool:
        """Nothing of the group is served or in motion here: the core may end."""
        return self.role is not Role.ACTIVE and self.holding.idle

    @property
    def waits_after_failure(self) -> bool:
        """A promotion failed a moment ago: this node does not serve for a while."""
        return self._held_down_until != NEVER

    def state(self) -> GroupState:
        """For the heartbeat."""
        return GroupState(
            self.settings.number,
            self.role,
            self.handover.said,
            self.handover.target,
            self.voice.lease,
            self.handover.token,
            self.voice.lease_ns,
            self.transitions,
            self.gate.sync(self.role),
            self.handover.phase is Phase.OFFERING and self.handover.urgent,
        )

    def next_deadline(self) -> Instant:
        handover, evidence = self.handover, self.evidence
        due = min(
            self.routers.next_deadline(),
            self.announcements.due,
            self.holding.due,
            handover.until,
            self.holddown.due,
            evidence.settles_at,
            self._held_down_until,
        )
        if self._promotion is not None:
            due = min(due, self._promotion.due)
        elif self.role is Role.BACKUP:
            due = min(due, evidence.vacant_at)
        elif self.role is Role.ACTIVE and handover.phase is Phase.NONE:
            due = min(due, handover.retry_at, evidence.rival_at)
            if not evidence.cut_off:
                due = min(due, self.voice.choice_due(self.since))
        return Instant(due)

    # --- what happens to it

    def start(self, now: Instant, out: list[Effect], held: bool) -> None:
        """Begin as Backup, or go on as Active when this kernel still answers by our predecessor's lease."""
        if held:
            self._own(True, None, out)
            self.voice.set_lease(Lease.SHORT, "adopted", out)
            self._move(now, Role.ACTIVE, "adopted", "adopted", "the kernel still answers under our lease", out)
            self.routers.adopt(now, out)
            self.holding.take(out)
        else:
            self._move(now, Role.BACKUP, "started", "started", "the agent began", out)
            self.holding.release(out)
            self._own(False, False, out)
            self.routers.start(now, out)

    def guard(self, now: Instant, out: list[Effect]) -> None:
        """Resume guard: if the lease must have expired, become Backup first, then think."""
        if now > self.voice.lapses_at:
            silent_for = (now - self.voice.sent_at) / MILLISECOND
            cause = f"last advertisement {silent_for:.0f} ms ago, the lease has expired"
            self._stand_down(now, "resume-guard", "resume guard", cause, out, lapsed=True)

    def heard(self, now: Instant, index: int, source: Address, advertisement: Advertisement, out: list[Effect]) -> bool:
        """An advertisement for one of the group's routers arrived. True if it is another node's, and believed."""
        local = self.voice.local[index] or self.settings.routers[index].addresses[0]
        if source == local:
            self.routers.hear(now, index, source, advertisement, out, local=local, mute=True)
            return False
        if self.routers.refuses(now, index, source, advertisement, out):
            return False
        verdict = self.disbelief.judge(now, index, advertisement, self.role, self.handover.said, self.evidence.theirs)
        if verdict is not Verdict.BELIEVE:
            self._disbelieve(now, index, source, advertisement, verdict, out)
            return verdict is Verdict.UNANSWERED
        if advertisement.priority:
            if not self.gate.elsewhere:
                self.gate.served_elsewhere(self.handover.phase)
            self.evidence.somebody_holds()
            self.handover.hear_successor(out)
        mute = self.handover.yields_port
        finding = self.routers.hear(now, index, source, advertisement, out, local=local, mute=mute)
        if not isinstance(finding, Outranked) or self.role is not Role.ACTIVE:
            return True
        if self.handover.said in (Phase.NONE, Phase.REQUESTING):
            cause = f"{finding.source} advertises priority {finding.priority}"
            self._stand_down(now, "outranked-on-a-lan", "outranked", cause, out)
        return True

    def _disbelieve(
        self,
        now: Instant,
        index: int,
        source: Address,
        advertisement: Advertisement,
        verdict: Verdict,
        out: list[Effect],
    ) -> None:
        """Count it and go on. An Active corrects the switch that learned the virtual MAC's port from it."""
        if verdict is Verdict.UNANSWERED:
            out.append(Dropped("vrrp-unanswered"))
            return
        if verdict is Verdict.FORGED:
            out.append(Dropped("vrrp-contradicts-channel"))
            if self.disbelief.to_be_told(now):
                self._count("contradicts-channel")
                detail = f"{source} advertises priority {advertisement.priority}; {self._peer.name} does not"
                out.append(Noted("vrrp-contradicts-channel", self.settings.name, detail))
        else:
            out.append(Dropped("vrrp-awaits-channel"))
        # Not in a hand-over: it may be the successor's, ahead of its word, and an answer would turn the port back.
        offering = self.handover.said is Phase.OFFERING
        if self.role is Role.ACTIVE and not offering and self.disbelief.may_answer(now, index):
            self.voice.advertise(now, index, self.settings.routers[index].priority, out)

    def tick(self, now: Instant, out: list[Effect]) -> None:
        """Time has passed."""
        handover, holding, evidence = self.handover, self.holding, self.evidence
        reconsider = self.routers.tick(now, out, mute=handover.yields_port)
        if self._promotion is not None and self._promotion.due <= now:
            self._step_overdue(now, self._promotion, out)
        if handover.until <= now:
            if handover.phase is Phase.OFFERING:
                self._offer_failed(now, out)
            else:
                handover.end()
                reconsider = True
        self.announcements.tick(now, out, mute=handover.yields_port)
        if holding.farewell_by <= now:
            self._say_farewell(now, out)
        if holding.release_at <= now:
            holding.release(out)
        if self._held_down_until <= now:
            self._rest_no_more()
            reconsider = True
        reconsider |= evidence.tick_reach(now)
        holding.tick_stop(now)
        if self.role is Role.ACTIVE:
            self._choose_lease(now, out)
            if handover.retry_at <= now:
                handover.retry_at = NEVER
                reconsider = True
            reconsider |= evidence.rival_at <= now
        elif self.role is Role.BACKUP:
            reconsider |= self.holddown.tick(now)
            evidence.tick_vacancy(now)
            reconsider |= self._promotion is None and evidence.nobody_heard()
        if reconsider:
            self.reconsider(now, out)

    def peer_changed(self, now: Instant, out: list[Effect]) -> None:
        """A heartbeat said something new, or the peer fell silent or came back."""
        theirs = self.evidence.theirs
        if theirs is not None and self._peer.fresh:
            self._follow_handover(now, theirs, out)
            self.evidence.hear_peer(now, theirs, self.role)
            if theirs.role is Role.ACTIVE:
                self.gate.served_elsewhere(self.handover.phase)
        elif self._promotion is not None and self._promotion.at_gate:
            self._peer_lost_at_gate(now, self._promotion, out)
        self.reconsider(now, out)
        if self.role is Role.ACTIVE:
            self._choose_lease(now, out)

    def reach_changed(self, now: Instant, out: list[Effect]) -> None:
        """This node reaches more or less than a moment ago."""
        self.reconsider(now, out)
        if self.role is Role.ACTIVE:
            self._choose_lease(now, out)

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
                self._promotion_failed(now, event.error, out)
                return
            # The lease is revoked: what the kernel could not take down answers for nothing.
        self.holding.up = event.active
        if not event.active:
            if self.role is not Role.ACTIVE:
                self.voice.set_lease(Lease.NONE, "addresses are down", out)
            if self.holding.farewell_due:
                self._say_farewell(now, out)
        elif self._promotion is not None and self._promotion.step == "addresses":
            out.append(Step(self.settings.name, "addresses", "done"))
            self._promotion.step_done()
            self._advance(now, self._promotion, out)

    def answered(self, now: Instant, event: AddressAnswered, out: list[Effect]) -> None:
        """Somebody else still answers for one of the addresses."""
        if self._promotion is not None:
            self._promotion.answered(str(event.address))

    def flows_ready(self, now: Instant, event: FlowsReady, out: list[Effect]) -> None:
        """The replicator answered the gate."""
        if self._promotion is not None and self._promotion.at_gate:
            self._gate_says(now, self._promotion, self.gate.answered(now, event), out)

    def sync_changed(self, now: Instant, event: SyncChanged, out: list[Effect]) -> None:
        """This node's replica of the flows became complete, or ceased to be."""
        if event.elsewhere and self.role is not Role.ACTIVE:
            self.gate.elsewhere = True
        if not self.gate.sync_changed(now, event, out):
            return
        if event.complete and self._refused_by_gate:
            self._rest_no_more()
        self.reconsider(now, out)

    def waive(self, now: Instant, out: list[Effect]) -> str:
        """The operator wants this node to serve without the state. Returns why that means nothing, or nothing."""
        if not self.gate.applies:
            return f"no promotion of {self.settings.name} waits for the state of its flows"
        if self.role is not Role.BACKUP:
            return f"{self._node.name} is {self.role.name.lower()} for {self.settings.name}: ask the standby"
        passage = self.gate.waive(now)
        if self._promotion is not None and self._promotion.at_gate:
            self._gate_says(now, self._promotion, passage, out)
        elif self._refused_by_gate:
            self._rest_no_more()
            self.reconsider(now, out)
        return ""

    def switchover(self, now: Instant, out: list[Effect], *, force: bool = False) -> str:
        """The operator wants the peer to serve. Returns why not, or nothing."""
        if self.role is not Role.ACTIVE:
            return f"{self._node.name} is not Active for {self.settings.name}: ask the Active node"
        if self.handover.phase is not Phase.NONE or self._promotion is not None:
            return "a promotion or hand-over is under way"
        theirs = self.evidence.theirs
        if not self._peer.fresh or theirs is None:
            return "no standby is heard over the channel"
        if not self._peer.ready:
            return f"{self._peer.name} is in maintenance or stopping"
        if theirs.role is not Role.BACKUP:
            return f"{self._peer.name} is {theirs.role.name.lower()}, not a standby"
        if not force and self.view(now).peer is PeerIs.UNSYNCED:
            return (
                f"{self._peer.name} does not hold the state of the flows yet, connections would be lost: "
                f"wait until its status says that it does, or force it"
            )
        self.handover.yielded = True
        self._offered_by = ""
        self.handover.offer(now, "the operator asked for a switchover", out, urgent=force)
        return ""

    def stop(self, now: Instant, out: list[Effect]) -> None:
        """The agent ends: hand over if anybody can take it, say goodbye otherwise."""
        self.holding.stop(now)
        self.reconsider(now, out)
        if self.role is Role.ACTIVE and self.handover.phase is not Phase.OFFERING:
            self._stand_down(now, "stopped", "stopped", "the agent was asked to end", out, farewell=True)

    # --- the decision

    def reconsider(self, now: Instant, out: list[Effect]) -> None:
        """Look the situation up in the decision's table and do what it says."""
        if self.role is Role.INITIALIZE:
            return
        handover, promotion = self.handover, self._promotion
        self.evidence.weigh(now, self.role, handover.phase, self.holddown.hold(now))
        if self.settings.preempt:
            self.holddown.compare(now, self.evidence.level(self.role))
        view = self.view(now)
        row = decide(view)
        if promotion is not None:
            if row.action is Action.STAND_DOWN:
                self._decided(row, out)
                self._stand_down(now, row.name, row.reason, row.sentence, out)
            elif self.role is Role.BACKUP:
                able = view.eligible and view.port_up
                if not able or (not promotion.token and row.action is not Action.TAKE_OVER):
                    self._cancel_promotion(out, row.sentence)
            return
        self._decided(row, out)
        match row.action:
            case Action.STAY:
                pass
            case Action.TAKE_OVER:
                self._take_over(now, row.name, row.reason, self.evidence.what_is_silent(now), 0, out)
            case Action.OFFER:
                if handover.phase is Phase.NONE and handover.may_offer(now):
                    self._offered_by = row.name
                    handover.offer(now, row.sentence, out, urgent=row.name in _URGENT or view.urgent)
                elif handover.phase is Phase.NONE and not view.port_up:
                    self._stand_down(now, row.name, "no carrier", row.sentence, out)
            case Action.STAND_DOWN:
                # A plain peer learns of it by a farewell or not at all.
                self._stand_down(now, row.name, row.reason, row.sentence, out, farewell=self.settings.plain)
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
            eligible=not self._rests(now),
            yielded=self.handover.yielded,
            patience=patience if holds_state else Patience.STATE,
            doubt=asks and (self.holddown.doubts(now) or self.disbelief.suspects(now)),
            holds_state=holds_state and self.gate.applies,
            urgent=self._standing.stopping or self._standing.insisted,
        )

    def _decided(self, row: Row, out: list[Effect]) -> None:
        if row.name != self.row:
            self.row, self.considering = row.name, row.sentence
            self._count(row.name)
            out.append(Decided(self.settings.name, row.name, row.sentence))

    def _count(self, name: str) -> None:
        self.decided[name] = self.decided.get(name, 0) + 1

    def _rests(self, now: Instant) -> bool:
        return self._standing.maintenance or self._standing.stopping or now < self._held_down_until < NEVER

    # --- becoming Active

    def _take_over(self, now: Instant, row: str, reason: str, cause: str, token: int, out: list[Effect]) -> None:
        if self.holding.release_at != NEVER:
            self.holding.release(out)  # what lingers of the last time must not answer before we advertise again
        self._promotion = Promotion(self.settings, token, row, reason, cause)
        out.append(Step(self.settings.name, "promotion", "started", cause))
        self._advance(now, self._promotion, out)

    def _advance(self, now: Instant, promotion: Promotion, out: list[Effect]) -> None:
        """Carry on with the promotion until a step has to wait."""
        while promotion.step:
            if not self._begin_step(now, promotion, out):
                return
            promotion.step_done()
        self._promotion = None
        if promotion.token:
            self.handover.taken(now, promotion.token)
        self.reconsider(now, out)  # what changed meanwhile had to wait

    def _begin_step(self, now: Instant, promotion: Promotion, out: list[Effect]) -> bool:
        """True if the step is done at once."""
        name = self.settings.name
        match promotion.step:
            case "fence":
                if promotion.row == "takes-over-asking":
                    out.append(Step(name, "fence", "started", "another kernel may still answer: ask"))
                    promotion.ask(now, out)
                    return False
                out.append(Step(name, "fence", "done", "nobody else's kernel can still answer"))
            case "gate":
                passage = self.gate.begin(now, handover=bool(promotion.token), urgent=self._offer_is_urgent(), out=out)
                return self._pass_gate(now, promotion, passage, out)
            case "advertise":
                token = promotion.token
                if token and not self.handover.offer_stands(now, self.evidence.theirs, token):
                    self._cancel_promotion(out, "the offer was withdrawn")
                    return False
                self._own(True, self.gate.strict, out)
                self.voice.set_lease(Lease.SHORT, "Active", out)
                self.handover.yielded = False
                self._move(now, Role.ACTIVE, promotion.row, promotion.reason, promotion.cause, out)
                self.routers.take_over(now, promotion.reason, out)
                out.append(Step(name, "advertise", "done"))
            case "drain":
                passage = self.gate.begin_again(now, urgent=self._offer_is_urgent(), out=out)
                return self._pass_gate(now, promotion, passage, out)
            case "addresses":
                out.append(Step(name, "addresses", "started"))
                self.holding.take(out)
                promotion.due = now + ROLE_DEADLINE
                return False
            case "announce":
                self.announcements.begin(now, out)
                out.append(Step(name, "announce", "done"))
        return True

    def _pass_gate(self, now: Instant, promotion: Promotion, passage: Passage, out: list[Effect]) -> bool:
        """Record what the gate says. True if the promotion goes on."""
        name, step, why = self.settings.name, promotion.step, self.gate.why
        match passage:
            case Passage.OPEN:
                out.append(Step(name, step, "done", why))
                return True
            case Passage.WAIVED:
                out.append(Step(name, step, "waived", why))
                out.append(Noted("gate-waived", name, why))
                return True
            case Passage.WAITS:
                if promotion.due == NEVER:
                    out.append(Step(name, step, "started", "what was received is written"))
                promotion.due = self.gate.due
            case Passage.REFUSED:
                out.append(Step(name, step, "failed", why))
                out.append(Noted("gate-refused", name, why))
                if promotion.token:
                    self.handover.refuse()
                    self._cancel_promotion(out, why)
                else:
                    self._refused_by_gate = True
                    self._promotion_failed(now, why, out)
            case _:
                assert_never(passage)
        return False

    def _gate_says(self, now: Instant, promotion: Promotion, passage: Passage, out: list[Effect]) -> None:
        """Some time after the promotion came to the gate: somebody else may serve by now."""
        if passage in (Passage.OPEN, Passage.WAIVED) and not promotion.token:
            row = decide(self.view(now))
            if row.action is not Action.TAKE_OVER:
                self._cancel_promotion(out, row.sentence)
                return
        if self._pass_gate(now, promotion, passage, out):
            promotion.step_done()
            self._advance(now, promotion, out)

    def _peer_lost_at_gate(self, now: Instant, promotion: Promotion, out: list[Effect]) -> None:
        """Nobody serves any more meanwhile: a hand-over gives way to a take-over, which waits for less."""
        if promotion.token:
            self._cancel_promotion(out, f"{self._peer.name} fell silent while it handed over")
        else:
            self.gate.peer_lost(now, out)
            promotion.due = self.gate.due

    def _offer_is_urgent(self) -> bool:
        theirs = self.evidence.theirs
        return theirs is not None and theirs.urgent

    def _rest_no_more(self) -> None:
        self._held_down_until, self._refused_by_gate = NEVER, False

    def _step_overdue(self, now: Instant, promotion: Promotion, out: list[Effect]) -> None:
        if promotion.at_gate:
            self._gate_says(now, promotion, self.gate.tick(now, out), out)
            return
        if promotion.step != "fence":
            self._promotion_failed(now, "the kernel did not answer in time", out)
            return
        row = decide(self.view(now))
        if row.action is not Action.TAKE_OVER:
            self._cancel_promotion(out, row.sentence)
        elif not promotion.fence_holds(now, out):
            out.append(Step(self.settings.name, "fence", "done", "nobody answers for the addresses"))
            promotion.step_done()
            self._advance(now, promotion, out)

    def _promotion_failed(self, now: Instant, error: str, out: list[Effect]) -> None:
        """Give the role up rather than pretend."""
        self._held_down_until = now + HOLD_DOWN
        out.append(Step(self.settings.name, "promotion", "failed", error))
        if self.role is Role.ACTIVE:
            self._stand_down(now, "promotion-failed", "promotion failed", error, out, farewell=True)
        else:
            self._cancel_promotion(out, error)

    def _cancel_promotion(self, out: list[Effect], why: str) -> None:
        self._promotion = None
        self.gate.leave()
        self.handover.end()
        out.append(Step(self.settings.name, "promotion", "cancelled", why))
        if self.holding.up:
            self.holding.release(out)

    # --- hand-over

    def _follow_handover(self, now: Instant, theirs: GroupState, out: list[Effect]) -> None:
        """The peer said where it stands."""
        handover, name, peer = self.handover, self.settings.name, self._peer.name
        if handover.offered_by(theirs):
            self._consider_offer(now, theirs, out)
        elif self.role is Role.ACTIVE and handover.follow(now, theirs):
            self._offer_failed(now, out, "gave it back")
        elif self.role is Role.ACTIVE and handover.taken_by(theirs):
            # Also when we had given up waiting: the successor answers already, and two must not.
            if handover.commit(now, out):
                self._hand_over(now, out)
        elif handover.phase is Phase.TAKEN and theirs.role is not Role.ACTIVE:
            handover.end()
            out.append(Step(name, "handover", "done", f"{peer} stopped answering"))
            if self.role is Role.ACTIVE:
                self.announcements.reclaim(now, out)
        elif handover.phase is Phase.TAKEN and theirs.phase is Phase.NONE:
            # It gave up waiting although we answer: it does not hear us, and only we can step back.
            cause = f"{peer} withdrew its offer and goes on"
            out.append(Step(name, "handover", "failed", cause))
            self._stand_down(now, "offer-withdrawn", "offer withdrawn", cause, out)

    def quietened(self, now: Instant, event: Quietened, out: list[Effect]) -> None:
        """The kernel carried out an order to be quiet."""
        if not event.error and self.handover.quietened(now, event.token):
            self._hand_over(now, out)

    def _hand_over(self, now: Instant, out: list[Effect]) -> None:
        row = self._offered_by or "handed-over"
        self._stand_down(now, row, f"handed over to {self._peer.name}", self.handover.cause, out, lingers=True)

    def _consider_offer(self, now: Instant, theirs: GroupState, out: list[Effect]) -> None:
        busy = self._promotion is not None or self.role is not Role.BACKUP
        if not busy and not self._rests(now) and self.evidence.port_up:
            self.handover.take(theirs.token)
            cause = "the Active offered the group"
            self._take_over(now, "offer-taken", f"handed over by {self._peer.name}", cause, theirs.token, out)

    def _offer_failed(self, now: Instant, out: list[Effect], why: str = "did not take it in time") -> None:
        if self.handover.committed:
            self._hand_over(now, out)
            return
        taken = self.handover.yields_port
        self.handover.fail(now, out, why)
        if taken:
            # It advertises although its word never came: it answers, and cannot hear us say that we do too.
            self._stand_down(now, "successor-heard", f"{self._peer.name} serves", "it advertises after our offer", out)
        elif self._standing.stopping:
            self._stand_down(now, "stopped", "stopped", "the agent was asked to end", out, farewell=True)
        else:
            self._choose_lease(now, out)

    # --- ceasing to be Active

    def _stand_down(
        self,
        now: Instant,
        row: str,
        reason: str,
        cause: str,
        out: list[Effect],
        *,
        farewell: bool = False,
        lapsed: bool = False,
        lingers: bool = False,
    ) -> None:
        self._promotion = None
        self.gate.leave()
        self.announcements.end()
        self.handover.end()
        if lingers:
            self.holding.linger(now, out)
        else:
            self.holding.release(out)
        self._own(False, False, out)
        if lapsed:
            self.voice.set_lease(Lease.NONE, "expired", out)
        # Otherwise the lease counts as alive until the kernel confirms (role_set): the peer must not be told too early.
        if farewell:
            self.holding.owe_farewell(self.voice.lapses_at + 2 * self._node.jiffy)
        else:
            self.holding.drop_farewell()
        self.voice.fall_silent()
        self.routers.stand_down(now, reason, out)
        self._tell_false_alarm(now, row, out)
        self._move(now, Role.BACKUP, row, reason, cause, out)

    def _say_farewell(self, now: Instant, out: list[Effect]) -> None:
        """Once this kernel no longer answers."""
        self.holding.drop_farewell()
        self.voice.say_farewell(now, out)
        out.append(Step(self.settings.name, "farewell", "sent"))

    # --- below

    def _own(self, own: bool, strict: bool | None, out: list[Effect]) -> None:
        """Whose kernel is the original of the flows: told where any of them is replicated."""
        if self.settings.stateful:
            out.append(OwnFlows(self.settings.name, own, strict))

    def _move(self, now: Instant, role: Role, row: str, reason: str, cause: str, out: list[Effect]) -> None:
        out.append(Moved(now, self.settings.name, self.role, role, reason, cause, row))
        if row != self.row:
            self._count(row)
        self._became_by, self.row = row, ""
        if self.role is not Role.INITIALIZE:
            self.transitions += 1
            if self.holddown.moved(now):
                length = self.holddown.length // SECOND
                detail = f"moved too often: it goes where it is better served only after {length} s of quiet"
                out.append(Noted("hold-down", self.settings.name, detail))
        self.role = role
        if role is Role.ACTIVE:
            self.gate.became_active()
        self.since = now
        self.reason = reason
        self.cause = cause
        self._standing.news = True
        self.evidence.moved()
        self.handover.became()

    def _tell_false_alarm(self, now: Instant, row: str, out: list[Effect]) -> None:
        """Whoever yields after a take-over had given up an Active that lived."""
        if self.settings.plain:
            return  # A plain peer takes the group by outranking us, and its kernel answers on when it is killed.
        if self._became_by in _BY_SILENCE and row in _BY_YIELDING and self.holddown.false_alarm(now):
            detail = f"an Active that lived was replaced {FALSE_ALARMS} times: the LANs are asked before the next time"
            out.append(Noted("hold-down", self.settings.name, detail))

    def _choose_lease(self, now: Instant, out: list[Effect]) -> None:
        """The long lease is for the last node standing; one that reaches nobody stands nowhere (core.lease)."""
        at_rest = self.handover.phase is Phase.NONE and self._promotion is None
        if not self.evidence.cut_off:
            self.voice.choose_lease(now, self.since, at_rest, out)
        elif self.voice.lease is Lease.LONG and not self.handover.yields_port:
            self.voice.set_lease(Lease.SHORT, "nobody is reached on any LAN", out)
            self.routers.refresh(now, out)
