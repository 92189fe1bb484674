"""Everything that a file becomes on a running node, tried as far as that goes without touching the kernel."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.agent import app
from understudy.agent.draining import Draining
from understudy.agent.options import AgentOptions, find_interfaces, find_node
from understudy.agent.reload import REFUSED, surviving
from understudy.agent.running import Running, make_running
from understudy.config import carried
from understudy.config.key import load_keys
from understudy.config.plan import Plan
from understudy.errors import OperatorError
from understudy.units import SECOND, Instant

Reply = dict[str, Any]
SPARED = 60 * SECOND
"""After which both nodes of a pair have the file, or have gone back."""


def note(own: Path | None, data: bytes) -> str:
    """What the operator should know besides: the next start of the node may undo the change."""
    if own is None:
        return ""
    try:
        same = carried(own) == data
    except OperatorError:
        same = False
    return "" if same else f"the next start of this node reads {own}, which says something else: copy the file there"


def prepare(plan: Plan, running: Running, status: Reply, draining: Draining) -> Running:
    """To run `plan` from now on. `draining`: what stays of the files before. Raises OperatorError."""
    options = replace(with_keys(running.options), draining=draining)
    interfaces = find_interfaces(find_node(plan, options.node))
    if any(interfaces.get(network) != port for network, port in running.interfaces.items()):
        raise OperatorError(REFUSED, "the node's ports are not those that its agent began with", "restart the agent")
    up = surviving(options.plan, plan, _up(options.plan, status))
    fresh = make_running(replace(options, plan=plan), interfaces, up, options.plan)
    fresh = _sparing(fresh, running)
    app.warm_up(fresh.options, fresh.settings)  # A core that could not begin must not get so far.
    return fresh


def _sparing(fresh: Running, running: Running) -> Running:
    """Flows that the file keeps in another way than before live on until the other node may have it as well."""
    old, new = running.settings.flows, fresh.settings.flows
    if old == new:
        return replace(fresh, settings=replace(fresh.settings, flows=old))
    until = Instant(time.monotonic_ns() + SPARED)
    flows = replace(new, before=replace(old, before=None), before_until=until)
    return replace(fresh, settings=replace(fresh.settings, flows=flows))


def with_keys(options: AgentOptions) -> AgentOptions:
    """With what the key file holds now. Raises OperatorError."""
    if options.key_file is None:
        return options
    first, *others = load_keys(options.key_file)
    return replace(options, key=first, more_keys=tuple(others))


def _up(plan: Plan, status: Reply) -> frozenset[int]:
    """The servers that the core's checks leave in service."""
    down = {(server["service"], server["name"]) for server in status["servers"] if not server["up"]}
    return frozenset(
        server.binding
        for service in plan.services
        for server in service.servers
        if (service.name, server.name) not in down
    )
