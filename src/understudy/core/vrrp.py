"""One virtual router: the state machine of RFC 9568, section 6, without input or output.

What it guarantees:

1. It sends and answers only in the Active state, and every move carries its reason.
2. At most one timer runs: the Active_Down_Timer in Backup, the Adver_Timer in Active. One deadline is its whole clock.
3. A late `now` is harmless. Timers fire only on `Tick`, once, and are armed anew from `now`: a machine that was paused
   for a minute sends one advertisement, not sixty. Hand over what the socket holds before the `Tick`: an advertisement
   that waited in the queue is proof of life, an overdue timer is no proof of death.
4. Times are whole nanoseconds. Skew_Time = (256 - Priority) * Active_Adver_Interval / 256 is rounded down to a
   nanosecond, not to a centisecond as some peers do (at 10 ms that makes every skew 0 and every election a tie).

Alone (`autonomous=True`) it is the router of the RFC. As a member of a group (`autonomous=False`) it does not decide on
roles: it reports that its timer fired (`ActiveDownExpired`) or that another router outranks it (`Outranked`), and moves
on `TakeOver` and `StandDown`, because addresses of one group move together.

A router set to version 2 keeps to RFC 3768 where that differs: Skew_Time is a part of one second, the interval is never
learned (an advertisement with another one is discarded), and an advertisement that loses is not answered.

Two departures from the letter of the RFC. An advertisement from our own address is discarded without an answer: it is
our own, come back through a loop, and answering it would start a storm. And the owner of the addresses (priority 255)
takes part in the election, as erratum 8298 has it: two owners on one LAN resolve by address, none ignores the other.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from understudy.core.hearing import Hearing
from understudy.core.settings import RouterSettings
from understudy.units import CENTISECOND, MILLISECOND, SECOND, Address, Duration, Instant, Priority
from understudy.wire.vrrp import PRIORITY_OWNER, PRIORITY_RELEASE, Advertisement


class State(StrEnum):
    INITIALIZE = "Initialize"
    BACKUP = "Backup"
    ACTIVE = "Active"


# --- events ---


@dataclass(frozen=True, slots=True)
class Startup:
    """The port is ready and the node may take part."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The node leaves: an Active says farewell with priority 0."""


@dataclass(frozen=True, slots=True)
class AdvertisementReceived:
    """A valid advertisement for this VRID; `local` is our own source address on that LAN, which decides a tie."""

    source: Address
    advertisement: Advertisement
    local: Address


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed, and nothing else."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The group makes us Active; nothing happens unless we are Backup."""

    reason: str


@dataclass(frozen=True, slots=True)
class StandDown:
    """The group makes us Backup, without a farewell advertisement; nothing happens unless we are Active."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """The LAN may have forgotten us (a port came back, a switch restarted): an Active announces itself again."""


Event = Startup | Shutdown | AdvertisementReceived | Tick | TakeOver | StandDown | Refresh


# --- effects ---


@dataclass(frozen=True, slots=True)
class SendAdvertisement:
    """Multicast an advertisement with this priority; 0 is the farewell."""

    priority: Priority


@dataclass(frozen=True, slots=True)
class StartAnswering:
    """Take the addresses: answer ARP and neighbor solicitations, forward what comes for the virtual MAC.

    `accept`: also take packets addressed to the addresses themselves (Accept_Mode, or their owner).
    """

    accept: bool


@dataclass(frozen=True, slots=True)
class StopAnswering:
    """Give the addresses up: no ARP or ND answer, nothing for the virtual MAC forwarded or accepted."""


@dataclass(frozen=True, slots=True)
class AnnounceAddresses:
    """Gratuitous ARP or unsolicited neighbor advertisement for every address, from the virtual MAC."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A change of state. `reason` is a stable word, `cause` a sentence with the figures of this very case."""

    old: State
    new: State
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class ActiveDownExpired:
    """Group member only: the Active was not heard for Active_Down_Interval (or gave up, and Skew_Time passed)."""


@dataclass(frozen=True, slots=True)
class Outranked:
    """Group member only: we are Active and heard a router that must win against us."""

    source: Address
    priority: Priority


@dataclass(frozen=True, slots=True)
class Discarded:
    """An advertisement without influence, to be counted."""

    reason: str
    """`lower-priority` (as Backup), `outranked` (as Active), `own`, `foreign` (VRID or family), `not-started`, or what
    our settings refuse: `vrrp-version`, `vrrp-unicast`, `vrrp-multicast`, `vrrp-stranger`, `vrrp-interval`."""


@dataclass(frozen=True, slots=True)
class Mismatched:
    """What another router advertises differs from our settings: worth a log line, once for each change (section 7.1).

    The advertisement takes effect all the same, unless it is discarded besides.
    """

    what: str
    """`interval`, `addresses`, `checksum` (its form), `owner` (we own the addresses, yet another router advertises
    them), `deaf` (it goes on although we outrank it: our advertisements do not reach it or are not believed), or with a
    discarded one why: `version`, `unicast`, `multicast`, `stranger`, `interval`."""
    source: Address


