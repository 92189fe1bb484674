"""What can be set about each fault of a drill: the section `drills` of the file, and `understudy drill --set`.

    drills:
      packet-loss: {share: 50%, duration: 10s}

One table serves the file, the command line, the JSON Schema and the faults themselves (`drill.faults`).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from understudy.config import scalars
from understudy.config.problems import quoted
from understudy.config.scalars import refuse
from understudy.units import MILLISECOND, SECOND, Duration, format_duration

Value = int | float | str
"""A duration in nanoseconds, a number, a share between 0 and 1, or a word."""
Values = Mapping[str, Value]

_DAY: Duration = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something about a fault that can be set; `default` is written as in the file."""

    name: str
    kind: str
    """`duration`, `share`, `number` or `word`."""
    default: str
    sentence: str
    low: int = 0
    """Of a duration (in nanoseconds) or a number."""
    high: int = 0
    words: tuple[str, ...] = ()

    def parse(self, value: object) -> Value:
        """Raises PydanticCustomError, as every value of the file does."""
        match self.kind:
            case "duration":
                return scalars.parse_span(value, self.low, self.high)
            case "number":
                return scalars.parse_integer(value, self.low, self.high)
            case "share":
                return parse_share(value)
        text = scalars.text_of(value, "a word")
        if text not in self.words:
            raise refuse("E2116", f"{quoted(text)} is not a word for this", " or ".join(self.words))
        return text

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value (Any: it is JSON)."""
        shapes: dict[str, dict[str, Any]] = {
            "duration": {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?(us|ms|s|m|h|d)$"},
            "number": {"type": "integer", "minimum": self.low, "maximum": self.high},
            "share": {"type": "string", "pattern": r"^(100|[0-9]{1,2}(\.[0-9]{1,2})?)%$"},
            "word": {"enum": list(self.words)},
        }
        default: Value = int(self.default) if self.kind == "number" else self.default
        return {**shapes[self.kind], "default": default, "description": self.sentence}

    @property
    def range(self) -> str:
        """What it may be, for people."""
        match self.kind:
            case "duration":
                return f"{_spell_limit(self.low)} to {_spell_limit(self.high)}"
            case "number":
                return f"{self.low} to {self.high}"
            case "share":
                return "1% to 100%"
        return ", ".join(self.words)


def parse_share(value: object) -> float:
    """`30%` as 0.3."""
    text = scalars.text_of(value, "a share")
    number, percent, rest = text.partition("%")
    whole, _, fraction = number.partition(".")
    if not percent or rest or not f"{whole}{fraction or 0}".isascii() or not f"{whole}{fraction or 0}".isdigit():
        raise refuse("E2332", f"{quoted(text)} is not a share", "a number and a percent sign: 30%")
    if not 0 < float(number) <= 100:
        raise refuse("E2333", f"{text} is not between 0% and 100%")
    return float(number) / 100


def _duration(
    default: str, sentence: str, low: Duration = 100 * MILLISECOND, high: Duration = 600 * SECOND
) -> Parameter:
    return Parameter("duration", "duration", default, sentence, low, high)


_WHO = Parameter("node", "word", "active", "whose it is", words=("active", "standby"))

DRILLS: Mapping[str, tuple[Parameter, ...]] = {
    "node-power-loss": (),
    "agent-kill": (),
    "agent-freeze": (),
    "agent-restart": (),
    "both-agents-kill": (),
    "agent-pause": (_duration("10s", "how long it is stopped", 500 * MILLISECOND),),
    "cpu-starve": (
        _duration("5s", "how long"),
        Parameter("loops", "number", "1", "busy loops a CPU", 1, 64),
    ),
    "slow-kernel": (_duration("2s", "how long no change is carried out"), _WHO),
    "clock-step": (
        Parameter("step", "duration", "3d", "how far the standby's clocks are ahead", low=_DAY // 24, high=3650 * _DAY),
    ),
    "disk-full": (_duration("2s", "how long"), _WHO),
    "node-return": (
        Parameter(
            "preempt",
            "word",
            "as-is",
            "whether the group preempts: as in the file, or not",
            words=("as-is", "on", "off"),
        ),
    ),
    "link-down": (),
    "link-silent": (),
    "one-way-loss": (
        Parameter(
            "direction",
            "word",
            "turns",
            "the node does not hear (`deaf`), is not heard (`mute`), or the runs take turns",
            words=("turns", "deaf", "mute"),
        ),
    ),
    "packet-loss": (
        Parameter("share", "share", "30%", "of the packets of VRRP, both ways, on all LANs"),
        _duration("5s", "how long"),
    ),
    "packet-corrupt": (
        Parameter("share", "share", "50%", "of the packets of VRRP, both ways, on all LANs"),
        _duration("5s", "how long"),
    ),
    "partition": (
        Parameter(
            "paths", "word", "all", "all paths between the nodes, or the heartbeats only", words=("all", "heartbeat")
        ),
        _duration("3s", "how long"),
    ),
    "flap": (
        Parameter("times", "number", "5", "how often the carrier goes", 1, 100),
        Parameter("period", "duration", "1s", "from one loss to the next", low=20 * MILLISECOND, high=60 * SECOND),
    ),
    "rules-flushed": (),
    "address-deleted": (),
    "peer-misconfigured": (
        Parameter(
            "what",
            "word",
            "turns",
            "what the standby's file says otherwise; the runs take turns",
            words=("turns", "vrid", "interval", "key", "addresses"),
        ),
        _duration("3s", "how long"),
    ),
    "hostile-flood": (
        Parameter("rate", "number", "100000", "packets a second that are tried", 1, 10_000_000),
        _duration("10s", "how long"),
        Parameter(
            "content",
            "word",
            "mixed",
            "`junk`, `forged` in no node's name, both (`mixed`), or `spoofed` in the standby's own name",
            words=("mixed", "junk", "forged", "spoofed"),
        ),
    ),
    "sync-loss": (
        Parameter("share", "share", "30%", "of the replication's datagrams, both ways, on all paths"),
        _duration("5s", "how long"),
    ),
    "sync-path-flap": (
        Parameter("times", "number", "6", "how often a path is cut", 1, 100),
        Parameter("period", "duration", "1s", "how long each is cut", low=50 * MILLISECOND, high=60 * SECOND),
    ),
    "flows-kill": (_WHO,),
    "flows-freeze": (_duration("3s", "how long it is stopped"), _WHO),
    "standby-stale": (_duration("1s", "how long it has been stopped when the power goes"),),
    "event-overrun": (Parameter("entries", "number", "150000", "flows that begin at once", 1000, 1_000_000),),
    "conntrack-full": (_duration("3s", "how long"),),
    "switchover": (),
    "none": (),
    "injected-gap": (),
}
"""Every fault by name, with what can be set about it."""


def defaults(fault: str) -> dict[str, Value]:
    """The values of a fault about which nothing is said."""
    return {parameter.name: parameter.parse(parameter.default) for parameter in DRILLS[fault]}


def parameter_of(fault: str, name: str) -> Parameter:
    """Raises PydanticCustomError E2331 if the fault has no such parameter."""
    known = {parameter.name: parameter for parameter in DRILLS[fault]}
    if name not in known:
        raise refuse("E2331", f"{fault} has no parameter {quoted(name)}", _hint(name, tuple(known)))
    return known[name]


def parse_section(value: object) -> dict[str, dict[str, Value]]:
    """The section `drills`: fault -> parameter -> value; with every problem of it."""
    if not isinstance(value, dict):
        raise refuse(
            "E2103", "is not a mapping, expected faults with their parameters", "drills: {packet-loss: {share: 50%}}"
        )
    read: dict[str, dict[str, Value]] = {}
    problems: list[InitErrorDetails] = []

    def refused(error: PydanticCustomError, loc: tuple[str, ...], given: object) -> None:
        problems.append(InitErrorDetails(type=error, loc=loc, input=given))

    for fault, settings in value.items():
        if fault not in DRILLS:
            refused(
                refuse("E2330", f"there is no fault {quoted(fault)}", _hint(fault, tuple(DRILLS))),
                (fault, "[key]"),
                fault,
            )
            continue
        if not isinstance(settings, dict):
            refused(refuse("E2103", "is not a mapping, expected parameters", f"{fault}: {{...}}"), (fault,), settings)
            continue
        read[fault] = {}
        for name, given in settings.items():
            try:
                parameter = parameter_of(fault, name)
            except PydanticCustomError as error:
                refused(error, (fault, name, "[key]"), name)
                continue
            try:
                read[fault][name] = parameter.parse(given)
            except PydanticCustomError as error:
                refused(error, (fault, name), given)
    if problems:
        raise ValidationError.from_exception_data("drills", problems)
    return read


def section_schema() -> dict[str, Any]:
    """JSON Schema of the section (Any: it is JSON)."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            fault: {
                "type": "object",
                "additionalProperties": False,
                "properties": {parameter.name: parameter.schema() for parameter in parameters},
            }
            for fault, parameters in DRILLS.items()
            if parameters
        },
    }


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known) or 'none'}"


def load_drills(file: Path) -> dict[str, dict[str, Value]]:
    """The section of a file, empty if it has none. Raises Problems."""
    from understudy.config.load import read_source
    from understudy.config.validate import validate

    return dict(validate(read_source(file)).file.drills)


def _spell_limit(limit: Duration) -> str:
    for scale, unit in ((_DAY, "d"), (_DAY // 24, "h")):
        if limit % scale == 0:
            return f"{limit // scale}{unit}"
    return format_duration(limit)


def spell(parameter: Parameter, value: Value) -> str:
    """A value as one would write it."""
    match parameter.kind:
        case "duration":
            return format_duration(int(value))
        case "share":
            return f"{float(value) * 100:g}%"
    return str(value)
