"""From a tree to a model, with every problem on the operator's own line.

Two passes: each value alone (`models`), then values against each other (`rules`). What is broken in the first pass is
left out of the second, so that one typing error neither hides the other problems nor breeds false ones.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from understudy.config import ioslines, rules
from understudy.config.ioslines import IosLines
from understudy.config.load import Source, Steps
from understudy.config.models import (
    NAT_LINES,
    NAT_RULE,
    AttachmentModel,
    CheckModel,
    FileModel,
    GroupModel,
    IosModel,
    NatModel,
    NetworkModel,
    ObjectiveModel,
    ServiceModel,
)
from understudy.config.problems import PROBLEMS_MAX, Problem, Problems, quoted
from understudy.units import Duration


@dataclass(frozen=True, slots=True)
class Document:
    """A file that passed every check."""

    source: Source
    file: FileModel
    ios: IosLines | None = None


def validate(source: Source, advertise: Duration | None = None) -> Document:
    """Check a tree whole. `advertise` stands in for the interval of every group. Raises Problems."""
    data = source.root.plain()
    problems = list(source.problems)
    scope: rules.Scope | None = None
    try:
        scope = rules.Scope(source, FileModel.model_validate(data), advertise=advertise)
    except ValidationError as error:
        details = [_without_kinds(each) for each in error.errors(include_url=False)[:PROBLEMS_MAX]]
        problems += _translate_all(source, details)
        if len(details) < PROBLEMS_MAX:
            scope = _remainder(source, data, details, advertise)
    ios: IosLines | None = None
    if scope is not None:
        problems += rules.cross_check(scope)
        ios, found = _lines_of_ios(scope, place=not problems)
        problems += found[:PROBLEMS_MAX]
    if problems or scope is None:
        raise Problems(source.name, problems, source.text)
    return Document(source, scope.file, ios)


def _lines_of_ios(scope: rules.Scope, *, place: bool) -> tuple[IosLines | None, list[Problem]]:
    """The lines of IOS, read and placed, and every problem of them."""
    given, problems = ioslines.gather(scope.source, scope.file)
    settled = ioslines.settle(scope, given, [model for _, model in scope.file.ios], place=place)
    return settled.lines, problems + settled.problems


def _without_kinds(detail: ErrorDetails) -> ErrorDetails:
    """pydantic names the kind of an entry of `nat` in its paths; the file does not."""
    detail["loc"] = tuple(step for step in detail["loc"] if step not in (NAT_RULE, NAT_LINES))
    return detail


# --- what is left of a file with broken values

_OPTIONAL = {
    "networks": frozenset({"gateway"}),
    "redundancy": frozenset(
        {"mode", "advertise", "vrid", "preempt", "vrrp", "require_sync", "gate_deadline", "copy_every"}
    ),
    "services": frozenset({"check", "state"}),
}
"""Values without which the rest of their entry can still be judged."""


def _remainder(
    source: Source, data: Mapping[str, Any], details: Iterable[ErrorDetails], advertise: Duration | None
) -> rules.Scope | None:
    """The file without its broken values; None if too little is left to judge."""
    if not isinstance(data, dict):
        return None
    left: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    damaged: set[rules.Entry] = set()
    absent: set[rules.Entry] = set()
    for detail in details:
        loc = detail["loc"]
        section, name = str(loc[0]), str(loc[1]) if len(loc) > 1 else ""
        damaged.add((section, name))
        if len(loc) == 1 and detail["type"] == "extra_forbidden":
            left.pop(section, None)
            absent.add((_nearest(section, FileModel.model_fields) or section, ""))
        elif section == "nat" or not isinstance(left.get(section), dict) or not name:
            left.pop(section, None)
            absent.add((section, ""))
        elif len(loc) > 2 and (loc[2] in _OPTIONAL.get(section, ()) or _is_unknown_key(detail)):
            _drop(left[section], name, loc[2])
        else:
            left[section].pop(name, None)
            absent.add((section, name))
    left.setdefault("cluster", "damaged")
    try:
        file = FileModel.model_validate(left)
    except ValidationError:
        return None
    return rules.Scope(source, file, frozenset(damaged), frozenset(absent), advertise)


def _is_unknown_key(detail: ErrorDetails) -> bool:
    """Whether an entry holds a key too many. Those of a node's attachment are deeper and take it along."""
    return detail["type"] == "extra_forbidden" and len(detail["loc"]) == 3


def _drop(entries: dict[str, Any], name: str, key: str | int) -> None:
    """Leave out one value of an entry."""
    if isinstance(entries.get(name), dict):
        entries[name] = {k: v for k, v in entries[name].items() if k != key}


# --- pydantic's errors in our words

_MODELS_BY_SHAPE: tuple[tuple[tuple[str, ...], Any], ...] = (
    ((), FileModel),
    (("networks", "*"), NetworkModel),
    (("nodes", "*", "*"), AttachmentModel),
    (("redundancy", "*"), GroupModel),
    (("services", "*"), ServiceModel),
    (("services", "*", "check"), CheckModel),
    (("nat", "*"), NatModel),
    (("nat", "*"), IosModel),
    (("objectives", "*"), ObjectiveModel),
)
"""Where which keys are known."""

