"""What `understudy status` says of replicated flows: a line a group and node, and what is wrong. Plain, and quick to
import.
"""

from collections.abc import Mapping
from typing import Any

Status = Mapping[str, Any]
FULL = 0.95
"""Of `nf_conntrack_max`; beyond it new connections are dropped, and copies refused."""


def lines(status: Status) -> list[str]:
    """How many there are, how far the copies are behind, and when that was last proven."""
    return [
        _line(str(status["node"]), group, group["flows"], _work(status.get("flows") or {}, group["flows"].get("peer")))
        for group in status["groups"]
        if group.get("flows") and "entries_here" in group["flows"]
    ]


def troubles(status: Status) -> list[str]:
    """A replicator that says nothing, and a standby that could not take over without loss."""
    flows = status.get("flows")
    if not flows:
        return []
    if not flows.get("running", True):
        return [f"{status['node']}: the process that replicates flows says nothing"]
    table = flows.get("table") or {}
    full = []
    if table.get("limit") and table["entries"] >= FULL * table["limit"]:
        full = [f"{status['node']}: the kernel's table of flows is nearly full: {table['entries']} of {table['limit']}"]
    lacking = [
        (group["name"], kept.get("detail") or "not proven yet")
        for group in status["groups"]
        if (kept := group.get("flows")) and group["role"] != "active" and _lacks(kept)
    ]
    return full + [f"{status['node']}: {name}: not all flows are here: {why}" for name, why in lacking]


def _lacks(kept: Status) -> bool:
    """By the replicator's own word: of one that has just begun there is none yet."""
    return bool(kept.get("replicated")) and kept.get("complete") is False


def controls(statuses: list[dict[str, Any]]) -> list[str]:
    """What is switched off for a drill."""
    found = []
    if any(not status.get("gate_enabled", True) for status in statuses):
        found.append("the state gate is OFF: a control of a drill")
    if any(status.get("sync_delay_ms") for status in statuses):
        found.append("writing of flows is DELAYED: a control of a drill")
    return found


def _line(node: str, group: Status, kept: Status, work: str) -> str:
    name, peer, here, there = group["name"], kept["peer"], kept["entries_here"], kept["entries_there"]
    behind = f"{kept['lag_ms']:g} ms ({kept['lag_entries']}) behind"
    if kept["original"] == "here":
        state = "complete" if kept["complete"] else "not complete"
        return f"{name} flows, {node}: original; {peer} is {behind}, {state} there{work}"
    ago = kept.get("proven_ms_ago")
    counts = "" if here is None or there is None else f"{here} here, {there} on {peer}, "
    if not kept["replicated"]:
        copied = kept.get("copied_ms_ago")
        return f"{name} flows, {node}: copied {'never' if copied is None else f'{copied / 1000:.1f} s ago'}{work}"
    if not kept["complete"] or ago is None:
        return f"{name} flows, {node}: {counts}{behind}, not complete{work}"
    return f"{name} flows, {node}: {counts}{behind}, complete, proven {ago / 1000:.1f} s ago{work}"


def _work(flows: Status, peer: str | None) -> str:
    """Of the agreement with the peer."""
    known = (flows.get("peers") or {}).get(peer)
    if not known:
        return ""
    return f"; rounds: {known['rounds']}, repaired: {known['repaired']}, overruns: {known['overruns']}"
