"""What must hold, whatever happens. Each invariant is looked at when something that it depends on has changed.

    one-answers        At most one kernel answers for a group (sim.overlaps).
    answers-as-active  A kernel begins to answer only while its core is Active, and is silent soon after it is not.
                       (What the hands were told before they were told to stop may come through for milliseconds.)
    sends-as-active    Nothing but a farewell is advertised by a node that is not Active, and only a farewell leaves the
                       lease alone.
    resume-guard       No advertisement after the lease must have lapsed: first Backup, then think.
    yields-port        After the successor was heard, the old Active sends nothing from the virtual MAC.
    rests              A node in maintenance, or one that stops, does not become Active.
    says-why           Every move carries a reason and a cause.
    sequence           Heartbeats of one core are numbered upwards.
    calm, flap         No role changes while nothing is wrong, and not too many otherwise (sim.moves).
    forgery            No role changes by an advertisement that the channel contradicts (sim.moves).
    node-return        A node that only returns changes no role and lets nobody wait (sim.returns).
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

from typing import TYPE_CHECKING

from understudy.core.disbelief import SUSPICION
from understudy.core.effects import Moved, SendVrrp
from understudy.core.handover import QUIET_MAX
from understudy.sim.better import Better
from understudy.sim.machine import Machine
from understudy.sim.moves import Moves
from understudy.sim.overlaps import Overlaps
from understudy.sim.returns import Returns
from understudy.sim.stateful import Stateful
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant, format_duration
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


class Checker:
    """Judges the world; `disturbed` tells it what the faults do, everything else it sees for itself."""

    def __init__(self, world: "World", *, check_all: bool = False) -> None:
        self._world = world
        self.check_all = check_all
        self.overlaps = Overlaps(world)
        self.moves = Moves(world)
        self.returns = Returns(world)
        self.better = Better(world)
        self.stateful = Stateful(world)
        self._groups = [group.name for group in world.plan.groups]

    def violation(self, invariant: str, message: str) -> Violation:
        return Violation(self._world.now, invariant, message)

    def disturbed(self) -> None:
        """A fault begins or ends, or a command is given."""
        self.moves.disturbed()
        self.returns.disturbed()

    # --- one-answers, answers-as-active

    def answering(self, machine: Machine, group: GroupName, answers: bool) -> None:
        """A kernel began to answer, or fell silent."""
        gives_up = bool(machine.kernel.ending.get(group))
        if answers and machine.core is not None and machine.roles.get(group) is not Role.ACTIVE and not gives_up:
            raise self.violation(
                "answers-as-active", f"{machine.name} begins to answer for {group}, but its core is not Active"
            )
        if answers:
            self.stateful.begins_to_answer(machine, group)
        both = [m for m in self._world.members(group) if m.kernel.answering.get(group)]
        if not both:
            self.returns.nobody_answers(group)
        self.overlaps.look(machine, group, both)

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
        for other in self._world.members(group):
            if other is machine or not other.running or not other.kernel.answering.get(group):
                continue
            # Hands that need longer are not waited for; its lease ends soon.
            busy = other.kernel.busy_until > self._world.now >= other.kernel.quiet_ordered_at + QUIET_MAX
            if not busy:
                raise self.violation("handed-over", f"{other.name} still answers for {group}")

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
            for other in self._world.members(name):
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
        if effect.new is not Role.ACTIVE:
            when = world.now + SILENT_WITHIN + 2 * machine.kernel.slow
            changes = machine.role_changes[group]
            world.at(when, self._silent_yet, machine, group, machine.life, changes)
        self.returns.moved(machine, group)
        self.moves.moved(machine, effect)

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
        for name in self._groups:
            machines = self._world.members(name)
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
        for name in self._groups:
            both = []
            for machine in self._world.members(name):
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
            if len(both) > 1 and name not in self.overlaps.under_way:
                raise self.violation("flags", f"{both} answer for {name}, and no overlap is known")


def advertised_priority(frame: bytes) -> int:
    """Of an advertisement in an Ethernet frame without options."""
    return frame[14 + 20 + 2] if frame[12:14] == b"\x08\x00" else frame[14 + 40 + 2]


def settle_time(advertise: Duration) -> Instant:
    """Within which everything is as it should be after the last fault has healed.

    The longest chain: a promotion failed just before the heal (held down for 10 s), then silence is noticed, the
    addresses are asked for, and the kernel takes the role; then the higher priority may ask for the group.
    """
    return Instant(10 * SECOND + 8 * advertise + 6 * SECOND)
