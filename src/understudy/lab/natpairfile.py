"""A case of NAT as the file of a redundant pair: each interface a network, its address the group's there (pure).

The lines stay as they are. Nodes and clients get addresses that the case does not speak of; a network that has no room
for them (a /30 between two routers) is made wider, which no line can tell.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import chain, islice

import yaml

from understudy.errors import OperatorError
from understudy.ios.model import Configuration, Interface
from understudy.ios.profiles import DEFAULT, PROFILES
from understudy.lab.natcases import Case

NODES = ("gw1", "gw2")
GROUP = "edge"
ADVERTISE = "100ms"
_GUESTS = (*NODES, "client")
_SYNC = (IPv4Network("100.127.255.0/29"), IPv4Network("192.168.250.0/29"))
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_WIDEST = 24
_LOOKED_THROUGH_MAX = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """What became of an interface of the lines."""

    interface: str
    network: str

    @property
    def client(self) -> str:
        """The host behind it, which sends and receives for everybody there."""
        return f"client-{self.network}"


@dataclass(frozen=True, slots=True)
class PairFile:
    """The file of a pair without its lines, and where the lines' interfaces are."""

    document: dict[str, object]
    places: tuple[Place, ...]

    def text(self, lines: Sequence[str], case: Case) -> bytes:
        """The file with these lines, and what else the case wishes."""
        # Any other word than one of ours means the default (docs/reference/nat.md).
        profile = case.profile if case.profile in PROFILES else DEFAULT
        nat: dict[str, object] = {"state": "replicate", "profile": profile, "lines": list(lines)}
        nat |= {"strict": True} if case.strict else {}
        nat |= {"rotary_udp": True} if case.rotary_udp else {}
        return yaml.safe_dump({**self.document, "nat": nat}, sort_keys=False).encode()


def pair_file(case: Case, configuration: Configuration) -> PairFile:
    """Raises OperatorError E7115 where the interfaces cannot be a pair's networks."""
    addressed = [each for each in configuration.interfaces if each.addresses]
    if not addressed:
        raise OperatorError("E7115", "no interface of the case has an address", "the group's address is an interface's")
    named = _named(case)
    # A node's own address is never handed out: where a pool is the whole network, its end will do.
    taken = [*named, *_given(configuration)]
    prefixes = _prefixes(addressed)
    for number, prefix in enumerate(prefixes):
        if any(prefix.overlaps(each) for each in prefixes[:number]):
            raise OperatorError("E7115", f"two interfaces share {prefix}", "networks of a file never overlap")
    sync = next(each for each in _SYNC if not any(each.overlaps(prefix) for prefix in prefixes))
    networks: dict[str, str] = {}
    nodes: dict[str, dict[str, str]] = {name: {} for name in NODES}
    virtual: dict[str, list[str]] = {}
    clients: dict[str, dict[str, str]] = {}
    places = []
    for number, (interface, prefix) in enumerate(zip(addressed, prefixes, strict=True)):
        name = f"lan{number}"
        places.append(Place(interface.name, name))
        networks[name] = str(prefix)
        guests = list(islice(chain(_free(prefix, taken), _free(prefix, named)), len(_GUESTS)))
        if len(guests) < len(_GUESTS):
            raise OperatorError("E7115", f"no free addresses in {prefix} for two nodes", "a case of fewer addresses")
        for node, address in zip(NODES, guests, strict=False):
            nodes[node][name] = str(address)
        clients[places[-1].client] = {name: str(guests[-1])}
        virtual[name] = [str(each.ip) for each in interface.addresses if each.ip in prefix]
    networks["sync"] = str(sync)
    for node, address in zip(NODES, sync.hosts(), strict=False):
        nodes[node]["sync"] = str(address)
    group = {"nodes": list(NODES), "addresses": virtual, "advertise": ADVERTISE}
    document: dict[str, object] = {
        "cluster": "cases",
        "networks": networks,
        "nodes": {**nodes, **clients},
        "redundancy": {GROUP: group},
    }
    return PairFile(document, tuple(places))


def _prefixes(interfaces: Sequence[Interface]) -> list[IPv4Network]:
    found: list[IPv4Network] = []
    own = [each.addresses[0] for each in interfaces]
    for address in own:
        others = [each.network for each in own if each is not address]
        found.append(_wide(address, others))
    return found


def _wide(address: IPv4Interface, others: Sequence[IPv4Network]) -> IPv4Network:
    """The network of an interface; up to a /24 where there is no room for three more, unless others are in it."""
    prefix = address.network
    while prefix.prefixlen > _WIDEST and prefix.num_addresses < 32:
        wider = prefix.supernet()
        if any(wider.overlaps(each) for each in others):
            break
        prefix = wider
    return prefix


def _named(case: Case) -> list[IPv4Network]:
    """Every address that the case writes."""
    said = [case.config, *(str(each) for step in case.steps for each in (step.sent, step.expected, step.lines))]
    return [IPv4Network(each) for text in said for each in _ADDRESS.findall(text) if _is_address(each)]


def _given(configuration: Configuration) -> list[IPv4Network]:
    """Addresses of pools and static networks."""
    found = [
        IPv4Network(IPv4Address(number))
        for pool in configuration.pools
        for part in pool.segments
        for number in _span(part.first, part.last)
    ]
    found += [
        IPv4Network((static.global_, static.length), strict=False)
        for static in configuration.statics
        if static.length is not None and static.global_ is not None
    ]
    return found


def _span(first: IPv4Address, last: IPv4Address) -> range:
    return range(int(first), min(int(last), int(first) + _LOOKED_THROUGH_MAX) + 1)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _free(prefix: IPv4Network, taken: Sequence[IPv4Network]) -> Iterator[IPv4Address]:
    """From the end of the network, where people seldom put a host."""
    known = {each.network_address for each in taken if each.prefixlen == 32}
    wide = [each for each in taken if each.prefixlen < 32 and each != prefix]
    last = int(prefix.broadcast_address) - 1
    for number in range(last, max(int(prefix.network_address), last - _LOOKED_THROUGH_MAX), -1):
        address = IPv4Address(number)
        if address not in known and not any(address in each for each in wide):
            yield address
