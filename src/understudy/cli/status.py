"""`understudy status`: one table that answers who is active, since when, why, and whether anybody could take over.

Its own few lines of table instead of the libraries of the other commands: it has 200 ms for everything, on a busy
machine.
"""

import argparse
import json
import os
import sys
import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from understudy.agent import client
from understudy.cli import flows_lines
from understudy.cli import korean as phrases
from understudy.cli.drain_lines import drain_lines
from understudy.errors import OperatorError

if TYPE_CHECKING:
    import typer

SCHEMA = "understudy.status/1"
CHANNEL_TROUBLES = {
    "channel-key": "were sealed with another key: give every node the same cluster.key",
    "channel-forged": "do not open with our key: forged, or damaged on the way",
    "channel-old-epoch": "came from an earlier start: did the peer lose its store while its clock was behind?",
    "channel-path": "came from another network than they say: are two cables mixed up?",
}
"""What a reason of `dropped` means while a peer is not heard."""
COLUMNS = ("GROUP", "NODE", "ROLE", "SINCE", "WHY", "PEER", "LEASE", "NETWORKS", "SERVERS")


def register(app: "typer.Typer") -> None:
    import typer

    @app.command()
    def status(
        *,
        json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
        watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second, until Ctrl-C.")] = False,
        node: Annotated[str | None, typer.Option(help="This node only.")] = None,
        cluster: Annotated[str | None, typer.Option(help="This cluster only.")] = None,
        run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are.")] = None,
        lang: Annotated[str | None, typer.Option(help="Language of the table: en or ko (or UNDERSTUDY_LANG).")] = None,
    ) -> None:
        """Who is active, since when and why; peers, leases, servers.

        Of the agents on this machine. Exit code 2 if a group has no Active, two of them or no standby, or if anything
        else is not as it should be (the lines with `!`).
        """
        which = (run_dir, node, cluster)
        raise typer.Exit(_run(which, json_output=json_output, watch=watch, lang=lang))


