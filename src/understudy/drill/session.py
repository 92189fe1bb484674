"""One drill from the outside: a sandbox around the lab, runs told as they end, the result put together here.

The caller holds the runs, so that Ctrl-C or a lab that dies still leaves a report about what was measured until then.
"""

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from understudy import __version__
from understudy.config import drills, load_plan
from understudy.config.drills import Value
from understudy.config.plan import Plan
from understudy.drill import faults, judge, keeping
from understudy.drill.faults import Fault
from understudy.drill.flowprobe import CONNECT_RATE
from understudy.drill.result import SCHEMA, DrillJson, RunJson, Void
from understudy.errors import OperatorError
from understudy.lab import sandbox
from understudy.units import MILLISECOND, SECOND, Duration

LAB_SILENT = "E6403"
NOTHING_KEPT = "E6406"
_SILENCE_MAX_S = 180.0
"""No run takes this long without telling anything: the sandbox has died on us. A fault that lasts comes on top."""
_POPULATION_RATE = 100
"""Of a population, so many a second begin, are asked at the end, listed and judged, all in all."""
DISK_BYTES = 32 << 20
"""Of each gateway's disk in the lab, so that it can be filled."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asked for."""

    file: Path
    fault: str
    runs: int
    tcp: int
    advertise: Duration | None
    lease: bool
    seed: int
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """What is set about the fault, over what the file says."""
    state: str | None = None
    """In place of what the file says for every service and NAT rule."""
    gate: bool = True
    sync_delay: Duration = 0
    idle_share: float = 0.0
    udp: int = 0
    connect_rate: int = CONNECT_RATE


@dataclass(frozen=True, slots=True)
class _Progress:
    text: str


@dataclass(frozen=True, slots=True)
class _End:
    pass


_Message = RunJson | Void | _Progress | _End
"""What the sandbox tells."""


def rehearse(request: Request, on_progress: Callable[[str], None]) -> DrillJson:
    """Run the whole drill and judge it. Raises OperatorError or Problems for what the operator can mend."""
    plan = load_plan(request.file, request.advertise)
    if request.state is not None:
        plan = keeping.with_state(plan, request.state)
    values = {**drills.load_drills(request.file).get(request.fault, {}), **request.parameters}
    fault = faults.configure(request.fault, values, plan.groups[0])
    plan = fault.plan(plan)
    if fault.keeps_flows:
        if request.state == "none":
            raise OperatorError(
                NOTHING_KEPT, f"{fault.name} is about kept flows, and --state none keeps none", "leave --state out"
            )
        plan = keeping.stateful(plan)
    started = datetime.now(UTC)
    runs: list[RunJson] = []
    void: list[Void] = []
    interrupted = False
    try:
        for message in _play(plan, fault, request):
            match message:
                case _Progress(text):
                    on_progress(text)
                case Void():
                    void.append(message)
                    on_progress(f"run {message.number} is void: {message.reason}")
                case dict():
                    runs.append(message)
                case _End():
                    break
    except KeyboardInterrupt:
        interrupted = True
    return _assemble(request, plan, fault, started, runs, void, interrupted=interrupted)


def _play(plan: Plan, fault: Fault, request: Request) -> Iterator[_Message]:
    # The guardian removes the files once nothing is left in the sandbox, also when we are killed.
    state = Path(tempfile.mkdtemp(prefix="understudy-drill-"))
    remove = partial(shutil.rmtree, state, ignore_errors=True)
    patience_s = _SILENCE_MAX_S + faults.settle_time(fault, faults.timing_of(plan.groups[0])) / SECOND
    patience_s += (request.tcp + request.udp) / _POPULATION_RATE
    with sandbox.start(_Stage(plan, fault, request, state), cleanup=remove) as box:
        while True:
            try:
                message: _Message = box.receive(patience_s)
            except TimeoutError:
                raise OperatorError(
                    LAB_SILENT, f"the lab told nothing for {patience_s:g} s", "is the machine overloaded?"
                ) from None
            yield message


