"""How a group speaks on its LANs: what the version, the destination and the port's MAC allow."""

from collections.abc import Iterator

from understudy.config.models import GroupModel
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope
from understudy.units import SECOND, format_duration


def check_vrrp(scope: Scope) -> Iterator[Problem]:
    """Every problem of `redundancy.GROUP.vrrp`."""
    for name, group in scope.file.redundancy.items():
        if group.vrrp.version == 2:
            yield from _check_version_2(scope, name, group)
    yield from _check_ports(scope)
    yield from _check_sources(scope)


def _check_version_2(scope: Scope, name: str, group: GroupModel) -> Iterator[Problem]:
    """RFC 3768 knows IPv4, whole seconds and one checksum."""
    interval = group.advertise if scope.advertise is None else scope.advertise
    if interval % SECOND:
        path = ("redundancy", name, "advertise")
        message = f"version 2 advertises in whole seconds, not every {format_duration(interval)}"
        yield scope.source.problem(path, "E2310", message, "1s, or version 3 on both nodes")
    for network, addresses in group.addresses.items():
        for place, address in enumerate(addresses):
            if address.version == 6:
                message = f"version 2 speaks of IPv4 only, {address} is IPv6"
                hint = "a group of version 3 beside this one can hold it"
                yield scope.source.problem(("redundancy", name, "addresses", network, place), "E2311", message, hint)
    if group.vrrp.checksum != "rfc9568":
        message = "version 2 has one form of the checksum, without a pseudo-header"
        yield scope.source.problem(("redundancy", name, "vrrp", "checksum"), "E2312", message, "leave `checksum` out")


def _check_ports(scope: Scope) -> Iterator[Problem]:
    """Without virtual MAC the lease gates what the port forwards: one group has it for itself."""
    holders: dict[str, list[str]] = {}
    for name, group in scope.file.redundancy.items():
        for network in group.addresses:
            holders.setdefault(network, []).append(name)
    for network, names in holders.items():
        for name in names:
            others = [other for other in names if other != name]
            if others and not scope.file.redundancy[name].vrrp.virtual_mac:
                message = f"without virtual MAC {name} needs {network} for itself, {others[0]} has addresses there, too"
                hint = "leave `virtual_mac` out, or put the addresses into one group"
                yield scope.source.problem(("redundancy", name, "vrrp", "virtual_mac"), "E2313", message, hint)


def _check_sources(scope: Scope) -> Iterator[Problem]:
    """Over IPv6 multicast leaves from the port's link-local address, unicast from the one that the file names."""
    first: dict[str, tuple[str, bool]] = {}
    for name, group in scope.file.redundancy.items():
        for network, addresses in group.addresses.items():
            if any(address.version == 6 for address in addresses):
                other, unicast = first.setdefault(network, (name, group.vrrp.unicast))
                if unicast != group.vrrp.unicast:
                    message = f"over IPv6 {name} and {other} on {network} are both unicast or both not"
                    hint = "give both the same `unicast`"
                    yield scope.source.problem(("redundancy", name, "vrrp"), "E2314", message, hint)
