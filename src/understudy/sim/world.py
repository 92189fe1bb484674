"""The simulated world: virtual time, the machines of the file, and what their processes go through.

The machines run the very `core.node.Node` of the agent. Effects are carried out as the agent does: what goes to a
socket at once (sim.wires), what changes the kernel through hands that take their time (sim.hands).

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
    LocalAddressLearned,
    Started,
    StopCommanded,
    Tick,
    WitnessesLearned,
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
from understudy.sim.servers import Servers
from understudy.sim.wires import Wires
from understudy.units import (
    MICROSECOND,
    MILLISECOND,
    SECOND,
    Duration,
    Instant,
    NetworkName,
    NodeName,
)

_TICK = Tick()
_FORK: Duration = 20 * MILLISECOND
"""From the death of a core to the first event of the next, forked by the supervisor."""
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
        self._make_node = make_node
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        members = {name for group in plan.groups for name in group.nodes}
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
        self._decided: dict[str, int] = {}
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

    # --- the processes of a machine

    def boot(self, machine: Machine) -> None:
        """Power on, agent up. The kernel begins empty."""
        if machine.process is Process.OFF:
            machine.kernel.reset()
            self.start(machine)

    def start(self, machine: Machine) -> None:
        """A core begins, and finds what the kernel holds."""
        kernel, settings = machine.kernel, machine.settings
        held = frozenset(
            group.name
            for group in settings.groups
            if kernel.links_up.get(group.name)
            and kernel.lease_until.get(group.name, -1) > self.now
            and group.name not in kernel.quiet
        )
        machine.life += 1
        machine.epoch += 1
        machine.process = Process.RUNNING
        machine.ready_at = machine.began_at = self.now
        machine.stopping = False
        machine.sequence = -1
        machine.last_sent.clear()
        machine.tick_time, machine.tick_number = NEVER, -1
        machine.core = self._make_node(settings, epoch=machine.epoch, maintenance=machine.maintenance)
        for (_, target), evidence in self.network.evidence.items():
            if target == machine.name:
                evidence.newest_arrived = self.now  # a new core knows that it knows nothing, and has to ask
        self.note(machine.name, "core", f"epoch {machine.epoch} begins" + (" and adopts what is held" if held else ""))
        for (network, family), address in machine.local.items():
            self.handle(machine, LocalAddressLearned(network, family, address))
        for network in machine.core.lans:
            if not self.network.has_carrier(machine.name, network):
                self.handle(machine, CarrierChanged(network, False))
            self.handle(machine, WitnessesLearned(network, (self.hosts[network],)))
        self.handle(machine, Started(held))
        self.flows.core_began(machine)
        inbox, machine.inbox = machine.inbox, []
        for event in inbox:
            self.handle(machine, event)
        self.servers.begin_checks(machine)

    def freeze(self, machine: Machine) -> bool:
        if machine.process is not Process.RUNNING:
            return False
        machine.process = Process.FROZEN
        self.note(machine.name, "processes", "frozen")
        return True

    def thaw(self, machine: Machine) -> None:
        """Everything that waited comes at once, and only then the clock is looked at."""
        if machine.process is not Process.FROZEN:
            return
        machine.process = Process.RUNNING
        machine.ready_at = self.now
        self.note(machine.name, "processes", "go on")
        inbox, machine.inbox = machine.inbox, []
        for event in inbox:
            if machine.process is Process.RUNNING:
                self.handle(machine, event)
        self.hands.thaw(machine)
        self.flows.thaw(machine)
        if machine.process is Process.RUNNING:
            self._tick_now(machine)

    def kill_core(self, machine: Machine) -> bool:
        """Only the core dies; its supervisor forks the next one at once."""
        if machine.process is not Process.RUNNING:
            return False
        self._end(machine, Process.STARTING, "core killed")
        self.at(self.now + _FORK, self._forked, machine, machine.life)
        return True

    def kill(self, machine: Machine) -> bool:
        """All processes of the agent die."""
        if machine.process not in (Process.RUNNING, Process.FROZEN, Process.STARTING):
            return False
        machine.kernel.drop_commands()
        self.flows.end(machine)
        self._end(machine, Process.DEAD, "all processes killed")
        return True

    def power_off(self, machine: Machine) -> bool:
        if machine.process is Process.OFF:
            return False
        machine.kernel.reset()
        self.flows.end(machine)
        self.flows.power_off(machine)
        self._end(machine, Process.OFF, "power lost")
        self.hands.look_at_all(machine)
        return True

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
            self._tick_now(machine)

    def _tick_now(self, machine: Machine) -> None:
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

    def _forked(self, machine: Machine, life: int) -> None:
        if machine.process is Process.STARTING and machine.life == life:
            self.start(machine)

    def rows_walked(self) -> dict[str, int]:
        """How often each row of the decision's table came into force, and each move without choice was made."""
        walked = dict(self._decided)
        for machine in self.machines.values():
            _add_rows(machine, walked)
        return walked

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
        self._end(machine, Process.DEAD, "agent stopped")

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

    # --- below

    def _end(self, machine: Machine, process: Process, why: str) -> None:
        _add_rows(machine, self._decided)
        machine.process = process
        machine.life += 1
        machine.core = None
        machine.roles.clear()
        machine.offering.clear()
        machine.owns.clear()
        machine.passed_gate.clear()
        machine.stopping = False
        machine.inbox.clear()
        machine.tick_time, machine.tick_number = NEVER, -1
        self.note(machine.name, "processes", why)


def _add_rows(machine: Machine, to: dict[str, int]) -> None:
    if machine.core is not None:
        for group in machine.core.groups.values():
            for name, times in group.decided.items():
                to[name] = to.get(name, 0) + times
