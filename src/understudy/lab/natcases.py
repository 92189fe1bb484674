"""Cases for NAT: a configuration, packets in, packets expected out; read from YAML and judged. Pure.

    cases:
    - id: static-out-1
      config: |            lines of Cisco IOS
        ...
      packets:
      - dir: in>out        in>out, out>in, in>in, out>out or local>out
        proto: icmp
        in: {src: 192.0.2.1, dst: 198.51.100.1, id: 1, icmp: echo-request}
        expect: {verdict: translated, src: 203.0.113.1, dst: 198.51.100.1, id: 1}
      - action: config     more lines, entered between two packets
        lines: [...]

A case without `config` is about the lines of a file that are given beside it.
A value is exact, or one of `any`, `{range: [1, 511], not: [300]}`, `{pool: [FIRST, LAST]}`, `{same_as: N}` and
`{not_same_as: N}`.
`strict` and `rotary_udp` beside `config` are wishes as in a file of ours (docs/reference/file.md).
`reply_to` and `same_flow_as` name the step whose flow a packet belongs to. `table_after` names rows that must stand in
the table of translations after the last step: five words each, the protocol and the four addresses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml

from understudy.errors import OperatorError

CASES_MAX = 2_000
ROWS_MAX = 1_000
"""Of `table_after`."""
STEPS_MAX = 1_000
SIZE_MAX = 16 << 20
FIELDS = ("src", "sport", "dst", "dport", "id")
VERDICTS = ("translated", "untranslated", "dropped")
DIRECTIONS = ("in>out", "out>in", "in>in", "out>out", "local>out")
PROTOCOLS = ("tcp", "udp", "icmp", "gre", "esp", "dns")
Value = str | int | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a packet: its fields when it left, or nothing of it."""

    verdict: str
    fields: Mapping[str, str | int] = field(default_factory=dict)
    interface: str = ""
    """By which it left; empty if it was delivered to the router itself."""


@dataclass(frozen=True, slots=True)
class Step:
    lines: tuple[str, ...] = ()
    """Configuration entered at this step; then nothing else of it counts."""
    direction: str = ""
    protocol: str = ""
    sent: Mapping[str, Value] = field(default_factory=dict)
    expected: Mapping[str, Value] = field(default_factory=dict)
    reply_to: int | None = None
    same_flow_as: int | None = None
    egress: str | None = None
    vrf: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    title: str
    config: str
    steps: tuple[Step, ...]
    differs: bool
    """Expected to differ on Linux, for the reason in its note."""
    profile: str
    note: str
    table_after: tuple[str, ...] = ()
    strict: bool = False
    rotary_udp: bool = False


