"""Somebody on a LAN who forges advertisements of the groups there: VRRP does not tell him from a node.

What he sends is whole and well formed, from the address of a node or of a stranger. He cannot speak on the channel.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from understudy.core.settings import RouterSettings
from understudy.sim.machine import Machine
from understudy.units import MILLISECOND, SECOND, Address, Duration, NetworkName, Priority
from understudy.wire.vrrp import Advertisement, advertisement_frame, virtual_mac

if TYPE_CHECKING:
    from understudy.sim.world import World

FORGERIES = ("higher", "owner", "same", "lower", "farewell", "interval", "replay", "anything")
"""A priority above both nodes', 255, that of a node, one below both, 0, another interval, what a node sent before."""


class Attacker:
    """One on every LAN; how many of them are at work is a matter of faults."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.forged_at: int = -(1 << 62)
        """When the latest forgery left."""

    def begin(self, network: NetworkName, forgery: str, every: Duration) -> Callable[[], None]:
        """Forge on a LAN until the result is called."""
        assert forgery in FORGERIES, forgery
        working = [True]
        self._world.at(self._world.now, self._forge, network, forgery, every, working)
        return working.clear

    def _forge(self, network: NetworkName, forgery: str, every: Duration, working: list[bool]) -> None:
        if not working:
            return
        world = self._world
        frame = self._frame(network, forgery)
        if frame is not None:
            self.forged_at = world.now
            world.wires.inject(network, frame)
        pause = every // 2 + int(world.rng.random() * every)
        world.at(world.now + max(pause, MILLISECOND // 2), self._forge, network, forgery, every, working)

    def _frame(self, network: NetworkName, forgery: str) -> bytes | None:
        rng = self._world.rng
        if forgery == "anything":
            forgery = rng.choice(FORGERIES[:-1])
        if forgery == "replay":
            overheard = self._world.wires.overheard.get(network)
            return rng.choice(list(overheard.values())) if overheard else None
        there = [
            (machine, router)
            for machine in self._world.machines.values()
            for group in machine.settings.groups
            for router in group.routers
            if router.network == network
        ]
        if not there:
            return None
        machine, router = rng.choice(there)
        priority, interval_cs = self._claim(forgery, router)
        message = Advertisement(router.vrid, Priority(priority), interval_cs, router.addresses, router.family)
        return advertisement_frame(message, self._source(machine, router), virtual_mac(router.vrid, router.family))

    def _claim(self, forgery: str, router: RouterSettings) -> tuple[int, int]:
        interval_cs = router.advertisement_interval_cs
        match forgery:
            case "higher":
                return 254, interval_cs
            case "owner":
                return 255, interval_cs
            case "lower":
                return 1, interval_cs
            case "farewell":
                return 0, interval_cs
            case "interval":
                return 254, 4095
            case _:
                return router.priority, interval_cs

    def _source(self, machine: Machine, router: RouterSettings) -> Address:
        """The node's own, or a stranger's."""
        own = machine.local[router.network, router.family]
        if self._world.rng.random() < 0.5:
            return own
        return ip_address("fe80::bad") if router.family == 6 else type(own)(int(own) ^ 0x40)


FLOOD_EVERY: Duration = 2 * MILLISECOND
FORGE_EVERY: tuple[Duration, Duration] = (5 * MILLISECOND, SECOND // 2)
