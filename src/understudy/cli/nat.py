"""`understudy nat`: NAT in the language of Cisco IOS: checked, printed canonically, outputs read back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import nat_explain, nat_import, nat_shell, nat_show, nat_who
from understudy.cli.nat_node import read_given
from understudy.cli.output import CHANGED, ERROR, LANGUAGE_VARIABLE, check_language, emit_json, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.ios.check import Report

_File = Annotated[
    Path, typer.Argument(help="Lines of Cisco IOS, a whole running configuration or a piece; - is standard input.")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
_Lang = Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of words and warnings: en or ko.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    nat = typer.Typer(no_args_is_help=True, help="NAT in the language of Cisco IOS.")
    nat.command()(check)
    nat.command(name="print")(print_)
    nat.command(name="parse-show")(parse_show)
    nat.command(name="test")(try_cases)
    nat_show.register(nat)
    nat_explain.register(nat)
    nat_who.register(nat)
    nat_import.register(nat)
    nat_shell.register(nat)
    app.add_typer(nat, name="nat")


@guarded
def check(
    file: _File,
    *,
    profile: Annotated[
        str, typer.Option(help="How ports are chosen: classic, ios-xe-15.5 or ios-xe-modern.")
    ] = "classic",
    lang: _Lang = "en",
    json_output: _Json = False,
) -> None:
    """Say of every line whether Linux does the same, and warn of mistakes. Changes nothing.

    Exit code 1: a line is refused. 2: a warning, or a line that differs or cannot be.
    """
    from understudy.ios import check as judging
    from understudy.ios.profiles import profile_named
    from understudy.ios.reader import read_bytes

    check_language(lang)
    report = judging.check(read_bytes(read_given(file), str(file)), profile_named(profile))
    if json_output:
        emit_json("understudy.nat.check/1", {"file": str(file), **judging.as_json(report, lang)})
    else:
        _tell(report, str(file), lang)
    if report.reading.refused:
        sys.exit(ERROR)
    if not report.clean:
        sys.exit(CHANGED)


def _tell(report: "Report", file: str, lang: str) -> None:
    from understudy.ios.lines import Kind
    from understudy.ios.texts import KINDS

    say = sys.stdout.write
    for judged in report.lines:
        line = judged.line
        if line.kind is Kind.PASSED_OVER:
            continue
        word = KINDS["refused"][lang == "ko"]
        if judged.verdict is not None:
            word = judged.verdict.fidelity.said(lang).format(profile=report.profile.name)
        say(f"{file}:{line.number}: {word}: {line.text.strip()[:120]}\n")
        if line.refusal is not None:
            say(f"    {line.refusal.reason} (column {line.refusal.column})\n")
            if line.refusal.message:
                say(f"    IOS: {line.refusal.message}\n")
        elif judged.verdict is not None:
            say(f"    {judged.reason(lang)} [{judged.verdict.rules[0].name}]\n")
    for warning in report.warnings:
        where = f"{file}:{warning.line}" if warning.line is not None else file
        say(f"{where}: {warning.code}: {warning.said(lang)}\n")
        if warning.message:
            say(f"    IOS: {warning.message}\n")
    say(
        ", ".join(f"{number} {KINDS[kind][lang == 'ko']}" for kind, number in report.counts.items() if kind in KINDS)
        + "\n"
    )


@guarded
def print_(file: _File) -> None:
    """Write the canonical form: whole words, one order. Exit code 1: a line is refused, and nothing is written."""
    from understudy.ios.printer import print_configuration
    from understudy.ios.reader import read_bytes

    reading = read_bytes(read_given(file), str(file))
    if reading.refused:
        for line in reading.refused:
            if line.refusal is not None:
                sys.stderr.write(f"{file}:{line.number}:{line.refusal.column}: {line.refusal.reason}\n")
        sys.exit(ERROR)
    sys.stdout.write(print_configuration(reading.configuration))


@guarded
def parse_show(file: _File, *, json_output: _Json = False) -> None:
    """Read an output of `show ip nat translations`, `show ip nat statistics` or a relative of theirs."""
    from understudy.ios.show import as_json, read_show, tell

    shown = read_show(read_given(file), str(file))
    if json_output:
        emit_json("understudy.nat.show/1", {"file": str(file), **as_json(shown)})
    else:
        sys.stdout.write(tell(shown))


@guarded
def try_cases(
    file: Annotated[Path, typer.Argument(help="Cases: YAML with configuration, packets in, packets expected out.")],
    *,
    only: Annotated[list[str] | None, typer.Option(help="Only the case with this id; repeatable.")] = None,
    failover: Annotated[
        bool, typer.Option("--failover", help="On a pair of agents, one of which dies between the packets.")
    ] = False,
    json_to: Annotated[
        Path | None, typer.Option("--json", help="Write the results there; - is standard output.")
    ] = None,
) -> None:
    """Try cases on a router in a scratch namespace, with real packets. Needs no root; changes nothing outside.

    Exit code 2: a case failed that was not expected to differ.
    """
    from dataclasses import asdict

    from understudy.lab.natcases import read_cases
    from understudy.lab.natrun import run_cases

    cases = read_cases(file)
    if only:
        unknown = [name for name in only if name not in {case.id for case in cases}]
        if unknown:
            raise OperatorError("E7114", f"{file} has no case {unknown[0]!r}", "--only takes the `id` of a case")
        cases = tuple(case for case in cases if case.id in only)
    if failover:
        from understudy.lab.natpair import run_on_a_pair

        results = [run_on_a_pair(case) for case in cases]
    else:
        results = run_cases(cases)
    failed = [each for each in results if not each.passed and not each.expected_to_differ]
    if str(json_to) == "-":
        emit_json("understudy.nat.test/1", {"file": str(file), "cases": [asdict(each) for each in results]})
    else:
        if json_to is not None:
            _write_json(json_to, {"file": str(file), "cases": [asdict(each) for each in results]})
        for each in results:
            word = "passed" if each.passed else "differs, as expected" if each.expected_to_differ else "FAILED"
            sys.stdout.write(f"{each.id}: {word}{': ' + each.title if each.title else ''}\n")
            if each.error:
                sys.stdout.write(f"    {each.error}\n")
            for number, step in enumerate(each.steps if not each.passed else ()):
                sys.stdout.writelines(f"    packet {number + 1}: {what}\n" for what in step.wrong)
            sys.stdout.writelines(f"    not in the table: {row}\n" for row in each.missing)
        passed = sum(each.passed for each in results)
        differ = sum(not each.passed and each.expected_to_differ for each in results)
        sys.stdout.write(f"{passed} of {len(results)} passed, {differ} differ as expected, {len(failed)} failed\n")
    if failed:
        sys.exit(CHANGED)


def _write_json(path: Path, payload: dict[str, object]) -> None:
    import json

    try:
        path.write_text(json.dumps({"schema": "understudy.nat.test/1", **payload}, indent=2, default=str) + "\n")
    except OSError as error:
        raise OperatorError("E7106", f"cannot write {path}: {error.strerror}") from error
