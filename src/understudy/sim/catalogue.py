"""Every kind of fault: what it needs to know, how large it may be, and whether it excuses anything.

The names are those of the drill where both can do it, and Jepsen's and Chaos Mesh's habits elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.sim import injections
from understudy.sim.attacker import FORGE_EVERY, FORGERIES
from understudy.sim.injections import Undo
from understudy.sim.misconfigure import DIFFERENCES
from understudy.units import MILLISECOND, SECOND, Duration

if TYPE_CHECKING:
    from understudy.sim.faults import Fault, Injector


@dataclass(frozen=True, slots=True)
class Kind:
    begin: "Callable[[Injector, Fault], Undo | None]"
    """In sim.injections."""
    wants: tuple[str, ...] = ("node",)
    """Which fields it reads: `node`, `network` (a LAN of the node), `lan` (any LAN), `peer`, `group`, `server`."""
    amounts: tuple[float, float] = (0.0, 0.0)
    """Range of the amount; nanoseconds or a probability."""
    instant: bool = False
    weight: int = 2
    lasts: Duration = 0
    """If it always lasts as long."""
    lasts_min: Duration = 0
    """If it needs that long to mean anything."""
    targets: tuple[str, ...] = ()
    """One of these is drawn."""
    stateful: bool = False
    """It concerns replicated flows: drawn only where there are any."""
    harmless: bool = False
    """Nothing that it does is an excuse: it must not change a role, nor break anything else that holds in peace."""


CATALOGUE: dict[str, Kind] = {
    "node-power-loss": Kind(injections.power_loss, weight=4),
    "agent-kill": Kind(injections.agent_kill, weight=4),
    "agent-restart": Kind(injections.agent_restart, instant=True, weight=3),
    "agent-freeze": Kind(injections.agent_freeze, weight=5),
    "agent-stop": Kind(injections.stop),
    "agent-pause": Kind(injections.agent_freeze, lasts=10 * SECOND),
    "node-return": Kind(injections.node_return, lasts_min=8 * SECOND),
    "peer-misconfigured": Kind(injections.peer_misconfigured, targets=tuple(DIFFERENCES), lasts_min=4 * SECOND),
    "link-down": Kind(injections.link_down, ("node", "network"), weight=4),
    "link-silent": Kind(injections.link_silent, ("node", "network"), weight=4),
    "link-deaf": Kind(injections.one_way("deaf"), ("node", "network")),
    "link-mute": Kind(injections.one_way("mute"), ("node", "network")),
    "partition": Kind(lambda i, f: injections.cut(i, f, ways=2, everywhere=True), ("node", "peer")),
    "partition-one-way": Kind(lambda i, f: injections.cut(i, f, ways=1, everywhere=True), ("node", "peer")),
    "path-cut": Kind(lambda i, f: injections.cut(i, f, ways=2, everywhere=False), ("node", "peer", "network")),
    "partition-channel": Kind(injections.channel_cut, ("node", "peer")),
    "one-way-loss": Kind(lambda i, f: injections.cut(i, f, ways=1, everywhere=False), ("node", "peer", "network")),
    "loss": Kind(injections.lan("loss"), ("lan",), (0.01, 0.4)),
    "packet-loss": Kind(injections.lan("vrrp_loss"), ("lan",), (0.1, 0.6)),
    "packet-corrupt": Kind(injections.lan("vrrp_corrupt"), ("lan",), (0.2, 0.8)),
    "flap": Kind(injections.flap, ("node", "network"), (400 * MILLISECOND, 1500 * MILLISECOND), lasts=8 * SECOND),
    "forged-advertisements": Kind(injections.forged, ("lan",), FORGE_EVERY, targets=FORGERIES, weight=4, harmless=True),
    "hostile-flood": Kind(
        injections.forged, ("lan",), targets=("anything",), lasts=2 * SECOND, weight=1, harmless=True
    ),
    "rules-flushed": Kind(
        injections.kernel_loses("rules"), amounts=(5 * MILLISECOND, 100 * MILLISECOND), instant=True, harmless=True
    ),
    "address-deleted": Kind(
        injections.kernel_loses("addresses"), amounts=(5 * MILLISECOND, 100 * MILLISECOND), instant=True, harmless=True
    ),
    "disk-full": Kind(injections.disk_full, harmless=True),
    "clock-step": Kind(injections.clock_step, amounts=(SECOND, 1000 * SECOND), instant=True, harmless=True),
    "duplication": Kind(injections.lan("duplicate"), ("lan",), (0.1, 0.9), weight=1),
    "reordering": Kind(injections.lan("reorder"), ("lan",), (0.1, 0.9), weight=1),
    "delay": Kind(injections.lan("delay"), ("lan",), (MILLISECOND, 8 * MILLISECOND), weight=1),
    "slow-kernel": Kind(injections.slow_kernel, amounts=(10 * MILLISECOND, 1500 * MILLISECOND)),
    "kernel-refuses": Kind(injections.refusing_kernel),
    "cpu-starve": Kind(injections.late_ticks, amounts=(MILLISECOND, 150 * MILLISECOND)),
    "maintenance": Kind(injections.maintenance, weight=3),
    "switchover": Kind(injections.switchover, ("group",), instant=True, weight=4),
    "replication-loss": Kind(injections.replication("loss"), (), (0.05, 1.0), stateful=True),
    "replication-reorder": Kind(injections.replication("reorder"), (), (0.1, 0.9), stateful=True),
    "event-overrun": Kind(injections.overrun, stateful=True),
    "slow-standby": Kind(injections.slow_writes, amounts=(5 * MILLISECOND, 1500 * MILLISECOND), stateful=True),
    "replicator-freeze": Kind(injections.replicator_freeze, stateful=True),
    "replicator-kill": Kind(injections.replicator_kill, instant=True, stateful=True),
    "hosts-down": Kind(injections.hosts_down, ("lan",), weight=1),
    "server-down": Kind(injections.server_down, ("server",), weight=1, harmless=True),
    "server-flaps": Kind(injections.server_flaps, ("server",), (0.2, 0.8), weight=1, harmless=True),
}
PATH_CUTS = frozenset({"partition", "partition-one-way", "partition-channel", "path-cut", "one-way-loss"})
