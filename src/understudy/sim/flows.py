"""Replicated flows in the simulated world: traffic, the kernels' tables, and what befalls the replicators.

A flow is a number, its state a version that grows with every packet that changes it; an entry is never taken away. The
replicators (sim.replicator) keep the tables equal, tell their cores what they know, and are told whose kernel is the
original; what is so, the checker sees in the tables (`missing`, `differs`).

Faults: datagrams lost or late on the way, events lost (`overrun`), slow writing, a replicator frozen, or killed and
forked anew. Nothing of this exists in a world whose file replicates nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from understudy.core.effects import AskFlows, OwnFlows
from understudy.core.events import FlowsReady, SyncChanged
from understudy.core.replication.effects import Ready, Synced
from understudy.core.replication.events import Asked, Kind, Owned, Received
from understudy.errors import DecodeError
from understudy.sim.machine import Machine, Process
from understudy.sim.replicator import Replicator, read
from understudy.units import MICROSECOND, MILLISECOND, SECOND, Duration, GroupName, Instant, NetworkName
from understudy.wire import flowsync

if TYPE_CHECKING:
    from understudy.sim.world import World

FLOWS = 16
"""Of each group."""
PACKET_EVERY: Duration = 80 * MILLISECOND
FORK: Duration = 20 * MILLISECOND
TELL: Duration = 50 * MICROSECOND
"""From one process to another."""
WAITING_MAX = 400
"""What a frozen replicator's sockets hold."""
SYNCED_WITHIN: Duration = SECOND
"""How far a replica may be behind when nothing has been wrong for long."""

Table = dict[GroupName, dict[int, int]]
"""The version of each flow."""


