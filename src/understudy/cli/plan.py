"""`understudy plan`: what a file becomes, with every default filled in, and what each node's kernel will hold."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from understudy.cli.keeping import Telling, as_json
from understudy.cli.live import show_live
from understudy.cli.output import CHANGED, LANGUAGE_VARIABLE, OK, check_language, emit_json, guarded
from understudy.cli.trying import passed
from understudy.errors import OperatorError
from understudy.units import MILLISECOND, format_duration

if TYPE_CHECKING:
    from understudy.config.plan import Group, Node, Plan
    from understudy.render import NodeConfig


_ELEMENTS_SHOWN = 4


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)


@guarded
def plan(
    file: Annotated[Path, typer.Argument(help="The file of the cluster.")] = Path("understudy.yaml"),
    node: Annotated[str, typer.Option(help="Only this node.")] = "",
    json_output: bool = typer.Option(False, "--json", help="One JSON document."),
    full: bool = typer.Option(False, "--full", help="Every element of every map, not the first few."),
    diff: bool = typer.Option(False, "--diff", help="Only what would change in the kernel here; exit code 2 if any."),
    lang: str = typer.Option(
        "en", envvar=LANGUAGE_VARIABLE, help="Of the sentences about state and the gate: en or ko."
    ),
    live: bool = typer.Option(False, "--live", help="Only the live flows of running nodes that the file would touch."),
    run_dir: Annotated[Path | None, typer.Option(help="Where the agents' sockets are, for --live.")] = None,
    cases: Annotated[Path | None, typer.Option(help="Try these cases as well (understudy nat test).")] = None,
) -> None:
    """Show what a file becomes on every node: addresses, VRRP instances, nftables text, sysctls. Changes nothing."""
    from understudy.config import load_plan
    from understudy.render import render_node

    language = check_language(lang)
    resolved = load_plan(file)
    chosen = [known for known in resolved.nodes if node in ("", known.name)]
    if not chosen:
        known_names = ", ".join(known.name for known in resolved.nodes)
        raise OperatorError("E2705", f"{file} has no node {node!r}", f"known: {known_names}")
    if diff:
        _show_difference(resolved, node, json_output=json_output)
    trial = passed(cases, resolved, language, quiet=json_output) if cases is not None else None
    more = {"cases": trial.as_json()} if trial is not None else {}
    if live:
        show_live(file, resolved, run_dir, language, more=more if json_output else None)
        return
    configs = {known.name: render_node(resolved, known.name) for known in chosen}
    if json_output:
        described = [describe_node(resolved, known, configs[known.name]) for known in chosen]
        emit_json("understudy.plan/1", {**describe_cluster(resolved), "nodes": described, **more})
        return
    sections = [
        cluster_text(resolved, language),
        *(node_text(resolved, known, configs[known.name], full=full) for known in chosen),
    ]
    sys.stdout.write("\n".join("\n".join(lines) + "\n" for lines in sections))


def _show_difference(plan: "Plan", name: str, *, json_output: bool) -> NoReturn:
    """What the agent of this node would change by applying the file, on the machine (or lab node) where we are."""
    import socket

    from understudy.adapters.difference import kernel_difference
    from understudy.agent.lans import kernel_jiffy
    from understudy.agent.options import find_interfaces, find_node
    from understudy.doctor.ruleset import ruleset_difference
    from understudy.render import render_node
    from understudy.units import NodeName

    node = find_node(plan, NodeName(name or socket.gethostname().split(".")[0]))
    config = render_node(plan, node.name, find_interfaces(node), jiffy=kernel_jiffy())
    objects, ruleset = kernel_difference(config), ruleset_difference(config.ruleset)
    if json_output:
        changes = {"node": node.name, "objects": list(objects), "ruleset": ruleset}
        emit_json("understudy.plan-diff/1", {**changes, "differs": bool(objects or ruleset)})
    else:
        sys.stdout.write("".join(f"{line}\n" for line in objects) + ruleset)
    raise typer.Exit(CHANGED if objects or ruleset else OK)


def describe_cluster(plan: "Plan") -> dict[str, Any]:
    """What holds for all nodes, as JSON."""
    telling = Telling(plan)
    return {
        "cluster": plan.cluster,
        "digest": plan.digest.hex(),
        "seed": plan.seed,
        "networks": [
            {"name": n.name, "prefixes": [str(p) for p in n.prefixes], "gateway": [str(a) for a in n.gateway]}
            for n in plan.networks
        ],
        "groups": [
            {
                "name": g.name,
                "mode": "active-standby",
                "nodes": list(g.nodes),
                "priorities": dict(g.priorities),
                "advertise_ms": g.advertise / MILLISECOND,
                "preempt": g.preempt,
                "vrrp": {
                    "version": g.version,
                    "checksum": "rfc5798" if g.pseudo_header else "rfc9568",
                    "virtual_mac": g.virtual_mac,
                    "unicast": g.unicast,
                    "peer": "vrrp" if g.plain else "understudy",
                },
                "gate": telling.describe_gate(g),
            }
            for g in plan.groups
        ],
        "services": [
            {
                "name": s.name,
                "protocol": s.protocol,
                "listen": [{"address": str(e.address), "port": e.port, "group": e.group} for e in s.listen],
                "servers": [
                    {"name": r.name, "binding": r.binding, "addresses": [str(a) for a in r.addresses], "port": r.port}
                    for r in s.servers
                ],
                "check": {
                    "kind": s.check.kind,
                    "path": s.check.path,
                    "port": s.check.port,
                    "every_ms": s.check.every / MILLISECOND,
                    "timeout_ms": s.check.timeout / MILLISECOND,
                    "rise": s.check.rise,
                    "fall": s.check.fall,
                },
                "state": s.state,
                "keeping": as_json(telling.service(s)),
            }
            for s in plan.services
        ],
        "nat": [
            {
                "source": n.source,
                "to": n.to,
                "group": n.group,
                "addresses": [str(a) for a in n.addresses],
                "state": n.state,
                "keeping": as_json(telling.translation(n)),
                "helpers": list(n.helpers),
            }
            for n in plan.source_nat
        ],
        **({"ios": _describe_ios(plan)} if plan.ios is not None else {}),
        "objectives": [{"service": o.service, "outage_ms": o.outage / MILLISECOND} for o in plan.objectives],
    }


def _describe_ios(plan: "Plan") -> dict[str, Any]:
    ios = plan.ios
    assert ios is not None
    return {
        "group": ios.group,
        "profile": ios.profile,
        "state": ios.state,
        "helpers": list(ios.helpers),
        "interfaces": [
            {"name": each.name, "network": dict(ios.networks)[each.name], "roles": [str(role) for role in each.roles]}
            for each in ios.configuration.interfaces
        ],
        "lines": [
            {"where": n.where, "text": n.text, "fidelity": n.fidelity, "reason": n.reason[0], "rule": n.rule}
            for n in ios.said
        ],
        "warnings": [{"code": code, "message": message} for code, message, _ in ios.warnings],
        "left_out": list(_left_out(plan)),
    }


def _left_out(plan: "Plan") -> tuple[str, ...]:
    """What the lines say and no kernel of the pair does."""
    from understudy.render.ios_pair import render_pair

    pair = render_pair(plan, plan.groups, {network.name: str(network.name) for network in plan.networks})
    return pair.nat.left_out if pair is not None else ()


def _ios_text(plan: "Plan", telling: Telling, language: str) -> Iterator[str]:
    """Lines of Cisco IOS, each with its fidelity."""
    ios = plan.ios
    if ios is None:
        return
    korean = language == "ko"
    roles = ", ".join(f"{each.name} {'/'.join(each.roles)}" for each in ios.configuration.interfaces if each.roles)
    yield f"  nat: lines of Cisco IOS on {ios.group}, profile {ios.profile}; {roles}; state {ios.state}"
    yield from (f"    {line}" for line in telling.lines(ios.state, telling.state_of(ios.state, ios.group)))
    for each in ios.said:
        where = f"{each.where} " if each.where else ""
        why = "" if each.fidelity == "same" else f": {each.reason[korean]} [{each.rule}]"
        yield f"    {where}{each.text}  -- {each.fidelity}{why}"
    yield from (f"    warning {code}: {words}" for code, *both in ios.warnings for words in (both[korean],))
    yield from (f"    left out: {what}" for what in _left_out(plan))


def describe_node(plan: "Plan", node: "Node", config: "NodeConfig") -> dict[str, Any]:
    """One node with what its kernel will hold, as JSON."""
    return {
        "name": node.name,
        "number": node.number,
        "addresses": {a.network: [str(i) for i in a.addresses] for a in node.attachments},
        "instances": [
            {
                "group": router.group,
                "network": router.network,
                "family": router.family,
                "vrid": router.vrid,
                "mac": router.mac if group.virtual_mac else None,
                "priority": group.priorities[node.name],
                "advertise_ms": group.advertise / MILLISECOND,
                "addresses": [str(i) for i in router.addresses],
                "link_local": str(router.link_local) if router.link_local else None,
            }
            for group in plan.groups
            if node.name in group.nodes
            for router in group.routers
        ],
        "kernel": {
            "ruleset": config.ruleset,
            "sysctls": dict((*config.sysctls, *(sysctl for link in config.links for sysctl in link.sysctls))),
            "links": [
                {"name": k.name, "parent": k.parent, "mac": k.mac, "addresses": [str(i) for i in k.addresses]}
                for k in config.links
            ],
            "rules": [{"family": rule.family, "arguments": list(rule.arguments)} for rule in config.rules],
        },
    }


def cluster_text(plan: "Plan", language: str = "en") -> Iterator[str]:
    """What holds for all nodes, for people."""
    telling = Telling(plan, language)
    yield f"cluster {plan.cluster}, digest {plan.digest.hex()[:12]}"
    for group in plan.groups:
        ranks = ", ".join(f"{name} {priority}" for name, priority in group.priorities.items())
        preempt = "preempts" if group.preempt else "does not preempt"
        interval = format_duration(group.advertise)
        yield f"  group {group.name}: active-standby, every {interval}, {preempt}; priorities {ranks}"
        yield f"    speaks {_speech(group)}"
        yield f"    {telling.gate(group)}"
    for service in plan.services:
        listens = ", ".join(_endpoint(str(end.address), end.port) for end in service.listen)
        check = service.check
        how = "not checked" if check.kind == "none" else f"{check.kind} {check.path}".strip()
        if check.kind != "none":
            how += f" every {format_duration(check.every)}, timeout {format_duration(check.timeout)}"
            how += f", rise {check.rise}, fall {check.fall}" + (f", port {check.port}" if check.port else "")
        yield f"  service {service.name}: {service.protocol} {listens}; {how}; state {service.state}"
        for server in service.servers:
            targets = ", ".join(_endpoint(str(address), server.port) for address in server.addresses)
            yield f"    {server.name} -> {targets}"
        yield from (f"    {line}" for line in telling.lines(service.state, telling.service(service)))
    for nat in plan.source_nat:
        seen_as = ", ".join(map(str, nat.addresses))
        yield f"  nat: {nat.source} leaves through {nat.to} as {seen_as} of {nat.group}; state {nat.state}"
        said = (*telling.lines(nat.state, telling.translation(nat)), *telling.helpers(nat))
        yield from (f"    {line}" for line in said)
    yield from _ios_text(plan, telling, language)
    for objective in plan.objectives:
        yield f"  objective {objective.service}: outage at most {format_duration(objective.outage)}"


def node_text(plan: "Plan", node: "Node", config: "NodeConfig", *, full: bool) -> Iterator[str]:
    """One node with what its kernel will hold, for people."""
    yield f"node {node.name}"
    for attachment in node.attachments:
        on = f" on {attachment.interface}" if attachment.interface else ""
        yield f"  address {attachment.network}: {', '.join(map(str, attachment.addresses))}{on}"
    for group in plan.groups:
        if node.name in group.nodes:
            for router in group.routers:
                held = ", ".join(str(interface) for interface in router.addresses)
                rank = f"VRID {router.vrid}, priority {group.priorities[node.name]}"
                mac = f"MAC {router.mac}" if group.virtual_mac else "the port's MAC"
                yield f"  vrrp {group.name} {router.network} IPv{router.family}: {rank}, {mac}; {held}"
    for link in config.links:
        carrier = f"link {link.name} on {link.parent}: {link.mac};" if link.is_macvlan else f"port {link.name}:"
        yield f"  {carrier} {', '.join(map(str, link.addresses))}"
    for rule in config.rules:
        yield f"  rule IPv{rule.family} {' '.join(rule.arguments)}"
    for name, value in (*config.sysctls, *(sysctl for link in config.links for sysctl in link.sysctls)):
        yield f"  sysctl {name} = {value}"
    if config.ruleset:
        yield "  nftables"
        lines = config.ruleset.splitlines()
        yield from (f"    {line}".rstrip() for line in (lines if full else folded(lines)))
    else:
        yield "  in no redundancy group: needs no agent"


def folded(lines: list[str]) -> Iterator[str]:
    """Rule set lines with long lists of elements cut to their first few; a slot table has thousands."""
    at = 0
    while at < len(lines):
        yield lines[at]
        if "elements = {" in lines[at]:
            end = next(place for place in range(at, len(lines)) if lines[place].rstrip().endswith("}"))
            if end - at > _ELEMENTS_SHOWN:
                yield from lines[at + 1 : at + _ELEMENTS_SHOWN]
                yield f"\t\t\t... {end - at + 1 - _ELEMENTS_SHOWN} more: --full }}"
                at = end
        at += 1


def _speech(group: "Group") -> str:
    """How the group advertises, and with whom."""
    words = [f"VRRP version {group.version}", "unicast" if group.unicast else "multicast"]
    if group.version == 3 and any(router.family == 4 for router in group.routers):
        words.append("checksum rfc5798" if group.pseudo_header else "checksum rfc9568")
    words.append("virtual MAC" if group.virtual_mac else "the port's own MAC")
    if group.plain:
        words.append("beside plain VRRP: no channel, no hand-over, the lease always short")
    return ", ".join(words)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
