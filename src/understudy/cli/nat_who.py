"""`understudy nat who`: who had an address and port at a moment, from the history of translations."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.nat_node import ask_node, read_end, read_lines
from understudy.cli.output import CHANGED, emit_json, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.ios.history import Past

HISTORY = Path("/var/lib/understudy/nat-history")
MOMENT_MAX = 253_402_300_800
"""Seconds since 1970: the year 10000."""
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M")
_HINT = "14:02:07 (today), 2026-03-01T14:02:07, or seconds since 1970; local time, or UTC with a Z at its end"


def register(nat: typer.Typer) -> None:
    """Add the commands below `nat`."""
    nat.command()(who)
    nat.command()(history)


@guarded
def who(
    address: Annotated[str, typer.Argument(metavar="ADDRESS[:PORT]", help="As the outside knew it, or an inside one.")],
    *,
    at: Annotated[str | None, typer.Option(help=f"When: {_HINT}; now if left out.")] = None,
    file: Annotated[Path, typer.Option("--history", help="The history's file.")] = HISTORY,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Who had this address, and this port, at that moment? Exit code 2: nobody that is known."""
    from understudy.agent.nat_history import HistoryFile

    host, port = read_end(address, "E7132", "203.0.113.5:40123")
    now = time.time()
    moment = round((now if at is None else moment_of(at, now)) * 1000)
    if not file.exists():
        hint = "one is kept while `understudy nat history` runs; --history names another file"
        raise OperatorError("E7130", f"no history of translations at {file}", hint)
    held = HistoryFile(file, write=False)
    try:
        found, span = held.ring.who(host, port, moment), held.ring.span()
    finally:
        held.close()
    if json_output:
        flows = [_plain(past) for past in found]
        emit_json("understudy.nat.who/1", {"address": str(host), "port": port, "at_ms": moment, "flows": flows})
    else:
        sys.stdout.writelines(f"{_line(past)}\n" for past in found)
        if not found:
            known = f"known: {_clock(span[0])} to {_clock(span[1])}" if span is not None else "nothing is known yet"
            sys.stderr.write(f"nobody had {address} at {_clock(moment)}; {known}\n")
    if not found:
        sys.exit(CHANGED)


@guarded
def history(
    config: Annotated[
        Path | None, typer.Argument(help="Lines of Cisco IOS by which flows are seen; those of the node if left out.")
    ] = None,
    *,
    file: Annotated[Path, typer.Option("--history", help="The history's file; made if it is not there.")] = HISTORY,
    size_mb: Annotated[int, typer.Option(help="How large it may become, in megabytes.", min=1, max=4095)] = 64,
    node: Annotated[str | None, typer.Option(help="Which node's lines; needed where several answer.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
) -> None:
    """Keep the history of this machine's translations, until it is ended. One process a file."""
    from understudy.agent.nat_history import follow
    from understudy.ios.reader import read_text

    if config is None:
        lines = str(ask_node({"do": "lines"}, node=node, run_dir=run_dir, config=None, here=False)["config"])
    else:
        lines = read_lines(config)
    try:
        follow(file, read_text(lines, str(config)).configuration, size_mb << 20, told=_missed)
    except KeyboardInterrupt:
        sys.exit(0)


def _missed(times: int) -> None:
    sys.stderr.write(f"news of the kernel were lost ({times} by now): what began and ended meanwhile is not known\n")
    sys.stderr.flush()


def moment_of(text: str, now: float) -> float:
    """Seconds since 1970. Raises OperatorError E7132."""
    try:
        moment = _moment(text, now)
    except OverflowError:
        moment = None
    if moment is None or not 0 <= moment < MOMENT_MAX:
        raise OperatorError("E7132", f"{text[:80]!r} is no time", _HINT)
    return moment


def _moment(text: str, now: float) -> float | None:
    plain = text.removesuffix("Z")
    utc = plain != text
    if plain.replace(".", "", 1).isdecimal():
        return float(plain)
    today = time.gmtime(now) if utc else time.localtime(now)
    for form in _FORMS:
        for words in (plain, f"{today.tm_year:04}-{today.tm_mon:02}-{today.tm_mday:02} {plain}"):
            try:
                parsed = time.strptime(words, form)
            except ValueError:
                continue
            import calendar

            return float(calendar.timegm(parsed)) if utc else time.mktime(parsed)
    return None


def _clock(moment_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment_ms / 1000))


def _line(past: "Past") -> str:
    until = _clock(past.end_ms) if past.end_ms else "now"
    return (
        f"{past.name} {past.inside_global}:{past.global_port} was {past.inside_local}:{past.local_port} towards "
        f"{past.outside_global}:{past.outside_port}, {_clock(past.begin_ms)} to {until}"
    )


def _plain(past: "Past") -> dict[str, object]:
    return {
        "protocol": past.name,
        "inside_local": {"address": str(past.inside_local), "port": past.local_port},
        "inside_global": {"address": str(past.inside_global), "port": past.global_port},
        "outside_global": {"address": str(past.outside_global), "port": past.outside_port},
        "begin_ms": past.begin_ms,
        "end_ms": past.end_ms or None,
    }
