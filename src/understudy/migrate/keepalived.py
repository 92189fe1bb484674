"""The meaning of a keepalived.conf(5): instances, sync groups and virtual servers, and the fate of every line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface

from understudy.migrate import words
from understudy.migrate.blocks import Entry
from understudy.migrate.words import Fate, Verdict
from understudy.units import MILLISECOND, SECOND, Address, Duration, Interface


@dataclass(frozen=True, slots=True)
class Finding:
    """One line and what became of it."""

    file: str
    line: int
    text: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    address: Interface
    device: str
    named_length: bool
    """Whether the line says the prefix length; keepalived takes a whole address otherwise."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A vrrp_instance as one node runs it."""

    name: str
    device: str
    vrid: int | None
    priority: int
    advertise: Duration
    version: int
    preempt: bool
    virtual_mac: bool
    own: Address | None
    """The node's address on that LAN, where the file says it."""
    peers: tuple[Address, ...]
    """Of unicast."""
    addresses: tuple[VirtualAddress, ...]


@dataclass(frozen=True, slots=True)
class RealServer:
    address: Address
    port: int
    http: str | None
    """The path that is asked for; None for a mere connection."""


@dataclass(frozen=True, slots=True)
class VirtualServer:
    address: Address
    port: int
    every: Duration
    servers: tuple[RealServer, ...]


@dataclass(slots=True)
class Configuration:
    """One node's file."""

    file: str
    router_id: str = ""
    instances: list[Instance] = field(default_factory=list)
    sync_groups: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    virtual_servers: list[VirtualServer] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_configuration(file: str, entries: Sequence[Entry]) -> Configuration:
    """What the entries of one node's file say."""
    configuration = Configuration(file)
    _Understanding(configuration, entries).all()
    configuration.findings.sort(key=lambda finding: (finding.file, finding.line))
    return configuration


