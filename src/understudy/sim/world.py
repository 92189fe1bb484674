"""The simulated world: virtual time, the machines of the file, and the wires between them.

One heap of plain tuples, one thread, one seeded generator: the same seed gives the same events in the same order, and a
digest over all of them says so. The machines run the very `core.node.Node` of the agent; between them go the very
bytes of the wire (only the channel's encryption is left out). Effects are carried out as the agent does: what goes to a
socket at once, what changes the kernel through hands that take their time.
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
    AskWitnesses,
    Dropped,
    Finish,
    LeaseChanged,
    Moved,
    Noted,
    Persist,
    Quieten,
    RevokeLease,
    SendHeartbeat,
    SendVrrp,
    SetRole,
    Step,
)
from understudy.core.events import (
    AddressAnswered,
    CarrierChanged,
    CheckFinished,
    Event,
    HeartbeatReceived,
    LocalAddressLearned,
    RoleSet,
    Started,
    StopCommanded,
    Tick,
    VrrpReceived,
    WitnessAnswered,
    WitnessesLearned,
)
from understudy.core.node import Node
from understudy.core.settings import NodeSettings
from understudy.sim.addresses import hosts_of, local_addresses
from understudy.sim.checker import Checker, Violation
from understudy.sim.kernel import Command
from understudy.sim.machine import INBOX_MAX, Machine, Process
from understudy.sim.network import Evidence, Network
from understudy.units import (
    MICROSECOND,
    MILLISECOND,
    SECOND,
    Address,
    Duration,
    GroupName,
    Instant,
    NetworkName,
    NodeName,
)
from understudy.wire.frame import parse_frame
from understudy.wire.heartbeat import Lease

_NEVER = 1 << 62
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
        self._vrrp_peers: dict[tuple[NodeName, NetworkName], list[tuple[Machine, Evidence]]] = {}
        self._heartbeat_paths: dict[NodeName, list[tuple[NetworkName, Machine, Evidence]]] = {}
        self._wire()
        self.checks_down: set[int] = set()
        """Bindings whose server does not answer now."""
        self.checks_flapping: dict[int, float] = {}
        """... or answers with this probability only."""
        self._check_every = {s.binding: service.check.every for service in plan.services for s in service.servers}
        self._checked = {
            (binding, ok): CheckFinished(binding, ok, "ok" if ok else "no answer")
            for binding in self._check_every
            for ok in (True, False)
        }
        self._packets: dict[tuple[NetworkName, bytes], VrrpReceived] = {}
        self.checker = Checker(self, check_all=check_all)
        self._carry_out: dict[type, Callable[[Machine, Any], None]] = {
            SendVrrp: self._send_vrrp,
            SendHeartbeat: self._send_heartbeat,
            RevokeLease: lambda machine, effect: self._order(machine, Command(effect.group, None, 0, machine.life)),
            Quieten: lambda machine, effect: self._order(
                machine, Command(effect.group, None, 0, machine.life, quiet=effect.on)
            ),
            SetRole: lambda machine, effect: self._order(
                machine, Command(effect.group, effect.active, effect.token, machine.life)
            ),
            AskWitnesses: self._ask_witnesses,
            AskAddresses: self._ask_addresses,
            Persist: self._persist,
            Finish: self._finish,
            Moved: self._moved,
            Step: self._step,
            LeaseChanged: lambda machine, effect: self.note(machine.name, "lease", effect),
            Noted: lambda machine, effect: self.note(machine.name, "noted", effect),
            Dropped: lambda machine, effect: self.note(machine.name, "dropped", effect),
        }

    # --- time

    def at(self, when: int, action: Callable[..., None], *arguments: Any) -> int:
        """Do something later; its number tells it from others."""
        self._number += 1
        heappush(self._heap, (when, self._number, action, arguments))
        return self._number

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
            if kernel.links_up.get(group.name) and kernel.lease_until.get(group.name, -1) > self.now
        )
        machine.life += 1
        machine.epoch += 1
        machine.process = Process.RUNNING
        machine.ready_at = self.now
        machine.stopping = False
        machine.sequence = -1
        machine.last_sent.clear()
        machine.tick_time, machine.tick_number = _NEVER, -1
        machine.core = self._make_node(settings, epoch=machine.epoch, maintenance=machine.maintenance)
        for evidence in self._evidence_of_others(machine):
            evidence.newest_arrived = self.now  # a new core knows that it knows nothing, and has to ask
        self.note(machine.name, "core", f"epoch {machine.epoch} begins" + (" and adopts what is held" if held else ""))
        for (network, family), address in machine.local.items():
            self._handle(machine, LocalAddressLearned(network, family, address))
        for network in machine.core.lans:
            if not self.network.has_carrier(machine.name, network):
                self._handle(machine, CarrierChanged(network, False))
            self._handle(machine, WitnessesLearned(network, (self.hosts[network],)))
        self._handle(machine, Started(held))
        inbox, machine.inbox = machine.inbox, []
        for event in inbox:
            self._handle(machine, event)
        for server in settings.servers:
            every = self._check_every[server.binding]
            first = self.now + int(self.rng.random() * every)
            self.at(first, self._check, machine, machine.life, server.binding, every)

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
                self._handle(machine, event)
        commands, machine.kernel.waiting = machine.kernel.waiting, []
        for command in commands:
            self._done(machine, command, machine.kernel.hands)
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
        self._end(machine, Process.DEAD, "all processes killed")
        return True

    def power_off(self, machine: Machine) -> bool:
        if machine.process is Process.OFF:
            return False
        machine.kernel.reset()
        self._end(machine, Process.OFF, "power lost")
        for group in machine.settings.groups:
            self._look(machine, group.name)
        return True

    def command(self, machine: Machine, event: Event) -> bool:
        """What an operator types; only a running core hears it."""
        if machine.process is not Process.RUNNING:
            return False
        if isinstance(event, StopCommanded):
            machine.stopping = True
            self.at(self.now + 6 * SECOND + machine.kernel.slow, self.checker.stopped_in_time, machine, machine.life)
        self.note(machine.name, "command", event)
        self._handle(machine, event)
        return True

    def set_carrier(self, machine: Machine, network: NetworkName) -> None:
        """The state of a port's carrier changed: the kernel gates at once, the core hears of it a little later."""
        up = self.network.has_carrier(machine.name, network)
        for group in machine.settings.groups:
            self._look(machine, group.name)
        self.at(self.now + 300 * MICROSECOND, self._arrive, machine, CarrierChanged(network, up), machine.life)

    # --- events into a core

    def _handle(self, machine: Machine, event: Event) -> None:
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
        when = max(deadline, self.now) + late
        machine.tick_time = deadline
        self._number += 1
        machine.tick_number = self._number
        heappush(self._heap, (when, self._number, self._tick, (machine, self._number)))

    def _tick(self, machine: Machine, number: int) -> None:
        if number == machine.tick_number and machine.process is Process.RUNNING:
            self._tick_now(machine)

    def _tick_now(self, machine: Machine) -> None:
        core = machine.core
        assert core is not None
        machine.tick_time = _NEVER
        deadline = core.next_deadline()
        if deadline is None or deadline > self.now:
            if deadline is not None:
                self._schedule_tick(machine, deadline)
            return
        self._handle(machine, _TICK)
        if machine.core is core and machine.tick_time <= self.now:
            self.checker.stuck(machine, machine.tick_time)

    def _arrive(self, machine: Machine, event: Event, life: int) -> None:
        """Something local that only the core of this life waits for, or (life -1) any core."""
        if life not in (-1, machine.life):
            return
        if machine.process is Process.RUNNING:
            self._handle(machine, event)
        elif machine.process is Process.FROZEN or (machine.process is Process.STARTING and life == -1):
            machine.inbox.append(event)

    def _arrive_frame(self, machine: Machine, event: Event, evidence: Evidence, sent: int) -> None:
        if machine.process is Process.OFF:
            return
        evidence.newest_arrived = max(evidence.newest_arrived, sent)
        if machine.process is Process.RUNNING:
            self._handle(machine, event)
        elif machine.process is not Process.DEAD and len(machine.inbox) < INBOX_MAX:
            machine.inbox.append(event)

    def _arrive_advertisement(
        self, machine: Machine, event: Event, evidence: Evidence, sent: int, group: GroupName
    ) -> None:
        """Of an Active: anything but a farewell."""
        if machine.process is Process.RUNNING:
            evidence.advertised_at[group] = self.now
        self._arrive_frame(machine, event, evidence, sent)

    def _check(self, machine: Machine, life: int, binding: int, every: Duration) -> None:
        """One health check of one server by one node."""
        if life != machine.life:
            return
        if machine.process is Process.RUNNING:
            ok = binding not in self.checks_down
            if binding in self.checks_flapping:
                ok = self.rng.random() < self.checks_flapping[binding]
            self._handle(machine, self._checked[binding, ok])
        self.at(self.now + every, self._check, machine, life, binding, every)

    def _forked(self, machine: Machine, life: int) -> None:
        if machine.process is Process.STARTING and machine.life == life:
            self.start(machine)

    # --- effects out of a core

    def _send_vrrp(self, machine: Machine, effect: SendVrrp) -> None:
        network, frame = effect.network, effect.frame
        if not self.network.has_carrier(machine.name, network):
            return
        now = self.now
        self.checker.sending(machine, effect)
        if effect.lease is not Lease.NONE:
            self._refresh(machine, effect.group, effect.lease)
        event = self._packets.get((network, frame))
        if event is None:
            event = self._packets[network, frame] = VrrpReceived(network, parse_frame(frame))
        carry = self.network.carry
        active = effect.lease is not Lease.NONE
        for target, evidence in self._vrrp_peers[machine.name, network]:
            for arrival in carry(Instant(now), network, machine.name, target.name):
                self._number += 1
                if active:
                    told = (target, event, evidence, now, effect.group)
                    heappush(self._heap, (arrival, self._number, self._arrive_advertisement, told))
                else:
                    farewell = (target, event, evidence, now)
                    heappush(self._heap, (arrival, self._number, self._arrive_frame, farewell))

    def _send_heartbeat(self, machine: Machine, effect: SendHeartbeat) -> None:
        now, payload, name = self.now, effect.payload, machine.name
        self.digest = hash((self.digest, crc32(payload)))
        self.checker.speaking(machine, payload)
        carry = self.network.carry
        for network, target, evidence in self._heartbeat_paths[name]:
            for arrival in carry(Instant(now), network, name, target.name):
                event = HeartbeatReceived(network, machine.index, payload)
                self._number += 1
                heappush(self._heap, (arrival, self._number, self._arrive_frame, (target, event, evidence, now)))

    def _ask_witnesses(self, machine: Machine, effect: AskWitnesses) -> None:
        for address in effect.addresses:
            took = self.network.ask_host(effect.network, machine.name)
            if took is not None:
                self.at(self.now + took, self._arrive, machine, WitnessAnswered(effect.network, address), -1)

    def _ask_addresses(self, machine: Machine, effect: AskAddresses) -> None:
        """An ARP request or a neighbour solicitation for every address: answered by whichever kernel may."""
        self.note(machine.name, "asks", effect)
        group = next(group for group in machine.settings.groups if group.name == effect.group)
        for router in group.routers:
            for target, evidence in self._vrrp_peers[machine.name, router.network]:
                arrivals = self.network.carry(Instant(self.now), router.network, machine.name, target.name)
                if not arrivals:
                    evidence.question_lost_at = self.now
                for arrival in arrivals[:1]:
                    arguments = (machine, target, effect.group, router.network, router.addresses[0], evidence)
                    self.at(arrival, self._asked, *arguments)

    def _asked(
        self,
        asker: Machine,
        target: Machine,
        group: GroupName,
        network: NetworkName,
        address: Address,
        evidence: Evidence,
    ) -> None:
        if not target.kernel.answering.get(group):
            return
        arrivals = self.network.carry(Instant(self.now), network, target.name, asker.name)
        if not arrivals:
            evidence.question_lost_at = self.now
        for arrival in arrivals[:1]:
            self.at(arrival, self._arrive, asker, AddressAnswered(group, address), -1)

    def _persist(self, machine: Machine, effect: Persist) -> None:
        machine.maintenance = effect.maintenance

    def _finish(self, machine: Machine, effect: Finish) -> None:
        self.checker.finished(machine)
        machine.kernel.reset()  # the agent takes its links and tables along
        self._end(machine, Process.DEAD, "agent stopped")

    def _moved(self, machine: Machine, effect: Moved) -> None:
        self.note(machine.name, "moved", effect)
        self.checker.moved(machine, effect)

    def _step(self, machine: Machine, effect: Step) -> None:
        self.note(machine.name, "step", effect)
        if effect.step == "handover":
            machine.offering.pop(effect.group, None)
            if effect.phase == "offered":
                assert machine.core is not None
                machine.offered[effect.group] = machine.core.groups[effect.group].state().token, self.now
                machine.offering[effect.group] = self.now

    # --- the kernel

    def _order(self, machine: Machine, command: Command) -> None:
        kernel = machine.kernel
        if command.quiet is not None:
            pass
        elif command.active is None:
            kernel.ending[command.group] = kernel.ending.get(command.group, 0) + 1
        elif kernel.refuses:
            command.error = "the kernel refused (simulated)"
        self.at(kernel.schedule(Instant(self.now), self.rng), self._done, machine, command, kernel.hands)

    def _done(self, machine: Machine, command: Command, hands: int) -> None:
        kernel = machine.kernel
        if hands != kernel.hands:
            return
        if machine.process is Process.FROZEN:
            kernel.waiting.append(command)
            return
        if command.quiet is not None:
            (kernel.quiet.add if command.quiet else kernel.quiet.discard)(command.group)
        elif command.active is None:
            kernel.lease_until.pop(command.group, None)
            kernel.ending[command.group] -= 1
        elif not command.error:
            kernel.links_up[command.group] = command.active
            if command.active:
                kernel.quiet.discard(command.group)
        self._look(machine, command.group)
        if command.active is not None:
            event = RoleSet(command.group, command.active, command.token, command.error)
            self._arrive(machine, event, command.life)

    def _refresh(self, machine: Machine, group: GroupName, lease: Lease) -> None:
        kernel = machine.kernel
        kernel.refreshed_at[group] = self.now
        until = kernel.lease_until[group] = self.now + machine.lease_lengths[group, lease]
        if not kernel.answering.get(group):
            self._look(machine, group)
        if until < kernel.watched_until.get(group, _NEVER):
            kernel.watched_until[group] = until
            self.at(until, self._expire, machine, group)

    def _expire(self, machine: Machine, group: GroupName) -> None:
        """Look at the lease's end. Refreshes since then put it off: there is one look a lease, not one a refresh."""
        kernel = machine.kernel
        if kernel.watched_until.get(group) != self.now:
            return
        until = kernel.lease_until.get(group, -1)
        if until > self.now:
            kernel.watched_until[group] = until
            self.at(until, self._expire, machine, group)
            return
        del kernel.watched_until[group]
        self._look(machine, group)

    def _look(self, machine: Machine, group: GroupName) -> None:
        """Judge anew whether the machine answers for the group, after anything that it depends on has changed."""
        kernel = machine.kernel
        answers = self.answers(machine, group)
        if answers != kernel.answering.get(group, False):
            kernel.answering[group] = answers
            self.note(machine.name, "kernel", f"{group}: {'answers' if answers else 'is silent'}")
            self.checker.answering(machine, group, answers)

    def answers(self, machine: Machine, group: GroupName) -> bool:
        """Links up, lease alive, and a port that works."""
        kernel = machine.kernel
        return bool(
            kernel.links_up.get(group)
            and group not in kernel.quiet
            and kernel.lease_until.get(group, -1) > self.now
            and machine.process is not Process.OFF
            and any(self.network.has_carrier(machine.name, name) for name in self.group_networks(machine, group))
        )

    @staticmethod
    def group_networks(machine: Machine, group: GroupName) -> tuple[NetworkName, ...]:
        return tuple(dict.fromkeys(r.network for g in machine.settings.groups if g.name == group for r in g.routers))

    # --- below

    def _end(self, machine: Machine, process: Process, why: str) -> None:
        machine.process = process
        machine.life += 1
        machine.core = None
        machine.roles.clear()
        machine.offering.clear()
        machine.stopping = False
        machine.inbox.clear()
        machine.tick_time, machine.tick_number = _NEVER, -1
        self.note(machine.name, "processes", why)

    def _evidence_of_others(self, machine: Machine) -> list[Evidence]:
        return [e for (_, target), e in self.network.evidence.items() if target == machine.name]

    def _wire(self) -> None:
        """Who hears whom: every pair of machines with ports on the same LAN."""
        machines = self.machines
        for machine in machines.values():
            for network in _attached(machine):
                self.network.attach(machine.name, network)
        for machine in machines.values():
            for other in machines.values():
                if other is not machine:
                    self.network.evidence[machine.name, other.name] = Evidence()
        for machine in machines.values():
            for network in _attached(machine):
                self._vrrp_peers[machine.name, network] = [
                    (other, self.network.evidence[machine.name, other.name])
                    for other in machines.values()
                    if other is not machine and (other.name, network) in self.network.ports
                ]
            self._heartbeat_paths[machine.name] = [
                (network, machines[peer.name], self.network.evidence[machine.name, peer.name])
                for peer in machine.settings.peers
                for network in peer.paths
            ]


_TICK = Tick()


def _attached(machine: Machine) -> dict[NetworkName, None]:
    routers = (router.network for group in machine.settings.groups for router in group.routers)
    return dict.fromkeys((*machine.settings.paths, *routers))