_LATER: Mapping[str, tuple[str, str]] = {
    "rlo": ("E2125", "recovery_location (where to recover) or recovery_level (in which order and how far)"),
    "rco": ("E2125", "recovery_communication (who is told), or declare the communication lines as networks"),
    "recovery_point": ("E2905", "outage is the objective that Understudy measures today"),
    "recovery_time": ("E2905", "outage is the objective that Understudy measures today"),
    "recovery_location": ("E2905", "outage is the objective that Understudy measures today"),
    "recovery_level": ("E2905", "outage is the objective that Understudy measures today"),
    "recovery_scope": ("E2905", "outage is the objective that Understudy measures today"),
    "recovery_communication": ("E2905", "outage is the objective that Understudy measures today"),
    "standby": ("E2905", "leave it out: both nodes are running"),
    "symmetry": ("E2905", "leave it out"),
}
"""Keys of the language that is to come, or that must not be."""

_SHAPES = {
    "dict_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
    "model_attributes_type": "a mapping (`key: value`)",
    "tuple_type": "a list (`[a, b]`)",
    "list_type": "a list (`[a, b]`)",
}


def _translate_all(source: Source, details: Sequence[ErrorDetails]) -> Iterator[Problem]:
    """One problem for each error, but none for a missing key that is there with a typing error."""
    meant = {
        (*loc[:-1], _nearest(str(loc[-1]), _known_keys(loc[:-1])))
        for detail in details
        if detail["type"] == "extra_forbidden" and (loc := detail["loc"])
    }
    for detail in details:
        misspelt = detail["type"] == "missing" and detail["loc"] in meant
        # pydantic counts the good entries: a list whose only entry is broken is not too short for us.
        miscounted = detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]
        if not misspelt and not miscounted:
            yield _translate(source, detail)


def _nearest(key: str, known: Iterable[str]) -> str:
    """The known key that was probably meant, or nothing."""
    return next(iter(difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)), "")


def _translate(source: Source, detail: ErrorDetails) -> Problem:
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    if loc and loc[-1] == "[key]":
        return source.problem(loc[:-1], kind, detail["msg"], context.get("hint", ""), key=True)
    match kind:
        case "extra_forbidden":
            return _unknown_key(source, loc)
        case "missing":
            message = f"`{loc[-1]}` is missing"
            return source.problem(loc[:-1], "E2102", message, _HINTS_MISSING.get(str(loc[-1]), ""), key=True)
        case "too_long":
            message = f"has {len(detail['input'])} entries, at most {context['max_length']} are allowed"
            return source.problem(loc, "E2118", message, key=True)
        case "too_short":
            few = context["min_length"]
            return source.problem(loc, "E2119", f"needs at least {few} {'entry' if few == 1 else 'entries'}", key=True)
        case shape if shape in _SHAPES:
            return _wrong_shape(source, loc, _SHAPES[shape], detail["input"])
    assert kind.startswith("E2"), detail
    return source.problem(loc, kind, detail["msg"], context.get("hint", ""))


_HINTS_MISSING = {
    "cluster": "a name, as in `cluster: shop`",
    "networks": "the LANs, as in `networks: {inside: 10.9.0.0/24}`",
    "nodes": "the machines, as in `nodes: {gw1: {inside: 10.9.0.1}}`",
    "listen": "a virtual address and a port, as in `listen: 203.0.113.10:80`",
    "servers": "as in `servers: [web1:8080, web2:8080]`",
    "addresses": "the virtual addresses, as in `addresses: {inside: 10.9.0.254}`",
    "outage": "as in `{outage: 500ms}`",
}


def _wrong_shape(source: Source, loc: Steps, wanted: str, given: object) -> Problem:
    if given is None:
        return source.problem(loc, "E2107", f"has no value, expected {wanted}")
    shape = "a mapping" if isinstance(given, dict) else "a list" if isinstance(given, list) else "a single value"
    return source.problem(loc, "E2103", f"is {shape}, expected {wanted}")


def _unknown_key(source: Source, loc: Steps) -> Problem:
    key = str(loc[-1])
    known = list(dict.fromkeys(_known_keys(loc[:-1])))
    code, hint = _LATER.get(key.lower(), ("", ""))
    if code == "E2125":
        return source.problem(loc, code, f"{quoted(key)} means two things", f"say {hint}", key=True)
    if code:
        return source.problem(loc, code, f"not yet: {key}", hint, key=True)
    near = _nearest(key, known)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(known)}"
    return source.problem(loc, "E2101", f"{quoted(key)} is not a known key", hint, key=True)


def _known_keys(loc: Steps) -> Iterator[str]:
    for shape, model in _MODELS_BY_SHAPE:
        if len(shape) == len(loc) and all(want in ("*", step) for want, step in zip(shape, loc, strict=True)):
            yield from (field.alias or name for name, field in model.model_fields.items())
