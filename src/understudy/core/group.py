"""A redundancy group on one node: all its addresses, on all its LANs and families, move together.

The virtual routers below it speak RFC 9568 on their LANs, but do not change their state alone: the group decides
(core.decision) from what all of them hear, from what the peer says over the channel, and from what this node reaches.

Two lists of steps lead to Active. A failover says so first and answers then, as nobody else answers any more:

    fence (does anybody still answer?) -> gate (is the state here?) -> advertise -> addresses -> announce

A hand-over makes before it breaks: the addresses come up while the kernel lease still keeps them silent, then one
advertisement opens the lease, moves the switch's port and is followed by the announcements; only then the old Active
stops.

    gate -> addresses -> advertise -> announce

Guarantees, checked by the simulator after every event:
 1. A node whose own advertisement is older than its lease becomes Backup before it does anything else (resume guard).
 2. Nothing is sent from the virtual MAC by the old Active once the successor has been heard in a hand-over; it goes on
    forwarding what the switches still bring, for a moment, so that no order of frames loses one.
 3. A kernel call that fails gives up the role rather than pretending.
"""

from dataclasses import dataclass, field

from understudy.core.decision import Action, PeerIs, View, decide
from understudy.core.effects import (
    Announce,
    AskAddresses,
    Dropped,
    Effect,
    LeaseChanged,
    Moved,
    Noted,
    Quieten,
    RevokeLease,
    SendVrrp,
    SetRole,
    Step,
)
from understudy.core.events import AddressAnswered, RoleSet
from understudy.core.lease import lease_length, long_after
from understudy.core.reach import LanReach
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.vrrp import (
    ActiveDownExpired,
    AdvertisementReceived,
    Discarded,
    Mismatched,
    Outranked,
    Refresh,
    SendAdvertisement,
    Shutdown,
    StandDown,
    Startup,
    TakeOver,
    Tick,
    VirtualRouter,
)
from understudy.core.vrrp import Effect as RouterEffect
from understudy.units import MILLISECOND, SECOND, Address, Duration, Instant, NetworkName, Priority
from understudy.wire.heartbeat import Body, GroupState, Lease, Phase, Reach, Role
from understudy.wire.vrrp import Advertisement, advertisement_frame, virtual_mac

FAILOVER_STEPS = ("fence", "gate", "advertise", "addresses", "announce")
HANDOVER_STEPS = ("gate", "addresses", "advertise", "announce")

ROLE_DEADLINE: Duration = SECOND
"""The kernel has so long to take a role's links and addresses."""
OFFER_DEADLINE: Duration = 500 * MILLISECOND
OFFER_BACKOFF: Duration = SECOND
OVERLAP_MAX: Duration = SECOND
STOP_MAX: Duration = 2 * SECOND
"""A kernel that does not confirm that the addresses are down holds up the agent's end no longer: the lease is gone."""
HOLD_DOWN: Duration = 10 * SECOND
"""After a failed promotion this node leaves the group to the peer for so long."""
PREEMPT_DELAY: Duration = SECOND
FENCE_QUESTIONS = 3
LINGER: Duration = 20 * MILLISECOND
"""After a hand-over the old Active, quiet by then, forwards what switches still bring for so long."""
RECLAIM_AFTER: tuple[Duration, ...] = (5 * MILLISECOND, 12 * MILLISECOND)
"""Announcements of the successor within that time, in case a last answer of the old Active moved a switch's port back.
"""
ANNOUNCE_AFTER: tuple[Duration, ...] = (50 * MILLISECOND, 500 * MILLISECOND, 2 * SECOND, 5 * SECOND)
"""Repeats of the announcements after the first, which a busy neighbour or switch may have missed."""
_FAR = Instant(1 << 62)


@dataclass(slots=True)
class PeerView:
    """What the channel says of the other node; kept by the node, read by its groups."""

    number: int = 0
    name: str = ""
    heard_at: int = -(1 << 62)
    """When any path last brought a heartbeat."""
    ever: bool = False
    fresh: bool = False
    epoch: int = 0
    sequence: int = -1
    body: Body | None = None
    doubted_until: int = 0
    """We slept: what the queue held was old news, and the peer may have believed itself alone meanwhile."""
    path_heard_at: dict[NetworkName, int] = field(default_factory=dict)


@dataclass(slots=True)
class Standing:
    """What the node and its groups share: whether this node may serve at all, and whether there is news to tell."""

    maintenance: bool = False
    stopping: bool = False
    news: bool = True
    """Something that the heartbeat carries has changed: what the node says, or one of its groups."""


