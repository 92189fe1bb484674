"""One strike at one contender's pair: the drill's probes and the drill's judgement of what they saw, around a lab whose
daemons are anybody's.

    rest -> probes clean -> wait for the phase -> strike -> traffic whole again -> verify -> the struck node anew

Every run ends with a power cycle of the struck node, so that each begins from a kernel without memory, whoever left
what behind. Every wait has an end; what a contender cannot mend is measured up to there and marked as not recovered.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

from contenders import Contender
from injections import Fault, Scene
from summary import Row, beyond_protocol_ms

from understudy.config.plan import Plan
from understudy.drill import journal, stage, waits
from understudy.drill.board import Board, Cell
from understudy.drill.evaluate import evaluate, void_reason
from understudy.drill.faults import timing_of
from understudy.drill.flowprobe import EXCHANGES_MAX
from understudy.drill.occasion import Occasion
from understudy.drill.processes import ProbeProcess
from understudy.drill.record import Connection, Sighting, WireRecord
from understudy.drill.result import RunJson
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NodeName

TCP_POPULATION = 40
PROBE_PRIORITY = 60
UNDECIDED_AFTER: Duration = 1_500 * MILLISECOND
"""A connection that TCP has not tried again this long after traffic was whole counts as stalled."""
PATIENCE: Duration = 2 * SECOND
"""What has not recovered this long after the protocol's own bound will not."""
EDGE: Duration = 2 * MILLISECOND
"""Faults keep this far from advertisements: one that came too late or too early would fall into another interval."""
_REST_TIMEOUT: Duration = 15 * SECOND


Witness = Callable[[Scene], AbstractContextManager[Callable[[], Row]]]
"""Watches a strike from before until after it; what it saw joins the row."""


SMALL = stage.Population(TCP_POPULATION)


@contextlib.contextmanager
def nobody(_: Scene) -> Iterator[Callable[[], Row]]:
    yield dict


class Unrest(Exception):
    """The pair did not come to rest: one node active, the other standing by, traffic whole."""


