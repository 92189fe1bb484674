"""Faults of kept flows: of the paths they travel and of the replicators (of the kernels' tables: `tablefaults`).

Users must notice none of them, but for a standby that has gone stale when its active dies. Afterwards the harness lists
both kernels by itself: they must be equal again within AGREED_MAX of the heal, however it came about.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from understudy.adapters.channel import FLOWS_PORT, PORT
from understudy.config.drills import Values
from understudy.drill import agents, bounds, journal
from understudy.drill.agreement import agreed
from understudy.drill.cables import shared_networks
from understudy.drill.fault import Fault, Strike, now
from understudy.errors import EnvironmentFailure
from understudy.lab.impairment import Impairment, udp_port
from understudy.units import SECOND, Duration, Instant, NetworkName, NodeName

ROLE: Final = "flows"
_DIE: Final = 1_000_000


# --- the paths


def sync_loss(values: Values) -> Fault:
    share = float(values["share"])
    return Fault(
        "sync-loss",
        "A share of the replication's datagrams is lost on all paths between the nodes, both ways.",
        prepare=lambda s: _impair(
            s, [f"udp dport {FLOWS_PORT} numgen random mod {_DIE} < {round(share * _DIE)} counter drop"]
        ),
        inject=_lose,
        heal=_end_loss,
        heal_after=lambda _: int(values["duration"]),
        check=_struck_and_agreed,
        bound=bounds.untouched,
        keeps_flows=True,
    )


def sync_path_flap(values: Values) -> Fault:
    times, period = int(values["times"]), int(values["period"])
    return Fault(
        "sync-path-flap",
        "The paths between the nodes carry neither heartbeats nor flows, one after the other in turns.",
        prepare=lambda s: _impair(s, [*udp_port(PORT), *udp_port(FLOWS_PORT)]),
        inject=lambda s: _cut_path(s, shared_networks(s)[0]),
        during=lambda s, struck: _cut_in_turns(s, struck, times, period),
        heal=_end_loss,
        heal_after=lambda _: times * period,
        check=_struck_and_agreed,
        bound=bounds.untouched,
        keeps_flows=True,
    )


def _impair(strike: Strike, rules: Sequence[str]) -> Impairment:
    ports = [strike.lab.topology.switch_port(strike.active, network) for network in shared_networks(strike)]
    return Impairment(strike.lab.switch, "impairment", ports, rules, rules)


def _lose(strike: Strike) -> Instant:
    return _strike_ports(strike, shared_networks(strike))


def _cut_path(strike: Strike, network: NetworkName) -> Instant:
    return _strike_ports(strike, [network])


def _strike_ports(strike: Strike, networks: Sequence[NetworkName]) -> Instant:
    assert isinstance(strike.tool, Impairment)
    before = now()
    strike.tool.begin(strike.lab.topology.port(strike.active, network).switch_index for network in networks)
    return before


def _cut_in_turns(strike: Strike, struck: Instant, times: int, period: Duration) -> None:
    """At most one path is cut at a time, and never none for longer than the change takes."""
    assert isinstance(strike.tool, Impairment)
    paths = shared_networks(strike)
    for turn in range(1, times):
        time.sleep(max(0, struck + turn * period - time.monotonic_ns()) / SECOND)
        strike.tool.end()
        _cut_path(strike, paths[turn % len(paths)])


def _end_loss(strike: Strike) -> None:
    assert isinstance(strike.tool, Impairment)
    strike.tool.end()


def _struck_and_agreed(strike: Strike) -> list[str]:
    assert isinstance(strike.tool, Impairment)
    touched = strike.tool.packets()
    strike.measures["packets_struck"] = touched
    findings = [] if touched else ["no packet was struck: the fault did not do what it says"]
    return findings + agreed(strike)


# --- the replicators


def flows_kill(values: Values) -> Fault:
    who = str(values["node"])
    return Fault(
        "flows-kill",
        "The process that replicates a node's flows is killed; its supervisor forks it anew.",
        inject=lambda s: _kill(s, s.node(who)),
        check=lambda s: _forked_anew(s, s.node(who)) + agreed(s),
        bound=bounds.untouched,
        keeps_flows=True,
    )


def flows_freeze(values: Values) -> Fault:
    who = str(values["node"])
    return Fault(
        "flows-freeze",
        "The process that replicates a node's flows is stopped for a while.",
        inject=lambda s: _signal_replicator(s, s.node(who), signal.SIGSTOP),
        heal=lambda s: thaw(s, s.node(who)),
        heal_after=lambda _: int(values["duration"]),
        check=agreed,
        bound=bounds.untouched,
        keeps_flows=True,
    )


def standby_stale(values: Values) -> Fault:
    stale = int(values["duration"])
    return Fault(
        "standby-stale",
        "The standby's replicator has been stopped for a while when the active loses its power.",
        prepare=_Stale,
        inject=lambda s: _lose_power(s, stale),
        heal=_return,
        downs="off",
        bound=bounds.waived,
        check=_says_why,
        crash=True,
        keeps_flows=True,
        waives=True,
    )


def _kill(strike: Strike, node: NodeName) -> Instant:
    strike.measures["replicator"] = replicators(strike, node)[0]
    return _signal_replicator(strike, node, signal.SIGKILL)


def _forked_anew(strike: Strike, node: NodeName) -> list[str]:
    killed = strike.measures.pop("replicator")
    living = agents.process_of(strike.lab, node, ROLE)
    return [] if living and killed not in living else [f"{node} has no new replicator"]


def _signal_replicator(strike: Strike, node: NodeName, number: int) -> Instant:
    pids = replicators(strike, node)
    before = now()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return before


def replicators(strike: Strike, node: NodeName) -> list[int]:
    pids = agents.process_of(strike.lab, node, ROLE)
    if not pids:
        raise EnvironmentFailure("strike", f"the replicator of {node}", "there is no such process")
    return pids


def thaw(strike: Strike, node: NodeName) -> None:
    for pid in agents.process_of(strike.lab, node, ROLE):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class _Stale:
    """The standby's replicator, stopped with the strike; closing lets it go on."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike
        self.since = Instant(0)
        replicators(strike, strike.standby)  # raises now rather than amid the run

    def close(self) -> None:
        thaw(self._strike, self._strike.standby)


def _lose_power(strike: Strike, stale: Duration) -> Instant:
    """Long enough before, so that flows have begun that the standby cannot know."""
    assert isinstance(strike.tool, _Stale)
    strike.tool.since = _signal_replicator(strike, strike.standby, signal.SIGSTOP)
    time.sleep(stale / SECOND)
    return strike.lab.power_off(strike.active)


def _return(strike: Strike) -> None:
    thaw(strike, strike.standby)
    strike.lab.power_on(strike.active)


def _says_why(strike: Strike) -> list[str]:
    """A promotion without the state is recorded with its reason by the node itself."""
    assert isinstance(strike.tool, _Stale)
    for event in journal.read(strike.lab.run_dir(strike.standby) / "events.jsonl", strike.tool.since):
        gate = event.kind == "took_over_step" and event.details.get("step") == "gate"
        if gate and event.details.get("phase") == "waived":
            return [] if event.details.get("detail") else ["the gate was waived without a reason"]
    return [f"{strike.standby} serves without the state and did not say that its gate was waived"]
