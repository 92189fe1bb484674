"""`understudy lab`: the whole file on this machine, as network namespaces that stay up until told otherwise."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.output import CHANGED, OK, console, emit_json, guarded
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.lab.build import Lab

SCHEMA = "understudy.lab/1"
_STOP_TIMEOUT_S = 10.0

lab = typer.Typer(no_args_is_help=True, help="Run the file's nodes as namespaces on this machine, without root.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(app: typer.Typer) -> None:
    app.add_typer(lab, name="lab")


@lab.command()
@guarded
def up(
    file: Annotated[Path, typer.Argument(help="The cluster's file.")],
    *,
    json_output: Json = False,
    no_agents: Annotated[bool, typer.Option("--no-agents", help="Machines, cables and servers only.")] = False,
    advertise: Annotated[str | None, typer.Option(help="Advertisement interval of every group, such as 50ms.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for servers and roles.")] = 30.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until every group is served.")] = False,
) -> None:
    """Build the lab and leave it running.

    Returns once every server answers its neighbours and every group has an Active and a standby.
    """
    from understudy.config import load_plan
    from understudy.lab import sandbox, state
    from understudy.lab.build import Lab

    plan = load_plan(file, _duration(advertise))
    claim = state.claim(plan.cluster)

    def main(report: sandbox.Report[list[dict[str, Any]]]) -> None:
        lab = Lab(plan, claim.path)
        lab.up(agents=not no_agents, timeout_s=timeout)
        report(_nodes(lab))
        _hold()

    with sandbox.start(main, log=claim.path / "lab.log", keep=(claim.lock,), cleanup=claim.remove) as running:
        claim.name_guardian(running.guardian)
        nodes = running.receive()
        for node in nodes:
            node["namespace"] = f"/proc/{running.main}/fd/{node.pop('descriptor')}"
        record = {
            "cluster": plan.cluster,
            "file": str(file.resolve()),
            "state": str(claim.path),
            "holder": running.holder,
            "guardian": running.guardian,
            "main": running.main,
            "agents": not no_agents,
            "nodes": nodes,
            "wall_s": round(_seconds_since_start(), 3),
        }
        claim.record(record)
        running.detach()
    if not (no_agents or no_wait):
        record["settled"] = _settled(claim.path, timeout)
        record["settled_s"] = round(_seconds_since_start(), 3)
    if json_output:
        emit_json(SCHEMA, record)
    else:
        _print_nodes(record)
        served = f", its groups served after {record['settled_s']:.2f} s" if record.get("settled") else ""
        console().print(
            f"lab {plan.cluster} is up after {record['wall_s']:.2f} s{served}; held by process {record['holder']}, "
            f"`understudy lab down` ends it"
        )
    if record.get("settled") is False:
        console(stderr=True).print("! a group is not served yet: understudy status")
        raise typer.Exit(CHANGED)


@lab.command()
@guarded
def down(
    name: Annotated[str | None, typer.Argument(metavar="[FILE|NAME]", help="Which lab, if several are up.")] = None,
    *,
    json_output: Json = False,
) -> None:
    """End a lab; nothing of it is left. Harmless when it is not up."""
    from understudy.lab import state

    cluster = _cluster(name, default=None)
    ended = cluster is not None and cluster in state.labs()
    if ended and cluster is not None:
        _end(cluster)
    if json_output:
        emit_json(SCHEMA, {"cluster": cluster, "ended": ended})
    else:
        console().print(f"lab {cluster} is down" if ended else "no lab is up" if name is None else f"{name} is not up")


@lab.command()
@guarded
def status(*, json_output: Json = False) -> None:
    """The labs that are up. Exit code 2 if a node of one that runs agents has none."""
    from understudy.lab import processes, state

    records = []
    for cluster in state.labs():
        try:
            record = state.read(cluster)
        except OperatorError:
            continue  # being built, or just gone
        for node in record["nodes"]:
            try:
                node["processes"] = len(processes.inside(os.stat(node["namespace"]).st_ino))
            except OSError:
                node["processes"] = 0
        records.append(record)
    degraded = any(
        record["agents"] and node["kind"] == "gateway" and not node["processes"]
        for record in records
        for node in record["nodes"]
    )
    if json_output:
        emit_json(SCHEMA, {"labs": records})
    elif not records:
        console().print("no lab is up")
    for record in [] if json_output else records:
        console().print(f"lab {record['cluster']} ({record['file']}), held by process {record['holder']}")
        _print_nodes(record)
    raise typer.Exit(CHANGED if degraded else OK)


@lab.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@guarded
def execute(
    node: Annotated[str, typer.Argument(help="A node of the lab, or `switch`.")],
    command: Annotated[list[str] | None, typer.Argument(help="What to run there; a shell if nothing is given.")] = None,
    *,
    name: Annotated[
        str | None, typer.Option("--lab", metavar="FILE|NAME", help="Which lab, if several are up.")
    ] = None,
) -> None:
    """Run a command on a node; its exit code becomes ours. The command ends with the lab."""
    from understudy.lab import state
    from understudy.lab.enter import execute as run

    cluster = _cluster(name, default="")
    record = state.read(cluster or "")
    found = next((candidate for candidate in record["nodes"] if candidate["name"] == node), None)
    if found is None:
        known = ", ".join(candidate["name"] for candidate in record["nodes"])
        raise OperatorError("E5136", f"lab {cluster} has no node {node}", f"one of {known}")
    # What follows the node is not parsed, so the customary `--` arrives here.
    argv = command[1:] if command and command[0] == "--" else command
    argv = argv or [os.environ.get("SHELL", "/bin/sh")]
    environment = {"UNDERSTUDY_NODE": node, "PS1": f"{node}# "}
    raise typer.Exit(run(record["main"], found["namespace"], argv, environment))


def _nodes(lab: "Lab") -> list[dict[str, Any]]:
    """Every namespace of the lab as plain data; `descriptor` is the main process's."""
    nodes: list[dict[str, Any]] = [
        {
            "name": host.name,
            "kind": host.kind.value,
            "ports": [
                {
                    "network": port.network,
                    "interface": port.interface,
                    "addresses": [str(address) for address in port.addresses],
                    "switch_port": port.switch_port,
                }
                for port in host.ports
            ],
            "descriptor": lab.namespaces[host.name].fd,
        }
        for host in lab.topology.hosts
    ]
    bridges: list[dict[str, Any]] = [
        {"network": b.network, "interface": b.name, "addresses": [], "switch_port": None} for b in lab.topology.bridges
    ]
    nodes.append({"name": lab.switch.name, "kind": "switch", "ports": bridges, "descriptor": lab.switch.fd})
    return nodes