class _Understanding:
    def __init__(self, configuration: Configuration, entries: Sequence[Entry]) -> None:
        self._out = configuration
        self._entries = entries
        self._version = 2
        self._blocks = {
            "vrrp_instance": self._instance,
            "vrrp_sync_group": self._sync_group,
            "virtual_server": self._virtual_server,
        }
        self._server_groups: dict[str, tuple[Entry, ...]] = {}

    def all(self) -> None:
        for entry in self._entries:  # what others depend on
            if entry.keyword in ("global_defs", "global_definition"):
                self._globals(entry)
            elif entry.keyword == "virtual_server_group":
                self._server_groups[entry.value()] = entry.children
        for entry in self._entries:
            if entry.keyword in ("global_defs", "global_definition", "virtual_server_group"):
                continue
            understand = self._blocks.get(entry.keyword)
            if understand is not None and entry.block:
                understand(entry)
            else:
                self._say(entry, words.TOP.get(entry.keyword, words.UNKNOWN))

    def _say(self, entry: Entry, verdict: Verdict) -> None:
        self._out.findings.append(Finding(entry.file, entry.line, entry.text, verdict))

    def _say_all(self, entries: Sequence[Entry], table: Mapping[str, Verdict]) -> None:
        for entry in entries:
            self._say(entry, table.get(entry.keyword, words.UNKNOWN))

    def _number(self, entry: Entry | None, otherwise: int) -> int:
        """The number behind a keyword; one that is none is told."""
        if entry is None:
            return otherwise
        number = _number(entry.value(), -1)
        if number < 0:
            self._say(entry, words.UNKNOWN)
        return otherwise if number < 0 else number

    # --- blocks

    def _globals(self, block: Entry) -> None:
        self._say_all(block.children, words.GLOBAL)
        if (version := block.find("vrrp_version")) is not None:
            self._version = self._number(version, 2)
        if (name := block.find("router_id")) is not None:
            self._out.router_id = name.value()

    def _sync_group(self, block: Entry) -> None:
        self._say_all(block.children, words.SYNC_GROUP)
        members = tuple(word for each in block.listed("group") for word in each.words)
        self._out.sync_groups.append((block.value(), members))

    def _instance(self, block: Entry) -> None:
        self._say_all(block.children, words.INSTANCE)
        vrid, priority = block.find("virtual_router_id"), block.find("priority")
        version = block.find("version")
        state = block.find("state")
        own = block.find("unicast_src_ip") or block.find("mcast_src_ip")
        device = block.find("interface")
        first = device.value() if device is not None else ""
        lists = (*block.listed("virtual_ipaddress"), *block.listed("virtual_ipaddress_excluded"))
        default = 150 if state is not None and state.value().upper() == "MASTER" else 100
        self._out.instances.append(
            Instance(
                name=block.value(),
                device=first,
                vrid=self._number(vrid, 0) or None,
                priority=self._number(priority, default),
                advertise=_seconds(block.find("advert_int")),
                version=self._number(version, self._version),
                preempt=block.find("nopreempt") is None,
                virtual_mac=block.find("use_vmac") is not None,
                own=_address(own.value()) if own is not None else None,
                peers=tuple(a for each in block.listed("unicast_peer") for w in each.words[:1] if (a := _address(w))),
                addresses=tuple(a for each in lists for a in self._virtual_addresses(each, first)),
            )
        )

    def _virtual_addresses(self, entry: Entry, device: str) -> Iterator[VirtualAddress]:
        """`192.0.2.10/24 dev eth0 label eth0:1`, or several addresses on one line."""
        place = 0
        items = entry.words
        while place < len(items):
            word = items[place]
            place += 1
            try:
                address = ip_interface(word)
            except ValueError:
                self._say(entry, words.UNKNOWN)
                return
            while place + 1 < len(items) and items[place] in ("dev", "brd", "scope", "label", "peer", "preferred_lft"):
                device = items[place + 1] if items[place] == "dev" else device
                place += 2
            while place < len(items) and items[place] in (
                "no_track",
                "home",
                "-nodad",
                "nodad",
                "mngtmpaddr",
                "noprefixroute",
            ):
                place += 1
            if address.ip.is_link_local:
                self._say(entry, words.LINK_LOCAL)
            else:
                yield VirtualAddress(address, device, "/" in word)

    def _virtual_server(self, block: Entry) -> None:
        if block.value() == "fwmark":
            self._say(block, words.FWMARK)
            return
        protocol, kind = block.find("protocol"), block.find("lb_kind") or block.find("lvs_method")
        if protocol is not None and protocol.value().upper() != "TCP":
            self._say(block, words.UDP)
            return
        named = [child for child in block.children if child.keyword not in ("lb_kind", "lvs_method")]
        self._say_all(named, words.VIRTUAL_SERVER)
        if kind is not None:
            self._say(kind, words.LB_KIND.get(kind.value().upper(), words.UNKNOWN))
        servers = tuple(
            s for child in block.children if child.keyword == "real_server" for s in self._real_server(child)
        )
        every = _seconds(block.find("delay_loop"), 60 * SECOND)
        if block.value() == "group":
            ends = [
                child.words for child in self._server_groups.get(block.words[2] if len(block.words) > 2 else "", ())
            ]
        else:
            ends = [block.words[1:]]
        for end in ends:
            address = _address(end[0]) if end else None
            port = _number(end[1], 0) if len(end) > 1 else 0
            if address is None or not 1 <= port <= 65535 or not servers:
                self._say(block, words.UNKNOWN)
            else:
                self._out.virtual_servers.append(VirtualServer(address, port, every, servers))

    def _real_server(self, block: Entry) -> Iterator[RealServer]:
        self._say_all(block.children, words.REAL_SERVER)
        address = _address(block.value())
        port = _number(block.words[2], 0) if len(block.words) > 2 else 0
        if address is None or not 1 <= port <= 65535:
            self._say(block, words.UNKNOWN)
            return
        get = block.find("HTTP_GET")
        url = get.find("url") if get is not None else None
        path = url.find("path") if url is not None else None
        http = path.value("/") if path is not None else ("/" if get is not None else None)
        yield RealServer(address, port, http)


def _number(text: str, otherwise: int) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else otherwise


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.partition("/")[0])
    except ValueError:
        return None


def _seconds(entry: Entry | None, otherwise: Duration = SECOND) -> Duration:
    """keepalived counts in seconds, with fractions."""
    if entry is None or not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", entry.value()):
        return otherwise
    return round(float(entry.value()) * 1000) * MILLISECOND


def count_fates(findings: Sequence[Finding]) -> dict[str, int]:
    """How many lines met each fate."""
    return {fate.value: sum(finding.verdict.fate is fate for finding in findings) for fate in Fate}