def read_cases(path: Path, own: tuple[str, str] | None = None) -> tuple[Case, ...]:
    """`own`: lines and profile for a case without a `config`.

    Raises OperatorError E7110 for a file that cannot be read, E7111 for one that holds no cases."""
    try:
        with path.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise OperatorError("E7110", f"cannot read {path}: {error.strerror}") from error
    if len(data) > SIZE_MAX:
        raise OperatorError("E7110", f"{path} is larger than {SIZE_MAX >> 20} MB")
    try:
        document = yaml.load(data, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise _wrong(path, f"no YAML: {' '.join(str(error).split())[:200]}") from error
    listed = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not listed:
        raise _wrong(path, "there is no list `cases`")
    if len(listed) > CASES_MAX:
        raise _wrong(path, f"more than {CASES_MAX} cases")
    cases = tuple(_case(path, number, _completed(each, own)) for number, each in enumerate(listed))
    names = [case.id for case in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _wrong(path, f"two cases are called {twice}")
    return cases


def _completed(case: Any, own: tuple[str, str] | None) -> Any:
    if own is None or not isinstance(case, dict) or "config" in case:
        return case
    config, profile = own
    return {"profile": profile, **case, "config": config}


def _wrong(path: Path, what: str) -> OperatorError:
    return OperatorError("E7111", f"{path}: {what}", "docs/reference/nat.md shows the form of a case")


def _case(path: Path, number: int, case: Any) -> Case:
    where = f"case {number + 1}"
    if not isinstance(case, dict):
        raise _wrong(path, f"{where} is no mapping")
    where = f"case {str(case.get('id', number + 1))[:80]}"
    if not isinstance(case.get("config"), str) or not isinstance(case.get("packets"), list):
        raise _wrong(path, f"{where} needs `config` (text) and `packets` (a list)")
    if len(case["packets"]) > STEPS_MAX:
        raise _wrong(path, f"{where} has more than {STEPS_MAX} packets")
    rows = case.get("table_after", ())
    if not isinstance(rows, list | tuple) or len(rows) > ROWS_MAX or any(len(str(row).split()) != 5 for row in rows):
        raise _wrong(path, f"{where}: `table_after` is a list of rows, each the protocol and four addresses")
    steps = tuple(_step(path, f"{where}, packet {n}", each, n) for n, each in enumerate(case["packets"]))
    return Case(
        id=str(case.get("id", number + 1))[:80],
        title=str(case.get("title", ""))[:200],
        config=case["config"],
        steps=steps,
        differs=case.get("linux") == "differs",
        profile=str(case.get("profile", "any"))[:40],
        note=str(case.get("note", ""))[:1000],
        table_after=tuple(" ".join(str(row).split()) for row in rows),
        strict=case.get("strict") is True,
        rotary_udp=case.get("rotary_udp") is True,
    )


def _step(path: Path, where: str, step: Any, number: int) -> Step:
    if not isinstance(step, dict):
        raise _wrong(path, f"{where} is no mapping")
    if "action" in step:
        lines = step.get("lines")
        if step["action"] != "config" or not isinstance(lines, list):
            raise _wrong(path, f"{where}: the only action is `config`, with `lines`")
        return Step(lines=tuple(map(str, lines)))
    for key, known in (("dir", DIRECTIONS), ("proto", PROTOCOLS)):
        if step.get(key) not in known:
            raise _wrong(path, f"{where}: `{key}` is one of {', '.join(known)}")
    sent, expected = step.get("in"), step.get("expect")
    if not isinstance(sent, dict) or not isinstance(expected, dict):
        raise _wrong(path, f"{where} needs `in` and `expect`")
    if expected.get("verdict") not in VERDICTS:
        raise _wrong(path, f"{where}: `verdict` is one of {', '.join(VERDICTS)}")
    for key in ("src", "dst"):
        try:
            IPv4Address(sent.get(key))
        except ValueError as error:
            raise _wrong(path, f"{where}: `in` needs `{key}`, an IPv4 address") from error
    for key in ("reply_to", "same_flow_as"):
        of = step.get(key)
        if of is not None and not (isinstance(of, int) and 0 <= of < number):
            raise _wrong(path, f"{where}: `{key}` is the number of an earlier packet")
    return Step(
        direction=step["dir"],
        protocol=step["proto"],
        sent=sent,
        expected=expected,
        reply_to=step.get("reply_to"),
        same_flow_as=step.get("same_flow_as"),
        egress=step.get("egress"),
        vrf=step.get("vrf"),
    )


def judge(step: Step, seen: Seen, before: Sequence[Seen | None]) -> tuple[str, ...]:
    """What is not as expected; nothing if all is. `before` are the packets of the earlier steps."""
    return tuple(_differences(step, seen, before))


def _differences(step: Step, seen: Seen, before: Sequence[Seen | None]) -> Iterator[str]:
    wanted = str(step.expected["verdict"])
    if seen.verdict != wanted:
        yield f"verdict {seen.verdict}, expected {wanted}"
    if seen.verdict == "dropped" or wanted == "dropped":
        return
    for name in FIELDS:
        value = step.expected.get(name)
        if value is not None and name in seen.fields and not _fits(value, seen.fields[name], name, before):
            yield f"{name} {seen.fields[name]}, expected {value}"


def _fits(value: Value, found: str | int, name: str, before: Sequence[Seen | None]) -> bool:
    if not isinstance(value, Mapping):
        return value == "any" or str(value) == str(found)
    for key, of in value.items():
        match key:
            case "range":
                if not int(of[0]) <= int(found) <= int(of[1]):
                    return False
            case "not":
                if int(found) in [int(each) for each in of]:
                    return False
            case "pool":
                if not IPv4Address(of[0]) <= IPv4Address(found) <= IPv4Address(of[1]):
                    return False
            case "same_as" | "not_same_as":
                other = before[int(of)] if 0 <= int(of) < len(before) else None
                same = other is not None and other.fields.get(name) == found
                if same is not (key == "same_as"):
                    return False
            case _:
                return False
    return True
