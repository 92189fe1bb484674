"""A drill: bring the lab up once, then strike it again and again, each time from rest, at another phase of the
interval.

    settle -> probes clean -> wait for the phase -> strike -> traffic whole again -> connections decided -> verify ->
    heal

Every wait has an end. Whatever a run could not bring about becomes a finding of that run, not a hang of the drill.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from understudy.config.keeping import is_stateful
from understudy.config.plan import Group, Plan
from understudy.drill import control, faults, journal, keeping, stage, statejudge, waits
from understudy.drill.board import Board, Cell
from understudy.drill.evaluate import evaluate, void_reason
from understudy.drill.fault import NotSettled
from understudy.drill.faults import Fault, Strike, Timing
from understudy.drill.flowprobe import CONNECT_RATE, EXCHANGES_MAX
from understudy.drill.gapcontrol import INJECTED
from understudy.drill.measure import stratified_phases
from understudy.drill.occasion import Occasion
from understudy.drill.processes import ProbeProcess
from understudy.drill.record import Connection, WireRecord
from understudy.drill.result import DecisionJson, EventJson, RunJson, Void
from understudy.drill.statejudge import Stateful
from understudy.drill.staterecord import StateRecord
from understudy.drill.statewatch import SETTLE_MAX
from understudy.errors import EnvironmentFailure
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration, Instant, NodeName

SETTLE_TIMEOUT: Duration = 30 * SECOND
HELD_DOWN_MAX: Duration = 60 * SECOND
"""A group that moved often, as under drills, is asked back only after a while."""
RECOVERY_TIMEOUT: Duration = 15 * SECOND
STALLED_AFTER: Duration = 5 * SECOND
"""A connection that is not answered this long after traffic was whole again has stalled."""
VOID_RETRIES = 3
NEVER_SETTLED = "the pair did not settle"


@dataclass(frozen=True, slots=True)
class Options:
    runs: int
    tcp: int
    """Size of the connection population."""
    seed: int
    idle_share: float = 0.0
    udp: int = 0
    connect_rate: int = CONNECT_RATE
    watch_state: bool = False
    """Also where the file keeps no flows: what is lost then is the point."""
    sync_delay: Duration = 0
    """What the standby's writing is held back by, on purpose."""
    gate: bool = True

    @property
    def population(self) -> stage.Population:
        return stage.Population(self.tcp, self.idle_share, self.udp, self.connect_rate)

    @property
    def begins_within(self) -> Duration:
        """What the population takes to come about, beyond what a small one does."""
        return (self.tcp + 2 * self.udp) * SECOND // 500 + (5 * SECOND if self.udp else 0)

    @property
    def decided_within(self) -> Duration:
        """Beyond STALLED_AFTER: the last idle one is asked so much later than the first."""
        return max(self.tcp, self.udp) * SECOND // EXCHANGES_MAX


Progress = Callable[[str], None]
"""Told in a few words what goes on now."""


