"""The loop around `core.node.Node`: sockets and time in, effects out. One process, one thread, nothing here may wait.

It empties the sockets before it lets time pass (`Tick`), so that a late process believes its queue before its clock.
Waiting is `select`, whose deadline is exact to tens of microseconds; asyncio's timers are a millisecond late, which is
a third of the skew.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from understudy.adapters.channel import DATAGRAM_MAX, Channel
from understudy.adapters.links import LinkWatch
from understudy.agent.control import Control
from understudy.agent.flows_link import BEAT, FlowsLink
from understudy.agent.journal import JournalSender, describe
from understudy.agent.lans import Lan
from understudy.agent.messages import Message, receive, send
from understudy.agent.speaker import Speaker
from understudy.core.effects import (
    Announce,
    AskAddresses,
    AskFlows,
    AskWitnesses,
    Dropped,
    Effect,
    Finish,
    Moved,
    OwnFlows,
    Persist,
    Quieten,
    RevokeLease,
    SendHeartbeat,
    SendVrrp,
    SetRole,
    SetServers,
)
from understudy.core.events import (
    AddressAnswered,
    CarrierChanged,
    CheckFinished,
    Event,
    FlowsReady,
    KernelRepaired,
    Quietened,
    RoleSet,
    StopCommanded,
    Tick,
    VrrpReceived,
    WitnessAnswered,
    WitnessesLearned,
)
from understudy.core.events import HeartbeatReceived as Heard
from understudy.core.node import Node
from understudy.core.timers import NEVER
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.units import SECOND, Address, GroupName, Instant, NetworkName
from understudy.wire import arp, ndp
from understudy.wire.frame import ETHERTYPE_ARP, parse_frame
from understudy.wire.heartbeat import Role
from understudy.wire.vrrp import PROTOCOL, is_virtual_mac

BURST_MAX = 64
"""Frames taken from one socket before the others get their turn."""
NEIGHBOURS_EVERY = 5 * SECOND
HOUSEKEEPING_EVERY = SECOND
PORTS_EVERY = 60 * SECOND
"""How long a port that took no advertisements counts as without carrier, unless there is news of it."""
HANDS_PATIENCE = 3
"""Rounds of housekeeping that a command to the hands may take. Rounds, not seconds: if we were frozen, so were they."""


class HandsStuckError(EnvironmentFailure):
    """The process that changes the kernel does not answer: it must be replaced, and this core with it."""

    def __init__(self, reason: str) -> None:
        super().__init__("wait for", "the process that changes the kernel", reason)


class Driver:
    """Everything the core process holds. Built by `agent.app`; `run` returns when the core may end."""

    def __init__(
        self,
        node: Node,
        lans: Mapping[NetworkName, Lan],
        channel: Channel,
        hands: socket.socket,
        checks: socket.socket,
        links: LinkWatch,
        journal: JournalSender,
        generation: int,
        flows: socket.socket | None = None,
    ) -> None:
        self.node = node
        self.lans = lans
        self.control: Control | None = None
        self.dropped: dict[str, int] = {}
        self.sent_late_max_ns = 0
        self.drift: dict[str, Any] = {"count": 0, "last": None, "alarms": []}
        """What others changed in this kernel, as the hands tell it (`agent.drift`)."""
        self.finished = False
        self._wake, self._asked_to_stop = socket.socketpair()
        for end in (self._wake, self._asked_to_stop):
            end.setblocking(False)
        own_ends = (hands, checks, links.socket, self._asked_to_stop)
        self._fixed = [*(lan.port.socket for lan in lans.values()), *own_ends]
        self._fixed += [lan.channel for lan in lans.values() if lan.channel is not None]
        self.flows = FlowsLink(flows, generation, node.groups, self.feed) if flows is not None else None
        """To the process that replicates flows; None where none are kept."""
        self._fixed += [flows] if flows is not None else []
        self._strict: dict[GroupName, bool] = {}
        """Of the groups that this node serves: whether flows may not be picked up in the middle."""
        self._channel = channel
        self._hands = hands
        self._checks = checks
        self._links = links
        self._journal = journal
        self._generation = generation
        self._by_port = {lan.port.socket: lan for lan in lans.values()}
        self._by_channel: dict[object, Lan] = {lan.channel: lan for lan in lans.values() if lan.channel is not None}
        self._by_index = {lan.port.index: lan for lan in lans.values()}
        self._with_virtual_mac = {
            group.name for group in node.settings.groups if all(router.virtual_mac for router in group.routers)
        }
        self._virtual: dict[Address, tuple[GroupName, NetworkName]] = {
            address: (group.name, router.network)
            for group in node.settings.groups
            for router in group.routers
            for address in router.addresses
        }
        self._own = {address for lan in lans.values() for address in lan.own.values()}
        self._speaker = Speaker(node.settings, lans, channel, journal)
        self._waiting: dict[str, list[Callable[[Message], None]]] = {}
        self._stored_maintenance = node.standing.maintenance
        self._asked = self._answered = self._answered_before = 0
        self._unanswered_rounds = 0
        self._neighbours_at = self._ports_at = 0
        self._housekeeping_at = 0
        self._beat_at = 0 if flows is not None else NEVER
        self._do: dict[type, Callable[[Instant, Any], None]] = {
            SendVrrp: self._speaker.advertise,
            SendHeartbeat: self._speaker.send_heartbeat,
            Announce: self._speaker.announce,
            AskWitnesses: self._speaker.ask_witnesses,
            AskAddresses: self._speaker.ask_addresses,
            AskFlows: self._ask_flows,
            OwnFlows: self._own_flows,
            RevokeLease: self._revoke,
            Quieten: self._quieten,
            SetRole: self._set_role,
            SetServers: self._set_servers,
            Persist: self._persist,
            Finish: self._finish,
            Dropped: self._count,
            Moved: self._moved,
        }

    # --- the loop

    def run(self) -> None:
        while not self.finished:
            deadline = self.node.next_deadline()
            now = time.monotonic_ns()
            due = min(deadline if deadline is not None else now + SECOND, self._housekeeping_at, self._beat_at)
            self._take_in(max(0, due - now) / SECOND)
            now = time.monotonic_ns()
            deadline = self.node.next_deadline()
            if deadline is not None and deadline <= now:
                self._take_in(0)  # We may have slept since: the queue first, then the clock.
                self.sent_late_max_ns = max(self.sent_late_max_ns, now - deadline)
                self.feed(Tick())
            if self._speaker.refused:
                self.feed(CarrierChanged(self._speaker.refused.pop(), False))
            if self.flows is not None and now >= self._beat_at:
                self._beat_at = now + BEAT
                self.flows.beat()
            if now >= self._housekeeping_at:
                self._housekeep(now)

    def _take_in(self, wait_s: float) -> None:
        """Everything that is ready now, or becomes so first."""
        asking = self.control.readers() if self.control is not None else []
        answered = self.control.writers() if self.control is not None else []
        readable, writable, _ = select.select([*self._fixed, *asking], answered, [], wait_s)
        for which in (*readable, *writable):
            if (lan := self._by_port.get(which)) is not None:
                self._read_port(lan)
            elif (lan := self._by_channel.get(which)) is not None:
                self._read_channel(lan)
            elif which is self._hands:
                self._read_hands()
            elif which is self._checks:
                self._read_checks()
            elif which is self._links.socket:
                self._read_links()
            elif self.flows is not None and which is self.flows.socket:
                self.flows.read()
            elif which is self._asked_to_stop:
                which.recv(16)
                self.feed(StopCommanded())
            elif self.control is not None:
                self.control.ready(which, Instant(time.monotonic_ns()))

    def request_stop(self) -> None:
        """Hand over and end. Safe in a signal handler: the loop does it, not the handler."""
        with contextlib.suppress(BlockingIOError):  # full of such requests
            self._wake.send(b"s")

    def feed(self, event: Event) -> None:
        """One event into the core, its effects out into the world."""
        now = Instant(time.monotonic_ns())
        for effect in self.node.handle(now, event):
            self.carry_out(now, effect)

    def carry_out(self, now: Instant, effect: Effect) -> None:
        do = self._do.get(type(effect))
        if do is not None:
            do(now, effect)
        line = describe(effect)
        if line is not None:
            self._journal.write(now, line)

    def ask_hands(self, message: Message, then: Callable[[Message], None] | None = None) -> None:
        """A command for the process that changes the kernel; `then` gets its answer."""
        self._waiting.setdefault(message["op"], []).append(then or (lambda answer: None))
        self._asked += 1
        if not send(self._hands, {**message, "generation": self._generation}):
            raise HandsStuckError("it takes no more commands")

    # --- what comes in

    def _read_port(self, lan: Lan) -> None:
        for _ in range(BURST_MAX):
            frame = lan.port.receive()
            if frame is None:
                return
            try:
                self._take_frame(lan, frame)
            except DecodeError as error:
                self._count(Instant(0), Dropped(error.reason))

    def _take_frame(self, lan: Lan, frame: bytes) -> None:
        if len(frame) > 14 and frame[12] << 8 | frame[13] == ETHERTYPE_ARP:
            answer = arp.decode(frame)
            self._take_answer(lan, answer.sender, answer.sender_mac)
            return
        packet = parse_frame(frame)
        if packet.protocol == PROTOCOL:
            self.feed(VrrpReceived(lan.network, packet))
            return
        message = ndp.decode(frame)
        if isinstance(message, ndp.NeighborAdvertisement):
            self._take_answer(lan, message.target, message.target_mac)

    def _take_answer(self, lan: Lan, address: Address, mac: bytes | None) -> None:
        """An answer on the LAN: of a virtual address that we asked about, or of a witness.

        A node of a group with virtual MAC answers with one: whoever else claims the address (a duplicate, a proxy) is
        wrong, and must not hold back a take-over.
        """
        virtual = self._virtual.get(address)
        if virtual is not None:
            group, network = virtual
            if network == lan.network and (group not in self._with_virtual_mac or is_virtual_mac(mac)):
                self.feed(AddressAnswered(group, address))
        elif address not in self._own:
            self.feed(WitnessAnswered(lan.network, address))

    def _read_channel(self, lan: Lan) -> None:
        assert lan.channel is not None
        for _ in range(BURST_MAX):
            try:
                datagram = lan.channel.recv(DATAGRAM_MAX + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return
            try:
                sender, payload = self._channel.open(datagram, lan.number)
            except DecodeError as error:
                self._count(Instant(0), Dropped(error.reason))
                continue
            self.feed(Heard(lan.network, sender, payload))

    def _read_hands(self) -> None:
        while (answer := self._next_answer()) is not None:
            if "drift" in answer:
                self.drift = answer["drift"]
            if answer["op"] == "drift":
                self._take_drift(answer)
                continue
            if answer.get("generation") != self._generation:
                continue  # to the core before this one
            self._answered += 1
            waiting = self._waiting.get(answer["op"])
            if waiting:
                waiting.pop(0)(answer)
            if "error" in answer:
                self._note("error", answer["op"], answer["error"])

    def _take_drift(self, told: Message) -> None:
        """What the hands found and did unasked: whichever core reads it first, it is said once."""
        for line in told["lines"]:
            self._journal.write(Instant(time.monotonic_ns()), line)
        if told["restored"]:
            self.feed(KernelRepaired())

    def _next_answer(self) -> Message | None:
        try:
            return receive(self._hands)
        except EOFError:
            raise HandsStuckError("it ended") from None

    def _read_checks(self) -> None:
        try:
            while (message := receive(self._checks)) is not None:
                self.feed(CheckFinished(int(message["binding"]), bool(message["ok"]), str(message["reason"])[:200]))
        except EOFError:
            return

    def _read_links(self) -> None:
        news = self._links.read()
        if news is None:
            self.look_at_carriers()
            return
        for index, up in news:
            if (lan := self._by_index.get(index)) is not None:
                self.feed(CarrierChanged(lan.network, up))

    def look_at_carriers(self) -> None:
        """Ask every port: at the start, and when news was lost."""
        for lan in self.lans.values():
            self.feed(CarrierChanged(lan.network, lan.port.has_carrier()))

    def _housekeep(self, now: int) -> None:
        self._housekeeping_at = now + HOUSEKEEPING_EVERY
        self._journal.alive()
        self._watch_hands()
        self._watch_floods()
        if self.flows is not None:
            self.flows.housekeep()
        if self.control is not None:
            self.control.expire(Instant(now))
        if now >= self._ports_at:
            self._ports_at = now + PORTS_EVERY
            self.look_at_carriers()
        if now >= self._neighbours_at:
            lonely = any(not lan.candidates() for lan in self.node.lans.values())
            self._neighbours_at = now + (HOUSEKEEPING_EVERY if lonely else NEIGHBOURS_EVERY)
            self.ask_hands({"op": "neighbours"}, self._learn_neighbours)

    def _watch_floods(self) -> None:
        """Filters that shed a flood open again here, and what they shed is counted and told."""
        for lan in self.lans.values():
            for sieve in (lan.port.sieve, *((lan.channel.sieve,) if lan.channel is not None else ())):
                for kind, begins in sieve.news():
                    detail = "only a share is looked at" if begins else "over"
                    self._note("flood", f"{kind} on {lan.network}", detail)
                for reason, count in sieve.shed.items():
                    self.dropped[reason] = self.dropped.get(reason, 0) + count
                sieve.shed.clear()

    def _watch_hands(self) -> None:
        stuck = self._asked > self._answered == self._answered_before
        self._unanswered_rounds = self._unanswered_rounds + 1 if stuck else 0
        self._answered_before = self._answered
        if self._unanswered_rounds > HANDS_PATIENCE:
            raise HandsStuckError(f"no answer for {HANDS_PATIENCE} s")

    def _learn_neighbours(self, answer: Message) -> None:
        peers = {address for peer in self.node.settings.peers for address in peer.paths.values()}
        for network, texts in answer.get("neighbours", {}).items():
            known = [ip_address(text) for text in texts]
            known = [a for a in known if a not in peers and a not in self._virtual and not a.is_link_local]
            if known and (lan := self.lans.get(network)) is not None:
                self.feed(WitnessesLearned(lan.network, tuple(known[:4])))

    # --- what the hands are told, and what concerns only us

    def _revoke(self, now: Instant, effect: RevokeLease) -> None:
        self.ask_hands({"op": "revoke", "group": effect.group})

    def _quieten(self, now: Instant, effect: Quieten) -> None:
        def done(answer: Message) -> None:
            self.feed(Quietened(effect.group, effect.token, answer.get("error", "")))

        self.ask_hands({"op": "quiet", "group": effect.group, "on": effect.on}, done)

    def _set_role(self, now: Instant, effect: SetRole) -> None:
        def done(answer: Message) -> None:
            self.feed(RoleSet(effect.group, effect.active, effect.token, answer.get("error", "")))

        self.ask_hands({"op": "role", "group": effect.group, "active": effect.active, "token": effect.token}, done)

    def _set_servers(self, now: Instant, effect: SetServers) -> None:
        self.ask_hands({"op": "servers", "up": sorted(effect.up)})

    def _ask_flows(self, now: Instant, effect: AskFlows) -> None:
        if self.flows is not None:
            self.flows.ask(effect)
            if self.flows.mute:
                self._beat_at = 0  # the answer, as soon as this event has been dealt with
        else:
            self.feed(FlowsReady(effect.group, effect.token, False, "no flows are kept on this node", final=True))

    def _own_flows(self, now: Instant, effect: OwnFlows) -> None:
        """Loose is for the whole kernel: one group that must pick flows up is enough."""
        if self.flows is None:
            return
        self.flows.own(effect)
        if effect.own and effect.strict is not None:
            self._strict[effect.group] = effect.strict
        elif not effect.own:
            self._strict.pop(effect.group, None)
        if self._strict:
            self.ask_hands({"op": "strict", "on": all(self._strict.values())})

    def _persist(self, now: Instant, effect: Persist) -> None:
        if effect.maintenance != self._stored_maintenance:
            self.store_maintenance(effect.maintenance)

    def store_maintenance(self, on: bool, then: Callable[[str], None] = lambda error: None) -> None:
        """Write to the node's store; `then` gets the error, empty if it is on the disk."""

        def done(answer: Message) -> None:
            error = str(answer.get("error", ""))
            if not error:
                self._stored_maintenance = on
            then(error)

        self.ask_hands({"op": "persist", "maintenance": on}, done)

    def _moved(self, now: Instant, effect: Moved) -> None:
        if effect.new is Role.ACTIVE:
            self._speaker.begin(effect.group)

    def _finish(self, now: Instant, effect: Finish) -> None:
        self.finished = True

    def _count(self, now: Instant, effect: Dropped) -> None:
        self.dropped[effect.reason] = self.dropped.get(effect.reason, 0) + 1

    def _note(self, kind: str, subject: str, detail: str) -> None:
        self._journal.write(Instant(time.monotonic_ns()), {"kind": kind, "subject": subject, "detail": detail})
