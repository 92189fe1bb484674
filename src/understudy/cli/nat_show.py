"""`understudy nat show` and `understudy nat clear`: the table as the router prints it, and its entries taken away."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.nat_node import ask_node
from understudy.cli.output import emit_json, guarded

_Node = Annotated[str | None, typer.Option(help="Which node is asked; the Active if left out.")]
_RunDir = Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")]
_Config = Annotated[
    Path | None, typer.Option(help="Lines of Cisco IOS to see the flows by, instead of those that the node runs.")
]
_Here = Annotated[bool, typer.Option("--here", help="Read this machine's own kernel; no agent is asked.")]
_Layout = Annotated[str, typer.Option(help="A (12.x, 15.x) or C (IOS XE).")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(nat: typer.Typer) -> None:
    """Add the commands below `nat`."""
    show = typer.Typer(no_args_is_help=True, help="Outputs as the router prints them.")
    show.command()(translations)
    show.command()(statistics)
    show.command()(pool)
    nat.add_typer(show, name="show")
    clearing = typer.Typer(no_args_is_help=True, help="Take entries away.")
    clearing.command(name="translations")(clear_translations)
    clearing.command(name="translation", hidden=True)(clear_translations)
    nat.add_typer(clearing, name="clear")


@guarded
def translations(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[verbose] [PROTOCOL] [inside [A]] [outside [A]] [vrf V] [filter range A B] [total]",
            help="As on the router; words may be cut.",
        ),
    ] = None,
    *,
    node: _Node = None,
    run_dir: _RunDir = None,
    config: _Config = None,
    here: _Here = False,
    layout: _Layout = "A",
    json_output: _Json = False,
) -> None:
    """The table of translations: from the flows of the kernel, the configuration, and the addresses given out.

    On the standby: the copies that it holds.
    """
    from understudy.ios.asking import read_asked
    from understudy.ios.layout import check_layout, print_total, print_translations
    from understudy.ios.rows import plain, unpacked

    asked = read_asked(words or [])
    check_layout(layout)
    question = {"do": "translations", "words": words or []}
    reply = ask_node(question, node=node, run_dir=run_dir, config=config, here=here)
    rows = [unpacked(values) for values in reply["rows"]]
    left_out = int(reply["total"]) - len(rows)
    if json_output:
        document = {"node": reply["node"], "total": reply["total"], "left_out": left_out}
        emit_json("understudy.nat.translations/1", {**document, "rows": [plain(row) for row in rows]})
        return
    if asked.total:
        sys.stdout.write(print_total(int(reply["total"])) + "\n")
        return
    now = int(time.time()) + time.localtime().tm_gmtoff
    sys.stdout.write(print_translations(rows, layout, verbose=asked.verbose, now_s=now, total=int(reply["total"])))
    if left_out:
        sys.stderr.write(f"{left_out} rows more: narrow it, for example by `inside ADDRESS`\n")


@guarded
def statistics(
    *,
    node: _Node = None,
    run_dir: _RunDir = None,
    config: _Config = None,
    here: _Here = False,
    layout: _Layout = "A",
    json_output: _Json = False,
) -> None:
    """Counts, interfaces, rules and pools."""
    question = {"do": "statistics", "layout": layout}
    reply = ask_node(question, node=node, run_dir=run_dir, config=config, here=here)
    if json_output:
        from understudy.ios.statistics import read_statistics

        read = read_statistics(str(reply["text"]).splitlines())
        document = {"node": reply["node"], **read.as_json(), "forecasts": reply["forecasts"]}
        emit_json("understudy.nat.statistics/1", document)
        return
    sys.stdout.write(str(reply["text"]))
    _forecast(reply["forecasts"])


@guarded
def pool(
    name: Annotated[str, typer.Argument(help="The pool's name; the word `name` before it may be left out.")],
    more: Annotated[str | None, typer.Argument(hidden=True)] = None,
    *,
    node: _Node = None,
    run_dir: _RunDir = None,
    config: _Config = None,
    here: _Here = False,
    json_output: _Json = False,
) -> None:
    """How many addresses and ports of a pool are in use."""
    wanted = more if name == "name" and more is not None else name
    reply = ask_node({"do": "pool", "name": wanted}, node=node, run_dir=run_dir, config=config, here=here)
    if json_output:
        lines = [line.split() for line in str(reply["text"]).splitlines()[3:8]]
        used = {
            "_".join(words[:-2]).lower(): {"assigned": int(words[-2]), "available": int(words[-1])} for words in lines
        }
        document = {"node": reply["node"], "pool": wanted, **used, "forecast": reply["forecasts"].get(wanted)}
        emit_json("understudy.nat.pool/1", document)
        return
    sys.stdout.write(str(reply["text"]))
    _forecast(reply["forecasts"])


def _forecast(forecasts: dict[str, dict[str, int | None]]) -> None:
    """Beside the router's own output, which knows no such line: how long a pool lasts at its present rate."""
    for name, told in forecasts.items():
        left, free, misses = told["left_s"], told["free"], told["misses"]
        if not free:
            sys.stderr.write(f"pool {name}: no address left, {misses} packets found none\n")
        elif left is not None:
            sys.stderr.write(f"pool {name}: {free} addresses left, for {left // 60} min at the rate of the last hour\n")


@guarded
def clear_translations(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="* | [tcp|udp] inside IG [P] IL [P] [outside OL [P] OG [P]] | outside OL OG | vrf V",
            help="As on the router.",
        ),
    ],
    *,
    node: _Node = None,
    run_dir: _RunDir = None,
    config: _Config = None,
    here: _Here = False,
    json_output: _Json = False,
) -> None:
    """End flows and give addresses back; what the configuration says stays."""
    from understudy.ios.asking import read_clearing

    read_clearing(words)
    reply = ask_node({"do": "clear", "words": words}, node=node, run_dir=run_dir, config=config, here=here)
    if json_output:
        document = {"node": reply["node"], "flows": reply["flows"], "entries": reply["entries"]}
        emit_json("understudy.nat.clear/1", document)
        return
    flows, entries = _counted(int(reply["flows"]), "flow"), _counted(int(reply["entries"]), "address", "addresses")
    sys.stdout.write(f"{reply['node']}: {flows} ended, {entries} given back\n")


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
