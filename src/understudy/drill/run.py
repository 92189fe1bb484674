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
from pathlib import Path

from understudy.config.plan import Group, Plan
from understudy.drill import control, faults, journal, stage, waits
from understudy.drill.board import Board, Cell
from understudy.drill.evaluate import Occasion, evaluate, void_reason
from understudy.drill.fault import NotSettled
from understudy.drill.faults import Fault, Strike, Timing
from understudy.drill.gapcontrol import INJECTED
from understudy.drill.measure import stratified_phases
from understudy.drill.processes import ProbeProcess
from understudy.drill.result import DecisionJson, EventJson, RunJson, Void
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


Progress = Callable[[str], None]
"""Told in a few words what goes on now."""


class Drill:
    """One fault, many runs, in one lab that is up."""

    def __init__(self, lab: Lab, group: Group, fault: Fault, options: Options, progress: Progress) -> None:
        self._lab, self._group, self._fault = lab, group, fault
        self._options, self._progress = options, progress
        self._networks = list(dict.fromkeys(router.network for router in group.routers))
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
        board = Board()
        with (
            ProbeProcess("wire", lambda: stage.wire_probe(self._lab, self._group, board).run()) as wire,
            ProbeProcess(
                "TCP", lambda: stage.flow_probe(self._lab, self._group, self._options.tcp, board).run()
            ) as flows,
        ):
            if not waits.wait_for_clean_probes(board, self._streams, SETTLE_TIMEOUT // 2):
                return Void(number, "no whole traffic through the pair before the fault")
            self._progress(f"run {number} of {self._options.runs}: {self._fault.name} strikes {active}")
            with stage.tap(self._lab, active, self._networks[0]) as tap:
                if self._fault.crash:
                    interval = self._group.advertise
                    waits.wait_for_phase(tap, interval, int(phase * interval), self._lead)
                # The tap is closed after the strike: closing one waits for the kernel, 10 ms and more.
                called = time.monotonic_ns()
                struck = self._fault.inject(strike)
                self._lead = struck - called
                self._fault.during(strike, struck)
            healed = self._heal_within(strike, struck)
            mark, recovered = self._wait_for_recovery(board, struck)
            board[Cell.MARK] = mark
            waits.wait_for_connections(board, mark, STALLED_AFTER)
            findings = [*stage.neighbour_findings(self._lab, self._group), *self._fault.check(strike)]
            stop = Instant(time.monotonic_ns())
            board[Cell.STOP] = stop
            wire_record, flow_record = wire.result(30), flows.result(30)
        occasion = Occasion(
            number=number,
            phase=phase,
            group=self._group.name,
            nodes=tuple(self._group.nodes),
            struck=active,
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
        self._judge(run, standby)
        run["decisions"] = decisions(run["events"])
        if strike.measures:
            run["measures"] = strike.measures
        return run

    def _judge(self, run: RunJson, standby: NodeName) -> None:
        """Hold the run against the bound that follows from who stood by."""
        skew = (256 - self._group.priorities[standby]) * self._group.advertise // 256
        bound = self._fault.bound(Timing(self._group.advertise, skew))
        told = bound.as_json()
        run["outage_bound_ms"] = [told["outage_min_ms"], told["outage_max_ms"]]
        run["findings"] = [*bound.broken_by(run), *run["findings"]]

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
        """Wait until one node is Active and another stands by, both unchanged for longer than a take-over needs.

        Alone, the other one does not answer.
        """
        steady = 4 * self._group.advertise + SECOND // 2
        since = time.monotonic_ns()
        last: dict[NodeName, str] = {}
        deadline = since + SETTLE_TIMEOUT + 20 * self._group.advertise
        if self._group.preempt:
            deadline += HELD_DOWN_MAX
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
            if len(actives) == 1 and standbys and not preempted and now - since >= steady:
                return actives[0], standbys[0]
            time.sleep(0.05)
        if not any(last.values()):
            # Not one agent could be asked: more attempts would only wait again.
            log = self._lab.run_dir(self._group.nodes[0]) / "agent.log"
            said = log.read_text(errors="replace").strip()[-400:] if log.exists() else ""
            raise EnvironmentFailure("ask", "the agents", f"none answers; {log.name} ends with: {said or '(nothing)'}")
        raise NotSettled(", ".join(f"{node} {role or 'does not answer'}" for node, role in last.items()))

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
        deadline = earliest + 10 * timing.interval + RECOVERY_TIMEOUT
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


def without_lease(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """An agent whose kernel lease is off: the control that two answering nodes are noticed."""
    from understudy.agent.supervisor import AgentOptions, run

    run(AgentOptions(plan=plan, node=node, run_dir=run_dir, key=key, lease_enabled=False))


def pick_group(plan: Plan) -> Group:
    """The group that a drill strikes: the first of the file."""
    return plan.groups[0]
