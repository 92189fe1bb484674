"""Which flows are kept in the other node's kernel: what `state:` says, by the numbers in a flow's `ct mark`."""

from collections.abc import Sequence

from understudy.config.plan import Group, Plan
from understudy.core.settings import FlowSettings, Keeping
from understudy.units import SECOND, Duration

KEEPING = {"none": Keeping.NONE, "copy": Keeping.COPY, "replicate": Keeping.REPLICATE}
COPY_EVERY: Duration = 10 * SECOND


def flow_settings(plan: Plan, groups: Sequence[Group]) -> FlowSettings:
    """Of the flows of `groups`, alike on all nodes that are in them."""
    kept = {group.name: group_keeping(plan, group) for group in groups}
    bindings = {
        server.binding: KEEPING[service.state]
        for service in plan.services
        if KEEPING[service.state] and any(listen.group in kept for listen in service.listen)
        for server in service.servers
    }
    return FlowSettings(
        bindings=bindings,
        groups={group.number: kept[group.name] for group in groups if kept[group.name]},
        copy_every=min((group.copy_every for group in groups if _says(plan, group, "copy")), default=COPY_EVERY),
    )


def group_keeping(plan: Plan, group: Group) -> Keeping:
    """Of the group's flows without a server: translated ones, and those that are merely routed beside them."""
    return max((KEEPING[state] for state in _translating(plan, group)), default=Keeping.NONE)


def is_stateful(plan: Plan, group: Group) -> bool:
    """Whether any flow of the group is replicated."""
    return _says(plan, group, "replicate")


def _says(plan: Plan, group: Group, state: str) -> bool:
    return any(
        service.state == state and any(listen.group == group.name for listen in service.listen)
        for service in plan.services
    ) or state in _translating(plan, group)


def _translating(plan: Plan, group: Group) -> list[str]:
    """`state` of each translation of the group."""
    states = [rule.state for rule in plan.source_nat if rule.group == group.name]
    return [*states, plan.ios.state] if plan.ios is not None and plan.ios.group == group.name else states
