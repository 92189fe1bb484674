"""From a checked file to the `Plan`: names become objects, defaults become values, groups get numbers and VRIDs.

Nothing is judged here: `validate` has refused every file for which this would not work.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_interface
from pathlib import Path

from pydantic_core import PydanticCustomError

from understudy.config.bindings import allocate_bindings, binding_name
from understudy.config.election import allocate_vrids, priorities
from understudy.config.inlining import inlined
from understudy.config.ioslines import IosLines, said_of
from understudy.config.load import SIZE_MAX, read_source
from understudy.config.models import (
    ADVERTISE_MAX,
    ADVERTISE_MIN,
    REQUIRED,
    STATES,
    CheckModel,
    FileModel,
    NatModel,
    ServiceModel,
)
from understudy.config.plan import (
    Attachment,
    Check,
    Group,
    IosNat,
    Listen,
    Network,
    Node,
    Objective,
    Plan,
    Router,
    Server,
    Service,
    SourceNat,
)
from understudy.config.problems import Problem, Problems
from understudy.config.rules import translating_groups
from understudy.config.scalars import ServerReference, check_span
from understudy.config.validate import Document, validate
from understudy.errors import OperatorError
from understudy.ios.mistakes import Mistake
from understudy.ios.model import Configuration
from understudy.ios.printer import print_configuration
from understudy.units import (
    CENTISECOND,
    SECOND,
    Address,
    Duration,
    Family,
    GroupName,
    Interface,
    NetworkName,
    NodeName,
    Prefix,
    ServiceName,
    Vrid,
)

FAMILIES: tuple[Family, ...] = (4, 6)


def load(file: Path | bytes, advertise: Duration | None = None, state: str | None = None) -> Plan:
    """See `understudy.config.load_plan`."""
    if advertise is not None:
        _check_interval(advertise)
    return build_plan(validate(read_source(file), advertise), advertise, state)


def carry(file: Path) -> bytes:
    """See `understudy.config.carried`."""
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise OperatorError("E2001", f"{file} cannot be read: {error.strerror}") from None
    if b"from" not in data:
        return data
    try:
        source = replace(read_source(data, str(file)), directory=file.parent)
        whole = inlined(source, validate(source).file).encode()
    except OperatorError:
        return data
    if len(whole) > SIZE_MAX:
        message = f"{file} is larger than {SIZE_MAX} bytes with what it names"
        raise OperatorError("E2002", message, "give the lines of NAT alone")
    return whole


def build_plan(document: Document, advertise: Duration | None = None, state: str | None = None) -> Plan:
    """Resolve a document that passed every check; `advertise` and `state` stand in for what the file says."""
    file = document.file if state is None else _with_state(document.file, state)
    networks = tuple(Network(NetworkName(name), model.prefixes, model.gateway) for name, model in file.networks.items())
    prefixes = {network.name: network.prefixes for network in networks}
    nodes = _nodes(file, prefixes)
    groups = _groups(file, prefixes, advertise)
    plan = Plan(
        cluster=file.cluster,
        seed=int.from_bytes(blake2b(file.cluster.encode(), digest_size=4).digest(), "big"),
        digest=b"",
        networks=networks,
        nodes=nodes,
        groups=groups,
        services=_services(file, nodes, groups),
        source_nat=_source_nat(file, prefixes, groups),
        objectives=tuple(Objective(ServiceName(name), model.outage) for name, model in file.objectives.items()),
    )
    if document.ios is not None:
        plan = replace(plan, ios=_ios(document.ios, state, plan))
    # Objectives are no business of the running nodes: editing one is no difference between them.
    return replace(plan, digest=blake2b(_canonical(replace(plan, objectives=())).encode(), digest_size=16).digest())


def _check_interval(advertise: Duration) -> None:
    try:
        check_span(advertise, ADVERTISE_MIN, ADVERTISE_MAX, CENTISECOND)
    except PydanticCustomError as refused:
        hint = (refused.context or {}).get("hint", "")
        raise Problems("--advertise", [Problem(0, 0, refused.type, "", refused.message(), hint)]) from None


def _with_state(file: FileModel, state: str) -> FileModel:
    """The file with one state for everything that has a channel."""
    assert state in STATES
    plain = {name for name, group in file.redundancy.items() if group.vrrp.peer == "vrrp"}
    held = {a for name in plain for own in file.redundancy[name].addresses.values() for a in own}
    return file.model_copy(
        update={
            "services": {
                name: model
                if any(end.address in held for end in model.listen)
                else model.model_copy(update={"state": state})
                for name, model in file.services.items()
            },
            "nat": tuple(
                rule
                if isinstance(rule, NatModel) and plain.intersection(translating_groups(file, rule))
                else rule.model_copy(update={"state": state})
                for rule in file.nat
            ),
        }
    )


def _nodes(file: FileModel, prefixes: dict[NetworkName, tuple[Prefix, ...]]) -> tuple[Node, ...]:
    return tuple(
        Node(
            NodeName(name),
            number,
            tuple(
                Attachment(
                    NetworkName(network),
                    tuple(_interface(address, prefixes[NetworkName(network)]) for address in model.addresses),
                    model.interface,
                )
                for network, model in attachments.items()
            ),
        )
        for number, (name, attachments) in enumerate(file.nodes.items(), start=1)
    )


def _groups(
    file: FileModel, prefixes: dict[NetworkName, tuple[Prefix, ...]], advertise: Duration | None
) -> tuple[Group, ...]:
    vrids = allocate_vrids(file.cluster, file.redundancy)
    return tuple(
        Group(
            name=GroupName(name),
            number=number,
            nodes=tuple(NodeName(node) for node in model.nodes),
            priorities=priorities(model.nodes),
            routers=tuple(
                _router(GroupName(name), NetworkName(network), family, vrids[name], own)
                for network, addresses in model.addresses.items()
                for family in FAMILIES
                if (
                    own := tuple(
                        _interface(address, prefixes[NetworkName(network)])
                        for address in addresses
                        if address.version == family
                    )
                )
            ),
            advertise=model.advertise if advertise is None else advertise,
            preempt=model.preempt,
            version=model.vrrp.version,
            pseudo_header=model.vrrp.checksum == "rfc5798",
            virtual_mac=model.vrrp.virtual_mac,
            unicast=model.vrrp.unicast,
            plain=model.vrrp.peer == "vrrp",
            require_sync=model.require_sync == REQUIRED,
            gate_deadline=model.gate_deadline,
            copy_every=model.copy_every,
        )
        for number, (name, model) in enumerate(file.redundancy.items(), start=1)
    )


def _router(
    group: GroupName, network: NetworkName, family: Family, vrid: Vrid, addresses: tuple[Interface, ...]
) -> Router:
    # RFC 9568, section 7.3 (virtual MAC 00-00-5E-00-02-{VRID}) in the modified EUI-64 of RFC 4291, appendix A.
    link_local = IPv6Address(f"fe80::200:5eff:fe00:2{vrid:02x}") if family == 6 else None
    return Router(group, network, family, vrid, addresses, link_local)


def _interface(address: Address, prefixes: tuple[Prefix, ...]) -> Interface:
    length = next(prefix.prefixlen for prefix in prefixes if prefix.version == address.version)
    return ip_interface((address, length))


def _services(file: FileModel, nodes: tuple[Node, ...], groups: tuple[Group, ...]) -> tuple[Service, ...]:
    bindings = allocate_bindings(
        binding_name(name, str(reference)) for name, model in file.services.items() for reference in model.servers
    )
    holders = {interface.ip: group for group in groups for router in group.routers for interface in router.addresses}
    nodes_by_name = {str(node.name): node for node in nodes}
    services = []
    for number, (name, model) in enumerate(file.services.items(), start=1):
        listen = tuple(Listen(end.address, end.port, holders[end.address].name) for end in model.listen)
        servers = tuple(
            Server(
                name=str(reference),
                binding=bindings[binding_name(name, str(reference))],
                node=NodeName(reference.node) if reference.node else None,
                addresses=_server_addresses(model, reference, holders, nodes_by_name),
                port=reference.port,
            )
            for reference in model.servers
        )
        services.append(Service(ServiceName(name), number, "tcp", listen, servers, _check(model.check), model.state))
    return tuple(services)


def _server_addresses(
    model: ServiceModel, reference: ServerReference, holders: dict[Address, Group], nodes: dict[str, Node]
) -> tuple[Address, ...]:
    """One address for each family that the service listens in, on a network where the group holds one of it."""
    if reference.node is None:
        assert reference.address is not None
        return (reference.address,)
    found: dict[int, Address] = {}
    for listen in model.listen:
        for router in holders[listen.address].routers:
            if router.family == listen.address.version and router.family not in found:
                for address in addresses_on(nodes[reference.node], router.network, router.family):
                    found[router.family] = address
    return tuple(found[family] for family in sorted(found))


def addresses_on(node: Node, network: NetworkName, family: Family | None = None) -> tuple[Address, ...]:
    """The addresses of a node on a network, of one family if it is given."""
    return tuple(
        interface.ip
        for attachment in node.attachments
        if attachment.network == network
        for interface in attachment.addresses
        if family in (None, interface.version)
    )


def _check(model: CheckModel) -> Check:
    kind = "none" if model.none else "http" if model.http is not None else "tcp"
    timeout = min(model.every, SECOND) if model.timeout is None else model.timeout
    return Check(kind, model.http or "", model.port, model.every, timeout, model.rise, model.fall)


def _source_nat(
    file: FileModel, prefixes: dict[NetworkName, tuple[Prefix, ...]], groups: tuple[Group, ...]
) -> tuple[SourceNat, ...]:
    by_name = {str(group.name): group for group in groups}
    models = [model for _, model in file.translations]
    owners = [by_name[translating_groups(file, model)[0]] for model in models]
    rules = []
    for model, group in zip(models, owners, strict=True):
        source, to = NetworkName(model.source), NetworkName(model.to)
        families = {prefix.version for prefix in prefixes[source]}
        routers = [router for router in group.routers if router.network == to and router.family in families]
        rules.append(
            SourceNat(
                source,
                to,
                group.name,
                tuple(prefix for prefix in prefixes[source] if prefix.version in {r.family for r in routers}),
                tuple(router.addresses[0].ip for router in routers),
                max(
                    (other.state for other, held in zip(models, owners, strict=True) if held is group),
                    key=STATES.index,
                ),
                model.helpers,
            )
        )
    return tuple(rules)


def _ios(lines: IosLines, state: str | None, plan: Plan) -> IosNat:
    group = next(group for group in plan.groups if group.name == lines.group)
    networks = tuple((name, NetworkName(network)) for name, network in lines.networks)
    on = {network for _, network in networks}
    own = [i.ip for node in plan.nodes for port in node.attachments if port.network in on for i in port.addresses]
    own += [i.ip for each in plan.groups for router in each.routers if router.network in on for i in router.addresses]
    own += [address for network in plan.networks if network.name in on for address in network.gateway]
    said = max((lines.state, *(rule.state for rule in plan.source_nat if rule.group == group.name)), key=STATES.index)
    return IosNat(
        group=group.name,
        configuration=lines.configuration,
        networks=networks,
        profile=lines.profile,
        state=said if state is None or group.plain else state,
        helpers=lines.helpers,
        reserved=tuple(sorted(dict.fromkeys(a for a in own if isinstance(a, IPv4Address)))),
        strict=lines.strict,
        rotary_udp=lines.rotary_udp,
        rotary_check=_check(lines.rotary_check) if lines.rotary_check is not None else None,
        said=tuple(said_of(lines)),
        warnings=(*_ios_warnings(lines), *((_ROTARY_UDP,) if lines.rotary_udp else ())),
    )


_ROTARY_UDP = (
    "rotary-udp",
    "UDP goes round rotaries as the file wishes: a router passes it untranslated",
    "파일에 따라 UDP도 rotary를 돕니다: 라우터는 변환하지 않고 보냅니다",
)


def _ios_warnings(lines: IosLines) -> Iterator[tuple[str, str, str]]:
    for each in lines.report.warnings:
        if each.code == "rotary-udp" and lines.rotary_udp:
            continue
        where = f"{lines.given.place(each.line).said}: " if each.line is not None else ""
        told = replace(each, values={**each.values, **_other_line(lines, each)})
        yield each.code, where + told.said("en"), where + told.said("ko")


def _other_line(lines: IosLines, warning: Mistake) -> dict[str, str]:
    """Another line that a warning speaks of, where its reader finds it."""
    number = warning.values.get("line")
    return {"line": lines.given.place(number).said.removeprefix("line ")} if isinstance(number, int) else {}


_WISHES = ("strict", "rotary_udp", "rotary_check")


def _canonical(value: object) -> str:
    """One text for one value, the same on every node and in every version of Python."""
    if isinstance(value, Configuration):
        return print_configuration(value)  # what it says, whatever the words and the order of the lines
    if is_dataclass(value):
        # A plan without lines of IOS, or without a wish beside them, is the same as before there were any; words are
        # no difference.
        hidden = {"said", "warnings"} if isinstance(value, IosNat) else set()
        hidden |= {name for name in _WISHES if isinstance(value, IosNat) and not getattr(value, name)}
        said = [
            f for f in fields(value) if f.name not in hidden and (f.name != "ios" or getattr(value, f.name) is not None)
        ]
        inner = ",".join(f"{f.name}={_canonical(getattr(value, f.name))}" for f in said)
        return f"{type(value).__name__}({inner})"
    if isinstance(value, tuple):
        return f"[{','.join(map(_canonical, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_canonical(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, bytes):
        return value.hex()
    return repr(str(value))
