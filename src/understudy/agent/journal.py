"""The journal: what happened on this node and why, as JSON lines with the monotonic clock.

The processes of a node pass their lines to the supervisor, which writes the file: a slow disk must not delay an
advertisement.
"""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.core.effects import Announce, Effect, LeaseChanged, Moved, Noted, SetServers, Step
from understudy.core.group import FAILOVER_STEPS
from understudy.units import Instant, NodeName

LINE_MAX = 8192
FILE_MAX = 16 << 20
"""Bytes of one journal file; a full one becomes `.1` and a new one begins."""


def describe(effect: Effect) -> dict[str, Any] | None:
    """The line for an effect; None for one that is carried out a thousand times a minute."""
    match effect:
        case Moved(_, group, old, new, reason, cause):
            return {
                "kind": "moved",
                "group": group,
                "old": old.name.lower(),
                "new": new.name.lower(),
                "reason": reason,
                "cause": cause,
            }
        case Step(group, step, phase, detail) if step in FAILOVER_STEPS:
            return {
                "kind": "took_over_step",
                "group": group,
                "step": step,
                "phase": phase,
                "ok": phase != "failed",
                "detail": detail,
            }
        case Step(group, step, phase, detail):
            return {"kind": step, "group": group, "phase": phase, "detail": detail}
        case LeaseChanged(group, lease, length, reason):
            return {
                "kind": "lease",
                "group": group,
                "state": lease.name.lower() if length else "revoked",
                "length_ns": length,
                "reason": reason,
            }
        case Noted("expired", subject, _):
            name, network, family = subject.split("/")
            return {"kind": "expired", "group": name, "network": network, "family": int(family)}
        case Noted(kind, subject, detail):
            return {"kind": kind, "subject": subject, "detail": detail}
        case Announce(group, number):
            return {"kind": "announced", "group": group, "round": number}
        case SetServers(up):
            return {"kind": "servers", "up": len(up)}
        case _:
            return None


class JournalSender:
    """The end that a process of the node writes to; never waits, and counts what did not fit."""

    def __init__(self, end: socket.socket, node: NodeName) -> None:
        self._end = end
        self._node = node
        self.lost = 0

    def write(self, now: Instant, line: Mapping[str, Any]) -> None:
        text = json.dumps(
            {"t": now, "node": self._node, **line}, separators=(",", ":"), ensure_ascii=False, default=str
        )
        try:
            self._end.send(text.encode()[:LINE_MAX])
        except OSError:
            self.lost += 1


class JournalFile:
    """The supervisor's end: appends lines to the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def append(self, line: bytes) -> None:
        """A full disk loses lines, not the service."""
        try:
            os.write(self._descriptor, line + b"\n")
            if os.fstat(self._descriptor).st_size > FILE_MAX:
                os.replace(self._path, self._path.with_suffix(".jsonl.1"))
                os.close(self._descriptor)
                self._descriptor = self._open()
        except OSError:
            return

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
