"""Everything that decides on one node: its groups, what it hears of the other, what it reaches, its servers' health.

Production, the simulator and the tests drive this same object: an event and the time go in, effects come out. Give it
what the sockets hold before a `Tick`: timers fire only on `Tick`, so that a late process believes its queue before its
clock.

The heartbeat goes out once an interval and at once when it has something new to say; an Active sends it together with
its advertisements, so that a crash silences both at the same instant and neither delays the verdict on the other.

What repeats costs little: a packet that is equal to the one before, and a heartbeat that another path brought already,
only move timers on. `next_deadline` may then be earlier than need be, never later: a Tick too many does nothing.
"""

from collections.abc import Callable
from typing import Any

from understudy.core.effects import Dropped, Effect, Finish, Noted, Persist, SendHeartbeat, SendVrrp
from understudy.core.events import (
    AddressAnswered,
    CarrierChanged,
    CheckFinished,
    Event,
    FlowsReady,
    GateWaived,
    HeartbeatReceived,
    KernelRepaired,
    LocalAddressLearned,
    MaintenanceCommanded,
    Quietened,
    RoleSet,
    Started,
    StopCommanded,
    SwitchoverCommanded,
    SyncChanged,
    Tick,
    VrrpReceived,
    WitnessAnswered,
    WitnessesLearned,
)
from understudy.core.group import Group
from understudy.core.health import Health
from understudy.core.lease import long_after
from understudy.core.peer import PeerView, Standing
from understudy.core.reach import LanReach
from understudy.core.settings import NodeSettings
from understudy.core.timers import LONG_AGO
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, Duration, Family, GroupName, Instant, NetworkName, Vrid
from understudy.wire.frame import Packet
from understudy.wire.heartbeat import WITNESSES_MAX, Body, Hears, LanState, Phase, decode, encode, encode_body
from understudy.wire.vrrp import Advertisement, decode_packet

HURRY: Duration = 10 * MILLISECOND
"""Between heartbeats while a hand-over is under way."""
_QUIET = frozenset({VrrpReceived, HeartbeatReceived, WitnessAnswered, CheckFinished})
"""Events that leave nothing to do when they bring nothing new."""


