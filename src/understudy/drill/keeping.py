"""What of a drill concerns kept flows: the file as `--state` wants it, the agents' controls, what is judged."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from understudy.config.plan import Group, Plan
from understudy.core.settings import Keeping
from understudy.drill.bounds import SLACK
from understudy.drill.judge import Bound
from understudy.drill.record import Connection
from understudy.drill.result import StateJson
from understudy.drill.statejudge import Stateful
from understudy.lab.build import AgentMain
from understudy.units import Duration, Instant, NodeName
from understudy.wire.marks import GROUP_MASK, GROUP_SHIFT

STATES = ("replicate", "copy", "none")


def with_state(plan: Plan, state: str) -> Plan:
    """The file with this `state` for every service and every rule of source NAT."""
    return replace(
        plan,
        services=tuple(replace(service, state=state) for service in plan.services),
        source_nat=tuple(replace(rule, state=state) for rule in plan.source_nat),
    )


def keeps_flows(plan: Plan) -> bool:
    """Whether the file keeps any flow in another kernel too."""
    return {*(each.state for each in plan.services), *(each.state for each in plan.source_nat)} - {"none"} != set()


def stateful(plan: Plan) -> Plan:
    """The file as it is if it keeps flows, otherwise with all of them replicated."""
    return plan if keeps_flows(plan) else with_state(plan, "replicate")


def told_of(
    plan: Plan, group: Group, active: NodeName, standby: NodeName, *, dies: bool, fresh: bool, always: bool
) -> Stateful | None:
    """What there is to judge about kept flows; None if nothing is kept, unless `always`."""
    settings = plan.settings(active).flows
    if not settings.kept and not always:
        return None

    def of_group(mark: int) -> bool:
        return (mark & GROUP_MASK) >> GROUP_SHIFT == group.number

    return Stateful(
        active=active,
        standby=standby,
        # Where nothing is kept, all that the group serves is counted: that is what a fail-over loses.
        kept=(lambda mark: settings.keeping(mark) > Keeping.NONE) if settings.kept else of_group,
        replicated=lambda mark: settings.keeping(mark) is Keeping.REPLICATE,
        addresses=frozenset(
            str(address)
            for router in group.routers
            for address in (*(held.ip for held in router.addresses), router.link_local)
            if address is not None
        ),
        dies=dies,
        fault=Instant(0),
        fresh=fresh,
    )


def replicated_paths(plan: Plan, group: Group) -> list[str]:
    """Paths of the population of which every flow is replicated."""
    services = [
        service.state for service in plan.services if any(listen.group == group.name for listen in service.listen)
    ]
    rules = [rule.state for rule in plan.source_nat if rule.group == group.name]
    found = (("service", services), ("source-nat", rules))
    return [path for path, states in found if states and set(states) == {"replicate"}]


def held_back(bound: Bound, sync_delay: Duration) -> Bound:
    """The bound where writing is slow on purpose: the gate waits for the write that is held, and for the next one."""
    if not sync_delay or bound.outage_max is None:
        return bound
    sentence = f"{bound.sentence}; twice the sync delay more, for the gate"
    return replace(bound, sentence=sentence, outage_max=bound.outage_max + 2 * sync_delay + SLACK)


def idle_fields(exchanges: Sequence[Connection], mark: Instant) -> StateJson:
    """What became of the idle exchanges of datagrams."""
    established = [exchange for exchange in exchanges if exchange.established]
    survived = [exchange for exchange in established if exchange.answered > mark and not exchange.ended]
    return {"udp_established": len(established), "udp_survived": len(survived)}


def agent_with(*, lease: bool = True, gate: bool = True, sync_delay: Duration = 0) -> AgentMain:
    """An agent as it is for service, or without its kernel lease (the control that two answering nodes are noticed),
    without the state gate (that an address before its state is noticed), or with slow writing of replicated flows.
    """
    return partial(_run_agent, lease, gate, sync_delay)


def _run_agent(
    lease: bool, gate: bool, sync_delay: Duration, plan: Plan, node: NodeName, run_dir: Path, key: bytes
) -> None:
    from understudy.agent.supervisor import AgentOptions, run

    run(
        AgentOptions(
            plan=plan,
            node=node,
            run_dir=run_dir,
            key=key,
            lease_enabled=lease,
            gate_enabled=gate,
            sync_delay=sync_delay,
        )
    )
