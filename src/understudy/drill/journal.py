"""The agents' own accounts: what each node did and why, by the same clock as the probes.

An agent appends one JSON object a line to `events.jsonl` in its node's directory: `{"t": instant, "node": name, "kind": ..., ...}`. A node
that dies may leave half a line behind; that line is dropped, nothing else is.
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

    @property
    def becomes_active(self) -> bool:
        return self.kind == "moved" and is_active(self.details.get("new")) and not is_active(self.details.get("old"))

    @property
    def changes_role(self) -> bool:
        """Whether a node became Active or ceased to be it; moves between the other roles change nothing for users."""
        return self.kind == "moved" and is_active(self.details.get("new")) != is_active(self.details.get("old"))


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
        instant, node, kind = fields.pop("t"), fields.pop("node"), fields.pop("kind")
    except (ValueError, KeyError, AttributeError):
        return None
    return Event(Instant(int(instant)), str(node), str(kind), fields)


def merge(journals: Iterable[list[Event]]) -> list[Event]:
    """All nodes' events in the order of time."""
    return sorted((event for journal in journals for event in journal), key=lambda event: event.instant)
