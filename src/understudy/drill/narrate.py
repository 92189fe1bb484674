"""One line for people out of one event of a journal."""

from collections.abc import Mapping
from typing import Any

from understudy.drill.journal import Event

_TEMPLATES = {
    "moved": "{old} → {new}: {reason}",
    "took_over_step": "step {step}: {phase}",
    "lease": "lease {state}: {reason}",
    "announced": "announces its addresses (round {round})",
    "expired": "the Active_Down_Interval on {network} ran out",
    "promotion": "promotion {phase}",
    "handover": "hand-over {phase}",
    "advertised": "first advertisement on {network}",
    "started": "the agent starts",
    "adopted": "adopts what the kernel still holds",
}


class _Lenient(dict[str, Any]):
    """A detail that a journal left out reads as a dash."""

    def __missing__(self, key: str) -> str:
        return "–"


def narrate(event: Event) -> str:
    """The event in a sentence; an unknown kind shows its details as they are."""
    details = {key: _plain(value) for key, value in event.details.items() if value not in ("", None)}
    template = _TEMPLATES.get(event.kind)
    if template is None:
        return _plain(event.kind) + (": " if details else "") + _listed(details)
    text = template.format_map(_Lenient(details))
    for more in ("cause", "detail"):
        if more in details and details[more] not in text:
            text += f" ({details[more]})"
    return text


def _listed(details: Mapping[str, str]) -> str:
    if set(details) <= {"subject", "detail"}:
        return " ".join(details.values())
    return ", ".join(f"{key} {value}" for key, value in details.items())


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value).replace("_", " ")
