"""The simulated world: virtual time, the machines of the file, events into their cores and effects out of them.

The machines run the very `core.node.Node` of the agent. Effects are carried out as the agent does: what goes to a
socket at once (sim.wires), what changes the kernel through hands that take their time (sim.hands). What the processes
of a machine go through is in sim.processes.

Guarantee: one heap of plain tuples, one thread, one seeded generator. The same seed gives the same events in the same
order, and a digest over all of them says so.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Literal
from zlib import crc32

from understudy.config.plan import Plan
from understudy.core.effects import (
    AskAddresses,
    AskFlows,
    AskWitnesses,
    Decided,
    Dropped,
    Finish,
    LeaseChanged,
    Moved,
    Noted,
    OwnFlows,
    Persist,
    Quieten,
    RevokeLease,
    SendHeartbeat,
    SendVrrp,
    SetRole,
    Step,
)
from understudy.core.events import (
    CarrierChanged,
    Event,
    StopCommanded,
    Tick,
)
from understudy.core.node import Node
from understudy.core.promotion import AT_GATE
from understudy.core.settings import NodeSettings
from understudy.core.timers import NEVER
from understudy.sim.addresses import hosts_of, local_addresses
from understudy.sim.attacker import Attacker
from understudy.sim.checker import Checker, Violation
from understudy.sim.flows import Flows
from understudy.sim.hands import Hands
from understudy.sim.machine import Machine, Process
from understudy.sim.network import Network
from understudy.sim.processes import Processes
from understudy.sim.servers import Servers
from understudy.sim.wires import Wires
from understudy.units import (
    MICROSECOND,
    SECOND,
    Duration,
    GroupName,
    Instant,
    NetworkName,
    NodeName,
)

_TICK = Tick()
TICK_LATE: Duration = 200 * MICROSECOND
"""An idle machine's scheduler is up to so late."""

TAIL_LINES = 200
Keep = Literal["tail", "story", "all"]
"""Of the trace: what came last, everything but the routine of sending and hearing, or every event."""

Line = tuple[int, NodeName, str, Any]
"""A line of the trace: when, where, what kind, and what (formatted only when somebody reads it)."""