@dataclass(frozen=True, slots=True)
class _Stage:
    """What happens inside the sandbox."""

    plan: Plan
    fault: Fault
    request: Request
    state: Path

    def __call__(self, report: sandbox.Report[_Message]) -> None:
        # Late: only here, in the sandbox, is any of it needed.
        from understudy.drill.run import Drill, Options, pick_group
        from understudy.lab.build import Lab

        asked = self.request
        agent_main = keeping.agent_with(lease=asked.lease, gate=asked.gate, sync_delay=asked.sync_delay)
        lab = Lab(self.plan, self.state, agent_main=agent_main, disk_bytes=DISK_BYTES)
        report(_Progress("bringing the lab up"))
        lab.up()
        options = Options(
            asked.runs,
            asked.tcp,
            asked.seed,
            idle_share=asked.idle_share,
            udp=asked.udp,
            connect_rate=asked.connect_rate,
            watch_state=asked.state is not None,
            sync_delay=asked.sync_delay,
            gate=asked.gate,
        )

        def tell(text: str) -> None:
            report(_Progress(text))

        for outcome in Drill(lab, pick_group(self.plan), self.fault, options, tell).runs():
            report(outcome)
        lab.down()
        report(_End())


def _assemble(
    request: Request,
    plan: Plan,
    fault: Fault,
    started: datetime,
    runs: list[RunJson],
    void: list[Void],
    *,
    interrupted: bool,
) -> DrillJson:
    group = plan.groups[0]
    timing = faults.timing_of(group)
    bound = keeping.held_back(fault.bound(timing), request.sync_delay)
    objectives = [] if fault.control else judge.compare([(o.service, o.outage) for o in plan.objectives], runs)
    # What users may feel when a gateway dies: promised where nothing else has failed, nor is slow on purpose.
    alone = not (fault.double or fault.waives or request.sync_delay)
    verdict = judge.decide(bound, runs, len(void), objectives, request.runs, objectives_count=alone)
    if not request.lease:
        verdict["passed"] = False
        found = [run["dual_answer_ms"] for run in runs]
        verdict["reasons"].append(
            f"control without the lease: two nodes answered in {sum(ms > 0 for ms in found)} of {len(found)} runs"
            + (" (as it must be)" if found and min(found) > 0 else " (the control did NOT show what it should)")
        )
    if not request.gate:
        verdict["passed"] = False
        early = [run.get("vip_before_state") or 0 for run in runs]
        verdict["reasons"].append(
            f"control without the gate: addresses answered before their state in {sum(n > 0 for n in early)} of "
            f"{len(early)} runs"
            + (" (as it must be)" if any(early) else " (the control did NOT show what it should: slow the writing)")
        )
    return {
        "schema": SCHEMA,
        "fault": fault.name,
        "sentence": fault.sentence,
        "file": str(request.file),
        "cluster": plan.cluster,
        "started": started.isoformat(timespec="seconds"),
        "version": __version__,
        "kernel": platform.release(),
        "advertise_ms": group.advertise / MILLISECOND,
        "skew_ms": round(timing.skew / MILLISECOND, 3),
        "seed": request.seed,
        "lease": request.lease,
        "gate": request.gate,
        "state": request.state or "as-is",
        "sync_delay_ms": request.sync_delay / MILLISECOND,
        "population": {
            "tcp": request.tcp,
            "idle_share": request.idle_share,
            "udp": request.udp,
            "connects_per_s": request.connect_rate,
        },
        "parameters": {
            parameter.name: drills.spell(parameter, fault.parameters[parameter.name])
            for parameter in drills.DRILLS[fault.name]
        },
        "interrupted": interrupted,
        "runs": runs,
        "void": [{"number": one.number, "reason": one.reason} for one in void],
        "bound": bound.as_json(),
        "summary": judge.summarise(runs),
        "objectives": objectives,
        "verdict": verdict,
    }