class Drill:
    """One fault, many runs, in one lab that is up."""

    def __init__(self, lab: Lab, group: Group, fault: Fault, options: Options, progress: Progress) -> None:
        self._lab, self._group, self._fault = lab, group, fault
        self._options, self._progress = options, progress
        self._networks = list(dict.fromkeys(router.network for router in group.routers))
        self._stateful = is_stateful(lab.plan, group)
        self._lead: Duration = MILLISECOND
        """From the call of a fault to its instant, as last time: finding a node's processes takes a while."""

    def runs(self) -> Iterator[RunJson | Void]:
        """Every run as it ends. Void runs are told and repeated, at most VOID_RETRIES times each."""
        for number, phase in enumerate(stratified_phases(self._options.runs, self._options.seed), 1):
            for _ in range(1 + VOID_RETRIES):
                self._progress(f"run {number} of {self._options.runs}: settling")
                outcome = self.run_once(number, phase)
                yield outcome
                if not isinstance(outcome, Void):
                    break

    def run_once(self, number: int, phase: float) -> RunJson | Void:
        """One run: strike at that phase of the interval, measure, heal. `number` says whose turn it is."""
        with contextlib.ExitStack() as held:
            try:
                active, standby = self._settle()
                network = self._networks[(number - 1) % len(self._networks)]
                strike = Strike(self._lab, self._group, active, standby, network, number)
                tool = self._fault.prepare(strike)
                if tool is not None:
                    held.callback(tool.close)
                    strike = replace(strike, tool=tool)
                if self._fault.alone:
                    active, standby = self._settle(alone=True)
                    strike = replace(strike, active=active, standby=standby)
            except NotSettled as unsettled:
                return Void(number, f"{NEVER_SETTLED}: {unsettled}")
            return self._measure(strike, phase)

    def come_to_rest(self) -> None:
        """Wait until one node serves and the other stands by. Raises NotSettled."""
        self._settle()

    def _measure(self, strike: Strike, phase: float) -> RunJson | Void:
        number, active, standby, network = strike.turn, strike.active, strike.standby, strike.network
        options, board = self._options, Board()
        told = self._told(strike)
        with contextlib.ExitStack() as probes:
            enter = probes.enter_context
            wire = enter(ProbeProcess("wire", lambda: stage.wire_probe(self._lab, self._group, board).run()))
            flows = enter(
                ProbeProcess("TCP", lambda: stage.flow_probe(self._lab, self._group, options.population, board).run())
            )
            idle = enter(self._idle_probe(board)) if options.udp else None
            state = enter(self._state_watch(strike, told, board)) if told is not None else None
            population = [Cell.FLOWS_READY, *([Cell.DATAGRAMS_READY] if idle else [])]
            ready = [Cell.WIRE_READY, *population, *([Cell.STATE_READY] if state else [])]
            patience = SETTLE_TIMEOUT // 2 + options.begins_within + (SETTLE_MAX if state else 0)
            if not waits.wait_for_clean_probes(board, self._streams, patience, ready):
                return Void(number, "no whole traffic through the pair before the fault")
            self._progress(f"run {number} of {options.runs}: {self._fault.name} strikes {active}")
            with stage.tap(self._lab, active, self._networks[0]) as tap:
                if self._fault.crash:
                    interval = self._group.advertise
                    waits.wait_for_phase(tap, interval, int(phase * interval), self._lead)
                # The tap is closed after the strike: closing one waits for the kernel, 10 ms and more.
                called = time.monotonic_ns()
                struck = self._fault.inject(strike)
                board[Cell.CUT] = struck
                self._lead = struck - called
                self._fault.during(strike, struck)
            healed = self._heal_within(strike, struck)
            mark, recovered = self._wait_for_recovery(board, struck)
            board[Cell.MARK] = mark
            self._progress(f"run {number} of {options.runs}: verifying")
            waits.wait_for_connections(board, mark, STALLED_AFTER + options.decided_within, datagrams=idle is not None)
            findings = [*stage.neighbour_findings(self._lab, self._group), *self._fault.check(strike)]
            stop = Instant(time.monotonic_ns())
            board[Cell.STOP] = stop
            self._progress(f"run {number} of {options.runs}: judging")
            wire_record, flow_record = wire.result(30), flows.result(30)
            idle_record = idle.result(30) if idle else ()
            state_record = state.result(120) if state else None
        occasion = Occasion(
            number=number,
            phase=phase,
            group=self._group.name,
            nodes=tuple(self._group.nodes),
            struck=active,
            addresses=stage.virtual_addresses(self._group),
            network=network if self._fault.on_lan else None,
            lane_network=network if self._fault.on_lan else self._networks[0],
            sentence=self._fault.sentence,
            downed=dict.fromkeys((active, standby) if self._fault.downs_both else (active,), self._fault.downs)
            if self._fault.downs
            else {},
            interval=self._group.advertise,
            fault=struck,
            healed=healed,
            mark=mark,
            stop=stop,
            recovered=recovered,
            load_average=round(os.getloadavg()[0], 2),
            injected=INJECTED if self._fault.name == "injected-gap" else None,
        )
        events = self.journals()
        if self._fault.heal_after is None:
            self._fault.heal(strike)
        late_max = self._fault.bound(faults.timing_of(self._group)).late_max
        reason = void_reason(occasion, wire_record, late_max)
        if reason:
            return Void(number, reason)
        run = evaluate(occasion, wire_record, flow_record, events, findings)
        if idle_record:
            run = {**run, **keeping.idle_fields(idle_record, mark)}
        if told is not None and state_record is not None:
            run = self._judge_state(run, replace(told, fault=struck), state_record, wire_record)
        self._judge(run, standby)
        run["decisions"] = decisions(run["events"])
        if strike.measures:
            run["measures"] = strike.measures
        return run

    def _judge(self, run: RunJson, standby: NodeName) -> None:
        """Hold the run against the bound that follows from who stood by."""
        skew = (256 - self._group.priorities[standby]) * self._group.advertise // 256
        timing = Timing(self._group.advertise, skew, self._group.gate_deadline)
        bound = keeping.held_back(self._fault.bound(timing), self._options.sync_delay)
        told = bound.as_json()
        run["outage_bound_ms"] = [told["outage_min_ms"], told["outage_max_ms"]]
        run["findings"] = [*bound.broken_by(run), *run["findings"]]

    def _told(self, strike: Strike) -> Stateful | None:
        return keeping.told_of(
            self._lab.plan,
            self._group,
            strike.active,
            strike.standby,
            dies=bool(self._fault.downs) or self._fault.double,
            fresh=self._fault.alone,
            always=self._options.watch_state,
        )

    def _idle_probe(self, board: Board) -> ProbeProcess[tuple[Connection, ...]]:
        return ProbeProcess("UDP", lambda: stage.idle_probe(self._lab, self._group, self._options.udp, board).run())

    def _state_watch(self, strike: Strike, told: Stateful, board: Board) -> ProbeProcess[StateRecord]:
        after = [Cell.FLOWS_READY, *([Cell.DATAGRAMS_READY] if self._options.udp else [])]
        # Where writing is slow on purpose the kernels never agree while traffic goes on.
        patience = SECOND if self._options.sync_delay else SETTLE_MAX

        def work() -> StateRecord:
            return stage.state_watch(
                self._lab,
                self._group,
                strike.active,
                strike.standby,
                told.replicated,
                board,
                after,
                fresh=told.fresh,
                patience=patience,
            ).run()

        return ProbeProcess("state", work)

    def _judge_state(self, run: RunJson, told: Stateful, record: StateRecord, wire: WireRecord) -> RunJson:
        """Add what became of kept flows, and what is wrong about it."""
        fields, findings = statejudge.judge(told, record, wire.sightings)
        if self._fault.waives:
            findings = []  # that there was a waiver, and with a reason, is its own check
        if not self._options.sync_delay:
            findings += statejudge.differing_finding(record)
        if self._options.gate and not self._fault.double and not self._fault.control:
            findings += statejudge.survival_findings(run, keeping.replicated_paths(self._lab.plan, self._group))
        run = {**run, **fields}
        run["findings"] = [*findings, *run["findings"]]
        return run

    def journals(self) -> list[journal.Event]:
        """What all nodes of the group say happened, by our clock."""
        return journal.merge([self._journal(node) for node in self._group.nodes])

    def _journal(self, node: NodeName) -> list[journal.Event]:
        """A node's events by our clock: what lies in the future was written under clocks that are ahead."""
        events = journal.read(self._lab.run_dir(node) / "events.jsonl", Instant(0))
        ahead, now = self._lab.clocks_ahead.get(node, 0), time.monotonic_ns()
        return [
            replace(event, instant=Instant(event.instant - ahead)) if ahead and event.instant > now else event
            for event in events
        ]

    def _settle(self, *, alone: bool = False) -> tuple[NodeName, NodeName]:
        """Wait until one node is Active and another stands by, both unchanged for longer than a take-over needs, and
        the one that stands by says that it has all the flows that are replicated.

        Alone, the other one does not answer.
        """
        steady = 4 * self._group.advertise + SECOND // 2
        since = time.monotonic_ns()
        last: dict[NodeName, str] = {}
        deadline = since + SETTLE_TIMEOUT + 20 * self._group.advertise
        if self._group.preempt:
            deadline += HELD_DOWN_MAX
        if self._stateful:
            deadline += self._options.begins_within
        rested, standbys, name = False, list[NodeName](), self._group.name
        while (now := time.monotonic_ns()) < deadline:
            roles = {node: control.role(self._lab.run_dir(node), self._group.name) for node in self._group.nodes}
            if roles != last:
                last, since = roles, now
            actives = [node for node, role in roles.items() if role == "active"]
            resting = ("",) if alone else ("standby", "backup")
            standbys = [node for node, role in roles.items() if role in resting]
            preempted = (
                self._group.preempt
                and not alone
                and actives != [max(roles, key=lambda node: self._group.priorities[node])]
            )
            rested = bool(len(actives) == 1 and standbys and not preempted and now - since >= steady)
            if rested and (alone or not self._stateful or control.has_flows(self._lab.run_dir(standbys[0]), name)):
                return actives[0], standbys[0]
            time.sleep(0.05)
        if not any(last.values()):
            # Not one agent could be asked: more attempts would only wait again.
            log = self._lab.run_dir(self._group.nodes[0]) / "agent.log"
            said = log.read_text(errors="replace").strip()[-400:] if log.exists() else ""
            raise EnvironmentFailure("ask", "the agents", f"none answers; {log.name} ends with: {said or '(nothing)'}")
        lacking = f"; the replica of {standbys[0]} is not complete" if rested else ""
        raise NotSettled(", ".join(f"{node} {role or 'does not answer'}" for node, role in last.items()) + lacking)

    def _heal_within(self, strike: Strike, struck: Instant) -> Instant | None:
        """Heal a fault that the pair cannot survive, inside the measurement."""
        if self._fault.heal_after is None:
            return None
        dark = self._fault.heal_after(faults.timing_of(self._group))
        time.sleep(max(0, struck + dark - time.monotonic_ns()) / SECOND)
        healed = Instant(time.monotonic_ns())
        self._fault.heal(strike)
        return healed

    def _wait_for_recovery(self, board: Board, struck: Instant) -> tuple[Instant, bool]:
        """Wait until all effects of the fault had their time and traffic is whole; tell when, and whether it is."""
        timing = faults.timing_of(self._group)
        earliest = struck + faults.settle_time(self._fault, timing)
        # What a fault does after its strike may have taken longer than that already.
        deadline = max(earliest, time.monotonic_ns()) + 10 * timing.interval + RECOVERY_TIMEOUT
        return waits.wait_for_clean_traffic(board, self._streams, earliest, deadline)

    @property
    def _streams(self) -> int:
        """Directions of the probes."""
        return 2 * len(stage.routes(self._lab, self._group))


def decisions(events: Sequence[EventJson]) -> list[DecisionJson]:
    """What moved whom: by the name of the row that decided, or by the reason given where a journal names none."""
    return [
        {
            "t_ms": event["t_ms"],
            "node": event["node"],
            "row": str(event["details"].get("row") or event["details"].get("reason", "")),
        }
        for event in events
        if event["kind"] == "moved" and event["details"].get("old") != "initialize"
    ]


def pick_group(plan: Plan) -> Group:
    """The group that a drill strikes: the first of the file."""
    return plan.groups[0]