class Stand:
    """One contender's lab, up, struck again and again."""

    def __init__(
        self,
        contender: Contender,
        plan: Plan,
        state: Path,
        *,
        population: stage.Population = SMALL,
        witness: Witness = nobody,
        undecided_after: Duration = UNDECIDED_AFTER,
        late_max: Duration | None = None,
    ) -> None:
        """`late_max` is how late a probe may be where losses are judged and no milliseconds: see `void_reason`."""
        self.contender, self.plan = contender, plan
        self._population, self._witness, self._undecided_after = population, witness, undecided_after
        self._late_max = late_max
        self.lab = Lab(plan, state, agent_main=contender.main)
        self._group = plan.groups[0]
        self._networks = list(dict.fromkeys(str(router.network) for router in self._group.routers))
        self._timing = timing_of(self._group)
        self._leads: dict[str, list[Duration]] = {}
        """By fault, from its call to its instant, the last few times: finding a node's processes takes a while."""
        self._roles: dict[NodeName, str] = {}
        self._since = time.monotonic_ns()
        """Nobody touched the pair and no role was seen to change since then."""

    def up(self) -> None:
        self.lab.up()
        self._since = time.monotonic_ns()

    def strike(self, fault: Fault, number: int, phase: float) -> Row:
        """One run. Raises Unrest if it could not begin, EnvironmentFailure if the lab is broken."""
        before = _Load()
        active, standby = self._rest()
        network = self._networks[number % len(self._networks)]
        scene = Scene(self.lab, self.contender, self.plan, active, standby, network)
        scene = fault.prepare(scene) or scene
        active, standby = scene.active, scene.standby
        board = Board()
        people = self._population
        with contextlib.ExitStack() as probes:
            enter = probes.enter_context
            wire = enter(ProbeProcess("wire", lambda: stage.wire_probe(self.lab, self._group, board).run()))
            flows = enter(ProbeProcess("TCP", lambda: stage.flow_probe(self.lab, self._group, people, board).run()))
            idle = enter(self._idle_probe(board)) if people.udp else None
            cells = [Cell.WIRE_READY, Cell.FLOWS_READY, *([Cell.DATAGRAMS_READY] if idle else [])]
            if not waits.wait_for_clean_probes(board, self._streams, _REST_TIMEOUT + _begins_within(people), cells):
                raise Unrest("no whole traffic through the pair before the fault")
            _ahead_of_everyone(wire.pid)
            with self._witness(scene) as saw, stage.tap(self.lab, active, self._networks[0]) as tap:
                if fault.phase_matters:
                    interval = self._group.advertise
                    after = min(max(int(phase * interval), EDGE), interval - EDGE)
                    if not waits.wait_for_phase(tap, interval, after, self._lead(fault)):
                        raise Unrest("no advertisement at the active's port")
                called = time.monotonic_ns()
                struck = fault.inject(scene)
                witnessed = saw()
            self._leads.setdefault(fault.name, []).append(struck - called)
            watched = struck + fault.watch(self._timing)
            # What was witnessed took time, and the more so the more flows there are.
            deadline = max(watched, struck + self._timing.takeover_max, time.monotonic_ns()) + PATIENCE
            mark, recovered = waits.wait_for_clean_traffic(board, self._streams, watched, deadline)
            board[Cell.MARK] = mark
            if recovered:
                patience = self._undecided_after + max(people.tcp, people.udp) * SECOND // EXCHANGES_MAX
                waits.wait_for_connections(board, mark, patience, datagrams=idle is not None)
            findings = stage.neighbour_findings(self.lab, self._group) if self.contender.virtual_mac else []
            stop = Instant(time.monotonic_ns())
            board[Cell.STOP] = stop
            wire_record, flow_record = wire.result(30), flows.result(30)
            idle_record = idle.result(30) if idle else ()
        occasion = Occasion(
            number=number,
            phase=phase,
            group=self._group.name,
            nodes=tuple(self._group.nodes),
            struck=standby if fault.strikes_standby else active,
            addresses=stage.virtual_addresses(self._group),
            network=network if fault.on_lan else None,
            lane_network=self._networks[0],
            sentence=fault.name,
            downed={},
            interval=self._group.advertise,
            fault=struck,
            healed=None,
            mark=mark,
            stop=stop,
            recovered=recovered,
            load_average=round(os.getloadavg()[0], 2),
        )
        run = evaluate(occasion, wire_record, flow_record, self._journals(), findings)
        row = (
            _row(occasion, run, wire_record)
            | before.until_now()
            | {"void": void_reason(occasion, wire_record, self._late_max)}
        )
        row |= witnessed | _of_datagrams(idle_record, mark)
        if _is_odd(row | {"advertise_ms": self._group.advertise / MILLISECOND}, fault):
            row["events"] = [[event["t_ms"], event["node"], event["text"]] for event in run["events"]]
        self._make_whole(fault, scene)
        return row

    # -- rest --

    def _rest(self) -> tuple[NodeName, NodeName]:
        """Wait until one node is active and the other stands by, both untouched long enough to know of each other."""
        steady = 3 * self._group.advertise // 2 + 300 * MILLISECOND
        deadline = time.monotonic_ns() + _REST_TIMEOUT + 10 * self._group.advertise
        while (now := time.monotonic_ns()) < deadline:
            pair = self._pair()
            if pair is not None and now - self._since >= steady:
                return pair
            time.sleep(0.02)
        raise Unrest(", ".join(f"{node} {role or 'neither'}" for node, role in self._roles.items()))

    def _pair(self) -> tuple[NodeName, NodeName] | None:
        """(active, standby), if that is what the two are now."""
        roles = {node: self.contender.role(self.lab, self._group, node) for node in self._group.nodes}
        if roles != self._roles:
            self._roles, self._since = roles, time.monotonic_ns()
        by_role = {role: node for node, role in roles.items()}
        return (by_role["active"], by_role["standby"]) if {"active", "standby"} <= by_role.keys() else None

    def _make_whole(self, fault: Fault, scene: Scene) -> None:
        """Undo what was done. The pair then comes to rest while other contenders are struck."""
        if fault.on_lan:
            self.lab.heal(scene.active, scene.network)
            self.lab.link_up(scene.active, scene.network)
        if fault.restart:
            self.lab.power_off(scene.active)
            self.lab.power_on(scene.active)
        elif fault.name == "switchover" and self.contender.after_switchover is not None:
            self.contender.after_switchover(self.lab, scene.active)
        self._since = time.monotonic_ns()
        deadline = self._since + 5 * self._group.advertise + 2 * SECOND
        while self._pair() is None and time.monotonic_ns() < deadline:
            time.sleep(0.02)

    # -- the waits of one run --

    def _idle_probe(self, board: Board) -> ProbeProcess[tuple[Connection, ...]]:
        people = self._population
        return ProbeProcess("UDP", lambda: stage.idle_probe(self.lab, self._group, people.udp, board).run())

    def _lead(self, fault: Fault) -> Duration:
        """How much earlier to call the fault. The median: one call that the scheduler held up teaches nothing."""
        return int(median(self._leads.get(fault.name, [1_200_000])[-5:]))

    @property
    def _streams(self) -> int:
        return 2 * len(stage.routes(self.lab, self._group))

    def _journals(self) -> list[journal.Event]:
        """Ours tell when a hand-over was declared; the others' have none."""
        return journal.merge(
            [journal.read(self.lab.run_dir(node) / "events.jsonl", Instant(0)) for node in self._group.nodes]
        )


