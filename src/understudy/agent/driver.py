"""The loop around `core.node.Node`: sockets and time in, effects out. One process, one thread, nothing here may wait.

It empties the sockets before it lets time pass (`Tick`), so that a late process believes its queue before its clock.
Waiting is `select`, whose deadline is exact to tens of microseconds; asyncio's timers are a millisecond late, which is
a third of the skew. The sockets that stay are behind one `epoll` in it: select looks at each of its own every time.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from understudy.adapters.channel import Channel
from understudy.adapters.links import LinkWatch
from understudy.agent.control import Control
from understudy.agent.flows_link import BEAT, FlowsLink
from understudy.agent.hands_link import HandsLink
from understudy.agent.journal import JournalSender, describe
from understudy.agent.lans import Lan
from understudy.agent.listener import BURST_MAX, Listener
from understudy.agent.messages import Message, receive
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
    CarrierChanged,
    CheckFinished,
    Event,
    FlowsReady,
    KernelRepaired,
    Quietened,
    RoleSet,
    StopCommanded,
    Tick,
    WitnessesLearned,
)
from understudy.core.node import Node
from understudy.core.timers import NEVER
from understudy.units import MICROSECOND, SECOND, Duration, GroupName, Instant, NetworkName
from understudy.wire.heartbeat import WITNESSES_MAX, Role

NEIGHBOURS_EVERY = 5 * SECOND
HOUSEKEEPING_EVERY = SECOND
PORTS_EVERY = 60 * SECOND
"""How long a port that took no advertisements counts as without carrier, unless there is news of it."""
PUNCTUAL: Duration = 200 * MICROSECOND
"""Who looked until a given moment, found nothing, and is no later than this, has not slept since: nothing waits."""
BEAT_LATER: Duration = BEAT // 4
"""A ping to the replicator, and housekeeping, wait so long for something else to wake this process."""
_MOST = (1, 1, BURST_MAX)
"""Frames of each socket, in turn. A peer's beat is one on each, the last of them on their way while the first is read:
to ask the poll whether there is more costs less than to read from each in vain."""
_BEATS = frozenset({SendVrrp, SendHeartbeat})
"""What is carried out at every beat: no line of the journal is about it."""


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
        self.kept: list[Callable[[], bool]] = []
        """Requests that wait for something (agent.patience): tried after every turn until they say that they are done.
        """
        self.dropped: dict[str, int] = {}
        self.sent_late_max_ns = 0
        self.finished = False
        self._wake, self._asked_to_stop = socket.socketpair()
        for end in (self._wake, self._asked_to_stop):
            end.setblocking(False)
        self.hands = HandsLink(hands, generation, journal, lambda: self.feed(KernelRepaired()))
        stateful = [name for name, group in node.groups.items() if group.settings.stateful]
        self.flows = FlowsLink(flows, generation, node.groups, stateful, self.feed) if flows is not None else None
        """To the process that replicates flows; None where none are kept."""
        self._strict: dict[GroupName, bool] = {}
        """Of the groups that this node serves: whether flows may not be picked up in the middle."""
        self._checks = checks
        self._links = links
        self._journal = journal
        self._by_index = {lan.port.index: lan for lan in lans.values()}
        self._speaker = Speaker(node.settings, lans, channel, journal)
        self._listener = Listener(node.settings, lans, channel, self.feed, self.drop)
        fixed = [*self._listener.sockets, hands, checks, links.socket, self._asked_to_stop]
        fixed += [flows] if flows is not None else []
        self._fixed = {each.fileno(): each for each in fixed}
        """In the order in which they are read."""
        self._poll = select.epoll()
        for descriptor in self._fixed:
            self._poll.register(descriptor, select.EPOLLIN)
        self._routed = {router.network for group in node.settings.groups for router in group.routers}
        """Networks whose reach counts: of a cable for replication alone there is nobody to ask."""
        self._stored_maintenance = node.standing.maintenance
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
            Dropped: lambda now, effect: self.drop(effect.reason),
            Moved: self._moved,
        }

    # --- the loop

    def run(self) -> None:
        while not self.finished:
            self.turn()

    def turn(self) -> None:
        """Wait for something to do, and do it."""
        deadline = self.node.next_deadline()
        now = time.monotonic_ns()
        due = min(self._housekeeping_at, self._beat_at) + BEAT_LATER
        if deadline is not None and deadline < due:
            due = deadline
        taken = self._take_in(max(0, due - now) / SECOND)
        now = time.monotonic_ns()
        if taken:
            deadline = self.node.next_deadline()
        if deadline is not None and deadline <= now:
            if taken or now - due >= PUNCTUAL:
                self._take_in(0)  # We may have slept since: the queue first, then the clock.
            self.sent_late_max_ns = max(self.sent_late_max_ns, now - deadline)
            self.feed(Tick())
        if self._speaker.refused:
            self.feed(CarrierChanged(self._speaker.refused.pop(), False))
        if self.flows is not None and now >= self._beat_at:
            self._beat_at = max(self._beat_at, now - BEAT_LATER) + BEAT  # three of them take a second, as ever
            self.flows.beat()
        if now >= self._housekeeping_at:
            self._housekeep(now)
        if self.kept:
            self.kept = [request for request in self.kept if not request()]

    def _take_in(self, wait_s: float) -> bool:
        """Everything that is ready now, or becomes so first. False if nothing was."""
        asking = self.control.readers() if self.control is not None else []
        answered = self.control.writers() if self.control is not None else []
        waiting: list[Any] = [self._poll, *asking]
        readable, writable, _ = select.select(waiting, answered, [], wait_s)
        if not readable and not writable:
            return False
        if readable and readable[0] is self._poll:
            del readable[0]
            for most in _MOST:
                if not self._read_ready(most):
                    break
        if self.control is not None:
            for client in (*readable, *writable):
                self.control.ready(client, Instant(time.monotonic_ns()))
        return True

    def _read_ready(self, most: int) -> bool:
        """So many frames of each socket that has any. False if none has."""
        ready = {descriptor for descriptor, _ in self._poll.poll(0)}
        if not ready:
            return False
        for descriptor, which in self._fixed.items():
            if descriptor in ready:
                self._read(which, most)
        return True

    def _read(self, which: socket.socket, most: int) -> None:
        if self._listener.read(which, most):
            return
        if which is self.hands.socket:
            self.hands.read()
        elif which is self._checks:
            self._read_checks()
        elif which is self._links.socket:
            self._read_links()
        elif self.flows is not None and which is self.flows.socket:
            self.flows.read()
        elif which is self._asked_to_stop:
            which.recv(16)
            self.feed(StopCommanded())

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
        kind = type(effect)
        do = self._do.get(kind)
        if do is not None:
            do(now, effect)
        if kind in _BEATS:
            return
        line = describe(effect)
        if line is not None:
            self._journal.write(now, line)

    # --- what comes in

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
        self.hands.housekeep()
        self._listener.housekeep(self._note)
        if self.flows is not None:
            self.flows.housekeep()
        if self.control is not None:
            self.control.expire(Instant(now))
        if now >= self._ports_at:
            self._ports_at = now + PORTS_EVERY
            self.look_at_carriers()
        if now >= self._neighbours_at:
            lonely = any(not self.node.lans[network].candidates() for network in self._routed)
            self._neighbours_at = now + (HOUSEKEEPING_EVERY if lonely else NEIGHBOURS_EVERY)
            self.hands.ask({"op": "neighbours"}, self._learn_neighbours)

    def _learn_neighbours(self, answer: Message) -> None:
        peers = {address for peer in self.node.settings.peers for address in peer.paths.values()}
        for network, texts in answer.get("neighbours", {}).items():
            known = [ip_address(text) for text in texts]
            known = [a for a in known if a not in peers and a not in self._listener.virtual and not a.is_link_local]
            lan = self.node.lans.get(network)
            if known and lan is not None and lan.learned != (told := tuple(known[:WITNESSES_MAX])):
                self.feed(WitnessesLearned(lan.network, told))

    # --- what the hands are told, and what concerns only us

    def _revoke(self, now: Instant, effect: RevokeLease) -> None:
        self.hands.ask({"op": "revoke", "group": effect.group})

    def _quieten(self, now: Instant, effect: Quieten) -> None:
        def done(answer: Message) -> None:
            self.feed(Quietened(effect.group, effect.token, answer.get("error", "")))

        self.hands.ask({"op": "quiet", "group": effect.group, "on": effect.on}, done)

    def _set_role(self, now: Instant, effect: SetRole) -> None:
        def done(answer: Message) -> None:
            self.feed(RoleSet(effect.group, effect.active, effect.token, answer.get("error", "")))

        self.hands.ask({"op": "role", "group": effect.group, "active": effect.active, "token": effect.token}, done)

    def _set_servers(self, now: Instant, effect: SetServers) -> None:
        self.hands.ask({"op": "servers", "up": sorted(effect.up)})

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
        if not effect.own:
            self._beat_at = 0  # from now on somebody may have to wait for it
        if effect.own and effect.strict is not None:
            self._strict[effect.group] = effect.strict
        elif not effect.own:
            self._strict.pop(effect.group, None)
        if self._strict:
            self.hands.ask({"op": "strict", "on": all(self._strict.values())})

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

        self.hands.ask({"op": "persist", "maintenance": on}, done)

    def _moved(self, now: Instant, effect: Moved) -> None:
        if effect.new is Role.ACTIVE:
            self._speaker.begin(effect.group)

    def _finish(self, now: Instant, effect: Finish) -> None:
        self.finished = True

    def drop(self, reason: str, count: int = 1) -> None:
        """A packet, or some, that nobody looks at."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def _note(self, kind: str, subject: str, detail: str) -> None:
        self._journal.write(Instant(time.monotonic_ns()), {"kind": kind, "subject": subject, "detail": detail})
