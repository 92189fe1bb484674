"""What people and scripts are told of the replication with one peer. Times have their unit in the name."""

from typing import Any

from understudy.core.replication.pair import Pair
from understudy.units import MILLISECOND, Instant


def describe_pair(now: Instant, pair: Pair) -> tuple[dict[str, Any], dict[str, Any]]:
    """By group name, and of the peer."""
    agenda, origin, replica = pair.agenda, pair.origin, pair.replica
    groups: dict[str, Any] = {}
    for number, proof in agenda.proofs.items():
        bit = 1 << number
        own, theirs = bool(pair.own & bit), bool(pair.theirs & bit)
        counted = pair.answer.census.counts.get(number, 0) if own and pair.answer is not None else proof.here
        complete = bool(origin.peer_complete & bit) and not pair.stranger if own else proof.complete
        groups[pair.names[number]] = {
            "peer": pair.peer.name,
            "original": "here" if own else pair.peer.name if theirs else None,
            "replicated": bool(agenda.stateful & bit),
            "complete": complete,
            "detail": pair.stranger if own else proof.detail,
            "entries_here": counted,
            "entries_there": (counted if complete else None) if own else proof.there,
            "proven_at": proof.proven_at,
            "proven_ms_ago": _ago(now, proof.proven_at),
            "copied_ms_ago": _ago(now, proof.copied_at),
            "lag_ms": round(origin.lag(now) / MILLISECOND, 3) if own else round(pair.lag_told / MILLISECOND, 3),
            "lag_entries": origin.position - origin.written if own else replica.waiting + pair.behind,
        }
    current = agenda.round
    return groups, {
        "heard_ms": _ago(now, pair.heard),
        "sent": {
            "position": origin.position,
            "received": origin.received,
            "acknowledged": origin.written,
            "backlog_bytes": origin.backlog_bytes,
            "given_up": origin.given_up,
            "oversized": origin.oversized,
            "lag_ms": round(origin.lag(now) / MILLISECOND, 3),
        },
        "taken": {
            "position": replica.received + pair.behind,
            "received": replica.received,
            "written": replica.written,
            "waiting": replica.waiting,
            "refused": replica.refused,
            "ignored": pair.ignored,
        },
        "rounds": agenda.rounds,
        "rounds_failed": agenda.failed,
        "repaired": agenda.repaired,
        "suspected": agenda.suspected,
        "gaps": replica.gaps,
        "overruns": pair.overruns,
        "dropped": pair.dropped,
        "round": None if current is None else {"scope": current.scope.name.lower(), "repaired": current.progress},
        "paths": pair.paths.status(now),
    }


def _ago(now: Instant, then: Instant | None) -> int | None:
    return None if then is None else round((now - then) / MILLISECOND)
