"""What a group says on its LANs as Active, and the lease in the kernel that lives only as long as it speaks.

Guarantee: every advertisement that refreshes the lease leaves through here, so `lapses_at` always tells when it must
be taken for expired. A node that wakes after that moment becomes Backup first (`Group.guard`).

Which lease (core.lease): short while a standby that could take over is heard, long when there is nobody to be quiet
for.
"""

from collections.abc import Sequence

from understudy.core.effects import Effect, LeaseChanged, Noted, SendVrrp
from understudy.core.lease import lease_length, long_after
from understudy.core.peer import PeerView, Standing
from understudy.core.reach import LanReach
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.timers import NEVER
from understudy.units import Address, Duration, Instant, Priority
from understudy.wire.heartbeat import Lease
from understudy.wire.vrrp import PRIORITY_RELEASE, Advertisement, advertisement_frame, virtual_mac


class Voice:
    """`index` is the position of a router in the group; `lans` has the LAN of each."""

    def __init__(
        self, settings: GroupSettings, node: NodeSettings, lans: Sequence[LanReach], peer: PeerView, standing: Standing
    ) -> None:
        self.local: list[Address | None] = [None] * len(settings.routers)
        """Our own address on each router's LAN: what advertisements are sent from and ties are decided by."""
        self.lease = Lease.NONE
        self.lapses_at: int = NEVER
        """When our lease ends unless an advertisement leaves before."""
        self.sent_at: int = 0
        """When the lease was last refreshed; only while `lapses_at` is set."""
        self._settings = settings
        self._lengths = {lease: lease_length(lease, settings.advertise, node.jiffy, node.lease_long) for lease in Lease}
        self._lans = lans
        self._peer = peer
        self._standing = standing
        self._messages: dict[tuple[int, int, Lease], tuple[SendVrrp, ...]] = {}

    # --- advertisements

    def advertise(self, now: Instant, index: int, priority: int, out: list[Effect]) -> None:
        """One router's advertisement; one with priority 0 (farewell) does not refresh the lease."""
        if not self._lans[index].carrier:
            return
        lease = self.lease if priority else Lease.NONE
        messages = self._messages.get((index, priority, lease)) or self._compose(index, priority, lease)
        if not messages:
            router = self._settings.routers[index]
            out.append(Noted("no-source", f"{router.network}/{router.family}", "no address to send from yet"))
            return
        if priority:
            self.sent_at = now
            self.lapses_at = now + self.lease_ns
        out += messages

    def say_farewell(self, now: Instant, out: list[Effect]) -> None:
        """Priority 0 on every LAN: the peer needs to wait only its skew (RFC 9568, section 6.4.3)."""
        for index in range(len(self.local)):
            self.advertise(now, index, PRIORITY_RELEASE, out)

    def fall_silent(self) -> None:
        """No longer Active: no lease of ours is refreshed any more."""
        self.lapses_at = NEVER

    def set_local(self, index: int, address: Address) -> None:
        self.local[index] = address
        self._messages.clear()

    # --- the lease

    @property
    def lease_ns(self) -> Duration:
        return self._lengths[self.lease]

    def choose_lease(self, now: Instant, active_since: int, at_rest: bool, out: list[Effect]) -> None:
        """Look anew whether anybody could take over; never made longer in the middle of a promotion or hand-over."""
        if self._settings.plain:
            return  # nobody says whether a standby is there: it may always be
        if self._peer.ready:
            if self.lease is Lease.LONG:
                self.set_lease(Lease.SHORT, f"{self._peer.name} stands by", out)
                for index, router in enumerate(self._settings.routers):
                    self.advertise(now, index, router.priority, out)
        elif at_rest and self.lease is Lease.SHORT and (self._peer.fresh or now >= self._alone_at(active_since)):
            self.set_lease(Lease.LONG, "no standby could take over", out)

    def choice_due(self, active_since: int) -> int:
        """When silence alone makes the lease long."""
        waits = self.lease is Lease.SHORT and not self._peer.fresh and not self._settings.plain
        return self._alone_at(active_since) if waits else NEVER

    def set_lease(self, lease: Lease, reason: str, out: list[Effect]) -> None:
        if lease is not self.lease:
            self.lease = lease
            self._standing.news = True
            out.append(LeaseChanged(self._settings.name, lease, self.lease_ns, reason))

    # --- below

    def _alone_at(self, active_since: int) -> int:
        return max(self._peer.heard_at, active_since) + long_after(self._settings.advertise)

    def _compose(self, index: int, priority: int, lease: Lease) -> tuple[SendVrrp, ...]:
        """To the LAN, or to each unicast peer. Made once and kept, as it repeats; nothing while we have no address."""
        router = self._settings.routers[index]
        local = self.local[index]
        if local is None:
            return ()
        advertisement = Advertisement(
            router.vrid,
            Priority(priority),
            router.advertisement_interval_cs,
            router.addresses,
            router.family,
            router.version,
        )
        mac = virtual_mac(router.vrid, router.family)
        messages = tuple(
            SendVrrp(
                self._settings.name,
                index,
                router.network,
                advertisement_frame(
                    advertisement, local, mac, destination=destination, pseudo_header=router.pseudo_header
                ),
                lease,
            )
            for destination in router.unicast or (None,)
        )
        self._messages[index, priority, lease] = messages
        return messages
