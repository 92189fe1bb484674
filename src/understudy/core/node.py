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

from understudy.core.effects import Dropped, Effect, Finish, Noted, Persist
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
from understudy.core.heartbeats import Heartbeats
from understudy.core.peer import PeerView, Standing
from understudy.core.pulse import Pulse
from understudy.core.reach import LanReach
from understudy.core.settings import NodeSettings
from understudy.errors import DecodeError
from understudy.units import Family, GroupName, Instant, NetworkName, Vrid
from understudy.wire.frame import Packet
from understudy.wire.heartbeat import WITNESSES_MAX, Body, Hears, LanState, Phase, Role
from understudy.wire.vrrp import Advertisement, decode_packet

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
        self.heartbeats = Heartbeats(settings, self.peer)
        self.pulse = Pulse(settings, epoch)
        self._due: int | None = None
        """Deadline but for the LANs, while nothing happened that could bring it forward."""
        self._group_dues: list[Instant] = []
        """Of each group, while that one is known."""
        self._finished = False
        self._started = False
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
        if self._started and self.pulse.overslept(now):
            self.heartbeats.doubt(now)
        for group in self._groups:
            if now > group.voice.lapses_at:
                group.guard(now, out)
        kind, answers = type(event), False
        if kind is Tick:
            if not self._tick(now, out) and not out:
                return out
        else:
            self._handlers[kind](now, event, out)
            answers = kind is HeartbeatReceived and self.peer.heard_at == now and self._answers(now)
            if not (out or answers) and kind in _QUIET and not self.standing.news and not self.standing.stopping:
                return out
        self._due = None
        if self._started:
            body = self._describe() if self.standing.news else None
            self.standing.news = False
            self.pulse.speak(now, body, out, hurries=self._hurries(), answers=answers)
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
            due = min(self._speaks_at(), self.heartbeats.due)
            self._group_dues = [group.next_deadline() for group in self._groups]
            due = min(due, *self._group_dues)
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
        believed = group.ear.hear(now, index, packet.source, advertisement, out)
        if believed and self.lans[network].heard(now):
            self._reach_changed(now, out)

    def _heartbeat_received(self, now: Instant, event: HeartbeatReceived, out: list[Effect]) -> None:
        try:
            news = self.heartbeats.hear(now, event, out)
        except DecodeError as error:
            self._drop(error.reason, out)
            return
        if news is not None:
            self._take_news(now, news, out)
        lan = self.lans.get(event.network)
        if lan is None:
            return
        if lan.hears is not Hears.YES:
            self.standing.news = True
        if lan.heartbeat(now):
            self._reach_changed(now, out)

    def _take_news(self, now: Instant, body: Body, out: list[Effect]) -> None:
        """The peer has said something new."""
        reach_changed = self._take_hints(now, body, out)
        for group in self._groups:
            group.peer_changed(now, out)
        if reach_changed:
            self._reach_changed(now, out)
        self._due = None

    def _tick(self, now: Instant, out: list[Effect]) -> bool:
        """Time has passed. False if nothing was due: the deadline was from before the latest packets."""
        if not self._started:
            return False
        late_lans = [lan for lan in self._lans if lan.due <= now]
        dues = self._group_dues if self._due is not None else [group.next_deadline() for group in self._groups]
        late_groups = [group for group, due in zip(self._groups, dues, strict=True) if due <= now]
        self._due = None
        peer_lost = self.heartbeats.due <= now
        if not (late_lans or late_groups or peer_lost) and now < self._speaks_at():
            return False
        reach_changed = False
        if peer_lost:
            self.heartbeats.lose(out)
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

    # --- the rest

    def _start(self, now: Instant, event: Started, out: list[Effect]) -> None:
        self._started = True
        self.pulse.start(now)
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

    def _speaks_at(self) -> int:
        """When our next heartbeat is due."""
        return self.pulse.due(self._hurries(), follows=self._follows())

    def _answers(self, now: Instant) -> bool:
        """The peer has just spoken: ours goes along."""
        return self.pulse.soon(now) and self._started and self._follows()

    def _follows(self) -> bool:
        """Nothing is served here, and the peer is heard. Whoever serves speaks with its own advertisements."""
        if not self.peer.fresh:
            return False
        for group in self._groups:  # noqa: SIM110 (as below)
            if group.role is Role.ACTIVE:
                return False
        return True

    def _hurries(self) -> bool:
        """A hand-over is under way: the peer waits for every word."""
        for group in self._groups:  # noqa: SIM110 (any() costs twice as much, with every event)
            if group.handover.phase is not Phase.NONE:
                return True
        return False

    def _drop(self, reason: str, out: list[Effect]) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        out.append(Dropped(reason))
