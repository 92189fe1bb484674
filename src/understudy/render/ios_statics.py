"""Static entries as elements of maps, one for each way and kind, and as a rule where a condition or a VRF asks for one.

Of two entries with one key the first stays, as on IOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from understudy.ios.model import Side, Static
from understudy.render.ios_match import Uncompiled, selection
from understudy.render.ios_scene import Held, Scene, dotted, net_of
from understudy.render.ios_vrf import LIMIT
from understudy.render.text import Chain, Elements

PORTED = ("tcp", "udp")
WAYS = ("in", "out", "local", "global")
_HOST = "type ipv4_addr : ipv4_addr;"
_NET = "type ipv4_addr : interval ipv4_addr; flags interval;"
_BARE = "esp"
"""A protocol without ports that an entry may name: a map of hosts, for it alone."""
_PORT = "type ipv4_addr . inet_service : ipv4_addr . inet_service;"


@dataclass(slots=True)
class Statics:
    """Takes entry after entry; what they come to is in its fields."""

    scene: Scene
    held: Held
    chains: list[Chain] = field(default_factory=list)
    """Of conditions."""
    rules: list[str] = field(default_factory=list)
    """For the way out, after the maps."""
    left_out: list[str] = field(default_factory=list)
    _contents: dict[str, dict[str, str]] = field(default_factory=dict)
    """Map -> key -> element."""

    def enter(self, static: Static) -> None:
        """Its elements in the maps; or, under a condition, a rule of its own."""
        if static.vrf is not None and not self._in_vrf(static):
            self.left_out.append(f"static of {static.local} in VRF {static.vrf}: {LIMIT}")
            return
        other = static.global_ if static.interface is None else self.scene.own.get(static.interface)
        if other is None:
            self.left_out.append(f"static of {static.local}: {static.interface} has no address")
            return
        if static.interface is None and not static.no_alias and static.side is not Side.OUTSIDE:
            self._hold(other, static.length)
        kind, local, global_ = _ends(static, other)
        if static.side is Side.OUTSIDE:
            # Here `local` is the outside local address and `global_` the outside global one.
            self._put(f"ios_local_{kind}", local, global_)
            self._put(f"ios_global_{kind}", global_, local)
            return
        self._put(f"ios_in_{kind}", global_, local)
        if static.vrf is not None:
            self.rules.append(self.scene.vrfs[static.vrf].translation(static))
        elif static.route_map is None:
            self._put(f"ios_out_{kind}", local, global_)
        else:
            self._conditional(static, other)

    @property
    def marked(self) -> dict[str, list[Static]]:
        """Entries by the VRF that they are in."""
        found: dict[str, list[Static]] = {}
        for each in self.scene.configuration.statics:
            if each.vrf is not None and self._in_vrf(each):
                found.setdefault(each.vrf, []).append(each)
        return found

    def lookups(self, way: str, verb: str, address: str, port: str) -> tuple[str, ...]:
        """Rules that ask the maps of a way: ports before hosts before networks."""
        ported = tuple(
            f"meta l4proto {each} {verb} ip to ip {address} . {each} {port} map @ios_{way}_{each}" for each in PORTED
        )
        bare = f"ios_{way}_{_BARE}"
        alone = (f"meta l4proto {_BARE} {verb} ip to ip {address} map @{bare}",) if bare in self._contents else ()
        net = f"ios_{way}_net"
        network = (f"{verb} ip prefix to ip {address} map @{net}",) if net in self._contents else ()
        return (*ported, *alone, f"{verb} ip to ip {address} map @ios_{way}_host", *network)

    def declared(self) -> tuple[Elements, ...]:
        made = [self._elements(f"ios_{way}_{each}", _PORT) for way in WAYS for each in PORTED]
        for way in WAYS:
            made.append(self._elements(f"ios_{way}_host", _HOST))
            if f"ios_{way}_{_BARE}" in self._contents:
                made.append(self._elements(f"ios_{way}_{_BARE}", _HOST))
            if f"ios_{way}_net" in self._contents:
                made.append(self._elements(f"ios_{way}_net", _NET))
        return tuple(made)

    def _elements(self, name: str, declaration: str) -> Elements:
        return Elements("map", name, declaration, tuple(self._contents.get(name, {}).values()))

    def _put(self, name: str, key: str, value: str) -> None:
        self._contents.setdefault(name, {}).setdefault(key, f"{key} : {value}")

    def _conditional(self, static: Static, other: IPv4Address) -> None:
        number = sum(chain.name.startswith("ios_when") for chain in self.chains)
        name, then = f"ios_when{number}x", f"ios_then{number}"
        port = f":{static.global_port}" if static.global_port is not None else ""
        condition = f"ip saddr {static.local}"
        if static.protocol in PORTED and static.local_port is not None:
            condition += f" {static.protocol} sport {static.local_port}"
        elif static.protocol == _BARE:
            condition += f" meta l4proto {_BARE}"
        protocol = f"meta l4proto {static.protocol} " if port else ""
        try:
            self.chains += selection(self.scene.configuration, static, name, then, "ios_nothing", self.scene.ports)
        except Uncompiled as error:
            self.left_out.append(f"static of {static.local}: {error.what}")
            return
        self.chains.append(Chain(then, (f"{protocol}snat ip to {other}{port}",)))
        self.rules.append(f"{condition} jump {name}")

    def _hold(self, address: IPv4Address, length: int | None) -> None:
        if address not in self.scene.addressed:
            self.held[net_of(address, length) if length is not None else address] = None

    def _in_vrf(self, static: Static) -> bool:
        """Whether an entry in a VRF is a plain one, of an inside host or its port."""
        plain = static.side is Side.INSIDE and static.length is None and static.interface is None
        return plain and static.vrf in self.scene.vrfs and static.route_map is None


def _ends(static: Static, other: IPv4Address) -> tuple[str, str, str]:
    """The kind of its maps, and how the local and the other end are written there."""
    if static.length is not None:
        return "net", str(net_of(static.local, static.length)), str(net_of(other, static.length))
    local, global_ = dotted(static.local), dotted(other)
    if static.protocol in PORTED and static.local_port is not None:
        return str(static.protocol), f"{local} . {static.local_port}", f"{global_} . {static.global_port}"
    return _BARE if static.protocol == _BARE else "host", local, global_


def enter_all(scene: Scene, held: Held) -> Statics:
    made = Statics(scene, held)
    for static in scene.configuration.statics:
        made.enter(static)
    return made


def own_ports(scene: Scene) -> dict[IPv4Address, list[tuple[str, int]]]:
    """Ports of an address that are somebody's already, so that `overload` leaves them alone."""
    found = {address: [*ports] for address, ports in scene.wishes.own_ports.items()}
    statics: Sequence[Static] = scene.configuration.statics
    for static in statics:
        if static.side is Side.INSIDE and static.protocol in PORTED and static.global_port is not None:
            address = static.global_ if static.interface is None else scene.own.get(static.interface)
            if address is not None:
                found.setdefault(address, []).append((str(static.protocol), static.global_port))
    return found
