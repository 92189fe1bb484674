"""What a host's kernel is told, inside its namespace: settings before it has links, then addresses and routes."""

from collections.abc import Mapping

from understudy.lab import netlink
from understudy.lab.namespace import write_sysctl
from understudy.lab.topology import Host

LOOPBACK = 1

_QUIET: Mapping[str, int] = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}
"""The switch must not speak: with IPv6 the kernel would send MLD and router solicitations from its ports."""


class Preparation:
    """What a host's kernel is told before it has links; in full: a new namespace copies some from this machine."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __call__(self) -> None:
        forward = int(self._host.forwards)
        settings = {
            "net/ipv4/conf/all/rp_filter": 0,
            "net/ipv4/conf/default/rp_filter": 0,
            "net/ipv4/ip_forward": forward,
            "net/ipv6/conf/all/disable_ipv6": 0,
            "net/ipv6/conf/default/disable_ipv6": 0,
            "net/ipv6/conf/all/forwarding": forward,
            "net/ipv6/conf/default/accept_ra": 0,
            "net/ipv6/conf/all/accept_dad": 0,
            "net/ipv6/conf/default/accept_dad": 0,
        }
        _write(settings)
        links = netlink.RouteSocket()
        links.commit([netlink.set_up(LOOPBACK, up=True, subject="lo")])
        links.close()


def prepare_switch() -> None:
    _write(_QUIET)


def _write(settings: Mapping[str, int]) -> None:
    for path, value in settings.items():
        try:
            write_sysctl(path, value)
        except FileNotFoundError:
            if not path.startswith("net/ipv6"):  # a kernel without IPv6
                raise


def configure(host: Host) -> None:
    """Addresses, links up and routes, inside the host's namespace."""
    links = netlink.RouteSocket()
    requests = []
    for port in host.ports:
        requests += [netlink.add_address(port.index, address, port.interface) for address in port.addresses]
        requests.append(netlink.set_up(port.index, up=True, subject=port.interface))
    requests += [netlink.add_route(route.destination, route.via) for route in host.routes]
    links.commit(requests)
    links.close()
