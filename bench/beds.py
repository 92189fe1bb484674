"""A contender's pair without clients, and what is measured on it by writing flows into its kernel.

`rate` events a second that nobody loses, and their CPU; `resync` what 200 000 flows cost: resting, copied anew,
promoted; `overrun` how long until both sides agree again after events were lost; `lag` (bench/lag.py).

"Held" are the entries that the standby could serve with: those of its kernel; with conntrackd's external cache those of
that cache, which only a commit brings into the kernel.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import conntrackd
import injector
import lag
import state
from contenders import Contender
from summary import Row
from witness import first_answer

from understudy.adapters.scheduling import ask_for_real_time
from understudy.config.plan import Plan
from understudy.drill import control, stage
from understudy.drill.flowtable import Flow
from understudy.drill.processes import ProbeProcess
from understudy.errors import EnvironmentFailure
from understudy.lab import syscalls
from understudy.lab.build import Lab

UP_S = 30.0
SETTLED_S = 60.0
PROMOTED_S = 20.0
POLL_S = 0.005
OWN_TRAFFIC_MAX = 200
"""Entries that a node may have for itself."""
OWN_TRAFFIC_IN_CACHE = 4
RATES = (40_000, 60_000, 80_000, 100_000, 120_000, 150_000)
CPU_RATE = 60_000
PER_EVENTS = 200_000


class Bed:
    """One pair, up and at rest: who is active, who stands by."""

    def __init__(self, contender: Contender, plan: Plan, directory: Path) -> None:
        self.contender, self.plan = contender, plan
        self.lab = Lab(plan, directory, agent_main=contender.main)
        self.active = self.standby = ""
        self.target = injector.target_of(plan)

    @contextlib.contextmanager
    def up(self) -> Iterator["Bed"]:
        self.lab.up()
        try:
            self.rest()
            yield self
        finally:
            self.lab.down()

    def rest(self) -> None:
        """Wait until one is active, the other stands by, and the bench may count on both."""
        group = self.plan.groups[0]
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline:
            by_role = {self.contender.role(self.lab, group, node): str(node) for node in group.nodes}
            if {"active", "standby"} <= by_role.keys():
                self.active, self.standby = by_role["active"], by_role["standby"]
                time.sleep(1.5)
                return
            time.sleep(0.05)
        raise EnvironmentFailure("wait for", self.contender.name, f"no pair after {UP_S:g} s")

    def check_roles(self) -> None:
        """Raises EnvironmentFailure if the pair changed places: what was measured then is another thing."""
        group = self.plan.groups[0]
        if self.contender.role(self.lab, group, self.active) != "active":
            raise EnvironmentFailure("measure", self.contender.name, f"{self.active} is not active any more")

    # -- what is held where --

    @property
    def caches(self) -> bool:
        """Whether copies are held outside of the kernel."""
        return self.contender.name == "conntrackd"

    def count(self, node: str) -> int:
        return self.lab.namespaces[node].run(state.count_here)

    def held(self) -> int:
        if self.caches:
            return conntrackd.cached(conntrackd.ask(self.lab, self.standby, "-s")).get("external", 0)
        return self.count(self.standby)

    def drops(self, node: str) -> int:
        return self.lab.namespaces[node].run(state.drops_here)

    def flows(self, node: str) -> set[state.Identity]:
        return state.steady(self._listed(node))

    def injected(self, node: str) -> int | None:
        """Entries of the bench's own making in a node's kernel; None where copies are elsewhere."""
        return None if self.caches else sum(injector.is_injected(flow.key) for flow in self._listed(node))

    def _listed(self, node: str) -> Iterator[Flow]:
        return state.flows_in(self.lab.namespaces[node].run(state.dump_here))

    def differing(self) -> int | None:
        """Kept flows that only one of the two holds; None where copies are no entries of a kernel."""
        return None if self.caches else len(self.flows(self.active) ^ self.flows(self.standby))

    def agrees(self, expected: int, since: int) -> bool:
        """Whether the standby holds the `expected` made flows again, after the instant `since`.

        Asked as cheaply as each can be asked, or the asking would be what takes the time: ours says when it last
        proved it (and `differing` then judges that), a cache how many it has, a kernel is listed once it has enough.
        """
        if self.caches:
            return abs(self.held() - expected) <= OWN_TRAFFIC_IN_CACHE
        if told := self.status(self.standby):
            return bool(told.get("complete")) and (told.get("proven_at") or 0) > since
        if abs(self.count(self.standby) - expected) > OWN_TRAFFIC_MAX:
            return False
        begun = time.monotonic()
        there = self.injected(self.standby)
        time.sleep(time.monotonic() - begun)
        return there == expected

    def write(self, prepared: list[bytes], rate: float = 0) -> injector.Written:
        return self.lab.namespaces[self.active].run(injector.write_here, prepared, rate)

    def until(self, reached: Callable[[], bool], timeout_s: float = SETTLED_S) -> float | None:
        """Seconds that it took; None if it never was."""
        begun = time.monotonic()
        while not reached():
            if time.monotonic() - begun > timeout_s:
                return None
            time.sleep(0.05 if self.caches else POLL_S)
        return time.monotonic() - begun

    # -- what it costs --

    def cpu(self) -> dict[str, dict[int, int]]:
        return {node: state.cpu_ns(self.lab.agent_pids(node)) for node in (self.active, self.standby)}

    def spent(self, since: dict[str, dict[int, int]]) -> dict[str, float]:
        """Seconds of CPU of all daemons of each node."""
        return {node: sum(state.spent_s(since[node], now).values()) for node, now in self.cpu().items()}

    def replicators(self, node: str) -> list[int]:
        table = self.lab.namespaces[node].run(state.netlink_here)
        return state.listeners(table, self.lab.agent_pids(node))

    def status(self, node: str) -> dict[str, Any]:
        """What the agent says of the group's flows; nothing if it is not ours."""
        if self.contender.name != "understudy":
            return {}
        with contextlib.suppress(EnvironmentFailure):
            return dict(control.ask(self.lab.run_dir(node), {"command": "status"})["groups"][0].get("flows") or {})
        return {}