def quick(arguments: list[str]) -> int:
    """The same command without the imports of the others."""
    parser = argparse.ArgumentParser(prog="understudy status", add_help=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-w", "--watch", action="store_true")
    parser.add_argument("--node")
    parser.add_argument("--cluster")
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--lang")
    try:
        known = parser.parse_args(arguments)
    except SystemExit:
        return 1  # what is wrong was said; 2 is for a degraded cluster
    which = (known.run_dir, known.node, known.cluster)
    return _run(which, json_output=known.json, watch=known.watch, lang=known.lang)


def _run(which: tuple[Path | None, str | None, str | None], *, json_output: bool, watch: bool, lang: str | None) -> int:
    try:
        while True:
            try:
                korean = phrases.speaker(lang) is phrases.sentence
                statuses = [status for _, status in client.find(*which)]
            except OperatorError as error:
                if json_output:
                    problem = {"code": error.code, "message": error.message, "hint": error.hint}
                    sys.stdout.write(
                        json.dumps({"schema": "understudy.error/1", "error": problem, "problems": []}, indent=2) + "\n"
                    )
                else:
                    sys.stderr.write(f"{error}\n")
                return 1
            troubles = judge(statuses)
            if json_output:
                document = {"schema": SCHEMA, "nodes": statuses, "degraded": troubles}
                # While watching, one line a document (JSON Lines).
                text = json.dumps(document, indent=None if watch else 2, ensure_ascii=False)
            else:
                text = render(statuses, troubles, korean=korean)
            if watch and not json_output and sys.stdout.isatty():
                sys.stdout.write("\x1b[2J\x1b[H")
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
            if not watch:
                return 2 if troubles else 0
            time.sleep(1)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def judge(statuses: list[dict[str, Any]]) -> list[str]:
    """What is not as it should be, a sentence each."""
    troubles = [f"{s['node']} does not answer: {s['error']}" for s in statuses if "error" in s]
    held: dict[tuple[str, str], list[str]] = {}
    for status in statuses:
        for group in status["groups"]:
            actives = held.setdefault((status.get("cluster", ""), group["name"]), [])
            if group["role"] == "active":
                actives.append(status["node"])
                peer = group["peers"][0] if group["peers"] else None
                if not group.get("plain") and (peer is None or not peer["heard"] or not peer["eligible"]):
                    why = "is in maintenance or stopping" if peer and peer["heard"] else "is not heard"
                    name = peer["name"] if peer else "a peer"
                    troubles.append(f"{group['name']}: {name} {why}; nobody could take over from {status['node']}")
            elif any(peer["role"] == "active" and peer["heard"] for peer in group["peers"]):
                actives.append(group["peers"][0]["name"])
        troubles += [
            f"{status['node']}: {server['service']} server {server['name']}: {server['reason']}"
            for server in status.get("servers", [])
            if not server["up"]
        ]
        troubles += [
            f"{status['node']}: {alarm['object']}: {alarm['reason']}"
            for alarm in status.get("drift", {}).get("alarms", [])
        ]
        troubles += flows_lines.troubles(status)
        troubles += [
            f"{status['node']}: {peer['name']} runs another configuration"
            for group in status["groups"]
            for peer in group["peers"]
            if peer["heard"] and not peer["same_config"]
        ]
        troubles += [
            f"{status['node']}: {status['dropped'][reason]} datagrams on the channel {means}"
            for reason, means in CHANNEL_TROUBLES.items()
            if status.get("dropped", {}).get(reason)
            and not all(p["heard"] for g in status["groups"] for p in g["peers"])
        ]
    for (_, group), actives in held.items():
        unique = sorted(set(actives))
        if not unique:
            troubles.append(f"{group}: no node is Active")
        elif len(unique) > 1:
            troubles.append(f"{group}: {' and '.join(unique)} are both Active")
    return troubles


def render(statuses: list[dict[str, Any]], troubles: list[str], *, korean: bool = False) -> str:
    """A table for each cluster, and below what is wrong."""
    say = phrases.sentence if korean else str
    clusters = sorted({status.get("cluster", "?") for status in statuses})
    lines: list[str] = []
    for cluster in clusters:
        of_it = [status for status in statuses if status.get("cluster", "?") == cluster]
        lines += [say(f"cluster {cluster}"), *_rows(of_it, korean=korean)]
    lines += [say(line) for status in statuses for line in flows_lines.lines(status)]
    lines += [say(line) for status in statuses if (line := _drift(status))]
    lines += [f"{s['node']}: {line}" for s in statuses if s.get("draining") for line in drain_lines(s["draining"], say)]
    if len({status.get("digest") for status in statuses}) > 1:
        lines += [say(_file(status)) for status in statuses if status.get("digest")]
    if any(not status.get("lease_enabled", True) for status in statuses):
        lines.append(say("the kernel lease is OFF: a control of a drill"))
    lines += [say(line) for line in flows_lines.controls(statuses)]
    return "\n".join([*lines, *(f"! {say(trouble)}" for trouble in troubles)])


def _file(status: dict[str, Any]) -> str:
    """Which file the node runs, said where nodes differ."""
    ago = _ago((status["now_ns"] - status["loaded_ns"]) // 1_000_000)
    return f"{status['node']} runs file {status['digest'][:12]}, loaded {ago} ago"


def _drift(status: dict[str, Any]) -> str:
    """What was changed behind the node's back, if anything was."""
    drift = status.get("drift") or {}
    last = drift.get("last")
    if not last:
        return ""
    ago, who = _ago((status["now_ns"] - last["at_ns"]) // 1_000_000), f" by {last['who']}" if last["who"] else ""
    became = f"not repaired: {last['error']}" if last["error"] else "repaired"
    times = "once" if drift["count"] == 1 else f"{drift['count']} times"
    return f"{status['node']} was changed behind its back {times}, last {ago} ago{who}: {last['what']}; {became}"


def _rows(statuses: list[dict[str, Any]], *, korean: bool) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for status in statuses:
        if "error" in status:
            rows.append(("?", status["node"], "no answer", "", status["error"], "", "", "", ""))
            continue
        up = sum(server["up"] for server in status["servers"])
        networks = " ".join(_network(network) for network in status["networks"])
        for group in status["groups"]:
            peer = group["peers"][0] if group["peers"] else None
            role = group["role"].upper() if group["role"] == "active" else group["role"]
            if status["maintenance"]:
                role += " (maintenance)"
            rows.append(
                (
                    group["name"],
                    status["node"],
                    role,
                    _ago(group["for_ms"]),
                    group["reason"],
                    _peer(group, peer),
                    f"{group['lease']} {group['lease_ms']:g} ms" if group["lease_ms"] else "-",
                    networks,
                    f"{up}/{len(status['servers'])} up",
                )
            )
    titles: tuple[str, ...] = COLUMNS
    if korean:
        titles = tuple(phrases.TITLES[title] for title in COLUMNS)
        rows = [tuple(phrases.cell(text) for text in row) for row in rows]
    return _table(titles, rows)


def _peer(group: dict[str, Any], peer: dict[str, Any] | None) -> str:
    if peer and peer["heard"]:
        return f"{peer['name']} {peer['role']}" + (" (plain VRRP)" if group.get("plain") else "")
    return "plain VRRP" if group.get("plain") else "not heard"


def _network(network: dict[str, Any]) -> str:
    mark = {"reached": "", "unknown": "?", "silent": "!silent", "down": "!down"}[network["reach"]]
    return f"{network['name']}{mark}"


def _ago(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    every = [titles, *rows]
    widths = [max(_width(row[column]) for row in every) for column in range(len(COLUMNS))]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]


def _width(text: str) -> int:
    """Cells on a terminal: Hangul takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
