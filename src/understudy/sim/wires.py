"""What leaves a machine on its wires, and what arrives: advertisements, heartbeats, questions and their answers.

The very bytes of the wire travel; only the channel's encryption is left out. On the way the evidence is kept by which
the checker judges what a node could have known (sim.network).
"""

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

from understudy.core.effects import AskAddresses, AskWitnesses, SendHeartbeat, SendVrrp
from understudy.core.events import AddressAnswered, Event, HeartbeatReceived, VrrpReceived, WitnessAnswered
from understudy.sim.machine import INBOX_MAX, Machine, Process
from understudy.sim.network import Evidence
from understudy.units import Address, GroupName, Instant, NetworkName, NodeName
from understudy.wire.frame import parse_frame
from understudy.wire.heartbeat import Lease

if TYPE_CHECKING:
    from understudy.sim.world import World


class Wires:
    """Who hears whom: every pair of machines with ports on the same LAN."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.overheard: dict[NetworkName, dict[NodeName, bytes]] = {}
        """The latest advertisement of each node on each LAN: what somebody there could send once more."""
        self._packets: dict[tuple[NetworkName, bytes], VrrpReceived] = {}
        """Parsed once, as they repeat."""
        self._vrrp_peers: dict[tuple[NodeName, NetworkName], list[tuple[Machine, Evidence]]] = {}
        self._heartbeat_paths: dict[NodeName, list[tuple[NetworkName, Machine, Evidence]]] = {}
        network, machines = world.network, world.machines
        for machine in machines.values():
            for name in _attached(machine):
                network.attach(machine.name, name)
        for machine in machines.values():
            for other in machines.values():
                if other is not machine:
                    network.evidence[machine.name, other.name] = Evidence()
        for machine in machines.values():
            for name in _attached(machine):
                self._vrrp_peers[machine.name, name] = [
                    (other, network.evidence[machine.name, other.name])
                    for other in machines.values()
                    if other is not machine and (other.name, name) in network.ports
                ]
            self._heartbeat_paths[machine.name] = [
                (name, machines[peer.name], network.evidence[machine.name, peer.name])
                for peer in machine.settings.peers
                for name in peer.paths
            ]

    # --- what leaves

    def send_vrrp(self, machine: Machine, effect: SendVrrp) -> None:
        world, network, frame = self._world, effect.network, effect.frame
        if not world.network.has_carrier(machine.name, network):
            return
        world.checker.sending(machine, effect)
        active = effect.lease is not Lease.NONE
        if active:
            world.hands.refresh(machine, effect.group, effect.lease)
        event = self._packets.get((network, frame))
        if event is None:
            event = self._packets[network, frame] = VrrpReceived(network, parse_frame(frame))
        self.overheard.setdefault(network, {})[machine.name] = frame
        now, carry, spoils = Instant(world.now), world.network.carry, world.network.spoils
        lan = world.network.lans[network]
        for target, evidence in self._vrrp_peers[machine.name, network]:
            if spoils(now, network, machine.name, target.name):
                continue
            if lan.vrrp_corrupt and world.rng.random() < lan.vrrp_corrupt:
                evidence.lost_at[network] = now
                world.at(now + lan.delay, self._arrive_from_a_stranger, target, _spoiled(event, world.rng))
                continue
            for arrival in carry(now, network, machine.name, target.name):
                if active:
                    world.at(arrival, self._arrive_advertisement, target, event, evidence, now, effect.group)
                else:
                    world.at(arrival, self._arrive, target, event, evidence, now)

    def send_heartbeat(self, machine: Machine, effect: SendHeartbeat) -> None:
        world, payload, name = self._world, effect.payload, machine.name
        world.digest = hash((world.digest, crc32(payload)))
        world.checker.speaking(machine, payload)
        now, carry = Instant(world.now), world.network.carry_heartbeat
        for network, target, evidence in self._heartbeat_paths[name]:
            for arrival in carry(now, network, name, target.name):
                event = HeartbeatReceived(network, machine.index, payload)
                world.at(arrival, self._arrive, target, event, evidence, now)

    def ask_witnesses(self, machine: Machine, effect: AskWitnesses) -> None:
        world = self._world
        for address in effect.addresses:
            took = world.network.ask_host(effect.network, machine.name)
            if took is not None:
                world.at(world.now + took, world.arrive, machine, WitnessAnswered(effect.network, address), -1)

    def ask_addresses(self, machine: Machine, effect: AskAddresses) -> None:
        """An ARP request or a neighbour solicitation for every address: answered by whichever kernel may."""
        world = self._world
        world.note(machine.name, "asks", effect)
        group = next(group for group in machine.settings.groups if group.name == effect.group)
        for router in group.routers:
            for target, evidence in self._vrrp_peers[machine.name, router.network]:
                arrivals = world.network.carry(Instant(world.now), router.network, machine.name, target.name)
                if not arrivals:
                    evidence.question_lost_at = world.now
                for arrival in arrivals[:1]:
                    arguments = (machine, target, effect.group, router.network, router.addresses[0], evidence)
                    world.at(arrival, self._asked, *arguments)

    def inject(self, network: NetworkName, frame: bytes) -> None:
        """A frame of somebody else on the LAN, to every machine there."""
        world = self._world
        event = VrrpReceived(network, parse_frame(frame))
        for machine in world.machines.values():
            if machine.process is not Process.DEAD and world.network.hears(machine.name, network):
                world.at(world.now + world.network.lans[network].delay, self._arrive_from_a_stranger, machine, event)

    # --- what arrives

    def _arrive(self, machine: Machine, event: Event, evidence: Evidence, sent: int) -> None:
        if machine.process is Process.OFF:
            return
        evidence.newest_arrived = max(evidence.newest_arrived, sent)
        if machine.process is Process.RUNNING:
            self._world.handle(machine, event)
        elif machine.process is not Process.DEAD and len(machine.inbox) < INBOX_MAX:
            machine.inbox.append(event)

    def _arrive_from_a_stranger(self, machine: Machine, event: Event) -> None:
        if machine.process is Process.RUNNING:
            self._world.handle(machine, event)
        elif machine.process in (Process.FROZEN, Process.STARTING) and len(machine.inbox) < INBOX_MAX:
            machine.inbox.append(event)

    def _arrive_advertisement(
        self, machine: Machine, event: Event, evidence: Evidence, sent: int, group: GroupName
    ) -> None:
        """Of an Active: anything but a farewell."""
        if machine.process is Process.RUNNING:
            evidence.advertised_at[group] = self._world.now
        self._arrive(machine, event, evidence, sent)

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
        world = self._world
        arrivals = world.network.carry(Instant(world.now), network, target.name, asker.name)
        if not arrivals:
            evidence.question_lost_at = world.now
        for arrival in arrivals[:1]:
            world.at(arrival, world.arrive, asker, AddressAnswered(group, address), -1)


def _spoiled(event: VrrpReceived, rng: Random) -> VrrpReceived:
    """One byte of the payload is another."""
    payload = bytearray(event.packet.payload)
    payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
    return VrrpReceived(event.network, replace(event.packet, payload=bytes(payload)))


def _attached(machine: Machine) -> dict[NetworkName, None]:
    routers = (router.network for group in machine.settings.groups for router in group.routers)
    return dict.fromkeys((*machine.settings.paths, *routers))