class Flows:
    """Of all machines."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.groups = {
            group.name
            for machine in world.machines.values()
            for group in machine.settings.groups
            if group.stateful and group.peers
        }
        self.loss = 0.0
        """Of the replicators' datagrams, beside what the LANs lose."""
        self.reorder = 0.0
        self.tables: dict[str, Table] = {name: {} for name in world.machines}
        self.received: dict[str, Table] = {name: {} for name in world.machines}
        """What a machine's replicators have had of the peer's present stream: the newest version of each flow."""
        self.promised: dict[tuple[str, GroupName], dict[int, int]] = {}
        """What the gate's latest question was about: all that had been received by then, and of a peer that is drained
        all that it had."""
        self.replicators: dict[str, Replicator] = {}
        self.changed_at: dict[tuple[GroupName, int], int] = {}
        self.overrun: dict[str, int] = dict.fromkeys(world.machines, 0)
        """How many faults make a machine's replicator lose events."""
        self.frozen: dict[str, int] = dict.fromkeys(world.machines, 0)
        self.slow: dict[str, Duration] = dict.fromkeys(world.machines, 0)
        self._asked: dict[tuple[str, GroupName], AskFlows] = {}
        """Questions that were not answered yet: put once more to a replicator that began after them."""
        self._their_stream: dict[str, int] = {}
        self._streams = 0
        self._versions = 0
        self._numbers = {g.name: g.number for m in world.machines.values() for g in m.settings.groups}
        if self.groups:
            world.at(0, self._packets)

    @property
    def now(self) -> int:
        return self._world.now

    def random(self) -> float:
        return self._world.rng.random()

    # --- processes

    def start(self, machine: Machine) -> None:
        """Forked by the supervisor, if none is there; the core is told what it knows."""
        if not self.groups or machine.process in (Process.DEAD, Process.OFF):
            return
        replicator = self.replicators.get(machine.name)
        if replicator is None:
            for group in sorted(self.groups):
                self._tell(machine, SyncChanged(group, False, "began anew"))
            self._streams += 1
            replicator = self.replicators[machine.name] = Replicator(self, machine, self._streams)
            for (name, group), asked in list(self._asked.items()):
                if name == machine.name:
                    replicator.feed(Asked(group, asked.token, asked.drain))
        for group in sorted(replicator.complete):
            self._tell(machine, SyncChanged(group, True, "complete"))

    def end(self, machine: Machine) -> None:
        self.replicators.pop(machine.name, None)

    def power_off(self, machine: Machine) -> None:
        self.tables[machine.name].clear()

    def kill(self, machine: Machine) -> bool:
        """Only the replicator dies; the next one is forked at once and begins with nothing but the kernel's table."""
        if self.replicators.pop(machine.name, None) is None:
            return False
        self._world.at(self.now + FORK, self.start, machine)
        return True

    def thaw(self, machine: Machine) -> None:
        replicator = self.replicators.get(machine.name)
        if replicator is not None and not self._frozen(machine):
            waiting, replicator.waiting = replicator.waiting, []
            for action in waiting:
                action()

    def later(self, machine: Machine, replicator: Replicator, wait: Duration, action: Callable[[], None]) -> None:
        """In that process, if it still lives by then."""
        self._world.at(self.now + wait, self._in_process, machine, replicator, action)

    # --- between the core and its replicator

    def core_began(self, machine: Machine) -> None:
        """It knows nothing of the questions of the one before."""
        for key in [key for key in self._asked if key[0] == machine.name]:
            del self._asked[key]
        self.start(machine)

    def own(self, machine: Machine, effect: OwnFlows) -> None:
        (machine.owns.add if effect.own else machine.owns.discard)(effect.group)
        self._world.checker.stateful.owning(machine, effect.group, effect.own)
        self._do(machine, lambda r: r.feed(Owned(effect.group, effect.own)))

    def ask(self, machine: Machine, effect: AskFlows) -> None:
        world, group = self._world, effect.group
        world.note(machine.name, "asks", effect)
        promised = dict(self.received[machine.name].get(group, {}))
        for peer in machine.settings.peers if effect.drain else ():
            if group in world.machines[peer.name].owns:
                promised = dict(self.tables[peer.name].get(group, {}))
        self.promised[machine.name, group] = promised
        self._asked[machine.name, group] = effect
        self._do(machine, lambda r: r.feed(Asked(group, effect.token, effect.drain)))

    def ready(self, machine: Machine, ready: Ready) -> None:
        asked = self._asked.get((machine.name, ready.group))
        if asked is not None and asked.token == ready.token:
            del self._asked[machine.name, ready.group]
        final = not ready.complete and not ready.waiting
        self._tell(machine, FlowsReady(ready.group, ready.token, ready.complete, ready.detail, final))

    def synced(self, machine: Machine, synced: Synced) -> None:
        self._tell(machine, SyncChanged(synced.group, synced.complete, synced.detail))

    # --- traffic

    def _packets(self) -> None:
        """Wherever a kernel answers, its flows change."""
        world = self._world
        world.at(world.now + PACKET_EVERY, self._packets)
        for machine in world.machines.values():
            for group in sorted(self.groups):
                if machine.kernel.answering.get(group):
                    flow = world.rng.randrange(FLOWS)
                    self._versions += 1
                    self.tables[machine.name].setdefault(group, {})[flow] = self._versions
                    self.changed_at[group, flow] = world.now
                    self._do(machine, partial(self._news, machine, group, flow, self._versions))

    def _news(self, machine: Machine, group: GroupName, flow: int, version: int, replicator: Replicator) -> None:
        if self.overrun[machine.name]:
            replicator.overrun()
        else:
            replicator.changed(self._numbers[group], flow, version)

    # --- the wire

    def send(self, machine: Machine, node: int, network: NetworkName, payload: bytes) -> None:
        """Like a heartbeat, and with losses of its own."""
        world = self._world
        other = next(m for m in world.machines.values() if m.index == node)
        if self.loss and world.rng.random() < self.loss:
            return
        for arrival in world.network.carry_heartbeat(Instant(world.now), network, machine.name, other.name):
            late = int(world.rng.random() * 30 * MILLISECOND) if world.rng.random() < self.reorder else 0
            world.at(arrival + late, self._arrive, other, Received(machine.index, network, payload))

    def _arrive(self, machine: Machine, event: Received) -> None:
        self._do(machine, lambda r: self._receive(machine, event, r))

    def _receive(self, machine: Machine, event: Received, replicator: Replicator) -> None:
        self._note_received(machine, event.payload)
        replicator.feed(event)

    def _note_received(self, machine: Machine, payload: bytes) -> None:
        """Bytes that were seen count, whatever the replicator makes of them."""
        try:
            data = flowsync.decode(payload)
        except DecodeError:
            return
        received = self.received[machine.name]
        if data.stream > self._their_stream.get(machine.name, -1):
            self._their_stream[machine.name] = data.stream
            received.clear()
        if not isinstance(data, flowsync.Data) or data.stream < self._their_stream[machine.name]:
            return
        names = {number: name for name, number in self._numbers.items()}
        for kind, content in data.records:
            found = read(content) if kind == Kind.CHANGED else None
            if found is not None:
                flows = received.setdefault(names[found[0]], {})
                flows[found[1]] = max(found[2], flows.get(found[1], -1))

    # --- what is so

    def missing(self, machine: Machine, group: GroupName) -> list[int]:
        """Flows that the gate asked for, or should have, and that are not, or not so new, in this kernel."""
        table = self.tables[machine.name].get(group, {})
        promised = self.promised.get((machine.name, group), self.received[machine.name].get(group, {}))
        return [flow for flow, version in promised.items() if table.get(flow, -1) < version]

    def works(self) -> bool:
        """No fault of replication lasts."""
        faults = (*self.overrun.values(), *self.frozen.values(), *self.slow.values(), self.loss, self.reorder)
        return not any(faults)

    def is_complete(self, machine: Machine, group: GroupName) -> bool:
        replicator = self.replicators.get(machine.name)
        return replicator is not None and group in replicator.complete

    def differs(self, replica: Machine, original: Machine, group: GroupName, since: int) -> list[int]:
        """Flows that have not changed since and are not equal in both kernels."""
        here, there = (self.tables[machine.name].get(group, {}) for machine in (replica, original))
        old = [flow for flow in there if self.changed_at.get((group, flow), 0) < since]
        return [flow for flow in old if here.get(flow) != there[flow]]

    # --- below

    def _tell(self, machine: Machine, event: SyncChanged | FlowsReady) -> None:
        """The core, whichever it is by then; of an answer only the one that asked."""
        life = machine.life if isinstance(event, FlowsReady) else -1
        self._world.at(self.now + TELL, self._world.arrive, machine, event, life)

    def _frozen(self, machine: Machine) -> bool:
        return bool(self.frozen[machine.name]) or machine.process is Process.FROZEN

    def _do(self, machine: Machine, action: Callable[[Replicator], None]) -> None:
        """In the machine's replicator: now, when it wakes, or never if there is none."""
        replicator = self.replicators.get(machine.name)
        if replicator is not None:
            self._in_process(machine, replicator, lambda: action(replicator))

    def _in_process(self, machine: Machine, replicator: Replicator, action: Callable[[], None]) -> None:
        if self.replicators.get(machine.name) is not replicator:
            return
        if not self._frozen(machine):
            action()
        elif len(replicator.waiting) < WAITING_MAX:
            replicator.waiting.append(action)
