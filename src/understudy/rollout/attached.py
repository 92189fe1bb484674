"""A lab that another command built and left running, as the drill's probes need it: its hosts and their namespaces.

Only the lab's user namespace is entered, which gives the right to enter the others; the process stays in ours.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from understudy.config.plan import Plan
from understudy.drill.change import Step, Traffic, traffic
from understudy.drill.stage import routes
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import syscalls
from understudy.lab.build import Lab
from understudy.lab.namespace import Namespace
from understudy.lab.topology import Host, Kind, Port, Topology
from understudy.rollout.watch import CONNECTIONS, Inside, Loss, Measuring, Target, Window
from understudy.units import SECOND, Instant, NetworkName, NodeName

SILENT = SECOND
"""A connection that exchanged nothing for so long at the end is as good as lost."""


def attach(record: Mapping[str, Any], plan: Plan, directory: Path) -> Lab:
    """The lab of `record` (`lab.json`), for the plan that is to come. Raises OSError if it is somebody else's."""
    lab = Lab(plan, directory)
    opened = {node["name"]: os.open(node["namespace"], os.O_RDONLY | os.O_CLOEXEC) for node in record["nodes"]}
    _enter_user_namespace(record["main"])
    spaces = {name: Namespace(name, descriptor) for name, descriptor in opened.items()}
    lab.switch = next(spaces.pop(node["name"]) for node in record["nodes"] if node["kind"] == "switch")
    lab.namespaces = spaces
    lab.topology = Topology((), tuple(_host(node) for node in record["nodes"] if node["kind"] != "switch"))
    return lab


def _enter_user_namespace(main: int) -> None:
    with open(f"/proc/{main}/ns/user", "rb") as theirs:
        if os.fstat(theirs.fileno()).st_ino != os.stat("/proc/self/ns/user").st_ino:
            syscalls.setns(theirs.fileno(), syscalls.CLONE_NEWUSER)


def _host(node: Mapping[str, Any]) -> Host:
    ports = tuple(
        Port(
            NetworkName(port["network"]),
            port["interface"],
            0,
            b"",
            tuple(ip_interface(address) for address in port["addresses"]),
            port["switch_port"],
            0,
        )
        for port in node["ports"]
    )
    return Host(NodeName(node["name"]), Kind(node["kind"]), ports, (), ())


def client_of(lab: Lab) -> str:
    """A client on the network of the first service; any, where there is none."""
    wanted = {
        router.network
        for service in lab.plan.services[:1]
        for group in lab.plan.groups
        for router in group.routers
        if any(address.ip == service.listen[0].address for address in router.addresses)
    }
    clients = lab.topology.clients()
    return str(next((c for c in clients if any(p.network in wanted for p in c.ports)), clients[0]).name)


def measured(lab: Lab, findings: list[str]) -> Measuring | None:
    """The drill's traffic through the first group that joins two networks; None if there is none to send."""
    for group in lab.plan.groups:
        with contextlib.suppress(OperatorError, KeyError):
            routes(lab, group)
            return lambda inside, asked: _flowing(lab, group.name, asked)
    findings.append("no group joins two networks with a host on each: packets are not counted")
    return None


@contextlib.contextmanager
def _flowing(lab: Lab, name: str, asked: Sequence[Target]) -> Iterator[Callable[[Sequence[Window]], list[Loss]]]:
    """Traffic to what answered at the beginning: the file may name services that are still to come."""
    services = tuple(
        replace(service, listen=kept)
        for service in lab.plan.services
        if (kept := tuple(each for each in service.listen if (each.address, each.port) in asked))
    )
    lab.plan = replace(lab.plan, services=services)
    group = next(group for group in lab.plan.groups if group.name == name)
    stack = contextlib.ExitStack()
    flowing: Traffic = stack.enter_context(traffic(lab, group, CONNECTIONS))

    def losses(windows: Sequence[Window]) -> list[Loss]:
        stack.close()
        for start, end in windows:
            flowing.steps.append(Step("", (Instant(start), Instant(end)), ()))
        rows = flowing.rows()
        return [
            Loss(row.lost, row.resets + row.refused + _silent(flowing, window))
            for row, window in zip(rows, windows, strict=True)
        ]

    try:
        yield losses
    except EnvironmentFailure:
        stack.close()
        raise


def _silent(flowing: Traffic, window: Window) -> int:
    """Connections that were answered in this span for the last time, though nobody ended them."""
    assert flowing.records is not None
    connections = [each for each in flowing.records[1].connections if each.established and not each.ended]
    last = max((each.answered for each in connections), default=0)
    return sum(window[0] <= each.answered < window[1] and last - each.answered > SILENT for each in connections)


__all__ = ["Inside", "attach", "client_of", "measured"]
