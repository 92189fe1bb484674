"""What `understudy apply` tells people: what changes where, what became of each step, what was lost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.cli.drain_lines import Say, drain_lines, flows_said
from understudy.units import SECOND, format_duration

if TYPE_CHECKING:
    from understudy.rollout.carry import Done, Outcome
    from understudy.rollout.watch import Loss

KERNEL_LINES = 12
"""Of what changes in a node's kernel: shown to people; a program gets more."""


def step_line(done: "Done", say: Say) -> str:
    tail = f": {done.detail}" if done.detail else ""
    return say(f"{done.node}: {done.action}: {done.result} ({done.took_ms:.0f} ms)") + tail


def change_text(report: Mapping[str, Any], say: Say) -> str:
    """What changes where, and in which order."""
    lines = []
    for node in report["nodes"]:
        serves = ", ".join(node["active"])
        lines.append(say(f"{node['node']} (serves {serves})" if serves else f"{node['node']} (stands by)"))
        lines += [f"  {each['words']}" for each in node["changed"]] or [f"  {say('nothing changes')}"]
        lines += [f"  {line}" for line in node["kernel"][:KERNEL_LINES]]
        if len(node["kernel"]) > KERNEL_LINES:
            lines.append("  " + say(f"... and {len(node['kernel']) - KERNEL_LINES} lines more: --json"))
        lines += [f"  ! {line}" for line in node["missing"]]
        lines += [f"  {line}" for line in flow_lines(node["flows"], report["drain_s"], say)]
        lines += [f"  {line}" for line in drain_lines(node["draining"], say)]
    if report["plan"]:
        lines += [
            "",
            say("In this order:"),
            *(f"  {number}. {say(each)}" for number, each in enumerate(report["plan"], 1)),
        ]
    if report["elsewhere"]:
        lines += ["", say("Where the agent does not answer here:"), *(f"  {e}" for e in report["elsewhere"])]
    return "".join(f"{line}\n" for line in lines)


def flow_lines(flows: Mapping[str, Any], drain_s: float | None, say: Say) -> list[str]:
    """Live flows that the change touches, by what decides. `drain_s`: how long those of removed translations go on."""
    lines = []
    for each in flows["by"]:
        if each["flows"] == 0:
            continue
        number = "?" if each["flows"] is None else each["flows"]
        how = "decides now" if each["decides"] else "is removed"
        lines.append(flows_said(f"{number} flows {_fate(each, drain_s)}: {each['what']} {how}", say))
        lines += [f"  {example}" for example in each["examples"]]
    return lines


def _fate(stake: Mapping[str, Any], drain_s: float | None) -> str:
    if stake["ends"] or (stake["drains"] and drain_s == 0):
        return "end"
    if stake["drains"] and drain_s is not None:
        return f"go on for at most {format_duration(round(drain_s * SECOND))}"
    return "go on until they end" if stake["drains"] else "go on"


def outcome_text(
    outcome: "Outcome", losses: "Sequence[Loss]", findings: Sequence[str], elsewhere: Sequence[str], say: Say
) -> str:
    packets = [loss.packets for loss in losses if loss.packets is not None]
    connections = [loss.connections for loss in losses if loss.connections is not None]
    lines = [f"! {finding}" for finding in findings]
    if packets:
        lines.append(say(f"packets lost: {sum(packets)}"))
    if connections:
        lines.append(say(f"connections lost: {sum(connections)}"))
    for done, loss in zip(outcome.steps, losses, strict=True):
        if loss.packets or loss.connections:
            lines.append(f"  {done.node}: {done.action}: {loss.packets}, {loss.connections}")
    if outcome.error:
        lines.append(say("taken back") + f": {outcome.error}")
        lines += [say(f"{node} could not be led back; it goes on trying by itself") for node in outcome.stuck]
    else:
        lines.append(say("done"))
        lines += [f"  {each}" for each in elsewhere]
    return "".join(f"{line}\n" for line in lines)