class World:
    """Every machine of the file that is in a group, and what is between them."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        *,
        make_node: Callable[..., Node] = Node,
        settings: Callable[[NodeSettings], NodeSettings] = lambda settings: settings,
        keep: Keep = "tail",
        check_all: bool = False,
    ) -> None:
        """`keep` says how much of the trace is kept; `check_all` looks at every invariant after each event, not only
        where it may have changed: slow, for the test that nothing else needs looking at.
        """
        self.plan = plan
        self.seed = seed
        self.now: int = 0
        self.events = 0
        self.digest = 0
        self.rng = Random(seed)
        self.trace: deque[Line] = deque(maxlen=TAIL_LINES if keep == "tail" else None)
        self.keep_all = keep == "all"
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._members = {group.name: group.nodes for group in plan.groups}
        members = {name for names in self._members.values() for name in names}
        self.machines: dict[NodeName, Machine] = {}
        self.network = Network(self.rng, tuple(network.name for network in plan.networks))
        for node in plan.nodes:
            if node.name in members:
                told = settings(plan.settings(node.name))
                self.machines[node.name] = Machine(told, local_addresses(plan, told))
        self.hosts = hosts_of(plan)
        """One more host on each LAN, a client or the next router: a neighbour that the kernels know."""
        self.servers = Servers(self, plan)
        self.wires = Wires(self)
        self.hands = Hands(self)
        self.attacker = Attacker(self)
        self.checker = Checker(self, check_all=check_all)
        self.flows = Flows(self)
        self.processes = Processes(self, make_node)
        self._carry_out: dict[type, Callable[[Machine, Any], None]] = {
            SendVrrp: self.wires.send_vrrp,
            SendHeartbeat: self.wires.send_heartbeat,
            AskWitnesses: self.wires.ask_witnesses,
            AskAddresses: self.wires.ask_addresses,
            AskFlows: self.flows.ask,
            OwnFlows: self.flows.own,
            RevokeLease: self.hands.revoke_lease,
            Quieten: self.hands.quieten,
            SetRole: self.hands.set_role,
            Persist: self._persist,
            Finish: self._finish,
            Moved: self._moved,
            Decided: lambda machine, effect: self.note(machine.name, "decided", effect),
            Step: self._step,
            LeaseChanged: lambda machine, effect: self.note(machine.name, "lease", effect),
            Noted: lambda machine, effect: self.note(machine.name, "noted", effect),
            Dropped: lambda machine, effect: self.note(machine.name, "dropped", effect),
        }

    def members(self, group: GroupName) -> list[Machine]:
        """Those that stand in for each other."""
        return [self.machines[name] for name in self._members[group]]

    # --- time

    def at(self, when: int, action: Callable[..., None], *arguments: Any) -> None:
        """Do something later. What is due at the same moment happens in the order in which it was asked for."""
        self._number += 1
        heappush(self._heap, (when, self._number, action, arguments))

    def run(self, until: int) -> None:
        """Let time pass. Raises Violation as soon as an invariant does not hold."""
        heap = self._heap
        checker = self.checker
        while heap and heap[0][0] <= until:
            now, number, action, arguments = heappop(heap)
            self.now = now
            self.events += 1
            self.digest = hash((self.digest, now, number))
            action(*arguments)
            if checker.check_all:
                checker.look_at_everything()
        self.now = until

    def note(self, where: NodeName, kind: str, what: Any) -> None:
        """A line of the trace."""
        self.digest = hash((self.digest, self.now, crc32(kind.encode())))
        self.trace.append((self.now, where, kind, what))

    # --- what comes from outside

    def command(self, machine: Machine, event: Event) -> bool:
        """What an operator types; only a running core hears it."""
        if machine.process is not Process.RUNNING:
            return False
        if isinstance(event, StopCommanded):
            machine.stopping = True
            self.at(self.now + 6 * SECOND + machine.kernel.slow, self.checker.stopped_in_time, machine, machine.life)
        self.note(machine.name, "command", event)
        self.handle(machine, event)
        return True

    def set_carrier(self, machine: Machine, network: NetworkName) -> None:
        """The state of a port's carrier changed: the kernel gates at once, the core hears of it a little later."""
        up = self.network.has_carrier(machine.name, network)
        self.hands.look_at_all(machine)
        self.at(self.now + 300 * MICROSECOND, self.arrive, machine, CarrierChanged(network, up), machine.life)

    # --- events into a core

    def handle(self, machine: Machine, event: Event) -> None:
        """Let the core think, carry out what it decides, and see to its next Tick."""
        core = machine.core
        if core is None:
            return
        if self.keep_all:
            self.note(machine.name, "event", event)
        try:
            effects = core.handle(Instant(self.now), event)
            if effects:
                for effect in effects:
                    do = self._carry_out.get(type(effect))
                    if do is not None:
                        do(machine, effect)
                    elif self.keep_all:
                        self.note(machine.name, "effect", effect)
                if core is not machine.core:
                    return  # it has finished
            deadline = core.next_deadline()
        except Violation:
            raise
        except Exception as error:
            raise self.checker.violation(
                "no-exception", f"{type(error).__name__} on {machine.name} from {event}: {error}"
            ) from error
        if deadline is not None and deadline < machine.tick_time:
            self._schedule_tick(machine, deadline)

    def _schedule_tick(self, machine: Machine, deadline: int) -> None:
        late = int(self.rng.random() * (TICK_LATE + machine.late))
        number = self._number + 1
        machine.tick_time, machine.tick_number = deadline, number
        self.at(max(deadline, self.now) + late, self._tick, machine, number)

    def _tick(self, machine: Machine, number: int) -> None:
        if number == machine.tick_number and machine.process is Process.RUNNING:
            self.tick_now(machine)

    def tick_now(self, machine: Machine) -> None:
        """A running core looks at the clock."""
        core = machine.core
        assert core is not None
        machine.tick_time = NEVER
        deadline = core.next_deadline()
        if deadline is None or deadline > self.now:
            if deadline is not None:
                self._schedule_tick(machine, deadline)
            return
        self.handle(machine, _TICK)
        if machine.core is core and machine.tick_time <= self.now:
            self.checker.stuck(machine, machine.tick_time)

    def arrive(self, machine: Machine, event: Event, life: int) -> None:
        """Something local that only the core of this life waits for, or (life -1) any core."""
        if life not in (-1, machine.life):
            return
        if machine.process is Process.RUNNING:
            self.handle(machine, event)
        elif machine.process is Process.FROZEN or (machine.process is Process.STARTING and life == -1):
            machine.inbox.append(event)

    # --- effects out of a core

    def _persist(self, machine: Machine, effect: Persist) -> None:
        if machine.disk_full:
            self.note(machine.name, "store", "refuses: no space left")
            return
        machine.maintenance = effect.maintenance

    def _finish(self, machine: Machine, effect: Finish) -> None:
        self.checker.finished(machine)
        machine.kernel.reset()  # the agent takes its links and tables along
        self.flows.end(machine)
        self.processes.end(machine, Process.DEAD, "agent stopped")

    def _moved(self, machine: Machine, effect: Moved) -> None:
        self.note(machine.name, "moved", effect)
        self.checker.moved(machine, effect)

    def _step(self, machine: Machine, effect: Step) -> None:
        self.note(machine.name, "step", effect)
        if (effect.step, effect.phase) == ("promotion", "started"):
            self.flows.promised.pop((machine.name, effect.group), None)
        elif effect.step in AT_GATE and effect.phase in ("done", "waived"):
            if effect.step == "gate" or effect.phase == "waived":
                machine.passed_gate[effect.group] = effect.phase
        elif effect.step == "handover":
            machine.offering.pop(effect.group, None)
            if effect.phase == "offered":
                assert machine.core is not None
                machine.offered[effect.group] = machine.core.groups[effect.group].handover.token, self.now
                machine.offering[effect.group] = self.now
            elif effect.phase == "done":
                self.checker.handed_over(machine, effect.group)