Effect = (
    SendAdvertisement
    | StartAnswering
    | StopAnswering
    | AnnounceAddresses
    | Moved
    | ActiveDownExpired
    | Outranked
    | Discarded
    | Mismatched
)


class VirtualRouter:
    """One VRID on one LAN for one address family."""

    __slots__ = (
        "_accept",
        "_advertisement_interval",
        "_autonomous",
        "_deadline",
        "_hearing",
        "_preempt",
        "_priority",
        "active_adver_interval",
        "active_down_interval",
        "active_priority",
        "active_source",
        "expired",
        "last_heard",
        "settings",
        "skew_time",
        "state",
    )

    _deadline: Instant | None
    state: State
    active_adver_interval: Duration
    """Learned from the Active; our own interval until one was heard."""
    skew_time: Duration
    active_down_interval: Duration
    expired: bool
    """Group member in Backup only: the Active_Down_Timer fired and no advertisement that counts has come since."""
    last_heard: Instant | None
    """When another router last advertised this VRID, whatever came of it."""
    active_source: Address | None
    """Who sent that advertisement, and below with which priority (0: it gave up)."""
    active_priority: Priority | None

    def __init__(self, settings: RouterSettings, *, autonomous: bool = True) -> None:
        self.settings: Final = settings
        self._autonomous: Final = autonomous
        self._priority: Final = settings.priority
        owner = settings.priority == PRIORITY_OWNER
        self._preempt: Final = settings.preempt_mode or owner  # section 6.1: the owner always preempts
        self._accept: Final = settings.accept_mode or owner  # section 6.4.3 (650)
        self._hearing: Final = Hearing(settings)
        self._advertisement_interval: Final = settings.advertisement_interval_cs * CENTISECOND
        self.state = State.INITIALIZE
        self._forget()

    def next_deadline(self) -> Instant | None:
        """When to send `Tick` at the latest; None while no timer runs."""
        return self._deadline

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        """Take in one event at the time `now`; the effects are in the order to carry out."""
        match event:
            case AdvertisementReceived():
                return self._receive(now, event)
            case Tick():
                if self._deadline is None or now < self._deadline:
                    return []
                return self._fire(now)
            case Startup():
                return self._start(now) if self.state is State.INITIALIZE else []
            case Shutdown():
                return self._shut_down() if self.state is not State.INITIALIZE else []
            case TakeOver(reason):
                return self._become_active(now, "take-over", reason) if self.state is State.BACKUP else []
            case StandDown(reason):
                return self._become_backup(now, "stand-down", reason) if self.state is State.ACTIVE else []
            case Refresh():
                if self.state is not State.ACTIVE:
                    return []
                return [self._advertise(now), AnnounceAddresses()]
            case _:
                assert_never(event)

    def adopt(self, now: Instant, reason: str) -> list[Effect]:
        """Be Active at once after a restart of our process: the kernel went on answering and nobody saw us gone.

        No announcement, since every neighbour's cache is right already. Only from Initialize.
        """
        assert self.state is State.INITIALIZE
        return [self._advertise(now), StartAnswering(self._accept), self._move(State.ACTIVE, "adopted", reason)]

    # --- section 6.4.1: Initialize ---

    def _start(self, now: Instant) -> list[Effect]:
        if self._priority == PRIORITY_OWNER:  # (105)
            return self._become_active(now, "owner", "we own the addresses (priority 255)")
        self._deadline = Instant(now + self.active_down_interval)  # (155) is done by `_forget`, (160)
        return [self._move(State.BACKUP, "startup", "started; listening for an Active")]

    # --- the Active_Down_Timer of Backup, the Adver_Timer of Active ---

    def _fire(self, now: Instant) -> list[Effect]:
        if self.state is State.ACTIVE:  # (680)
            return [self._advertise(now)]
        if self._autonomous:  # (365)
            return self._become_active(now, "active-down-timer", self._why_fired(now))
        self._deadline = None
        self.expired = True
        return [ActiveDownExpired()]

    # --- an advertisement ---

    def _receive(self, now: Instant, event: AdvertisementReceived) -> list[Effect]:
        advertisement = event.advertisement
        priority = advertisement.priority
        if self.state is State.INITIALIZE:
            return [Discarded("not-started")]
        if advertisement.vrid != self.settings.vrid or advertisement.family != self.settings.family:
            return [Discarded("foreign")]
        if int(event.source) == int(event.local):
            return [Discarded("own")]
        known = advertisement is self._hearing.seen
        if not known or self.settings.unicast:
            refused = self.refuse(event.source, advertisement)
            if refused:
                return refused
        self.last_heard = now
        self.active_source = event.source
        self.active_priority = priority
        effects: list[Effect] = []
        if not known:
            effects += (Mismatched(what, event.source) for what in self._hearing.differences(advertisement))

        if self.state is State.BACKUP:
            if priority == PRIORITY_RELEASE:  # (425)
                self.expired = False
                self._deadline = Instant(now + self.skew_time)
            elif priority >= self._priority or not self._preempt:  # (445)
                self.expired = False
                self._learn(advertisement)
                self._deadline = Instant(now + self.active_down_interval)
            else:  # (470)
                effects.append(Discarded("lower-priority"))
            return effects

        if priority == PRIORITY_RELEASE:  # (705)
            effects.append(self._advertise(now))
        elif priority > self._priority or (  # (725), (730)
            priority == self._priority and int(event.source) > int(event.local)
        ):
            self._learn(advertisement)
            if self._autonomous:
                cause = f"{event.source} advertises priority {priority}, ours is {self._priority}"
                effects += self._become_backup(now, "outranked", cause)
            else:
                effects.append(Outranked(event.source, priority))
        else:
            effects.append(Discarded("outranked"))
            if self._hearing.finds_deaf(now, advertisement):
                effects.append(Mismatched("deaf", event.source))
            if self.settings.version == 3:
                # (770): the answer corrects the sender and every bridge that followed it; the Adver_Timer runs on
                effects.append(SendAdvertisement(self._priority))
        return effects

    def refuse(self, source: Address, advertisement: Advertisement) -> list[Effect]:
        """What becomes of an advertisement that our settings do not take; nothing if they take it."""
        why, news = self._hearing.refusal(source, advertisement)
        if not why:
            return []
        return [Discarded(f"vrrp-{why}"), Mismatched(why, source)] if news else [Discarded(f"vrrp-{why}")]

    def _learn(self, advertisement: Advertisement) -> None:
        interval = advertisement.interval_cs * CENTISECOND
        if interval != self.active_adver_interval:
            self._set_intervals(interval)

    def _set_intervals(self, active_adver_interval: Duration) -> None:
        """Section 6.1: the two times that follow from the Active's interval (RFC 3768: from one second)."""
        self.active_adver_interval = active_adver_interval
        unit = active_adver_interval if self.settings.version == 3 else SECOND
        self.skew_time = (256 - self._priority) * unit // 256
        self.active_down_interval = 3 * active_adver_interval + self.skew_time

    # --- moves ---

    def _become_active(self, now: Instant, reason: str, cause: str) -> list[Effect]:
        """Advertise, so that a former Active lets go; hold the addresses; only then tell the LAN (section 8.1.2)."""
        return [
            self._advertise(now),
            StartAnswering(self._accept),
            AnnounceAddresses(),
            self._move(State.ACTIVE, reason, cause),
        ]

    def _become_backup(self, now: Instant, reason: str, cause: str) -> list[Effect]:
        self._deadline = Instant(now + self.active_down_interval)
        return [StopAnswering(), self._move(State.BACKUP, reason, cause)]

    def _shut_down(self) -> list[Effect]:
        """Stop answering before the farewell: a Backup with a short skew answers within microseconds of hearing it."""
        effects: list[Effect] = []
        if self.state is State.ACTIVE:
            effects += (StopAnswering(), SendAdvertisement(PRIORITY_RELEASE))
        effects.append(self._move(State.INITIALIZE, "shutdown", "asked to stop"))
        self._forget()
        return effects

    def _move(self, new: State, reason: str, cause: str) -> Moved:
        moved = Moved(self.state, new, reason, cause)
        self.state = new
        self.expired = False
        self._hearing.forget_rival()
        return moved

    def _advertise(self, now: Instant) -> SendAdvertisement:
        self._deadline = Instant(now + self._advertisement_interval)
        return SendAdvertisement(self._priority)

    def _forget(self) -> None:
        """As in Initialize: no timer, nobody heard, our own interval."""
        self._deadline = None
        self._hearing.forget()
        self.expired = False
        self.last_heard = self.active_source = self.active_priority = None
        self._set_intervals(self._advertisement_interval)

    def _why_fired(self, now: Instant) -> str:
        """What made the Active_Down_Timer fire, for the operator."""
        if self.last_heard is None or self.active_priority is None:
            return "no advertisement since the start"
        silence = f"{(now - self.last_heard) / MILLISECOND:.1f} ms"
        if self.active_priority == PRIORITY_RELEASE:
            return f"{self.active_source} gave up {silence} ago"
        if self._preempt and self.active_priority < self._priority:
            return f"{self.active_source} advertises priority {self.active_priority} only, ours is {self._priority}"
        return f"no advertisement from {self.active_source} for {silence}"
