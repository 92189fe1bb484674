"""The trace as text: one line for each thing that happened, with the time, the node and the reason."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from understudy.core.effects import AskAddresses, Decided, Dropped, LeaseChanged, Moved, Noted, Step
from understudy.units import MILLISECOND

Line = tuple[int, str, str, Any]


def format_lines(lines: Iterable[Line]) -> Iterator[str]:
    """`12.345678  gw1  moved      edge: BACKUP -> ACTIVE, no Active is heard: ...`"""
    for now, node, kind, what in lines:
        yield f"{now / 1e9:13.6f}  {node:<8}  {kind:<9}  {describe(what)}"


def describe(what: Any) -> str:
    """In a few words; anything unknown in its own."""
    match what:
        case str():
            return what
        case Moved(_, group, old, new, reason, cause):
            return f"{group}: {old.name} -> {new.name}, {reason}: {cause}"
        case Step(group, step, phase, detail):
            return f"{group}: {step} {phase}" + (f" ({detail})" if detail else "")
        case LeaseChanged(group, lease, length, reason):
            return f"{group}: {lease.name} {length / MILLISECOND:g} ms ({reason})"
        case Decided(group, row, sentence):
            return f"{group}: {row}: {sentence}"
        case Noted(kind, subject, detail):
            return f"{kind} {subject} {detail}".strip()
        case Dropped(reason):
            return reason
        case AskAddresses(group):
            return f"{group}: who answers for the addresses?"
        case _ if is_dataclass(what) and not isinstance(what, type):
            parts = ", ".join(f"{f.name}={_short(getattr(what, f.name))}" for f in fields(what))
            return f"{type(what).__name__}({parts})"
        case _:
            return str(what)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 80 else f"{value[:80].hex()}... ({len(value)} bytes)"
    return repr(value)
