"""The virtual routers of one group, moved as one: each speaks RFC 9568 on its LAN, none changes its role alone.

A router whose port has no carrier sits in Initialize (RFC 9568, section 6.4.1) or goes on without a word; it neither
proves that the Active is gone nor that it is there.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from understudy.core.effects import Dropped, Effect, Noted
from understudy.core.reach import LanReach
from understudy.core.settings import GroupSettings
from understudy.core.timers import NEVER
from understudy.core.voice import Voice
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
from understudy.units import MILLISECOND, Address, Duration, Instant
from understudy.wire.vrrp import Advertisement

Finding = ActiveDownExpired | Outranked
"""What a router reports instead of acting on it."""

_MISMATCHES: Mapping[str, str] = MappingProxyType(
    {
        "interval": "another interval than ours",
        "addresses": "other addresses than ours",
        "owner": "addresses that we own",
        "checksum": "with the other form of the checksum than ours: see `vrrp.checksum`",
        "version": "in another version of VRRP than ours: see `vrrp.version`",
        "unicast": "to one router, we to the LAN: see `vrrp.unicast`",
        "multicast": "to the LAN, we to one router: see `vrrp.unicast`",
        "stranger": "to us, and is not the other node of the file",
        "deaf": "although we outrank it: it does not hear us, or does not believe what it hears",
    }
)
"""What another router advertises, for the operator."""


class Routers:
    """`index` is the position of a router in the group. `mute` keeps back whatever a router would send."""

    def __init__(self, settings: GroupSettings, lans: Sequence[LanReach], voice: Voice) -> None:
        self._name = settings.name
        self._plain = settings.plain
        self._lans = lans
        self._voice = voice
        self.checksums = {False: 0, True: 0}
        """Advertisements over IPv4 in version 3 by the form of their checksum: whether it covered a pseudo-header."""
        self._routers = [VirtualRouter(router, autonomous=False) for router in settings.routers]

    # --- what happens to one of them

    def refuses(
        self, now: Instant, index: int, source: Address, advertisement: Advertisement, out: list[Effect]
    ) -> bool:
        """Whether it is none for us: another version, unicast or multicast against the file, a stranger's."""
        effects = self._routers[index].refuse(source, advertisement)
        if effects:
            self._absorb(now, index, effects, out)
        return bool(effects)

    def hear(
        self,
        now: Instant,
        index: int,
        source: Address,
        advertisement: Advertisement,
        out: list[Effect],
        *,
        local: Address,
        mute: bool,
    ) -> Finding | None:
        """An advertisement arrived."""
        if advertisement.pseudo_header is not None and advertisement.family == 4 and advertisement.version == 3:
            self.checksums[advertisement.pseudo_header] += 1
        effects = self._routers[index].handle(now, AdvertisementReceived(source, advertisement, local))
        return self._absorb(now, index, effects, out, mute=mute) if effects else None

    def tick(self, now: Instant, out: list[Effect], *, mute: bool) -> bool:
        """Time has passed. True if a router has found its LAN silent."""
        expired = False
        for index, router in enumerate(self._routers):
            deadline = router.next_deadline()
            if deadline is not None and deadline <= now:
                expired |= self._absorb(now, index, router.handle(now, Tick()), out, mute=mute) is not None
        return expired

    def listen_anew(self, now: Instant, index: int, up: bool, out: list[Effect]) -> None:
        """A Backup's port lost or found its carrier; on one that is back it listens for its whole time."""
        router = self._routers[index]
        self._absorb(now, index, router.handle(now, Shutdown()), out)
        if up:
            self._absorb(now, index, router.handle(now, Startup()), out)

    def speak_anew(self, now: Instant, index: int, out: list[Effect], *, mute: bool) -> None:
        """An Active's port has found its carrier."""
        router = self._routers[index]
        for event in (Startup(), TakeOver("port back"), Refresh()):
            self._absorb(now, index, router.handle(now, event), out, mute=mute)

    # --- what happens to all

    def start(self, now: Instant, out: list[Effect]) -> None:
        self._say_how(out)
        for index, router in enumerate(self._routers):
            self._absorb(now, index, router.handle(now, Startup()), out)

    def refresh(self, now: Instant, out: list[Effect]) -> None:
        """Advertise now, whatever the timers say."""
        for index, router in enumerate(self._routers):
            self._absorb(now, index, router.handle(now, Refresh()), out)

    def adopt(self, now: Instant, out: list[Effect]) -> None:
        """Go on as Active where a core before us stopped."""
        self._say_how(out)
        for index, router in enumerate(self._routers):
            self._absorb(now, index, router.adopt(now, "adopted"), out)

    def take_over(self, now: Instant, reason: str, out: list[Effect]) -> None:
        for index, router in enumerate(self._routers):
            if self._lans[index].carrier:
                self._absorb(now, index, router.handle(now, TakeOver(reason)), out)

    def stand_down(self, now: Instant, reason: str, out: list[Effect]) -> None:
        for index, router in enumerate(self._routers):
            if self._lans[index].carrier:
                self._absorb(now, index, router.handle(now, StandDown(reason)), out)
            else:
                self._absorb(now, index, router.handle(now, Shutdown()), out, mute=True)

    # --- what they know

    def next_deadline(self) -> int:
        due: int = NEVER
        for router in self._routers:
            deadline = router.next_deadline()
            if deadline is not None and deadline < due:
                due = deadline
        return due

    @property
    def skew_time_max(self) -> Duration:
        return max(router.skew_time for router in self._routers)

    @property
    def heard_at(self) -> int | None:
        """When another router of ours was last heard on any LAN; all that is known of a peer without channel."""
        return max((router.last_heard for router in self._routers if router.last_heard is not None), default=None)

    def all_silent(self) -> bool:
        """Every router whose port is up has waited its Active_Down_Interval in vain."""
        heard = False
        for router, lan in zip(self._routers, self._lans, strict=True):
            if lan.carrier:
                if not router.expired:
                    return False
                heard = True
        return heard

    def silences(self, now: Instant) -> str:
        """Since when each LAN with carrier brings nothing: `outside/4 for 302 ms, ...`."""
        return ", ".join(
            f"{router.settings.network}/{router.settings.family} {elapsed(now, router.last_heard)}"
            for router, lan in zip(self._routers, self._lans, strict=True)
            if lan.carrier
        )

    def _say_how(self, out: list[Effect]) -> None:
        if self._plain:
            detail = "the other node has no channel: VRRP alone decides, nothing is handed over"
            out.append(Noted("plain-vrrp", self._name, detail))

    def _absorb(
        self, now: Instant, index: int, effects: list[RouterEffect], out: list[Effect], *, mute: bool = False
    ) -> Finding | None:
        """Translate a router's effects; returns what the group has to think about."""
        finding: Finding | None = None
        for effect in effects:
            match effect:
                case SendAdvertisement(priority):
                    if not mute:
                        self._voice.advertise(now, index, priority, out)
                case ActiveDownExpired():
                    finding = effect
                    router = self._routers[index].settings
                    out.append(Noted("expired", f"{self._name}/{router.network}/{router.family}", ""))
                case Outranked():
                    finding = effect
                case Discarded(reason):
                    out.append(Dropped(reason))
                case Mismatched(what, source):
                    out.append(Noted("mismatch", self._name, f"{source} advertises {_MISMATCHES[what]}"))
                case _:
                    pass  # The group announces, answers and records for all its routers.
        return finding


def elapsed(now: Instant, since: int | None) -> str:
    return "since the start" if since is None else f"for {(now - since) / MILLISECOND:.0f} ms"
