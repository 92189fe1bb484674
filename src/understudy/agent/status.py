"""What the control socket says of a node: one JSON object, the same for the table, the drill and every later reader."""

import os
import time
from typing import TYPE_CHECKING, Any

from understudy.agent.draining import told
from understudy.agent.options import AgentOptions
from understudy.units import MILLISECOND
from understudy.wire.heartbeat import Phase, Role

if TYPE_CHECKING:
    from understudy.agent.driver import Driver
    from understudy.core.group import Group

SCHEMA = "understudy.status/1"


def describe_node(driver: "Driver", options: AgentOptions) -> dict[str, Any]:
    """Every group with its role, since when and why; the peer; the networks; the servers; drift; what was dropped."""
    node, now = driver.node, time.monotonic_ns()
    peer, body = node.peer, node.peer.body
    theirs = {group.number: group for group in body.groups} if body is not None else {}
    reached = {lan.network: lan.reach for lan in body.lans} if body is not None else {}
    names = {server.binding: (server.service, server.name) for server in node.settings.servers}
    up, checked = node.health.up, node.health.checked
    drained = told(options.progress_path, options.draining)
    groups = []
    for group in node.groups.values():
        their = theirs.get(group.settings.number)
        groups.append(
            {
                "name": group.settings.name,
                "role": group.role.name.lower(),
                "since_ns": group.tenure.since,
                "for_ms": (now - group.tenure.since) // MILLISECOND,
                "reason": group.tenure.reason,
                "cause": group.tenure.cause,
                "decision": group.record.sentence,
                "row": group.record.row,
                "phase": group.phase.name.lower() if group.phase is not Phase.NONE else "",
                "priority": group.settings.routers[0].priority,
                "advertise_ms": group.settings.advertise / MILLISECOND,
                "lease": group.voice.lease.name.lower(),
                "lease_ms": group.voice.lease_ns / MILLISECOND,
                "transitions": group.tenure.transitions,
                "addresses": [
                    str(address)
                    for router in group.settings.routers
                    for address in router.addresses
                    if not address.is_link_local
                ],
                "plain": group.settings.plain,
                "flows": _flows(driver, group),
                "checksums": {"rfc9568": group.routers.checksums[False], "rfc5798": group.routers.checksums[True]},
                "peers": [_plain_peer(group, now)]
                if group.settings.plain
                else [
                    {
                        "name": peer.name,
                        "heard": peer.fresh,
                        "heard_ms_ago": (now - peer.heard_at) // MILLISECOND if peer.ever else None,
                        "role": their.role.name.lower() if their is not None and peer.fresh else "unknown",
                        "eligible": bool(body and body.eligible and not body.stopping),
                        "lease": their.lease.name.lower() if their is not None and peer.fresh else "unknown",
                        "same_config": bool(body and body.config_digest == node.settings.config_digest),
                    }
                ],
            }
        )
    return {
        "schema": SCHEMA,
        "cluster": options.plan.cluster,
        "digest": options.plan.digest.hex(),
        "loaded_ns": options.loaded_ns,
        "node": node.settings.name,
        "now_ns": now,
        "pid": os.getpid(),
        "epoch": node.epoch,
        "maintenance": node.standing.maintenance,
        "stopping": node.standing.stopping,
        "lease_enabled": options.lease_enabled,
        "gate_enabled": options.gate_enabled,
        "sync_delay_ms": options.sync_delay / MILLISECOND,
        "keys": len(options.keys),
        "groups": groups,
        "networks": [
            {
                "name": name,
                "interface": driver.lans[name].port.name,
                "carrier": lan.carrier,
                "reach": lan.reach.name.lower(),
                "peer_reach": reached[number].name.lower()
                if (number := node.settings.networks.index(name)) in reached and peer.fresh
                else "unknown",
                "heard_by_peer": not lan.denied,
                "peer_heard_ms_ago": (now - lan.heard_at) // MILLISECOND,
            }
            for name, lan in node.lans.items()
        ],
        "servers": [
            {
                "service": service,
                "name": name,
                "up": binding in up,
                "checked": binding in checked,
                "reason": node.health.reason.get(binding, ""),
            }
            for binding, (service, name) in names.items()
        ],
        "flows": driver.flows.describe() if driver.flows is not None else None,
        "draining": drained if any(drained.values()) else None,
        "drift": driver.hands.drift,
        "dropped": {**driver.dropped, **(driver.control.refused if driver.control is not None else {})},
        "timer_late_ms_max": driver.sent_late_max_ns / MILLISECOND,
    }


def _flows(driver: "Driver", group: "Group") -> dict[str, Any] | None:
    """What the replicator said last of the group's flows, which is little where it has not yet; None where none are
    kept. Whether any are replicated is the file's word.
    """
    if driver.flows is None:
        return None
    said = driver.flows.flows.get("groups", {}).get(group.settings.name, {})
    return {"running": not driver.flows.silent, **said, "replicated": group.settings.stateful}


def _plain_peer(group: "Group", now: int) -> dict[str, Any]:
    """A peer without channel: all that is known of it is whether it advertises. A standby of VRRP says nothing."""
    heard_at = group.routers.heard_at
    heard = group.role is Role.BACKUP and heard_at is not None and now - heard_at < 4 * group.settings.advertise
    return {
        "name": group.settings.peers[0],
        "heard": heard,
        "heard_ms_ago": (now - heard_at) // MILLISECOND if heard_at is not None else None,
        "role": "active" if heard else "unknown",
        "eligible": True,
        "lease": "unknown",
        "same_config": True,
    }
