"""From a router's running configuration to the text of our file, and a word about every line.

Nothing is invented but the two nodes' own addresses, which no text can know: each is marked as to be checked. Where the
router has no fixed address, or its prefix no room for a pair, the text says FILL-IN there.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from understudy.errors import OperatorError
from understudy.ios.check import Report
from understudy.ios.lines import Kind
from understudy.ios.model import Configuration, Side
from understudy.migrate import ios_words
from understudy.migrate.ios_networks import Given, Network, Networks, find_networks
from understudy.migrate.ios_ports import Ports, read_ports, verdict_of
from understudy.migrate.ios_rules import Table, choose_table, fate_of, lines_of
from understudy.migrate.keepalived import Finding
from understudy.migrate.translate import HOLE, plain_name
from understudy.migrate.words import Verdict
from understudy.units import MILLISECOND, SECOND, Duration, format_duration

GROUP = "edge"
SHOWN_MAX = 8
"""Addresses of one remark."""
_STEP: Duration = 10 * MILLISECOND
_ADVERTISE_MAX: Duration = 40 * SECOND
_CHECK = "to be checked: free in the configuration"
_ANY = str(IPv4Address(0))
_PLAIN = re.compile(r"[A-Za-z0-9][\w .,/()*+=-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator adds to what the configuration says."""

    cluster: str = ""
    nodes: tuple[str, ...] = ()
    """Names of the two machines, this router's successor first."""
    vrf: str | None = None
    given: tuple[Given, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """The file, and what is to be said of it."""

    text: str
    findings: tuple[Finding, ...]
    passed_over: int
    """Lines that are no concern of the pair."""
    missing: tuple[tuple[str, str], ...]
    """What only the operator can fill in, in English and Korean."""
    remarks: tuple[tuple[str, str], ...] = field(default=())
    """What differs in the whole rather than in a line."""


def draft(report: Report, file: str, wishes: Wishes) -> Draft:
    """Raises OperatorError E7141 where there is nothing to translate, E7142 for a VRF that has no rules."""
    reading = report.reading
    known = {rule.vrf for rule in reading.configuration.rules}
    if wishes.vrf is not None and wishes.vrf not in known:
        names = ", ".join(sorted(vrf for vrf in known if vrf is not None)) or "none"
        raise OperatorError("E7142", f"{file}: no rule of NAT is in VRF {wishes.vrf}", f"with rules: {names}")
    ports = read_ports(reading)
    table = choose_table(reading.configuration, wishes.vrf)
    networks = find_networks(reading, table.configuration, ports, table.vrf, wishes.given)
    lines = lines_of(table, networks, report.profile)
    findings = tuple(_findings(report, file, table, networks, ports))
    if not lines:
        refused = next((finding for finding in findings if finding.line in _refused(report)), None)
        why = f"; line {refused.line}: {refused.verdict.reason}" if refused is not None else ""
        hint = "a rule such as `ip nat inside source list 1 interface GigabitEthernet0/0 overload`"
        raise OperatorError("E7141", f"{file}: no rule of NAT is left to take over{why}", hint)
    told = {finding.line for finding in findings}
    passed = sum(line.kind is Kind.PASSED_OVER and line.number not in told for line in reading.lines)
    text = "".join(f"{line}\n" for line in _text(file, lines, networks, ports, wishes))
    return Draft(text, findings, passed, tuple(networks.missing), tuple(_remarks(table, networks, ports)))


def _refused(report: Report) -> set[int]:
    return {line.number for line in report.reading.refused}


# --- what is said


def _findings(report: Report, file: str, table: Table, networks: Networks, ports: Ports) -> Iterator[Finding]:
    said: dict[int, Verdict] = {}
    gateways = {str(each.gateway) for each in networks.all if each.gateway is not None}
    for line, words in ports.global_:
        if words[:2] == ("ip", "route"):
            verdict = _route(words, table.vrf, gateways)
        else:
            verdict = verdict_of(words, inside=False)
        if verdict is not None:
            said[line.number] = verdict
    for network in networks.all:
        port = ports.known.get(network.interface)
        for line, words in port.lines if port is not None else ():
            if (verdict := verdict_of(words, inside=True)) is not None:
                said[line.number] = verdict
        number = report.reading.running.lines.get(("interface", network.interface))
        if number is not None:
            said.setdefault(number, ios_words.NETWORK)
    for judged in report.lines:
        number = judged.line.number
        verdict = fate_of(judged, table, networks, report.profile)
        verdict = networks.told.get(number) or verdict or said.get(number)
        if verdict is not None:
            yield Finding(file, number, judged.line.text.strip(), verdict)


def _route(words: tuple[str, ...], vrf: str | None, gateways: set[str]) -> Verdict | None:
    """A static route; one of another table is no concern of this pair."""
    said = words[3:4] if words[2:3] == ("vrf",) else ()
    if (() if vrf is None else (vrf.lower(),)) != said:
        return None
    if _ANY not in words[2:5]:
        return verdict_of(words, inside=False)
    if gateways.intersection(words):
        return ios_words.GATEWAY
    return ios_words.SECOND_GATEWAY if gateways else ios_words.NO_GATEWAY


def _remarks(table: Table, networks: Networks, ports: Ports) -> Iterator[tuple[str, str]]:
    if not ports.redundant:
        yield (
            "the router's own addresses become the group's: hosts and the next router go on using them",
            "라우터의 주소가 그룹의 주소가 됩니다: 호스트와 다음 라우터는 그대로 씁니다",
        )
    if table.vrf is not None:
        yield (f"read as the pair of VRF {table.vrf}", f"VRF {table.vrf}의 쌍으로 읽었습니다")
    held = [each.prefix for each in networks.all if each.prefix is not None]
    beyond = [
        str(first) if first == last else f"{first}-{last}"
        for first, last in dict.fromkeys(_asked_from_outside(table.configuration, networks))
        if not any(first in prefix for prefix in held)
    ]
    if beyond and held:
        names = ", ".join(beyond[:SHOWN_MAX]) + (" ..." if len(beyond) > SHOWN_MAX else "")
        yield (
            f"in no network of the file, so that the next router must route them to the group: {names}",
            f"이 파일의 어느 네트워크에도 없어 다음 라우터가 그룹으로 라우팅해야 합니다: {names}",
        )


def _asked_from_outside(configuration: Configuration, networks: Networks) -> Iterator[tuple[IPv4Address, IPv4Address]]:
    """Addresses by which the outside reaches the pair beside its own, as first and last."""
    for static in configuration.statics:
        if static.side is Side.INSIDE and static.global_ is not None:
            length = 32 if static.length is None else static.length
            net = IPv4Network((static.global_, length), strict=False)
            yield net[0], net[-1]
    used = {rule.pool for rule in configuration.dynamics if rule.side is Side.INSIDE}
    for pool in configuration.pools:
        if pool.name in used:
            yield from ((part.first, part.last) for part in pool.segments)
    turned = {rule.access_list for rule in configuration.dynamics if rule.side is Side.DESTINATION}
    for access_list in configuration.access_lists:
        for entry in access_list.entries if access_list.name in turned else ():
            asked = entry.destination if access_list.extended else entry.source
            if entry.permit and asked is not None and asked.group is None and not int(asked.wildcard):
                yield asked.address, asked.address
    yield from ((lent, lent) for lent in networks.lent.values())


# --- the file


def _text(file: str, lines: Sequence[str], networks: Networks, ports: Ports, wishes: Wishes) -> Iterator[str]:
    names = _node_names(ports, wishes)
    source = json.dumps(file.rpartition("/")[2])[1:-1] if file != "-" else "a running configuration"
    yield f"# Made from {source}. Check what is marked so, and try it in the lab."
    yield f"cluster: {plain_name(wishes.cluster or ports.hostname or 'pair')}"
    yield "networks:"
    for each in networks.all:
        yield f"  {each.name}: {_prefix(each)}{_comment(each)}"
    yield "nodes:"
    for place, name in enumerate(names):
        yield f"  {name}:"
        for each in networks.all:
            yield f"    {each.name}: {_own(each, place)}"
    yield "redundancy:"
    yield f"  {GROUP}:"
    order = names if ports.priority is None or ports.priority > 100 else names[::-1]
    yield f"    nodes: [{', '.join(order)}]"
    yield "    addresses:"
    for each in networks.all:
        held = ", ".join(map(str, each.virtual))
        yield f"      {each.name}: {HOLE if not held else held if len(each.virtual) == 1 else f'[{held}]'}"
    if ports.advertise not in (None, SECOND):
        advertise = min(_ADVERTISE_MAX, max(_STEP, ports.advertise // _STEP * _STEP))
        yield f"    advertise: {format_duration(advertise)}"
    if ports.preempt:
        yield "    preempt: true"
    yield "nat:"
    yield "  state: replicate"
    yield "  lines:"
    for line in lines:
        indent = " " if line.startswith(" ") else ""
        yield f"    - {indent}{quoted_line(line.strip())}"


def quoted_line(text: str) -> str:
    """A line of IOS as a value of the file, in quotes where YAML would read something else."""
    plain = _PLAIN.fullmatch(text) is not None and not text.endswith((" ", ":"))
    return text if plain else json.dumps(text, ensure_ascii=False)


def _node_names(ports: Ports, wishes: Wishes) -> tuple[str, str]:
    host = plain_name(ports.hostname or "gw")[:26].rstrip("-")
    names = (host, f"{host}-peer") if ports.redundant else (f"{host}-1", f"{host}-2")
    first, second = (*map(plain_name, wishes.nodes), *names[len(wishes.nodes) :])
    return first, second


def _prefix(network: Network) -> str:
    if network.prefix is None:
        return HOLE
    if network.gateway is None:
        return str(network.prefix)
    return f"{{prefixes: {network.prefix}, gateway: {network.gateway}}}"


def _comment(network: Network) -> str:
    interface = "" if network.interface == network.role else network.interface
    said = interface + (f", VLAN {network.vlan}" if network.vlan is not None else "")
    return f"  # {said}" if said else ""


def _own(network: Network, place: int) -> str:
    address = network.nodes[place]
    if address is None:
        return HOLE
    return str(address) if network.checked and place == 0 else f"{address}  # {_CHECK}"