@dataclass(slots=True)
class _Promotion:
    steps: tuple[str, ...]
    token: int
    reason: str
    cause: str
    index: int = 0
    waiting_until: int = 0
    answered_by: str = ""
    waited: bool = False
    """Somebody answered; told once."""
    questions: int = 0
    """How often the LANs were asked in the present round of the fence."""


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
        self.phase = Phase.NONE
        self.since: int = 0
        self.reason = ""
        self.cause = ""
        self.transitions = 0
        self.lease = Lease.NONE
        self.cause_of_offer = ""
        self.considering = "not started"
        """The sentence of the decision in force."""
        self.routers = [VirtualRouter(router, autonomous=False) for router in settings.routers]
        self.local: list[Address | None] = [None] * len(self.routers)
        self._node = node
        self._peer = peer
        self._standing = standing
        self._lans = [lans[name] for name in dict.fromkeys(router.network for router in settings.routers)]
        self._lan_of = [lans[router.network] for router in settings.routers]
        mine = settings.routers[0].priority if settings.routers else Priority(0)
        self._ranks_first = all(mine > other for other in settings.peer_priority.values())
        self._numbers = [node.networks.index(lan.network) for lan in self._lans]
        self._messages: dict[tuple[int, int, Lease], SendVrrp] = {}
        self._promotion: _Promotion | None = None
        self._token = 0
        self._target = 0
        self._role_token = 0
        self._role_set = False
        """The kernel holds the addresses up."""
        self._farewell_due = False
        self._farewell_by: int = 0
        self.lapses_at: int = _FAR
        """When our lease ends unless an advertisement leaves before."""
        self._last_sent: int | None = None
        self._offered: int | None = None
        """Token of our latest offer since we became Active."""
        self._successor_heard = False
        self._vacant_from: int = 0
        """The Active said over the channel that it stood down: our skew later, as after a farewell, nobody is left."""
        self._vacant = False
        self._rival_since: int = 0
        """Both nodes are Active, and the peer's lower priority should have made it stand down."""
        self._settles_at: int = 0
        """The peer has begun to reach more: when that will have lasted long enough to move the group for it."""
        self._settled = False
        self._reach_before = 0
        self._rival_bears = 4 * settings.advertise
        self._peer_held = False
        self._stop_until: int = 0
        self._release_at: int = 0
        """After a hand-over: when the kernel gives the addresses up."""
        self._hold_until: int = 0
        self._offer_until: int = 0
        self._offer_after: int = 0
        self._overlap_until: int = 0
        self._yielded = False
        self._backup_since: int = 0
        self._preempt_due: int = 0
        self._announce_due: list[int] = []
        self._announce_round = 0

    # --- what the node reads

    @property
    def lease_ns(self) -> Duration:
        return self._length(self.lease)

    def state(self) -> GroupState:
        """For the heartbeat."""
        return GroupState(
            self.settings.number,
            self.role,
            self.phase,
            self._target,
            self.lease,
            self._token,
            self.lease_ns,
            self.transitions,
        )

    @property
    def idle(self) -> bool:
        """Nothing of the group is served or in motion here: the core may end."""
        return self.role is not Role.ACTIVE and not self._role_set and not self._farewell_due

    def next_deadline(self) -> Instant:
        due = int(_FAR)
        for router in self.routers:
            deadline = router.next_deadline()
            if deadline is not None and deadline < due:
                due = deadline
        if self._promotion is not None and self._promotion.waiting_until:
            due = min(due, self._promotion.waiting_until)
        if self.phase is Phase.OFFERING:
            due = min(due, self._offer_until)
        elif self.phase in (Phase.TAKEN, Phase.REQUESTING):
            due = min(due, self._overlap_until)
        elif self.phase is Phase.NONE and self._promotion is None and self.role is Role.ACTIVE:
            if self.lease is Lease.SHORT and not self._peer.fresh:
                due = min(due, max(self._peer.heard_at, self.since) + long_after(self.settings.advertise))
            if self._offer_after:
                due = min(due, self._offer_after)
            if self._rival_since:
                due = min(due, self._rival_since + self._rival_bears)
        if self._settles_at:
            due = min(due, self._settles_at)
        if self._announce_due:
            due = min(due, self._announce_due[0])
        if self._farewell_due:
            due = min(due, self._farewell_by)
        if self._hold_until:
            due = min(due, self._hold_until)
        if self._release_at:
            due = min(due, self._release_at)
        if self._stop_until:
            due = min(due, self._stop_until)
        if self.role is Role.BACKUP:
            if self._preempt_due:
                due = min(due, self._preempt_due)
            if self._vacant_from and self._promotion is None:
                due = min(due, self._vacant_from)
        return Instant(due)

    # --- what happens to it

    def start(self, now: Instant, out: list[Effect], held: bool) -> None:
        """Begin as Backup, or go on as Active when this kernel still answers by our predecessor's lease."""
        self._be_backup_from(now)
        if held:
            self._set_lease(Lease.SHORT, "adopted", out)
            self._role_set = True
            self._move(now, Role.ACTIVE, "adopted", "the kernel still answers under our lease", out)
            for index, router in enumerate(self.routers):
                self._absorb(now, index, router.adopt(now, "adopted"), out)
            self._set_role(True, out)
            return
        self._move(now, Role.BACKUP, "started", "the agent began", out)
        out.append(RevokeLease(self.settings.name))
        self._set_role(False, out)
        for index, router in enumerate(self.routers):
            self._absorb(now, index, router.handle(now, Startup()), out)

    def guard(self, now: Instant, out: list[Effect]) -> None:
        """Resume guard: if the lease must have expired, become Backup first, then think."""
        if now > self.lapses_at and self._last_sent is not None:
            cause = f"last advertisement {(now - self._last_sent) / MILLISECOND:.0f} ms ago, the lease has expired"
            self._stand_down(now, "resume guard", cause, out, lapsed=True)

    def heard(self, now: Instant, index: int, source: Address, advertisement: Advertisement, out: list[Effect]) -> None:
        """An advertisement of one of the group's routers arrived."""
        router = self.routers[index]
        local = self.local[index] or self.settings.routers[index].addresses[0]
        if advertisement.priority and source != local:
            self._somebody_holds()
            if self.phase is Phase.OFFERING and not self._successor_heard:
                self._successor_heard = True
                out.append(Quieten(self.settings.name, True))
        effects = router.handle(now, AdvertisementReceived(source, advertisement, local))
        if effects:
            self._absorb(now, index, effects, out)

    def tick(self, now: Instant, out: list[Effect]) -> None:
        """Time has passed."""
        reconsider = False
        for index, router in enumerate(self.routers):
            deadline = router.next_deadline()
            if deadline is not None and deadline <= now:
                reconsider |= self._absorb(now, index, router.handle(now, Tick()), out)
        if self._promotion is not None and 0 < self._promotion.waiting_until <= now:
            self._step_overdue(now, out)
        if self.phase is Phase.OFFERING and now >= self._offer_until:
            self._offer_failed(now, out)
        elif self.phase in (Phase.TAKEN, Phase.REQUESTING) and now >= self._overlap_until:
            self._set_phase(Phase.NONE)
            reconsider = True
        while self._announce_due and self._announce_due[0] <= now:
            self._announce_due.pop(0)
            self._announce_round += 1
            if not self._yields_port:
                out.append(Announce(self.settings.name, self._announce_round))
        if self._farewell_due and now >= self._farewell_by:
            self._say_farewell(now, out)
        if 0 < self._release_at <= now:
            self._release(out)
        if 0 < self._hold_until <= now:
            self._hold_until = 0
            reconsider = True
        if 0 < self._settles_at <= now:
            self._settles_at, self._settled = 0, True
            reconsider = True
        if 0 < self._stop_until <= now:
            self._stop_until = 0
            self._role_set = self._farewell_due = False
        if self.role is Role.ACTIVE:
            self._choose_lease(now, out)
            if 0 < self._offer_after <= now:
                self._offer_after = 0
                reconsider = True
            if 0 < self._rival_since <= now - self._rival_bears:
                reconsider = True
        elif self.role is Role.BACKUP:
            if 0 < self._preempt_due <= now:
                self._preempt_due = now + PREEMPT_DELAY
                reconsider = True
            if 0 < self._vacant_from <= now:
                self._vacant_from, self._vacant = 0, True
            reconsider |= self._promotion is None and self._nobody_heard()
        if reconsider:
            self.reconsider(now, out)

    def peer_changed(self, now: Instant, out: list[Effect]) -> None:
        """A heartbeat said something new, or the peer fell silent or came back."""
        theirs = self._theirs()
        if theirs is not None and self._peer.fresh:
            if theirs.phase is Phase.OFFERING and theirs.target == self._node.number:
                self._consider_offer(now, theirs, out)
            elif self.role is Role.ACTIVE and theirs.phase is Phase.TAKEN and theirs.token == self._offered:
                # Also when we had given up waiting: the successor answers already, and two must not.
                self._stand_down(now, f"handed over to {self._peer.name}", self.cause_of_offer, out, lingers=True)
            elif self.phase is Phase.TAKEN and theirs.role is not Role.ACTIVE:
                self._set_phase(Phase.NONE)
                out.append(Step(self.settings.name, "handover", "done", f"{self._peer.name} stopped answering"))
                if self.role is Role.ACTIVE:
                    out.append(Announce(self.settings.name, 0))
                    self._announce_due = sorted([*self._announce_due, *(now + after for after in RECLAIM_AFTER)])
            elif self.phase is Phase.TAKEN and theirs.phase is Phase.NONE:
                # It gave up waiting although we answer: it does not hear us, and only we can step back.
                cause = f"{self._peer.name} withdrew its offer and goes on"
                out.append(Step(self.settings.name, "handover", "failed", cause))
                self._stand_down(now, "offer withdrawn", cause, out)
            if theirs.role is Role.ACTIVE or theirs.lease is not Lease.NONE:
                self._somebody_holds()
                self._peer_held = True
            elif theirs.role is Role.BACKUP and self._peer_held:
                self._peer_held = False
                if self.role is Role.BACKUP:
                    self._vacant_from = now + max(router.skew_time for router in self.routers)
        self.reconsider(now, out)
        if self.role is Role.ACTIVE:
            self._choose_lease(now, out)

    def carrier_changed(self, now: Instant, index: int, up: bool, out: list[Effect]) -> None:
        """A port of the group lost or found its carrier; on one that is back a Backup listens for its whole time."""
        router = self.routers[index]
        if self.role is Role.BACKUP:
            self._absorb(now, index, router.handle(now, Shutdown()), out)
            if up:
                self._absorb(now, index, router.handle(now, Startup()), out)
        elif self.role is Role.ACTIVE and up:
            self._absorb(now, index, router.handle(now, Startup()), out)
            self._absorb(now, index, router.handle(now, TakeOver("port back")), out)
            self._absorb(now, index, router.handle(now, Refresh()), out)
            if not self._yields_port:
                out.append(Announce(self.settings.name, len(ANNOUNCE_AFTER)))

    def role_set(self, now: Instant, event: RoleSet, out: list[Effect]) -> None:
        """The kernel took a role, or failed to."""
        if event.token != self._role_token:
            return
        promotion = self._promotion
        if event.error:
            out.append(Noted("kernel-refused", self.settings.name, event.error))
            if event.active:
                self._promotion_failed(now, event.error, out)
                return
            # The lease is revoked: what the kernel could not take down answers for nothing.
        self._role_set = event.active
        if not event.active:
            if self.role is not Role.ACTIVE:
                self._set_lease(Lease.NONE, "addresses are down", out)
            if self._farewell_due:
                self._say_farewell(now, out)
            return
        if promotion is not None and promotion.steps[promotion.index] == "addresses":
            out.append(Step(self.settings.name, "addresses", "done"))
            promotion.index += 1
            promotion.waiting_until = 0
            self._advance(now, out)

    def answered(self, now: Instant, event: AddressAnswered, out: list[Effect]) -> None:
        """Somebody else still answers for one of the addresses."""
        promotion = self._promotion
        if promotion is not None and promotion.steps[promotion.index] == "fence":
            promotion.answered_by = str(event.address)

    def switchover(self, now: Instant, out: list[Effect]) -> str:
        """The operator wants the peer to serve. Returns why not, or nothing."""
        if self.role is not Role.ACTIVE:
            return f"{self._node.name} is not Active for {self.settings.name}: ask the Active node"
        if self.phase is not Phase.NONE or self._promotion is not None:
            return "a promotion or hand-over is under way"
        theirs = self._theirs()
        body = self._peer.body
        if not self._peer.fresh or theirs is None or body is None:
            return "no standby is heard over the channel"
        if not body.eligible or body.stopping:
            return f"{self._peer.name} is in maintenance or stopping"
        if theirs.role is not Role.BACKUP:
            return f"{self._peer.name} is {theirs.role.name.lower()}, not a standby"
        self._yielded = True
        self._offer(now, "the operator asked for a switchover", out)
        return ""

    def stop(self, now: Instant, out: list[Effect]) -> None:
        """The agent ends: hand over if anybody can take it, say goodbye otherwise."""
        self._stop_until = now + STOP_MAX
        self.reconsider(now, out)
        if self.role is Role.ACTIVE and self.phase is not Phase.OFFERING:
            self._stand_down(now, "stopped", "the agent was asked to end", out, farewell=True)

    def reconsider(self, now: Instant, out: list[Effect]) -> None:
        """Look the situation up in the decision's table and do what it says."""
        if self.role is Role.INITIALIZE:
            return
        self._rival_since = (self._rival_since or now) if self._has_rival() else 0
        self._compare_reach(now)
        view = self.view(now)
        row = decide(view)
        promotion = self._promotion
        if promotion is not None:
            if row.action is Action.STAND_DOWN:
                self._stand_down(now, row.reason, row.sentence, out)
            elif self.role is Role.BACKUP:
                able = view.eligible and view.port_up
                if not able or (not promotion.token and row.action is not Action.TAKE_OVER):
                    self._cancel_promotion(out, row.sentence)
            return
        self.considering = row.sentence
        match row.action:
            case Action.STAY:
                pass
            case Action.TAKE_OVER:
                self._take_over(now, row.reason, self._what_is_silent(now), 0, out)
            case Action.OFFER:
                if self.phase is Phase.NONE and now >= self._offer_after:
                    self._offer(now, row.sentence, out)
                elif self.phase is Phase.NONE and not view.port_up:
                    self._stand_down(now, "no carrier", row.sentence, out)
            case Action.STAND_DOWN:
                self._stand_down(now, row.reason, row.sentence, out)
            case Action.REQUEST:
                if self.phase is Phase.NONE and now >= self._backup_since + PREEMPT_DELAY:
                    self._set_phase(Phase.REQUESTING, target=self._peer.number)
                    self._overlap_until = now + OFFER_DEADLINE
                    out.append(Step(self.settings.name, "handover", "requested", row.sentence))

    def view(self, now: Instant) -> View:
        """The situation as the decision sees it."""
        theirs = self._theirs()
        body = self._peer.body
        if not self._peer.fresh or theirs is None or body is None:
            peer, peer_eligible, peer_reach, peer_requests = PeerIs.GONE, False, 0, False
        else:
            peer = PeerIs.ACTIVE if theirs.role is Role.ACTIVE else PeerIs.STANDING_BY
            # A peer that has just fallen silent everywhere is dead, not better connected.
            speaks = now - self._peer.heard_at < self.settings.advertise * 3 // 2
            peer_eligible = speaks and body.eligible and not body.stopping and theirs.role is not Role.INITIALIZE
            peer_reach = self._reach_of(body)
            peer_requests = theirs.phase is Phase.REQUESTING and theirs.target == self._node.number
        return View(
            role=self.role,
            eligible=not self._standing.maintenance and not self._standing.stopping and now >= self._hold_until,
            port_up=any(lan.carrier for lan in self._lans),
            silent=self._nobody_heard(),
            peer=peer,
            peer_eligible=peer_eligible,
            reach=sum(lan.reach for lan in self._lans),
            peer_reach=peer_reach,
            settled=self._settled,
            preempts=self.settings.preempt and not self._yielded and self._ranks_first,
            peer_requests=peer_requests,
            rival=self._has_rival(),
            ranks_first=self._ranks_first,
            rival_is_deaf=0 < self._rival_since <= now - self._rival_bears,
        )

    def _reach_of(self, body: Body) -> int:
        known = {lan.network: lan.reach for lan in body.lans}
        return sum(known.get(number, Reach.DOWN) for number in self._numbers)

    def _compare_reach(self, now: Instant) -> None:
        """Notice when the peer begins to reach more: our loss counts at once, its gain after two intervals."""
        reach = sum(lan.reach for lan in self._lans)
        body = self._peer.body
        if body is None or self._reach_of(body) <= reach:
            self._settles_at, self._settled = 0, False
        elif reach < self._reach_before:
            self._settles_at, self._settled = 0, True
        elif not self._settled and not self._settles_at:
            self._settles_at = now + 2 * self.settings.advertise
        self._reach_before = reach

    def _what_is_silent(self, now: Instant) -> str:
        """The evidence for a failover, with its figures: `silent: outside/4 for 302 ms, ...`."""
        if self._vacant:
            return f"{self._peer.name} stood down and says so over the channel"

        def since(heard_at: int | None) -> str:
            return "since the start" if heard_at is None else f"for {(now - heard_at) / MILLISECOND:.0f} ms"

        parts = [
            f"{router.settings.network}/{router.settings.family} {since(router.last_heard)}"
            for router, lan in zip(self.routers, self._lan_of, strict=True)
            if lan.carrier
        ]
        channel = since(self._peer.heard_at if self._peer.ever else None)
        return f"silent: {', '.join(parts)}; channel {channel}"

    # --- becoming Active

    def _take_over(self, now: Instant, reason: str, cause: str, token: int, out: list[Effect]) -> None:
        steps = HANDOVER_STEPS if token else FAILOVER_STEPS
        if self._release_at:
            self._release(out)  # what lingers of the last time must not answer before we advertise again
        self._promotion = _Promotion(steps, token, reason, cause)
        out.append(Step(self.settings.name, "promotion", "started", cause))
        self._advance(now, out)

    def _advance(self, now: Instant, out: list[Effect]) -> None:
        """Carry on with the promotion until a step has to wait."""
        promotion = self._promotion
        while promotion is not None and promotion.index < len(promotion.steps):
            step = promotion.steps[promotion.index]
            if not self._begin_step(now, step, promotion, out):
                return
            promotion.index += 1
            promotion.waiting_until = 0
        if promotion is None:
            return
        self._promotion = None
        if promotion.token:
            self._set_phase(Phase.TAKEN, token=promotion.token)
            self._overlap_until = now + OVERLAP_MAX
        self.reconsider(now, out)  # what changed meanwhile had to wait

    def _begin_step(self, now: Instant, step: str, promotion: _Promotion, out: list[Effect]) -> bool:
        """True if the step is done at once."""
        name = self.settings.name
        match step:
            case "fence":
                if not self._peer_may_answer(now):
                    out.append(Step(name, "fence", "done", "nobody else's kernel can still answer"))
                    return True
                out.append(Step(name, "fence", "started", "a lease of another node may still be alive: ask"))
                promotion.questions = 0
                self._ask(now, promotion, out)
                return False
            case "gate":
                out.append(Step(name, "gate", "done", "stateless: there is no state to wait for"))
                return True
            case "advertise":
                if promotion.token and not self._offer_stands(now, promotion.token):
                    self._cancel_promotion(out, "the offer was withdrawn")
                    return False
                self._set_lease(Lease.SHORT, "Active", out)
                self._yielded = False
                self._move(now, Role.ACTIVE, promotion.reason, promotion.cause, out)
                for index, router in enumerate(self.routers):
                    if self._lan_of[index].carrier:
                        self._absorb(now, index, router.handle(now, TakeOver(promotion.reason)), out)
                out.append(Step(name, "advertise", "done"))
                return True
            case "addresses":
                out.append(Step(name, "addresses", "started"))
                self._set_role(True, out)
                promotion.waiting_until = now + ROLE_DEADLINE
                return False
            case _:
                self._announce_round = 0
                self._announce_due = [now + after for after in ANNOUNCE_AFTER]
                out.append(Announce(name, 0))
                out.append(Step(name, "announce", "done"))
                return True

    def _step_overdue(self, now: Instant, out: list[Effect]) -> None:
        promotion = self._promotion
        assert promotion is not None
        if promotion.steps[promotion.index] == "fence":
            row = decide(self.view(now))
            if row.action is not Action.TAKE_OVER:
                self._cancel_promotion(out, row.sentence)
                return
            if promotion.answered_by:
                if not promotion.waited:
                    detail = f"{promotion.answered_by} still answers: its lease is alive"
                    out.append(Step(self.settings.name, "fence", "waiting", detail))
                promotion.waited = True
                promotion.answered_by = ""
                promotion.questions = 0
                promotion.waiting_until = now + max(self._ask_window(), self.settings.advertise)
                return
            if promotion.questions < FENCE_QUESTIONS:
                self._ask(now, promotion, out)
                return
            out.append(Step(self.settings.name, "fence", "done", "nobody answers for the addresses"))
            promotion.index += 1
            promotion.waiting_until = 0
            self._advance(now, out)
            return
        self._promotion_failed(now, "the kernel did not answer in time", out)

    def _ask(self, now: Instant, promotion: _Promotion, out: list[Effect]) -> None:
        """One question of the fence, and time for its answer. Several, since a question or an answer may be lost."""
        promotion.answered_by = ""
        promotion.questions += 1
        promotion.waiting_until = now + self._ask_window() // FENCE_QUESTIONS
        out.append(AskAddresses(self.settings.name))

    def _peer_may_answer(self, now: Instant) -> bool:
        """Whether the peer's kernel may still answer under a lease, as far as we know.

        It may have believed itself alone, and then have a long lease, once it missed us for `long_after`. Then we
        missed it for as long, unless only our words were lost: in that case it told us of its lease.
        """
        if not self.settings.peers:
            return False
        if now - self._peer.heard_at > long_after(self.settings.advertise) // 2 or now < self._peer.doubted_until:
            return True
        theirs = self._theirs()
        return theirs is not None and now < self._peer.heard_at + theirs.lease_ns

    def _offer_stands(self, now: Instant, token: int) -> bool:
        """Whether the Active still waits for us, or died while it did."""
        theirs = self._theirs()
        if theirs is None or now - self._peer.heard_at > OFFER_DEADLINE:
            return False
        return theirs.phase is Phase.OFFERING and theirs.token == token and theirs.target == self._node.number

    def _promotion_failed(self, now: Instant, error: str, out: list[Effect]) -> None:
        """Give the role up rather than pretend."""
        self._hold_until = now + HOLD_DOWN
        out.append(Step(self.settings.name, "promotion", "failed", error))
        if self.role is Role.ACTIVE:
            self._stand_down(now, "promotion failed", error, out, farewell=True)
        else:
            self._cancel_promotion(out, error)

    def _cancel_promotion(self, out: list[Effect], why: str) -> None:
        self._promotion = None
        self._set_phase(Phase.NONE)
        out.append(Step(self.settings.name, "promotion", "cancelled", why))
        if self._role_set:
            self._release(out)

    # --- hand-over

    def _offer(self, now: Instant, cause: str, out: list[Effect]) -> None:
        self._token = (self._token + 1) & 0xFFFF | self._node.number << 16
        self._offered = self._token
        self.cause_of_offer = cause
        self._successor_heard = False
        self._offer_until = now + OFFER_DEADLINE
        self._set_phase(Phase.OFFERING, target=self._peer.number, token=self._token)
        out.append(Step(self.settings.name, "handover", "offered", cause))

    def _offer_failed(self, now: Instant, out: list[Effect]) -> None:
        self._set_phase(Phase.NONE)
        if self._successor_heard:
            self._successor_heard = False
            out.append(Quieten(self.settings.name, False))
        self._offer_after = now + OFFER_BACKOFF
        out.append(Step(self.settings.name, "handover", "failed", f"{self._peer.name} did not take it in time"))
        if self._standing.stopping:
            self._stand_down(now, "stopped", "the agent was asked to end", out, farewell=True)
        else:
            self._choose_lease(now, out)

    def _consider_offer(self, now: Instant, theirs: GroupState, out: list[Effect]) -> None:
        busy = self._promotion is not None or self.role is not Role.BACKUP
        rests = self._standing.maintenance or self._standing.stopping or now < self._hold_until
        if busy or rests or not any(lan.carrier for lan in self._lans):
            return
        self._set_phase(Phase.TAKING, target=self._peer.number, token=theirs.token)
        self._take_over(now, f"handed over by {self._peer.name}", "the Active offered the group", theirs.token, out)

    # --- ceasing to be Active

    def _stand_down(
        self,
        now: Instant,
        reason: str,
        cause: str,
        out: list[Effect],
        *,
        farewell: bool = False,
        lapsed: bool = False,
        lingers: bool = False,
    ) -> None:
        self._promotion = None
        self._announce_due = []
        self._set_phase(Phase.NONE)
        self._offer_after = self._rival_since = 0
        if lingers:
            out.append(Quieten(self.settings.name, True))
            self._release_at = now + LINGER
        else:
            self._release(out)
        if lapsed:
            self._set_lease(Lease.NONE, "expired", out)
        # Otherwise the lease counts as alive until the kernel confirms (role_set): the peer must not be told too early.
        # A kernel that confirms nothing answers until the lease ends.
        self._farewell_due = farewell
        self._farewell_by = self.lapses_at + 2 * self._node.jiffy
        self._last_sent = self._offered = None
        self.lapses_at = _FAR
        self._be_backup_from(now)
        for index, router in enumerate(self.routers):
            if self._lan_of[index].carrier:
                self._absorb(now, index, router.handle(now, StandDown(reason)), out)
            else:
                self._absorb(now, index, router.handle(now, Shutdown()), out, silent=True)
        self._move(now, Role.BACKUP, reason, cause, out)

    def _release(self, out: list[Effect]) -> None:
        """The kernel ends answering, then gives the addresses up."""
        self._release_at = 0
        out.append(RevokeLease(self.settings.name))
        self._set_role(False, out)

    def _say_farewell(self, now: Instant, out: list[Effect]) -> None:
        """Priority 0, once this kernel no longer answers: the peer needs to wait only its skew (RFC 9568, 6.4.3)."""
        self._farewell_due = False
        for index in range(len(self.routers)):
            self._send(now, index, 0, out)
        out.append(Step(self.settings.name, "farewell", "sent"))

    # --- below

    def _absorb(
        self, now: Instant, index: int, effects: list[RouterEffect], out: list[Effect], *, silent: bool = False
    ) -> bool:
        """Translate a router's effects; True if its silence or its rank must be thought about."""
        expired = False
        for effect in effects:
            match effect:
                case SendAdvertisement(priority):
                    if not silent and not self._yields_port:
                        self._send(now, index, priority, out)
                case ActiveDownExpired():
                    expired = True
                    router = self.settings.routers[index]
                    out.append(Noted("expired", f"{self.settings.name}/{router.network}/{router.family}", ""))
                case Outranked(source, priority):
                    if self.phase in (Phase.NONE, Phase.REQUESTING) and self.role is Role.ACTIVE:
                        cause = f"{source} advertises priority {priority}"
                        self._stand_down(now, "outranked", cause, out)
                case Discarded(reason):
                    out.append(Dropped(reason))
                case Mismatched(what, source):
                    out.append(Noted("mismatch", self.settings.name, f"{source} advertises other {what} than ours"))
                case _:
                    pass  # The group announces, answers and records for all its routers.
        return expired

    def _send(self, now: Instant, index: int, priority: int, out: list[Effect]) -> None:
        if not self._lan_of[index].carrier:
            return
        lease = self.lease if priority else Lease.NONE
        message = self._messages.get((index, priority, lease)) or self._message(index, priority, lease)
        if message is None:
            router = self.settings.routers[index]
            out.append(Noted("no-source", f"{router.network}/{router.family}", "no address to send from yet"))
            return
        if priority:
            self._last_sent = now
            self.lapses_at = now + self.lease_ns
        out.append(message)

    def _message(self, index: int, priority: int, lease: Lease) -> SendVrrp | None:
        """Made once and kept, as it repeats; None while we have no address to send from."""
        router = self.settings.routers[index]
        local = self.local[index]
        if local is None:
            return None
        advertisement = Advertisement(
            router.vrid, Priority(priority), router.advertisement_interval_cs, router.addresses, router.family
        )
        frame = advertisement_frame(advertisement, local, virtual_mac(router.vrid, router.family))
        message = SendVrrp(self.settings.name, index, router.network, frame, lease)
        self._messages[index, priority, lease] = message
        return message

    def set_local(self, index: int, address: Address) -> None:
        """Our own address on a router's LAN: what advertisements are sent from and ties are decided by."""
        self.local[index] = address
        self._messages.clear()

    def _choose_lease(self, now: Instant, out: list[Effect]) -> None:
        """Short while a standby that could take over is heard, long when there is nobody to be quiet for."""
        body = self._peer.body
        if self._peer.fresh and body is not None and body.eligible and not body.stopping:
            if self.lease is Lease.LONG:
                self._set_lease(Lease.SHORT, f"{self._peer.name} stands by", out)
                self._advertise_now(now, out)
        elif self.lease is Lease.SHORT and self.phase is Phase.NONE and self._promotion is None:
            resting = self._peer.fresh
            if resting or now - max(self._peer.heard_at, self.since) >= long_after(self.settings.advertise):
                self._set_lease(Lease.LONG, "no standby could take over", out)

    def _advertise_now(self, now: Instant, out: list[Effect]) -> None:
        for index, router in enumerate(self.settings.routers):
            self._send(now, index, router.priority, out)

    def _set_lease(self, lease: Lease, reason: str, out: list[Effect]) -> None:
        if lease is not self.lease:
            self.lease = lease
            self._standing.news = True
            out.append(LeaseChanged(self.settings.name, lease, self._length(lease), reason))

    def _set_role(self, active: bool, out: list[Effect]) -> None:
        self._role_token += 1
        if active:
            self._role_set = True
            self._release_at = 0
        out.append(SetRole(self.settings.name, active, self._role_token))

    def _set_phase(self, phase: Phase, *, target: int = 0, token: int | None = None) -> None:
        if phase is not self.phase or target != self._target:
            self.phase = phase
            self._target = target
            self._standing.news = True
        if token is not None:
            self._token = token

    def _move(self, now: Instant, role: Role, reason: str, cause: str, out: list[Effect]) -> None:
        out.append(Moved(now, self.settings.name, self.role, role, reason, cause))
        if self.role is not Role.INITIALIZE:
            self.transitions += 1
        self.role = role
        self._vacant_from, self._vacant = 0, False
        self.since = now
        self.reason = reason
        self.cause = cause
        self._standing.news = True

    @property
    def _yields_port(self) -> bool:
        """The successor was heard: a frame of ours from the virtual MAC would turn the switch's port back to us."""
        return self._successor_heard and self.phase is Phase.OFFERING

    def _all_silent(self) -> bool:
        """Every router whose port is up has waited its Active_Down_Interval in vain."""
        heard = False
        for index, router in enumerate(self.routers):
            if self._lan_of[index].carrier:
                if not router.expired:
                    return False
                heard = True
        return heard

    def _nobody_heard(self) -> bool:
        """Silence on the LANs, or the Active's own word that it stood down."""
        return self._vacant or self._all_silent()

    def _somebody_holds(self) -> None:
        self._vacant_from, self._vacant = 0, False

    def _has_rival(self) -> bool:
        """Both nodes hold the group and no hand-over explains it."""
        if self.role is not Role.ACTIVE or self.phase is not Phase.NONE or not self._peer.fresh:
            return False
        theirs = self._theirs()
        return theirs is not None and theirs.role is Role.ACTIVE and theirs.phase is Phase.NONE

    def _be_backup_from(self, now: Instant) -> None:
        self._backup_since = now
        self._preempt_due = now + PREEMPT_DELAY if self.settings.preempt else 0

    def _theirs(self) -> GroupState | None:
        body = self._peer.body
        if body is not None:
            for group in body.groups:
                if group.number == self.settings.number:
                    return group
        return None

    def _length(self, lease: Lease) -> Duration:
        return lease_length(lease, self.settings.advertise, self._node.jiffy, self._node.lease_long)

    def _ask_window(self) -> Duration:
        return max(20 * MILLISECOND, min(self.settings.advertise // 2, 100 * MILLISECOND))
