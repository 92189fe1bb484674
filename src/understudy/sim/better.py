"""`better`: a group does not stay on a node that has lost a LAN while the other node has them all.

What the cores believe of their LANs is not asked: it may be what is wrong. A port that is down, deaf or mute serves
nobody, whatever else arrives through it, and that is a fact of the simulated world. So is what a pair needs in order to
see it: both nodes run and may serve, a path carries their words both ways, nothing is lost by chance, and hosts on the
LANs can be asked. The pair is judged when nothing has changed for as long as it may take.
"""

from typing import TYPE_CHECKING

from understudy.core.gate import allowance
from understudy.core.handover import OFFER_BACKOFF, OFFER_DEADLINE
from understudy.sim.machine import Machine
from understudy.sim.network import Port
from understudy.units import MILLISECOND, Duration, GroupName, NetworkName
from understudy.wire.heartbeat import Role

if TYPE_CHECKING:
    from understudy.sim.world import World

SLOW_ASKING: Duration = 1500 * MILLISECOND
"""How long an answer counts where the peer has been silent for long already (core.reach)."""


class Better:
    """Told of every change. `judged` counts how often one node had lost a LAN for so long that it had to stand by."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._changes = 0
        self._whole_since: int | None = 0
        """Since when no port and no path is broken, as far as was told."""
        self.judged = 0

    def changed(self) -> None:
        """Something began or ended."""
        world = self._world
        network, whole_since = world.network, self._whole_since
        self._changes += 1
        works = all(map(_works, network.ports.values()))
        cut = any(network.cuts.values()) or any(network.channel_cuts.values())
        self._whole_since = None if cut or not works else world.now
        if works:
            return
        for group in world.plan.groups:
            bound = 4 * group.advertise + OFFER_DEADLINE + self._gate_may_take(group.name)
            at_rest = 2 * bound + OFFER_BACKOFF + SLOW_ASKING
            if whole_since is None or world.now - whole_since < at_rest:
                # A LAN may be asked at the slow pace, and an offer fail that was under way.
                bound += SLOW_ASKING + OFFER_DEADLINE + OFFER_BACKOFF
            world.at(world.now + bound, self._look, group.name, bound, self._stamp())

    def _look(self, group: GroupName, bound: Duration, stamp: tuple[int, int]) -> None:
        world = self._world
        if stamp != self._stamp():
            return
        ports, hosts_down = world.network.ports, world.network.hosts_down
        members = [m for m in world.machines.values() if any(g.name == group for g in m.settings.groups)]
        settings = next(g for machine in members for g in machine.settings.groups if g.name == group)
        networks = dict.fromkeys(router.network for router in settings.routers)
        losses = {m.name: [name for name in networks if not _works(ports[m.name, name])] for m in members}
        worse = [machine for machine in members if losses[machine.name]]
        if len(worse) != 1 or len(members) != 2 or any(hosts_down.get(name) for name in networks):
            return
        here = worse[0]
        there = next(machine for machine in members if machine is not here)
        fit = all(self._fit(machine, group, world.now - bound) for machine in members)
        if not fit or there.maintenance or not self._can_speak(here, there) or not self._holds_state(there, group):
            return
        self.judged += 1
        if here.roles.get(group) is Role.ACTIVE and there.roles.get(group) is Role.BACKUP:
            lost = losses[here.name][0]
            raise world.checker.violation(
                "better", f"{here.name} goes on as Active for {group} without {lost}, which {there.name} has"
            )

    def _stamp(self) -> tuple[int, int]:
        return self._changes, self._world.network.changes

    def _fit(self, machine: Machine, group: GroupName, since: int) -> bool:
        """Runs as it should for so long, and has not to wait because its role moved too often or could not."""
        kernel, core = machine.kernel, machine.core
        if core is None or not machine.running or machine.stopping or machine.misconfigured:
            return False
        if machine.late or kernel.slow or kernel.refuses or kernel.missing or kernel.busy_until > self._world.now:
            return False
        waits = core.groups[group].holddown.length or core.groups[group].rest.after_failure
        return not waits and machine.ready_at <= since

    def _gate_may_take(self, name: GroupName) -> Duration:
        """An offer that was given back for the want of the state is made once more."""
        if name not in self._world.flows.groups:
            return 0
        settings = [(m.settings, g) for m in self._world.machines.values() for g in m.settings.groups if g.name == name]
        return max(2 * allowance(group, node) + OFFER_DEADLINE + OFFER_BACKOFF for node, group in settings)

    def _holds_state(self, machine: Machine, group: GroupName) -> bool:
        """A node that lacks the state may have to wait for it, or for ever."""
        flows = self._world.flows
        return group not in flows.groups or (flows.works() and flows.is_complete(machine, group))

    def _can_speak(self, one: Machine, other: Machine) -> bool:
        network = self._world.network
        for source, target in ((one.name, other.name), (other.name, one.name)):
            if network.channel_cuts.get((source, target)):
                return False
        if any(not lan.plain or lan.vrrp_loss or lan.vrrp_corrupt for lan in network.lans.values()):
            return False
        return any(self._path(name, one, other) for name in one.settings.paths)

    def _path(self, name: NetworkName, one: Machine, other: Machine) -> bool:
        network = self._world.network
        return network.passes(name, one.name, other.name) and network.passes(name, other.name, one.name)


def _works(port: Port) -> bool:
    return not (port.down or port.deaf or port.mute)
