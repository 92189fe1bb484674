"""One line for people out of one event of a journal."""

from collections.abc import Mapping
from typing import Any

from understudy.drill.journal import Event

_TEMPLATES = {
    "moved": "{old} → {new}: {reason}",
    "advertised": "advertises on {network}",
    "took_over_step": "step {step}: {phase}",
    "lease": "lease {state}",
    "announced": "announces its addresses on {network} (round {round})",
    "expired": "the active's silence on {network} lasted one Active_Down_Interval",
    "heard_lost": "no longer hears its peer on {network}",
    "handover": "hand-over: {phase}",
    "started": "the agent starts",
    "adopted": "adopts what the kernel still holds",
    "server": "server {name} is {up}",
    "error": "error: {reason}",
}


class _Lenient(dict[str, Any]):
    """A detail that a journal left out reads as a dash."""

    def __missing__(self, key: str) -> str:
        return "–"


def narrate(event: Event) -> str:
    """The event in a sentence; an unknown kind shows its details as they are."""
    template = _TEMPLATES.get(event.kind)
    if template is None:
        return " ".join([event.kind, *(f"{key}={value}" for key, value in event.details.items())])
    details = {key: _plain(value) for key, value in event.details.items()}
    if event.kind == "server":
        details["up"] = "up" if event.details.get("up") else "down"
    text = template.format_map(_Lenient(details))
    cause = details.get("cause")
    if event.kind == "moved" and cause and cause != details.get("reason"):
        text += f" ({cause})"
    if event.kind == "took_over_step" and event.details.get("ok") is False:
        text += ", failed"
    return text


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value).replace("_", " ") if value is not None else "–"
