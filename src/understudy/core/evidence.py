"""What a group knows about who holds it, and since when: all that the decision (core.decision) looks at.

Three things count only after they have lasted: that the peer reaches more (`settles_at`), that both nodes are Active
(`rival_at`), and that the Active said it stood down (`vacant_at`).
"""

from collections.abc import Sequence

from understudy.core.holddown import GAIN_HOLD_MAX
from understudy.core.lease import long_after
from understudy.core.peer import PeerView
from understudy.core.reach import LanReach
from understudy.core.routers import Routers, elapsed
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.situation import Patience, PeerIs, Reaches, View
from understudy.core.timers import LONG_AGO, NEVER
from understudy.units import Duration, Instant, Priority
from understudy.wire.heartbeat import Body, GroupState, Lease, Phase, Reach, Role, Sync

_NOBODY = (Reach.DOWN, Reach.SILENT)


class Evidence:
    """`lans` are the group's, each once."""

    def __init__(
        self,
        settings: GroupSettings,
        node: NodeSettings,
        lans: Sequence[LanReach],
        routers: Routers,
        peer: PeerView,
    ) -> None:
        self._settings = settings
        self._node_number = node.number
        self._fence = node.fence
        self._lans = lans
        self._routers = routers
        self._peer = peer
        self._lan_numbers = [node.networks.index(lan.network) for lan in lans]
        mine = settings.routers[0].priority if settings.routers else Priority(0)
        self._ranks_first = all(mine > other for other in settings.peer_priority.values())
        self.settles_at: int = NEVER
        """The peer has begun to reach more: when that will have lasted long enough to move the group for it."""
        self._settled = False
        self._reach_before = 0
        self._fell_at: int = LONG_AGO
        """When we reached less than before."""
        self.rival_at: int = NEVER
        """Both nodes are Active: when the peer's lower priority should long have made it stand down."""
        self.vacant_at: int = NEVER
        """The Active said over the channel that it stood down: our skew later, as after a farewell, nobody is left."""
        self._vacant = False
        self._peer_held = False

    # --- the whole of it

    def weigh(self, now: Instant, role: Role, phase: Phase, hold: Duration) -> None:
        """Notice what begins or ends now; before `view` when a decision hangs on it. `hold` is the hold-down's."""
        rival_at = min(self.rival_at, now + 4 * self._settings.advertise)
        self.rival_at = rival_at if self.has_rival(role, phase) else NEVER
        self._compare_reach(now, role, hold)

    def view(
        self,
        now: Instant,
        role: Role,
        phase: Phase,
        *,
        eligible: bool,
        yielded: bool,
        patience: Patience,
        doubt: bool,
        holds_state: bool,
        urgent: bool,
    ) -> View:
        """The situation as the decision sees it. `yielded`: the operator moved the group away from here; `doubt`:
        besides what is known here, something speaks against believing in silence; `holds_state`: of the flows, which
        the gate asks for.
        """
        return View(
            role=role,
            eligible=eligible,
            port_up=self.port_up,
            silent=self.nobody_heard(),
            peer=self._peer_is(now, role, phase, holds_state),
            reaches=self._compared(role),
            settled=self._settled,
            ranks_first=self._ranks_first,
            preempts=self._settings.preempt and not yielded and self._ranks_first,
            patience=patience,
            doubt=doubt or self.peer_may_answer(now),
            urgent=urgent,
        )

    def level(self, role: Role) -> bool:
        """A Backup that reaches as much as the Active, which says that it is."""
        theirs = self.theirs
        active = self._peer.fresh and theirs is not None and theirs.role is Role.ACTIVE
        return active and role is Role.BACKUP and self._compared(role) is not Reaches.LESS

    @property
    def port_up(self) -> bool:
        """A port of the group has carrier; beside a plain peer, which nobody can ask what it reaches, every port."""
        up = [lan.carrier for lan in self._lans]
        return all(up) if self._settings.plain else any(up)

    @property
    def cut_off(self) -> bool:
        """Nobody is reached on any LAN of the group, and there was somebody to ask on one with carrier."""
        for lan in self._lans:  # all() costs twice as much, and this is asked for at every beat
            if lan.reach not in _NOBODY:
                return False
        return self.port_up

    def moved(self) -> None:
        """This node has changed its role: who holds the group is found out anew."""
        self.rival_at = NEVER
        self.somebody_holds()

    # --- the peer

    @property
    def theirs(self) -> GroupState | None:
        """What the peer last said of the group."""
        return self._peer.group(self._settings.number)

    def has_rival(self, role: Role, phase: Phase) -> bool:
        """Both nodes hold the group and no hand-over explains it."""
        if role is not Role.ACTIVE or phase is not Phase.NONE or not self._peer.fresh:
            return False
        theirs = self.theirs
        return theirs is not None and theirs.role is Role.ACTIVE and theirs.phase is Phase.NONE

    def peer_may_answer(self, now: Instant) -> bool:
        """Whether the peer's kernel may still answer under a lease, as far as we know.

        It may have believed itself alone, and then have a long lease, once it missed us for `long_after`. Then we
        missed it for as long, unless only our words were lost: in that case it told us of its lease.
        """
        if not self._settings.peers or not self._fence or self._settings.plain:
            return False
        if now - self._peer.heard_at > long_after(self._settings.advertise) // 2 or now < self._peer.doubted_until:
            return True
        theirs = self.theirs
        return theirs is not None and now < self._peer.heard_at + theirs.lease_ns

    def _peer_is(self, now: Instant, role: Role, phase: Phase, holds_state: bool) -> PeerIs:
        theirs = self.theirs
        if not self._peer.fresh or theirs is None:
            return PeerIs.GONE
        if theirs.role is Role.ACTIVE:
            if not self.has_rival(role, phase):
                return PeerIs.ACTIVE
            return PeerIs.DEAF_RIVAL if self.rival_at <= now else PeerIs.RIVAL
        # A peer that has just fallen silent everywhere is dead, not better connected.
        speaks = now - self._peer.heard_at < self._settings.advertise * 3 // 2
        cannot_hear = role is Role.ACTIVE and self._peer.deaf
        if not speaks or cannot_hear or not self._peer.ready or theirs.role is Role.INITIALIZE:
            return PeerIs.RESTING
        if holds_state and theirs.sync is Sync.INCOMPLETE:
            return PeerIs.UNSYNCED
        asks = theirs.phase is Phase.REQUESTING and theirs.target == self._node_number
        return PeerIs.ASKING if asks else PeerIs.READY

    # --- silence

    def nobody_heard(self) -> bool:
        """Silence on the LANs, or the Active's own word that it stood down."""
        return self._vacant or self._routers.all_silent()

    def somebody_holds(self) -> None:
        self.vacant_at, self._vacant = NEVER, False

    def hear_peer(self, now: Instant, theirs: GroupState, role: Role) -> None:
        """The peer holds the group, or no longer does, by its own word."""
        if theirs.role is Role.ACTIVE or theirs.lease is not Lease.NONE:
            self.somebody_holds()
            self._peer_held = True
        elif theirs.role is Role.BACKUP and self._peer_held:
            self._peer_held = False
            if role is Role.BACKUP:
                self.vacant_at = now + self._routers.skew_time_max

    def tick_vacancy(self, now: Instant) -> None:
        if self.vacant_at <= now:
            self.vacant_at, self._vacant = NEVER, True

    def what_is_silent(self, now: Instant) -> str:
        """The evidence for a failover, with its figures: `silent: outside/4 for 302 ms, ...`."""
        if self._vacant:
            return f"{self._peer.name} stood down and says so over the channel"
        channel = elapsed(now, self._peer.heard_at if self._peer.ever else None)
        return f"silent: {self._routers.silences(now)}; channel {channel}"

    # --- reach

    def tick_reach(self, now: Instant) -> bool:
        """True if the peer has reached more for long enough."""
        if self.settles_at > now:
            return False
        self.settles_at, self._settled = NEVER, True
        return True

    def _compare_reach(self, now: Instant, role: Role, hold: Duration) -> None:
        """Notice when the peer begins to reach more: the loss of a port counts at once, another loss of ours as soon as
        the peer, which may have lost the same, has had time to ask and to say so, its gain after two intervals.

        In a hold-down its gain counts only after that, unless we have just lost something, or lack carrier: without
        either, we serve now as well as we did before. But at most `GAIN_HOLD_MAX` later: what both had lost, and the
        peer has found again, is a network that nobody serves meanwhile.

        Only a peer that is heard reaches anything: what it said before it fell silent is no measure for us.
        """
        reach = self._reach(role)
        if reach < self._reach_before:
            self._fell_at = now
        if self._compared(role) is not Reaches.LESS:
            self.settles_at, self._settled = NEVER, False
        elif reach < self._reach_before and not all(lan.carrier for lan in self._lans):
            self.settles_at, self._settled = NEVER, True
        elif not self._settled and now - self._fell_at < self._settings.advertise:
            self.settles_at = min(self.settles_at, now + self._settings.advertise // 4)
        elif not self._settled and self.settles_at == NEVER:
            lacks = now - self._fell_at < 4 * self._settings.advertise or not all(lan.carrier for lan in self._lans)
            self.settles_at = now + max(2 * self._settings.advertise, 0 if lacks else min(hold, GAIN_HOLD_MAX))
        self._reach_before = reach

    def _compared(self, role: Role) -> Reaches:
        body = self._peer.body
        if body is None or not self._peer.fresh:
            return Reaches.MORE
        return Reaches.compared(self._reach(role), self._reach_of(body))

    def _reach(self, role: Role) -> int:
        """Ours. Nobody to ask is no evidence against a node that serves: a peer that only returns takes nothing."""
        doubt = Reach.REACHED if role is Role.ACTIVE else Reach.UNKNOWN
        return sum(doubt if lan.reach is Reach.UNKNOWN else lan.reach for lan in self._lans)

    def _reach_of(self, body: Body) -> int:
        known = {lan.network: lan.reach for lan in body.lans}
        return sum(known.get(number, Reach.DOWN) for number in self._lan_numbers)
