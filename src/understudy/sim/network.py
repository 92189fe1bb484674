"""The LANs between the simulated nodes: what a frame meets on its way, decided when it leaves.

A LAN is a switch with one port a node. Faults sit on the ports (no carrier, deaf, mute), between two ports (cut, one
way) or on the whole LAN (loss, delay, duplication, reordering), and add up: what two faults took away, one cannot give
back. The network also keeps the evidence that the checker judges by: what arrived, what was lost, and when.
"""

from dataclasses import dataclass, field
from random import Random

from understudy.units import MICROSECOND, MILLISECOND, Duration, GroupName, Instant, NetworkName, NodeName

DELAY: Duration = 80 * MICROSECOND
JITTER: Duration = 120 * MICROSECOND


@dataclass(slots=True)
class Port:
    """A node's port on a LAN. The counters say how many faults hold it down, deaf or mute now."""

    down: int = 0
    deaf: int = 0
    mute: int = 0


@dataclass(slots=True)
class Lan:
    """What holds for every frame on it. `loss`, `duplicate` and `reorder` are probabilities."""

    loss: float = 0.0
    vrrp_loss: float = 0.0
    """Of advertisements alone."""
    vrrp_corrupt: float = 0.0
    """Of advertisements that arrive with a byte changed."""
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: Duration = DELAY
    jitter: Duration = JITTER

    @property
    def plain(self) -> bool:
        return not (self.loss or self.duplicate or self.reorder)


@dataclass(slots=True)
class Evidence:
    """What became of the frames of one node on their way to another: the judge's memory, unknown to both."""

    newest_arrived: int = -1
    """When the newest frame that has arrived was sent."""
    advertised_at: dict[GroupName, int] = field(default_factory=dict)
    """When an advertisement of an Active arrived last."""
    lost_at: dict[NetworkName, int] = field(default_factory=dict)
    """When a frame was last lost on each LAN."""
    question_lost_at: int = -1
    """When a question about a virtual address to that node, or its answer, was last lost."""

    def clean_since(self, networks: tuple[NetworkName, ...]) -> int:
        """Since when the best of these LANs has lost nothing."""
        return min((self.lost_at.get(name, -1) for name in networks), default=-1)


class Network:
    """All LANs, and which way through them is open."""

    def __init__(self, rng: Random, networks: tuple[NetworkName, ...]) -> None:
        self._rng = rng
        self.lans = {name: Lan() for name in networks}
        self.ports: dict[tuple[NodeName, NetworkName], Port] = {}
        self.cuts: dict[tuple[NetworkName, NodeName, NodeName], int] = {}
        self.channel_cuts: dict[tuple[NodeName, NodeName], int] = {}
        """Ways on which heartbeats are dropped on every path, and nothing else."""
        self.hosts_down: dict[NetworkName, int] = {}
        self.evidence: dict[tuple[NodeName, NodeName], Evidence] = {}
        self.changes = 0
        """How often a fault began or ended."""
        self._open: dict[tuple[NetworkName, NodeName, NodeName], bool] = {}
        """Ways on which nothing but time happens to a frame; forgotten whenever a fault begins or ends."""

    def attach(self, node: NodeName, network: NetworkName) -> None:
        self.ports[node, network] = Port()

    def changed(self) -> None:
        """A fault began or ended."""
        self.changes += 1
        self._open.clear()

    def carry(self, now: Instant, network: NetworkName, source: NodeName, target: NodeName) -> tuple[int, ...]:
        """When the copies of a frame that leaves now arrive; none if it is lost."""
        lan = self.lans[network]
        is_open = self._open.get((network, source, target))
        if is_open is None:
            is_open = self._open[network, source, target] = lan.plain and self.passes(network, source, target)
        rng = self._rng
        if is_open:
            return (now + lan.delay + int(rng.random() * lan.jitter),)
        if not self.passes(network, source, target) or rng.random() < lan.loss:
            self.evidence[source, target].lost_at[network] = now
            return ()
        arrival = now + lan.delay + int(rng.random() * lan.jitter)
        if rng.random() < lan.reorder:
            arrival += int(rng.random() * 20 * MILLISECOND)
        if rng.random() < lan.duplicate:
            return (arrival, arrival + int(rng.random() * 5 * MILLISECOND))
        return (arrival,)

    def carry_heartbeat(
        self, now: Instant, network: NetworkName, source: NodeName, target: NodeName
    ) -> tuple[int, ...]:
        """As `carry`, of a datagram of the channel."""
        if self.channel_cuts and self.channel_cuts.get((source, target)):
            self.evidence[source, target].lost_at[network] = now
            return ()
        return self.carry(now, network, source, target)

    def spoils(self, now: Instant, network: NetworkName, source: NodeName, target: NodeName) -> bool:
        """Whether an advertisement is lost for being one."""
        lan = self.lans[network]
        if not lan.vrrp_loss or self._rng.random() >= lan.vrrp_loss:
            return False
        self.evidence[source, target].lost_at[network] = now
        return True

    def hears(self, node: NodeName, network: NetworkName) -> bool:
        """Whether a frame of somebody else on the LAN reaches the node."""
        port = self.ports.get((node, network))
        return port is not None and not port.down and not port.deaf

    def ask_host(self, network: NetworkName, node: NodeName) -> int | None:
        """How long a host on the LAN takes to answer the node; None if question or answer is lost."""
        port, lan = self.ports[node, network], self.lans[network]
        if port.down or port.deaf or port.mute or self.hosts_down.get(network):
            return None
        if self._rng.random() < lan.loss or self._rng.random() < lan.loss:
            return None
        return 2 * lan.delay + int(self._rng.random() * lan.jitter)

    def has_carrier(self, node: NodeName, network: NetworkName) -> bool:
        return not self.ports[node, network].down

    def passes(self, network: NetworkName, source: NodeName, target: NodeName) -> bool:
        """Whether a frame gets from one node to another unless it is lost by chance."""
        leaving, entering = self.ports[source, network], self.ports[target, network]
        if leaving.down or leaving.mute or entering.down or entering.deaf:
            return False
        return not self.cuts.get((network, source, target))
