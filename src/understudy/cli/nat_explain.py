"""`understudy nat explain`: which line decides a packet's fate, and what each hook makes of it."""

import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.nat_node import ask_node, read_end, read_given
from understudy.cli.output import LANGUAGE_VARIABLE, check_language, emit_json, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.ios.explain import Explanation
    from understudy.ios.lines import Reading
    from understudy.ios.selecting import Packet

Places = dict[int, tuple[str, str]]
_HINT = "understudy nat explain in Gi0/0 tcp 10.9.0.5:40123 198.51.100.9:443"


def register(nat: typer.Typer) -> None:
    """Add the command below `nat`."""
    nat.command()(explain)


@guarded
def explain(
    direction: Annotated[
        str,
        typer.Argument(
            metavar="in|out|local", help="It comes in by an inside or outside interface, or from the router itself."
        ),
    ],
    interface: Annotated[str, typer.Argument(help="By which it comes; - for the router itself.")],
    protocol: Annotated[str, typer.Argument(help="tcp, udp, icmp, gre, esp or a number.")],
    source: Annotated[str, typer.Argument(metavar="SRC[:PORT]", help="Of ICMP the port is the identifier.")],
    destination: Annotated[str, typer.Argument(metavar="DST[:PORT]")],
    *,
    config: Annotated[
        Path | None, typer.Option(help="Lines of Cisco IOS; left out: what the running node has, and its table.")
    ] = None,
    profile: Annotated[str, typer.Option(help="How ports are chosen, with --config.")] = "classic",
    leaving: Annotated[
        str | None, typer.Option(help="The interface that routing chooses, if the lines do not say it.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Nothing leaves untranslated.")] = False,
    rotary_udp: Annotated[bool, typer.Option("--rotary-udp", help="Rotaries take UDP as well.")] = False,
    node: Annotated[str | None, typer.Option(help="Which node is asked; the Active if left out.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
    lang: Annotated[str, typer.Option(envvar=LANGUAGE_VARIABLE, help="Language of the sentences: en or ko.")] = "en",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """What becomes of the first packet of a flow: the line that decides, the four addresses, each hook, the entry.

    Nothing is sent. Exit code 2: it is dropped.
    """
    from understudy.ios.explain import DIRECTIONS
    from understudy.ios.explain import explain as evaluate

    check_language(lang)
    if direction not in DIRECTIONS:
        raise OperatorError("E7127", f"no direction {direction!r}", f"in, out or local: {_HINT}")
    packet = _packet(protocol, source, destination)
    reading, more, places = _known(config, profile, node, run_dir)
    _check_interface(reading, direction, interface)
    more["strict"] = strict or more.get("strict", False)
    more["rotary_udp"] = rotary_udp or more.get("rotary_udp", False)
    told = evaluate(reading, direction, interface, packet, leaving=leaving, **more)
    if json_output:
        emit_json("understudy.nat.explain/1", as_json(told, lang, places))
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(told, lang, places))
    if told.verdict == "dropped":
        sys.exit(2)


def _known(
    config: Path | None, profile: str, node: str | None, run_dir: Path | None
) -> tuple["Reading", dict[str, Any], Places]:
    from understudy.ios.profiles import profile_named
    from understudy.ios.reader import read_bytes, read_text

    if config is not None:
        return read_bytes(read_given(config), str(config)), {"profile": profile_named(profile).name}, {}
    from understudy.ios.rows import unpacked
    from understudy.ios.translations import Given

    reply = ask_node({"do": "table"}, node=node, run_dir=run_dir, config=None, here=False)
    given = [Given(str(e[0]), IPv4Address(e[1]), IPv4Address(e[2]), bool(e[3]), bool(e[4])) for e in reply["given"]]
    table = [unpacked(values) for values in reply["rows"]]
    more = {"profile": str(reply["profile"]), "given": given, "table": table, "on_pair": True}
    more |= {wish: bool(reply.get(wish)) for wish in ("strict", "rotary_udp")}
    places = {int(line): (str(where), str(text)) for line, where, text in reply["places"]}
    return read_text(str(reply["config"])), more, places


def _check_interface(reading: "Reading", direction: str, interface: str) -> None:
    from understudy.ios.model import Role
    from understudy.ios.names import interface_name

    known = {each.name: each for each in reading.configuration.interfaces}
    if direction == "local":
        return
    found = known.get(interface_name(interface) or "")
    if found is None:
        raise OperatorError("E7127", f"no interface {interface}", f"known: {', '.join(known) or 'none'}")
    role = {"in": Role.INSIDE, "out": Role.OUTSIDE}[direction]
    other = {"in": Role.OUTSIDE, "out": Role.INSIDE}[direction]
    if other in found.roles and role not in found.roles:
        message = f"{found.name} is an {other} interface: what comes in there is not {direction!r}"
        raise OperatorError("E7127", message, _HINT)


def _packet(protocol: str, source: str, destination: str) -> "Packet":
    from understudy.ios.matching import protocol_number
    from understudy.ios.selecting import Packet

    number = protocol_number(protocol.lower()[:16])
    if number is None or number > 255:
        raise OperatorError("E7127", f"no protocol {protocol!r}", "tcp, udp, icmp, gre, esp or a number")
    (here, port), (there, target) = (read_end(text, "E7127", _HINT) for text in (source, destination))
    if number in (6, 17) and (port is None or target is None):
        raise OperatorError("E7127", f"{protocol} has ports", _HINT)
    return Packet(number, here, there, port or 0, 0 if number == 1 else target or 0)


def lines(told: "Explanation", lang: str = "en", places: Places | None = None) -> list[str]:
    """For people. `places`: where the lines of the reading were written."""
    from understudy.ios.layout import print_translations

    said = [f"{told.verdict}: {told.said(lang)}"]
    if told.line is not None:
        where, text = (places or {}).get(told.line, (f"line {told.line}", told.text))
        said.append(f"  {where}: {text}")
    for hook in told.hooks:
        change = f"{hook.before} -> {hook.after}; " if hook.before != hook.after else ""
        at = "" if hook.line is None else f" [{(places or {}).get(hook.line, (f'line {hook.line}', ''))[0]}]"
        said.append(f"  {hook.name:12} {change}{hook.said(lang)}{at}")
    if told.rows:
        said += print_translations(told.rows, "A").splitlines()
    said += [f"  {_CHOSEN[what][lang == 'ko']}" for what in sorted(told.chosen)]
    return said


_CHOSEN = {
    "port": ("the port is chosen by the kernel or counted: its own is in use, or set aside",
             "포트는 커널이 고르거나 차례로 셉니다: 원래 포트는 쓰이고 있거나 따로 둔 것입니다"),
    "address": ("the address is one of the pool, by a hash of the host", "주소는 호스트의 해시로 풀에서 고릅니다"),
    "turn": ("the server is the one whose turn it is", "차례가 된 서버입니다"),
}  # fmt: skip


def as_json(told: "Explanation", lang: str = "en", places: Places | None = None) -> dict[str, Any]:
    """Plain values. `line` counts in the canonical form where a node was asked; `where` is the operator's own place."""
    from understudy.ios.rows import plain

    def where(line: int | None) -> str | None:
        return (places or {}).get(line or 0, (None, ""))[0]

    sent, seen = told.sent, told.seen
    return {
        "verdict": told.verdict,
        "reason": told.reason,
        "said": told.said(lang),
        "line": told.line,
        "where": where(told.line),
        "text": told.text or None,
        "in": _fields(sent),
        "out": _fields(seen) if seen is not None else None,
        "leaving": told.leaving,
        "chosen": sorted(told.chosen),
        "addresses": plain(told.rows[0]) if told.rows else None,
        "entries": [plain(row) for row in told.rows],
        "hooks": [
            {"hook": hook.name, "before": hook.before or None, "after": hook.after or None, "line": hook.line,
             "where": where(hook.line), "reason": hook.reason, "said": hook.said(lang)}
            for hook in told.hooks
        ],
    }  # fmt: skip


def _fields(packet: "Packet") -> dict[str, Any]:
    icmp = packet.protocol == 1
    ports = {"id": packet.source_port} if icmp else {"sport": packet.source_port, "dport": packet.destination_port}
    return {"src": str(packet.source), "dst": str(packet.destination), "protocol": packet.protocol, **ports}
