"""`understudy nat import`: a router's running configuration becomes our file, with a word about every line."""

import os
import shutil
import sys
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.output import CHANGED, LANGUAGE_VARIABLE, check_language, emit_json, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.migrate.ios_draft import Draft
    from understudy.migrate.ios_networks import Given

SCHEMA = "understudy.nat.import/1"
GIVEN_MAX = 64
NODES_MAX = 2
TOLD_MAX = 100
"""Characters of a line of the configuration that are told."""
_FORM = "[INTERFACE=]ADDRESS/LENGTH"


def register(nat: typer.Typer) -> None:
    """Add the command below `nat`."""
    nat.command(name="import")(import_)


@guarded
def import_(
    file: Annotated[Path, typer.Argument(help="A running configuration of Cisco IOS; - is standard input.")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the file there.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also over a file that is there.")] = False,
    inside: Annotated[
        list[str] | None, typer.Option(metavar=_FORM, help="The group's address on an inside network. Repeatable.")
    ] = None,
    outside: Annotated[
        list[str] | None, typer.Option(metavar=_FORM, help="The group's address on an outside network. Repeatable.")
    ] = None,
    vrf: Annotated[str | None, typer.Option(help="Read the rules of this VRF; else the global ones.")] = None,
    node: Annotated[
        list[str] | None, typer.Option(help="Name of a machine of the pair, this router's successor first; twice.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="Name of the cluster; the router's.")] = "",
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of the reasons: en or ko.")] = "en",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Turn a running configuration into our file: networks, a pair of nodes, their group, and the lines of NAT.

    All lines that are not simply kept are told. Exit code 2: something is left to fill in (the file says FILL-IN there)
    or to mend.
    """
    from understudy.cli.nat_node import read_given
    from understudy.ios.check import check
    from understudy.ios.model import Role
    from understudy.ios.profiles import profile_named
    from understudy.ios.reader import read_bytes
    from understudy.migrate.ios_draft import Wishes, draft

    check_language(lang)
    given = (*_given(Role.INSIDE, inside or []), *_given(Role.OUTSIDE, outside or []))
    report = check(read_bytes(read_given(file), str(file)), profile_named("classic"))
    if node and (len(node) > NODES_MAX or len(set(node)) < len(node)):
        raise OperatorError("E7143", f"--node {' '.join(node)}: a pair has two nodes", "--node gw1 --node gw2")
    drafted = draft(report, str(file), Wishes(cluster, tuple(node or ()), vrf, given))
    if output is not None:
        write(output, drafted.text, force=force)
    problems, warnings = _checked(drafted.text, lang)
    if json_output:
        emit_json(SCHEMA, _as_json(drafted, problems, warnings, lang))
    else:
        if output is None:
            sys.stdout.write(drafted.text)
        _tell(drafted, problems, warnings, lang)
    if drafted.missing or problems:
        sys.exit(CHANGED)


def _given(role: Any, texts: list[str]) -> "list[Given]":
    from understudy.ios.names import interface_name
    from understudy.migrate.ios_networks import Given

    found = []
    for text in texts[:GIVEN_MAX]:
        interface, mark, address = text.rpartition("=")
        name = interface_name(interface) if mark else None
        try:
            if (mark and name is None) or "/" not in address:
                raise ValueError(f"not {_FORM}")
            found.append(Given(role, name, IPv4Interface(address)))
        except ValueError as error:
            hint = f"--{role} GigabitEthernet0/0=203.0.113.10/24"
            raise OperatorError("E7143", f"--{role} {text}: {error}", hint) from None
    return found


def write(path: Path, text: str, *, force: bool) -> None:
    """The whole file or none of it, and over another only if that is wanted. Raises OperatorError E7144.

    One that is replaced keeps its mode; a link to it stays one.
    """
    if not force and path.exists():
        raise OperatorError("E7144", f"{path} is there already", "name another, or say --force")
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with beside.open("x", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if force and path.exists():
                shutil.copymode(path, beside)
            if force:
                beside.replace(path)
            else:
                os.link(beside, path)  # fails where somebody made the file meanwhile
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OperatorError("E7144", f"cannot write {path}: {error.strerror}") from error


def _checked(text: str, lang: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """What `understudy check` says of the file: problems, else warnings."""
    from understudy.config import load_plan
    from understudy.config.problems import Problems

    try:
        plan = load_plan(text.encode())
    except Problems as found:
        return [
            {"code": p.code, "line": p.line, "path": p.path, "message": p.message, "hint": p.hint}
            for p in found.problems
        ], []
    warnings = plan.ios.warnings if plan.ios is not None else ()
    return [], [(code, korean if lang == "ko" else english) for code, english, korean in warnings]


def _as_json(
    drafted: "Draft", problems: list[dict[str, Any]], warnings: list[tuple[str, str]], lang: str
) -> dict[str, Any]:
    from understudy.migrate.keepalived import count_fates

    korean = lang == "ko"
    return {
        "text": drafted.text,
        "lines": [
            {"line": f.line, "text": f.text, "fate": f.verdict.fate, "reason": f.verdict.said(lang)}
            for f in drafted.findings
        ],
        "counts": {**count_fates(drafted.findings), "passed-over": drafted.passed_over},
        "fill_in": [both[korean] for both in drafted.missing],
        "remarks": [both[korean] for both in drafted.remarks],
        "warnings": [{"code": code, "message": message} for code, message in warnings],
        "problems": problems,
    }


def _cut(text: str) -> str:
    """A line as it is told, with a mark where it goes on."""
    return text if len(text) <= TOLD_MAX else f"{text[: TOLD_MAX - 4]} ..."


def _tell(drafted: "Draft", problems: list[dict[str, Any]], warnings: list[tuple[str, str]], lang: str) -> None:
    """To standard error: standard output is the file."""
    from understudy.migrate.keepalived import count_fates
    from understudy.migrate.words import Fate

    say, korean = sys.stderr.write, lang == "ko"
    for finding in drafted.findings:
        if finding.verdict.fate is not Fate.KEPT:
            say(f"{finding.file}:{finding.line}: {finding.verdict.fate:<8}  {_cut(finding.text)}\n")
            say(f"    {finding.verdict.said(lang)}\n")
    for both in drafted.remarks:
        say(f"{'참고' if korean else 'note'}: {both[korean]}\n")
    for code, message in warnings:
        say(f"{'경고' if korean else 'warning'} {code}: {message}\n")
    counts = {**count_fates(drafted.findings), "passed-over": drafted.passed_over}
    say(", ".join(f"{number} {fate}" for fate, number in counts.items()) + "\n")
    for both in drafted.missing:
        say(f"{'채울 것' if korean else 'to fill in'}: {both[korean]}\n")
    if not drafted.missing:
        for each in problems:
            say(f"to mend: {each['code']} line {each['line']} {each['path']}: {each['message']}\n")