def _is_odd(row: Row, fault: Fault) -> bool:
    """Whether somebody will ask what happened: the agents' own words then stay with the row."""
    late = fault.name == "node-power-loss" and beyond_protocol_ms(row) > 10
    return late or not row["recovered"] or row["dual_answer_ms"] > 0


_KEPT = (
    "phase", "phase_wanted", "struck", "network", "recovered", "outage_ms", "packets_sent", "packets_lost",
    "tcp_established", "tcp_survived", "tcp_reset", "tcp_stalled", "tcp_corrupted", "connects", "refused_connects",
    "timed_out_connects", "dual_answer_ms", "overlap_ms", "silent_after_ms", "findings", "prober_cpu",
    "prober_realtime", "sender_stall_ms",
)  # fmt: skip


def _row(occasion: Occasion, run: RunJson, wire: WireRecord) -> Row:
    values: Row = dict(run)
    observed = occasion.after(occasion.stop)
    silent = run["silent_after_ms"]
    return {key: values[key] for key in _KEPT} | {
        "observed_ms": observed,
        # Still answering when we stopped looking: the time that both answered has no end that we saw.
        "answers_on": silent is not None and observed - silent < 50,
        "speaker_changes": _speaker_changes(occasion, wire.sightings),
    }


def _begins_within(people: stage.Population) -> Duration:
    """What a large population takes to come about, beyond what a small one does."""
    return (people.tcp + 2 * people.udp) * SECOND // 500 + (5 * SECOND if people.udp else 0)


def _of_datagrams(record: Sequence[Connection], mark: Instant) -> Row:
    """Idle exchanges of datagrams: those that were there, and those whose answer came the same way afterwards."""
    if not record:
        return {}
    there = [each for each in record if each.established]
    return {"udp_established": len(there), "udp_survived": sum(e.answered > mark and not e.ended for e in there)}


def _speaker_changes(occasion: Occasion, sightings: tuple[Sighting, ...]) -> int:
    """How often another node began to advertise, on the LAN where that was most: role changes as the wire saw them."""
    speakers: dict[str, list[str]] = {}
    for each in sightings:
        # Priority 0 is a farewell.
        if (
            each.kind == "advertisement"
            and each.subject != "0"
            and each.instant >= occasion.fault - 2 * occasion.interval
        ):
            line = speakers.setdefault(each.network, [])
            if not line or line[-1] != each.node:
                line.append(each.node)
    return max((len(line) - 1 for line in speakers.values()), default=0)


def _ahead_of_everyone(pid: int) -> None:
    """The probe's clock must not wait for the daemons that it measures, and they have real-time priorities here.

    It takes some tens of microseconds in each millisecond, on two CPUs.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(PROBE_PRIORITY))


class _Load:
    """What else this machine did during a run."""

    def __init__(self) -> None:
        self._ticks = _cpu_ticks()

    def until_now(self) -> Row:
        spent = [now - then for now, then in zip(_cpu_ticks(), self._ticks, strict=True)]
        total = sum(spent) or 1
        idle, steal = spent[3] + spent[4], spent[7]
        return {
            "load_average": round(os.getloadavg()[0], 2),
            "cpu_busy": round(1 - idle / total, 3),
            "cpu_steal": round(steal / total, 4),
        }


def _cpu_ticks() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal of all CPUs (proc_stat(5))."""
    with open("/proc/stat") as file:
        return [int(value) for value in file.readline().split()[1:9]]
