"""A simulated machine: a core (or none), a kernel, and what its processes are doing."""

from enum import Enum

from understudy.core.events import Event
from understudy.core.node import Node
from understudy.core.settings import NodeSettings
from understudy.sim.kernel import Kernel, lease_lengths
from understudy.units import Address, Family, GroupName, NetworkName
from understudy.wire.heartbeat import Role

INBOX_MAX = 256
"""Frames and datagrams that the sockets of a frozen process hold; later ones are dropped."""


class Process(Enum):
    RUNNING = "running"
    FROZEN = "frozen"
    STARTING = "starting"
    """The core died and is forked anew; the sockets, held by the supervisor, keep what arrives."""
    DEAD = "dead"
    """No process of the agent is left; the kernel goes on."""
    OFF = "off"


class Machine:
    """State only: the world moves it."""

    __slots__ = (
        "began_at",
        "core",
        "disk_full",
        "epoch",
        "finishing_since",
        "inbox",
        "index",
        "kernel",
        "last_sent",
        "late",
        "lease_lengths",
        "life",
        "local",
        "maintenance",
        "misconfigured",
        "name",
        "offered",
        "offering",
        "owns",
        "passed_gate",
        "process",
        "ready_at",
        "role_changes",
        "roles",
        "sequence",
        "settings",
        "stopping",
        "tick_number",
        "tick_time",
    )

    def __init__(self, settings: NodeSettings, local: dict[tuple[NetworkName, Family], Address]) -> None:
        self.settings = settings
        self.misconfigured: NodeSettings | None = None
        """The right settings, while it runs by others."""
        self.name = settings.name
        self.index = settings.number
        self.local = local
        """Its own source address on each LAN."""
        self.kernel = Kernel()
        self.lease_lengths = lease_lengths(settings)
        self.core: Node | None = None
        self.process = Process.OFF
        self.life = 0
        """Grows whenever the core begins or ends: what was meant for an earlier one is void."""
        self.epoch = 0
        self.maintenance = False
        """In the node's store."""
        self.disk_full = 0
        """How many faults make its store refuse."""
        self.stopping = False
        self.inbox: list[Event] = []
        self.tick_time: int = 1 << 62
        self.tick_number = -1
        """Of the scheduled Tick that counts; others are superseded."""
        self.late = 0
        """How much later than asked a Tick may come, by a fault."""
        self.began_at = 0
        """When its core began."""
        self.ready_at = 0
        """Since when its core runs without having been frozen."""
        self.sequence = -1
        """Of the newest heartbeat of this life."""
        self.last_sent: dict[GroupName, tuple[int, int]] = {}
        """When this life of the core last refreshed a group's lease, and when that refresh ends."""
        self.offered: dict[GroupName, tuple[int, int]] = {}
        """Token and time of the latest offer of each group."""
        self.roles: dict[GroupName, Role] = {}
        """As the effects tell it, in their order: the core itself is already at the end of its thought."""
        self.offering: dict[GroupName, int] = {}
        """Since when it offers a group, while it does."""
        self.owns: set[GroupName] = set()
        """Of which groups' flows its core takes this kernel for the original."""
        self.passed_gate: dict[GroupName, str] = {}
        """How its core's latest promotion passed the gate: done or waived."""
        self.role_changes: dict[GroupName, int] = dict.fromkeys((g.name for g in settings.groups), 0)

    def misconfigure(self, settings: NodeSettings | None) -> None:
        """By which settings its next core runs; None for the right ones again."""
        if settings is None:
            assert self.misconfigured is not None
            self.settings, self.misconfigured = self.misconfigured, None
        else:
            self.misconfigured, self.settings = self.settings, settings
        self.lease_lengths = lease_lengths(self.settings)

    @property
    def running(self) -> bool:
        return self.process is Process.RUNNING