class Node:
    """One node's decisions. `epoch` grows with every start of the core and orders heartbeats across restarts."""

    def __init__(self, settings: NodeSettings, *, epoch: int, maintenance: bool = False) -> None:
        self.settings = settings
        self.epoch = epoch
        self.standing = Standing(maintenance=maintenance)
        self.peer = PeerView()
        if settings.peers:
            self.peer.number, self.peer.name = settings.peers[0].number, settings.peers[0].name
        names = dict.fromkeys(
            (*settings.paths, *(router.network for group in settings.groups for router in group.routers))
        )
        self.lans: dict[NetworkName, LanReach] = {
            name: LanReach(name, settings.heartbeat, settings.witnesses.get(name, ()), path=name in settings.paths)
            for name in names
        }
        self.groups: dict[GroupName, Group] = {
            group.name: Group(group, settings, self.lans, self.peer, self.standing) for group in settings.groups
        }
        self.health = Health(settings.servers)
        self.dropped: dict[str, int] = {}
        """Packets that were not believed, by reason."""
        self._woke_at: int = LONG_AGO
        self.refusal = ""
        """Why the last command was refused."""
        self._groups = list(self.groups.values())
        self._lans = list(self.lans.values())
        self._routes: dict[tuple[NetworkName, Family, Vrid], tuple[Group, int]] = {
            (router.network, router.family, router.vrid): (group, index)
            for group in self._groups
            for index, router in enumerate(group.settings.routers)
        }
        self._seen: dict[tuple[NetworkName, Family], tuple[Packet, Advertisement, Group, int]] = {}
        """The latest good packet on each LAN: the next one is probably equal to it."""
        self._seen_heartbeat: bytes | None = None
        self._due: int | None = None
        """Deadline but for the LANs, while nothing happened that could bring it forward."""
        self._overslept_after = long_after(settings.heartbeat) // 2
        self._lease_long = settings.lease_long
        self._finished = False
        self._started = False
        self._sequence = 0
        self._sent_at = LONG_AGO
        self._body = b""
        self._fresh_for = settings.heartbeat * 11 // 4
        self._handlers: dict[type, Callable[[Instant, Any, list[Effect]], None]] = {
            VrrpReceived: self._vrrp_received,
            HeartbeatReceived: self._heartbeat_received,
            Started: self._start,
            CarrierChanged: self._carrier_changed,
            LocalAddressLearned: self._local_address_learned,
            WitnessAnswered: self._witness_answered,
            WitnessesLearned: self._witnesses_learned,
            AddressAnswered: lambda now, event, out: self.groups[event.group].answered(now, event, out),
            RoleSet: lambda now, event, out: self.groups[event.group].role_set(now, event, out),
            Quietened: lambda now, event, out: self.groups[event.group].quietened(now, event, out),
            FlowsReady: self._flows_told,
            SyncChanged: self._flows_told,
            KernelRepaired: self._kernel_repaired,
            CheckFinished: lambda now, event, out: out.extend(self.health.handle(event)),
            SwitchoverCommanded: self._switchover,
            GateWaived: self._waive,
            MaintenanceCommanded: self._maintenance,
            StopCommanded: self._stop,
        }

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        """Take in one event at the time `now`; the effects are in the order to carry out."""
        out: list[Effect] = []
        if now - self._sent_at > self._overslept_after and self._started:
            # What waits in the sockets is old, and the peer may have given us up: trust neither for a while.
            self.peer.doubted_until = now + self._lease_long
            self._woke_at = now
        for group in self._groups:
            if now > group.voice.lapses_at:
                group.guard(now, out)
        kind = type(event)
        if kind is Tick:
            if not self._tick(now, out) and not out:
                return out
        else:
            self._handlers[kind](now, event, out)
            if not out and kind in _QUIET and not self.standing.news and not self.standing.stopping:
                return out
        self._due = None
        if self._started:
            self._speak(now, out)
        if self.standing.stopping and not self._finished and all(group.idle for group in self._groups):
            self._finished = True
            out.append(Finish())
        return out

    def next_deadline(self) -> Instant | None:
        """When to send `Tick` at the latest; not later than the moment at which anything is due."""
        if not self._started:
            return None
        due = self._due
        if due is None:
            due = self._sent_at + self._interval()
            if self.peer.fresh:
                due = min(due, self.peer.heard_at + self._fresh_for)
            for group in self._groups:
                due = min(due, group.next_deadline())
            self._due = due
        for lan in self._lans:
            if lan.due < due:  # noqa: PLR1730 (min() costs twice as much, with every event)
                due = lan.due
        return Instant(due)

    # --- the paths that run every interval

    def _vrrp_received(self, now: Instant, event: VrrpReceived, out: list[Effect]) -> None:
        packet, network = event.packet, event.network
        key = (network, packet.family)
        seen = self._seen.get(key)
        if seen is not None and (packet is seen[0] or packet == seen[0]):
            _, advertisement, group, index = seen
        else:
            try:
                advertisement = decode_packet(packet)
            except DecodeError as error:
                self._drop(f"vrrp-{error.reason}", out)
                return
            route = self._routes.get((network, advertisement.family, advertisement.vrid))
            if route is None:
                self._drop("vrrp-foreign-vrid", out)
                return
            group, index = route
            self._seen[key] = (packet, advertisement, group, index)
            self._due = None
        if not advertisement.priority:
            self._due = None  # a farewell is the one packet that brings a deadline forward
        believed = group.heard(now, index, packet.source, advertisement, out)
        if believed and self.lans[network].heard(now):
            self._reach_changed(now, out)

    def _heartbeat_received(self, now: Instant, event: HeartbeatReceived, out: list[Effect]) -> None:
        peer = self.peer
        if event.node != peer.number:
            self._drop("heartbeat-stranger", out)
            return
        payload = event.payload
        if payload != self._seen_heartbeat:
            if not self._believe(now, event.node, payload, out):
                return
            self._seen_heartbeat = payload
        lan = self.lans.get(event.network)
        peer.path_heard_at[event.network] = now
        if lan is None:
            return
        if lan.hears is not Hears.YES:
            self.standing.news = True
        if lan.heartbeat(now):
            self._reach_changed(now, out)

    def _believe(self, now: Instant, number: int, payload: bytes, out: list[Effect]) -> bool:
        """Take in what the peer says, if it is newer than what we know. False if it is not the peer's."""
        peer = self.peer
        try:
            heartbeat = decode(payload)
        except DecodeError as error:
            self._drop(error.reason, out)
            return False
        if heartbeat.node != number:
            self._drop("heartbeat-stranger", out)
            return False
        if heartbeat.epoch < peer.epoch:
            self._drop("heartbeat-old-epoch", out)
            return False
        if heartbeat.epoch == peer.epoch and heartbeat.sequence <= peer.sequence:
            return True
        news = heartbeat.body is not peer.body or not peer.fresh
        peer.epoch, peer.sequence = heartbeat.epoch, heartbeat.sequence
        peer.heard_at = now
        if peer.doubted_until and now - self._woke_at > 2 * self.settings.heartbeat:
            peer.doubted_until = 0  # said after we woke: no old news from the queue
        if news:
            if not peer.fresh:
                out.append(Noted("peer", peer.name, "heard over the channel"))
            if heartbeat.body.config_digest != self.settings.config_digest and (
                peer.body is None or peer.body.config_digest != heartbeat.body.config_digest
            ):
                out.append(Noted("config-differs", peer.name, "the peer runs another configuration"))
            peer.body, peer.fresh, peer.ever = heartbeat.body, True, True
            reach_changed = self._take_hints(now, heartbeat.body, out)
            for group in self._groups:
                group.peer_changed(now, out)
            if reach_changed:
                self._reach_changed(now, out)
            self._due = None
        return True

    def _tick(self, now: Instant, out: list[Effect]) -> bool:
        """Time has passed. False if nothing was due: the deadline was from before the latest packets."""
        if not self._started:
            return False
        self._due = None
        late_lans = [lan for lan in self._lans if lan.due <= now]
        late_groups = [group for group in self._groups if group.next_deadline() <= now]
        peer = self.peer
        peer_lost = peer.fresh and now - peer.heard_at >= self._fresh_for
        if not (late_lans or late_groups or peer_lost) and now - self._sent_at < self._interval():
            return False
        reach_changed = False
        if peer_lost:
            peer.fresh = False
            out.append(Noted("peer", peer.name, "no longer heard over the channel"))
            for lan in self._lans:
                reach_changed |= lan.hear_word(now, Hears.UNSAID, out)
            for group in self._groups:
                group.peer_changed(now, out)
        for lan in late_lans:
            hears = lan.hears
            reach_changed |= lan.handle(now, out)
            self.standing.news |= lan.hears is not hears
        if reach_changed:
            self._reach_changed(now, out)
        for group in late_groups:
            group.tick(now, out)
        return True

    def _speak(self, now: Instant, out: list[Effect]) -> None:
        """Send a heartbeat if one is due, if there is news, or beside our own advertisements."""
        since = now - self._sent_at
        news = self.standing.news
        if news:
            body = encode_body(self._describe())
            news = body != self._body
            self._body = body
            self.standing.news = False
        interval = self._interval()
        # Beside our own advertisements, unless the last one was a moment ago: one that is sent apart makes a crash look
        # younger over the channel than on the LAN, and the standby wait for it.
        beside = 10 * since >= interval and any(type(effect) is SendVrrp for effect in out)
        if news or since >= interval or beside:
            self._sequence += 1
            self._sent_at = now
            out.append(SendHeartbeat(encode(self.settings.number, self.epoch, self._sequence, self._body)))

    # --- the rest

    def _start(self, now: Instant, event: Started, out: list[Effect]) -> None:
        self._started = True
        self._sent_at = now - self.settings.heartbeat
        for lan in self.lans.values():
            lan.start(now)
        for group in self._groups:
            group.start(now, out, group.settings.name in event.held)

    def _carrier_changed(self, now: Instant, event: CarrierChanged, out: list[Effect]) -> None:
        lan = self.lans.get(event.network)
        if lan is None or lan.carrier == event.up:
            return
        out.append(Noted("carrier", event.network, "up" if event.up else "down"))
        changed = lan.set_carrier(now, event.up)
        if self._started:
            for group in self._groups:
                for index, router in enumerate(group.settings.routers):
                    if router.network == event.network:
                        group.carrier_changed(now, index, event.up, out)
            if changed:
                self._reach_changed(now, out)

    def _local_address_learned(self, now: Instant, event: LocalAddressLearned, out: list[Effect]) -> None:
        for group in self._groups:
            for index, router in enumerate(group.settings.routers):
                if (router.network, router.family) == (event.network, event.family):
                    group.voice.set_local(index, event.address)

    def _witness_answered(self, now: Instant, event: WitnessAnswered, out: list[Effect]) -> None:
        lan = self.lans.get(event.network)
        if lan is not None and lan.answered(now):
            self._reach_changed(now, out)

    def _witnesses_learned(self, now: Instant, event: WitnessesLearned, out: list[Effect]) -> None:
        lan = self.lans.get(event.network)
        if lan is not None and lan.learn(event.addresses):
            self.standing.news = True

    def _flows_told(self, now: Instant, event: FlowsReady | SyncChanged, out: list[Effect]) -> None:
        """The replicator's word; it may be of another file than ours for a moment."""
        group = self.groups.get(event.group)
        if group is None:
            self._drop("flows-foreign-group", out)
        elif isinstance(event, FlowsReady):
            group.flows_ready(now, event, out)
        else:
            group.sync_changed(now, event, out)

    def _kernel_repaired(self, now: Instant, event: KernelRepaired, out: list[Effect]) -> None:
        for group in self._groups:
            group.repaired(now, out)

    def _switchover(self, now: Instant, event: SwitchoverCommanded, out: list[Effect]) -> None:
        group = self.groups.get(event.group)
        no_such = f"there is no group {event.group}"
        self.refusal = no_such if group is None else group.switchover(now, out, force=event.force)

    def _waive(self, now: Instant, event: GateWaived, out: list[Effect]) -> None:
        group = self.groups.get(event.group)
        self.refusal = f"there is no group {event.group}" if group is None else group.waive(now, out)

    def _maintenance(self, now: Instant, event: MaintenanceCommanded, out: list[Effect]) -> None:
        self.refusal = ""
        self.standing.maintenance = event.on
        self.standing.insisted = event.on and event.force
        self.standing.news = True
        out.append(Persist(maintenance=event.on))
        out.append(Noted("maintenance", self.settings.name, "on" if event.on else "off"))
        for group in self._groups:
            group.reconsider(now, out)

    def _stop(self, now: Instant, event: StopCommanded, out: list[Effect]) -> None:
        if self.standing.stopping:
            return
        self.standing.stopping = True
        self.standing.news = True
        for group in self._groups:
            group.stop(now, out)

    def _reach_changed(self, now: Instant, out: list[Effect]) -> None:
        self.standing.news = True
        for group in self._groups:
            group.reach_changed(now, out)

    def _take_hints(self, now: Instant, body: Body, out: list[Effect]) -> bool:
        """What the peer says of each LAN: whom it could ask, so that we may too, and whether it hears us there.

        True if our reach changed by it.
        """
        changed = False
        for state in body.lans:
            if state.network < len(self.settings.networks):
                lan = self.lans.get(self.settings.networks[state.network])
                if lan is not None:
                    lan.take_hint(state.witnesses)
                    changed |= lan.hear_word(now, state.hears, out)
        return changed

    def _describe(self) -> Body:
        numbers = {name: position for position, name in enumerate(self.settings.networks)}
        return Body(
            self.settings.config_digest,
            eligible=not self.standing.maintenance,
            stopping=self.standing.stopping,
            lans=tuple(
                LanState(numbers[lan.network], lan.reach, lan.learned[:WITNESSES_MAX], lan.hears)
                for lan in self.lans.values()
            ),
            groups=tuple(group.state() for group in self._groups),
        )

    def _interval(self) -> Duration:
        for group in self._groups:
            if group.handover.phase is not Phase.NONE:
                return min(HURRY, self.settings.heartbeat)
        return self.settings.heartbeat

    def _drop(self, reason: str, out: list[Effect]) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        out.append(Dropped(reason))