# -- rate --


def rate(bed: Bed, case: str, quick: bool) -> Row:
    """Steps of a sustained rate until events are lost or the standby does not catch up."""
    steps: list[Row] = []
    seconds = 1.5 if quick else 4.0
    first = 0
    for asked in RATES[:3] if quick else RATES:
        events = int(asked * seconds)
        step = _step(bed, asked, events, first)
        first += events
        steps.append(step)
        # Nor is there a point in asking for more than this machine's writer can do.
        if step["lost"] or step["settled_s"] is None or step["reached"] < 0.9 * asked:
            break
    good = [step["reached"] for step in steps if not step["lost"] and step["settled_s"] is not None]
    cost = next((step for step in steps if step["asked"] == CPU_RATE), steps[-1])
    return {
        "sustained": max(good, default=0),
        "cpu_rate": cost["asked"],
        "active_cpu_s": cost["active_cpu_s"],
        "standby_cpu_s": cost["standby_cpu_s"],
        "steps": steps,
    }


def _step(bed: Bed, asked: int, events: int, first: int) -> Row:
    prepared = injector.batches(injector.life(bed.target, events, first))
    rest, before = bed.held(), bed.cpu()
    lost = [bed.drops(node) for node in (bed.active, bed.standby)]
    written = bed.write(prepared, asked)
    settled = bed.until(lambda: bed.held() <= rest + OWN_TRAFFIC_MAX, 15)
    spent = bed.spent(before)
    bed.check_roles()
    share = PER_EVENTS / written.messages
    here, there = (bed.drops(node) - was for node, was in zip((bed.active, bed.standby), lost, strict=True))
    return {
        "asked": asked,
        "reached": round(written.rate),
        "events": written.messages,
        "refused": written.refused,
        "lost": here,
        "lost_standby": there,
        "settled_s": _rounded(settled),
        "left_behind": bed.injected(bed.standby),
        "active_cpu_s": round(spent[bed.active] * share, 3),
        "standby_cpu_s": round(spent[bed.standby] * share, 3),
    }


# -- resync, promotion, rest, memory --


def resync(bed: Bed, case: str, quick: bool) -> Row:
    entries = int(case)
    prepared = injector.batches(injector.fill(bed.target, entries))
    begun = time.monotonic()
    written = bed.write(prepared, 40_000)
    fill_s = time.monotonic() - begun
    copied = bed.until(lambda: bed.held() >= entries)
    bed.check_roles()
    time.sleep(1 if quick else 5)
    row: Row = {
        "entries": entries,
        "fill_s": round(fill_s, 2),
        "refused": written.refused,
        "copied_s": _rounded(copied),
    }
    row |= _at_rest(bed, 3 if quick else 60)
    row |= _copied_anew(bed, entries)
    row |= _promoted(bed, entries)
    return row


