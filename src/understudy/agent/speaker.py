"""What a node says on its LANs: advertisements, heartbeats, announcements and questions. Nothing here waits.

Where a port refuses one advertisement after another, this kernel lets none of them out: somebody's firewall, or a link
that is going. Then the lease lapses while the node believes that it serves, and its heartbeats hold the peer back from
taking over. `refused` names such LANs, for the node to count them as lost.
"""

import contextlib
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from understudy.adapters.channel import PORT, Channel
from understudy.adapters.unicast import UnicastPort, destination, readdressed
from understudy.agent.journal import JournalSender
from understudy.agent.lans import Lan
from understudy.core.effects import Announce, AskAddresses, AskWitnesses, SendHeartbeat, SendVrrp
from understudy.core.settings import NodeSettings, RouterSettings
from understudy.render import farewell_mark, lease_long_mark, lease_short_mark
from understudy.units import Address, GroupName, Instant, NetworkName
from understudy.wire import arp, ndp
from understudy.wire.heartbeat import Lease
from understudy.wire.vrrp import virtual_mac

REFUSALS_MAX = 3
"""Advertisements in a row that a port may refuse before its LAN counts as lost: as many as the peer may miss."""

_MARKS = {Lease.SHORT: lease_short_mark, Lease.LONG: lease_long_mark, Lease.NONE: farewell_mark}
"""What an advertisement does to the lease in the kernel."""


class Speaker:
    def __init__(
        self, settings: NodeSettings, lans: Mapping[NetworkName, Lan], channel: Channel, journal: JournalSender
    ) -> None:
        self.refused: list[NetworkName] = []
        """LANs whose port takes no advertisement. Whoever reads it empties it."""
        self._paths = tuple(
            (peer.number, lans[network], (str(address), PORT))
            for peer in settings.peers
            for network, address in peer.paths.items()
        )
        self._groups = {group.name: group for group in settings.groups}
        self._marks = {
            (group.name, lease): mark(group.number) for group in settings.groups for lease, mark in _MARKS.items()
        }
        self._lans = lans
        self._channel = channel
        self._journal = journal
        self._refusals: dict[NetworkName, int] = {}
        self._unwritten: set[tuple[GroupName, NetworkName]] = set()
        """Where the first advertisement since the group became Active is still to come: it gets a line."""

    def begin(self, group: GroupName) -> None:
        """The group became Active: its first advertisement on each LAN is worth a line."""
        self._unwritten |= {(group, router.network) for router in self._groups[group].routers}

    def advertise(self, now: Instant, effect: SendVrrp) -> None:
        router = self._groups[effect.group].routers[effect.router]
        lan = self._lans[effect.network]
        frame = effect.frame
        if router.unicast or not router.virtual_mac:
            frame = self._address(now, lan, router, frame)
        try:
            lan.port.send(frame, self._marks[effect.group, effect.lease])
        except OSError as error:
            self._complain(now, "send", effect.network, error)
            self._refusals[effect.network] = self._refusals.get(effect.network, 0) + 1
            if self._refusals[effect.network] % REFUSALS_MAX == 0:
                self.refused.append(effect.network)
            return
        self._refusals.pop(effect.network, None)
        if (effect.group, effect.network) in self._unwritten:
            self._unwritten.discard((effect.group, effect.network))
            self._journal.write(now, {"kind": "advertised", "group": effect.group, "network": effect.network})

    def _address(self, now: Instant, lan: Lan, router: RouterSettings, frame: bytes) -> bytes:
        """With the MACs that the core cannot know: the unicast peer's and, without a virtual one, the port's."""
        target: bytes | None = None
        if router.unicast and isinstance(lan.port, UnicastPort):
            peer = destination(frame)
            target = lan.port.macs.get(peer)
            question = lan.port.question(now, peer, lan.own.get(peer.version))
            if question is not None:
                with contextlib.suppress(OSError):  # The advertisement after it will tell.
                    lan.port.send(question)
        return readdressed(frame, target, None if router.virtual_mac else lan.port.mac)

    def send_heartbeat(self, now: Instant, effect: SendHeartbeat) -> None:
        """To every peer on every path."""
        for number, lan, address in self._paths:
            if lan.channel is not None:
                datagram = self._channel.seal(effect.payload, number, lan.number)
                try:
                    lan.channel.sendto(datagram, address)
                except OSError:
                    pass  # A path may be down; its silence is noticed by the peer.

    def announce(self, now: Instant, effect: Announce) -> None:
        """Gratuitous ARP and unsolicited neighbour advertisements from the virtual MAC, or else the port's."""
        for router in self._groups[effect.group].routers:
            port = self._lans[router.network].port
            mac = virtual_mac(router.vrid, router.family) if router.virtual_mac else port.mac
            for address in router.addresses:
                try:
                    if isinstance(address, IPv4Address):
                        port.send(arp.gratuitous_frame(address, mac))
                    else:
                        port.send(ndp.unsolicited_advertisement_frame(address, mac))
                except OSError as error:
                    self._complain(now, "announce", router.network, error)

    def ask_witnesses(self, now: Instant, effect: AskWitnesses) -> None:
        for address in effect.addresses:
            self._ask(self._lans[effect.network], address)

    def ask_addresses(self, now: Instant, effect: AskAddresses) -> None:
        for router in self._groups[effect.group].routers:
            for address in router.addresses:
                self._ask(self._lans[router.network], address)

    def _ask(self, lan: Lan, target: Address) -> None:
        """From our own address and MAC. A question that cannot be sent is one that nobody answers."""
        source = lan.own.get(target.version)
        try:
            if isinstance(target, IPv4Address) and isinstance(source, IPv4Address):
                lan.port.send(arp.request_frame(target, source, lan.port.mac))
            elif isinstance(target, IPv6Address) and isinstance(source, IPv6Address):
                lan.port.send(ndp.solicitation_frame(target, source, lan.port.mac))
        except OSError:
            return

    def _complain(self, now: Instant, what: str, network: NetworkName, error: OSError) -> None:
        self._journal.write(now, {"kind": "error", "subject": f"{what} on {network}", "detail": str(error)})