def _settled(state: Path, timeout_s: float) -> bool:
    """Wait until every group has an Active that hears its standby."""
    from understudy.agent import client

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            statuses = [status for _, status in client.find(state)]
        except OperatorError:
            statuses = []
        groups = {group["name"] for status in statuses for group in status["groups"]}
        served = {
            group["name"]
            for status in statuses
            for group in status["groups"]
            if group["role"] == "active" and all(peer["heard"] and peer["eligible"] for peer in group["peers"])
        }
        if groups and groups == served and not any("error" in status for status in statuses):
            return True
        time.sleep(0.02)
    return False


def _hold() -> None:
    """Keep the lab: its namespaces live by our descriptors. Children that end are reaped."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(1)


def _end(cluster: str) -> None:
    import signal

    from understudy.lab import state

    path = state.base() / cluster
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    asked = 0
    while state.is_up(path):
        guardian = state.guardian(cluster)
        if guardian and guardian != asked:
            try:
                os.kill(guardian, signal.SIGTERM)
            except ProcessLookupError:
                pass  # killed: the rest of the lab is on its way out
            asked = guardian
        if time.monotonic() > deadline:
            message = f"lab {cluster} did not end within {_STOP_TIMEOUT_S:g} s"
            raise OperatorError(state.STILL_UP, message, f"kill -9 {guardian or 'its guardian'}")
        time.sleep(0.01)


def _cluster(name: str | None, default: str | None) -> str | None:
    """The lab that `name` (a file, a name, or nothing if just one is up) means."""
    from understudy.lab import state

    if name is not None:
        if Path(name).is_file():
            from understudy.config import load_plan

            return str(load_plan(Path(name)).cluster)
        return name
    up = list(state.labs())
    if len(up) > 1:
        raise OperatorError(
            "E5137", f"several labs are up: {', '.join(up)}", "name one: lab down NAME, lab exec --lab NAME NODE"
        )
    if not up and default is not None:
        raise OperatorError(state.NOT_UP, "no lab is up", "understudy lab up FILE")
    return up[0] if up else default


def _print_nodes(record: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("NODE", "KIND", "NETWORK", "INTERFACE", "ADDRESSES", "NAMESPACE"):
        table.add_column(title)
    for node in record["nodes"]:
        for position, port in enumerate(node["ports"]):
            first = (node["name"], node["kind"]) if position == 0 else ("", "")
            last = node["namespace"] if position == 0 else ""
            table.add_row(*first, port["network"], port["interface"], " ".join(port["addresses"]), last)
    console().print(table)


def _duration(text: str | None) -> int | None:
    from understudy.units import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise OperatorError("E5138", f"--advertise: {error}", "a number and a unit") from error


def _seconds_since_start() -> float:
    """Since this process was started, its imports included (proc_pid_stat(5), field 22)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
