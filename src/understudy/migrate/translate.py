"""From one or two keepalived configurations to the text of our one file.

Nothing is invented: where the configuration does not say what our file needs (a node's own address, the prefix of a
LAN), the text says FILL-IN at that place, and `understudy check` names the line.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from understudy.errors import OperatorError
from understudy.migrate.keepalived import Configuration, Instance, VirtualAddress, VirtualServer
from understudy.units import MILLISECOND, SECOND, Address, Prefix, format_duration

HOLE = "FILL-IN"
NODES_MAX = 2
_ADVERTISE_STEP = 10 * MILLISECOND
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator adds to what the configurations say."""

    cluster: str = ""
    networks: Mapping[str, Prefix] = field(default_factory=dict)
    """Interface: prefix of its LAN."""
    addresses: Mapping[tuple[str, str], Address] = field(default_factory=dict)
    """(Node, interface): the node's own address."""
    beside: bool = False
    """The other node goes on with keepalived for now."""


@dataclass(frozen=True, slots=True)
class Draft:
    text: str
    holes: tuple[str, ...]
    """Places that only the operator can fill in."""
    remarks: tuple[str, ...]
    """What differs in the whole rather than in a line."""


@dataclass(slots=True)
class _Group:
    name: str
    members: list[dict[str, Instance]] = field(default_factory=list)
    """For each instance: the node's name and how that node runs it."""

    def all(self) -> Iterator[Instance]:
        for member in self.members:
            yield from member.values()


def translate(configurations: Sequence[Configuration], wishes: Wishes) -> Draft:
    """Our file for the pair. Raises OperatorError E7004 (nothing to translate) and E7005 (too many nodes)."""
    if len(configurations) > NODES_MAX:
        raise OperatorError("E7005", f"{len(configurations)} files: a group has two nodes for now", "name two files")
    if not any(configuration.instances for configuration in configurations):
        names = ", ".join(configuration.file for configuration in configurations)
        raise OperatorError("E7004", f"{names}: no vrrp_instance", "name the file that holds the instances")
    return _Translation(configurations, wishes).draft()


