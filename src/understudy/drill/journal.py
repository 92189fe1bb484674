"""The agents' own accounts: what each node did and why, by the same clock as the probes.

An agent appends one JSON object a line to `events.jsonl` in its node's directory: `{"t": instant, "node": name,
"kind": ..., ...}`. A node that dies may leave half a line behind; that line is dropped, nothing else is.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.units import Instant


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal."""

    instant: Instant
    node: str
    kind: str
    details: Mapping[str, Any]
    """What the kind adds: any JSON."""


def is_active(role: object) -> bool:
    return str(role).lower() == "active"


def read(path: Path, since: Instant) -> list[Event]:
    """The events of one journal from an instant on. No file means no events: the agent never started."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        event = parse(line)
        if event is not None and event.instant >= since:
            events.append(event)
    return events


def parse(line: str) -> Event | None:
    """One line, or None if it is not a whole event."""
    try:
        fields = json.loads(line)
        instant, node, kind = (fields.pop(key) for key in ("t", "node", "kind"))
        return Event(Instant(int(instant)), str(node), str(kind), fields)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def merge(journals: Iterable[list[Event]]) -> list[Event]:
    """All nodes' events in the order of time."""
    return sorted((event for journal in journals for event in journal), key=lambda event: event.instant)


def role_changes(events: Iterable[Event], group: str, node: str, was_active: bool) -> list[tuple[Event, bool]]:
    """The moves of one node that made it Active (True) or ended that (False), in order.

    Judged by what it was, not by what the event says: a core that is forked anew starts from Initialize, and if it
    adopts the role that its kernel still carries, nothing changed for anybody.
    """
    changes = []
    for event in events:
        if event.kind == "moved" and event.node == node and event.details.get("group") == group:
            now_active = is_active(event.details.get("new"))
            if now_active != was_active and str(event.details.get("new")).lower() != "initialize":
                changes.append((event, now_active))
                was_active = now_active
    return changes
