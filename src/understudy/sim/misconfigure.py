"""A node that runs another file than its peer: what each kind of difference makes of its settings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from understudy.core.settings import GroupSettings, NodeSettings, RouterSettings
from understudy.units import Vrid


def _vrid(router: RouterSettings) -> RouterSettings:
    return replace(router, vrid=Vrid(router.vrid % 255 + 1))


def _addresses(router: RouterSettings) -> RouterSettings:
    """One address more than the peer knows of."""
    last = router.addresses[-1]
    return replace(router, addresses=(*router.addresses, type(last)(int(last) ^ 0x20)))


def _interval(router: RouterSettings) -> RouterSettings:
    return replace(router, advertisement_interval_cs=2 * router.advertisement_interval_cs)


DIFFERENCES: Mapping[str, Callable[[RouterSettings], RouterSettings]] = MappingProxyType(
    {"vrid": _vrid, "addresses": _addresses, "interval": _interval}
)


def misconfigured(settings: NodeSettings, what: str) -> NodeSettings:
    """The settings of the same node by a file that differs in `what`."""
    change = DIFFERENCES[what]
    slower = 2 if what == "interval" else 1

    def group(settings: GroupSettings) -> GroupSettings:
        routers = tuple(change(router) for router in settings.routers)
        return replace(settings, advertise=slower * settings.advertise, routers=routers)

    return replace(
        settings,
        config_digest=bytes(byte ^ 0xFF for byte in settings.config_digest),
        heartbeat=slower * settings.heartbeat,
        groups=tuple(group(one) for one in settings.groups),
    )