class _Translation:
    def __init__(self, configurations: Sequence[Configuration], wishes: Wishes) -> None:
        self._wishes = wishes
        self._by_node = dict(zip(node_names(configurations), configurations, strict=True))
        self._nodes = list(self._by_node)
        if len(self._nodes) == 1:
            self._nodes.append("peer" if self._nodes[0] != "peer" else "peer-2")
        self._groups = list(self._gather())
        self._order = sorted(self._nodes, key=self._rank, reverse=True)
        self._devices = self._find_devices()
        self._holes: list[str] = []
        self._remarks: list[str] = []

    def draft(self) -> Draft:
        cluster = plain_name(self._wishes.cluster or "pair")
        lines = [
            "# Made from keepalived's configuration: read it, fill in what is missing, and try it in the lab.",
            f"cluster: {cluster}",
            "networks:",
            *(f"  {name}: {self._prefixes(device)}" for device, name in self._devices.items()),
            "nodes:",
            *(f"  {node}: {{{', '.join(self._attachments(node))}}}" for node in self._order),
            "redundancy:",
            *(line for group in self._groups for line in self._group(group)),
        ]
        services = list(self._services())
        if services:
            lines += ["services:", *services]
        return Draft("\n".join(lines) + "\n", tuple(self._holes), tuple(self._remarks))

    # --- gathering

    def _gather(self) -> Iterator[_Group]:
        """Instances that both nodes run, in the groups that move together."""
        groups: dict[str, _Group] = {}
        place: dict[tuple[int | None, str], dict[str, Instance]] = {}
        for node, configuration in self._by_node.items():
            of = {member: name for name, members in configuration.sync_groups for member in members}
            for instance in configuration.instances:
                key = (instance.vrid, "" if instance.vrid is not None else instance.name)
                twin = place.get(key)
                if twin is not None and node not in twin and _meet(instance, next(iter(twin.values()))):
                    twin[node] = instance
                    continue
                group = groups.setdefault(of.get(instance.name, instance.name), _Group(""))
                member = {node: instance}
                place.setdefault(key, member)
                group.members.append(member)
        taken: set[str] = set()
        for wanted, group in groups.items():
            group.name = free_name(plain_name(wanted), taken)
            yield group

    def _rank(self, node: str) -> tuple[int, int]:
        first = self._groups[0].members[0].get(node)
        return (first.priority if first is not None else -1, -self._nodes.index(node))

    def _find_devices(self) -> dict[str, str]:
        """Every interface that carries a virtual address, or an instance, and its name as a network."""
        found: dict[str, None] = {}
        for group in self._groups:
            for instance in group.all():
                for virtual in instance.addresses:
                    found.setdefault(virtual.device or instance.device)
                if not instance.addresses:
                    found.setdefault(instance.device)
        found.update(dict.fromkeys(self._wishes.networks))
        taken: set[str] = set()
        return {device: free_name(plain_name(device or "lan"), taken) for device in found}

    def _addresses(self, device: str | None = None) -> Iterator[VirtualAddress]:
        for group in self._groups:
            for instance in group.all():
                for virtual in instance.addresses:
                    if device in (None, virtual.device or instance.device):
                        yield virtual

    # --- parts of the file

    def _prefixes(self, device: str) -> str:
        wished = self._wishes.networks.get(device)
        if wished is not None:
            return str(wished)
        found: dict[int, str] = {}
        for virtual in self._addresses(device):
            if virtual.named_length and virtual.address.network.prefixlen < virtual.address.max_prefixlen:
                found.setdefault(virtual.address.version, str(virtual.address.network))
        wanted = {virtual.address.version for virtual in self._addresses(device)} or {4}
        if wanted - set(found):
            self._holes.append(f"the prefix of the LAN on {device or 'the interface'}: --network {device}=PREFIX")
            return HOLE
        return found[min(found)] if len(found) == 1 else f"[{', '.join(found[family] for family in sorted(found))}]"

    def _attachments(self, node: str) -> Iterator[str]:
        for device, network in self._devices.items():
            versions = sorted({virtual.address.version for virtual in self._addresses(device)}) or [4]
            texts = []
            for version in versions:
                own = self._own(node, device, version)
                if own is None:
                    self._holes.append(
                        f"{node}'s own IPv{version} address on {device}: --address {node}.{device}=ADDRESS"
                    )
                texts.append(str(own) if own is not None else HOLE)
            addresses = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
            if ":" in addresses and len(texts) == 1:
                addresses = f"'{addresses}'"
            addresses = "[" + ", ".join(f"'{text}'" for text in texts) + "]" if len(texts) > 1 else addresses
            interface = self._interface(node, device)
            yield (
                f"{network}: {addresses}"
                if interface is None
                else f"{network}: {{addresses: {addresses}, interface: {interface}}}"
            )

    def _own(self, node: str, device: str, version: int) -> Address | None:
        wished = self._wishes.addresses.get((node, device))
        if wished is not None and wished.version == version:
            return wished
        for group in self._groups:
            for member in group.members:
                for other, instance in member.items():
                    if (
                        device not in {instance.device, *(a.device for a in instance.addresses)}
                        or device != instance.device
                    ):
                        continue
                    if other == node and instance.own is not None and instance.own.version == version:
                        return instance.own
                    if other != node and len(instance.peers) == 1 and instance.peers[0].version == version:
                        return instance.peers[0]
        return None

    def _interface(self, node: str, device: str) -> str | None:
        """Named where the network could not be called like it: names of networks know fewer characters."""
        return device if device and self._devices[device] != device else None

    def _group(self, group: _Group) -> Iterator[str]:
        instances = list(group.all())
        first = instances[0]
        vrids = list(dict.fromkeys(instance.vrid for instance in instances if instance.vrid is not None))
        if len(vrids) > 1:
            self._remarks.append(
                f"{group.name}: one VRID for all its LANs, {vrids[0]}; keepalived used {', '.join(map(str, vrids))}"
            )
        intervals = sorted({instance.advertise for instance in instances})
        if len(intervals) > 1:
            self._remarks.append(f"{group.name}: one interval for the whole group, {format_duration(intervals[0])}")
        advertise = max(_ADVERTISE_STEP, intervals[0] // _ADVERTISE_STEP * _ADVERTISE_STEP)
        yield f"  {group.name}:"
        yield f"    nodes: [{', '.join(self._group_order(group))}]"
        yield "    addresses:"
        yield from self._group_addresses(group)
        if advertise != SECOND:
            yield f"    advertise: {format_duration(advertise)}"
        if vrids:
            yield f"    vrid: {vrids[0]}"
        if all(instance.preempt for instance in instances):
            yield "    preempt: true"
        speech = self._speech(group, instances)
        if speech:
            yield f"    vrrp: {{{', '.join(speech)}}}"
        if first.version == 2 and not self._wishes.beside:
            self._remarks.append(f"{group.name}: keepalived spoke VRRP version 2; the pair will speak version 3")

    def _group_order(self, group: _Group) -> list[str]:
        member = group.members[0]
        return sorted(self._order, key=lambda node: -member[node].priority if node in member else 1)

    def _group_addresses(self, group: _Group) -> Iterator[str]:
        by_device: dict[str, dict[str, None]] = {}
        for instance in group.all():
            for virtual in instance.addresses:
                device = virtual.device or instance.device
                by_device.setdefault(device, {})[str(virtual.address.ip)] = None
                if device != instance.device:
                    where = f"{device}, where the addresses are, not on {instance.device}"
                    remark = f"{group.name}: advertisements leave on {where}"
                    if remark not in self._remarks:
                        self._remarks.append(remark)
        if not by_device:
            self._holes.append(f"{group.name}: a virtual address: the instance names none")
            yield f"      {self._devices[group.members[0][next(iter(group.members[0]))].device]}: {HOLE}"
        for device, addresses in by_device.items():
            quoted = [f"'{address}'" if ":" in address else address for address in addresses]
            yield f"      {self._devices[device]}: {quoted[0] if len(quoted) == 1 else '[' + ', '.join(quoted) + ']'}"

    def _speech(self, group: _Group, instances: Sequence[Instance]) -> list[str]:
        unicast = any(instance.peers for instance in instances)
        virtual_mac = any(instance.virtual_mac for instance in instances)
        speech = []
        if self._wishes.beside:
            self._remarks.append(
                f"{group.name}: this node will use priority 250 or 240 by its place in `nodes`: "
                "give keepalived on the other node the other one of the two"
            )
            ipv4 = any(virtual.address.version == 4 for instance in instances for virtual in instance.addresses)
            version = instances[0].version if ipv4 else 3
            speech.append("peer: vrrp")
            if version == 2:
                speech.append("version: 2")
            elif ipv4:
                speech.append("checksum: rfc5798")
            if not virtual_mac:
                speech.append("virtual_mac: false")
        elif unicast and not virtual_mac:
            speech.append("virtual_mac: false")
            self._remarks.append(
                f"{group.name}: unicast without a virtual MAC, as in clouds; remove `vrrp` on an own LAN"
            )
        if unicast:
            speech.append("unicast: true")
        return speech

    def _services(self) -> Iterator[str]:
        held = {virtual.address.ip for virtual in self._addresses()}
        seen: dict[tuple[str, int], VirtualServer] = {}
        for configuration in self._by_node.values():
            for server in configuration.virtual_servers:
                seen.setdefault((str(server.address), server.port), server)
        taken: set[str] = set()
        for (address, port), server in seen.items():
            if server.address not in held:
                self._remarks.append(
                    f"virtual_server {address} {port}: no instance holds the address, so it is left out"
                )
                continue
            shown = f"'[{address}]:{port}'" if ":" in address else f"{address}:{port}"
            yield f"  {free_name(f'service-{port}', taken)}:"
            yield f"    listen: {shown}"
            ends = [
                f"'[{r.address}]:{r.port}'" if r.address.version == 6 else f"{r.address}:{r.port}"
                for r in server.servers
            ]
            yield f"    servers: [{', '.join(dict.fromkeys(ends))}]"
            paths = list(dict.fromkeys(real.http for real in server.servers if real.http))
            kind = f"http: {paths[0]}" if paths else "tcp: true"
            yield f"    check: {{{kind}, every: {format_duration(server.every)}}}"


def node_names(configurations: Sequence[Configuration]) -> list[str]:
    """What the nodes are called: their router_id, their file, or the folder it lies in, where these differ."""
    stems = [Path(configuration.file).stem for configuration in configurations]
    parents = [Path(configuration.file).resolve().parent.name for configuration in configurations]
    for candidates in ([configuration.router_id for configuration in configurations], stems, parents):
        names = [plain_name(candidate) for candidate in candidates if candidate and candidate != "keepalived"]
        if len(set(names)) == len(configurations):
            return names
    return [f"gw{number}" for number in range(1, len(configurations) + 1)]


def _meet(one: Instance, other: Instance) -> bool:
    """Two nodes' views of one virtual router: the same addresses in part, or none to compare."""
    mine, theirs = ({virtual.address.ip for virtual in each.addresses} for each in (one, other))
    return bool(mine & theirs) or not mine or not theirs


def plain_name(text: str) -> str:
    """A name of our language made from any text."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:28].strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"n-{plain}".strip("-")
    return f"{plain}-0" if plain in _RESERVED else plain


def free_name(name: str, taken: set[str]) -> str:
    for number in count(2):
        if name not in taken:
            taken.add(name)
            return name
        name = f"{re.sub(r'-[0-9]+$', '', name)[:24]}-{number}"
    raise AssertionError
