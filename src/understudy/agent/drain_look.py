"""A look at what drains on a node: flows counted by the former file that made them, and ended once their time is over.

Listing a flow table takes as long as it takes, so this is for a process of its own. What it finds it writes where
whoever asks for the node's status reads it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from understudy.adapters.conntrack import FlowTable
from understudy.agent import client
from understudy.agent.draining import Former, clock, described, told, write_progress
from understudy.agent.nat_standing import Standing
from understudy.agent.nat_view import held_in_maps
from understudy.agent.options import AgentOptions
from understudy.config.plan import Plan
from understudy.errors import DecodeError, OperatorError
from understudy.ios.translations import Given
from understudy.render.ios_nat import render_ios_nat
from understudy.wire.conntrack.flow import decode
from understudy.wire.marks import GROUP_MAX

ENDED_MAX: Final = 8
"""Of what has drained, the latest are told."""
_GROUPS: Final = frozenset(range(1, GROUP_MAX + 1))


@dataclass(frozen=True, slots=True)
class Look:
    """By former file: how many of its flows there are, None if this node cannot tell, and how many were ended."""

    left: tuple[int | None, ...]
    ended: tuple[int, ...]

    def over(self) -> tuple[bool, ...]:
        return tuple(left == 0 for left in self.left)


def given_here(plan: Plan) -> tuple[Given, ...]:
    """What the pools of the file have handed out, by this kernel's maps."""
    if plan.ios is None:
        return ()
    names = {each.name: each.name for each in plan.ios.configuration.interfaces}
    return held_in_maps(render_ios_nat(plan.ios.configuration, names, {}, plan.ios.profile).allocated)


def look(options: AgentOptions) -> Look:
    """Count, and end what is late. Raises EnvironmentFailure or OSError."""
    formers = options.draining
    found = _sorted(options.plan, formers)
    now, knows = clock(), _knows(options)
    late = [former.until is not None and now >= former.until for former in formers]
    ended = [0] * len(formers)
    table = FlowTable()
    try:
        for number in range(len(formers)):
            if late[number]:
                ended[number] = sum(table.delete(raw) for raw in found[number])
                found[number] = []
    finally:
        table.close()
    # Of a copy that is ended too early, the original's end takes care.
    left = (len(raws) if knows or raws or over else None for raws, over in zip(found, late, strict=True))
    return Look(tuple(left), tuple(ended))


def _sorted(plan: Plan, formers: Sequence[Former]) -> list[list[bytes]]:
    """The flows of each: those that it would make and the file that runs would not. A flow is the latest one's."""
    here = Standing.of(plan, given_here(plan))
    asked = [(number, each.standing()) for number, each in enumerate(formers)][::-1]
    found: list[list[bytes]] = [[] for _ in formers]
    table = FlowTable()
    try:
        for part in table.list(_GROUPS):
            for raw in part:
                try:
                    entry = decode(raw)
                except DecodeError:
                    continue
                judged = here.judge(entry)
                if judged is None or judged.stands:
                    continue
                for number, standing in asked:
                    made = standing.judge(entry)
                    if made is not None and made.stands:
                        found[number].append(raw)
                        break
    finally:
        table.close()
    return found


def _knows(options: AgentOptions) -> bool:
    """Whether no flow can be where this node does not see it: it serves, or holds all that its peer has.

    A standby whose copies are not complete must not take none for the last one's end.
    """
    try:
        groups = client.ask(options.control_path, "status")["groups"]
    except OperatorError:
        return False
    return all(_whole(group) for group in groups)


def _whole(group: Mapping[str, Any]) -> bool:
    flows = group["flows"]
    return group["role"] == "active" or flows is None or bool(flows.get("complete"))


def tell(options: AgentOptions, seen: Look) -> None:
    """Write how far it is. What has ended is told beside what is left."""
    before = told(options.progress_path, options.draining)["ended"]
    done = [
        {"lines": list(former.lines), "flows": ended, "at": round(time.time(), 1)}
        for former, ended in zip(options.draining, seen.ended, strict=True)
        if ended
    ]
    write_progress(
        options.progress_path,
        {"draining": described(options.draining, seen.left), "ended": [*before, *done][-ENDED_MAX:]},
    )
