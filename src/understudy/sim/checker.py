"""What must hold, whatever happens. Each invariant is looked at when something that it depends on has changed.

    one-answers        At most one kernel answers for a group. Excused are a hand-over under way, and a split that
                       nobody could see through: the newest refresh of the other's lease did not arrive, or the question
                       about its addresses was lost. An excused overlap ends within a bound once the network is whole.
    answers-as-active  A kernel begins to answer only while its core is Active, and is silent soon after it is not.
                       (What the hands were told before they were told to stop may come through for milliseconds.)
    sends-as-active    Nothing but a farewell is advertised by a node that is not Active, and only a farewell leaves the
                       lease alone.
    resume-guard       No advertisement after the lease must have lapsed: first Backup, then think.
    yields-port        After the successor was heard, the old Active sends nothing from the virtual MAC.
    rests              A node in maintenance, or one that stops, does not become Active.
    says-why           Every move carries a reason and a cause.
    sequence           Heartbeats of one core are numbered upwards.
    calm               No role changes while nothing has been wrong for a while.
    flap               A node changes its role at most twice for each thing that begins or ends, and a few more times.
    forgery            No role changes by an advertisement that the channel contradicts while the channel works.
    node-return        A node that only returns changes no role and lets nobody wait; with preemption, each node's once.
    handed-over        When the successor has recorded that the old Active stopped, its kernel is silent.
    state-first        A kernel begins to answer with everything in it that had been received of the group's flows, and
                       by an agreed replica, or with a recorded waiver (sim.stateful).
    one-original       Two nodes take their kernels for the original of a group's flows only in a hand-over, or in a
                       split that nobody could see through, and not for long after it has healed.
    replica            After the faults have healed the standby's table is equal to the original within its bound.
    better             A group does not stay on a node that has lost a LAN while the other has them all (sim.better).
    clock              Time passes: after a Tick the next deadline lies ahead.
    stops              An agent that is asked to end does so in time.
    no-exception       Nothing that arrives raises.
    converges          After the faults have healed one node is Active and answers, the others stand by (liveness).

They map to I1, I3, I4, I7 and I8 of the list that Understudy promises; `answering` and the evidence in the network are
facts of the simulated world that no core can see.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.core.disbelief import SUSPICION
from understudy.core.effects import Moved, SendVrrp
from understudy.core.gate import allowance
from understudy.core.handover import OFFER_DEADLINE, OVERLAP_MAX, QUIET_MAX
from understudy.sim.better import Better
from understudy.sim.machine import Machine
from understudy.sim.stateful import Stateful
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant, NodeName, format_duration
from understudy.wire.heartbeat import Lease, Phase, Role

if TYPE_CHECKING:
    from understudy.sim.world import World

LATE_WORD: Duration = 40 * MILLISECOND
"""From a successor's advertisement to its word over the channel, of which some may be lost."""
SILENT_WITHIN: Duration = 100 * MILLISECOND
"""From ceasing to be Active to a silent kernel whose hands are not busy."""


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, at: int, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.at = at
        self.invariant = invariant
        self.message = message


class Overlap:
    """Two kernels answer for one group."""

    __slots__ = ("excuse", "planned", "since")

    def __init__(self, since: int, excuse: str, planned: bool) -> None:
        self.since = since
        self.excuse = excuse
        self.planned = planned


@dataclass(slots=True)
class _Return:
    """A node is back, and how often whose role has changed since."""

    node: NodeName
    changes: dict[tuple[NodeName, GroupName], int]


