"""The journal: what happened on this node and why, as JSON lines with the monotonic clock.

The processes of a node pass their lines to the supervisor, which writes the file: a slow disk must not delay an
advertisement.
"""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.core.effects import Announce, Decided, Effect, LeaseChanged, Moved, Noted, SetServers, Step
from understudy.core.promotion import AT_GATE, FAILOVER_STEPS
from understudy.units import SECOND, Duration, Instant, NodeName

LINE_MAX = 8192
ALIVE = b"alive"
"""Not a line: the core tells the supervisor that it runs."""
FLOWS_ALIVE = b"flows alive"
"""Likewise of the process that replicates flows."""
POOLS_ALIVE = b"pools alive"
"""Likewise of the process that hands out addresses."""
LIMITED = frozenset({"decided", "error", "mismatch", "no-source"})
"""Kinds that somebody on the LAN, or a port that refuses, could cause with every packet: `LINES_MAX` a second."""
LINES_MAX = 20
MISMATCHES_MAX = 4
"""Of `mismatch` about one subject in `MISMATCH_WINDOW`: several things may be wrong with one packet, but whoever makes
up more must not push the history out of the file."""
MISMATCH_WINDOW: Duration = 10 * SECOND
FILE_MAX = 16 << 20
"""Bytes of one journal file; a full one becomes `.1` and a new one begins."""


def describe(effect: Effect) -> dict[str, Any] | None:
    """The line for an effect; None for one that is carried out a thousand times a minute."""
    match effect:
        case Moved(_, group, old, new, reason, cause, row):
            return {
                "kind": "moved",
                "group": group,
                "old": old.name.lower(),
                "new": new.name.lower(),
                "reason": reason,
                "cause": cause,
                "row": row,
            }
        case Decided(group, row, sentence):
            return {"kind": "decided", "group": group, "row": row, "sentence": sentence}
        case Step(group, step, phase, detail) if step in FAILOVER_STEPS or step in AT_GATE:
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
    """The end that a process of the node writes to; never waits. What did not fit is counted, and said when it does."""

    def __init__(self, end: socket.socket, node: NodeName) -> None:
        self._end = end
        self._node = node
        self._lost = 0
        self._second = 0
        self._budget = LINES_MAX
        self._mismatches: dict[object, tuple[int, int]] = {}
        """Of each subject: when its window began, and how many were told since."""

    def write(self, now: Instant, line: Mapping[str, Any]) -> None:
        if line.get("kind") in LIMITED and not (self._is_news(now, line) and self._affords(now)):
            self._lost += 1
            return
        if self._lost and self._send(now, {"kind": "lines-lost", "count": self._lost}):
            self._lost = 0
        if not self._send(now, line):
            self._lost += 1

    def alive(self, word: bytes = ALIVE) -> None:
        """Tell the supervisor that the core runs, or who else says this word."""
        with contextlib.suppress(OSError):
            self._end.send(word)

    def _is_news(self, now: Instant, line: Mapping[str, Any]) -> bool:
        if line["kind"] != "mismatch":
            return True
        begun, told = self._mismatches.get(line.get("subject"), (now, 0))
        if now - begun >= MISMATCH_WINDOW:
            begun, told = now, 0
        self._mismatches[line.get("subject")] = begun, told + 1
        return told < MISMATCHES_MAX

    def _affords(self, now: Instant) -> bool:
        if now // SECOND != self._second:
            self._second, self._budget = now // SECOND, LINES_MAX
        self._budget -= 1
        return self._budget >= 0

    def _send(self, now: Instant, line: Mapping[str, Any]) -> bool:
        whole = {"t": now, "node": self._node, **line}
        text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False, default=str).encode()
        if len(text) > LINE_MAX:
            short = {**whole, "detail": str(line.get("detail", ""))[: LINE_MAX // 8], "shortened": True}
            text = json.dumps(short, separators=(",", ":"), ensure_ascii=False, default=str).encode()
        try:
            self._end.send(text)
        except OSError:
            return False
        return True


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
                full, self._descriptor = self._descriptor, self._open()
                os.close(full)
        except OSError:
            return

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
