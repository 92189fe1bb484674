"""`understudy plan FILE --live`: live flows of running nodes that the file would touch, by the line that decides."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.cli import korean
from understudy.cli.apply_words import flow_lines
from understudy.cli.drain_lines import drain_lines
from understudy.cli.output import emit_json
from understudy.errors import OperatorError

if TYPE_CHECKING:
    from understudy.config.plan import Plan

SCHEMA = "understudy.plan-live/1"


def show_live(file: Path, plan: "Plan", run_dir: Path | None, language: str, *, more: dict[str, Any] | None) -> None:
    """`more`: what one JSON document says besides; None for people. Raises OperatorError as `live_flows` does."""
    nodes = live_flows(file, plan, run_dir)
    if more is not None:
        emit_json(SCHEMA, {"file": str(file), "nodes": nodes, **more})
    else:
        sys.stdout.write(live_text(nodes, korean.speaker(language)))


def live_flows(file: Path, plan: "Plan", run_dir: Path | None) -> list[dict[str, Any]]:
    """By node what `understudy apply` would find there. Raises OperatorError if none answers, or one refuses it."""
    from understudy.agent import client
    from understudy.config import carried
    from understudy.rollout.agents import SocketAgents

    found = client.find(run_dir, None, str(plan.cluster))
    paths = {str(status["node"]): path.parent for path, status in found if "error" not in status}
    agents = SocketAgents(paths, str(file.resolve()), carried(file))
    nodes = []
    for node in paths:
        reply = agents.inspect(node)
        if "error" in reply:
            error = reply["error"]
            raise OperatorError(error["code"], f"{node}: {error['message']}", error["hint"])
        nodes.append({"node": node, "flows": reply["flows"], "draining": reply["draining"]})
    return nodes


def live_text(nodes: list[dict[str, Any]], say: Callable[[str], str]) -> str:
    lines = []
    for each in nodes:
        touched = flow_lines(each["flows"], None, say) + drain_lines(each["draining"], say)
        lines += [str(each["node"]), *(f"  {line}" for line in touched or [say("no live flow is touched")])]
    return "".join(f"{line}\n" for line in lines)
