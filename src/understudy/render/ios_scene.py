"""What the compilation of a text's NAT begins with: the text, the kernel's interfaces, and what is wished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from understudy.ios.model import Configuration, Role
from understudy.ios.profiles import DEFAULT
from understudy.render.ios_vrf import Vrf

Port = tuple[str, int]
"""Protocol and number."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the lines themselves cannot say."""

    profile: str = DEFAULT
    strict: bool = False
    """What comes from inside and is not translated does not leave."""
    rotary_udp: bool = False
    """UDP goes round a rotary too; on a router it passes untranslated."""
    own_ports: Mapping[IPv4Address, Sequence[Port]] = field(default_factory=lambda: MappingProxyType({}))
    """Ports of an address on which something of ours listens, beside static entries."""


@dataclass(frozen=True, slots=True)
class Scene:
    configuration: Configuration
    ports: Mapping[str, str]
    """The kernel's interface for each of the configuration."""
    arrivals: Mapping[str, Sequence[str]]
    """Further interfaces of the kernel by which packets of one of the configuration come in."""
    own: Mapping[str, IPv4Address]
    """The address that an interface's name stands for in a rule."""
    addressed: frozenset[IPv4Address]
    """Addresses of interfaces."""
    vrfs: Mapping[str, Vrf]
    wishes: Wishes

    def names(self, role: Role) -> str:
        """The kernel's interfaces of a role as a set of nft; empty if there are none."""
        of = [each.name for each in self.configuration.interfaces if role in each.roles]
        names = dict.fromkeys(name for each in of for name in (self.ports[each], *self.arrivals.get(each, ())))
        quoted = ", ".join(f'"{name}"' for name in names)
        return f"{{ {quoted} }}" if names else ""


Held = dict[IPv4Address | IPv4Network, None]
"""In the order of their coming: addresses that the Active must be asked for."""


def dotted(address: IPv4Address) -> str:
    """What `str` says, in half the time: statics are many, and each address is written twice."""
    number = int(address)
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def net_of(address: IPv4Address, length: int) -> IPv4Network:
    return IPv4Network((address, length), strict=False)