def _at_rest(bed: Bed, seconds: float) -> Row:
    before, begun = bed.cpu(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    spent = bed.spent(before)
    row: Row = {"idle_s": round(took, 1)}
    for name, node in (("active", bed.active), ("standby", bed.standby)):
        memory = state.memory_kb(bed.lab.agent_pids(node))
        row |= {
            f"idle_cpu_percent_{name}": round(spent[node] / took * 100, 3),
            f"pss_mb_{name}": round(memory["pss"] / 1024, 1),
            f"rss_mb_{name}": round(memory["rss"] / 1024, 1),
        }
    return row


def _copied_anew(bed: Bed, entries: int) -> Row:
    """The standby with a fresh kernel: from the start of its daemons until it holds everything."""
    bed.lab.power_off(bed.standby)
    bed.lab.power_on(bed.standby, agent=False)
    time.sleep(1)
    begun = time.monotonic()
    bed.lab.start_agent(bed.standby)
    first = bed.until(lambda: _held_or_none(bed) > 0)
    whole = bed.until(lambda: _held_or_none(bed) >= entries)
    took = time.monotonic() - begun if whole is not None else None
    time.sleep(1)
    return {"resync_s": _rounded(took), "first_entry_s": _rounded(first), "differing": bed.differing()}


def _held_or_none(bed: Bed) -> int:
    """A daemon that does not answer yet holds nothing."""
    try:
        return bed.held()
    except EnvironmentFailure:
        return 0


def _promoted(bed: Bed, entries: int) -> Row:
    """The active loses its power. From the first answer of the new one until all flows are in its kernel, and its work."""
    bed.rest()
    before = state.cpu_ns(bed.lab.agent_pids(bed.standby))
    with ProbeProcess("promotion", lambda: _watch_promotion(bed, entries)) as watching:
        time.sleep(0.5)
        struck = bed.lab.power_off(bed.active)
        answered, whole, count = watching.result(PROMOTED_S + 30)
    time.sleep(5)
    spent = state.spent_s(before, state.cpu_ns(bed.lab.agent_pids(bed.standby)))
    row: Row = {
        "promoted": answered is not None,
        "takeover_ms": None if answered is None else round((answered - struck) / 1e6, 1),
        "complete_after_answer_ms": None if whole is None or answered is None else round((whole - answered) / 1e6, 1),
        "in_kernel_at_answer": count,
        "in_kernel_after": bed.count(bed.standby),
        "promotion_cpu_s": round(sum(spent.values()), 3),
    }
    log = bed.lab.run_dir(bed.standby) / conntrackd.LOG
    if log.exists() and (commits := conntrackd.commits_s(log.read_text(errors="replace"))):
        row["commit_s"] = max(commits)
    if (gate := gate_ms(bed.lab.run_dir(bed.standby) / "events.jsonl", struck)) is not None:
        row["gate_ms"] = gate
    return row


def _watch_promotion(bed: Bed, entries: int) -> tuple[int | None, int | None, int | None]:
    """When the standby first answered, when its kernel first held everything, how many it held at the answer."""
    group = bed.plan.groups[0]
    networks = list(dict.fromkeys(str(router.network) for router in group.routers))
    addresses = {str(address.ip) for router in group.routers for address in router.addresses}
    taps = [stage.tap(bed.lab, bed.standby, network) for network in networks]
    syscalls.setns(bed.lab.namespaces[bed.standby].fd, syscalls.CLONE_NEWNET)
    ask_for_real_time(40)
    answered = first_answer(taps, addresses, PROMOTED_S)
    if answered is None:
        return None, None, None
    first = count = state.count_here()
    deadline = time.monotonic() + PROMOTED_S
    while count < entries and time.monotonic() < deadline:
        time.sleep(0.001)
        count = state.count_here()
    return answered, time.monotonic_ns() if count >= entries else None, first


def gate_ms(journal: Path, since: int) -> float | None:
    """How long the step `gate` of the promotion after `since` took, by the agent's journal."""
    begun = None
    for line in journal.read_text(errors="replace").splitlines() if journal.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("t", 0) < since or event.get("step") != "gate":
            continue
        if "took_ms" in event:
            return float(event["took_ms"])
        if begun is None:
            begun = event["t"]
        else:
            return float((event["t"] - begun) / 1e6)
    return None


# -- overrun --


def overrun(bed: Bed, case: str, quick: bool) -> Row:
    """Who listens at the Active is stopped until its socket has overflowed, and goes on."""
    entries, most = (5_000, 190_000) if quick else (20_000, 220_000)
    bed.write(injector.batches(injector.fill(bed.target, entries)), 20_000)
    bed.until(lambda: bed.held() >= entries)
    time.sleep(1)
    deaf = bed.replicators(bed.active)
    if not deaf:
        raise EnvironmentFailure("find", "the replicator", f"nobody of {bed.active} listens to conntrack")
    prepared = injector.batches(injector.fill(bed.target, most - entries, entries))
    cleared = injector.batches(injector.clear(bed.target, entries // 2))
    lost, begun, sent = bed.drops(bed.active), time.monotonic(), 0
    for pid in deaf:
        os.kill(pid, signal.SIGSTOP)
    try:
        while sent < len(prepared) and bed.drops(bed.active) == lost:
            bed.write(prepared[sent : sent + 64])
            sent += 64
        # These are lost for sure.
        bed.write(cleared)
    finally:
        for pid in deaf:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    again = time.monotonic_ns()
    stopped_s = time.monotonic() - begun
    expected = entries - entries // 2 + min(sent * injector.BATCH, most - entries)
    agreed = bed.until(lambda: bed.agrees(expected, again))
    bed.check_roles()
    return {
        "events_lost": bed.drops(bed.active) - lost,
        "stopped_s": round(stopped_s, 2),
        "agreed_s": _rounded(agreed),
        "entries": expected,
        "held": bed.held(),
        "differing": bed.differing(),
        "listeners": list(state.names(deaf).values()),
    }


# -- lag --


def lagging(bed: Bed, case: str, quick: bool) -> Row:
    if bed.caches:
        return {"flows": 0, "note": "copies are not in a kernel until they are committed"}
    row = lag.measure(bed.lab, bed.active, bed.standby, lag.service_of(bed.lab), int(case), 3 if quick else 15)
    return {"rate": int(case), **row}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
