"""`understudy drill`: do to the pair what may happen to it, under live traffic, and tell what users would have felt."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.output import CHANGED, ERROR, LANGUAGE_VARIABLE, OK, console, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.config.drills import Value
    from understudy.drill.result import DrillJson
    from understudy.units import Duration

BAD_OPTION = "E6404"
SYNC_DELAY_MAX = 10_000_000_000
"""Nanoseconds: with a slower standby every run would wait for the gate's deadline and prove nothing more."""
SEVERAL = "understudy.drills/1"
"""Schema of the document that holds several drills under `drills`."""


def register(app: typer.Typer) -> None:
    app.command()(drill)


def _complete_fault(incomplete: str) -> list[str]:
    from understudy.drill.faults import FAULTS

    return [name for name in (*FAULTS, "all") if name.startswith(incomplete)]


@guarded
def drill(
    file: Annotated[Path, typer.Argument(help="The cluster's file.")] = Path("understudy.yaml"),
    *,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What to do to the pair; repeatable; `all` for every fault.", autocompletion=_complete_fault),
    ] = None,
    list_faults: Annotated[bool, typer.Option("--list", help="List the faults and end.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Something about the fault: share=50%, or FAULT.share=50%; repeatable."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each fault.")] = 5,
    tcp: Annotated[int, typer.Option(min=0, max=20000, help="Size of the population of TCP connections.")] = 100,
    idle_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the connections, so many are idle until they are verified: 0.9.")
    ] = 0.0,
    udp: Annotated[int, typer.Option(min=0, max=20000, help="Idle exchanges of datagrams through source NAT.")] = 0,
    connects: Annotated[int, typer.Option(min=1, max=2000, help="New connections a second.")] = 50,
    state: Annotated[
        str | None,
        typer.Option(help="`replicate`, `copy` or `none` for every service and NAT rule, whatever the file says."),
    ] = None,
    sync_delay: Annotated[
        str | None, typer.Option(help="Holds the standby's writing of replicated flows back on purpose: 200ms.")
    ] = None,
    advertise: Annotated[str | None, typer.Option(help="Advertisement interval in place of the file's: 50ms.")] = None,
    lease: Annotated[str, typer.Option(help="`off` is a control: two nodes must then be seen answering.")] = "on",
    gate: Annotated[
        str, typer.Option(help="`off` is a control: addresses must then answer before their state.")
    ] = "on",
    seed: Annotated[int, typer.Option(help="Of the phases, for the same drill again.")] = 1,
    json_output: Annotated[Path | None, typer.Option("--json", help="Write the result here; `-` for stdout.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the timeline of the median run as SVG.")] = None,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of the report: en or ko.")] = "en",
) -> None:
    """Rehearse an outage: bring the file up in the lab, strike it under live traffic, measure every millisecond.

    Exit code 0: all objectives and bounds were met; 2: one was not; 1: the drill could not be done.
    """
    from understudy.drill.faults import FAULTS, by_name
    from understudy.drill.keeping import STATES
    from understudy.drill.phrases import LANGUAGES
    from understudy.drill.session import Request, rehearse

    if lang not in LANGUAGES:
        raise OperatorError(BAD_OPTION, f"--lang is one of {', '.join(LANGUAGES)}, not {lang!r}", "--lang en")
    if list_faults:
        _list(lang)
        return
    if lease not in ("on", "off"):
        raise OperatorError(BAD_OPTION, f"--lease is on or off, not {lease!r}", "leave it out for service as usual")
    if gate not in ("on", "off"):
        raise OperatorError(BAD_OPTION, f"--gate is on or off, not {gate!r}", "leave it out for service as usual")
    if state is not None and state not in STATES:
        raise OperatorError(BAD_OPTION, f"--state is one of {', '.join(STATES)}, not {state!r}", "--state replicate")
    names = list(dict.fromkeys(fault or ["node-power-loss"]))
    if names == ["all"]:
        names = [row.name for row in FAULTS.values() if not row.control]
    names = [by_name(name).name for name in names]
    values = _values(settings or [], names)
    interval, held_back = _duration("--advertise", advertise), _duration("--sync-delay", sync_delay) or 0
    if held_back > SYNC_DELAY_MAX:
        raise OperatorError(BAD_OPTION, f"--sync-delay {sync_delay} is above 10s", "200ms")
    done: list[DrillJson] = []
    for name in names:
        request = Request(
            file,
            name,
            runs,
            tcp,
            interval,
            lease == "on",
            seed,
            values[name],
            state=state,
            gate=gate == "on",
            sync_delay=held_back,
            idle_share=idle_share,
            udp=udp,
            connect_rate=connects,
        )
        with _Progress(name) as progress:
            done.append(rehearse(request, progress.tell))
        if json_output != Path("-"):
            _show(done[-1], lang)
        if done[-1]["interrupted"]:
            break
    _write(done, json_output, html, svg, lang)
    sys.exit(_exit_code(done))


