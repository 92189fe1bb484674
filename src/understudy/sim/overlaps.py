"""`one-answers`: at most one kernel answers for a group.

Excused are a hand-over under way, and a split that nobody could see through: the newest refresh of the other's lease
did not arrive, or the question about its addresses was lost. An excused overlap ends within a bound once the network
is whole.
"""

from typing import TYPE_CHECKING

from understudy.core.gate import allowance
from understudy.core.handover import OFFER_DEADLINE, OVERLAP_MAX
from understudy.sim.machine import Machine
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, format_duration
from understudy.wire.heartbeat import Phase

if TYPE_CHECKING:
    from understudy.sim.world import World


class Overlap:
    """Two kernels answer for one group."""

    __slots__ = ("excuse", "planned", "since")

    def __init__(self, since: int, excuse: str, planned: bool) -> None:
        self.since = since
        self.excuse = excuse
        self.planned = planned


class Overlaps:
    """Told of every kernel that begins to answer or falls silent."""

    def __init__(self, world: "World") -> None:
        self.under_way: dict[GroupName, Overlap] = {}
        self.planned_max: Duration = 0
        """Of the hand-overs that have ended."""
        self._world = world
        self._networks = {
            group.name: tuple(dict.fromkeys(router.network for router in group.routers)) for group in world.plan.groups
        }
        self._advertise = {group.name: group.advertise for group in world.plan.groups}

    def look(self, machine: Machine, group: GroupName, both: list[Machine]) -> None:
        """The kernel of `machine` has changed its mind, and `both` answer for the group: mostly only one, or none."""
        overlap = self.under_way.get(group)
        if len(both) < 2:
            if overlap is not None:
                self._close(group, overlap)
            return
        if overlap is not None:
            return
        world = self._world
        earlier = next(m for m in both if m is not machine)
        planned = self._planned(machine, earlier, group)
        excuse = "hand-over" if planned else self._excuse(machine, earlier, group)
        if not excuse:
            raise world.checker.violation(
                "one-answers", f"{machine.name} answers for {group} while {earlier.name} does"
            )
        self.under_way[group] = overlap = Overlap(world.now, excuse, planned)
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
        if world.now - new.kernel.repaired_at < 5 * MILLISECOND:
            return "what had been taken from one is back"  # it held the group all along; who yields is settled now
        if new.kernel.ending.get(group) or old.kernel.ending.get(group):
            return "the hands of one are about to end its lease"
        return ""

    def _look_again(self, group: GroupName, overlap: Overlap) -> None:
        """An overlap goes on: it must end soon after both cores run and hear each other."""
        world = self._world
        if self.under_way.get(group) is not overlap:
            return
        both = [m for m in world.members(group) if m.kernel.answering.get(group)]
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
            raise world.checker.violation(
                "one-answers", f"{names} both answer for {group}, {lasted} after they could hear each other"
            )
        world.at(world.now + self._advertise[group], self._look_again, group, overlap)

    def _close(self, group: GroupName, overlap: Overlap) -> None:
        del self.under_way[group]
        lasted = self._world.now - overlap.since
        if overlap.planned:
            self.planned_max = max(self.planned_max, lasted)
