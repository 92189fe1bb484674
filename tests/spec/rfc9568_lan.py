"""One LAN as section 6 of RFC 9568 sees it: our virtual router, its neighbours and their advertisements."""

from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from understudy.core.settings import RouterSettings
from understudy.core.vrrp import AdvertisementReceived, Effect, Startup, State, Tick, VirtualRouter
from understudy.units import SECOND, Address, Duration, Family, Instant, NetworkName, Priority, Vrid
from understudy.wire.vrrp import Advertisement, virtual_link_local

VRID = Vrid(7)
PRIORITY = Priority(100)
LOWER, LOCAL, HIGHER = IPv4Address("10.9.0.9"), IPv4Address("10.9.0.10"), IPv4Address("10.9.1.1")
"""Source addresses around our own; as text, `10.9.0.9` would sort behind `10.9.0.10`."""
ADDRESSES: dict[Family, tuple[Address, ...]] = {
    4: (IPv4Address("10.9.0.254"), IPv4Address("10.9.0.253")),
    6: (virtual_link_local(VRID), IPv6Address("2001:db8::254")),
}

EffectT = TypeVar("EffectT", bound=Effect)

START = Instant(5_000_000_000_000)
INTERVAL: Duration = SECOND
SKEW: Duration = 156 * SECOND // 256
"""(256 - 100) * 1 s / 256 = 609.375 ms."""
ACTIVE_DOWN: Duration = 3 * INTERVAL + SKEW


def at(moment: Duration) -> Instant:
    """The instant `moment` after the start."""
    return Instant(START + moment)


def router(
    priority: int = PRIORITY,
    *,
    interval_cs: int = 100,
    preempt_mode: bool = True,
    accept_mode: bool = False,
    family: Family = 4,
    autonomous: bool = True,
) -> VirtualRouter:
    """A virtual router in Initialize."""
    settings = RouterSettings(
        network=NetworkName("inside"),
        family=family,
        vrid=VRID,
        priority=Priority(priority),
        addresses=ADDRESSES[family],
        advertisement_interval_cs=interval_cs,
        preempt_mode=preempt_mode,
        accept_mode=accept_mode,
    )
    return VirtualRouter(settings, autonomous=autonomous)


def backup(priority: int = PRIORITY, **settings: bool) -> VirtualRouter:
    """A virtual router that became Backup at the start."""
    machine = router(priority, **settings)  # type: ignore[arg-type]  # only the booleans are passed on
    machine.handle(START, Startup())
    assert machine.state is State.BACKUP
    return machine


def active(priority: int = PRIORITY, **settings: bool) -> VirtualRouter:
    """A virtual router that became Active at the start; its Adver_Timer is due one interval later."""
    machine = router(priority, **settings)  # type: ignore[arg-type]  # only the booleans are passed on
    machine.handle(Instant(START - ACTIVE_DOWN), Startup())
    machine.handle(START, Tick())
    assert machine.state is State.ACTIVE
    return machine


def heard(
    priority: int,
    *,
    source: Address = HIGHER,
    interval_cs: int = 100,
    local: Address = LOCAL,
    addresses: tuple[Address, ...] = ADDRESSES[4],
) -> AdvertisementReceived:
    """The event of an advertisement from a neighbour."""
    advertisement = Advertisement(VRID, Priority(priority), interval_cs, addresses, 4)
    return AdvertisementReceived(source, advertisement, local)


def of_kind(effects: list[Effect], kind: type[EffectT]) -> list[EffectT]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]