def _list(lang: str) -> None:
    from understudy.config.drills import DRILLS
    from understudy.drill.faults import FAULTS
    from understudy.drill.phrases import speaker

    say = speaker(lang)
    for row in FAULTS.values():
        sys.stdout.write(f"{row.name:<20}{say(row.sentence)}\n")
        for parameter in DRILLS[row.name]:
            setting = f"{parameter.name}={parameter.default}"
            sys.stdout.write(f"{'':<20}  --set {setting:<20} {say(parameter.sentence)} ({parameter.range})\n")


def _values(settings: list[str], names: list[str]) -> "dict[str, dict[str, Value]]":
    """What `--set` says about each of the faults. Raises OperatorError if it concerns none of them."""
    from pydantic_core import PydanticCustomError

    from understudy.config.drills import DRILLS, parameter_of

    values: dict[str, dict[str, Value]] = {name: {} for name in names}
    for setting in settings:
        left, equals, text = setting.partition("=")
        fault, _, parameter = left.rpartition(".")
        chosen = [fault] if fault else [name for name in names if any(p.name == parameter for p in DRILLS[name])]
        if not equals or not chosen or not values.keys() >= set(chosen):
            raise OperatorError(
                BAD_OPTION,
                f"--set {setting} concerns none of {', '.join(names)}",
                "PARAMETER=VALUE or FAULT.PARAMETER=VALUE; `understudy drill --list` has them",
            )
        for name in chosen:
            try:
                values[name][parameter] = parameter_of(name, parameter).parse(text)
            except PydanticCustomError as refused:
                hint = str((refused.context or {}).get("hint", ""))
                raise OperatorError(BAD_OPTION, f"--set {setting}: {refused.message()}", hint) from None
    return values


def _duration(option: str, text: str | None) -> "Duration | None":
    from understudy.units import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise OperatorError(BAD_OPTION, f"{option}: {error}", "a number and a unit, as in 50ms") from error


class _Progress:
    """What goes on, on stderr: one line that is rewritten on a terminal, the beginning of each run elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = sys.stderr.isatty()

    def tell(self, text: str) -> None:
        if self._shown:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write("\r\x1b[K" + f"{self._name}: {text}"[: width - 1])
            sys.stderr.flush()
        elif "strikes" in text or "void" in text:
            sys.stderr.write(f"{self._name}: {text}\n")

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")


def _show(result: "DrillJson", lang: str) -> None:
    from understudy.drill import terminal

    out = console()
    terminal.show(out, result, lang)
    out.print()


def _write(done: "list[DrillJson]", json_output: Path | None, html: Path | None, svg: Path | None, lang: str) -> None:
    from understudy.drill import page, picture
    from understudy.drill.phrases import speaker
    from understudy.drill.result import median_run

    if json_output is not None:
        document: object = done[0] if len(done) == 1 else {"schema": SEVERAL, "drills": done}
        _save(json_output, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if html is not None:
        _save(html, page.render(done, lang))
    run = median_run(done[0])
    if svg is not None and run is not None:
        _save(svg, picture.standalone(picture.timeline(done[0], run, speaker(lang))))


def _save(path: Path, text: str) -> None:
    if path == Path("-"):
        sys.stdout.write(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperatorError(BAD_OPTION, f"{path} cannot be written: {error.strerror}") from error


def _exit_code(done: "list[DrillJson]") -> int:
    if any(result["interrupted"] or not result["runs"] for result in done):
        return ERROR
    return OK if all(result["verdict"]["passed"] for result in done) else CHANGED
