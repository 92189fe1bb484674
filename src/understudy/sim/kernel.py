"""One node's kernel, as far as the core depends on it: virtual links, the lease, and the hands that change them.

The hands are a process of their own: commands are carried out one after another and take time, and a core that died
does not learn how they ended. Links and leases outlive every process, and nothing but power.
"""

from dataclasses import dataclass, field
from random import Random

from understudy.core.lease import lease_length
from understudy.core.settings import NodeSettings
from understudy.units import MILLISECOND, Duration, GroupName, Instant
from understudy.wire.heartbeat import Lease

COMMAND_NS: Duration = 2 * MILLISECOND


@dataclass(slots=True)
class Command:
    """One order to the hands: a role to take, or (`active` None) a lease to end, or quiet to keep or to end."""

    group: GroupName
    active: bool | None
    token: int
    life: int
    """Which life of the core gave it."""
    error: str = ""
    quiet: bool | None = None


@dataclass(slots=True)
class Kernel:
    """What the kernel holds for each group, and the state of the hands."""

    links_up: dict[GroupName, bool] = field(default_factory=dict)
    lease_until: dict[GroupName, int] = field(default_factory=dict)
    quiet: set[GroupName] = field(default_factory=set)
    """Nothing leaves from the virtual MAC of these: they are not answered for."""
    quiet_ordered_at: int = 0
    """When the hands were last told to make a group quiet."""
    missing: int = 0
    """How many faults have flushed the rules, with which the lease goes, and deleted the addresses; until repaired."""
    repaired_at: int = -1
    refreshed_at: dict[GroupName, int] = field(default_factory=dict)
    answering: dict[GroupName, bool] = field(default_factory=dict)
    """As last judged by the world: links up, lease alive, a port with carrier."""
    ending: dict[GroupName, int] = field(default_factory=dict)
    """Orders to end the lease that the hands have not carried out yet."""
    watched_until: dict[GroupName, int] = field(default_factory=dict)
    """When the end of the lease will be looked at next: not later than it ends."""
    busy_until: int = 0
    slow: Duration = 0
    """Of a fault: what each command takes longer, at most."""
    refuses: int = 0
    """How many faults make it refuse roles."""
    hands: int = 0
    """Grows when the hands die: what they had still to do is lost."""
    waiting: list[Command] = field(default_factory=list)
    """Commands that came due while all processes were frozen."""

    def reset(self) -> None:
        """Power was lost."""
        self.links_up.clear()
        self.lease_until.clear()
        self.quiet.clear()
        self.missing = 0
        self.drop_commands()

    def drop_commands(self) -> None:
        self.hands += 1
        self.busy_until = 0
        self.ending.clear()
        self.waiting.clear()

    def schedule(self, now: Instant, rng: Random) -> int:
        """When the next command will have been carried out."""
        took = COMMAND_NS // 2 + int(rng.random() * COMMAND_NS) + int(rng.random() * self.slow)
        self.busy_until = max(now, self.busy_until) + took
        return self.busy_until


def lease_lengths(settings: NodeSettings) -> dict[tuple[GroupName, Lease], Duration]:
    """What the kernel makes of each refresh: rounded down to its tick."""
    lengths = {}
    for group in settings.groups:
        for lease in Lease:
            length = lease_length(lease, group.advertise, settings.jiffy, settings.lease_long)
            lengths[group.name, lease] = length // settings.jiffy * settings.jiffy
    return lengths