class Checker:
    """Judges the world; `disturbed` tells it what the faults do, everything else it sees for itself."""

    def __init__(self, world: "World", *, check_all: bool = False) -> None:
        self._world = world
        self.check_all = check_all
        self.overlaps: dict[GroupName, Overlap] = {}
        self.overlap_planned_max: Duration = 0
        self.overlap_split_max: Duration = 0
        self.role_changes = 0
        self.disturbances = 0
        """Beginnings and ends of faults, and commands."""
        self.calm_from: int | None = None
        """From here on nothing is wrong any more and everything has settled."""
        self.noisy = False
        """A LAN loses frames: reach may change by chance."""
        self.better = Better(world)
        self.stateful = Stateful(world)
        self._return: _Return | None = None
        self._disturbed_at = 0
        self._changes: dict[tuple[NodeName, GroupName], int] = {}
        self._budget = 6
        self._numbers = {group.name: group.number for group in world.plan.groups}
        self._networks = {
            group.name: tuple(dict.fromkeys(router.network for router in group.routers)) for group in world.plan.groups
        }
        self._advertise = {group.name: group.advertise for group in world.plan.groups}
        self._preempts = {group.name: group.preempt for group in world.plan.groups}
        self._first = {group.name: max(group.nodes, key=group.priorities.__getitem__) for group in world.plan.groups}
        self._members = {group.name: group.nodes for group in world.plan.groups}

    def violation(self, invariant: str, message: str) -> Violation:
        return Violation(self._world.now, invariant, message)

    def disturbed(self) -> None:
        self.disturbances += 1
        self.calm_from = self._return = None
        self._disturbed_at = self._world.now

    def begins(self) -> None:
        """Something is about to be broken: no longer only a node's return."""
        self._return = None

    def returning(self, machine: Machine) -> None:
        """A node comes back, and nothing else is wrong; watched until something else begins."""
        world = self._world
        if world.now - self._disturbed_at < 4 * SECOND + 20 * max(self._advertise.values()):
            return
        for name in self._members:
            others = [m for m in self._members_of(name) if m is not machine]
            if not all(m.running and m.roles.get(name) is Role.ACTIVE and m.kernel.answering.get(name) for m in others):
                return
            if any(m.kernel.busy_until > world.now for m in others):
                return
        # What ends it is told after this: the end of the very fault.
        world.at(world.now, self._watch_return, _Return(machine.name, {}))

    def _watch_return(self, watched: "_Return") -> None:
        self._return = watched

    # --- one-answers, answers-as-active

    def answering(self, machine: Machine, group: GroupName, answers: bool) -> None:
        """A kernel began to answer, or fell silent."""
        world = self._world
        gives_up = bool(machine.kernel.ending.get(group))
        if answers and machine.core is not None and machine.roles.get(group) is not Role.ACTIVE and not gives_up:
            raise self.violation(
                "answers-as-active", f"{machine.name} begins to answer for {group}, but its core is not Active"
            )
        if answers:
            self.stateful.begins_to_answer(machine, group)
        both = [m for m in self._members_of(group) if m.kernel.answering.get(group)]
        if not both and self._return is not None:
            raise self.violation("node-return", f"nobody answers for {group} since {self._return.node} is back")
        overlap = self.overlaps.get(group)
        if len(both) < 2:
            if overlap is not None:
                self._close(group, overlap)
        elif overlap is None:
            earlier = next(m for m in both if m is not machine)
            planned = self._planned(machine, earlier, group)
            excuse = "hand-over" if planned else self._excuse(machine, earlier, group)
            if not excuse and world.now - machine.kernel.repaired_at < 5 * MILLISECOND:
                excuse = (
                    "what had been taken from one is back"  # it held the group all along; who yields is settled now
                )
            if not excuse and (gives_up or earlier.kernel.ending.get(group)):
                excuse = "the hands of one are about to end its lease"
            if not excuse:
                raise self.violation("one-answers", f"{machine.name} answers for {group} while {earlier.name} does")
            self.overlaps[group] = overlap = Overlap(world.now, excuse, planned)
            world.note(machine.name, "overlap", f"{group}: {machine.name} and {earlier.name} answer ({excuse})")
            world.at(world.now + self._advertise[group], self._look_again, group, overlap)

    def _planned(self, new: Machine, old: Machine, group: GroupName) -> bool:
        """Whether `new` answers because `old` offered it the group."""
        offered = old.offered.get(group)
        if offered is None or new.core is None:
            return False
        state = new.core.groups[group].state()
        settings = next(g for g in old.settings.groups if g.name == group)
        bound = OFFER_DEADLINE + OVERLAP_MAX + 2 * allowance(settings, old.settings)
        return state.phase is Phase.TAKEN and state.token == offered[0] and self._world.now - offered[1] <= bound

    def _excuse(self, new: Machine, old: Machine, group: GroupName) -> str:
        """Why `new` could not know that `old` answers; empty if it could."""
        world = self._world
        if not new.running:
            # Nobody there advertised or changed its kernel: a port came back to a node frozen or killed under a long
            # lease, after the other had asked in vain.
            return "a port of a node without agent came back"
        if (new.misconfigured or old.misconfigured) and not (new.core is not None and new.core.peer.fresh):
            return "the two run different files, and no channel says so"
        evidence = world.network.evidence[old.name, new.name]
        asked = world.network.evidence[new.name, old.name]
        interval = self._advertise[group]
        lost = max(asked.question_lost_at, evidence.question_lost_at)
        if world.now - lost <= max(interval, SECOND) + 5 * MILLISECOND + new.kernel.slow:
            return "the question was lost"
        refreshed = old.kernel.refreshed_at.get(group, -1)
        recent = world.now - refreshed <= 6 * interval + new.kernel.slow + new.late
        if recent and evidence.newest_arrived < refreshed:
            return "the other was not heard"
        return ""

    def _look_again(self, group: GroupName, overlap: Overlap) -> None:
        """An overlap goes on: it must end soon after both cores run and hear each other."""
        world = self._world
        if self.overlaps.get(group) is not overlap:
            return
        both = [m for m in self._members_of(group) if m.kernel.answering.get(group)]
        healed = max(overlap.since, *(machine.ready_at for machine in both))
        for one in both:
            for other in both:
                if one is not other:
                    evidence = world.network.evidence[one.name, other.name]
                    healed = max(healed, evidence.clean_since(self._networks[group]))
        slow = max(machine.kernel.slow + machine.late for machine in both)
        bound = 6 * self._advertise[group] + OFFER_DEADLINE + OVERLAP_MAX + 4 * slow
        if all(machine.running for machine in both) and world.now - healed > bound:
            names, lasted = " and ".join(machine.name for machine in both), format_duration(world.now - healed)
            raise self.violation(
                "one-answers", f"{names} both answer for {group}, {lasted} after they could hear each other"
            )
        world.at(world.now + self._advertise[group], self._look_again, group, overlap)

    def _close(self, group: GroupName, overlap: Overlap) -> None:
        del self.overlaps[group]
        lasted = self._world.now - overlap.since
        if overlap.planned:
            self.overlap_planned_max = max(self.overlap_planned_max, lasted)
        else:
            self.overlap_split_max = max(self.overlap_split_max, lasted)

    def _silent_yet(self, machine: Machine, group: GroupName, life: int, changes: int) -> None:
        """Some time after a node ceased to be Active."""
        if machine.life != life or not machine.running or machine.role_changes[group] != changes:
            return
        if machine.kernel.answering.get(group) and machine.kernel.busy_until < self._world.now - SILENT_WITHIN // 2:
            raise self.violation(
                "answers-as-active", f"{machine.name} still answers for {group} after it ceased to be Active"
            )

    def handed_over(self, machine: Machine, group: GroupName) -> None:
        """The successor records that the old Active stopped answering."""
        for other in self._members_of(group):
            if other is machine or not other.running or not other.kernel.answering.get(group):
                continue
            # Hands that need longer are not waited for; its lease ends soon.
            busy = other.kernel.busy_until > self._world.now >= other.kernel.quiet_ordered_at + QUIET_MAX
            if not busy:
                raise self.violation("handed-over", f"{other.name} still answers for {group}")

    def owning(self, machine: Machine, group: GroupName, own: bool) -> None:
        """A core says whether its kernel is the original of a group's flows."""
        self.stateful.owning(machine, group, own)

    # --- what a node sends

    def sending(self, machine: Machine, effect: SendVrrp) -> None:
        """An advertisement leaves."""
        now, name = self._world.now, effect.group
        role = machine.roles.get(name)
        if effect.lease is Lease.NONE:
            if advertised_priority(effect.frame):
                raise self.violation("sends-as-active", f"{machine.name} advertises without a lease")
            return
        if role is not Role.ACTIVE:
            raise self.violation("sends-as-active", f"{machine.name} advertises {name} while it is not Active")
        last = machine.last_sent.get(name)
        if last is not None and now > last[1]:
            raise self.violation(
                "resume-guard",
                f"{machine.name} advertises {name} {format_duration(now - last[1])} after its lease must have lapsed",
            )
        length = machine.lease_lengths[name, effect.lease]
        machine.last_sent[name] = (now, now + length + 2 * machine.settings.jiffy)
        since = machine.offering.get(name)
        if since is not None:
            # Among forgeries the successor's word is waited for: it is repeated every few milliseconds.
            forged = now - self._world.attacker.forged_at < 2 * SUSPICION
            until = now - LATE_WORD if forged else now
            for other in self._members_of(name):
                heard = self._world.network.evidence[other.name, machine.name] if other is not machine else None
                if machine.misconfigured or other.misconfigured:
                    continue  # It is not known for the successor by what it advertises: its VRID may be another.
                if heard is not None and since < heard.advertised_at.get(name, -1) <= until:
                    raise self.violation(
                        "yields-port", f"{machine.name} advertises {name} after it heard its successor {other.name}"
                    )

    def speaking(self, machine: Machine, payload: bytes) -> None:
        """A heartbeat leaves."""
        sequence = int.from_bytes(payload[6:14], "big")
        if sequence <= machine.sequence:
            raise self.violation("sequence", f"{machine.name} repeats heartbeat {sequence}")
        machine.sequence = sequence

    # --- moves

    def moved(self, machine: Machine, effect: Moved) -> None:
        world, group = self._world, effect.group
        machine.roles[group] = effect.new
        machine.offering.pop(group, None)
        if not effect.reason or not effect.cause:
            raise self.violation("says-why", f"{machine.name} moves to {effect.new.name} without a reason")
        if effect.new is Role.ACTIVE:
            if effect.reason != "adopted" and (machine.maintenance or machine.stopping):
                raise self.violation("rests", f"{machine.name} becomes Active for {group} in maintenance or stopping")
        else:
            machine.last_sent.pop(group, None)
        if effect.old is Role.INITIALIZE:
            return
        machine.role_changes[group] += 1
        self.role_changes += 1
        if effect.new is not Role.ACTIVE:
            when = world.now + SILENT_WITHIN + 2 * machine.kernel.slow
            changes = machine.role_changes[group]
            world.at(when, self._silent_yet, machine, group, machine.life, changes)
        self._judge_return(machine, group)
        self._judge_forgery(machine, effect)
        if self.calm_from is not None and world.now >= self.calm_from and not self._goes_home(group):
            raise self.violation(
                "calm", f"{machine.name} becomes {effect.new.name} for {group} with nothing wrong: {effect.cause}"
            )
        if self._forged_alone(group):
            return
        key = (machine.name, group)
        self._changes[key] = self._changes.get(key, 0) + 1
        if self._changes[key] > self._budget + 2 * self.disturbances and not self.noisy:
            raise self.violation(
                "flap",
                f"{machine.name} changed its role {self._changes[key]} times, things changed {self.disturbances}",
            )

    def _judge_return(self, machine: Machine, group: GroupName) -> None:
        watched = self._return
        if watched is None:
            return
        key = (machine.name, group)
        watched.changes[key] = watched.changes.get(key, 0) + 1
        wanted = 1 if self._preempts[group] and self._first[group] == watched.node else 0
        if watched.changes[key] > wanted:
            raise self.violation("node-return", f"{machine.name} changes its role for {group}: {watched.node} returned")

    def _judge_forgery(self, machine: Machine, effect: Moved) -> None:
        """Who stands down for an advertisement must have had one of a true Active, unless the channel is silent."""
        if effect.row != "outranked-on-a-lan" or machine.core is None or not machine.core.peer.fresh:
            return
        heard = [
            self._world.network.evidence[other.name, machine.name].advertised_at.get(effect.group, -1)
            for other in self._members_of(effect.group)
            if other is not machine
        ]
        recent = self._world.now - 2 * self._advertise[effect.group] - 50 * MILLISECOND
        if self._world.attacker.forged_at > recent > max(heard, default=-1):
            raise self.violation("forgery", f"{machine.name} stands down for {effect.group}: {effect.cause}")

    def _forged_alone(self, group: GroupName) -> bool:
        """A node whose peer is not heard follows RFC 9568, also where a stranger leads it, and the peer follows it."""
        recent = self._world.now - 10 * self._advertise[group] - SECOND
        if self._world.attacker.forged_at < recent:
            return False
        return not all(m.core is not None and m.core.peer.fresh for m in self._members_of(group))

    def _goes_home(self, group: GroupName) -> bool:
        """A hold-down has ended: the node of the higher priority takes back what it had to leave, however late."""
        cores = [machine.core for machine in self._members_of(group)]
        return self._preempts[group] and any(core is not None and core.groups[group].holddown.length for core in cores)

    def new_round(self) -> None:
        """Count role changes and disturbances afresh."""
        self._changes.clear()
        self._budget = 2  # more at first: two nodes that start may take some moves to agree
        self.disturbances = 0
        self.noisy = False

    # --- the clock, the end, exceptions

    def stuck(self, machine: Machine, deadline: int) -> None:
        raise self.violation(
            "clock", f"{machine.name} asks for a Tick at {deadline} after it had one at {self._world.now}"
        )

    def stopped_in_time(self, machine: Machine, life: int) -> None:
        if machine.life == life and machine.running and self._world.now - machine.ready_at > 6 * SECOND:
            raise self.violation("stops", f"{machine.name} was asked to end and has not")

    def finished(self, machine: Machine) -> None:
        """The agent ends by itself: nothing may be held any more that somebody else could not take."""
        assert machine.core is not None
        for name, group in machine.core.groups.items():
            if group.role is Role.ACTIVE:
                raise self.violation("stops", f"{machine.name} ends while it is Active for {name}")

    # --- liveness

    def converged(self, *, faults_over_for: Duration) -> None:
        """Everything has healed for longer than it may take."""
        after = f"{format_duration(faults_over_for)} after everything healed"
        for name in self._members:
            machines = self._members_of(name)
            roles = {m.name: m.core.groups[name].role if m.core is not None else None for m in machines}
            active = [m for m in machines if roles[m.name] is Role.ACTIVE]
            listing = ", ".join(f"{node} {role.name if role is not None else 'dead'}" for node, role in roles.items())
            if len(active) != 1 or any(role is None or role is Role.INITIALIZE for role in roles.values()):
                raise self.violation("converges", f"{name}: {listing}, {after}")
            answering = [m.name for m in machines if m.kernel.answering.get(name)]
            if answering != [active[0].name]:
                raise self.violation(
                    "converges", f"{name}: {listing}, answered for by {answering or 'nobody'}, {after}"
                )
            for machine in machines:
                core = machine.core
                assert core is not None
                if core.groups[name].phase is not Phase.NONE:
                    raise self.violation(
                        "converges", f"{machine.name} is still {core.groups[name].phase.name}, {after}"
                    )
                if machine is not active[0]:
                    self.stateful.converged(name, machine, active[0], after)
                wrong = sorted(core.health.up ^ {s.binding for s in machine.settings.servers})
                if wrong:
                    raise self.violation("converges", f"{machine.name} takes healthy servers {wrong} for dead, {after}")

    # --- every invariant of state, again

    def look_at_everything(self) -> None:
        """What the dirty flags claim not to have changed. Slow: for the test that the flags are right."""
        world = self._world
        for name in self._members:
            both = []
            for machine in self._members_of(name):
                kernel = machine.kernel
                answers = world.hands.answers(machine, name)
                known = kernel.answering.get(name, False)
                until = kernel.lease_until.get(name, -1)
                if answers != known and until != world.now:
                    raise self.violation("flags", f"{machine.name}: {name} answers is {answers}, believed {known}")
                both += [machine.name] if answers and known else []
                core = machine.core
                if core is not None and machine.running:
                    due, cached = core.next_deadline(), core._due
                    core._due = None
                    exact = core.next_deadline()
                    core._due = cached
                    if due is not None and exact is not None and due > exact:
                        raise self.violation("flags", f"{machine.name} would sleep until {due}, but {exact} is due")
            if len(both) > 1 and name not in self.overlaps:
                raise self.violation("flags", f"{both} answer for {name}, and no overlap is known")

    def _members_of(self, group: GroupName) -> list[Machine]:
        machines = self._world.machines
        return [machines[name] for name in self._members[group]]


def advertised_priority(frame: bytes) -> int:
    """Of an advertisement in an Ethernet frame without options."""
    return frame[14 + 20 + 2] if frame[12:14] == b"\x08\x00" else frame[14 + 40 + 2]


def settle_time(advertise: Duration) -> Instant:
    """Within which everything is as it should be after the last fault has healed.

    The longest chain: a promotion failed just before the heal (held down for 10 s), then silence is noticed, the
    addresses are asked for, and the kernel takes the role; then the higher priority may ask for the group.
    """
    return Instant(10 * SECOND + 8 * advertise + 6 * SECOND)
