"""`understudy import`: a keepalived.conf becomes our file, with a word about every line."""

import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.output import CHANGED, LANGUAGE_VARIABLE, check_language, emit_json, guarded
from understudy.errors import OperatorError

SCHEMA = "understudy.import/1"


def register(app: typer.Typer) -> None:
    app.command(name="import")(import_)


@guarded
def import_(
    files: Annotated[list[Path], typer.Argument(help="keepalived.conf of one node, or of both.")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the file there.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="A LAN's prefix: eth0=192.0.2.0/24. Repeatable.")] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="A node's own address: gw1.eth0=192.0.2.1. Repeatable.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="Name of the cluster.")] = "",
    beside: Annotated[bool, typer.Option("--beside", help="The other node goes on with keepalived for now.")] = False,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of the reasons: en or ko.")] = "en",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Turn a keepalived.conf into our file. Every line is judged: kept, differs, left-out or unknown.

    All but the kept ones are told. Exit code 2: something is left to fill in (the file says FILL-IN there) or to mend.
    """
    from understudy.config import load_plan
    from understudy.config.problems import Problems
    from understudy.migrate.blocks import read_entries
    from understudy.migrate.keepalived import count_fates, read_configuration
    from understudy.migrate.translate import translate

    check_language(lang)
    configurations = [read_configuration(str(path), read_entries(path)) for path in files]
    draft = translate(configurations, _wishes(cluster, network or [], address or [], beside=beside))
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(draft.text)
        except OSError as error:
            hint = "name another, or move it away" if isinstance(error, FileExistsError) else ""
            raise OperatorError("E7007", f"cannot write {output}: {error.strerror}", hint) from error
    try:
        load_plan(draft.text.encode())
        problems: list[dict[str, Any]] = []
    except Problems as found:
        problems = [{"code": p.code, "line": p.line, "path": p.path, "message": p.message} for p in found.problems]
    findings = [finding for configuration in configurations for finding in configuration.findings]
    if json_output:
        lines = [
            {"file": f.file, "line": f.line, "text": f.text, "fate": f.verdict.fate, "reason": f.verdict.said(lang)}
            for f in findings
        ]
        emit_json(
            SCHEMA,
            {
                "text": draft.text,
                "lines": lines,
                "counts": count_fates(findings),
                "fill_in": list(draft.holes),
                "remarks": list(draft.remarks),
                "problems": problems,
            },
        )
    else:
        if output is None:
            sys.stdout.write(draft.text)
        _report(findings, draft.holes, draft.remarks, problems, lang)
    if draft.holes or problems:
        sys.exit(CHANGED)


def _report(findings: Any, holes: Any, remarks: Any, problems: list[dict[str, Any]], lang: str) -> None:
    """To standard error: standard output is the file."""
    from understudy.migrate.keepalived import count_fates
    from understudy.migrate.words import Fate

    say = sys.stderr.write
    for finding in findings:
        if finding.verdict.fate is not Fate.KEPT:
            say(f"{finding.file}:{finding.line}: {finding.verdict.fate:<8}  {finding.text[:60]}\n")
            say(f"    {finding.verdict.said(lang)}\n")
    for remark in remarks:
        say(f"differs: {remark}\n")
    say(", ".join(f"{number} {fate}" for fate, number in count_fates(findings).items()) + "\n")
    for hole in holes:
        say(f"to fill in: {hole}\n")
    if not holes:
        for problem in problems:
            say(f"to mend: {problem['code']} line {problem['line']} {problem['path']}: {problem['message']}\n")


def _wishes(cluster: str, networks: list[str], addresses: list[str], *, beside: bool) -> Any:
    from understudy.migrate.translate import Wishes

    prefixes = {}
    for text in networks:
        device, _, prefix = text.partition("=")
        try:
            prefixes[device] = ip_network(prefix)
        except ValueError as error:
            raise OperatorError("E7006", f"--network {text}: {error}", "eth0=192.0.2.0/24") from error
    own = {}
    for text in addresses:
        place, _, value = text.partition("=")
        node, _, device = place.partition(".")
        try:
            own[node, device] = ip_address(value)
        except ValueError as error:
            raise OperatorError("E7006", f"--address {text}: {error}", "gw1.eth0=192.0.2.1") from error
    return Wishes(cluster, prefixes, own, beside)
